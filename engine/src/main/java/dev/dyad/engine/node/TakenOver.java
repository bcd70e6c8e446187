package dev.dyad.engine.node;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A guest that has gone on at this host, alone: announces its addresses, answers status. Closing lets go of it; it runs on.
 *
 * <p>Control thread.
 */
public final class TakenOver implements AutoCloseable {
  /** Repeated, since a bridge port that has just come up may lose the first. */
  private static final int[] ANNOUNCE_AT_MILLIS = {0, 50, 200, 500, 1000};

  private final StandbyNode.Promoted promoted;
  private @Nullable PrimaryDisk disk;
  private @Nullable Thread announcer;

  public TakenOver(StandbyNode.Promoted promoted) {
    this.promoted = promoted;
    disk = promoted.disk();
  }

  /** Starts announcing. */
  public void announce() {
    announcer =
        Thread.ofPlatform()
            .name("control-announce")
            .daemon()
            .start(
                () -> {
                  long start = System.nanoTime();
                  for (int at : ANNOUNCE_AT_MILLIS) {
                    try {
                      Thread.sleep(Math.max(0, at - (System.nanoTime() - start) / 1_000_000));
                    } catch (InterruptedException e) {
                      return;
                    }
                    QemuStandbyHost.announce(promoted);
                  }
                });
  }

  /** To be called now and then: looks after the guest's network where this process carries it. */
  public void tend() {
    QemuStandbyHost.tend(promoted.machine());
  }

  public boolean guestLives() {
    return QemuStandbyHost.alive(promoted.machine());
  }

  public Path qmp() {
    return QemuStandbyHost.qmp(promoted.machine());
  }

  /** Does what another node of this host asks for; the answer is empty when it is done. */
  public synchronized String command(String line) {
    if (!line.equals(ServedDisk.HAND_OVER)) {
      return "this node does not know: " + line;
    }
    PrimaryDisk present = disk;
    if (present != null) {
      disk = null;
      present.close();
    }
    return "";
  }

  /** In one line: which guest, from where on, and how to protect it again. */
  public String line() {
    return "QEMU " + QemuStandbyHost.pid(promoted.machine()) + ", from epoch " + promoted.epoch() + ", generation " + promoted.generation()
        + "; to protect it again: dyad attach --qmp " + qmp() + " --name " + promoted.envelope().name() + " --to …";
  }

  /** The object behind {@code dyad status}. */
  public synchronized Map<String, Object> report() {
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("role", "taken over");
    report.put("name", promoted.envelope().name());
    report.put("pid", ProcessHandle.current().pid());
    report.put("state", "ALONE");
    report.put("protected", false);
    report.put("why", "the other host is gone; protect it again with: dyad attach --qmp " + qmp() + " --name " + promoted.envelope().name() + " --to HOST:PORT");
    report.put("generation", promoted.generation());
    report.put("epoch", promoted.epoch());
    report.put("qemuPid", QemuStandbyHost.pid(promoted.machine()));
    report.put("qmp", qmp().toString());
    PrimaryDisk present = disk;
    if (present != null) {
      report.put("disk", present.report());
    }
    return report;
  }

  @Override
  public void close() {
    Thread present = announcer;
    if (present != null) {
      present.interrupt();
      try {
        present.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    synchronized (this) {
      PrimaryDisk served = disk;
      if (served != null) {
        disk = null;
        if (guestLives()) {
          ServedDisk.giveBack(served, QemuStandbyHost.disk(promoted.machine(), served.node()));
        } else {
          served.close();
        }
      }
    }
    QemuStandbyHost.release(promoted.machine());
  }
}
