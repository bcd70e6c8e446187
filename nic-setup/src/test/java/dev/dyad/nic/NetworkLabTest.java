package dev.dyad.nic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class NetworkLabTest {

  @BeforeEach
  void namespacesAreAllowed() {
    String reason = NetworkLab.unavailable();
    assumeTrue(reason.isEmpty(), reason);
  }

  @Test
  void shouldGiveABridgeWithTapsApartFromTheHostsNetwork() throws Exception {
    long holder;
    try (NetworkLab lab = NetworkLab.open(2, "10.77.0.1/24")) {
      holder = lab.holderPid();
      assertNotEquals(Files.readSymbolicLink(Path.of("/proc/self/ns/net")), Files.readSymbolicLink(Path.of("/proc/" + holder + "/ns/net")));
      for (int i = 0; i < 2; i++) {
        assertTrue(lab.require("ip", "link", "show", "dev", lab.tap(i)).contains("master " + lab.bridge()));
      }
      lab.connect(0, false);
      assertFalse(lab.require("ip", "link", "show", "dev", lab.tap(0)).contains("master"));
      assertTrue(lab.require("ip", "addr").contains("10.77.0.1/24"));
    }
    assertEquals(-1, Holder.startTicks(holder));
  }

  @Test
  void shouldGoAwayWhenTheProcessThatOpenedItIsKilled() throws Exception {
    List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", System.getProperty("java.class.path")));
    command.add(OpensALab.class.getName());
    Process child = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    long holder = Long.parseLong(String.valueOf(child.inputReader().readLine()));
    assertTrue(Holder.startTicks(holder) > 0);
    child.destroyForcibly().waitFor();
    for (int i = 0; i < 500 && Holder.startTicks(holder) > 0; i++) {
      LockSupport.parkNanos(10_000_000);
    }
    assertEquals(-1, Holder.startTicks(holder));
  }

  /** In a process of its own. */
  static final class OpensALab {
    private OpensALab() {}

    public static void main(String[] args) throws Exception {
      try (NetworkLab lab = NetworkLab.open(1, "10.77.0.1/24")) {
        System.out.println(lab.holderPid());
        System.in.read();
      }
    }
  }

  @Test
  void shouldCutAndMendTheCableBetweenTwoHosts() throws Exception {
    try (HostPair pair = HostPair.open()) {
      Process server = new ProcessBuilder(withPrefix(pair, 1, "busybox", "nc", "-l", "-p", "7", "-e", "/bin/cat")).start();
      try {
        assertTrue(answers(pair), "host 1 does not answer over the cable");
        pair.cut();
        assertFalse(pair.run(0, "ip", "link", "show", "dev", "link0", "up").output().contains("link0"));
        assertTrue(pair.run(0, "ip", "route", "get", HostPair.ADDRESSES.get(1)).exit() != 0, "there is still a way to the other host");
        pair.mend();
        assertEquals(0, pair.run(0, "ip", "route", "get", HostPair.ADDRESSES.get(1)).exit());
      } finally {
        server.destroyForcibly().waitFor();
      }
    }
  }

  private static List<String> withPrefix(HostPair pair, int host, String... words) {
    List<String> command = new ArrayList<>(pair.prefix(host));
    command.addAll(List.of(words));
    return command;
  }

  private static boolean answers(HostPair pair) throws Exception {
    for (int i = 0; i < 100; i++) {
      Process client = new ProcessBuilder(withPrefix(pair, 0, "busybox", "nc", "-w", "2", HostPair.ADDRESSES.get(1), "7")).start();
      client.getOutputStream().write("hello\n".getBytes(java.nio.charset.StandardCharsets.US_ASCII));
      client.getOutputStream().close();
      boolean echoed = "hello".equals(client.inputReader().readLine());
      client.destroyForcibly().waitFor();
      if (echoed) {
        return true;
      }
      LockSupport.parkNanos(20_000_000);
    }
    return false;
  }
}
