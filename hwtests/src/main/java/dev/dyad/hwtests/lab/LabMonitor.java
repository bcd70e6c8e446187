package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** The few words of QEMU's machine protocol that a lab needs, one connection per command. */
final class LabMonitor {
  private final Path socket;

  LabMonitor(Path socket) {
    this.socket = socket;
  }

  void setLink(String device, boolean up) throws IOException {
    command("\"set_link\",\"arguments\":{\"name\":\"" + device + "\",\"up\":" + up + "}");
  }

  void stop() throws IOException {
    command("\"stop\"");
  }

  void resume() throws IOException {
    command("\"cont\"");
  }

  private void command(String body) throws IOException {
    try (var channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      channel.connect(UnixDomainSocketAddress.of(socket));
      var reader = new Lines(channel);
      reader.until("\"QMP\"");
      send(channel, "{\"execute\":\"qmp_capabilities\"}\n");
      reader.until("\"return\"");
      send(channel, "{\"execute\":" + body + "}\n");
      reader.until("\"return\"");
    }
  }

  private static void send(SocketChannel channel, String text) throws IOException {
    var bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  /** Reads answers line by line; events in between are skipped. */
  private static final class Lines {
    private final SocketChannel channel;
    private final ByteBuffer buffer = ByteBuffer.allocate(1 << 16).flip();

    Lines(SocketChannel channel) {
      this.channel = channel;
    }

    void until(String key) throws IOException {
      String line;
      do {
        line = next();
        if (line.contains("\"error\"")) {
          throw new IOException("QEMU refused a command: " + line.strip());
        }
      } while (!line.contains(key));
    }

    private String next() throws IOException {
      var line = new StringBuilder();
      while (true) {
        while (buffer.hasRemaining()) {
          char c = (char) (buffer.get() & 0xff);
          if (c == '\n') {
            return line.toString();
          }
          line.append(c);
        }
        buffer.clear();
        if (channel.read(buffer) < 0) {
          throw new IOException("QEMU closed its monitor");
        }
        buffer.flip();
      }
    }
  }
}
