package dev.dyad.perf.pair;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/**
 * {@link AckedWrites} to a Redis over one TCP connection, read back over the same connection. It never reconnects: whatever ends its connection is its
 * finding.
 */
public final class KeyWriter implements AckedWrites.Service {
  private static final int READ_BACK_BATCH = 256;

  private final InputStream in;
  private final OutputStream out;

  private KeyWriter(Socket socket) throws IOException {
    this.in = new BufferedInputStream(socket.getInputStream(), 1 << 16);
    this.out = socket.getOutputStream();
  }

  /** Arguments: host, port, seconds after which a missing reply counts as a reset. */
  public static void main(String[] args) throws IOException, InterruptedException {
    int patienceMillis = Integer.parseInt(args[2]) * 1_000;
    try (Socket socket = new Socket()) {
      socket.setTcpNoDelay(true);
      socket.setSoTimeout(patienceMillis);
      socket.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])), patienceMillis);
      AckedWrites writes = new AckedWrites();
      writes.connected();
      writes.run(new KeyWriter(socket));
    }
  }

  @Override
  public void write(long number) throws IOException {
    out.write(set(number));
    expect("+OK");
  }

  private static byte[] set(long n) {
    String key = "key:" + n;
    String value = Long.toString(n);
    return ("*3\r\n$3\r\nSET\r\n$" + key.length() + "\r\n" + key + "\r\n$" + value.length() + "\r\n" + value + "\r\n")
        .getBytes(StandardCharsets.US_ASCII);
  }

  @Override
  public long lost(long acked) throws IOException {
    long lost = 0;
    for (long first = 1; first <= acked; first += READ_BACK_BATCH) {
      long last = Math.min(acked, first + READ_BACK_BATCH - 1);
      StringBuilder batch = new StringBuilder();
      for (long n = first; n <= last; n++) {
        String key = "key:" + n;
        batch.append("*2\r\n$3\r\nGET\r\n$").append(key.length()).append("\r\n").append(key).append("\r\n");
      }
      out.write(batch.toString().getBytes(StandardCharsets.US_ASCII));
      for (long n = first; n <= last; n++) {
        String head = line();
        if (head.equals("$-1") || !line().equals(Long.toString(n))) {
          lost++;
        }
      }
    }
    return lost;
  }

  private void expect(String reply) throws IOException {
    String line = line();
    if (!line.equals(reply)) {
      throw new IOException("reply '" + line + "' instead of " + reply);
    }
  }

  private String line() throws IOException {
    StringBuilder line = new StringBuilder();
    for (int c = in.read(); c != '\n'; c = in.read()) {
      if (c < 0) {
        throw new EOFException("connection closed by the guest");
      }
      if (c != '\r') {
        line.append((char) c);
      }
    }
    return line.toString();
  }
}
