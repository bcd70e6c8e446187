package dev.dyad.engine.observe;

import java.util.Collection;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Writes maps, collections, strings, numbers, booleans and nulls as JSON (RFC 8259); for reports, never on an epoch's path. */
public final class JsonText {
  private JsonText() {}

  public static String of(@Nullable Object value) {
    StringBuilder out = new StringBuilder();
    write(value, out);
    return out.toString();
  }

  private static void write(@Nullable Object value, StringBuilder out) {
    switch (value) {
      case null -> out.append("null");
      case Map<?, ?> map -> {
        char separator = '{';
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          out.append(separator);
          separator = ',';
          quote(String.valueOf(entry.getKey()), out);
          out.append(':');
          write(entry.getValue(), out);
        }
        out.append(separator == '{' ? "{}" : "}");
      }
      case Collection<?> list -> {
        char separator = '[';
        for (Object item : list) {
          out.append(separator);
          separator = ',';
          write(item, out);
        }
        out.append(separator == '[' ? "[]" : "]");
      }
      case Double number when !Double.isFinite(number) -> out.append("null");
      case Number number -> out.append(number);
      case Boolean flag -> out.append(flag);
      default -> quote(value.toString(), out);
    }
  }

  private static void quote(String text, StringBuilder out) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (c < 0x20) {
            out.append(String.format("\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }
}
