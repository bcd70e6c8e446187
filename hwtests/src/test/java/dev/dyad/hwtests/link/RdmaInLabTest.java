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
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.stream.Stream;
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
  private static final int ROUNDS = 100;
  private static final int RATE_MEGABITS = 8;
  private static final Duration OF_A_BUSY_MACHINE = Duration.ofSeconds(12);
  private static final String NOTHING_HELD = "^open 0 descriptors (\\d+) pinned 0 kB";
  private static final String DOWN = "^down (\\d+) .*because (.*)$";

  private @Nullable LabJob receiver;
  private @Nullable LabJob sender;

  @TestFactory
  List<DynamicTest> shouldKeepTheContractOverADevice(Lab lab) throws IOException {
    return TestsInHost.start(lab.host(1), RdmaDeviceContract.class).results(Duration.ofSeconds(180));
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
    requireInTime("a killed host was noticed", killed);
    assertTrue(end.group(2).contains("nothing heard") || end.group(2).contains("retry"), job(sender)::toString);
  }

  @Test
  void shouldNoticeACutCableOnBothSides(Lab lab) throws IOException {
    flow(lab, 1, 60);
    lab.cutLink();
    long cut = System.nanoTime();
    for (var side : List.of(job(sender), job(receiver))) {
      var end = ended(side);
      // "Flushed": Linux refuses packets of a device without a carrier, and soft-RoCE then ends the queue pair without a reason (docs/limits.md), sometimes before the port's event.
      assertTrue(Stream.of("port", "nothing heard", "retry", "Flushed").anyMatch(end.group(2)::contains), side::toString);
    }
    requireInTime("a cut cable was noticed on both sides", cut);
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
    long frozen = System.nanoTime();
    var end = ended(job(receiver));
    requireInTime("a host that stands still was noticed", frozen);
    assertTrue(end.group(2).contains("nothing heard") || end.group(2).contains("retry"), job(receiver)::toString);
    lab.host(1).thaw();
    ended(job(sender));
  }

  @Test
  void shouldConnectFenceAndDisconnectAHundredTimesWithoutALeak(Lab lab) throws IOException {
    var before = List.of(resources(lab, 1), resources(lab, 2));
    start(lab, ROUNDS, 0.01, "fence");
    var sent = job(sender).awaitOutput(NOTHING_HELD, BOUND);
    var taken = job(receiver).awaitOutput(NOTHING_HELD, BOUND);
    assertTrue(Integer.parseInt(sent.group(1)) < 40 && Integer.parseInt(taken.group(1)) < 40, () -> job(sender) + "\n" + job(receiver));
    long refused = job(receiver).errors().lines().filter(line -> line.contains("a write of our own with the same key was refused")).count();
    // A host that has to wait for its processor may have no answer within the probe's bound; then its write came to nothing.
    long unanswered = job(receiver).errors().lines().filter(line -> line.endsWith("a write of our own came to nothing")).count();
    assertEquals(ROUNDS, refused + unanswered, () -> "links whose fence was probed: " + job(receiver));
    assertTrue(refused >= ROUNDS * 9 / 10, () -> refused + " writes were refused: " + job(receiver));
    // Queue pairs, completion queues, regions, domains and contexts, as the kernel counts them.
    assertEquals(before, List.of(resources(lab, 1), resources(lab, 2)), "what the devices hold");
  }

  private static String resources(Lab lab, int number) throws IOException {
    return lab.host(number).run("rdma resource show rxe0");
  }

  @Test
  void shouldCarryEpochsAtTheRateThatTheNetworkHas(Lab lab) throws IOException, InterruptedException {
    flow(lab, 1, 120);
    lab.limitRate(RATE_MEGABITS);
    assertTrue(lab.host(1).run("tc -d qdisc show dev eth0").contains("rate " + RATE_MEGABITS + "Mbit"), () -> job(sender).toString());
    var begin = sentBy(lab);
    Thread.sleep(3000);
    var end = sentBy(lab);
    requireUp("a rate of " + RATE_MEGABITS + " Mbit/s");
    double bytes = end[0] - begin[0];
    double bytesMax = (end[2] - begin[1]) / 100.0 * RATE_MEGABITS * 1e6 / 8;
    System.out.printf("%.0f bytes in %.1f s at %d Mbit/s%n", bytes, (end[2] - begin[1]) / 100.0, RATE_MEGABITS);
    // What was under way at the first look counts for nothing; what the device had been given at the second may be one epoch.
    assertTrue(bytes <= bytesMax + EPOCH_BYTES, () -> bytes + " bytes sent, possible are " + bytesMax);
    assertTrue(bytes > 2 * EPOCH_BYTES, () -> "epochs flow: " + bytes + " bytes");
    lab.clearNetem();
    Files.createFile(lab.shared().resolve("stop"));
    assertTrue(ended(job(sender)).group(2).contains("time is over"), job(sender)::toString);
  }

  /** Bytes that left the sender's host, and its clock in hundredths of a second just before and just after. */
  private static long[] sentBy(Lab lab) throws IOException {
    var words = lab.host(1).run("cut -d' ' -f1 /proc/uptime; ip -s link show eth0 | awk '/TX:/ {getline; print $1}'; cut -d' ' -f1 /proc/uptime").split("\\s+");
    return new long[] {Long.parseLong(words[1]), Long.parseLong(words[0].replace(".", "")), Long.parseLong(words[2].replace(".", ""))};
  }

  /** Whatever comes first, silence is the bound; a busy machine adds what its emulated hosts miss of the time. */
  private static void requireInTime(String what, long since) {
    double seconds = (System.nanoTime() - since) / 1e9;
    System.out.printf("%s after %.1f s%n", what, seconds);
    assertTrue(seconds < LinkPeer.SILENCE.toSeconds() + OF_A_BUSY_MACHINE.toSeconds(), () -> what + " after " + seconds + " s");
  }

  private void requireUp(String after) {
    assertFalse(job(sender).hasEnded(), () -> "down after " + after + ": " + job(sender) + "\n" + job(receiver));
  }

  /** Starts a link and waits until epochs flow. */
  private void flow(Lab lab, int rounds, double seconds) throws IOException {
    start(lab, rounds, seconds);
    job(sender).awaitOutput("^flowing", BOUND);
  }

  private void start(Lab lab, int rounds, double seconds, String... ofReceiver) throws IOException {
    var words = new ArrayList<>(List.of("receive", String.valueOf(rounds)));
    words.addAll(List.of(ofReceiver));
    receiver = lab.host(2).start(LinkPeer.class, words);
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
