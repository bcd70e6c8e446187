package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.LabHost;
import dev.dyad.hwtests.lab.LabJob;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * The commands of README.md for two hosts with RDMA devices, as they stand there, on two hosts that have the addresses named there; the second one stands in for
 * the third machine, too. Emulated hosts need a longer {@code --bound} than the usual one, and {@code scp} has no sshd to talk to: those two are ours. What the user is told of all that by {@code dyad status} is
 * what this looks at.
 */
@ExtendWith(LabExtension.class)
final class ReadmeInLabTest {
  private static final Duration BOUND = Duration.ofSeconds(240);
  private static final Path README = Path.of("..", "README.md");
  private static final String OF_EMULATED_HOSTS = " --bound 6s";

  private String programs = "";

  @BeforeEach
  void needsTools(Lab lab) throws IOException {
    for (var tool : List.of("/usr/bin/etcd etcd-server", "/usr/bin/ibv_devinfo ibverbs-utils")) {
      var words = tool.split(" ");
      boolean there = Files.isExecutable(Path.of(words[0]));
      if (!there && "require".equals(System.getProperty("dyad.lab"))) {
        fail("the lab is required here: apt-get install " + words[1]);
      }
      Assumptions.assumeTrue(there, words[0] + " is not here: apt-get install " + words[1]);
    }
    programs = lab.installDyad();
    lab.installProgram("scp", "cp \"$1\" \"$2\" /run/shared/");
    lab.host(1).run("ip addr add 10.0.0.1/24 dev eth0");
    lab.host(2).run("ip addr add 10.0.0.2/24 dev eth0; ip addr add 10.0.0.3/24 dev eth0");
  }

  @AfterEach
  void takeAddressesBack(Lab lab) throws IOException {
    for (var host : lab.hosts()) {
      if (host.isAlive()) {
        host.run("ip -o addr show dev eth0 | awk '$4 ~ /^10[.]0[.]0[.]/ {print $4}' | xargs -r -n 1 -I@ ip addr del @ dev eth0; rdma link show rxe0 > /dev/null || rdma link add rxe0 type rxe netdev eth0");
      }
    }
  }

  /** Each command is a JVM of its own that an emulated host starts: minutes. */
  @Test
  @Tag("lab-full")
  void shouldProtectAGuestByTheCommandsAsWrittenAndSayOverWhat(Lab lab) throws IOException {
    var first = lab.host(1);
    var second = lab.host(2);
    first.loadKvm();
    second.loadKvm();
    for (var host : lab.hosts()) {
      assertTrue(run(host, command("ibv_devinfo")).contains("PORT_ACTIVE"));
    }
    run(first, command("(umask 077"));
    run(second, "cp -p /run/shared/dyad.key .");
    var arbiter = start(second, command("etcd "));
    var limit = command("ulimit ") + "; ";
    var standby = start(second, limit + command("dyad standby") + OF_EMULATED_HOSTS);
    var primary = start(first, limit + command("dyad protect") + OF_EMULATED_HOSTS);

    awaitStatuses(lab, List.of(primary, standby, arbiter), "rdma, rxe0 port 1, GID \\d+ \\(10[.]0[.]0[.]1\\), MTU .*", "rdma, rxe0 port 1, GID \\d+ \\(10[.]0[.]0[.]2\\), MTU .*");

    standby.signal("TERM");
    standby.await(BOUND);
    var alone = await(status(first, "primary of web .*: NOT protected, "), List.of(primary));
    assertTrue(alone.matches("(?s).*\\R  state +ALONE\\R.*") && alone.matches("(?s).*\\R  link +none.*"), alone);

    second.run("rdma link delete rxe0");
    var again = start(second, limit + command("dyad standby") + OF_EMULATED_HOSTS);
    awaitStatuses(lab, List.of(primary, again, arbiter), "tcp: the peer has no RDMA device that it can use", "tcp: no RDMA device with an active port has the address 10[.]0[.]0[.]2.*");

    first.kill();
    again.awaitErrors("the guest goes on here", BOUND);
    await(status(second, "primary of web .*: NOT protected"), List.of(again, arbiter));
  }

  /** A line of the README by its first words, without the remark behind it. */
  private static String command(String firstWords) throws IOException {
    try (var lines = Files.lines(README)) {
      // Of several, the one between the two hosts of which the others are told.
      var found = lines.dropWhile(line -> !line.startsWith("ibv_devinfo")).takeWhile(line -> !line.equals("```")).filter(line -> line.startsWith(firstWords)).toList();
      if (found.size() != 1) {
        throw new IOException(found.size() + " lines of " + README.toAbsolutePath().normalize() + " begin with " + firstWords + " where two hosts with RDMA devices are told of");
      }
      return found.getFirst().replaceAll(" +# .*", "");
    }
  }

  private LabJob start(LabHost host, String command) throws IOException {
    return host.start("cd /run/home; PATH=" + programs + ":$PATH; " + command);
  }

  private String run(LabHost host, String command) throws IOException {
    return start(host, command).succeed(BOUND);
  }

  /** Both sides say that they are protected, and over what. */
  private void awaitStatuses(Lab lab, List<LabJob> whose, String linkOfPrimary, String linkOfStandby) throws IOException {
    var ofPrimary = status(lab.host(1), "primary of web .*: protected");
    var ofStandby = status(lab.host(2), "standby of web .*: protected");
    var primary = await(ofPrimary, whose);
    assertTrue(primary.matches("(?s).*\\R  link +" + linkOfPrimary + "\\R(?s).*"), primary);
    var standby = await(ofStandby, whose);
    assertTrue(standby.matches("(?s).*\\R  link +" + linkOfStandby + "\\R(?s).*"), standby);
  }

  /** Asks {@code dyad status} until it says that. */
  private LabJob status(LabHost host, String said) throws IOException {
    return start(host, "until " + command("dyad status").trim() + " > status; grep -q '" + said + "' status; do sleep 0.2; done; cat status");
  }

  private static String await(LabJob status, List<LabJob> whose) throws IOException {
    long deadline = System.nanoTime() + BOUND.toNanos();
    while (!status.hasEnded()) {
      if (System.nanoTime() - deadline > 0 || whose.stream().anyMatch(LabJob::hasEnded)) {
        fail("no such status: " + status + "\n" + whose);
      }
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted", e);
      }
    }
    return status.succeed(BOUND);
  }
}
