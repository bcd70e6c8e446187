package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.jspecify.annotations.Nullable;

/**
 * A guest without a CPU: a thread that writes pages at random and counts its writes; the count is its machine state, beside what it asked of its disk and knows to be done. Every page
 * holds the number of the last write to it, so that memory and state can be compared as of one instant.
 */
final class FakeGuest implements Hypervisor {
  private final GuestMemory memory;
  private final Mapping ram;
  private final boolean[] dirty;
  private final AtomicReference<@Nullable Thread> holder = new AtomicReference<>();
  private final Thread vcpu;
  private volatile boolean ended;
  private volatile boolean halted;
  private volatile @Nullable FakeDoor disk;
  private volatile long slowNanos;
  private Runnable sign = () -> {};
  private long signEveryNanos;
  private long writes;
  private long asked;
  private long answered;

  FakeGuest(int pages, long seed, long nanosBetweenWrites) {
    memory = GuestMemory.builder().block("ram", (long) pages << GuestMemory.PAGE_SHIFT).build(64 << 10);
    ram = Mapping.anonymous((long) pages << GuestMemory.PAGE_SHIFT);
    dirty = new boolean[pages];
    RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
    vcpu = Thread.ofPlatform().name("vcpu").daemon().start(() -> live(random, nanosBetweenWrites));
  }

  private void live(RandomGenerator random, long nanosBetweenWrites) {
    while (!ended) {
      hold();
      try {
        if (!halted) {
          int page = random.nextInt(dirty.length);
          writes++;
          Memory.putLong(ram.hostVirt() + ((long) page << GuestMemory.PAGE_SHIFT) + 8L * random.nextInt(512), writes);
          dirty[page] = true;
          useDisk();
        }
      } finally {
        letGo();
      }
      LockSupport.parkNanos(nanosBetweenWrites);
    }
  }

  /** Waits until nobody has hold of the guest. A lock of the library allocates when it waits, which the epoch thread must not. */
  private void hold() {
    while (!holder.compareAndSet(null, Thread.currentThread())) {
      Thread.yield();
    }
  }

  private void letGo() {
    holder.set(null);
  }

  /** The guest uses this disk from now on. */
  void disk(FakeDoor door) {
    disk = door;
  }

  private void useDisk() {
    FakeDoor door = disk;
    if (door != null) {
      answered = door.done();
      if (door.ask()) {
        asked = door.asked();
      }
    }
  }

  long hostVirt() {
    return ram.hostVirt();
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public void startTracking() {
    hold();
    java.util.Arrays.fill(dirty, true);
    letGo();
  }

  @Override
  public void whileWaiting(Runnable newSign, long everyNanos) {
    sign = newSign;
    signEveryNanos = everyNanos;
  }

  /** From now on each pause begins with a guest that goes on for so long. */
  void stopSlowly(long nanos) {
    slowNanos = nanos;
  }

  @Override
  public void pause() {
    long end = System.nanoTime() + slowNanos;
    while (System.nanoTime() < end) {
      LockSupport.parkNanos(signEveryNanos);
      sign.run();
    }
    hold();
  }

  @Override
  public boolean harvest(DirtyPages into) {
    boolean own = holder.get() == Thread.currentThread();
    if (!own) {
      hold();
    }
    try {
      for (int page = 0; page < dirty.length; page++) {
        if (dirty[page]) {
          if (!into.add(page, 1)) {
            return false;
          }
          dirty[page] = false;
        }
      }
      return true;
    } finally {
      if (!own) {
        letGo();
      }
    }
  }

  @Override
  public void copyPages(DirtyPages pages, long destination) {
    long to = destination;
    for (int i = 0; i < pages.runCount(); i++) {
      long bytes = (long) DirtyPages.pageCount(pages.run(i)) << GuestMemory.PAGE_SHIFT;
      Memory.copy(ram.hostVirt() + (DirtyPages.firstPage(pages.run(i)) << GuestMemory.PAGE_SHIFT), to, bytes);
      to += bytes;
    }
  }

  @Override
  public int captureState(long destination, int bytesMax) {
    Memory.putLong(destination, writes);
    Memory.putLong(destination + 8, asked);
    Memory.putLong(destination + 16, answered);
    return 24;
  }

  @Override
  public void resume() {
    letGo();
  }

  @Override
  public void halt() {
    hold();
    halted = true;
    letGo();
  }

  @Override
  public void unhalt() {
    halted = false;
  }

  boolean isHalted() {
    return halted;
  }

  @Override
  public void close() {
    ended = true;
    try {
      vcpu.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    ram.close();
  }
}
