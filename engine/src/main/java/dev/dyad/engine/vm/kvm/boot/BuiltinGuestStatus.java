package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.linux.Memory;

/** What the built-in guest tells about itself in its memory; read from outside at any time, exact while it is paused. Allocates nothing. */
public final class BuiltinGuestStatus {
  private static final int TICKS = 8;
  private static final int FAULT = 24;
  private static final int FAULT_RIP = 32;
  private static final int FAULT_CODE = 40;
  private static final int IDLES = 56;
  private static final int WRITES = 64;
  private static final int CHECKSUM = 72;
  private static final int ROUNDS = 80;
  private static final int STATE = 88;
  private static final int REQUESTS = 96;
  private static final int ITEMS = 104;
  private static final int KV_SUM = 112;
  private static final int DROPPED = 120;
  private static final int LOG_RECORDS = 128;
  private static final int LOG_COMPLETED = 136;
  private static final long DONE = 2;

  private final long memory;
  private final int vcpus;

  /**
   * @param memory address of guest-physical 0 in this process: a machine's memory or a replica of it
   */
  public BuiltinGuestStatus(long memory, int vcpus) {
    this.memory = memory;
    this.vcpus = vcpus;
  }

  private long get(int vcpu, int offset) {
    return Memory.getLongAcquire(memory + BuiltinGuest.cpuPage(vcpu) + offset);
  }

  public long ticks(int vcpu) {
    return get(vcpu, TICKS);
  }

  public long idles(int vcpu) {
    return get(vcpu, IDLES);
  }

  public long writes(int vcpu) {
    return get(vcpu, WRITES);
  }

  /** Times that the vCPU has made as many writes as it has pages. */
  public long rounds(int vcpu) {
    return get(vcpu, ROUNDS);
  }

  public boolean isDone(int vcpu) {
    return get(vcpu, STATE) == DONE;
  }

  public boolean isDone() {
    for (int i = 0; i < vcpus; i++) {
      if (!isDone(i)) {
        return false;
      }
    }
    return true;
  }

  /** Over all vCPUs, memory included; complete when all are done. */
  public long checksum() {
    long sum = 0;
    for (int i = 0; i < vcpus; i++) {
      sum ^= Long.rotateLeft(get(i, CHECKSUM), i);
    }
    return sum;
  }

  /** Datagrams that the key-value service has answered. */
  public long requests() {
    return get(0, REQUESTS);
  }

  public long items() {
    return get(0, ITEMS);
  }

  /** Sum over all keys present of a mix of key and value. */
  public long kvSum() {
    return get(0, KV_SUM);
  }

  public long dropped() {
    return get(0, DROPPED);
  }

  public long logRecords() {
    return get(0, LOG_RECORDS);
  }

  public long logCompleted() {
    return get(0, LOG_COMPLETED);
  }

  /** The first exception that a vCPU did not expect, in one line; empty when none. */
  public String fault() {
    for (int i = 0; i < vcpus; i++) {
      long fault = get(i, FAULT);
      if (fault != 0) {
        return "vCPU " + i + ": exception " + (fault - 1) + " at 0x" + Long.toHexString(get(i, FAULT_RIP)) + ", code 0x" + Long.toHexString(get(i, FAULT_CODE));
      }
    }
    return "";
  }
}
