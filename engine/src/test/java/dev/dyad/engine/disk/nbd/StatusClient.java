package dev.dyad.engine.disk.nbd;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A client that asks for block status only, and sees each answer as it came. */
final class StatusClient implements AutoCloseable {
  private static final byte[] ALLOCATION = "base:allocation".getBytes(StandardCharsets.UTF_8);

  private final SocketChannel socket;

  StatusClient(Path server) throws IOException {
    socket = SocketChannel.open(StandardProtocolFamily.UNIX);
    socket.connect(UnixDomainSocketAddress.of(server));
    receive(18);
    send(ByteBuffer.allocate(4).putInt(Nbd.FLAG_FIXED_NEWSTYLE | Nbd.FLAG_NO_ZEROES));
    option(Nbd.OPT_STRUCTURED_REPLY, ByteBuffer.allocate(0));
    option(Nbd.OPT_SET_META_CONTEXT, ByteBuffer.allocate(12 + ALLOCATION.length).putInt(0).putInt(1).putInt(ALLOCATION.length).put(ALLOCATION));
    option(Nbd.OPT_GO, ByteBuffer.allocate(6));
  }

  private void option(int option, ByteBuffer data) throws IOException {
    data.rewind();
    send(ByteBuffer.allocate(16 + data.remaining()).putLong(Nbd.IHAVEOPT).putInt(option).putInt(data.remaining()).put(data));
    int type = 0;
    while (type != Nbd.REP_ACK) {
      ByteBuffer head = receive(20);
      type = head.getInt(12);
      assertEquals(0, type & 0x8000_0000, "option " + option + " is refused");
      receive(head.getInt(16));
    }
  }

  /** Lengths of the extents of one answer. */
  List<Integer> extents(long offset, int bytes, int flags) throws IOException {
    send(ByteBuffer.allocate(Nbd.REQUEST_BYTES).putInt(Nbd.REQUEST_MAGIC).putShort((short) flags).putShort((short) Nbd.CMD_BLOCK_STATUS).putLong(7).putLong(offset).putInt(bytes));
    ByteBuffer head = receive(Nbd.CHUNK_BYTES);
    assertEquals(Nbd.CHUNK_BLOCK_STATUS, head.getShort(6));
    ByteBuffer answer = receive(head.getInt(16));
    List<Integer> lengths = new ArrayList<>();
    for (int at = 4; at < answer.limit(); at += 8) {
      lengths.add(answer.getInt(at));
    }
    return lengths;
  }

  private void send(ByteBuffer bytes) throws IOException {
    bytes.rewind();
    while (bytes.hasRemaining()) {
      socket.write(bytes);
    }
  }

  private ByteBuffer receive(int bytes) throws IOException {
    ByteBuffer into = ByteBuffer.allocate(bytes);
    while (into.hasRemaining()) {
      if (socket.read(into) < 0) {
        throw new IOException("the server ended the connection");
      }
    }
    return into.rewind();
  }

  @Override
  public void close() throws IOException {
    socket.close();
  }
}
