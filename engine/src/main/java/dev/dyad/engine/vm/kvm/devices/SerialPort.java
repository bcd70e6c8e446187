package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.MalformedStateException;

/**
 * A 16550A UART at COM1 as drivers use it: transmitter always ready, receive FIFO, interrupts. Line speed and modem lines are kept as
 * written and have no effect.
 */
public final class SerialPort implements PortDevice, StatefulDevice {
  public static final int PORT = 0x3f8;
  public static final int PORTS = 8;
  public static final int GSI = 4;

  private static final int STATE_BYTES = 64;
  private static final int FIFO_BYTES = 16;
  private static final int DATA = 0;
  private static final int INTERRUPT_ENABLE = 1;
  private static final int INTERRUPT_ID = 2;
  private static final int LINE_CONTROL = 3;
  private static final int MODEM_CONTROL = 4;
  private static final int LINE_STATUS = 5;
  private static final int MODEM_STATUS = 6;
  private static final int SCRATCH = 7;

  private static final int ENABLE_RECEIVED = 1;
  private static final int ENABLE_TRANSMITTED = 2;
  private static final int DIVISOR_ACCESS = 0x80;
  private static final int STATUS_RECEIVED = 0x01;
  private static final int STATUS_EMPTY = 0x60;
  private static final int ID_NONE = 0x01;
  private static final int ID_TRANSMITTED = 0x02;
  private static final int ID_RECEIVED = 0x04;
  private static final int ID_FIFO = 0xc0;
  private static final int MODEM_READY = 0xb0;
  private static final int LOOPBACK = 0x10;

  private final InterruptLine interrupt;
  private final ConsoleSink sink;

  // All guarded by this.
  private final byte[] fifo = new byte[FIFO_BYTES];
  private int fifoCount;
  private int interruptEnable;
  private int lineControl;
  private int modemControl;
  private int scratch;
  private int divisor;
  private int fifoControl;
  private boolean transmittedPending;
  private boolean quiet;
  private boolean restored;

  public SerialPort(InterruptLine interrupt, ConsoleSink sink) {
    this.interrupt = interrupt;
    this.sink = sink;
  }

  /** Gives the guest a character; false when its FIFO is full or the machine is paused. Any thread. */
  public synchronized boolean type(int character) {
    if (quiet || fifoCount == FIFO_BYTES) {
      return false;
    }
    fifo[fifoCount++] = (byte) character;
    if ((interruptEnable & ENABLE_RECEIVED) != 0) {
      interrupt.raise();
    }
    return true;
  }

  @Override
  public synchronized int in(int offset, int bytes) {
    switch (offset) {
      case DATA:
        if ((lineControl & DIVISOR_ACCESS) != 0) {
          return divisor & 0xff;
        }
        return take();
      case INTERRUPT_ENABLE:
        return (lineControl & DIVISOR_ACCESS) != 0 ? divisor >> 8 : interruptEnable;
      case INTERRUPT_ID:
        return interruptId();
      case LINE_CONTROL:
        return lineControl;
      case MODEM_CONTROL:
        return modemControl;
      case LINE_STATUS:
        return STATUS_EMPTY | (fifoCount > 0 ? STATUS_RECEIVED : 0);
      case MODEM_STATUS:
        return (modemControl & LOOPBACK) != 0 ? loopedModemStatus() : MODEM_READY;
      case SCRATCH:
        return scratch;
      default:
        return 0xff;
    }
  }

  /** RTS comes back as CTS, DTR as DSR, OUT1 as RI, OUT2 as DCD: drivers look whether a port is there by this. */
  private int loopedModemStatus() {
    return (modemControl & 2) << 3 | (modemControl & 1) << 5 | (modemControl & 4) << 4 | (modemControl & 8) << 4;
  }

  private int take() {
    if (fifoCount == 0) {
      return 0;
    }
    int character = fifo[0] & 0xff;
    fifoCount--;
    System.arraycopy(fifo, 1, fifo, 0, fifoCount);
    return character;
  }

  private int interruptId() {
    int id = (fifoControl & 1) != 0 ? ID_FIFO : 0;
    if (fifoCount > 0 && (interruptEnable & ENABLE_RECEIVED) != 0) {
      return id | ID_RECEIVED;
    }
    if (transmittedPending && (interruptEnable & ENABLE_TRANSMITTED) != 0) {
      transmittedPending = false;
      return id | ID_TRANSMITTED;
    }
    return id | ID_NONE;
  }

  @Override
  public synchronized void out(int offset, int bytes, int value) {
    switch (offset) {
      case DATA:
        if ((lineControl & DIVISOR_ACCESS) != 0) {
          divisor = (divisor & 0xff00) | (value & 0xff);
        } else {
          transmit(value & 0xff);
        }
        break;
      case INTERRUPT_ENABLE:
        if ((lineControl & DIVISOR_ACCESS) != 0) {
          divisor = (divisor & 0xff) | (value & 0xff) << 8;
        } else {
          boolean transmitNow = (value & ~interruptEnable & ENABLE_TRANSMITTED) != 0;
          interruptEnable = value & 0xf;
          if (transmitNow) {
            transmittedPending = true;
          }
          if (transmitNow || (fifoCount > 0 && (interruptEnable & ENABLE_RECEIVED) != 0)) {
            interrupt.raise();
          }
        }
        break;
      case INTERRUPT_ID:
        fifoControl = value & 0xff;
        if ((value & 2) != 0) {
          fifoCount = 0;
        }
        break;
      case LINE_CONTROL:
        lineControl = value & 0xff;
        break;
      case MODEM_CONTROL:
        modemControl = value & 0x1f;
        break;
      case SCRATCH:
        scratch = value & 0xff;
        break;
      default:
        break;
    }
  }

  private void transmit(int character) {
    if ((modemControl & LOOPBACK) != 0) {
      if (fifoCount < FIFO_BYTES) {
        fifo[fifoCount++] = (byte) character;
      }
    } else {
      sink.write(character);
    }
    if ((interruptEnable & ENABLE_TRANSMITTED) != 0) {
      transmittedPending = true;
      interrupt.raise();
    }
  }

  @Override
  public int stateBytes() {
    return STATE_BYTES;
  }

  @Override
  public synchronized void saveState(long destination) {
    Memory.putInt(destination, fifoCount);
    Memory.putInt(destination + 4, interruptEnable);
    Memory.putInt(destination + 8, lineControl);
    Memory.putInt(destination + 12, modemControl);
    Memory.putInt(destination + 16, scratch);
    Memory.putInt(destination + 20, divisor);
    Memory.putInt(destination + 24, fifoControl);
    Memory.putInt(destination + 28, transmittedPending ? 1 : 0);
    Memory.copyFrom(fifo, 0, destination + 32, FIFO_BYTES);
    Memory.putLong(destination + 48, 0);
    Memory.putLong(destination + 56, 0);
  }

  @Override
  public synchronized void restoreState(long source) {
    int count = Memory.getInt(source);
    if (count < 0 || count > FIFO_BYTES) {
      throw new MalformedStateException("machine state: serial FIFO of " + count + " bytes");
    }
    fifoCount = count;
    interruptEnable = Memory.getInt(source + 4) & 0xf;
    lineControl = Memory.getInt(source + 8) & 0xff;
    modemControl = Memory.getInt(source + 12) & 0x1f;
    scratch = Memory.getInt(source + 16) & 0xff;
    divisor = Memory.getInt(source + 20) & 0xffff;
    fifoControl = Memory.getInt(source + 24) & 0xff;
    transmittedPending = Memory.getInt(source + 28) != 0;
    restored = true;
    Memory.copyTo(source + 32, fifo, 0, FIFO_BYTES);
  }

  @Override
  public synchronized void quiesce() {
    quiet = true;
  }

  @Override
  public synchronized void wake() {
    quiet = false;
    if (restored && ((fifoCount > 0 && (interruptEnable & ENABLE_RECEIVED) != 0) || transmittedPending)) {
      interrupt.raise();
    }
    restored = false;
  }

  @Override
  public synchronized void reset() {
    fifoCount = 0;
    interruptEnable = 0;
    lineControl = 0;
    modemControl = 0;
    scratch = 0;
    divisor = 0;
    fifoControl = 0;
    transmittedPending = false;
  }
}
