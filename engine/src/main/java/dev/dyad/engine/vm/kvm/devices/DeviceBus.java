package dev.dyad.engine.vm.kvm.devices;

import java.util.ArrayList;
import java.util.List;

/**
 * Which device answers a port or an address. Fixed after the machine is built, so any thread may ask. What nobody answers reads as
 * all ones and swallows writes, as on a PC.
 */
public final class DeviceBus {
  private record PortRange(int first, int count, PortDevice device) {}

  private record MmioRange(long first, int bytes, MmioDevice device) {}

  private PortRange[] ports = {};
  private MmioRange[] windows = {};
  private volatile long unanswered;

  public void add(int firstPort, int count, PortDevice device) {
    List<PortRange> all = new ArrayList<>(List.of(ports));
    all.add(new PortRange(firstPort, count, device));
    ports = all.toArray(PortRange[]::new);
  }

  public void add(long guestPhys, int bytes, MmioDevice device) {
    List<MmioRange> all = new ArrayList<>(List.of(windows));
    all.add(new MmioRange(guestPhys, bytes, device));
    windows = all.toArray(MmioRange[]::new);
  }

  public int in(int port, int bytes) {
    for (int i = 0; i < ports.length; i++) {
      PortRange range = ports[i];
      if (port >= range.first && port < range.first + range.count) {
        return range.device.in(port - range.first, bytes);
      }
    }
    unanswered();
    return -1;
  }

  public void out(int port, int bytes, int value) {
    for (int i = 0; i < ports.length; i++) {
      PortRange range = ports[i];
      if (port >= range.first && port < range.first + range.count) {
        range.device.out(port - range.first, bytes, value);
        return;
      }
    }
    unanswered();
  }

  public long read(long guestPhys, int bytes) {
    for (int i = 0; i < windows.length; i++) {
      MmioRange range = windows[i];
      if (guestPhys >= range.first && guestPhys + bytes <= range.first + range.bytes) {
        return range.device.read((int) (guestPhys - range.first), bytes);
      }
    }
    unanswered();
    return -1;
  }

  public void write(long guestPhys, int bytes, long value) {
    for (int i = 0; i < windows.length; i++) {
      MmioRange range = windows[i];
      if (guestPhys >= range.first && guestPhys + bytes <= range.first + range.bytes) {
        range.device.write((int) (guestPhys - range.first), bytes, value);
        return;
      }
    }
    unanswered();
  }

  /** Accesses that no device answered; a hint only, vCPUs may lose each other's count. */
  public long unansweredAccesses() {
    return unanswered;
  }

  @SuppressWarnings("NonAtomicVolatileUpdate") // a hint
  private void unanswered() {
    unanswered++;
  }
}
