package dev.dyad.hwtests.demo;

import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.json.Json;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.time.Duration;
import java.util.List;

/** A real Linux with Redis in a stock QEMU: booted unprotected, attached to, killed, gone on at the standby. */
final class LinuxDemo {
  private static final Duration PROTECT_BOUND = Duration.ofSeconds(60);
  private static final Duration REPLY_BOUND = Duration.ofSeconds(20);
  private static final long STATUS_MILLIS = 500;
  private static final long WRITES_AFTER = 500;

  private final Progress progress;
  private final String period;
  private final String bound;
  private final int seconds;

  LinuxDemo(Progress progress, String period, String bound, int seconds) {
    this.progress = progress;
    this.period = period;
    this.bound = bound;
    this.seconds = seconds;
  }

  DemoSummary run() throws InterruptedException {
    progress.step("two hosts on this computer: a network of their own, a Linux with Redis in a stock QEMU");
    try (LinuxPair pair = new LinuxPair(new LinuxPair.Options(period, bound, 256, "tcp", List.of()))) {
      GuestMachine guest = pair.startGuest();
      progress.step("Linux is up in QEMU " + guest.pid() + ", unprotected");
      OutsideClient client = pair.startClient();
      client.awaitAcked(100, REPLY_BOUND);
      progress.step("a client outside writes increasing keys over one TCP connection");
      pair.startStandby(1);
      progress.step("dyad standby waits on the other host");
      pair.startAttach();
      progress.step("dyad attach takes hold of the running QEMU; its memory is being copied while it runs");
      pair.awaitProtected(PROTECT_BOUND);
      progress.step("protected: from now on nothing leaves the guest before the other host has the state that made it");

      Json last = watch(pair, client);

      long killedAt = pair.killPrimary();
      progress.step("kill -9 of dyad attach and of QEMU: the first host is dead");
      long ackedAtKill = client.acked();
      boolean wentOn = client.awaitAcked(ackedAtKill + WRITES_AFTER, REPLY_BOUND);
      OutsideClient.Gap gap = client.gapAround(killedAt);
      double failoverMillis = gap == null ? 0 : (gap.toNanos() - killedAt) / 1e6;
      progress.step(
          wentOn
              ? String.format("the guest goes on at the other host; the client's next reply came %.0f ms after the kill, over the same connection", failoverMillis)
              : "the client got no more replies: " + client.problem());
      OutsideClient.Verdict verdict = client.finish(REPLY_BOUND);
      progress.step("the client has read every acknowledged key back");
      return new DemoSummary(
          "linux",
          last.get("epochs").number(0),
          verdict.acked(),
          verdict.lost(),
          verdict.reset() || !wentOn ? 1 : 0,
          failoverMillis,
          DemoSummary.Pauses.of(last),
          null);
    }
  }

  private Json watch(LinuxPair pair, OutsideClient client) throws InterruptedException {
    Json last = pair.status("primary", pair.attach()).orElseThrow(() -> new IllegalStateException("dyad attach has ended\n" + pair.logs()));
    long end = System.nanoTime() + seconds * 1_000_000_000L;
    while (System.nanoTime() < end) {
      Thread.sleep(STATUS_MILLIS);
      last = pair.status("primary", pair.attach()).orElse(last);
      progress.epochs(last, client.acked());
    }
    return last;
  }
}
