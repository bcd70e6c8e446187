package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.engine.vm.kvm.PowerState;

/**
 * The ports by which a guest switches itself off or asks for a reset: an ACPI sleep control register at 0x600 (SLP_TYP 5, as Cloud
 * Hypervisor has it), the keyboard controller's reset line, and pvpanic.
 */
public final class PowerPorts {
  private static final int SLEEP = 0x600;
  private static final int SLEEP_S5 = 5 << 2 | 1 << 5;
  private static final int KEYBOARD = 0x60;
  private static final int KEYBOARD_PORTS = 5;
  private static final int KEYBOARD_COMMAND = 4;
  private static final int PULSE_RESET = 0xfe;
  private static final int PANIC = 0x505;
  private static final int PANICKED = 1;

  /** What happens then. */
  @FunctionalInterface
  public interface Switch {
    void off(PowerState next, String why);
  }

  private PowerPorts() {}

  public static void addTo(DeviceBus bus, Switch power) {
    bus.add(SLEEP, 1, new Register(0, SLEEP_S5, power, PowerState.OFF, "switched off by the guest"));
    bus.add(PANIC, 1, new Register(PANICKED, PANICKED, power, PowerState.FAILED, "the guest reports a fault"));
    bus.add(
        KEYBOARD,
        KEYBOARD_PORTS,
        new PortDevice() {
          @Override
          public int in(int offset, int bytes) {
            return 0;
          }

          @Override
          public void out(int offset, int bytes, int value) {
            if (offset == KEYBOARD_COMMAND && (value & 0xff) == PULSE_RESET) {
              power.off(PowerState.RESET, "reset by the guest");
            }
          }
        });
  }

  private record Register(int reads, int trigger, Switch power, PowerState next, String why) implements PortDevice {
    @Override
    public int in(int offset, int bytes) {
      return reads;
    }

    @Override
    public void out(int offset, int bytes, int value) {
      if ((value & 0xff) == trigger) {
        power.off(next, why);
      }
    }
  }
}
