package dev.dyad.hwtests.demo;

import dev.dyad.engine.json.Json;
import dev.dyad.perf.pair.MicroVmPair;
import dev.dyad.perf.pair.OutsideClient;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import org.jspecify.annotations.Nullable;

/** The built-in guest in a microVM of our own: both hosts die in turn, the client and the guest's checksum say what became of it. */
final class BuiltinDemo {
  private static final Duration BOUND = Duration.ofSeconds(30);
  private static final long STATUS_MILLIS = 500;
  private static final long WRITES_AFTER = 200;
  private static final int TICKS_PER_SECOND = 100;
  private static final long PAGES = 1_000;
  private static final long WRITES_PER_TICK = 50;

  /** How long start, take-overs and the second half last beside {@code seconds}: the guest's work is to outlive both kills. */
  private static final int OTHER_SECONDS = 5;

  private final Progress progress;
  private final int seconds;
  private final MicroVmPair.Options options;

  /**
   * The least of the windows that the first host has reported; null before the first. What an epoch allocates shows in every window; what the JVM does
   * once, such as linking code that runs for the first time, in one.
   */
  private @Nullable Double allocated;

  BuiltinDemo(Progress progress, String period, String bound, int seconds) {
    this(progress, period, bound, seconds, seconds + OTHER_SECONDS);
  }

  /**
   * @param seconds between protection and the first kill
   * @param workSeconds of the guest's work, after which it adds up its checksum
   */
  BuiltinDemo(Progress progress, String period, String bound, int seconds, int workSeconds) {
    this.progress = progress;
    this.seconds = seconds;
    options = new MicroVmPair.Options(period, bound, 64, 1, PAGES, WRITES_PER_TICK, WRITES_PER_TICK * TICKS_PER_SECOND * workSeconds);
  }

  DemoSummary run() throws InterruptedException {
    progress.step("two hosts on this computer, a process each; a microVM on KVM with the built-in guest, a key-value service over UDP");
    try (MicroVmPair pair = new MicroVmPair(options)) {
      pair.startStandby();
      long first = pair.startPrimary().pid();
      OutsideClient client = pair.startClient();
      pair.awaitProtected(BOUND);
      progress.step("protected: process " + first + " runs the guest, and nothing leaves it before the other host has the state that made it");
      if (!client.awaitAcked(1, BOUND)) {
        throw new IllegalStateException("the client got no reply: " + client.problem() + "\n" + pair.logs());
      }
      progress.step("a client writes increasing values over UDP");
      Json before = watch(pair, client, seconds * 1_000L, true);

      boolean wentOn = true;
      double failoverMillis = 0;
      long epochs = before.get("epochs").number(0);
      Json last = before;
      for (int kill = 1; kill <= 2 && wentOn; kill++) {
        long ackedAtKill = client.acked();
        long killed = pair.primary().pid();
        long killedAt = pair.killPrimary();
        wentOn = client.awaitAcked(ackedAtKill + WRITES_AFTER, BOUND);
        OutsideClient.Gap gap = client.gapAround(killedAt);
        double millis = gap == null ? 0 : (gap.toNanos() - killedAt) / 1e6;
        failoverMillis = Math.max(failoverMillis, millis);
        progress.step(
            wentOn
                ? String.format("kill -9 of process %d and its VM; process %d goes on, the client's next reply came %.0f ms after the kill", killed, pair.primary().pid(), millis)
                : "kill -9 of process " + killed + "; the client got no more replies: " + client.problem() + "\n" + pair.logs());
        if (wentOn && kill == 1) {
          pair.awaitTakenOver(BOUND);
          pair.startStandby();
          bringLevel(pair, client);
          progress.step("a new standby was brought level while the guest ran: protected again, in the other direction");
          last = watch(pair, client, 1_000, allocated == null);
          epochs += last.get("epochs").number(0);
        }
      }
      FutureTask<String> undisturbed = new FutureTask<>(() -> MicroVmPair.undisturbedChecksum(options));
      Thread.ofPlatform().daemon().name("undisturbed").start(undisturbed); // while the other one comes to its end
      String found = wentOn ? awaitChecksum(pair) : "";
      OutsideClient.Verdict verdict = client.finish(BOUND);
      progress.step("the client has read every acknowledged value back");
      String expected = resultOf(undisturbed);
      progress.step("the same guest ran once more undisturbed: its checksum is " + expected + ", that of the one that died twice " + found);
      return new DemoSummary(
          "builtin",
          epochs,
          verdict.acked(),
          verdict.lost(),
          verdict.reset() || !wentOn ? 1 : 0,
          failoverMillis,
          DemoSummary.Pauses.of(before),
          new DemoSummary.Inside(allocated, found.equals(expected)));
    }
  }

  private static String resultOf(FutureTask<String> task) throws InterruptedException {
    try {
      return task.get();
    } catch (ExecutionException e) {
      throw new IllegalStateException(Objects.requireNonNullElse(e.getCause(), e).getMessage(), e);
    }
  }

  private void bringLevel(MicroVmPair pair, OutsideClient client) throws InterruptedException {
    long end = System.nanoTime() + BOUND.toNanos();
    while (!pair.isProtected() && System.nanoTime() < end) {
      progress.status(List.of("alone; a new standby gets its memory while it runs", String.format("acknowledged %,d", client.acked())));
      Thread.sleep(STATUS_MILLIS);
    }
    pair.awaitProtected(BOUND);
  }

  private Json watch(MicroVmPair pair, OutsideClient client, long millis, boolean measure) throws InterruptedException {
    Json last = pair.status().orElseThrow(() -> new IllegalStateException("the process of the guest does not answer\n" + pair.logs()));
    long end = System.nanoTime() + millis * 1_000_000L;
    while (System.nanoTime() < end) {
      Thread.sleep(STATUS_MILLIS);
      last = pair.status().orElse(last);
      if (measure) {
        noteAllocated(last.get("allocatedBytesPerEpoch"));
      }
      progress.epochs(last, client.acked());
    }
    return last;
  }

  private void noteAllocated(Json window) {
    if (!window.isAbsent() && !window.toString().equals("null")) {
      double bytes = Double.parseDouble(window.toString());
      allocated = allocated == null ? bytes : Math.min(allocated, bytes);
    }
  }

  /** What the guest ends its work with; empty when it does not come to that. */
  private static String awaitChecksum(MicroVmPair pair) throws InterruptedException {
    long end = System.nanoTime() + BOUND.toNanos();
    while (System.nanoTime() < end) {
      Optional<Json> guest = pair.status().map(report -> report.get("builtin"));
      if (guest.isPresent() && guest.get().get("done").isTrue()) {
        return guest.get().get("checksum").text();
      }
      Thread.sleep(50);
    }
    return "";
  }
}
