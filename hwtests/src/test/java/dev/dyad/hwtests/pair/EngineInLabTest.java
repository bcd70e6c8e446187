package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.engine.arbiter.EtcdServer;
import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.LabHost;
import dev.dyad.hwtests.lab.LabJob;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.jspecify.annotations.Nullable;

/**
 * A microVM on nested KVM, protected between two hosts of the lab with an etcd as the third place: whatever happens to hosts and
 * network, it goes on at exactly one of them, and its memory is to the byte what it would have been undisturbed. One guest lives through all of it, first over RDMA and
 * then over tcp: a Java process on an emulated host takes longer to start than what is done to it.
 */
@ExtendWith(LabExtension.class)
final class EngineInLabTest {
  private static final Duration BOUND = Duration.ofSeconds(240);
  private static final int DETECTOR_MILLIS = 6000;

  /** Of a network over which a guest's memory needs some seconds. */
  private static final int SLOW_MEGABITS = 2;

  /** 500 a second at most. So many that the guest is at work through its host's death. */
  private static final long WRITES_OF_A_SHORT_LIFE = 12_000;

  /** And through the first of what is done to it in a long one. */
  private static final long WRITES_OF_A_LONG_LIFE = 35_000;

  @TempDir Path folder = Path.of("");

  private @Nullable EtcdServer etcd;
  private final LabJob[] jobs = new LabJob[2];
  private int runner;

  @BeforeEach
  void startArbiter() throws IOException {
    if (!EtcdServer.isInstalled() && "require".equals(System.getProperty("dyad.lab"))) {
      fail("the lab is required here, and two hosts need an arbiter: apt-get install etcd-server");
    }
    Assumptions.assumeTrue(EtcdServer.isInstalled(), "two hosts need an arbiter: apt-get install etcd-server");
    etcd = EtcdServer.start(folder);
  }

  @AfterEach
  void stopArbiter() {
    if (etcd != null) {
      etcd.close();
    }
  }

  @Test
  void shouldLoseNothingWhenTheHostOfTheGuestDies(Lab lab) throws IOException, InterruptedException {
    lab.limitRate(SLOW_MEGABITS);
    boot(lab, WRITES_OF_A_SHORT_LIFE);
    flapWhileLevelling(lab);
    lab.clearNetem();
    awaitProtected("rdma");
    // On a slow machine the guest may be done by now; what is lost is seen then, too.
    System.out.println("at the death of its host: " + lastStatus(running()));
    lab.host(runner).kill();
    awaitTakenOver();
    assertUndisturbed();
  }

  @Test
  @Tag("lab-full")
  void shouldGoOnAtOneHostWhateverHappensToTheOtherAndTheNetwork(Lab lab) throws IOException, InterruptedException {
    live(lab, 1);
  }

  @Test
  @Tag("lab-full")
  void shouldGoOnWhenItHappensAgainAndAgain(Lab lab) throws IOException, InterruptedException {
    live(lab, 4);
  }

  /** The guest is protected over RDMA, its host is the first one. */
  private void begin(Lab lab, long writes) throws IOException {
    boot(lab, writes);
    awaitProtected("rdma");
  }

  /** The guest begins at the first host and is soon brought to the second one. */
  private void boot(Lab lab, long writes) throws IOException {
    runner = 1;
    wish(lab, "RDMA");
    for (var host : lab.hosts()) {
      host.loadKvm();
    }
    jobs[1] = start(lab, 2, writes, "standby", "undisturbed=true");
    undisturbed(); // the guest's time is not to pass while nobody is there for it
    jobs[0] = start(lab, 1, writes, "protect");
  }

  private void live(Lab lab, int rounds) throws IOException, InterruptedException {
    begin(lab, WRITES_OF_A_LONG_LIFE);
    assertFalse(lastStatus(running()).contains("guest=done"), () -> "the guest was done before anything happened to it: " + running());

    // Power loss.
    lab.host(1).kill();
    awaitTakenOver();
    lab.powerOn(1).loadKvm();
    lab.limitRate(SLOW_MEGABITS);
    jobs[0] = start(lab, 1, WRITES_OF_A_LONG_LIFE, "standby");
    for (int i = 0; i < 3; i++) {
      flapWhileLevelling(lab);
    }
    lab.clearNetem();
    awaitProtected("rdma");

    for (int round = 0; round < rounds; round++) {
      if (round > 0) {
        wish(lab, "RDMA");
        cutTheCable(lab);
        awaitProtected("rdma");
      }
      freezeTheRunner(lab);
      awaitProtected("rdma");
      disturbTheNetwork(lab);
      wish(lab, "TCP");
      cutTheCable(lab);
      awaitProtected("tcp");
      freezeTheRunner(lab);
      awaitProtected("tcp");
      disturbTheNetwork(lab);
      cutTheCable(lab);
      awaitProtected("tcp");
    }
    lab.host(runner).kill();
    awaitTakenOver();
    assertUndisturbed();
  }

  /**
   * The network fails while a standby is brought level, which takes seconds on one so slow. What both sides were in the midst of is known before, and
   * that they got no further is known from the states that they went through.
   */
  private void flapWhileLevelling(Lab lab) throws IOException {
    var primary = running();
    var standby = jobs[2 - runner];
    int before = awaitNewest(primary, "SYNCING", "PROTECTED");
    int beforeOther = awaitNewest(standby, "RECEIVING", "READY");
    lab.cutLink();
    assertEquals("ALONE", awaitState(primary, before + 1), () -> "what becomes of a primary that was levelling: " + primary);
    var next = awaitState(standby, beforeOther + 1);
    if (next.equals("STOOD_DOWN")) {
      next = awaitState(standby, beforeOther + 2);
    }
    assertEquals("WAITING", next, () -> "what becomes of a standby that was receiving: " + standby);
    lab.healLink();
  }

  /** The states that a side said, each once in a row. */
  private static List<String> states(LabJob job) throws IOException {
    var states = new ArrayList<String>();
    job.output().lines().filter(line -> line.startsWith("status ")).map(line -> line.split(" ")[2]).filter(state -> states.isEmpty() || !state.equals(states.getLast())).forEach(states::add);
    return states;
  }

  /** Waits until a side's newest state is that. @param tooLate what must not come before @return its place in {@link #states} */
  private static int awaitNewest(LabJob job, String state, String tooLate) throws IOException {
    int from = states(job).size();
    long deadline = System.nanoTime() + BOUND.toNanos();
    while (true) {
      var states = states(job);
      if (!states.isEmpty() && states.getLast().equals(state)) {
        return states.size() - 1;
      }
      assertFalse(states.subList(Math.min(from, states.size()), states.size()).contains(tooLate), () -> "passed " + state + " too soon to be hit: " + job);
      if (job.hasEnded() || System.nanoTime() - deadline > 0) {
        fail("no " + state + ": " + job);
      }
      pause();
    }
  }

  /** Waits for a side's state at a place of {@link #states}. */
  private static String awaitState(LabJob job, int place) throws IOException {
    long deadline = System.nanoTime() + BOUND.toNanos();
    while (states(job).size() <= place) {
      if (job.hasEnded() || System.nanoTime() - deadline > 0) {
        fail("no further state: " + job);
      }
      pause();
    }
    return states(job).get(place);
  }

  private void assertUndisturbed() throws IOException {
    var end = awaitStatus(running(), "guest=done (\\w+)");
    assertEquals(undisturbed(), end.group(1), () -> "the guest's memory after all that: " + running());
  }

  private static void wish(Lab lab, String link) throws IOException {
    Files.writeString(lab.shared().resolve(NodePeer.WISH), link);
  }

  /** The runner's host stands still; the other one goes on. When it can move again, it must not go on as well. */
  private void freezeTheRunner(Lab lab) throws IOException {
    int frozen = runner;
    var job = running();
    long fencedBefore = fencings(job);
    lab.host(frozen).freeze();
    awaitTakenOver();
    lab.host(frozen).thaw();
    awaitStatus(job, "^status standby");
    assertEquals(fencedBefore + 1, fencings(job), () -> "the host that stood still: " + job);
  }

  private static long fencings(LabJob job) throws IOException {
    return job.output().lines().filter(line -> line.equals("ended FENCED")).count();
  }

  /** A bad network is no failure. */
  private void disturbTheNetwork(Lab lab) throws IOException, InterruptedException {
    lab.netem("loss 1% delay 5ms");
    Thread.sleep(3000);
    assertTrue(lastStatus(running()).contains(" PROTECTED "), () -> "1 % loss and 5 ms delay: " + running());
    lab.clearNetem();
  }

  /** Of two that live and do not see each other one goes on; the other one is fenced, or waits without the guest. */
  private void cutTheCable(Lab lab) throws IOException {
    var old = running();
    var other = jobs[2 - runner];
    long fencedBefore = fencings(old);
    lab.cutLink();
    long deadline = System.nanoTime() + BOUND.toNanos();
    while (true) {
      boolean oldRuns = lastStatus(old).startsWith("status primary ALONE");
      boolean otherRuns = lastStatus(other).startsWith("status primary ALONE");
      assertFalse(oldRuns && otherRuns, () -> "two run: " + old + "\n" + other);
      if (oldRuns && lastStatus(other).startsWith("status standby WAITING")) {
        break;
      }
      if (otherRuns && fencings(old) > fencedBefore) {
        runner = 3 - runner;
        break;
      }
      if (System.nanoTime() > deadline) {
        fail("no decision: " + old + "\n" + other);
      }
      pause();
    }
    lab.healLink();
  }

  private void awaitProtected(String link) throws IOException {
    awaitStatus(running(), "^status primary PROTECTED protected=true link=" + link);
  }

  /** The other side is the runner from now on. */
  private void awaitTakenOver() throws IOException {
    runner = 3 - runner;
    awaitStatus(running(), "^status primary ALONE");
  }

  private LabJob running() {
    return jobs[runner - 1];
  }

  /** What the guest's memory adds up to when nothing happens to it. */
  private String undisturbed() throws IOException {
    return jobs[1].awaitOutput("^undisturbed (\\w+)$", BOUND).group(1);
  }

  private LabJob start(Lab lab, int number, long writes, String... words) throws IOException {
    var all = new ArrayList<>(List.of(words));
    all.addAll(List.of("peer=" + lab.host(3 - number).address(), "bound=" + DETECTOR_MILLIS, "writes=" + writes, "arbiter=http://" + LabHost.WITNESS + ":" + port()));
    return lab.host(number).start(NodePeer.class, all);
  }

  private int port() {
    if (etcd == null) {
      throw new IllegalStateException("no arbiter was started");
    }
    return etcd.port();
  }

  private static String lastStatus(LabJob job) throws IOException {
    return job.output().lines().filter(line -> line.startsWith("status ")).reduce("", (first, second) -> second);
  }

  /** Waits until the newest status is such. */
  private static Matcher awaitStatus(LabJob job, String regex) throws IOException {
    var pattern = Pattern.compile(regex);
    long deadline = System.nanoTime() + BOUND.toNanos();
    while (true) {
      boolean ended = job.hasEnded();
      var matcher = pattern.matcher(lastStatus(job));
      if (matcher.find()) {
        return matcher;
      }
      if (ended || System.nanoTime() > deadline) {
        throw new IOException((ended ? "ended without " : "not in time: ") + regex + ": " + job);
      }
      pause();
    }
  }

  private static void pause() throws IOException {
    try {
      Thread.sleep(20);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }
}
