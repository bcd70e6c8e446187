package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Poll;
import dev.dyad.engine.link.LinkEnd;

/**
 * What a disk's thread sleeps on when a turn found nothing to do: completions of its rings, what its peer sends or makes room for. Each sleep names them anew. One
 * thread; allocates nothing after it is made.
 */
public final class DiskRest implements AutoCloseable {
  /** A thread has one disk, of five rings and links, the image that a machine reads while it waits, 17 sockets of an NBD server, and its bell. */
  private static final int PLACES = 24;

  private final Poll poll = new Poll(PLACES);
  private int count;
  private boolean wanted;

  /** Nothing is waited for yet. */
  DiskRest begin() {
    for (int i = 0; i < count; i++) {
      poll.set(i, -1, 0);
    }
    count = 0;
    wanted = false;
    return this;
  }

  /**
   * Wakes when a descriptor has that.
   *
   * @return its place, for {@link #woke}
   */
  public int on(int fd, int events) {
    if (count == PLACES) {
      throw new IllegalStateException("more than " + PLACES + " descriptors to wait on");
    }
    poll.set(count, fd, events);
    return count++;
  }

  /** Something is there already. */
  public void stayAwake() {
    wanted = true;
  }

  /** Wakes when the link has something to do; one that is down never has. */
  void on(LinkEnd link) {
    if (!link.isUp()) {
      return;
    }
    if (!link.prepareToWait()) {
      stayAwake();
    }
    if (link.pollEvents() != 0) {
      on(link.pollFd(), link.pollEvents());
    }
  }

  /** Sleeps, unless something is there already; false when nothing came within the bound. */
  boolean sleep(long nanosMax) {
    return wanted || poll.awaitNanos(nanosMax) != 0;
  }

  /** Whether it was that descriptor that ended the sleep, or it did so too. */
  boolean woke(int place) {
    return poll.ready(place) != 0;
  }

  @Override
  public void close() {
    poll.close();
  }
}
