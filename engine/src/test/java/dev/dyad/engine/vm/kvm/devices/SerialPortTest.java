package dev.dyad.engine.vm.kvm.devices;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.MalformedStateException;
import org.junit.jupiter.api.Test;

/** The serial port as a driver of a 16550 meets it. */
class SerialPortTest {
  private static final int DATA = 0;
  private static final int INTERRUPT_ENABLE = 1;
  private static final int INTERRUPT_ID = 2;
  private static final int LINE_CONTROL = 3;
  private static final int MODEM_CONTROL = 4;
  private static final int LINE_STATUS = 5;
  private static final int MODEM_STATUS = 6;
  private static final int SCRATCH = 7;

  private final StringBuilder printed = new StringBuilder();
  private int interrupts;
  private final SerialPort port = port();

  private SerialPort port() {
    return new SerialPort(() -> interrupts++, character -> printed.append((char) character));
  }

  private int in(int register) {
    return port.in(register, 1);
  }

  private void out(int register, int value) {
    port.out(register, 1, value);
  }

  @Test
  void shouldBeFoundByADriverThatLooksForIt() {
    out(INTERRUPT_ENABLE, 0);
    assertEquals(0, in(INTERRUPT_ENABLE) & 0xf);
    out(INTERRUPT_ENABLE, 0xf);
    assertEquals(0xf, in(INTERRUPT_ENABLE) & 0xf);
    out(INTERRUPT_ENABLE, 0);
    // Loopback with OUT2 and RTS has to come back as DCD and CTS.
    out(MODEM_CONTROL, 0x1a);
    assertEquals(0x90, in(MODEM_STATUS) & 0xf0);
    out(MODEM_CONTROL, 0x15);
    assertEquals(0x60, in(MODEM_STATUS) & 0xf0);
    out(MODEM_CONTROL, 0);
    out(SCRATCH, 0x5a);
    assertEquals(0x5a, in(SCRATCH));
    out(INTERRUPT_ID, 1);
    assertEquals(0xc0, in(INTERRUPT_ID) & 0xc0, "a 16550A with its FIFO");
    out(LINE_CONTROL, 0x80);
    out(DATA, 0x34);
    out(INTERRUPT_ENABLE, 0x12);
    assertEquals(0x34, in(DATA));
    assertEquals(0x12, in(INTERRUPT_ENABLE));
    out(LINE_CONTROL, 3);
    assertEquals("", printed.toString(), "nothing of this was printed");
  }

  @Test
  void shouldPrintAndAskForMore() {
    out(INTERRUPT_ENABLE, 2);
    assertEquals(1, interrupts, "the transmitter is empty");
    assertEquals(0x02, in(INTERRUPT_ID) & 0xf);
    assertEquals(0x01, in(INTERRUPT_ID) & 0xf, "reading it takes it back");
    assertEquals(0x60, in(LINE_STATUS) & 0x60);
    out(DATA, 'o');
    out(DATA, 'k');
    assertEquals("ok", printed.toString());
    assertEquals(3, interrupts);
  }

  @Test
  void shouldTakeWhatIsTypedUntilItsFifoIsFull() {
    out(INTERRUPT_ENABLE, 1);
    for (int i = 0; i < 16; i++) {
      assertTrue(port.type('a' + i));
    }
    assertFalse(port.type('x'));
    assertEquals(16, interrupts);
    assertEquals(0x04, in(INTERRUPT_ID) & 0xf);
    for (int i = 0; i < 16; i++) {
      assertEquals(1, in(LINE_STATUS) & 1);
      assertEquals('a' + i, in(DATA));
    }
    assertEquals(0, in(LINE_STATUS) & 1);
    assertEquals(0x01, in(INTERRUPT_ID) & 0xf);
  }

  @Test
  void shouldGoOnElsewhereWithWhatItHeld() {
    out(INTERRUPT_ENABLE, 3);
    out(LINE_CONTROL, 3);
    out(SCRATCH, 9);
    port.type('h');
    port.type('i');
    port.quiesce();
    assertFalse(port.type('!'), "nothing is typed into a machine that is paused");
    try (Mapping state = Mapping.anonymous(4096)) {
      port.saveState(state.hostVirt());
      SerialPort other = port();
      other.restoreState(state.hostVirt());
      interrupts = 0;
      other.wake();
      assertEquals(1, interrupts, "an interrupt that was on its way is not lost");
      assertEquals(9, other.in(SCRATCH, 1));
      assertEquals('h', other.in(DATA, 1));
      assertEquals('i', other.in(DATA, 1));
      Memory.putInt(state.hostVirt(), 17);
      assertThrows(MalformedStateException.class, () -> port().restoreState(state.hostVirt()));
      Memory.putInt(state.hostVirt(), -1);
      assertThrows(MalformedStateException.class, () -> port().restoreState(state.hostVirt()));
    }
  }
}
