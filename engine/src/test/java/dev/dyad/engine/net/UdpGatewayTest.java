package dev.dyad.engine.net;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class UdpGatewayTest {
  private static final long GUEST_MAC = 0x02_64_79_61_64_01L;
  private static final int GUEST_IP = 10 << 24 | 77 << 16 | 2;
  private static final int GUEST_PORT = 11211;

  private final UdpGateway gateway = new UdpGateway(SocketAddress.inet("127.0.0.1", 0), GUEST_MAC, GUEST_IP, GUEST_PORT);
  private final Mapping room = Mapping.anonymous(128 << 10);

  @AfterEach
  void close() {
    gateway.close();
    room.close();
  }

  /** The next frame for the guest; every datagram on loopback is there as soon as it was sent. */
  private ByteBuffer receive() {
    long got = gateway.receive(room.hostVirt(), room.bytes());
    assertEquals(4 + Integer.reverseBytes(Memory.getInt(room.hostVirt())), got);
    byte[] frame = new byte[(int) got - 4];
    Memory.copyTo(room.hostVirt() + 4, frame, 0, frame.length);
    return ByteBuffer.wrap(frame);
  }

  private void send(byte[] frame) {
    Memory.putInt(room.hostVirt(), Integer.reverseBytes(frame.length));
    Memory.copyFrom(frame, 0, room.hostVirt() + 4, frame.length);
    assertEquals(4 + frame.length, gateway.send(room.hostVirt(), 4 + frame.length));
  }

  private static ByteBuffer reply(int toIp, int fromPort, int toPort, String payload) {
    ByteBuffer frame = ByteBuffer.allocate(42 + payload.length());
    frame.putShort(12, (short) 0x0800).position(14);
    frame.putInt(0x4500_0000 | 28 + payload.length()).putInt(0x4000).putInt(64 << 24 | 17 << 16).putInt(GUEST_IP).putInt(toIp);
    frame.putShort((short) fromPort).putShort((short) toPort).putShort((short) (8 + payload.length())).putShort((short) 0);
    frame.put(payload.getBytes(US_ASCII));
    return frame;
  }

  @Test
  void shouldBeOneFrameForEachDatagramAndBackToTheClientThatTheFrameNames() throws IOException {
    try (DatagramSocket client = new DatagramSocket(new InetSocketAddress("127.0.0.1", 0))) {
      client.setSoTimeout(5_000);
      client.send(new DatagramPacket("hello".getBytes(US_ASCII), 5, gateway.address()));

      ByteBuffer frame = receive();

      assertEquals(42 + 5, frame.capacity());
      assertEquals(0x0264_7961, frame.getInt(0));
      assertEquals(UdpGateway.ADDRESS, frame.getInt(26));
      assertEquals(GUEST_IP, frame.getInt(30));
      assertEquals(client.getLocalPort(), frame.getShort(34) & 0xffff);
      assertEquals(GUEST_PORT, frame.getShort(36));
      int sum = 0;
      for (int i = 14; i < 34; i += 2) {
        sum += frame.getShort(i) & 0xffff;
      }
      assertEquals(0xffff, (sum & 0xffff) + (sum >>> 16), "IPv4 checksum");

      send(reply(UdpGateway.ADDRESS, GUEST_PORT, client.getLocalPort(), "world").array());

      DatagramPacket answer = new DatagramPacket(new byte[64], 64);
      client.receive(answer);
      assertEquals("world", new String(answer.getData(), 0, answer.getLength(), US_ASCII));
      assertEquals(gateway.address().getPort(), answer.getPort());
      assertEquals(0, gateway.lostFrames());
    }
  }

  @Test
  void shouldAnswerArpForItsOwnAddressOnly() {
    ByteBuffer arp = ByteBuffer.allocate(42);
    arp.putShort(12, (short) 0x0806).putInt(14, 0x0001_0800).putInt(18, 0x0604_0001).putInt(28, GUEST_IP).putInt(38, UdpGateway.ADDRESS);

    send(arp.array());

    ByteBuffer answer = receive();
    assertEquals(42, answer.capacity());
    assertEquals(0x0604_0002, answer.getInt(18));
    assertEquals(UdpGateway.ADDRESS, answer.getInt(28));
    assertEquals(GUEST_IP, answer.getInt(38));
    assertEquals(answer.getInt(6), answer.getInt(22), "the address that answers is the one that is told");

    send(arp.putInt(38, UdpGateway.ADDRESS + 7).array());

    assertEquals(PacketPort.AGAIN, gateway.receive(room.hostVirt(), room.bytes()));
    assertEquals(1, gateway.lostFrames());
  }

  @Test
  void shouldLoseAndCountWhatIsNoDatagramOfTheGuestsPort() {
    send(reply(UdpGateway.ADDRESS, GUEST_PORT + 1, 9, "x").array());
    send(reply(UdpGateway.ADDRESS, GUEST_PORT, 9, "x").putShort(38, (short) 4000).array()); // longer than its frame
    send(new byte[14]);

    assertEquals(3, gateway.lostFrames());
  }

  @Test
  void shouldLoseADatagramThatFitsNoFrame() throws IOException {
    try (DatagramSocket client = new DatagramSocket(new InetSocketAddress("127.0.0.1", 0))) {
      client.send(new DatagramPacket(new byte[1473], 1473, gateway.address()));
    }
    assertEquals(PacketPort.AGAIN, gateway.receive(room.hostVirt(), room.bytes()));
    assertEquals(1, gateway.lostFrames());
  }

  @Test
  void shouldRefuseAnAddressThatIsNotOne() {
    SocketAddress any = SocketAddress.inet("0.0.0.0", 0);
    assertThrows(IllegalArgumentException.class, () -> new UdpGateway(any, GUEST_MAC, GUEST_IP, GUEST_PORT));
  }
}
