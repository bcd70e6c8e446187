package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class KvmTest {

  private static final long EBADF = -linux_h.EBADF();

  @BeforeEach
  void needsKvm() {
    String reason = Kvm.unusable();
    assumeTrue(reason.isEmpty(), reason);
  }

  @Test
  void shouldNameWhatAProtectedMachineMisses() {
    try (Kvm kvm = Kvm.open()) {
      KvmCapabilities all = KvmCapabilities.probe(kvm);
      assertEquals(List.of(), all.missing());
      KvmCapabilities old = new KvmCapabilities(1, 8, 0, false, false, 0, true, 4096, true, true, true, true, false, true, true);
      assertEquals(
          List.of(
              "KVM_CAP_DIRTY_LOG_RING_ACQ_REL or KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
              "KVM_CAP_IMMEDIATE_EXIT",
              "KVM_CAP_ADJUST_CLOCK"),
          old.missing());
    }
  }

  @Test
  void shouldAnswerBadDescriptorAfterClose() {
    try (Kvm kvm = Kvm.open();
        Mapping scratch = Mapping.anonymous(65536)) {
      KvmVm vm = kvm.createVm();
      KvmVcpu vcpu = vm.createVcpu(0);
      vcpu.close();
      vm.close();
      long at = scratch.hostVirt();
      assertEquals(EBADF, vcpu.run());
      assertEquals(EBADF, vcpu.getRegs(at));
      assertEquals(EBADF, vcpu.setRegs(at));
      assertEquals(EBADF, vcpu.getSregs2(at));
      assertEquals(EBADF, vcpu.setSregs2(at));
      assertEquals(EBADF, vcpu.getXsave(at));
      assertEquals(EBADF, vcpu.setXsave(at));
      assertEquals(EBADF, vcpu.getXcrs(at));
      assertEquals(EBADF, vcpu.getMsrs(at));
      assertEquals(EBADF, vcpu.setMsrs(at));
      assertEquals(EBADF, vcpu.getLapic(at));
      assertEquals(EBADF, vcpu.getMpState(at));
      assertEquals(EBADF, vcpu.getEvents(at));
      assertEquals(EBADF, vcpu.getDebugRegs(at));
      assertEquals(EBADF, vm.resetDirtyRings());
      assertEquals(EBADF, vm.getDirtyLog(at));
      assertEquals(EBADF, vm.clearDirtyLog(at));
      assertEquals(EBADF, vm.getClock(at));
      assertEquals(EBADF, vm.getPit(at));
      assertEquals(EBADF, vm.getIrqChip(at));
      assertEquals(EBADF, vm.signalMsi(at));
      NativeException refused = assertThrows(NativeException.class, () -> vm.createVcpu(1));
      assertEquals("KVM_CREATE_VCPU: EBADF (id=1)", refused.getMessage());
    }
  }

  @Test
  void shouldReportWhatTheKernelRefuses() {
    try (Kvm kvm = Kvm.open();
        KvmVm vm = kvm.createVm()) {
      assertThrows(NativeException.class, () -> vm.setMemory(0, 0, 123, 4096, 0));
      assertThrows(NativeException.class, () -> vm.connectIrq(-1, 5, true));
      assertThrows(NativeException.class, () -> vm.enable(Integer.MAX_VALUE, 0));
      try (KvmVcpu vcpu = vm.createVcpu(0)) {
        assertEquals(-linux_h.EFAULT(), vcpu.getRegs(8));
        assertThrows(NativeException.class, () -> vm.createVcpu(0));
      }
    }
  }

  /** A real-mode loop that stores to {@code count} pages in turn, then halts. */
  @Test
  void shouldNameEachWrittenPageOnceUntilReset() {
    int entries = 4096;
    try (Kvm kvm = Kvm.open();
        KvmVm vm = kvm.createVm();
        Mapping memory = Mapping.anonymous(1 << 20);
        Mapping scratch = Mapping.anonymous(8192)) {
      assumeTrue(KvmCapabilities.probe(kvm).dirtyRing(), "KVM_CAP_DIRTY_LOG_RING_ACQ_REL is missing");
      vm.enable(KVM_CAP_DIRTY_LOG_RING_ACQ_REL(), entries * DirtyRing.ENTRY_BYTES);
      byte[] code = {
        (byte) 0xc6, 0x06, 0x00, 0x20, 0x01, // movb $1, 0x2000
        (byte) 0xc6, 0x06, 0x00, 0x30, 0x01, // movb $1, 0x3000
        (byte) 0xc6, 0x06, 0x08, 0x20, 0x02, // movb $2, 0x2008
        (byte) 0xf4 // hlt
      };
      Memory.copyFrom(code, 0, memory.hostVirt() + 0x1000, code.length);
      vm.setMemory(3, (int) KVM_MEM_LOG_DIRTY_PAGES(), 0, 1 << 20, memory.hostVirt());
      try (KvmVcpu vcpu = vm.createVcpu(0);
          DirtyRing ring = new DirtyRing(vcpu, entries)) {
        long sregs = scratch.hostVirt();
        assertEquals(0, vcpu.getSregs(sregs));
        Memory.putLong(sregs, 0); // cs.base
        Memory.putShort(sregs + 12, (short) 0); // cs.selector
        assertEquals(0, vcpu.setSregs(sregs));
        long regs = scratch.hostVirt() + 4096;
        for (int round = 0; round < 3; round++) {
          Memory.zero(regs, 144);
          Memory.putLong(regs + 128, 0x1000); // rip
          Memory.putLong(regs + 136, 2); // rflags
          assertEquals(0, vcpu.setRegs(regs));
          assertEquals(0, vcpu.run());
          assertEquals(KVM_EXIT_HLT(), vcpu.area().exitReason());
          boolean two = false;
          boolean three = false;
          int taken = 0;
          long[] found = new long[2]; // fewer than there may be
          for (int count = ring.peek(found); count > 0; count = ring.peek(found)) {
            for (int i = 0; i < count; i++) {
              assertEquals(3, DirtyRing.slot(found[i]));
              two |= DirtyRing.page(found[i]) == 2;
              three |= DirtyRing.page(found[i]) == 3;
            }
            ring.take(count);
            taken += count;
          }
          assertTrue(two && three, "round " + round);
          assertEquals(taken, vm.resetDirtyRings());
          assertEquals(0, vm.resetDirtyRings());
        }
      }
    }
  }
}
