package dev.dyad.perf.link;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.abi.wire.dyad_rdma_message;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.link.rdma.RdmaSetup;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.net.ConnectException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/**
 * The sending host of {@code dyad perf link}: perftest and our link in turn, same sizes, same hosts. One thread.
 *
 * <p>Bandwidth in MB/s (larger is better), the CPU time of posting a write in ns beside a C program's, the rest in µs. What a commit is held against: perftest's one-way latency of its bytes by a
 * write and of the acknowledgement by a send; a commit of many pages: the time that perftest's bandwidth implies.
 */
final class LinkPerfClient implements AutoCloseable {
  /** Of a message of the link, {@code dyad_rdma_message}: what an acknowledgement is. */
  private static final int ACK_BYTES = (int) dyad_rdma_message.sizeof();
  private static final int CONNECT_TRIES = 300;

  /** On an emulated host the compilers need this long for what the link does over and over. */
  private static final double WARM_UP_SECONDS = 4;

  /** What is allocated is the least of so many windows: linking a call, or a compiled method that is given up, allocates once. */
  private static final int WINDOWS = 4;

  /** In turn, the best of each: one run of some milliseconds hits a disturbance of the host or does not. */
  private static final int POST_RUNS = 3;
  private static final int COMMIT_RUNS = 3;

  private final String peer;
  private final String device;
  private final int gidIndex;
  private final int mtuBytes;
  private final RdmaConfig config;
  private final double seconds;
  private final Socket socket;
  private final BufferedReader in;
  private final PrintWriter out;
  private final Mapping control = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final boolean busyPoll;
  private final Set<Part> parts;
  private final Consumer<Map<String, Object>> told;
  private final List<Map<String, Object>> cases = new ArrayList<>();
  private long allocated;

  /**
   * @param parts what is measured
   * @param told is given each case when it has been measured
   */
  LinkPerfClient(String peer, String device, int gidIndex, int mtuBytes, RdmaConfig config, boolean busyPoll, double seconds, Set<Part> parts,
      Consumer<Map<String, Object>> told) throws IOException {
    this.mtuBytes = mtuBytes;
    this.parts = parts;
    this.told = told;
    this.peer = peer;
    this.device = device;
    this.gidIndex = gidIndex;
    this.config = config;
    this.seconds = seconds;
    this.busyPoll = busyPoll;
    socket = connect(peer);
    in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
    out = new PrintWriter(socket.getOutputStream(), true, StandardCharsets.UTF_8);
  }

  /** The other host may be some seconds behind. */
  private static Socket connect(String peer) throws IOException {
    for (int i = 0; ; i++) {
      try {
        return new Socket(peer, LinkPerfServer.PORT);
      } catch (ConnectException e) {
        if (i == CONNECT_TRIES) {
          throw new IOException("nobody serves at " + peer + " port " + LinkPerfServer.PORT + ": run 'dyad perf link --listen' there", e);
        }
        sleep(100);
      }
    }
  }

  Map<String, Object> measure() throws IOException {
    if (parts.contains(Part.post)) {
      measurePosting();
    }
    double bandwidth = 0;
    if (parts.contains(Part.bandwidth) || parts.contains(Part.pages)) {
      for (int bytes : new int[] {4096, 65536}) {
        bandwidth = perftestBandwidth(bytes);
        if (parts.contains(Part.bandwidth)) {
          add("bandwidth", bytes, ourBandwidth(bytes), bandwidth);
        }
      }
    }
    if (parts.contains(Part.commit)) {
      for (int bytes : new int[] {8, 4096}) {
        measureCommit(bytes);
      }
    }
    if (parts.contains(Part.pages)) {
      for (int pages : new int[] {100, 1000}) {
        int bytes = pages * 4096;
        add("commit", bytes, ourCommit(bytes, busyPoll, WARM_UP_SECONDS).median(), bytes / bandwidth);
      }
    }
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("cases", cases);
    report.put("allocatedBytes", allocated);
    return report;
  }

  private void measurePosting() throws IOException {
    PostCost posting = new PostCost(device, gidIndex);
    double java = Double.MAX_VALUE;
    double c = Double.MAX_VALUE;
    for (int i = 0; i < POST_RUNS; i++) {
      java = Math.min(java, posting.inJava());
      c = Math.min(c, posting.inC());
    }
    add("post", PostCost.BYTES, java, c);
  }

  /**
   * Like beside like, in turn, the middle run of each: threads that spin beside perftest's, which do; threads that sleep beside ibv_rc_pingpong's, which wait for events. Of those there are
   * averages only.
   */
  private void measureCommit(int bytes) throws IOException {
    Times[] ours = new Times[COMMIT_RUNS];
    Times[] theirs = new Times[COMMIT_RUNS];
    double[] asleepOurs = new double[COMMIT_RUNS];
    double[] asleepTheirs = new double[COMMIT_RUNS];
    for (int i = 0; i < COMMIT_RUNS; i++) {
      double warmUp = i == 0 ? WARM_UP_SECONDS : WARM_UP_SECONDS / 4;
      theirs[i] = perftestLatency("ib_write_lat", bytes).plus(perftestLatency("ib_send_lat", ACK_BYTES));
      ours[i] = ourCommit(bytes, true, warmUp);
      asleepOurs[i] = ourCommit(bytes, false, warmUp).average();
      asleepTheirs[i] = (pingPong(bytes) + pingPong(ACK_BYTES)) / 2;
    }
    add("commit", bytes, Times.middle(ours), Times.middle(theirs));
    add("commit asleep", bytes, Times.middle(asleepOurs), Times.middle(asleepTheirs));
  }

  private void add(String op, int bytes, double ours, double theirs) {
    tell(row(op, bytes, ours, theirs));
  }

  private void add(String op, int bytes, Times ours, Times theirs) {
    Map<String, Object> one = row(op, bytes, ours.median(), theirs.median());
    one.put("oursP99", rounded(ours.p99()));
    one.put("peerP99", rounded(theirs.p99()));
    one.put("oursMax", rounded(ours.max()));
    one.put("peerMax", rounded(theirs.max()));
    tell(one);
  }

  private static Map<String, Object> row(String op, int bytes, double ours, double theirs) {
    Map<String, Object> one = new LinkedHashMap<>();
    one.put("op", op);
    one.put("bytes", bytes);
    one.put("unit", op.equals("bandwidth") ? "MB/s" : op.equals("post") ? "ns" : "us");
    one.put("ours", rounded(ours));
    one.put("peer", rounded(theirs));
    one.put("ratio", Math.round(ours / theirs * 1000) / 1000.0);
    return one;
  }

  private void tell(Map<String, Object> row) {
    cases.add(row);
    told.accept(row);
  }

  private static double rounded(double value) {
    return Math.round(value * 100) / 100.0;
  }

  // ---- perftest

  /** @return MB/s, a million bytes each */
  private double perftestBandwidth(int bytes) throws IOException {
    double[] row = perftest("ib_write_bw", List.of("-s", String.valueOf(bytes), "-D", String.valueOf((int) Math.max(2, Math.ceil(seconds)))));
    return row[3] * (1 << 20) / 1e6;
  }

  /** @return one way */
  private Times perftestLatency(String program, int bytes) throws IOException {
    double[] row = perftest(program, List.of("-s", String.valueOf(bytes), "-n", "1000"));
    return new Times(row[4], row[5], row[7], row[3]);
  }

  /** @return µs there and back, on average */
  private double pingPong(int bytes) throws IOException {
    return with(Perftest.PING_PONG, List.of("-e", "-m", String.valueOf(mtuBytes), "-s", String.valueOf(bytes), "-n", "1000"), Perftest::roundTrip);
  }

  private double[] perftest(String program, List<String> options) throws IOException {
    return with(program, options, Perftest::row);
  }

  private interface Program<T> {
    T run(ProcessBuilder client) throws IOException;
  }

  private <T> T with(String program, List<String> options, Program<T> run) throws IOException {
    ask(program + " " + String.join(" ", options));
    List<String> withPeer = new ArrayList<>(options);
    withPeer.add(peer);
    IOException last = null;
    for (int i = 0; i < 20; i++) {
      sleep(500);
      try {
        T result = run.run(Perftest.command(program, device, gidIndex, LinkPerfServer.PERFTEST_PORT, withPeer));
        await("ended");
        return result;
      } catch (IOException e) {
        last = e; // the server may not listen yet
      }
    }
    throw last == null ? new IOException(program + " was not tried") : last;
  }

  // ---- ours

  private interface Measurement<T> {
    T of(ReplicationLink link, LinkIdle idle);
  }

  /** @param how {@link LinkPerfServer#COMMITS}: each arrival is acknowledged, {@link LinkPerfServer#STREAM}: the ring is let go of, no more */
  private <T> T withLink(String how, boolean spins, Measurement<T> measurement) throws IOException {
    ask(how + (spins ? LinkPerfServer.SPINNING : ""));
    PeerSocket session = PeerSocket.connect(SocketAddress.inet(peer, LinkPerfServer.LINK_PORT), LinkPerfServer.SETUP);
    T result;
    lastPublished = 0;
    try (ReplicationLink link = new RdmaSetup(session, LinkPerfServer.RING_BYTES, config).sendingEnd();
        LinkIdle idle = new LinkIdle(spins)) {
      result = measurement.of(link, idle);
      if (!link.isUp()) {
        throw new IOException("the link went down: " + link.failure() + "; the other host: " + in.readLine());
      }
    }
    await("ended");
    return result;
  }

  private double ourBandwidth(int bytes) throws IOException {
    return withLink(LinkPerfServer.STREAM, busyPoll, (link, idle) -> {
      stream(link, idle, 0, bytes, WARM_UP_SECONDS);
      long best = Long.MAX_VALUE;
      long moved = 0;
      double nanos = 0;
      for (int i = 0; i < WINDOWS; i++) {
        long from = lastPublished;
        long asking = askingAllocates();
        long before = allocatedBytes();
        long start = System.nanoTime();
        moved += stream(link, idle, from, bytes, seconds / WINDOWS) - from;
        nanos += System.nanoTime() - start;
        best = Math.min(best, allocatedBytes() - before - asking);
      }
      allocated += best;
      return moved * 1e3 / nanos;
    });
  }

  private long lastPublished;

  /** Publishes piece after piece as fast as the ring has room; ends when all has been acknowledged. @return the position reached */
  private long stream(ReplicationLink link, LinkIdle idle, long from, int bytes, double forSeconds) {
    long position = from;
    long start = System.nanoTime();
    while (link.isUp() && System.nanoTime() - start < forSeconds * 1e9) {
      boolean hasRoom = position + bytes <= link.released() + link.ring().capacityBytes();
      if (hasRoom) {
        position += bytes;
        link.publish(position);
      }
      idle.after(link, link.poll() + (hasRoom ? 1 : 0));
    }
    while (link.isUp() && link.released() < position) {
      idle.after(link, link.poll());
    }
    lastPublished = position;
    return position;
  }

  /** @return from publishing to the acknowledgement of all of it */
  private Times ourCommit(int bytes, boolean spins, double warmUpSeconds) throws IOException {
    int rounds = bytes > 65536 ? 10 : 200;
    return withLink(LinkPerfServer.COMMITS, spins, (link, idle) -> {
      double[] times = new double[WINDOWS * rounds];
      long start = System.nanoTime();
      while (link.isUp() && System.nanoTime() - start < warmUpSeconds * 1e9) {
        commit(link, idle, bytes);
      }
      long best = Long.MAX_VALUE;
      for (int window = 0; window < WINDOWS; window++) {
        long asking = askingAllocates();
        long before = allocatedBytes();
        for (int i = 0; i < rounds; i++) {
          times[window * rounds + i] = commit(link, idle, bytes);
        }
        best = Math.min(best, allocatedBytes() - before - asking);
      }
      allocated += best;
      return Times.of(times);
    });
  }

  private double commit(ReplicationLink link, LinkIdle idle, int bytes) {
    long start = System.nanoTime();
    lastPublished += bytes;
    link.publish(lastPublished);
    boolean acknowledged = false;
    while (link.isUp() && !acknowledged) {
      int work = link.poll();
      acknowledged = isAcknowledged(link, lastPublished);
      idle.after(link, acknowledged ? 1 : work);
    }
    return (System.nanoTime() - start) / 1e3;
  }

  private boolean isAcknowledged(ReplicationLink link, long position) {
    return link.receiveControl(control.hostVirt()) && Memory.getLong(control.hostVirt() + Long.BYTES) == position;
  }

  private static long askingAllocates() {
    long before = allocatedBytes();
    return allocatedBytes() - before;
  }

  private static long allocatedBytes() {
    return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
  }

  // ---- the other host

  private void ask(String what) throws IOException {
    out.println(what);
    await("started");
  }

  private void await(String word) throws IOException {
    String line = in.readLine();
    if (line == null || !line.startsWith(word)) {
      throw new IOException("the other host said " + line + " instead of " + word + "; see what it printed");
    }
  }

  private static void sleep(int millis) throws IOException {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  @Override
  public void close() throws IOException {
    out.println("bye");
    socket.close();
    control.close();
  }
}
