package dev.dyad.engine.net;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class LearnedAddressesTest {
  private static final String MAC = "525400123456";
  private static final String ARP = "ffffffffffff" + MAC + "0806" + "0001080006040001" + MAC + "0a4d0005" + "000000000000" + "0a4d0001";
  private static final String V6 = "20010db8000000000000000000000005";

  private final LearnedAddresses learned = new LearnedAddresses();
  private final Mapping memory = Mapping.anonymous(64 * 1024);

  @AfterEach
  void close() {
    learned.close();
    memory.close();
  }

  private void observe(String hex) {
    byte[] frame = HexFormat.of().parseHex(hex);
    Memory.copyFrom(frame, 0, memory.hostVirt(), frame.length);
    learned.observe(memory.hostVirt(), frame.length);
  }

  private static String ipv4(String source, int ttl) {
    return "525400aaaaaa" + MAC + "0800" + "450000140000000" + "0" + HexFormat.of().toHexDigits((byte) ttl) + "060000" + source + "0a4d0001";
  }

  private static String neighbourAdvertisement(String target) {
    return "333300000001" + MAC + "86dd" + "6000000000203aff" + target + "ff020000000000000000000000000001" + "8800000020000000" + target + "0201" + MAC;
  }

  /** As they leave, in hex. */
  private List<String> announced() {
    try (Announcer announcer = new Announcer(learned, 4, 0)) {
      List<String> frames = new ArrayList<>();
      int at = 0;
      while (at < announcer.wireBytes()) {
        byte[] frame = new byte[Integer.reverseBytes(Memory.getInt(announcer.wire() + at))];
        Memory.copyTo(announcer.wire() + at + 4, frame, 0, frame.length);
        frames.add(HexFormat.of().formatHex(frame));
        at += 4 + frame.length;
      }
      assertEquals(announcer.frames(), frames.size());
      return frames;
    }
  }

  @Test
  void shouldAnnounceWhatArpClaimedAsRequestAndReply() {
    observe(ARP);
    observe(ARP);
    assertEquals(1, learned.size());
    String padding = "00".repeat(18);
    assertEquals(
        List.of(
            "ffffffffffff" + MAC + "08060001080006040001" + MAC + "0a4d0005" + "000000000000" + "0a4d0005" + padding,
            "ffffffffffff" + MAC + "08060001080006040002" + MAC + "0a4d0005" + "ffffffffffff" + "0a4d0005" + padding),
        announced());
  }

  @Test
  void shouldNotAnnounceAddressesThatTheGuestOnlyForwardsOrGuessedOnesBesideAClaim() {
    observe(ipv4("c0a80007", 63));
    assertEquals(0, learned.size());
    observe(ipv4("0a4d0005", 64));
    assertEquals(2, announced().size());
    observe(ARP.replace("0a4d0005", "0a4d0006"));
    assertTrue(announced().stream().allMatch(frame -> frame.contains("0a4d0006") && !frame.contains("0a4d0005")));
  }

  @Test
  void shouldAnnounceIpv6ByAnUnsolicitedAdvertisementWithARightChecksum() {
    observe(neighbourAdvertisement(V6));
    String frame = announced().getFirst();
    assertTrue(frame.startsWith("333300000001" + MAC + "86dd6000000000203aff" + V6), frame);
    assertTrue(frame.endsWith("20000000" + V6 + "0201" + MAC), frame);
    byte[] bytes = HexFormat.of().parseHex(frame);
    int sum = 32 + 58;
    for (int i = 14 + 8; i < bytes.length; i += 2) {
      sum += (bytes[i] & 0xff) << 8 | (bytes[i + 1] & 0xff);
    }
    assertEquals(0xffff, (sum & 0xffff) + (sum >>> 16), "checksum");
  }

  @Test
  void shouldAnnounceAMacWithoutAddressByReverseArp() {
    observe("ffffffffffff" + MAC + "88b5" + "00".repeat(46));
    assertEquals(List.of("ffffffffffff" + MAC + "80350001080006040003" + MAC + "00000000" + MAC + "00000000" + "00".repeat(18)), announced());
    observe(ARP);
    assertEquals(2, announced().size());
  }

  @Test
  void shouldTravelAsABlockThatTheOtherSideChecks() {
    observe(ARP);
    observe(neighbourAdvertisement(V6));
    long block = memory.hostVirt() + 4096;
    assertTrue(learned.encode(block));
    List<String> here = announced();
    try (LearnedAddresses there = new LearnedAddresses()) {
      assertNull(there.decode(block));
      assertEquals(2, there.size());
      long again = memory.hostVirt() + 8192;
      assertTrue(there.encode(again));
      assertTrue(Memory.equal(block, again, LearnedAddresses.BLOCK_BYTES));
      Memory.putShort(block + 6, (short) 21);
      assertNotNull(there.decode(block));
      Memory.putInt(block, 7);
      assertNotNull(there.decode(block));
      assertEquals(2, there.size());
    }
    assertEquals(here, announced());
  }

  @Test
  void shouldStayBoundedAndWholeUnderAnyFrames() {
    Random random = new Random(7);
    byte[] frame = new byte[100];
    for (int i = 0; i < 200_000; i++) {
      random.nextBytes(frame);
      frame[6] &= (byte) 0xfe;
      int type = new int[] {0x0806, 0x0800, 0x86dd, 0x8100, 0x1234}[i % 5];
      frame[12] = (byte) (type >>> 8);
      frame[13] = (byte) type;
      Memory.copyFrom(frame, 0, memory.hostVirt(), frame.length);
      learned.observe(memory.hostVirt(), random.nextInt(frame.length));
    }
    assertEquals(LearnedAddresses.ENTRIES_MAX, learned.size());
    assertTrue(learned.encode(memory.hostVirt() + 4096));
    assertFalse(announced().isEmpty());
    try (LearnedAddresses there = new LearnedAddresses()) {
      assertNull(there.decode(memory.hostVirt() + 4096));
    }
  }

  @Test
  void shouldLookBehindTheVirtioNetHeader() {
    observe(ARP);
    try (Announcer announcer = new Announcer(learned, 8, 12)) {
      byte[] head = new byte[20];
      Memory.copyTo(announcer.wire(), head, 0, head.length);
      assertArrayEquals(HexFormat.of().parseHex("00000048" + "0000000c" + "00".repeat(12)), head);
    }
  }
}
