package dev.dyad.engine.arbiter;

import java.net.URI;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/**
 * Where the arbiter of a guest is: a generation file, for two sides of one host, or an etcd, for two hosts.
 *
 * @param text a path, or {@code http://HOST:PORT} (or https) of etcd's members, separated by commas
 */
public record ArbiterPlace(String text) {
  private static final String KEYS = "/dyad/generation/";

  public ArbiterPlace {
    if (text.isEmpty()) {
      throw new IllegalArgumentException("no arbiter was named; needed is a file, or http://HOST:PORT of an etcd");
    }
    if (text.startsWith("http")) {
      endpoints(text);
    }
  }

  public static ArbiterPlace file(Path file) {
    return new ArbiterPlace(file.toString());
  }

  /** Whether two hosts can share it. */
  public boolean isShared() {
    return text.startsWith("http");
  }

  /**
   * @param guest its name, by which both sides know it
   * @throws RuntimeException with one line when it cannot be used
   */
  public Arbiter open(String guest) {
    return isShared() ? new EtcdArbiter(endpoints(text), KEYS + guest) : FileArbiter.open(Path.of(text));
  }

  private static List<URI> endpoints(String text) {
    return Arrays.stream(text.split(",")).map(ArbiterPlace::endpoint).toList();
  }

  private static URI endpoint(String text) {
    try {
      URI at = URI.create(text.strip());
      if (("http".equals(at.getScheme()) || "https".equals(at.getScheme())) && at.getHost() != null && at.getPort() > 0) {
        return at;
      }
    } catch (IllegalArgumentException e) {
      // The line below says it better.
    }
    throw new IllegalArgumentException("\"" + text + "\" is no address of an etcd; needed is http://HOST:PORT or https://HOST:PORT, several separated by commas");
  }

  /** What to do away with when a guest's history is to begin anew. */
  public String what(String guest) {
    return isShared() ? "the key " + KEYS + guest + " of " + text : "the file " + text;
  }

  @Override
  public String toString() {
    return text;
  }
}
