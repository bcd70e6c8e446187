package dev.dyad.perf.qemu;

import dev.dyad.perf.pair.ConnectProbe;
import dev.dyad.perf.pair.LinuxPair;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** A running {@link ConnectProbe}: when the guest first answered somebody new after its host had died. */
final class FirstAnswer {
  private final List<long[]> connections = new ArrayList<>();

  private FirstAnswer() {}

  /** It ends with the pair. */
  static FirstAnswer start(LinuxPair pair) {
    Process process = pair.startJavaInside(ConnectProbe.class.getName(), pair.redisHost(), pair.redisPort());
    FirstAnswer answer = new FirstAnswer();
    Thread.ofPlatform().daemon().name("probe-report").start(() -> answer.read(process));
    return answer;
  }

  private void read(Process process) {
    try (BufferedReader lines = process.inputReader(StandardCharsets.US_ASCII)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        String[] words = line.split(" ");
        synchronized (this) {
          connections.add(new long[] {Long.parseLong(words[0]), Long.parseLong(words[1])});
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** From the kill to the acceptance of the first connection that was begun after it. */
  double millisAfter(long killedNanos, Duration bound) {
    long end = System.nanoTime() + bound.toNanos();
    while (System.nanoTime() < end) {
      synchronized (this) {
        for (long[] connection : connections) {
          if (connection[0] > killedNanos) {
            return (connection[1] - killedNanos) / 1e6;
          }
        }
      }
      Waiting.seconds(0.05);
    }
    throw new IllegalStateException("nobody new was answered within " + bound.toSeconds() + " s after the failover");
  }
}
