package dev.dyad.perf.qemu;

import dev.dyad.perf.pair.LinuxPair;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * redis-benchmark with SETs of random keys against the guest. As an object: without end, its rate read off the progress that it
 * prints four times a second. {@link #latencyMicros}: one run to its end, for the distribution of its replies.
 */
final class RedisLoad implements AutoCloseable {
  private static final String KEYS = "10000";
  private static final int FIRST_REQUESTS = 60;

  // SET: rps=8811.8 (overall: 8805.6) avg_msec=1.812 (overall: 1.813)
  private static final Pattern PROGRESS = Pattern.compile("rps=([0-9.]+) \\(overall: [^)]*\\) avg_msec=(\\S+)");

  // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
  private static final Pattern RESULT = Pattern.compile("\"SET\"((?:,\"[0-9.]+\")+)");

  private final Process process;
  private double sum;
  private int samples;

  RedisLoad(LinuxPair pair, int clients) {
    process = pair.startInside(words(pair, clients, "1000000000", List.of()));
    Thread.ofPlatform().daemon().name("load-report").start(this::read);
  }

  private static String[] words(LinuxPair pair, int clients, String requests, List<String> more) {
    List<String> words = new java.util.ArrayList<>(List.of("redis-benchmark", "-h", pair.redisHost(), "-p", pair.redisPort(), "-t", "set", "-r", KEYS));
    words.addAll(List.of("-c", Integer.toString(clients), "-n", requests));
    words.addAll(more);
    return words.toArray(String[]::new);
  }

  private void read() {
    StringBuilder line = new StringBuilder();
    try (InputStream in = process.getInputStream()) {
      for (int c = in.read(); c >= 0; c = in.read()) {
        if (c == '\r' || c == '\n') {
          take(line.toString());
          line.setLength(0);
        } else {
          line.append((char) c);
        }
      }
    } catch (IOException e) {
      // Closed: nobody asks any more.
    }
  }

  private synchronized void take(String line) {
    Matcher progress = PROGRESS.matcher(line);
    if (progress.find()) {
      sum += Double.parseDouble(progress.group(1));
      samples++;
    }
  }

  long pid() {
    return process.pid();
  }

  /** Begins a window. */
  synchronized void mark() {
    sum = 0;
    samples = 0;
  }

  /** SETs per second since the mark. */
  synchronized double setsPerSecond() {
    if (samples == 0) {
      throw new IllegalStateException("redis-benchmark " + (process.isAlive() ? "prints no progress" : "has ended with " + process.exitValue()));
    }
    return sum / samples;
  }

  /** Distribution of reply latency over about {@code seconds}. */
  static Quantiles latencyMicros(LinuxPair pair, int clients, double seconds) {
    double rate = result(pair, clients, FIRST_REQUESTS)[0];
    double[] figures = result(pair, clients, Math.max(FIRST_REQUESTS, (int) (rate * seconds)));
    return new Quantiles(figures[3] * 1e3, figures[4] * 1e3, figures[5] * 1e3, figures[6] * 1e3);
  }

  /** rps, average, min, p50, p95, p99, max; times in milliseconds. */
  private static double[] result(LinuxPair pair, int clients, int requests) {
    Process run = pair.startInside(words(pair, clients, String.format(Locale.ROOT, "%d", requests), List.of("--csv")));
    try {
      String said = new String(run.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      Matcher result = RESULT.matcher(said);
      if (!result.find()) {
        throw new IllegalStateException("redis-benchmark said no result: " + said.strip());
      }
      String[] fields = result.group(1).substring(1).replace("\"", "").split(",");
      return java.util.Arrays.stream(fields).mapToDouble(Double::parseDouble).toArray();
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
