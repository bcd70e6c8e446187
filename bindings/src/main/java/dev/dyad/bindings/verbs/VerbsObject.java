package dev.dyad.bindings.verbs;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * An object of libibverbs that others depend on: closing it closes what was made from it first, in the reverse order, so that any
 * order of closing is a right one. One thread makes and closes the objects of a device.
 */
public abstract class VerbsObject implements AutoCloseable {

  private static final AtomicInteger LIVE = new AtomicInteger();

  private final List<VerbsObject> parents;
  private final List<VerbsObject> children = new ArrayList<>();
  private boolean closed;

  VerbsObject(VerbsObject... parents) {
    this.parents = List.of(parents);
    for (VerbsObject parent : this.parents) {
      parent.children.add(this);
    }
    LIVE.incrementAndGet();
  }

  /** How many objects this JVM has open: 0 when nothing has leaked. */
  public static int live() {
    return LIVE.get();
  }

  final void requireOpen() {
    if (closed) {
      throw new IllegalStateException(this + " is closed");
    }
  }

  public final boolean isClosed() {
    return closed;
  }

  /** Gives the native object back. Its dependants are gone. */
  abstract void destroy();

  @Override
  public final void close() {
    if (closed) {
      return;
    }
    while (!children.isEmpty()) {
      children.getLast().close();
    }
    closed = true;
    for (VerbsObject parent : parents) {
      parent.children.remove(this);
    }
    LIVE.decrementAndGet();
    destroy();
  }
}
