package dev.dyad.hwtests;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.nic.NetworkLab;

/** What tests ask of the machine; one that lacks it skips them, with the line that says how to get it. */
public final class Needs {
  private Needs() {}

  public static void kvm() {
    nothingOf(Kvm.unusable());
  }

  /** A QEMU with a Linux to boot in it, and network namespaces. */
  public static void linuxGuestAndNetwork() {
    try {
      LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      nothingOf(String.valueOf(e.getMessage()));
    }
    nothingOf(NetworkLab.unavailable());
  }

  private static void nothingOf(String missing) {
    assumeTrue(missing.isEmpty(), missing);
  }
}
