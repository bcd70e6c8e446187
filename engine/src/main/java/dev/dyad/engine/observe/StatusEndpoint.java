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
import java.util.function.UnaryOperator;

/**
 * Answers {@code dyad status}: a unix socket in the {@link RuntimeDirectory}. Whoever connects says in one byte what it wants,
 * {@code j} for a JSON object or {@code t} for text, is sent that and is disconnected. {@code c} and a line tells the node to do something;
 * the answer is empty when it is done, else says why not. Runs on a thread of its own and reads only what
 * the metrics publish.
 */
public final class StatusEndpoint implements AutoCloseable {
  static final String ENDING = ".status";

  private static final int ANSWER_BYTES_MAX = 1 << 20;
  private static final int LINE_BYTES_MAX = 256;

  private final Path socket;
  private final ServerSocketChannel server;
  private final Thread thread;

  /**
   * @param name file name of the socket without its ending, unique on this host
   * @param report makes the object to send; called on the endpoint's thread
   * @param text turns it into what people read
   */
  public StatusEndpoint(Path directory, String name, Supplier<Map<String, Object>> report, Function<Map<String, Object>, String> text) {
    this(directory, name, report, text, line -> "this node does not know: " + line);
  }

  /**
   * @param commands does what a line asks for and returns the answer; called on the endpoint's thread
   */
  public StatusEndpoint(
      Path directory, String name, Supplier<Map<String, Object>> report, Function<Map<String, Object>, String> text, UnaryOperator<String> commands) {
    socket = directory.resolve(name + ENDING);
    try {
      Files.deleteIfExists(socket);
      server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
      server.bind(UnixDomainSocketAddress.of(socket));
    } catch (IOException e) {
      throw new UncheckedIOException("status socket " + socket + " cannot be opened: " + e.getMessage(), e);
    }
    thread = Thread.ofPlatform().name("control-status").daemon().start(() -> serve(report, text, commands));
  }

  private void serve(Supplier<Map<String, Object>> report, Function<Map<String, Object>, String> text, UnaryOperator<String> commands) {
    while (server.isOpen()) {
      try (SocketChannel client = server.accept()) {
        ByteBuffer wish = ByteBuffer.allocate(1);
        if (client.read(wish) != 1) {
          continue;
        }
        String said =
            switch (wish.get(0)) {
              case 'c' -> commands.apply(line(client));
              case 't' -> text.apply(report.get());
              default -> Json.write(report.get());
            };
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

  private static String line(SocketChannel client) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(LINE_BYTES_MAX);
    while (buffer.hasRemaining() && (buffer.position() == 0 || buffer.get(buffer.position() - 1) != '\n') && client.read(buffer) >= 0) {
      // Read to the end of the line.
    }
    return StandardCharsets.UTF_8.decode(buffer.flip()).toString().strip();
  }

  /**
   * Tells the node behind {@code socket} to do something.
   *
   * @return empty when it is done, else why not
   * @throws IOException when nobody answers there
   */
  public static String tell(Path socket, String line) throws IOException {
    return exchange(socket, "c" + line + "\n");
  }

  /**
   * Asks the node behind {@code socket}.
   *
   * @param json whether a JSON object is wanted, or text
   * @throws IOException when nobody answers there
   */
  public static String ask(Path socket, boolean json) throws IOException {
    return exchange(socket, json ? "j" : "t");
  }

  private static String exchange(Path socket, String wish) throws IOException {
    try (SocketChannel client = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
      client.write(ByteBuffer.wrap(wish.getBytes(StandardCharsets.UTF_8)));
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
