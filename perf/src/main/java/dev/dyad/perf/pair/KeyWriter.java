package dev.dyad.perf.pair;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/**
 * The client outside: a process of its own that writes increasing keys to a Redis over one TCP connection, each after the
 * reply to the one before, and at the end reads every acknowledged key back over the same connection.
 *
 * <p>It never reconnects: whatever ends its connection is its finding. Times are {@link System#nanoTime()}, which all processes
 * of one host share. Lines on standard output:
 *
 * <pre>
 * connected NANOS
 * acked COUNT NANOS          at most every 50 ms
 * gap FROM_NANOS TO_NANOS    two replies further apart than 20 ms
 * reset COUNT MESSAGE        the connection ended
 * verified COUNT LOST RESET  the end: acknowledged, of these not there, 1 if the connection was reset
 * </pre>
 *
 * It stops writing and verifies when its standard input ends or says a line.
 */
public final class KeyWriter {
  private static final long REPORT_NANOS = 50_000_000L;
  private static final long GAP_NANOS = 20_000_000L;
  private static final int READ_BACK_BATCH = 256;

  private final Socket socket;
  private final InputStream in;
  private final OutputStream out;
  private final PrintStream report;
  private volatile boolean stop;

  private KeyWriter(Socket socket, PrintStream report) throws IOException {
    this.socket = socket;
    this.in = new BufferedInputStream(socket.getInputStream(), 1 << 16);
    this.out = socket.getOutputStream();
    this.report = report;
  }

  /** Arguments: host, port, seconds after which a missing reply counts as a reset. */
  public static void main(String[] args) throws IOException {
    PrintStream report = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
    int patienceMillis = Integer.parseInt(args[2]) * 1_000;
    try (Socket socket = new Socket()) {
      socket.setTcpNoDelay(true);
      socket.setSoTimeout(patienceMillis);
      socket.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])), patienceMillis);
      report.println("connected " + System.nanoTime());
      KeyWriter writer = new KeyWriter(socket, report);
      Thread.ofPlatform().daemon().start(writer::awaitStop);
      writer.run();
    }
  }

  private void awaitStop() {
    try {
      new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII)).readLine();
    } catch (IOException e) {
      // The parent is gone: stop as well.
    }
    stop = true;
  }

  private void run() throws IOException {
    long acked = 0;
    long reported = 0;
    try {
      long before = System.nanoTime();
      while (!stop) {
        out.write(set(acked + 1));
        expect("+OK");
        long now = System.nanoTime();
        acked++;
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
      report.println("verified " + acked + " " + lost(acked) + " 0");
    } catch (IOException e) {
      report.println("reset " + acked + " " + e.getMessage());
      report.println("verified " + acked + " 0 1");
    } finally {
      socket.close();
    }
  }

  private static byte[] set(long n) {
    String key = "key:" + n;
    String value = Long.toString(n);
    return ("*3\r\n$3\r\nSET\r\n$" + key.length() + "\r\n" + key + "\r\n$" + value.length() + "\r\n" + value + "\r\n")
        .getBytes(StandardCharsets.US_ASCII);
  }

  /** Of the keys 1 … acked, how many are not there with their value. */
  private long lost(long acked) throws IOException {
    long lost = 0;
    for (long first = 1; first <= acked; first += READ_BACK_BATCH) {
      long last = Math.min(acked, first + READ_BACK_BATCH - 1);
      StringBuilder batch = new StringBuilder();
      for (long n = first; n <= last; n++) {
        String key = "key:" + n;
        batch.append("*2\r\n$3\r\nGET\r\n$").append(key.length()).append("\r\n").append(key).append("\r\n");
      }
      out.write(batch.toString().getBytes(StandardCharsets.US_ASCII));
      for (long n = first; n <= last; n++) {
        String head = line();
        if (head.equals("$-1") || !line().equals(Long.toString(n))) {
          lost++;
        }
      }
    }
    return lost;
  }

  private void expect(String reply) throws IOException {
    String line = line();
    if (!line.equals(reply)) {
      throw new IOException("reply '" + line + "' instead of " + reply);
    }
  }

  private String line() throws IOException {
    StringBuilder line = new StringBuilder();
    for (int c = in.read(); c != '\n'; c = in.read()) {
      if (c < 0) {
        throw new EOFException("connection closed by the guest");
      }
      if (c != '\r') {
        line.append((char) c);
      }
    }
    return line.toString();
  }
}
