package dev.dyad.engine.net;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/** A counter with one writer (at a time) and any number of readers, who may see it a moment late. */
final class Count {
  private static final VarHandle VALUE;

  static {
    try {
      VALUE = MethodHandles.lookup().findVarHandle(Count.class, "value", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private long value;

  void add(long n) {
    VALUE.setOpaque(this, value + n);
  }

  void set(long n) {
    VALUE.setOpaque(this, n);
  }

  long get() {
    return (long) VALUE.getOpaque(this);
  }
}
