package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import dev.dyad.bindings.abi.kvm.kvm_cpuid2;
import dev.dyad.bindings.abi.kvm.kvm_cpuid_entry2;
import dev.dyad.bindings.abi.kvm.kvm_msr_list;
import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Ioctl;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import java.lang.foreign.Arena;

/** Owner of a descriptor of {@code /dev/kvm}: the system's ioctls. Any thread; nothing here is on the epoch path. */
public final class Kvm implements AutoCloseable {

  public static final String DEVICE = "/dev/kvm";

  /** Bounds of the lists that the kernel fills; it answers E2BIG beyond, which throws. */
  private static final int CPUID_ENTRIES_MAX = 256;
  private static final int MSRS_MAX = 1024;

  private final FileDescriptor descriptor;

  private Kvm(FileDescriptor descriptor) {
    this.descriptor = descriptor;
  }

  /** Throws when there is no usable {@code /dev/kvm}; {@link #unusable()} says so beforehand. */
  public static Kvm open() {
    Kvm kvm = new Kvm(Files.open(DEVICE, linux_h.O_RDWR()));
    long version = Ioctl.call(kvm.fd(), KVM_GET_API_VERSION(), 0);
    if (version != KVM_API_VERSION()) {
      kvm.close();
      throw new IllegalStateException(DEVICE + ": API version " + version + ", needed is " + KVM_API_VERSION());
    }
    return kvm;
  }

  /** Why {@link #open} would fail, in one line; empty when it would not. */
  public static String unusable() {
    int fd = Files.tryOpen(DEVICE, linux_h.O_RDWR(), 0);
    if (fd < 0) {
      return switch (Errno.name(-fd)) {
        case "EACCES", "EPERM" -> DEVICE + " may not be opened by this user: sudo usermod -aG kvm $USER, and log in again";
        case "ENOENT" -> "no " + DEVICE + ": switch virtualisation on in the firmware, then sudo modprobe kvm_intel or kvm_amd";
        default -> DEVICE + " cannot be opened: " + Errno.name(-fd);
      };
    }
    try (FileDescriptor opened = FileDescriptor.adopt(fd)) {
      long version = Ioctl.call(opened.fd(), KVM_GET_API_VERSION(), 0);
      return version == KVM_API_VERSION() ? "" : DEVICE + ": API version " + version + ", needed is " + KVM_API_VERSION();
    }
  }

  public int fd() {
    return descriptor.fd();
  }

  /** KVM_CHECK_EXTENSION: 0 when absent, else a number whose meaning depends on the capability. */
  public int extension(int capability) {
    return (int) check(Ioctl.call(fd(), KVM_CHECK_EXTENSION(), capability), "KVM_CHECK_EXTENSION", "capability=" + capability);
  }

  /** KVM_GET_VCPU_MMAP_SIZE: bytes of the area that holds {@code struct kvm_run}. */
  public int vcpuAreaBytes() {
    return (int) check(Ioctl.call(fd(), KVM_GET_VCPU_MMAP_SIZE(), 0), "KVM_GET_VCPU_MMAP_SIZE", "");
  }

  /** KVM_CREATE_VM of the default type. */
  public KvmVm createVm() {
    long fd = check(Ioctl.call(fd(), KVM_CREATE_VM(), 0), "KVM_CREATE_VM", "");
    return new KvmVm(FileDescriptor.adopt((int) fd), vcpuAreaBytes());
  }

  /** KVM_GET_MSR_INDEX_LIST: the registers that belong to a vCPU's state. */
  public int[] msrIndices() {
    try (Arena arena = Arena.ofConfined()) {
      long list = arena.allocate(kvm_msr_list.sizeof() + 4L * MSRS_MAX, 8).address();
      Memory.putInt(list + kvm_msr_list.nmsrs$offset(), MSRS_MAX);
      check(Ioctl.call(fd(), KVM_GET_MSR_INDEX_LIST(), list), "KVM_GET_MSR_INDEX_LIST", "room=" + MSRS_MAX);
      int[] indices = new int[Memory.getInt(list + kvm_msr_list.nmsrs$offset())];
      for (int i = 0; i < indices.length; i++) {
        indices[i] = Memory.getInt(list + kvm_msr_list.sizeof() + 4L * i);
      }
      return indices;
    }
  }

  /** KVM_GET_SUPPORTED_CPUID: {@code struct kvm_cpuid_entry2} one after the other, to be given to {@link KvmVcpu#setCpuid}. */
  public byte[] supportedCpuid() {
    long entryBytes = kvm_cpuid_entry2.sizeof();
    try (Arena arena = Arena.ofConfined()) {
      long list = arena.allocate(kvm_cpuid2.sizeof() + entryBytes * CPUID_ENTRIES_MAX, 8).address();
      Memory.putInt(list + kvm_cpuid2.nent$offset(), CPUID_ENTRIES_MAX);
      check(Ioctl.call(fd(), KVM_GET_SUPPORTED_CPUID(), list), "KVM_GET_SUPPORTED_CPUID", "room=" + CPUID_ENTRIES_MAX);
      byte[] entries = new byte[Math.toIntExact(entryBytes * Memory.getInt(list + kvm_cpuid2.nent$offset()))];
      Memory.copyTo(list + kvm_cpuid2.sizeof(), entries, 0, entries.length);
      return entries;
    }
  }

  @Override
  public void close() {
    descriptor.close();
  }

  static long check(long result, String call, String detail) {
    return NativeException.check(result, call, detail);
  }
}
