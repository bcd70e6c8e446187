package dev.dyad.bindings.linux;

import dev.dyad.bindings.abi.linux.user_regs_struct;
import java.lang.foreign.Arena;

/** Owner of one {@code user_regs_struct}: the general registers of a stopped x86-64 thread. One thread at a time. */
public final class Registers implements AutoCloseable {

  private static final long BYTES = user_regs_struct.sizeof();

  private final Arena arena = Arena.ofShared();
  private final long at = arena.allocate(BYTES, 16).address();

  /** @param offset of {@code user_regs_struct}, as {@code user_regs_struct.rip$offset()} */
  public long get(long offset) {
    return Memory.getLong(at + offset);
  }

  public void set(long offset, long value) {
    Memory.putLong(at + offset, value);
  }

  public void copyFrom(Registers other) {
    Memory.copy(other.at, at, BYTES);
  }

  public boolean sameAs(Registers other) {
    return Memory.equal(at, other.at, BYTES);
  }

  long hostVirt() {
    return at;
  }

  @Override
  public void close() {
    arena.close();
  }
}
