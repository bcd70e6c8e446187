package dev.dyad.engine.cli;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Durations as people type them ({@code 500us}, {@code 10ms}, {@code 1.5s}), in nanoseconds. */
public final class DurationConverter implements ITypeConverter<Long> {
  private static final Pattern FORM = Pattern.compile("(\\d+(?:\\.\\d+)?)(ns|us|ms|s)");

  @Override
  public Long convert(String text) {
    Matcher matcher = FORM.matcher(text);
    if (!matcher.matches()) {
      throw new TypeConversionException("'" + text + "' is not a duration; needed is a number with a unit, such as 500us, 10ms or 1s");
    }
    double unit =
        switch (matcher.group(2)) {
          case "ns" -> 1;
          case "us" -> 1e3;
          case "ms" -> 1e6;
          default -> 1e9;
        };
    double nanos = Double.parseDouble(matcher.group(1)) * unit;
    if (nanos < 1 || nanos > 3600e9) {
      throw new TypeConversionException("'" + text + "' is out of range; needed is more than 0 and at most an hour");
    }
    return Math.round(nanos);
  }
}
