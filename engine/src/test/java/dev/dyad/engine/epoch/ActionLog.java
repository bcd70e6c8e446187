package dev.dyad.engine.epoch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Stands in for an actions interface and keeps what was called, as text. */
final class ActionLog {
  private final List<String> lines = new ArrayList<>();

  <T> T recorder(Class<T> type) {
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, method, args) -> {
      lines.add(method.getName() + text(args));
      return null;
    }));
  }

  private static String text(Object @Nullable [] args) {
    return args == null ? "" : Arrays.stream(args).map(String::valueOf).collect(Collectors.joining(" ", " ", ""));
  }

  void forget() {
    lines.clear();
  }

  boolean isEmpty() {
    return lines.isEmpty();
  }

  boolean has(String line) {
    return lines.contains(line);
  }

  boolean hasAny(String action) {
    return lines.stream().anyMatch(line -> line.equals(action) || line.startsWith(action + " "));
  }

  /** Exactly these since the last look, in this order. */
  void expect(String... expected) {
    assertEquals(List.of(expected), lines);
    lines.clear();
  }

  @Override
  public String toString() {
    return lines.toString();
  }
}
