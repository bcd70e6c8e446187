package dev.dyad.perf.pair;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** A running client of {@link AckedWrites}, seen from its parent: what it has reported so far. Any thread. */
public final class OutsideClient implements AutoCloseable {
  /** Two replies further apart than usual, by {@link System#nanoTime()}. */
  public record Gap(long fromNanos, long toNanos) {
    public double millis() {
      return (toNanos - fromNanos) / 1e6;
    }
  }

  /** What the client found at its end. */
  public record Verdict(long acked, long lost, boolean reset) {}

  private final Process process;
  private final Thread reader;
  private final List<Gap> gaps = new ArrayList<>();
  private long acked;
  private boolean connected;
  private String problem = "";
  private Verdict verdict = new Verdict(0, 0, true);

  OutsideClient(Process process) {
    this.process = process;
    reader = Thread.ofPlatform().daemon().name("client-report").start(this::read);
  }

  private void read() {
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.US_ASCII))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        take(line);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private synchronized void take(String line) {
    String[] words = line.split(" ");
    switch (words[0]) {
      case "connected" -> connected = true;
      case "acked" -> acked = Long.parseLong(words[1]);
      case "gap" -> gaps.add(new Gap(Long.parseLong(words[1]), Long.parseLong(words[2])));
      case "reset" -> problem = line;
      case "verified" -> verdict = new Verdict(Long.parseLong(words[1]), Long.parseLong(words[2]), words[3].equals("1"));
      default -> problem = line;
    }
    notifyAll();
  }

  public synchronized long acked() {
    return acked;
  }

  public synchronized boolean isConnected() {
    return connected;
  }

  /** How the connection ended, empty while it lives. */
  public synchronized String problem() {
    return problem;
  }

  /** The longest time without a reply that ended after {@code nanos}; null when there was none longer than 20 ms. */
  public synchronized @Nullable Gap gapAround(long nanos) {
    // Not the first: a reply that was on its way at the kill may end a short one.
    return gaps.stream().filter(gap -> gap.toNanos() >= nanos).max(Comparator.comparingLong(gap -> gap.toNanos() - gap.fromNanos())).orElse(null);
  }

  /** Waits until more than {@code count} writes are acknowledged. */
  public synchronized boolean awaitAcked(long count, Duration bound) throws InterruptedException {
    long end = System.nanoTime() + bound.toNanos();
    while (acked <= count && problem.isEmpty() && System.nanoTime() < end) {
      wait(20);
    }
    return acked > count;
  }

  /** Has the client stop, read everything back, and say what it found. */
  public Verdict finish(Duration bound) throws InterruptedException {
    try {
      process.getOutputStream().close();
    } catch (IOException e) {
      // It has ended already: its verdict is there or missing.
    }
    process.waitFor(bound.toMillis(), TimeUnit.MILLISECONDS);
    reader.join(1_000);
    synchronized (this) {
      return verdict;
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
