package dev.dyad.bindings.linux;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MemoryTest {

  private final Mapping mapping = Mapping.anonymous(4 * Mapping.PAGE_BYTES);
  private final long at = mapping.hostVirt();

  @AfterEach
  void close() {
    mapping.close();
  }

  @Test
  void shouldReadBackEveryWidthUnaligned() {
    Memory.putByte(at, (byte) -2);
    Memory.putShort(at + 1, (short) -300);
    Memory.putInt(at + 3, 0x81020304);
    Memory.putLong(at + 7, 0x8102030405060708L);
    assertEquals((byte) -2, Memory.getByte(at));
    assertEquals((short) -300, Memory.getShort(at + 1));
    assertEquals(0x81020304, Memory.getInt(at + 3));
    assertEquals(0x8102030405060708L, Memory.getLong(at + 7));
    assertEquals(8, Memory.getByte(at + 7), "little-endian");
  }

  @Test
  void shouldAccessWordsInOrderOnlyWhenAligned() {
    Memory.putLongRelease(at, 7);
    assertEquals(7, Memory.getLongAcquire(at));
    assertEquals(7, Memory.getAndAddLong(at, 5));
    assertTrue(Memory.compareAndSetLong(at, 12, 1));
    assertFalse(Memory.compareAndSetLong(at, 12, 2));
    assertEquals(1, Memory.getLongVolatile(at));
    Memory.putIntRelease(at + 8, 3);
    assertEquals(3, Memory.getAndAddInt(at + 8, -1));
    assertTrue(Memory.compareAndSetInt(at + 8, 2, 9));
    assertEquals(9, Memory.getIntAcquire(at + 8));
    assertThrows(IllegalArgumentException.class, () -> Memory.getLongAcquire(at + 4));
  }

  @ParameterizedTest
  @ValueSource(ints = {8, 4096, 8191, 8192, 12_345})
  void shouldCopyOverlappingRangesOfEveryLengthInBothDirections(int length) {
    byte[] bytes = new byte[length];
    new Random(length).nextBytes(bytes);
    byte[] got = new byte[length];

    Memory.copyFrom(bytes, 0, at, length);
    Memory.copy(at, at + 3, length);
    Memory.copyTo(at + 3, got, 0, length);
    assertArrayEquals(bytes, got);

    Memory.copy(at + 3, at + 1, length);
    Memory.copyTo(at + 1, got, 0, length);
    assertArrayEquals(bytes, got);
  }

  @Test
  void shouldFindTheFirstByteThatDiffers() {
    long other = at + Mapping.PAGE_BYTES;
    Memory.fill(at, Mapping.PAGE_BYTES, (byte) 0x5a);
    Memory.fill(other, Mapping.PAGE_BYTES, (byte) 0x5a);
    assertTrue(Memory.equal(at, other, Mapping.PAGE_BYTES));
    Memory.putByte(other + 3001, (byte) 1);
    assertEquals(3001, Memory.mismatch(at, other, Mapping.PAGE_BYTES));
    assertFalse(Memory.equal(at, other, Mapping.PAGE_BYTES));
    assertTrue(Memory.equal(at, other, 3001));
    assertFalse(Memory.equal(at, other, 3002));
    Memory.zero(other, Mapping.PAGE_BYTES);
    assertEquals(0, Memory.getByte(other + 3001));
    assertEquals(0x5a, Memory.getByte(at + 3001));
  }

  @Test
  void shouldLeaveAnAddressWhatItIs() {
    assertEquals(at, Memory.base(at));
  }

  @Test
  void shouldViewTheSameBytesAsASegment() {
    Memory.putInt(at + 16, 77);
    assertEquals(77, Memory.view(at + 16, 4).get(ValueLayout.JAVA_INT, 0));
    assertThrows(IndexOutOfBoundsException.class, () -> Memory.view(at, 4).get(ValueLayout.JAVA_INT, 4));
  }

  @Test
  void shouldReadStringsUpToTheirEnd() {
    Memory.copyFrom(new byte[] {'e', 't', 'h', '0', 0, 'x'}, 0, at, 6);
    assertEquals("eth0", Memory.getString(at, 16));
    assertEquals("et", Memory.getString(at, 2));
  }

  @Test
  void shouldRunOverTheEndOfAMirroredRing() {
    try (Mapping ring = Mapping.mirrored(2 * Mapping.PAGE_BYTES)) {
      long start = ring.hostVirt();
      Memory.putLong(start + ring.bytes() - 4, 0x1122334455667788L);
      assertEquals(0x11223344, Memory.getInt(start), "the upper half came round to the beginning");
      assertEquals(0x1122334455667788L, Memory.getLong(start + ring.bytes() - 4));
      Memory.putByte(start + 5, (byte) 9);
      assertEquals(9, Memory.getByte(start + ring.bytes() + 5));
    }
  }

  @Test
  void shouldShareOneMemFdBetweenMappings() {
    try (MemFd memory = MemFd.create("test", 8192);
        Mapping one = memory.map();
        Mapping two = memory.map()) {
      Memory.putLong(one.hostVirt() + 4096, 42);
      assertEquals(42, Memory.getLong(two.hostVirt() + 4096));
      assertEquals(8192, Files.bytes(memory.fd()));
    }
  }
}
