package dev.dyad.nic;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The plan for TAP devices on a bridge: what a guest's and its standby's NIC hang on.
 *
 * @param taps how many, named after the bridge: {@code BRIDGE-t0}, …
 * @param bridge its name, at most 12 characters
 * @param address of the host on that bridge in CIDR form, or null for none
 * @param netns name of the network namespace to put it in, or null for the present one
 * @param userns in a user and network namespace of its own, which needs no root
 */
public record TapPlan(int taps, String bridge, @Nullable String address, @Nullable String netns, boolean userns) {
  private static final int TAPS_MAX = 64;

  public TapPlan {
    if (taps < 0 || taps > TAPS_MAX) {
      throw new IllegalArgumentException("--taps " + taps + ": 0 to " + TAPS_MAX);
    }
    requireName("--bridge", bridge, 12);
    if (netns != null) {
      requireName("--netns", netns, 64);
      if (userns) {
        throw new IllegalArgumentException("--netns and --userns exclude each other: a namespace of one's own has no name");
      }
    }
    if (address != null && !address.matches("[0-9a-fA-F.:]+/[0-9]{1,3}")) {
      throw new IllegalArgumentException("--address " + address + ": an address with its prefix length is needed, such as 10.77.0.1/24");
    }
  }

  private static void requireName(String option, String name, int most) {
    if (!name.matches("[A-Za-z0-9][A-Za-z0-9_.-]*") || name.length() > most) {
      throw new IllegalArgumentException(option + " '" + name + "': 1 to " + most + " letters, digits, '-', '_' or '.'");
    }
  }

  public String tap(int index) {
    return bridge + "-t" + index;
  }

  /**
   * An address of the bridge's own, from its name. Without one it takes the lowest of its ports' and changes it as these come and go,
   * under the feet of all who have it in their ARP tables.
   */
  String mac() {
    int hash = bridge.hashCode();
    return String.format("02:64:%02x:%02x:%02x:%02x", hash >>> 24, hash >>> 16 & 0xff, hash >>> 8 & 0xff, hash & 0xff);
  }

  /** What stands before a command that runs where the devices are. */
  public List<String> prefix() {
    if (userns) {
      return List.of("nsenter", "--target", Step.HOLDER, "--user", "--net", "--preserve-credentials", "--");
    }
    return netns == null ? List.of() : List.of("ip", "netns", "exec", netns);
  }

  /** In their order; undone in the reverse one. */
  public List<Step> steps() {
    List<Step> steps = new ArrayList<>();
    if (userns) {
      steps.add(
          new Step(
              "namespace",
              List.of("unshare", "--user", "--map-root-user", "--net", "sleep", "infinity"),
              inside("true"),
              "",
              List.of("kill", Step.HOLDER)));
    } else if (netns != null) {
      steps.add(
          new Step(
              "namespace " + netns,
              List.of("ip", "netns", "add", netns),
              List.of("ip", "netns", "exec", netns, "true"),
              "",
              List.of("ip", "netns", "del", netns)));
    }
    if (userns || netns != null) {
      steps.add(new Step("loopback up", ip("link", "set", "lo", "up"), ip("link", "show", "dev", "lo", "up"), "lo:", List.of()));
    }
    steps.add(
        new Step(
            "bridge " + bridge,
            ip("link", "add", bridge, "address", mac(), "type", "bridge", "stp_state", "0", "forward_delay", "0"),
            ip("link", "show", "dev", bridge),
            "",
            ip("link", "del", bridge)));
    if (address != null) {
      steps.add(
          new Step(
              "address " + address,
              ip("addr", "add", address, "dev", bridge),
              ip("-o", "addr", "show", "dev", bridge),
              " " + address + " ",
              ip("addr", "del", address, "dev", bridge)));
    }
    steps.add(up(bridge));
    for (int i = 0; i < taps; i++) {
      steps.add(
          new Step(
              "tap " + tap(i),
              ip("tuntap", "add", "dev", tap(i), "mode", "tap"),
              ip("link", "show", "dev", tap(i)),
              "",
              ip("tuntap", "del", "dev", tap(i), "mode", "tap")));
      steps.add(
          new Step(
              "tap " + tap(i) + " on " + bridge,
              ip("link", "set", tap(i), "master", bridge),
              ip("link", "show", "dev", tap(i)),
              " master " + bridge + " ",
              ip("link", "set", tap(i), "nomaster")));
      steps.add(up(tap(i)));
    }
    return steps;
  }

  private Step up(String device) {
    return new Step(
        device + " up", ip("link", "set", device, "up"), ip("link", "show", "dev", device, "up"), device + ":", ip("link", "set", device, "down"));
  }

  private List<String> ip(String... words) {
    List<String> command = new ArrayList<>();
    if (netns != null) {
      command.addAll(List.of("ip", "-n", netns));
      command.addAll(Arrays.asList(words));
      return command;
    }
    command.add("ip");
    command.addAll(Arrays.asList(words));
    return inside(command.toArray(String[]::new));
  }

  private List<String> inside(String... words) {
    List<String> command = new ArrayList<>(userns ? prefix() : List.of());
    command.addAll(Arrays.asList(words));
    return command;
  }
}
