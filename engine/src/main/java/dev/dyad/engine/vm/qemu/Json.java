package dev.dyad.engine.vm.qemu;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * One JSON value (RFC 8259), read strictly and never changed: what QMP answers and what a machine's description is kept in. For
 * cold paths; everything here allocates.
 */
public final class Json {
  private static final int DEPTH_MAX = 64;
  private static final Json ABSENT = new Json(null);

  private final @Nullable Object value;

  private Json(@Nullable Object value) {
    this.value = value;
  }

  /**
   * @throws IllegalArgumentException with the offset of what does not belong there
   */
  public static Json parse(String text) {
    Parser parser = new Parser(text);
    Json json = parser.value(0);
    parser.end();
    return json;
  }

  /** The member of an object; an absent value when there is none, or when this is no object. */
  public Json get(String name) {
    return value instanceof Map<?, ?> map && map.get(name) instanceof Json member ? member : ABSENT;
  }

  /** The elements of an array; none when this is no array. */
  public List<Json> elements() {
    List<Json> elements = new ArrayList<>();
    if (value instanceof List<?> list) {
      for (Object element : list) {
        elements.add((Json) element);
      }
    }
    return elements;
  }

  public boolean isAbsent() {
    return value == null;
  }

  /** The string, or an empty one when this is none. */
  public String text() {
    return value instanceof String string ? string : "";
  }

  /** The integer, or {@code fallback} when this is none. */
  public long number(long fallback) {
    return value instanceof Long number ? number : fallback;
  }

  public boolean isTrue() {
    return Boolean.TRUE.equals(value);
  }

  /** The value as JSON text again. */
  @Override
  public String toString() {
    if (value instanceof String string) {
      return quote(string);
    }
    if (value instanceof Map<?, ?> map) {
      List<String> members = new ArrayList<>();
      map.forEach((name, member) -> members.add(quote((String) name) + ':' + member));
      return "{" + String.join(",", members) + "}";
    }
    if (value instanceof List<?> list) {
      return "[" + String.join(",", list.stream().map(Object::toString).toList()) + "]";
    }
    return String.valueOf(value);
  }

  /** A string literal with its quotes. */
  public static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        quoted.append('\\').append(c);
      } else if (c < ' ') {
        quoted.append(String.format("\\u%04x", (int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append('"').toString();
  }

  /** An array of strings. */
  public static String array(List<String> texts) {
    return "[" + String.join(",", texts.stream().map(Json::quote).toList()) + "]";
  }

  private static final class Parser {
    private final String text;
    private int at;

    private Parser(String text) {
      this.text = text;
    }

    private Json value(int depth) {
      if (depth > DEPTH_MAX) {
        throw unexpected();
      }
      skipSpace();
      return switch (peek()) {
        case '{' -> object(depth);
        case '[' -> array(depth);
        case '"' -> new Json(string());
        case 't' -> literal("true", true);
        case 'f' -> literal("false", false);
        case 'n' -> literal("null", null);
        default -> number();
      };
    }

    private Json object(int depth) {
      Map<String, Json> members = new LinkedHashMap<>();
      at++;
      skipSpace();
      if (peek() == '}') {
        at++;
        return new Json(members);
      }
      do {
        skipSpace();
        String name = string();
        skipSpace();
        take(':');
        members.put(name, value(depth + 1));
      } while (more('}'));
      return new Json(members);
    }

    private Json array(int depth) {
      List<Json> elements = new ArrayList<>();
      at++;
      skipSpace();
      if (peek() == ']') {
        at++;
        return new Json(elements);
      }
      do {
        elements.add(value(depth + 1));
      } while (more(']'));
      return new Json(elements);
    }

    private boolean more(char close) {
      skipSpace();
      if (peek() == ',') {
        at++;
        return true;
      }
      take(close);
      return false;
    }

    private Json literal(String word, @Nullable Object meaning) {
      if (!text.startsWith(word, at)) {
        throw unexpected();
      }
      at += word.length();
      return new Json(meaning);
    }

    private Json number() {
      int start = at;
      while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
        at++;
      }
      String digits = text.substring(start, at);
      if (digits.matches("-?(0|[1-9][0-9]{0,17})")) {
        return new Json(Long.valueOf(digits));
      }
      if (digits.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
        return new Json(Double.valueOf(digits));
      }
      at = start;
      throw unexpected();
    }

    private String string() {
      take('"');
      StringBuilder string = new StringBuilder();
      while (peek() != '"') {
        char c = text.charAt(at++);
        if (c < ' ') {
          throw unexpected();
        }
        string.append(c == '\\' ? escaped() : c);
      }
      at++;
      return string.toString();
    }

    private char escaped() {
      char c = peek();
      at++;
      return switch (c) {
        case '"', '\\', '/' -> c;
        case 'b' -> '\b';
        case 'f' -> '\f';
        case 'n' -> '\n';
        case 'r' -> '\r';
        case 't' -> '\t';
        case 'u' -> {
          if (at + 4 > text.length() || !text.substring(at, at + 4).matches("[0-9a-fA-F]{4}")) {
            throw unexpected();
          }
          at += 4;
          yield (char) Integer.parseInt(text, at - 4, at, 16);
        }
        default -> throw unexpected();
      };
    }

    private char peek() {
      if (at >= text.length()) {
        throw unexpected();
      }
      return text.charAt(at);
    }

    private void take(char expected) {
      if (peek() != expected) {
        throw unexpected();
      }
      at++;
    }

    private void skipSpace() {
      while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
        at++;
      }
    }

    private void end() {
      skipSpace();
      if (at < text.length()) {
        throw unexpected();
      }
    }

    private IllegalArgumentException unexpected() {
      return new IllegalArgumentException("not JSON at offset " + at + " of " + text.length());
    }
  }
}
