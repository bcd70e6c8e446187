package dev.dyad.perf.link;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A program that others measure with: of the perftest package (ib_write_bw(1), ib_write_lat(1)), and ibv_rc_pingpong(1). Its command line, and what it prints. */
final class Perftest {
  private static final int SECONDS_MAX = 60;

  /** The one whose threads sleep: perftest's own waiting for events loses some, and then waits for ever. */
  static final String PING_PONG = "ibv_rc_pingpong";

  private static final Pattern ROUND_TRIP = Pattern.compile("iters in [0-9.]+ seconds = ([0-9.]+) usec/iter");

  private Perftest() {}

  /** @param options as {@code -s 4096}; device, GID and port are added */
  static ProcessBuilder command(String program, String device, int gidIndex, int port, List<String> options) {
    boolean isPingPong = program.equals(PING_PONG);
    List<String> words = new ArrayList<>(List.of(program, "-d", device, isPingPong ? "-g" : "-x", String.valueOf(gidIndex), "-p", String.valueOf(port)));
    if (!isPingPong) {
      words.add("-F"); // no complaint about the processor's frequency
    }
    words.addAll(options);
    return new ProcessBuilder(words).redirectErrorStream(true);
  }

  /**
   * Runs a client to its end.
   *
   * @return the columns of its one row of numbers
   */
  static double[] row(ProcessBuilder client) throws IOException {
    String said = run(client);
    return said.lines().map(String::strip).filter(line -> line.matches("[0-9][0-9.\\s]+")).reduce((first, last) -> last)
        .map(line -> Arrays.stream(line.split("\\s+")).mapToDouble(Double::parseDouble).toArray()).orElseThrow(() -> noFigures(client, said));
  }

  /** Runs a client of {@link #PING_PONG} to its end. @return µs there and back, on average */
  static double roundTrip(ProcessBuilder client) throws IOException {
    String said = run(client);
    Matcher found = ROUND_TRIP.matcher(said);
    if (!found.find()) {
      throw noFigures(client, said);
    }
    return Double.parseDouble(found.group(1));
  }

  private static IOException noFigures(ProcessBuilder client, String said) {
    return new IOException(client.command().getFirst() + " printed no figures: " + said.strip());
  }

  private static String run(ProcessBuilder client) throws IOException {
    String program = client.command().getFirst();
    Process process;
    try {
      process = client.start();
    } catch (IOException e) {
      throw new IOException(program + " is not here: apt-get install " + (program.equals(PING_PONG) ? "ibverbs-utils" : "perftest"), e);
    }
    // Of one that hangs: its output ends with it.
    process.onExit().orTimeout(SECONDS_MAX, TimeUnit.SECONDS).whenComplete((ended, late) -> process.destroyForcibly());
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (process.waitFor() > 128) {
        throw new IOException(program + " did not end within " + SECONDS_MAX + " s");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while " + program + " ran", e);
    } finally {
      process.destroyForcibly();
    }
    return said;
  }
}
