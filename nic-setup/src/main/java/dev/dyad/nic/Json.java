package dev.dyad.nic;

import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/** What {@code -o json} prints. */
final class Json {
  private Json() {}

  static String string(String text) {
    StringBuilder json = new StringBuilder("\"");
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        json.append('\\').append(c);
      } else if (c < 0x20) {
        json.append(String.format("\\u%04x", (int) c));
      } else {
        json.append(c);
      }
    }
    return json.append('"').toString();
  }

  static String strings(List<String> texts) {
    return texts.stream().map(Json::string).collect(Collectors.joining(",", "[", "]"));
  }

  static String reports(List<Setup.Report> reports) {
    return reports.stream()
        .map(
            report ->
                "{\"step\":"
                    + string(report.step())
                    + ",\"outcome\":"
                    + string(report.outcome().name().toLowerCase(Locale.ROOT))
                    + ",\"command\":"
                    + string(report.command())
                    + "}")
        .collect(Collectors.joining(",", "[", "]"));
  }
}
