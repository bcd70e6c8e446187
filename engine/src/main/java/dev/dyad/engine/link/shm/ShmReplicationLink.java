package dev.dyad.engine.link.shm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.linux.Syscall;
import dev.dyad.engine.link.ReplicationLink;

/**
 * The sending end of a ring in memory that both processes share: nothing is copied, only positions move. See {@link ShmReplicaLink}.
 *
 * <p>Thread: ship. Owns socket and mappings.
 */
public final class ShmReplicationLink extends ShmEnd implements ReplicationLink {
  private long published;
  private long released;
  private long controlsArrived;
  private long controlsTaken;

  private ShmReplicationLink(FileDescriptor socket, int memory, ShmHead head, long ringBytes) {
    super(socket, memory, head, ringBytes, ShmHead.PRIMARY_WAITS);
  }

  /**
   * Takes the shared memory from the peer, which made it.
   *
   * @param connected a unix socket after the handshake; owned from now on, also if this fails
   * @param ringBytes as agreed with the peer
   * @param timeoutMillis bound of the wait for it
   */
  public static ShmReplicationLink receive(FileDescriptor connected, long ringBytes, int timeoutMillis) {
    try {
      Poll.once(connected.fd(), linux_h.POLLIN(), timeoutMillis);
      connected.setNonBlocking(true);
      int passed = (int) NativeException.check(Sockets.receiveDescriptor(connected.fd()), "recvmsg SCM_RIGHTS", "shared ring");
      try (FileDescriptor memory = FileDescriptor.adopt(passed)) {
        return open(connected, memory.fd(), ringBytes);
      }
    } catch (RuntimeException e) {
      connected.close();
      throw e;
    }
  }

  private static ShmReplicationLink open(FileDescriptor connected, int memory, long ringBytes) {
    requireFixedSize(memory, ringBytes);
    ShmHead head = new ShmHead(memory);
    try {
      String wrong = head.check(ringBytes);
      if (!wrong.isEmpty()) {
        throw new IllegalStateException(wrong);
      }
      return new ShmReplicationLink(connected, memory, head, ringBytes);
    } catch (RuntimeException e) {
      head.close();
      throw e;
    }
  }

  /** Memory that the peer could shrink under us would end this process with SIGBUS. */
  private static void requireFixedSize(int memory, long ringBytes) {
    long seals = Syscall.call(linux_h.SYS_fcntl(), memory, linux_h.F_GET_SEALS());
    long bytes = Files.bytes(memory);
    if (seals < 0 || (seals & linux_h.F_SEAL_SHRINK()) == 0 || bytes != ShmHead.BYTES + ringBytes) {
      throw new IllegalStateException(
          "the peer's shared memory has " + bytes + " bytes and seals " + seals + ", needed are " + (ShmHead.BYTES + ringBytes) + " bytes and F_SEAL_SHRINK");
    }
  }

  @Override
  public long released() {
    return released;
  }

  @Override
  public void publish(long position) {
    if (isOpen()) {
      published = position;
      head.put(ShmHead.PUBLISHED, position, ShmHead.STANDBY_WAITS, socket.fd());
    }
  }

  @Override
  int look() {
    long position = head.get(ShmHead.RELEASED);
    long controls = head.get(ShmHead.CONTROL_SENT);
    if (position < released || position > published) {
      fail("the peer let go of position " + position + ", possible are " + released + " to " + published);
      return 0;
    }
    if (controls < controlsArrived || controls - controlsTaken > ShmHead.SLOTS) {
      fail("the peer counts " + controls + " control messages, possible are " + controlsArrived + " to " + (controlsTaken + ShmHead.SLOTS));
      return 0;
    }
    int work = (position > released ? 1 : 0) + (int) (controls - controlsArrived);
    released = position;
    controlsArrived = controls;
    return work;
  }

  @Override
  boolean hasWork() {
    return head.get(ShmHead.RELEASED) != released || head.get(ShmHead.CONTROL_SENT) != controlsTaken;
  }

  @Override
  public boolean receiveControl(long destination) {
    if (!isOpen() || controlsTaken == controlsArrived) {
      return false;
    }
    Memory.copy(head.controlSlot(controlsTaken), destination, CONTROL_BYTES);
    controlsTaken++;
    head.put(ShmHead.CONTROL_TAKEN, controlsTaken, ShmHead.STANDBY_WAITS, socket.fd());
    return true;
  }

  @Override
  public long activity() {
    return released + controlsArrived;
  }
}
