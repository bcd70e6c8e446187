package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.kvm.RunArea;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Signals;
import dev.dyad.bindings.linux.Threads;
import dev.dyad.engine.vm.kvm.devices.DeviceBus;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;

/**
 * One vCPU and its thread: KVM_RUN, the exits, the pause. Nothing is allocated once it runs.
 *
 * <p>The kick is a real-time signal that is blocked in this thread and let through only inside of KVM_RUN: it needs no handler (those
 * are the JVM's), and one that is sent just before KVM_RUN is pending there and not lost.
 */
final class Vcpu implements Runnable {
  private static final int KICK = Signals.realTime(5);
  private static final int EINTR = -linux_h.EINTR();
  private static final int EAGAIN = -linux_h.EAGAIN();

  private final int id;
  private final MicroVm machine;
  private final KvmVcpu vcpu;
  private final RunArea area;
  private final VcpuState state;
  private final PauseGate gate;
  private final DeviceBus bus;
  private final Thread thread;
  private final CountDownLatch ready = new CountDownLatch(1);
  private int tid;

  /**
   * The last KVM_RUN ended with EINTR: no access of the guest's is half done, and the synced registers are fresh. The thread's own; ordered
   * by the gate's words where {@link #unsettle} writes it.
   */
  private boolean settled;

  private volatile @Nullable RuntimeException failure;
  private long exits;

  Vcpu(int id, MicroVm machine, KvmVcpu vcpu, VcpuState state, PauseGate gate, DeviceBus bus, boolean synced) {
    this.id = id;
    this.machine = machine;
    this.vcpu = vcpu;
    this.state = state;
    this.gate = gate;
    this.bus = bus;
    area = vcpu.area();
    area.setSyncRegs(synced ? VcpuState.SYNCED : 0);
    thread = new Thread(this, "vcpu" + id);
    thread.setDaemon(true);
  }

  /** Starts the thread, which stops at the gate. */
  void start() {
    thread.start();
    try {
      ready.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while vCPU " + id + " was starting", e);
    }
  }

  /** Makes KVM_RUN return. Any thread. */
  void kick(int pid) {
    Threads.signal(pid, tid, KICK);
  }

  /** The registers were set from outside: the synced ones are stale. The machine is paused. */
  void unsettle() {
    settled = false;
  }

  VcpuState state() {
    return state;
  }

  KvmVcpu kvm() {
    return vcpu;
  }

  Thread thread() {
    return thread;
  }

  /** Why the last capture failed, or null. */
  @Nullable RuntimeException failure() {
    return failure;
  }

  long exits() {
    return exits;
  }

  void join() {
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void run() {
    tid = Threads.id();
    Threads.setName(thread.getName());
    Signals.block(Signals.setOf(KICK));
    vcpu.setSignalMask(Signals.blocked() & ~Signals.setOf(KICK));
    ready.countDown();
    int stoppedAt = -1;
    while (true) {
      int word = gate.word();
      int kind = PauseGate.kind(word);
      if (kind == PauseGate.RUN && machine.power() == PowerState.ON) {
        step();
      } else if (kind == PauseGate.CLOSE) {
        drainKicks();
        return;
      } else if (!settled) {
        settle();
      } else {
        if (kind == PauseGate.STOP && word != stoppedAt) {
          stoppedAt = word;
          gate.stopped();
        } else if (kind == PauseGate.CAPTURE) {
          capture();
          gate.captured();
        }
        gate.awaitChange(word);
      }
    }
  }

  /**
   * Real-time signals queue. A pause that found this vCPU outside KVM leaves its kick behind: left to pile up, they would end every later run at
   * once. Whoever sends one has changed the gate before, so none is taken too early. And the JVM unblocks signals when a thread ends: one still
   * pending would end the process.
   */
  private static void drainKicks() {
    while (Signals.take(Signals.setOf(KICK), 0) > 0) {
      // one more may be queued
    }
  }

  private void step() {
    long result = vcpu.run();
    if (result == 0) {
      settled = false;
      exits++;
      exit();
    } else if (result == EINTR) {
      settled = true;
      drainKicks();
    } else if (result != EAGAIN) { // EAGAIN: a vCPU that waits for its start was woken
      settled = true;
      machine.powerOff(PowerState.FAILED, "vCPU " + id + ": KVM_RUN: " + Errno.name((int) -result));
    }
  }

  /** Lets KVM finish what the last exit began, without running the guest. */
  private void settle() {
    area.setImmediateExit(true);
    step();
    area.setImmediateExit(false);
  }

  /** Reads the state. This thread, or, while all stand at the gate, the epoch thread. */
  void capture() {
    try {
      state.capture();
      failure = null;
    } catch (RuntimeException e) {
      failure = e;
    }
  }

  private void exit() {
    machine.awaitCopies();
    int reason = area.exitReason();
    if (reason == KVM_EXIT_MMIO()) {
      memoryAccess();
    } else if (reason == KVM_EXIT_IO()) {
      portAccess();
    } else if (reason == KVM_EXIT_DIRTY_RING_FULL()) {
      machine.ringFull();
    } else if (reason == KVM_EXIT_SHUTDOWN()) {
      machine.powerOff(PowerState.RESET, "vCPU " + id + ": triple fault");
    } else if (reason == KVM_EXIT_SYSTEM_EVENT()) {
      int event = area.systemEvent();
      PowerState next = event == KVM_SYSTEM_EVENT_SHUTDOWN() ? PowerState.OFF : event == KVM_SYSTEM_EVENT_RESET() ? PowerState.RESET : PowerState.FAILED;
      machine.powerOff(next, "system event " + event);
    } else if (reason == KVM_EXIT_INTERNAL_ERROR()) {
      machine.powerOff(PowerState.FAILED, "vCPU " + id + ": KVM internal error " + area.internalSuberror());
    } else if (reason == KVM_EXIT_FAIL_ENTRY()) {
      machine.powerOff(PowerState.FAILED, "vCPU " + id + ": entry refused, reason 0x" + Long.toHexString(area.entryFailure()));
    } else if (reason != KVM_EXIT_INTR() && reason != KVM_EXIT_IRQ_WINDOW_OPEN()) {
      machine.powerOff(PowerState.FAILED, "vCPU " + id + ": exit with unknown reason " + reason);
    }
  }

  private void memoryAccess() {
    long at = area.mmioData();
    int bytes = area.mmioBytes();
    if (area.mmioIsWrite()) {
      bus.write(area.mmioGuestPhys(), bytes, get(at, bytes));
    } else {
      Memory.putLong(at, bus.read(area.mmioGuestPhys(), bytes));
    }
  }

  private void portAccess() {
    int bytes = area.ioBytes();
    int port = area.ioPort();
    long at = area.ioData();
    boolean out = area.ioIsOut();
    for (int left = area.ioCount(); left > 0; left--, at += bytes) {
      if (out) {
        bus.out(port, bytes, (int) get(at, bytes));
      } else {
        put(at, bytes, bus.in(port, bytes));
      }
    }
  }

  private static long get(long at, int bytes) {
    return switch (bytes) {
      case 1 -> Memory.getByte(at) & 0xffL;
      case 2 -> Memory.getShort(at) & 0xffffL;
      case 4 -> Memory.getInt(at) & 0xffff_ffffL;
      default -> Memory.getLong(at);
    };
  }

  private static void put(long at, int bytes, int value) {
    switch (bytes) {
      case 1 -> Memory.putByte(at, (byte) value);
      case 2 -> Memory.putShort(at, (short) value);
      default -> Memory.putInt(at, value);
    }
  }
}
