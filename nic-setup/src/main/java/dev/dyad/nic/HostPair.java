package dev.dyad.nic;

import java.util.ArrayList;
import java.util.List;

/**
 * Two "hosts", each a network namespace, with a cable between them that can be cut: for tests of what happens when the link between
 * primary and standby is gone.
 *
 * <p>As {@link NetworkLab}: root or not, gone at close or with this process. Any thread.
 */
public final class HostPair implements AutoCloseable {
  /** Address of host 0 and 1. */
  public static final List<String> ADDRESSES = List.of("10.78.0.1", "10.78.0.2");

  private static final String DEVICE = "link0";

  private final Process first;
  private final Process second;
  private final List<List<String>> prefixes;

  private HostPair(Process first, Process second) {
    this.first = first;
    this.second = second;
    this.prefixes = List.of(NetworkLab.prefixOf(first.pid()), NetworkLab.prefixOf(second.pid()));
  }

  /**
   * @throws IllegalStateException with one line when namespaces are not to be had
   */
  public static HostPair open() {
    boolean root = NetworkLab.isRoot();
    Process first = Holder.start(root ? List.of("unshare", "--net", "cat") : List.of("unshare", "--user", "--map-root-user", "--net", "cat"), true);
    Holder.await(first, enter(first, "true"));
    // The second network namespace belongs to the first's user namespace: a cable needs rights over both ends.
    List<String> command = new ArrayList<>();
    if (!root) {
      command.addAll(List.of("nsenter", "--target", Long.toString(first.pid()), "--user", "--preserve-credentials", "--"));
    }
    command.addAll(List.of("unshare", "--net", "cat"));
    Process second = Holder.start(command, true);
    try {
      Holder.await(second, enter(second, "true"));
      HostPair pair = new HostPair(first, second);
      pair.require(0, "ip", "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", Long.toString(second.pid()));
      for (int host = 0; host < 2; host++) {
        pair.require(host, "ip", "addr", "add", ADDRESSES.get(host) + "/24", "dev", DEVICE);
        pair.require(host, "ip", "link", "set", "lo", "up");
        pair.require(host, "ip", "link", "set", DEVICE, "up");
      }
      return pair;
    } catch (RuntimeException e) {
      NetworkLab.end(second);
      NetworkLab.end(first);
      throw e;
    }
  }

  private static List<String> enter(Process holder, String command) {
    List<String> line = new ArrayList<>(NetworkLab.prefixOf(holder.pid()));
    line.add(command);
    return line;
  }

  /** Stands before a command that is to run on host 0 or 1. */
  public List<String> prefix(int host) {
    return prefixes.get(host);
  }

  public long holderPid(int host) {
    return host == 0 ? first.pid() : second.pid();
  }

  /** Both ends lose their carrier at once; what is under way is lost, connections hang. */
  public void cut() {
    require(0, "ip", "link", "set", DEVICE, "down");
    require(1, "ip", "link", "set", DEVICE, "down");
  }

  public void mend() {
    require(0, "ip", "link", "set", DEVICE, "up");
    require(1, "ip", "link", "set", DEVICE, "up");
  }

  /** Runs a short command on a host and returns what it printed. */
  public String require(int host, String... words) {
    Commands.Result result = run(host, words);
    if (result.exit() != 0) {
      throw new IllegalStateException("'" + String.join(" ", words) + "' failed on host " + host + ": " + result.output());
    }
    return result.output();
  }

  Commands.Result run(int host, String... words) {
    List<String> command = new ArrayList<>(prefix(host));
    command.addAll(List.of(words));
    return Commands.run(command);
  }

  @Override
  public void close() {
    NetworkLab.end(second);
    NetworkLab.end(first);
  }
}
