package dev.dyad.engine.guest;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class EmulatedClockTest {
  @Test
  void shouldPassOnTheRateThatAVirtualHostKnows() {
    assertEquals("tsc_early_khz=2596128", EmulatedClock.kernelWords(List.of("cpu MHz\t\t: 2596.128", "flags\t\t: fpu hypervisor lahf_lm", "cpu MHz\t\t: 2596.129")));
  }

  @Test
  void shouldLetTheGuestMeasureWhereTheHostsFrequencyIsThatOfTheMoment() {
    assertEquals("", EmulatedClock.kernelWords(List.of("cpu MHz\t\t: 1400.000", "flags\t\t: fpu constant_tsc")));
  }
}
