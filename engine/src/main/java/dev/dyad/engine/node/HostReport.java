package dev.dyad.engine.node;

import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What every node of this user on this host says of itself at one moment, and the orphans that nobody speaks for.
 *
 * @param nodes an answer each, text or a JSON object
 * @param orphans a line or a JSON object each
 */
public record HostReport(List<String> nodes, List<String> orphans) {

  public static HostReport gather(boolean json) throws IOException {
    List<String> nodes = new ArrayList<>();
    for (Path socket : RuntimeDirectory.statusSockets()) {
      try {
        nodes.add(StatusEndpoint.ask(socket, json));
      } catch (IOException e) {
        Files.deleteIfExists(socket); // its node is gone
      }
    }
    return new HostReport(nodes, Orphans.describe(json));
  }

  /** The object that {@code dyad status -o json} prints; of a report that was gathered as JSON. */
  public String toJson() {
    return "{\"nodes\":[" + String.join(",", nodes) + "],\"orphans\":[" + String.join(",", orphans) + "]}";
  }
}
