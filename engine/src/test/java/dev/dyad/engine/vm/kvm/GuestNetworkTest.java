package dev.dyad.engine.vm.kvm;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.net.PacketPort;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.vm.kvm.devices.NicPort;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The built-in guest's services over the network card, also while epochs come and go, and after a take-over. */
class GuestNetworkTest {
  private static final byte[] OWN_MAC = {2, 0, 0, 0, 0, 9};
  private static final long PATIENCE_NS = 20_000_000_000L;
  private static final int OWN_ADDRESS = 10 << 24 | 77 << 16 | 1;

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  /** A client on the far end of the wire: one frame out, the answer in. */
  static final class Wire implements AutoCloseable {
    private final NicPort nic;
    private final Mapping room = Mapping.anonymous(1 << 20);
    byte[] guestMac = new byte[6];
    private static int lastId;

    Wire(MicroVm machine) {
      nic = requireNic(machine);
    }

    private static NicPort requireNic(MicroVm machine) {
      NicPort nic = machine.nic();
      if (nic == null) {
        throw new IllegalStateException("no card");
      }
      return nic;
    }

    void send(byte[] frame) {
      Memory.putInt(room.hostVirt(), Integer.reverseBytes(frame.length));
      Memory.copyFrom(frame, 0, room.hostVirt() + 4, frame.length);
      long end = System.nanoTime() + 5_000_000_000L;
      while (nic.send(room.hostVirt(), 4 + frame.length) == PacketPort.AGAIN) {
        if (System.nanoTime() > end) {
          fail("the guest takes no frame");
        }
        Thread.onSpinWait();
      }
    }

    byte @Nullable [] receive(long timeoutNs) {
      long end = System.nanoTime() + timeoutNs;
      while (System.nanoTime() < end) {
        if (nic.receive(room.hostVirt(), 4 + 9300) > 0) {
          byte[] frame = new byte[Integer.reverseBytes(Memory.getInt(room.hostVirt()))];
          Memory.copyTo(room.hostVirt() + 4, frame, 0, frame.length);
          return frame;
        }
        Thread.onSpinWait();
      }
      return null;
    }

    /** Sends once; the first answer that fits. */
    byte[] ask(byte[] frame, Predicate<byte[]> fits) {
      send(frame);
      for (byte[] answer = receive(PATIENCE_NS); answer != null; answer = receive(PATIENCE_NS)) {
        if (fits.test(answer)) {
          return answer;
        }
      }
      return fail("no answer to " + frame.length + " bytes");
    }

    /** Until the guest's driver is there, frames are lost. */
    private byte[] askAgainAndAgain(byte[] frame) {
      for (int attempt = 0; attempt < 200; attempt++) {
        send(frame);
        byte[] answer = receive(100_000_000);
        if (answer != null) {
          return answer;
        }
      }
      return fail("no answer to ARP");
    }

    void resolve() {
      ByteBuffer arp = ByteBuffer.allocate(42);
      arp.put(new byte[] {-1, -1, -1, -1, -1, -1}).put(OWN_MAC).putShort((short) 0x0806);
      arp.putInt(0x0001_0800).putInt(0x0604_0001).put(OWN_MAC).putInt(OWN_ADDRESS).put(new byte[6]).putInt(BuiltinGuest.ADDRESS);
      byte[] answer = askAgainAndAgain(arp.array());
      assertEquals(0x0604_0002, ByteBuffer.wrap(answer).getInt(18));
      guestMac = Arrays.copyOfRange(answer, 22, 28);
    }

    private ByteBuffer ip(int protocol, int bytes) {
      ByteBuffer frame = ByteBuffer.allocate(34 + bytes);
      frame.put(guestMac).put(OWN_MAC).putShort((short) 0x0800);
      frame.putInt(0x4500_0000 | 20 + bytes).putInt(0).putInt(0x4000_0000 | protocol << 16).putInt(OWN_ADDRESS).putInt(BuiltinGuest.ADDRESS);
      frame.putShort(24, checksum(frame, 14, 20));
      return frame;
    }

    static short checksum(ByteBuffer of, int at, int bytes) {
      int sum = 0;
      for (int i = 0; i < bytes; i += 2) {
        sum += i + 1 < bytes ? of.getShort(at + i) & 0xffff : (of.get(at + i) & 0xff) << 8;
      }
      sum = (sum & 0xffff) + (sum >> 16);
      sum = (sum & 0xffff) + (sum >> 16);
      return (short) ~sum;
    }

    byte[] request(String text) {
      byte[] payload = text.getBytes(ISO_8859_1);
      ByteBuffer frame = ip(17, 16 + payload.length);
      frame.putShort((short) 40000).putShort((short) BuiltinGuest.PORT).putShort((short) (16 + payload.length)).putShort((short) 0);
      frame.putShort((short) ++lastId).putShort((short) 0).putShort((short) 1).putShort((short) 0).put(payload);
      return frame.array();
    }

    String command(String text) {
      byte[] answer = ask(request(text), frame -> frame[23] == 17 && ByteBuffer.wrap(frame).getShort(42) == (short) lastId);
      ByteBuffer view = ByteBuffer.wrap(answer);
      assertEquals(0, checksum(view, 14, 20), "IPv4 checksum");
      return new String(answer, 50, answer.length - 50, ISO_8859_1);
    }

    @Override
    public void close() {
      room.close();
    }
  }

  @Test
  void shouldAnswerArpPingAndTheKeyValueProtocol() {
    try (MicroVm machine = new MicroVm(Rig.config(1), c -> {}, MachineListener.NONE);
        Wire wire = new Wire(machine)) {
      machine.boot(BuiltinGuest.of(GuestPattern.NONE).withQuiet(true));
      machine.resume();
      wire.resolve();
      assertArrayEquals(new byte[] {0x02, 0x64, 0x79, 0x61, 0x64, 0x01}, wire.guestMac);

      ByteBuffer ping = wire.ip(1, 8 + 56);
      ping.putInt(0x0800_0000).putInt(0x1234_0001);
      for (int i = 0; i < 56; i++) {
        ping.put((byte) i);
      }
      ping.putShort(36, Wire.checksum(ping, 34, 64));
      byte[] pong = wire.ask(ping.array(), frame -> frame[23] == 1);
      assertEquals(0, pong[34]);
      assertArrayEquals(Arrays.copyOfRange(ping.array(), 38, 98), Arrays.copyOfRange(pong, 38, 98));
      assertEquals(0, Wire.checksum(ByteBuffer.wrap(pong), 34, 64));

      assertEquals("VERSION 1.6.0-dyad\r\n", wire.command("version\r\n"));
      assertEquals("END\r\n", wire.command("get a\r\n"));
      assertEquals("STORED\r\n", wire.command("set a 5 0 3\r\nxyz\r\n"));
      assertEquals("VALUE a 5 3\r\nxyz\r\nEND\r\n", wire.command("get a b\r\n"));
      assertEquals("NOT_STORED\r\n", wire.command("add a 0 0 1\r\n1\r\n"));
      assertEquals("STORED\r\n", wire.command("set n 0 0 2\r\n41\r\n"));
      assertEquals("42\r\n", wire.command("incr n 1\r\n"));
      assertEquals("0\r\n", wire.command("decr n 50\r\n"));
      assertEquals("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n", wire.command("incr a 1\r\n"));
      assertEquals("DELETED\r\n", wire.command("delete a\r\n"));
      assertEquals("NOT_FOUND\r\n", wire.command("delete a\r\n"));
      assertEquals("CLIENT_ERROR bad data chunk\r\n", wire.command("set a 0 0 9\r\nxyz\r\n"));
      assertEquals("SERVER_ERROR object too large for cache\r\n", wire.command("set a 0 0 99999\r\nxyz\r\n"));
      assertEquals("ERROR\r\n", wire.command("flush_all\r\n"));
      assertEquals("STORED\r\n", wire.command("set big 0 0 1300\r\n" + "x".repeat(1300) + "\r\n"));
      assertEquals("VALUE big 0 1300\r\n" + "x".repeat(1300) + "\r\nEND\r\n", wire.command("get big\r\n"));
    }
  }

  /** Each acknowledged write of a client's is there after each of several take-overs: what the card wrote into guest memory was shipped too. */
  @Test
  void shouldKeepAcknowledgedWritesOverTakeOvers() {
    SplittableRandom random = new SplittableRandom(2);
    MicroVmConfig config = Rig.config(2);
    Map<String, String> acknowledged = new HashMap<>();
    Rig rig = new Rig(config, BuiltinGuest.of(GuestPattern.random(300, 4).withWritesPerTick(300)).withQuiet(true));
    rig.seal();
    byte[] guestMac = {};
    try {
      for (int round = 0; round < 5; round++) {
        try (Replica replica = new Replica(config);
            Wire wire = new Wire(rig.machine)) {
          replica.baseline(rig);
          rig.primary.resume();
          if (round == 0) {
            wire.resolve();
            guestMac = wire.guestMac;
          }
          wire.guestMac = guestMac;
          for (int epoch = 0; epoch < 40; epoch++) {
            for (int i = random.nextInt(4); i > 0; i--) {
              String key = "key" + random.nextInt(100);
              String value = Long.toHexString(random.nextLong());
              assertEquals("STORED\r\n", wire.command("set " + key + " 0 0 " + value.length() + "\r\n" + value + "\r\n"));
              acknowledged.put(key, value);
            }
            rig.seal();
            replica.commit(rig);
            assertEquals(-1, rig.firstDifference(replica.memory()), "page that differs after epoch " + epoch);
            rig.primary.resume();
          }
          rig.close();
          rig = new Rig(replica.promote());
        }
        try (Wire wire = new Wire(rig.machine)) {
          wire.guestMac = guestMac;
          for (Map.Entry<String, String> entry : acknowledged.entrySet()) {
            String value = entry.getValue();
            assertEquals(
                "VALUE " + entry.getKey() + " 0 " + value.length() + "\r\n" + value + "\r\nEND\r\n", wire.command("get " + entry.getKey() + "\r\n"));
          }
        }
        assertEquals(acknowledged.size(), rig.guest.items());
        rig.primary.pause();
        rig.primary.startTracking();
        rig.seal();
      }
      assertTrue(acknowledged.size() > 50);
      assertEquals("", rig.guest.fault());
    } finally {
      rig.close();
    }
  }
}
