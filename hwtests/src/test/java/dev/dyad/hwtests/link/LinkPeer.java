package dev.dyad.hwtests.link;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.verbs.VerbsObject;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.link.rdma.RdmaSetup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;

/**
 * One end of a link over RDMA in a process of its own: {@code receive ROUNDS [fence]} or {@code send ROUNDS ADDRESS SECONDS EPOCH_BYTES}. The
 * sender writes epochs of bytes that know their position and waits for each to be acknowledged; the receiver checks every byte, and with {@code fence}
 * takes the right to write away at the end of each round. Both say on their standard output what happened, and at the end what they still hold.
 */
final class LinkPeer {
  static final int PORT = 4791 + 10_000;
  static final long RING_BYTES = 1 << 20;

  /** After so long without a word the link ends. */
  static final Duration SILENCE = Duration.ofSeconds(8);

  /** The receiver fences when this file is there, and then looks whether its ring stays as it is until the second one comes. */
  static final Path FENCE = Path.of("/run/shared/fence");
  static final Path FENCED_LONG_ENOUGH = Path.of("/run/shared/enough");

  /** The sender ends its link when this file is there. */
  static final Path STOP = Path.of("/run/shared/stop");

  private static final Duration SETUP = Duration.ofSeconds(60);
  private static final int FLOWING_EPOCHS = 10;
  private static final long RETRY_MILLIS = 200;
  private static final long RETRY_MILLIS_MAX = 2000;

  private final Mapping scratch = Mapping.anonymous(Mapping.PAGE_BYTES);

  private LinkPeer() {}

  /** Bounds that a pair of emulated hosts on a busy machine keeps: a packet again after 268 ms, a beat each 100 ms, silence of 8 s is the end. */
  static RdmaConfig config() {
    return RdmaConfig.standard().withTimes(16, Duration.ofMillis(100), SILENCE);
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    var peer = new LinkPeer();
    int rounds = Integer.parseInt(args[1]);
    if (args[0].equals("receive")) {
      try (FileDescriptor listener = Sockets.listen(SocketAddress.inet(System.getenv("LAB_ADDRESS"), PORT), 1)) {
        System.out.println("listening");
        for (int round = 0; round < rounds; ) {
          try {
            peer.receive(FileDescriptor.adopt(Sockets.accept(listener.fd(), 0)), args.length > 2);
            round++;
          } catch (IOException e) {
            System.out.println("no link: " + e.getMessage());
          }
        }
      }
    } else {
      long pause = RETRY_MILLIS;
      for (int round = 0; round < rounds; ) {
        try {
          peer.send(args[2], Double.parseDouble(args[3]), Integer.parseInt(args[4]));
          round++;
          pause = RETRY_MILLIS;
        } catch (IOException e) {
          // As a node does: whoever lost its peer calls again, and again.
          System.out.println("no link: " + e.getMessage());
          Thread.sleep(pause);
          pause = Math.min(2 * pause, RETRY_MILLIS_MAX);
        }
      }
    }
    System.out.println("open " + VerbsObject.live() + " descriptors " + new java.io.File("/proc/self/fd").list().length + " pinned " + pinnedKib() + " kB");
  }

  /** Memory that devices hold in place. */
  private static long pinnedKib() throws IOException {
    try (var lines = Files.lines(Path.of("/proc/self/status"))) {
      return lines.filter(line -> line.startsWith("VmPin:")).mapToLong(line -> Long.parseLong(line.replaceAll("\\D", ""))).sum();
    }
  }

  private void receive(FileDescriptor socket, boolean fences) throws IOException {
    try (ReplicaLink link = new RdmaSetup(new PeerSocket(socket, SETUP), RING_BYTES, config()).receivingEnd()) {
      System.out.println("up " + link.getClass().getSimpleName());
      long checked = 0;
      boolean acknowledge = false;
      while (link.isUp() && !Files.exists(FENCE)) {
        int work = link.poll();
        if (link.received() > checked) {
          check(link, checked, link.received());
          checked = link.received();
          link.release(checked);
          acknowledge = true;
        }
        if (acknowledge && control(link, checked)) {
          acknowledge = false;
        }
        if (work == 0) {
          Thread.onSpinWait();
        }
      }
      System.out.println("down " + System.currentTimeMillis() + " checked " + checked + " because " + link.failure());
      if (Files.exists(FENCE)) {
        fence(link);
      } else if (fences) {
        link.fence();
      }
    }
  }

  private void fence(ReplicaLink link) throws IOException {
    long start = System.nanoTime();
    link.fence();
    System.out.println("fenced in " + (System.nanoTime() - start) / 1000 + " us");
    byte[] before = bytes(link);
    while (!Files.exists(FENCED_LONG_ENOUGH)) {
      Thread.onSpinWait();
    }
    System.out.println(Arrays.equals(before, bytes(link)) ? "ring unchanged" : "RING CHANGED");
  }

  private static byte[] bytes(ReplicaLink link) {
    byte[] all = new byte[(int) RING_BYTES];
    Memory.copyTo(link.ring().baseVirt(), all, 0, all.length);
    return all;
  }

  private boolean control(ReplicaLink link, long position) {
    Memory.zero(scratch.hostVirt(), LinkEnd.CONTROL_BYTES);
    Memory.putLong(scratch.hostVirt(), 1);
    Memory.putLong(scratch.hostVirt() + 8, position);
    return link.sendControl(scratch.hostVirt());
  }

  private void send(String address, double seconds, int epochBytes) throws IOException {
    try (ReplicationLink link = new RdmaSetup(PeerSocket.connect(SocketAddress.inet(address, PORT), SETUP), RING_BYTES, config()).sendingEnd()) {
      System.out.println("up " + link.getClass().getSimpleName());
      long start = System.nanoTime();
      long position = 0;
      int epochs = 0;
      long longest = 0;
      boolean stopped = false;
      while (link.isUp() && !stopped && System.nanoTime() - start < seconds * 1e9) {
        for (long at = position; at < position + epochBytes; at += 8) {
          Memory.putLong(link.ring().address(at), content(at));
        }
        position += epochBytes;
        long begin = System.nanoTime();
        link.publish(position);
        while (link.isUp() && !isAcknowledged(link, position)) {
          link.poll();
        }
        longest = Math.max(longest, System.nanoTime() - begin);
        epochs++;
        if (epochs == FLOWING_EPOCHS) {
          System.out.println("flowing");
        }
        stopped = epochs % FLOWING_EPOCHS == 0 && Files.exists(STOP);
      }
      System.out.println("down " + System.currentTimeMillis() + " sent " + position + " epochs " + epochs + " longest " + longest / 1_000_000 + " ms because "
          + (link.isUp() ? "time is over" : link.failure()));
    }
  }

  private boolean isAcknowledged(ReplicationLink link, long position) {
    while (link.receiveControl(scratch.hostVirt())) {
      if (Memory.getLong(scratch.hostVirt() + 8) == position) {
        return link.released() == position;
      }
    }
    return false;
  }

  private static void check(ReplicaLink link, long from, long to) {
    for (long at = from; at < to; at += 8) {
      if (Memory.getLong(link.ring().address(at)) != content(at)) {
        throw new IllegalStateException("wrong bytes at position " + at);
      }
    }
  }

  private static long content(long position) {
    return position * 0x9e3779b97f4a7c15L + 1;
  }
}
