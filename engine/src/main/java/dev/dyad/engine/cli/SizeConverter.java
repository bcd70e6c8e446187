package dev.dyad.engine.cli;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Sizes of memory as people type them ({@code 64M}, {@code 2G}), binary, in bytes. */
public final class SizeConverter implements ITypeConverter<Long> {
  private static final Pattern FORM = Pattern.compile("(\\d{1,9})([MG])(iB)?");

  @Override
  public Long convert(String text) {
    Matcher matcher = FORM.matcher(text);
    if (!matcher.matches()) {
      throw new TypeConversionException("'" + text + "' is not a size; needed is a number with a unit, such as 64M or 2G");
    }
    return Long.parseLong(matcher.group(1)) << (matcher.group(2).equals("M") ? 20 : 30);
  }
}
