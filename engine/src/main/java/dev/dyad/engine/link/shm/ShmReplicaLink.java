package dev.dyad.engine.link.shm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.MemFd;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.ReplicaLink;

/**
 * The receiving end of a ring in shared memory. It makes the memory (a memfd that cannot change its size) and passes it to the peer
 * over the unix socket that the handshake used; after that the socket carries bells, and its end is the peer's end.
 *
 * <p>Thread: the standby's ship thread. Owns socket and mappings.
 */
public final class ShmReplicaLink extends ShmEnd implements ReplicaLink {
  private long received;
  private long released;
  private long controlsSent;
  private long controlsTaken;

  private ShmReplicaLink(FileDescriptor socket, int memory, ShmHead head, long ringBytes) {
    super(socket, memory, head, ringBytes, ShmHead.STANDBY_WAITS);
  }

  /**
   * Makes the memory and passes it on.
   *
   * @param connected a unix socket after the handshake; owned from now on, also if this fails
   * @param ringBytes a power of two, as agreed with the peer
   */
  public static ShmReplicaLink create(FileDescriptor connected, long ringBytes) {
    try (MemFd memory = MemFd.create("dyad-link", ShmHead.BYTES + ringBytes)) {
      int seals = linux_h.F_SEAL_SHRINK() | linux_h.F_SEAL_GROW() | linux_h.F_SEAL_SEAL();
      NativeException.check(memory.seal(seals), "fcntl F_ADD_SEALS", "fd=" + memory.fd());
      ShmHead head = new ShmHead(memory.fd());
      try {
        head.write(ringBytes);
        NativeException.check(Sockets.sendDescriptor(connected.fd(), memory.fd()), "sendmsg SCM_RIGHTS", "shared ring");
        return new ShmReplicaLink(connected, memory.fd(), head, ringBytes);
      } catch (RuntimeException e) {
        head.close();
        throw e;
      }
    } catch (RuntimeException e) {
      connected.close();
      throw e;
    }
  }

  @Override
  public long received() {
    return received;
  }

  @Override
  public void release(long position) {
    if (isOpen() && position != released) {
      released = position;
      head.put(ShmHead.RELEASED, position, ShmHead.PRIMARY_WAITS, socket.fd());
    }
  }

  @Override
  int look() {
    long position = head.get(ShmHead.PUBLISHED);
    if (position < received || position > released + ring().capacityBytes()) {
      fail("the peer published position " + position + ", possible are " + received + " to " + (released + ring().capacityBytes()));
      return 0;
    }
    long taken = head.get(ShmHead.CONTROL_TAKEN);
    int work = (position > received ? 1 : 0) + (taken != controlsTaken ? 1 : 0);
    received = position;
    controlsTaken = taken;
    return work;
  }

  @Override
  boolean hasWork() {
    return head.get(ShmHead.PUBLISHED) != received || head.get(ShmHead.CONTROL_TAKEN) != controlsTaken;
  }

  @Override
  public boolean sendControl(long source) {
    if (!isUp() || controlsSent - head.get(ShmHead.CONTROL_TAKEN) >= ShmHead.SLOTS) {
      return false;
    }
    Memory.copy(source, head.controlSlot(controlsSent), CONTROL_BYTES);
    controlsSent++;
    head.put(ShmHead.CONTROL_SENT, controlsSent, ShmHead.PRIMARY_WAITS, socket.fd());
    return true;
  }

  @Override
  public void fence() {
    if (isOpen()) {
      fail("fenced: the peer's memory was let go of");
      ring().unshare();
    }
  }

  @Override
  public long activity() {
    return received + controlsTaken;
  }
}
