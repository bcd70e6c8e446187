package dev.dyad.engine.observe;

import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Answers {@code dyad status}: a unix socket in the {@link RuntimeDirectory}. Whoever connects says in one byte what it wants,
 * {@code j} for a JSON object or {@code t} for text, is sent that and is disconnected. Runs on a thread of its own and reads only what
 * the metrics publish.
 */
public final class StatusEndpoint implements AutoCloseable {
  private static final int ANSWER_BYTES_MAX = 1 << 20;

  private final Path socket;
  private final ServerSocketChannel server;
  private final Thread thread;

  /**
   * @param name file name of the socket without its ending, unique on this host
   * @param report makes the object to send; called on the endpoint's thread
   * @param text turns it into what people read
   */
  public StatusEndpoint(Path directory, String name, Supplier<Map<String, Object>> report, Function<Map<String, Object>, String> text) {
    socket = directory.resolve(name + ".status");
    try {
      Files.deleteIfExists(socket);
      server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
      server.bind(UnixDomainSocketAddress.of(socket));
    } catch (IOException e) {
      throw new UncheckedIOException("status socket " + socket + " cannot be opened: " + e.getMessage(), e);
    }
    thread = Thread.ofPlatform().name("control-status").daemon().start(() -> serve(report, text));
  }

  private void serve(Supplier<Map<String, Object>> report, Function<Map<String, Object>, String> text) {
    while (server.isOpen()) {
      try (SocketChannel client = server.accept()) {
        ByteBuffer wish = ByteBuffer.allocate(1);
        if (client.read(wish) != 1) {
          continue;
        }
        Map<String, Object> now = report.get();
        String said = wish.get(0) == 't' ? text.apply(now) : Json.write(now);
        ByteBuffer answer = ByteBuffer.wrap(said.getBytes(StandardCharsets.UTF_8));
        while (answer.hasRemaining()) {
          client.write(answer);
        }
      } catch (IOException e) {
        // This client went away, or the endpoint was closed, which the loop's condition sees.
        continue;
      }
    }
  }

  /**
   * Asks the node behind {@code socket}.
   *
   * @param json whether a JSON object is wanted, or text
   * @throws IOException when nobody answers there
   */
  public static String ask(Path socket, boolean json) throws IOException {
    try (SocketChannel client = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
      client.write(ByteBuffer.wrap(new byte[] {(byte) (json ? 'j' : 't')}));
      ByteBuffer buffer = ByteBuffer.allocate(ANSWER_BYTES_MAX);
      while (buffer.hasRemaining() && client.read(buffer) >= 0) {
        // Read to the end.
      }
      return StandardCharsets.UTF_8.decode(buffer.flip()).toString();
    }
  }

  @Override
  public void close() {
    try {
      server.close();
      thread.join(1_000);
      Files.deleteIfExists(socket);
    } catch (IOException | InterruptedException e) {
      if (e instanceof InterruptedException) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
