package dev.dyad.perf.link;

import dev.dyad.bindings.linux.Poll;
import dev.dyad.engine.link.LinkEnd;

/** How a link's thread waits in {@code dyad perf link}: as a node's does, asleep, or spinning if asked to. One thread; allocates nothing after it is made. */
final class LinkIdle implements AutoCloseable {
  /** In case that what it waits for is not of the link, such as time. About a node's next tick: a timer that is due before the kernel's own costs the sleeper its setting. */
  private static final long SLEEP_NANOS_MAX = 10_000_000;

  private final boolean spins;
  private final Poll waits = new Poll(1);

  LinkIdle(boolean spins) {
    this.spins = spins;
  }

  /** @param work that the link had just now; with none, the thread waits */
  void after(LinkEnd link, int work) {
    if (work > 0) {
      return;
    }
    if (spins) {
      Thread.onSpinWait();
    } else if (link.prepareToWait()) {
      waits.set(0, link.pollFd(), link.pollEvents());
      waits.awaitNanos(SLEEP_NANOS_MAX);
    }
  }

  @Override
  public void close() {
    waits.close();
  }
}
