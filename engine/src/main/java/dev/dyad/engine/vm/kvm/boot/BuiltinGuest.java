package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;

/**
 * The guest that comes with Dyad ({@code src/main/guest}): dirties pages by a pattern under a running checksum and serves memcached's text
 * protocol over UDP. The layout of parameters and status is that of {@code guest.h}.
 *
 * @param pattern what it does with its memory
 * @param timer kind of its clock
 * @param timerCount APIC timer counts (1 ns on KVM) or, in deadline mode, TSC counts between two ticks
 * @param address its IPv4 address
 * @param port UDP port of the key-value service
 * @param kvSlots room for keys, a power of two; 0: no service
 * @param log whether changed keys go to the block device
 * @param powerOffWhenDone switches itself off when every vCPU has done its {@code stopAfter} writes
 * @param quiet prints nothing
 */
public record BuiltinGuest(
    GuestPattern pattern,
    Timer timer,
    int timerCount,
    int address,
    int port,
    long kvSlots,
    Log log,
    boolean powerOffWhenDone,
    boolean quiet)
    implements BootImage {

  /** Kinds of LAPIC timer. */
  public enum Timer {
    OFF,
    PERIODIC,
    DEADLINE
  }

  /** What happens to a changed key besides. */
  public enum Log {
    OFF,
    /** It is written to the disk. */
    WRITE,
    /** And the reply waits until it is there. */
    BEFORE_REPLY
  }

  public static final int MEMORY_BYTES_MIN = 32 << 20;

  /** First guest-physical address of the working sets. */
  public static final long WORK_BASE = 16 << 20;

  /** 10.77.0.2, beside the host's 10.77.0.1. */
  public static final int ADDRESS = 10 << 24 | 77 << 16 | 2;

  public static final int PORT = 11211;

  private static final int TICK_NS = 10_000_000;
  private static final long MAGIC = 0x7473_6575_6764_7964L;
  private static final int VERSION = 1;
  private static final long PARAMETERS = 0x1000;
  private static final int PARAMETERS_BYTES = 128;
  private static final long CPU_PAGES = 0x2000;
  private static final long PAGE_TABLES = 0x50000;
  private static final long PAGE_TABLES_END = 0x100000;
  private static final long PROGRAM = 0x100000;
  private static final long KV_TABLE = 0x400000;
  private static final long SLOT_BYTES = 2048;
  private static final long NET_MMIO = 0xd000_0000L;
  private static final long BLOCK_MMIO = 0xd000_1000L;
  private static final int NET_IRQ = 5;
  private static final int BLOCK_IRQ = 6;

  /** Ticks 100 times a second, has room for 4,096 keys, prints. */
  public static BuiltinGuest of(GuestPattern pattern) {
    return new BuiltinGuest(pattern, Timer.PERIODIC, TICK_NS, ADDRESS, PORT, 4096, Log.OFF, false, false);
  }

  public BuiltinGuest withTimer(Timer other, int count) {
    return new BuiltinGuest(pattern, other, count, address, port, kvSlots, log, powerOffWhenDone, quiet);
  }

  public BuiltinGuest withAddress(int ipv4, int udpPort) {
    return new BuiltinGuest(pattern, timer, timerCount, ipv4, udpPort, kvSlots, log, powerOffWhenDone, quiet);
  }

  public BuiltinGuest withLog(Log other) {
    return new BuiltinGuest(pattern, timer, timerCount, address, port, kvSlots, other, powerOffWhenDone, quiet);
  }

  public BuiltinGuest withPowerOffWhenDone(boolean off) {
    return new BuiltinGuest(pattern, timer, timerCount, address, port, kvSlots, log, off, quiet);
  }

  public BuiltinGuest withQuiet(boolean silent) {
    return new BuiltinGuest(pattern, timer, timerCount, address, port, kvSlots, log, powerOffWhenDone, silent);
  }

  @Override
  public void load(GuestRam ram, int vcpus) {
    long workBytes = pattern.pages() * vcpus * 4096;
    if (ram.bytes() < MEMORY_BYTES_MIN || ram.hostVirt(WORK_BASE, workBytes) == GuestRam.OUTSIDE) {
      throw new IllegalArgumentException(
          "memory of " + (ram.bytes() >> 20) + " MiB: the built-in guest needs " + (Math.max(MEMORY_BYTES_MIN, WORK_BASE + workBytes) >> 20) + " MiB for " + vcpus + " vCPUs of " + pattern.pages() + " pages, below 3 GiB");
    }
    if (kvSlots < 0 || Long.bitCount(kvSlots) > 1 || KV_TABLE + kvSlots * SLOT_BYTES > WORK_BASE) {
      throw new IllegalArgumentException(kvSlots + " slots: a power of two up to " + (WORK_BASE - KV_TABLE) / SLOT_BYTES / 2 * 2 + " is possible");
    }
    byte[] program = program();
    long at = ram.hostVirt(PROGRAM, program.length);
    Memory.copyFrom(program, 0, at, program.length);
    ram.wrote(at, program.length);
    LongMode.mapAll(ram, PAGE_TABLES, PAGE_TABLES_END - PAGE_TABLES);
    long parameters = ram.hostVirt(PARAMETERS, PARAMETERS_BYTES);
    writeParameters(parameters, vcpus);
    ram.wrote(parameters, PARAMETERS_BYTES);
  }

  private void writeParameters(long at, int vcpus) {
    Memory.putLong(at, MAGIC);
    Memory.putInt(at + 8, VERSION);
    Memory.putInt(at + 12, vcpus);
    Memory.putLong(at + 16, WORK_BASE);
    Memory.putLong(at + 24, pattern.pages());
    Memory.putInt(at + 32, pattern.random() ? 1 : 0);
    Memory.putInt(at + 36, pattern.hotPercent());
    Memory.putLong(at + 40, pattern.hotPages());
    Memory.putLong(at + 48, pattern.writesPerTick());
    Memory.putLong(at + 56, pattern.stopAfter());
    Memory.putLong(at + 64, pattern.seed());
    Memory.putInt(at + 72, timer.ordinal());
    Memory.putInt(at + 76, timerCount);
    Memory.putLong(at + 80, NET_MMIO);
    Memory.putLong(at + 88, log == Log.OFF ? 0 : BLOCK_MMIO);
    Memory.putInt(at + 96, NET_IRQ);
    Memory.putInt(at + 100, BLOCK_IRQ);
    Memory.putInt(at + 104, address);
    Memory.putShort(at + 108, (short) port);
    Memory.putShort(at + 110, (short) (powerOffWhenDone ? 1 : 0));
    Memory.putLong(at + 112, kvSlots);
    Memory.putInt(at + 120, log.ordinal());
    Memory.putInt(at + 124, quiet ? 1 : 0);
  }

  @Override
  public void prepare(int vcpu, KvmVcpu kvm) {
    LongMode.prepare(kvm, PAGE_TABLES, PROGRAM, vcpu);
  }

  private static byte[] program() {
    try (InputStream in = BuiltinGuest.class.getResourceAsStream("guest.bin")) {
      if (in == null) {
        throw new IllegalStateException("the built-in guest's program is missing from the class path");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Where a vCPU's page of status is in guest-physical memory. */
  static long cpuPage(int vcpu) {
    return CPU_PAGES + vcpu * 4096L;
  }
}
