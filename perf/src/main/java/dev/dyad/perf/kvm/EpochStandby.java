package dev.dyad.perf.kvm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.memory.EpochReader;
import dev.dyad.engine.memory.Replica;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.Reason;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The standby's process: {@code EpochStandby SOCKET}. Takes one primary after the other, acknowledges each whole epoch, then applies it. At the
 * end of a session it prints {@code crc} and the checksum of the part of the replica that the primary's goodbye names.
 */
final class EpochStandby implements EpochReader.Listener {
  static final long RING_BYTES = 256L << 20;
  static final long GENERATION = 1;
  private static final long EPOCH_BYTES_MAX = 1L << 30;
  private static final int SETUP_MILLIS = 60_000;

  private final ShmReplicaLink link;
  private final EpochReader reader;
  private final List<Mapping> memory = new ArrayList<>();
  private long whole = -1;
  private @Nullable String end;

  private EpochStandby(ShmReplicaLink link) {
    this.link = link;
    reader = new EpochReader(link, GENERATION, EPOCH_BYTES_MAX, 1 << 20, this);
  }

  public static void main(String[] arguments) {
    ProcessHandle.of(Long.parseLong(arguments[1])).orElseThrow().onExit().thenRun(() -> Runtime.getRuntime().halt(0));
    try (FileDescriptor listener = Sockets.listen(SocketAddress.unix(arguments[0]), 1)) {
      System.out.println("listening");
      while (true) {
        Poll.once(listener.fd(), linux_h.POLLIN(), -1);
        FileDescriptor peer = FileDescriptor.adopt((int) NativeException.check(Sockets.accept(listener.fd(), 0), "accept", arguments[0]));
        try (ShmReplicaLink link = ShmReplicaLink.create(peer, RING_BYTES)) {
          System.out.println(new EpochStandby(link).serve());
        }
      }
    }
  }

  private String serve() {
    try {
      while (end == null) {
        int work = reader.poll();
        if (reader.waiting() > 0) {
          reader.apply(whole, Long.MAX_VALUE);
          work++;
        }
        if (!link.isUp() && end == null) {
          end = link.failure();
        }
        if (work == 0 && link.prepareToWait()) {
          Poll.once(link.pollFd(), link.pollEvents(), SETUP_MILLIS);
        }
      }
      return end;
    } finally {
      reader.close();
      memory.forEach(Mapping::close);
    }
  }

  @Override
  public void machine(int kind, byte[] description) {}

  @Override
  public void memory(GuestMemory layout, long epoch) {
    long[] blocks = new long[layout.blocks().size() + 1];
    for (int i = 0; i < blocks.length; i++) {
      Mapping block = Mapping.anonymous(i < blocks.length - 1 ? layout.blocks().get(i).bytes() : layout.state().bytes());
      memory.add(block);
      blocks[i] = block.hostVirt();
    }
    reader.attach(new Replica(layout, blocks));
    reader.ready();
  }

  @Override
  public void whole(long epoch, boolean baseline, long sentNanos, int stateBytes) {
    whole = epoch;
    reader.acknowledge(epoch, sentNanos);
  }

  @Override
  public void heartbeat(long sentNanos) {}

  @Override
  public void bye(int reasonCode, long found, long needed) {
    reader.apply(whole, Long.MAX_VALUE);
    end = "crc " + Integer.toHexString(new Crc32c(memory.getFirst().hostVirt(), found).of(memory.getFirst().hostVirt(), (int) found));
  }

  @Override
  public void refused(Reason reason, long found, long needed) {
    end = Reason.message(reason.code(), found, needed);
  }
}
