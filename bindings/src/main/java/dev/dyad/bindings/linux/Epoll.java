package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.epoll_event;
import java.lang.foreign.Arena;

/**
 * Owner of an epoll set and of the list of what is ready. epoll(7). Registration from any thread, waiting from one; each
 * descriptor carries a long of the caller's. Allocates nothing after it is made.
 */
public final class Epoll implements AutoCloseable {

  private static final long EVENT_BYTES = epoll_event.sizeof();
  private static final long EVENTS = epoll_event.events$offset();
  private static final long DATA = epoll_event.data$offset();

  private final FileDescriptor descriptor;
  private final Arena arena = Arena.ofShared();
  private final int capacity;
  private final long events;

  /** @param capacity most descriptors that one wait reports; the others come with the next */
  public Epoll(int capacity) {
    this.descriptor =
        FileDescriptor.ofResult(Syscall.call(SYS_epoll_create1(), EPOLL_CLOEXEC()), "epoll_create1", "");
    this.capacity = capacity;
    this.events = arena.allocate(capacity * EVENT_BYTES, 16).address();
  }

  /** EPOLL_CTL_ADD of {@code EPOLL*}; returns 0 or {@code -errno}. */
  public int add(int fd, int interest, long data) {
    return control(EPOLL_CTL_ADD(), fd, interest, data);
  }

  /** EPOLL_CTL_MOD; returns 0 or {@code -errno}. */
  public int modify(int fd, int interest, long data) {
    return control(EPOLL_CTL_MOD(), fd, interest, data);
  }

  /** EPOLL_CTL_DEL; returns 0 or {@code -errno}. */
  public int remove(int fd) {
    return control(EPOLL_CTL_DEL(), fd, 0, 0);
  }

  private int control(int operation, int fd, int interest, long data) {
    long event = ThreadScratch.address();
    Memory.putInt(event + EVENTS, interest);
    Memory.putLong(event + DATA, data);
    return (int) Syscall.call(SYS_epoll_ctl(), descriptor.fd(), operation, fd, event);
  }

  /** Waits; -1 waits for ever. Returns how many are ready, 0 at the time-out, or {@code -errno}. */
  public int await(int timeoutMillis) {
    return (int) Syscall.call(SYS_epoll_wait(), descriptor.fd(), events, capacity, timeoutMillis);
  }

  /** {@code EPOLL*} of the {@code index}th that the last wait reported. */
  public int ready(int index) {
    return Memory.getInt(events + index * EVENT_BYTES + EVENTS);
  }

  /** The long that its descriptor was added with. */
  public long data(int index) {
    return Memory.getLong(events + index * EVENT_BYTES + DATA);
  }

  /** Itself polls readable while one of its descriptors is ready: several behind one. */
  public int fd() {
    return descriptor.fd();
  }

  @Override
  public void close() {
    descriptor.close();
    arena.close();
  }
}
