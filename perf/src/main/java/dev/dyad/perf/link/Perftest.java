package dev.dyad.perf.link;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A program of the perftest package (ib_write_bw(1), ib_write_lat(1)): its command line and its table. */
final class Perftest {
  private static final int SECONDS_MAX = 120;

  private Perftest() {}

  /** @param options as {@code -s 4096}; device, GID and port are added */
  static ProcessBuilder command(String program, String device, int gidIndex, int port, List<String> options) {
    List<String> words = new ArrayList<>(List.of(program, "-F", "-d", device, "-x", String.valueOf(gidIndex), "-p", String.valueOf(port)));
    words.addAll(options);
    return new ProcessBuilder(words).redirectErrorStream(true);
  }

  /**
   * Runs a client to its end.
   *
   * @return the columns of its one row of numbers
   */
  static double[] row(ProcessBuilder client) throws IOException {
    Process process;
    try {
      process = client.start();
    } catch (IOException e) {
      throw new IOException(client.command().getFirst() + " is not here: apt-get install perftest", e);
    }
    try {
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      if (!process.waitFor(SECONDS_MAX, TimeUnit.SECONDS)) {
        throw new IOException(client.command().getFirst() + " did not end within " + SECONDS_MAX + " s");
      }
      return said.lines().map(String::strip).filter(line -> line.matches("[0-9][0-9.\\s]+")).reduce((first, last) -> last)
          .map(line -> java.util.Arrays.stream(line.split("\\s+")).mapToDouble(Double::parseDouble).toArray())
          .orElseThrow(() -> new IOException(client.command().getFirst() + " printed no figures: " + said.strip()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while " + client.command().getFirst() + " ran", e);
    } finally {
      process.destroyForcibly();
    }
  }
}
