package dev.dyad.engine.link.shm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.abi.wire.dyad_shm;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.wire.Wire;

/**
 * The head of the memory that both ends share: positions, control messages, and who sleeps. Every word has one writer (the flags of sleep
 * have two, who swap them atomically).
 *
 * <p>A bell is one byte over the unix socket, so that the same descriptor tells of a peer that is gone. It is rung only for one who said that
 * it will sleep: the sleeper sets its flag and then looks again, the other moves its position and then looks at the flag; with volatile
 * accesses on both sides, at least one of them sees the other's.
 */
final class ShmHead implements AutoCloseable {
  static final int BYTES = wire_h.DYAD_SHM_HEAD_BYTES();
  static final int SLOTS = wire_h.DYAD_SHM_SLOTS();

  static final long PUBLISHED = dyad_shm.published$offset();
  static final long RELEASED = dyad_shm.released$offset();
  static final long CONTROL_SENT = dyad_shm.control_sent$offset();
  static final long CONTROL_TAKEN = dyad_shm.control_taken$offset();
  static final long PRIMARY_WAITS = dyad_shm.primary_waits$offset();
  static final long STANDBY_WAITS = dyad_shm.standby_waits$offset();

  private static final int MAGIC = wire_h.DYAD_SHM_MAGIC();
  private static final long CONTROL = dyad_shm.control$offset();
  private static final int BELL_BYTES = 64;

  private final Mapping mapping;
  private final long base;

  ShmHead(int fd) {
    mapping = Mapping.shared(fd, 0, BYTES);
    base = mapping.hostVirt();
  }

  /** By the one who made the memory, before it is passed on. */
  void write(long ringBytes) {
    Memory.putLong(base + dyad_shm.ring_bytes$offset(), ringBytes);
    Memory.putShort(base + dyad_shm.version$offset(), (short) Wire.VERSION);
    Memory.putInt(base + dyad_shm.magic$offset(), MAGIC);
  }

  /** What is wrong with it, in one line; empty when it is right. */
  String check(long ringBytes) {
    int magic = Memory.getInt(base + dyad_shm.magic$offset());
    int version = Memory.getShort(base + dyad_shm.version$offset());
    long found = Memory.getLong(base + dyad_shm.ring_bytes$offset());
    return magic != MAGIC || version != Wire.VERSION || found != ringBytes
        ? "the peer's shared memory has magic %x, version %d and a ring of %d bytes; needed are %x, %d and %d"
            .formatted(magic, version, found, MAGIC, Wire.VERSION, ringBytes)
        : "";
  }

  long get(long word) {
    return Memory.getLongAcquire(base + word);
  }

  /** Moves a position and wakes the reader if it sleeps. */
  void put(long word, long value, long readerWaits, int socket) {
    Memory.putLongVolatile(base + word, value);
    if (Memory.getIntVolatile(base + readerWaits) != 0 && Memory.compareAndSetInt(base + readerWaits, 1, 0)) {
      // Full means that it is ringing already; a peer that is gone is noticed when receiving.
      Sockets.send(socket, base + readerWaits, 1, linux_h.MSG_DONTWAIT());
    }
  }

  void sleeps(long waits) {
    Memory.putIntVolatile(base + waits, 1);
  }

  void awake(long waits) {
    Memory.putIntVolatile(base + waits, 0);
  }

  long controlSlot(long count) {
    return base + CONTROL + (count % SLOTS) * LinkEnd.CONTROL_BYTES;
  }

  /**
   * Takes bells off the socket.
   *
   * @param scratch room for {@link #BELL_BYTES}
   * @return 0, or −errno; −ENOTCONN when the peer is gone
   */
  static int takeBells(int socket, long scratch) {
    long result;
    do {
      result = Sockets.receive(socket, scratch, BELL_BYTES, linux_h.MSG_DONTWAIT());
    } while (result == BELL_BYTES);
    if (result == 0) {
      return -linux_h.ENOTCONN();
    }
    return result > 0 || result == -linux_h.EAGAIN() || result == -linux_h.EINTR() ? 0 : (int) result;
  }

  @Override
  public void close() {
    mapping.close();
  }
}
