package dev.dyad.perf.pair;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.net.PortUnreachableException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;

/**
 * {@link AckedWrites} to a key-value service over UDP (memcached's text protocol), which repeats a request until it is answered, as such clients do.
 *
 * <p>It uses {@value KEYS} keys in turn and reads every acknowledged value back once: before the key is written again, or at the end.
 */
public final class UdpKeyWriter implements AckedWrites.Service {
  private static final int KEYS = 2_000;
  private static final int REPEAT_MILLIS = 20;
  private static final int HEADER_BYTES = 8;

  private final DatagramSocket socket;
  private final long patienceNanos;
  private final byte[] answer = new byte[2048];
  private short lastId;
  private long lost;

  private UdpKeyWriter(DatagramSocket socket, long patienceNanos) {
    this.socket = socket;
    this.patienceNanos = patienceNanos;
  }

  /**
   * Arguments: host, port, seconds after which a missing reply counts as a reset; and, if not {@value REPEAT_MILLIS}, milliseconds after which a request is repeated. A guest that writes
   * each request down before it answers has the more to do the more impatient its clients are.
   */
  public static void main(String[] args) throws IOException, InterruptedException {
    try (DatagramSocket socket = new DatagramSocket()) {
      socket.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])));
      socket.setSoTimeout(args.length > 3 ? Integer.parseInt(args[3]) : REPEAT_MILLIS);
      AckedWrites writes = new AckedWrites();
      writes.connected();
      writes.run(new UdpKeyWriter(socket, Long.parseLong(args[2]) * 1_000_000_000L));
    }
  }

  @Override
  public void write(long number) throws IOException {
    if (number > KEYS) {
      check(number - KEYS);
    }
    String value = Long.toString(number);
    String reply = ask("set " + key(number) + " 0 0 " + value.length() + "\r\n" + value + "\r\n");
    if (!reply.equals("STORED\r\n")) {
      throw new IOException("reply '" + reply.strip() + "' instead of STORED");
    }
  }

  @Override
  public long lost(long acked) throws IOException {
    for (long n = Math.max(1, acked - KEYS + 1); n <= acked; n++) {
      check(n);
    }
    return lost;
  }

  @Override
  public long lostSoFar() {
    return lost;
  }

  private static String key(long n) {
    return "key:" + n % KEYS;
  }

  /** Whether the {@code n}th value, the newest of its key, is there. */
  private void check(long n) throws IOException {
    String value = Long.toString(n);
    if (!ask("get " + key(n) + "\r\n").equals("VALUE " + key(n) + " 0 " + value.length() + "\r\n" + value + "\r\nEND\r\n")) {
      lost++;
    }
  }

  /** Sends until the answer to it comes. */
  private String ask(String command) throws IOException {
    byte[] text = command.getBytes(US_ASCII);
    byte[] request = ByteBuffer.allocate(HEADER_BYTES + text.length).putShort(++lastId).putShort((short) 0).putShort((short) 1).putShort((short) 0).put(text).array();
    long end = System.nanoTime() + patienceNanos;
    while (System.nanoTime() < end) {
      try {
        socket.send(new DatagramPacket(request, request.length));
        while (true) {
          DatagramPacket packet = new DatagramPacket(answer, answer.length);
          socket.receive(packet);
          if (packet.getLength() > HEADER_BYTES && ByteBuffer.wrap(answer).getShort() == lastId) {
            return new String(answer, HEADER_BYTES, packet.getLength() - HEADER_BYTES, US_ASCII);
          }
        }
      } catch (SocketTimeoutException e) {
        continue; // lost, or not released yet: repeat
      } catch (PortUnreachableException e) {
        sleep(); // nobody has the port at this moment
      }
    }
    throw new IOException("no reply for " + patienceNanos / 1_000_000_000L + " s");
  }

  private static void sleep() {
    try {
      Thread.sleep(2);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
