package dev.dyad.engine.wire;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.nio.charset.StandardCharsets;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class Crc32cTest {
  @Test
  void shouldGiveTheStandardsCheckValue() {
    try (Mapping memory = Mapping.anonymous(4096)) {
      byte[] check = "123456789".getBytes(StandardCharsets.US_ASCII);
      Memory.copyFrom(check, 0, memory.hostVirt() + 3, check.length);
      assertEquals(0xe3069283, Crc32c.ofSmall(memory.hostVirt() + 3, check.length));
      assertEquals(0xe3069283, new Crc32c(memory.hostVirt(), 4096).of(memory.hostVirt() + 3, check.length));
    }
  }

  @Test
  void shouldGiveTheSameInBothWays() {
    SplittableRandom random = new SplittableRandom(1);
    try (Mapping memory = Mapping.anonymous(1 << 16)) {
      for (int i = 0; i < 1 << 16; i += 8) {
        Memory.putLong(memory.hostVirt() + i, random.nextLong());
      }
      Crc32c crc = new Crc32c(memory.hostVirt(), 1 << 16);
      for (int i = 0; i < 1000; i++) {
        int from = random.nextInt(1 << 16);
        int bytes = random.nextInt((1 << 16) - from + 1);
        assertEquals(Crc32c.ofSmall(memory.hostVirt() + from, bytes), crc.of(memory.hostVirt() + from, bytes));
      }
    }
  }
}
