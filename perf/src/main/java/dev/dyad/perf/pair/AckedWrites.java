package dev.dyad.perf.pair;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * What every client outside of a guest does, in a process of its own: writes 1, 2, 3 …, each after the answer to the one before, and at the end reads
 * back what was acknowledged. It stops writing when its standard input ends or says a line.
 *
 * <p>Times are {@link System#nanoTime()}, which all processes of one host share. Lines on standard output:
 *
 * <pre>
 * connected NANOS
 * acked COUNT NANOS          at most every 50 ms
 * gap FROM_NANOS TO_NANOS    two replies further apart than 20 ms
 * reset COUNT MESSAGE        the connection ended, or an answer was wrong
 * verified COUNT LOST RESET  the end: acknowledged, of these not there, 1 after a reset
 * </pre>
 */
final class AckedWrites {
  private static final long REPORT_NANOS = 50_000_000L;
  private static final long GAP_NANOS = 20_000_000L;

  /** The service in the guest, by its protocol. Whatever it throws ends the writing and is the client's finding. */
  interface Service {
    /** Writes {@code number} and returns when that is acknowledged. */
    void write(long number) throws IOException, InterruptedException;

    /** Of the writes 1 … {@code acked}, how many are not there. */
    long lost(long acked) throws IOException, InterruptedException;

    /** How many were found missing while writing. */
    default long lostSoFar() {
      return 0;
    }
  }

  private final PrintStream report = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
  private volatile boolean stop;

  void connected() {
    report.println("connected " + System.nanoTime());
  }

  void run(Service service) throws InterruptedException {
    Thread.ofPlatform().daemon().start(this::awaitStop);
    long acked = 0;
    long reported = 0;
    try {
      long before = System.nanoTime();
      while (!stop) {
        service.write(acked + 1);
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
      report.println("verified " + acked + " " + service.lost(acked) + " 0");
    } catch (IOException e) {
      report.println("reset " + acked + " " + e);
      report.println("verified " + acked + " " + service.lostSoFar() + " 1");
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
}
