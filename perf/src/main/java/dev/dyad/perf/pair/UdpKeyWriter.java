package dev.dyad.perf.pair;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.net.PortUnreachableException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;

/**
 * The client outside for a key-value service over UDP (memcached's text protocol): a process of its own that writes increasing values, each
 * after the reply to the one before, and repeats a request until it is answered, as such clients do.
 *
 * <p>It uses {@value KEYS} keys in turn and reads every acknowledged value back once: before the key is written again, or at the end. It
 * reports as {@link KeyWriter} does, and ends in the same way.
 */
public final class UdpKeyWriter {
  private static final int KEYS = 2_000;
  private static final int REPEAT_MILLIS = 20;
  private static final long REPORT_NANOS = 50_000_000L;
  private static final long GAP_NANOS = 20_000_000L;
  private static final int HEADER_BYTES = 8;

  private final DatagramSocket socket;
  private final PrintStream report;
  private final long patienceNanos;
  private final byte[] answer = new byte[2048];
  private short lastId;
  private long lost;
  private volatile boolean stop;

  private UdpKeyWriter(DatagramSocket socket, PrintStream report, long patienceNanos) {
    this.socket = socket;
    this.report = report;
    this.patienceNanos = patienceNanos;
  }

  /**
   * Arguments: host, port, seconds after which a missing reply counts as a reset; and, if not {@value REPEAT_MILLIS}, milliseconds after which a request is repeated. A guest that writes
   * each request down before it answers has the more to do the more impatient its clients are.
   */
  public static void main(String[] args) throws IOException {
    PrintStream report = new PrintStream(System.out, true, US_ASCII);
    try (DatagramSocket socket = new DatagramSocket()) {
      socket.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])));
      socket.setSoTimeout(args.length > 3 ? Integer.parseInt(args[3]) : REPEAT_MILLIS);
      report.println("connected " + System.nanoTime());
      UdpKeyWriter writer = new UdpKeyWriter(socket, report, Long.parseLong(args[2]) * 1_000_000_000L);
      Thread.ofPlatform().daemon().start(writer::awaitStop);
      writer.run();
    }
  }

  private void awaitStop() {
    try {
      new BufferedReader(new InputStreamReader(System.in, US_ASCII)).readLine();
    } catch (IOException e) {
      // The parent is gone: stop as well.
    }
    stop = true;
  }

  private void run() {
    long acked = 0;
    long reported = 0;
    try {
      long before = System.nanoTime();
      while (!stop) {
        long next = acked + 1;
        if (next > KEYS) {
          check(next - KEYS);
        }
        String value = Long.toString(next);
        String reply = ask("set " + key(next) + " 0 0 " + value.length() + "\r\n" + value + "\r\n");
        if (!reply.equals("STORED\r\n")) {
          throw new IOException("reply '" + reply.strip() + "' instead of STORED");
        }
        long now = System.nanoTime();
        acked = next;
        if (now - before > GAP_NANOS) {
          report.println("gap " + before + " " + now);
        }
        if (now - reported > REPORT_NANOS) {
          report.println("acked " + acked + " " + now);
          reported = now;
        }
        before = now;
      }
      report.println("acked " + acked + " " + System.nanoTime());
      for (long n = Math.max(1, acked - KEYS + 1); n <= acked; n++) {
        check(n);
      }
      report.println("verified " + acked + " " + lost + " 0");
    } catch (IOException e) {
      report.println("reset " + acked + " " + e.getMessage());
      report.println("verified " + acked + " " + lost + " 1");
    }
  }

  private static String key(long n) {
    return "key:" + n % KEYS;
  }

  /** Whether the {@code n}th value, the newest of its key, is there. */
  private void check(long n) throws IOException {
    String value = Long.toString(n);
    if (!ask("get " + key(n) + "\r\n").equals("VALUE " + key(n) + " 0 " + value.length() + "\r\n" + value + "\r\nEND\r\n")) {
      lost++;
    }
  }

  /** Sends until the answer to it comes. */
  private String ask(String command) throws IOException {
    byte[] text = command.getBytes(US_ASCII);
    byte[] request = ByteBuffer.allocate(HEADER_BYTES + text.length).putShort(++lastId).putShort((short) 0).putShort((short) 1).putShort((short) 0).put(text).array();
    long end = System.nanoTime() + patienceNanos;
    while (System.nanoTime() < end) {
      try {
        socket.send(new DatagramPacket(request, request.length));
        while (true) {
          DatagramPacket packet = new DatagramPacket(answer, answer.length);
          socket.receive(packet);
          if (packet.getLength() > HEADER_BYTES && ByteBuffer.wrap(answer).getShort() == lastId) {
            return new String(answer, HEADER_BYTES, packet.getLength() - HEADER_BYTES, US_ASCII);
          }
        }
      } catch (SocketTimeoutException e) {
        continue; // lost, or not released yet: repeat
      } catch (PortUnreachableException e) {
        sleep(); // nobody has the port at this moment
      }
    }
    throw new IOException("no reply for " + patienceNanos / 1_000_000_000L + " s");
  }

  private static void sleep() {
    try {
      Thread.sleep(2);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
