package dev.dyad.hwtests.link;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.link.RdmaDeviceContract;
import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.LabJob;
import dev.dyad.hwtests.lab.TestsInHost;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.regex.Matcher;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.extension.ExtendWith;
import org.jspecify.annotations.Nullable;

/** The link over RDMA between two hosts, and what becomes of it when a host, the network or a thread fails. */
@ExtendWith(LabExtension.class)
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
final class RdmaInLabTest {
  private static final Duration BOUND = Duration.ofSeconds(90);
  private static final int EPOCH_BYTES = 64 << 10;
  private static final String DOWN = "^down (\\d+) .*because (.*)$";

  private @Nullable LabJob receiver;
  private @Nullable LabJob sender;

  @TestFactory
  List<DynamicTest> shouldKeepTheContractOverADevice(Lab lab) throws IOException {
    return TestsInHost.of(lab.host(1), RdmaDeviceContract.class, Duration.ofSeconds(180));
  }

  @Test
  void shouldCarryEpochsThroughLossAndDelayAndComeBackAfterAFlap(Lab lab) throws IOException, InterruptedException {
    flow(lab, 2, 120);
    lab.host(1).netem("loss 1% delay 5ms");
    Thread.sleep(3000);
    requireUp("1 % loss and 5 ms delay");
    lab.host(1).netem("delay 2ms reorder 25%");
    Thread.sleep(1000);
    requireUp("reordering");
    lab.host(1).clearNetem();
    lab.host(2).setLink(false);
    lab.host(2).run("until grep -q DOWN /sys/class/infiniband/rxe0/ports/1/state; do sleep 0.01; done");
    lab.host(2).setLink(true);
    // The port's event ends the link on its own side at once; the other one learns of that, and calls until there is a new link.
    assertTrue(ended(job(receiver)).group(2).contains("port"), () -> job(sender) + "\n" + job(receiver));
    assertTrue(epochs(ended(job(sender))) > 20, job(sender)::toString);
    job(sender).awaitOutput("(?s)^down .*^flowing$", BOUND);
    Files.createFile(lab.shared().resolve("stop"));
    var again = job(sender).awaitOutput("(?s)^down .*^(down [^\n]*)", BOUND);
    assertTrue(again.group(1).contains("time is over"), job(sender)::toString);
  }

  /** The last one: the host that it kills has to start again. */
  @Test
  @Order(Integer.MAX_VALUE)
  void shouldNoticeAKilledHost(Lab lab) throws IOException {
    flow(lab, 1, 60);
    long killed = System.nanoTime();
    lab.host(2).kill();
    var end = ended(job(sender));
    System.out.printf("a killed host was noticed after %.1f s%n", (System.nanoTime() - killed) / 1e9);
    assertTrue(end.group(2).contains("nothing heard") || end.group(2).contains("retry"), job(sender)::toString);
  }

  @Test
  void shouldNoticeACutCableOnBothSides(Lab lab) throws IOException {
    flow(lab, 1, 60);
    lab.cutLink();
    long cut = System.nanoTime();
    for (var side : List.of(job(sender), job(receiver))) {
      var end = ended(side);
      assertTrue(end.group(2).contains("port") || end.group(2).contains("nothing heard") || end.group(2).contains("retry"), side::toString);
    }
    System.out.printf("a cut cable was noticed on both sides after %.1f s%n", (System.nanoTime() - cut) / 1e9);
  }

  @Test
  void shouldRefuseTheLateWriteOfAHostThatOnlyStoodStill(Lab lab) throws IOException {
    flow(lab, 1, 60);
    lab.host(1).freeze();
    Files.createFile(lab.shared().resolve("fence"));
    job(receiver).awaitOutput("^fenced", BOUND);
    assertTrue(job(receiver).errors().contains("a write of our own with the same key was refused"), job(receiver)::toString);
    lab.host(1).thaw();
    var end = ended(job(sender));
    assertTrue(end.group(2).contains("remote access error"), job(sender)::toString);
    Files.createFile(lab.shared().resolve("enough"));
    job(receiver).awaitOutput("^ring unchanged", BOUND);
  }

  @Test
  void shouldNoticeAHostThatStandsStill(Lab lab) throws IOException {
    flow(lab, 1, 60);
    lab.host(1).freeze();
    var end = ended(job(receiver));
    assertTrue(end.group(2).contains("nothing heard") || end.group(2).contains("retry"), job(receiver)::toString);
    lab.host(1).thaw();
    ended(job(sender));
  }

  @Test
  void shouldConnectAndDisconnectAHundredTimesWithoutALeak(Lab lab) throws IOException {
    start(lab, 100, 0.01);
    var sent = job(sender).awaitOutput("^open 0 descriptors (\\d+)", BOUND);
    var taken = job(receiver).awaitOutput("^open 0 descriptors (\\d+)", BOUND);
    assertTrue(Integer.parseInt(sent.group(1)) < 40 && Integer.parseInt(taken.group(1)) < 40, () -> job(sender) + "\n" + job(receiver));
    for (var host : lab.hosts()) {
      assertEquals("", host.run("rdma resource show qp dev rxe0 | grep -v 'type GSI\\|type SMI' || true"), "queue pairs left");
    }
  }

  private void requireUp(String after) {
    assertFalse(job(sender).hasEnded(), () -> "down after " + after + ": " + job(sender) + "\n" + job(receiver));
  }

  /** Starts a link and waits until epochs flow. */
  private void flow(Lab lab, int rounds, double seconds) throws IOException {
    start(lab, rounds, seconds);
    job(sender).awaitOutput("^flowing", BOUND);
  }

  private void start(Lab lab, int rounds, double seconds) throws IOException {
    receiver = lab.host(2).start(LinkPeer.class, List.of("receive", String.valueOf(rounds)));
    job(receiver).awaitOutput("^listening", BOUND);
    sender = lab.host(1).start(LinkPeer.class,
        List.of("send", String.valueOf(rounds), lab.host(2).address(), String.valueOf(seconds), String.valueOf(EPOCH_BYTES)));
  }

  @AfterEach
  void removeSigns(Lab lab) throws IOException {
    for (var name : List.of("fence", "enough", "stop")) {
      Files.deleteIfExists(lab.shared().resolve(Path.of(name)));
    }
  }

  private static LabJob job(@Nullable LabJob job) {
    if (job == null) {
      throw new IllegalStateException("not started");
    }
    return job;
  }

  private static Matcher ended(LabJob job) throws IOException {
    return job.awaitOutput(DOWN, BOUND);
  }

  private static int epochs(Matcher end) {
    return Integer.parseInt(end.group().replaceAll(".* epochs (\\d+) .*", "$1"));
  }
}
