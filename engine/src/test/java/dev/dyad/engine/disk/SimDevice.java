package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.ENOSPC;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.LongConsumer;

/**
 * A disk with a volatile cache under a seed: requests complete in any order, and a loss of power keeps, of what was not flushed, some
 * writes, some sectors of writes, and nothing of others. It can fail, be slow, and lie.
 */
final class SimDevice implements BlockDevice {
  static final int SECTOR = 512;

  /** The host lost its power in the middle of something that waits. */
  static final class PowerLostException extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  private static final class Request {
    int op;
    int flags;
    long offset;
    long bytes;
    long hostVirt;
    long tag;
    int flushFrom;
  }

  private static final class Cached {
    long offset;
    byte[] data = new byte[0];
    boolean must;
  }

  private final Mapping current;
  private final Mapping stable;
  private final long bytes;
  private final Random random;
  private final DiskEvents events;
  private final List<Request> running = new ArrayList<>();
  private List<Cached> cache = new ArrayList<>();

  /** Told of each write, discard or zeroes that is taken: the address that came with it. */
  LongConsumer onWrite = hostVirt -> {};

  /** WRITEs that were submitted. */
  long writes;

  /** Errno for every request from now on, 0 for none; reads too. */
  int error;

  /** Polls that complete nothing. */
  int sleepPolls;

  /** Writes until the power is lost, −1 for never. */
  int writesUntilPowerLoss = -1;

  /** The fault of a device that says done and did not: ops (bit mask), from an offset on. */
  int liesAboutOps;

  long liesFrom;
  long liesTo = Long.MAX_VALUE;

  SimDevice(long bytes, Random random, DiskEvents events) {
    this.bytes = bytes;
    this.random = random;
    this.events = events;
    current = Mapping.anonymous(bytes);
    stable = Mapping.anonymous(bytes);
  }

  long contents() {
    return current.hostVirt();
  }

  @Override
  public long bytes() {
    return bytes;
  }

  @Override
  public int blockBytes() {
    return SECTOR;
  }

  @Override
  public int queueDepth() {
    return 32;
  }

  @Override
  public int transferBytesMax() {
    return 16 << 10;
  }

  /** The first block alone: whether it is zeroes. */
  @Override
  public long extent(long offset, long length) {
    for (int i = 0; i < SECTOR; i += Long.BYTES) {
      if (Memory.getLong(current.hostVirt() + offset + i) != 0) {
        return SECTOR;
      }
    }
    return -SECTOR;
  }

  @Override
  public int inFlight() {
    return running.size();
  }

  @Override
  public boolean submit(int op, int flags, long offset, long length, long hostVirt, long tag) {
    if (running.size() == queueDepth()) {
      return false;
    }
    if (op != FLUSH && (offset < 0 || length <= 0 || offset + length > bytes || offset % SECTOR != 0 || length % SECTOR != 0)) {
      throw new AssertionError("request " + op + " of " + length + " at " + offset + " on " + bytes);
    }
    writes += op == WRITE ? 1 : 0;
    if (op == WRITE || op == DISCARD || op == ZEROES) {
      if (writesUntilPowerLoss >= 0 && --writesUntilPowerLoss < 0) {
        throw new PowerLostException();
      }
      for (Request r : running) {
        if ((r.op == WRITE || r.op == DISCARD || r.op == ZEROES) && r.offset < offset + length && offset < r.offset + r.bytes) {
          throw new AssertionError("two writes overlap in flight at " + offset);
        }
      }
      onWrite.accept(hostVirt);
    }
    Request request = new Request();
    request.op = op;
    request.flags = flags;
    request.offset = offset;
    request.bytes = length;
    request.hostVirt = hostVirt;
    request.tag = tag;
    request.flushFrom = cache.size();
    running.add(request);
    return true;
  }

  @Override
  public int poll(Completions completions) {
    if (sleepPolls > 0) {
      if (!running.isEmpty()) {
        events.add(DiskEvents.Kind.SLOW_DISK);
      }
      sleepPolls--;
      return 0;
    }
    int done = 0;
    int want = running.isEmpty() ? 0 : 1 + random.nextInt(running.size());
    for (int i = 0; i < want && !running.isEmpty(); i++) {
      int which = random.nextInt(running.size());
      if (which > 0) {
        events.add(DiskEvents.Kind.COMPLETED_OUT_OF_ORDER);
      }
      Request request = running.remove(which);
      int result = error;
      if (result == 0) {
        perform(request);
      } else {
        events.add(result == -ENOSPC() ? DiskEvents.Kind.ENOSPC : DiskEvents.Kind.EIO);
      }
      done++;
      completions.completed(request.tag, result);
    }
    return done;
  }

  private void perform(Request r) {
    boolean lie = (liesAboutOps & (1 << r.op)) != 0 && r.offset >= liesFrom && r.offset < liesTo;
    if (lie) {
      return;
    }
    switch (r.op) {
      case READ -> Memory.copy(current.hostVirt() + r.offset, r.hostVirt, r.bytes);
      case FLUSH -> {
        for (int i = 0; i < Math.min(r.flushFrom, cache.size()); i++) {
          cache.get(i).must = true;
        }
        settle();
      }
      default -> {
        if (r.op == WRITE) {
          Memory.copy(r.hostVirt, current.hostVirt() + r.offset, r.bytes);
        } else {
          Memory.zero(current.hostVirt() + r.offset, r.bytes);
        }
        Cached cached = new Cached();
        cached.offset = r.offset;
        cached.data = new byte[(int) r.bytes];
        Memory.copyTo(current.hostVirt() + r.offset, cached.data, 0, (int) r.bytes);
        cached.must = (r.flags & FUA) != 0;
        cache.add(cached);
        if (cache.size() == 1) {
          settle();
        }
      }
    }
  }

  /** What must be durable and has nothing undecided before it leaves the cache. */
  private void settle() {
    int keep = 0;
    while (keep < cache.size() && cache.get(keep).must) {
      persist(cache.get(keep), 0, cache.get(keep).data.length);
      keep++;
    }
    if (keep > 0) {
      cache = new ArrayList<>(cache.subList(keep, cache.size()));
      for (Request r : running) {
        r.flushFrom = Math.max(0, r.flushFrom - keep);
      }
    }
  }

  private void persist(Cached cached, int from, int length) {
    Memory.copyFrom(cached.data, from, stable.hostVirt() + cached.offset + from, length);
  }

  /** The process ends: what runs may or may not happen. */
  void stop() {
    writesUntilPowerLoss = -1;
    while (!running.isEmpty()) {
      Request request = running.remove(random.nextInt(running.size()));
      if (request.op != READ && request.op != FLUSH && random.nextBoolean()) {
        request.flags &= random.nextBoolean() ? ~FUA : -1; // one that is to be durable is a write and a flush
        perform(request);
      }
    }
  }

  /** Power is lost: of each write that was not flushed, all, some sectors or nothing survives. */
  void losePower() {
    stop();
    boolean lost = false;
    for (Cached cached : cache) {
      int fate = cached.must ? 0 : random.nextInt(4);
      if (fate <= 1) {
        persist(cached, 0, cached.data.length);
        if (lost) {
          events.add(DiskEvents.Kind.WRITE_REORDERED);
        }
      } else if (fate == 2) {
        int kept = 0;
        for (int from = 0; from < cached.data.length; from += SECTOR) {
          if (random.nextBoolean()) {
            persist(cached, from, SECTOR);
            kept += SECTOR;
          }
        }
        if (kept > 0 && kept < cached.data.length) {
          events.add(DiskEvents.Kind.WRITE_TORN);
        }
        lost |= kept == 0;
      } else {
        events.add(DiskEvents.Kind.WRITE_LOST);
        lost = true;
      }
    }
    cache = new ArrayList<>();
    Memory.copy(stable.hostVirt(), current.hostVirt(), bytes);
  }

  /** Another disk, empty. */
  void replace() {
    running.clear();
    cache = new ArrayList<>();
    error = 0;
    Memory.zero(current.hostVirt(), bytes);
    Memory.zero(stable.hostVirt(), bytes);
  }

  long value(long offset) {
    return Memory.getLong(current.hostVirt() + offset);
  }

  /** Closing the engine's end leaves the disk; the simulation owns it. */
  @Override
  public void close() {
    stop();
  }

  void free() {
    current.close();
    stable.close();
  }
}
