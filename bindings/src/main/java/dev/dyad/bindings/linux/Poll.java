package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.pollfd;
import dev.dyad.bindings.abi.linux.timespec;
import java.lang.foreign.Arena;

/** A fixed small set of descriptors to wait on. poll(2). One thread; allocates nothing after it is made. */
public final class Poll implements AutoCloseable {

  private static final long ENTRY_BYTES = pollfd.sizeof();

  private final Arena arena = Arena.ofShared();
  private final int count;
  private final long entries;
  private final long timeout;

  /** {@code count} entries that wait on nothing yet. */
  public Poll(int count) {
    this.count = count;
    this.entries = arena.allocate(count * ENTRY_BYTES, 8).address();
    this.timeout = arena.allocate(timespec.layout()).address();
    for (int i = 0; i < count; i++) {
      set(i, -1, 0);
    }
  }

  /** Entry {@code index} waits for {@code POLL*} of {@code fd}; a negative descriptor switches it off. */
  public void set(int index, int fd, int events) {
    put(entries + index * ENTRY_BYTES, fd, events);
  }

  /** Waits; -1 waits for ever. Returns the number of entries with events, 0 at the time-out, or {@code -errno}. */
  public int await(int timeoutMillis) {
    return (int) Syscall.call(SYS_poll(), entries, count, timeoutMillis);
  }

  /** Waits at most {@code timeoutNanos}; ppoll(2). Returns as {@link #await}. */
  public int awaitNanos(long timeoutNanos) {
    Memory.putLong(timeout + timespec.tv_sec$offset(), timeoutNanos / 1_000_000_000L);
    Memory.putLong(timeout + timespec.tv_nsec$offset(), timeoutNanos % 1_000_000_000L);
    return (int) Syscall.call(SYS_ppoll(), entries, count, timeout, 0, 0);
  }

  /** What {@link #await} found at entry {@code index}: {@code POLL*}, also POLLERR, POLLHUP and POLLNVAL unasked. */
  public int ready(int index) {
    return Memory.getShort(entries + index * ENTRY_BYTES + pollfd.revents$offset());
  }

  /** Waits on a single descriptor; returns the events found, 0 at the time-out, or {@code -errno}. */
  public static int once(int fd, int events, int timeoutMillis) {
    long entry = ThreadScratch.address();
    put(entry, fd, events);
    long result = Syscall.call(SYS_poll(), entry, 1, timeoutMillis);
    return result <= 0 ? (int) result : Memory.getShort(entry + pollfd.revents$offset());
  }

  private static void put(long entry, int fd, int events) {
    Memory.putInt(entry + pollfd.fd$offset(), fd);
    Memory.putShort(entry + pollfd.events$offset(), (short) events);
    Memory.putShort(entry + pollfd.revents$offset(), (short) 0);
  }

  @Override
  public void close() {
    arena.close();
  }
}
