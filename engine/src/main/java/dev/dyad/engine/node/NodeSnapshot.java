package dev.dyad.engine.node;

import dev.dyad.engine.observe.StatusEndpoint;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.nio.file.Path;

/**
 * What a running node said of itself at one moment, as numbers: the other end of the reports. What a node has nothing to say about is −1.
 *
 * @param epoch the open one of a primary, the last whole one of a standby
 * @param commitAgeMillis since the last commit
 * @param pauseMicros since the node's start
 * @param pages written in an epoch, median
 * @param bytesShipped since the node's start
 */
public record NodeSnapshot(
    String role,
    String name,
    long pid,
    boolean isProtected,
    String state,
    String why,
    long generation,
    long epoch,
    double commitAgeMillis,
    Pause pauseMicros,
    long pages,
    long bytesShipped,
    long heldPackets,
    long nanos) {
  /** Percentiles of the pause. */
  public record Pause(double p50, double p99, double max) {}

  /** @throws IOException when nobody answers at {@code socket} */
  public static NodeSnapshot ask(Path socket) throws IOException {
    return of(StatusEndpoint.ask(socket, true), System.nanoTime());
  }

  /**
   * @param report what a node answers
   * @param nanos when it did
   * @throws IOException when it is none
   */
  public static NodeSnapshot of(String report, long nanos) throws IOException {
    Json json;
    try {
      json = Json.parse(report);
    } catch (RuntimeException e) {
      throw new IOException("not a report of a node: " + e.getMessage(), e);
    }
    if (json.get("role").isAbsent()) {
      throw new IOException("not a report of a node");
    }
    Json pause = json.get("pauseMicros");
    return new NodeSnapshot(
        json.get("role").text(),
        json.get("name").text(),
        json.get("pid").number(-1),
        json.get("protected").isTrue(),
        json.get("state").text(),
        json.get("why").text(),
        json.get("generation").number(-1),
        json.get("epoch").number(-1),
        real(json.get("commitAgeMillis")),
        new Pause(real(pause.get("p50")), real(pause.get("p99")), real(pause.get("max"))),
        json.get("dirtyPages").get("p50").number(-1),
        json.get("bytesShipped").number(-1),
        json.get("heldPackets").number(-1),
        nanos);
  }

  private static double real(Json number) {
    try {
      return number.isAbsent() ? -1 : Double.parseDouble(number.toString());
    } catch (NumberFormatException e) {
      return -1; // null
    }
  }
}
