package dev.dyad.engine.arbiter;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** An etcd of one member on the loopback, for tests of two hosts. */
public final class EtcdServer implements AutoCloseable {
  private static final long START_NANOS = 60_000_000_000L;

  private final @Nullable Process process;
  private final int port;

  private EtcdServer(@Nullable Process process, int port) {
    this.process = process;
    this.port = port;
  }

  public static boolean isInstalled() {
    return Stream.of(String.valueOf(System.getenv("PATH")).split(":")).anyMatch(folder -> Files.isExecutable(Path.of(folder, "etcd")));
  }

  static EtcdServer none() {
    return new EtcdServer(null, 0);
  }

  /** @param folder keeps what it knows */
  public static EtcdServer start(Path folder) throws IOException {
    int port = freePort();
    String client = "http://127.0.0.1:" + port;
    String peer = "http://127.0.0.1:" + freePort();
    Process process = new ProcessBuilder(List.of("etcd", "--name", "one", "--data-dir", folder.resolve("etcd").toString(), "--listen-client-urls", client,
        "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer))
        .redirectErrorStream(true).redirectOutput(folder.resolve("etcd.log").toFile()).start();
    EtcdServer server = new EtcdServer(process, port);
    long start = System.nanoTime();
    Arbiter probe = new ArbiterPlace(server.url()).open("probe");
    while (probe.current() < 0) {
      if (!process.isAlive() || System.nanoTime() - start > START_NANOS) {
        server.close();
        throw new IOException("etcd does not start: " + Files.readString(folder.resolve("etcd.log")));
      }
      pause();
    }
    return server;
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return socket.getLocalPort();
    }
  }

  private static void pause() throws IOException {
    try {
      Thread.sleep(50);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  public int port() {
    return port;
  }

  public String url() {
    return "http://127.0.0.1:" + port;
  }

  void stop() {
    close();
  }

  @Override
  public void close() {
    if (process != null) {
      process.destroyForcibly();
      process.onExit().join();
    }
  }
}
