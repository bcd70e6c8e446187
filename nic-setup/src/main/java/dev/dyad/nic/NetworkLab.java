package dev.dyad.nic;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A small outside world in a network namespace of its own: a bridge with an address, and a TAP for each machine on it. Clients run in
 * it and reach the guests over the bridge; nothing of the host's own network is touched.
 *
 * <p>Works as root and, where user namespaces are allowed, without. Goes away at {@link #close}, and by itself when this process
 * dies: the process that holds the namespace waits on a pipe of ours. (Whatever else still runs in it keeps it alive; end those
 * first.) Any thread.
 */
public final class NetworkLab implements AutoCloseable {
  private final Process holder;
  private final List<String> prefix;
  private final TapPlan plan;

  private NetworkLab(Process holder, List<String> prefix, TapPlan plan) {
    this.holder = holder;
    this.prefix = prefix;
    this.plan = plan;
  }

  /**
   * @param taps one for each machine: the primary's, the standby's, …
   * @param address of the world on the bridge, such as {@code 10.77.0.1/24}
   * @throws IllegalStateException with one line when namespaces are not to be had
   */
  public static NetworkLab open(int taps, String address) {
    TapPlan plan = new TapPlan(taps, "dyad", address, null, false);
    List<String> unshare = isRoot() ? List.of("unshare", "--net", "cat") : List.of("unshare", "--user", "--map-root-user", "--net", "cat");
    Process holder = Holder.start(unshare, true);
    List<String> prefix = prefixOf(holder.pid());
    NetworkLab lab = new NetworkLab(holder, prefix, plan);
    Holder.await(holder, lab.command("true"));
    try {
      lab.require("ip", "link", "set", "lo", "up");
      for (Step step : plan.steps()) {
        lab.require(step.apply().toArray(String[]::new));
      }
      return lab;
    } catch (RuntimeException e) {
      lab.close();
      throw e;
    }
  }

  /** Why it cannot work here, as one line; empty when it can. Tries it. */
  public static String unavailable() {
    try {
      open(1, "10.77.0.1/24").close();
      return "";
    } catch (IllegalStateException e) {
      return String.valueOf(e.getMessage());
    }
  }

  static boolean isRoot() {
    try {
      return (int) Files.getAttribute(Path.of("/proc/self"), "unix:uid") == 0;
    } catch (IOException e) {
      return false;
    }
  }

  static List<String> prefixOf(long pid) {
    List<String> prefix = new ArrayList<>(List.of("nsenter", "--target", Long.toString(pid)));
    if (!isRoot()) {
      prefix.addAll(List.of("--user", "--preserve-credentials"));
    }
    prefix.addAll(List.of("--net", "--"));
    return List.copyOf(prefix);
  }

  /** Stands before a command that is to run inside; it replaces itself by that command, so the pid is the command's. */
  public List<String> prefix() {
    return prefix;
  }

  /** The pid of the process that holds the namespace: {@code /proc/PID/ns/net}. */
  public long holderPid() {
    return holder.pid();
  }

  /** {@code words} with the prefix. */
  public List<String> command(String... words) {
    List<String> command = new ArrayList<>(prefix);
    command.addAll(List.of(words));
    return Commands.located(command);
  }

  /** Name of a TAP inside, for {@code -netdev tap,ifname=…,script=no,downscript=no,vhost=off}. */
  public String tap(int index) {
    return plan.tap(index);
  }

  public String bridge() {
    return plan.bridge();
  }

  /** Pulls or plugs the cable of a TAP. */
  public void connect(int tap, boolean connected) {
    if (connected) {
      require("ip", "link", "set", tap(tap), "master", bridge());
    } else {
      require("ip", "link", "set", tap(tap), "nomaster");
    }
  }

  /** Runs a short command inside and returns what it printed. */
  public String require(String... words) {
    Commands.Result result = Commands.run(command(words));
    if (result.exit() != 0) {
      throw new IllegalStateException("'" + String.join(" ", words) + "' failed in the namespace: " + result.output());
    }
    return result.output();
  }

  @Override
  public void close() {
    end(holder);
  }

  static void end(Process holder) {
    holder.destroyForcibly();
    try {
      holder.waitFor(5, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
