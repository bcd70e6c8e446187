package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.engine.vm.kvm.GuestRam;

/** What a microVM starts with: the contents of its memory and the first registers of its vCPUs. */
public interface BootImage {
  int VCPUS_MAX = 64;

  void load(GuestRam ram, int vcpus);

  void prepare(int vcpu, KvmVcpu kvm);
}
