package dev.dyad.perf.link;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.link.rdma.RdmaSetup;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The receiving host of {@code dyad perf link}: for one client, starts perftest servers and takes links, as it is told. The link's end
 * lets go of what has arrived at once and, where commits are measured, acknowledges it.
 */
final class LinkPerfServer {
  /** What a client asks for: a link whose every arrival is acknowledged, as an epoch is, and one whose ring is let go of and no more. */
  static final String COMMITS = "commits";
  static final String STREAM = "stream";

  /** Added to either: the thread that drives the link spins, else it sleeps. */
  static final String SPINNING = " spinning";

  static final int PORT = 14_800;
  static final int LINK_PORT = 14_801;
  static final int PERFTEST_PORT = 14_802;
  static final long RING_BYTES = 1 << 23;
  static final Duration SETUP = Duration.ofSeconds(60);

  private final RdmaConfig config;
  private final String device;
  private final int gidIndex;
  private final String address;

  LinkPerfServer(String address, String device, int gidIndex, RdmaConfig config) {
    this.address = address;
    this.device = device;
    this.gidIndex = gidIndex;
    this.config = config;
  }

  /** Serves until the client says bye or goes. */
  void serve() throws IOException {
    try (ServerSocket listener = new ServerSocket()) {
      listener.setReuseAddress(true);
      listener.bind(new InetSocketAddress(InetAddress.getByName(address), PORT));
      try (Socket client = listener.accept();
          BufferedReader in = new BufferedReader(new InputStreamReader(client.getInputStream(), StandardCharsets.UTF_8));
          PrintWriter out = new PrintWriter(client.getOutputStream(), true, StandardCharsets.UTF_8)) {
        for (@Nullable String line = in.readLine(); line != null && !line.equals("bye"); line = in.readLine()) {
          if (line.startsWith(COMMITS) || line.startsWith(STREAM)) {
            takeLink(out, line.startsWith(COMMITS), line.endsWith(SPINNING));
          } else {
            List<String> words = List.of(line.split(" "));
            runPerftest(words, out);
          }
        }
      }
    }
  }

  private void runPerftest(List<String> words, PrintWriter out) throws IOException {
    if (!words.getFirst().matches("ib_write_bw|ib_write_lat|ib_send_lat|" + Perftest.PING_PONG)) {
      throw new IOException("the client asks for " + words.getFirst() + ", which is no program of ours to start");
    }
    Process server = Perftest.command(words.getFirst(), device, gidIndex, PERFTEST_PORT, words.subList(1, words.size()))
        .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    try {
      // It says nothing when it listens; its client tries for a while.
      out.println("started");
      server.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      server.destroyForcibly();
    }
    out.println("ended");
  }

  private void takeLink(PrintWriter out, boolean acknowledges, boolean spins) throws IOException {
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet(address, LINK_PORT), 1)) {
      out.println("started");
      PeerSocket peer = new PeerSocket(FileDescriptor.adopt(Sockets.accept(listener.fd(), 0)), SETUP);
      try (ReplicaLink link = new RdmaSetup(peer, RING_BYTES, config).receivingEnd();
          LinkIdle idle = new LinkIdle(spins);
          Mapping control = Mapping.anonymous(Mapping.PAGE_BYTES)) {
        take(link, acknowledges, control.hostVirt(), idle);
        out.println("ended " + link.failure());
      }
    }
  }

  private static void take(ReplicaLink link, boolean acknowledges, long control, LinkIdle idle) {
    long acknowledged = 0;
    while (link.isUp()) {
      int work = link.poll();
      long received = link.received();
      link.release(received);
      if (acknowledges && received > acknowledged) {
        Memory.putLong(control, 1);
        Memory.putLong(control + Long.BYTES, received);
        Memory.putLong(control + LinkEnd.CONTROL_BYTES - Long.BYTES, received);
        if (link.sendControl(control)) {
          acknowledged = received;
        }
        work++;
      }
      idle.after(link, work);
    }
  }
}
