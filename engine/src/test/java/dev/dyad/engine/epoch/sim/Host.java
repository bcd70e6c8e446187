package dev.dyad.engine.epoch.sim;

import java.util.ArrayDeque;
import org.jspecify.annotations.Nullable;

/** A machine with a clock of its own that runs one process at a time, one event at a time, unless it is frozen. */
final class Host {
  /** Thrown out of an action: the process dies right there. */
  static final class Crash extends RuntimeException {
    private static final long serialVersionUID = 1;

    Crash() {
      super(null, null, false, false);
    }
  }

  /** A process. */
  abstract static class Process {
    private boolean dead;

    final boolean isDead() {
      return dead;
    }

    /** Ends it: nothing that was meant for it is run any more. */
    final void end() {
      dead = true;
    }

    abstract void tick();

    /** How long it may sleep now. */
    abstract long sleepNanos();

    abstract void died(boolean hostToo);

    void frozen(boolean guestToo) {}

    void thawed() {}

    abstract String status();
  }

  private record Work(Process process, Runnable event) {}

  private final World world;
  private final int index;
  private final long clockOffset;
  private final long driftPpm;
  private final ArrayDeque<Work> inbox = new ArrayDeque<>();
  private @Nullable Process process;
  private boolean frozen;
  private boolean busy;
  private @Nullable Runnable whenThawed;
  private boolean inEvent;
  private int actionsUntilCrash = -1;
  private boolean crashTakesHost;
  private long links;

  Host(World world, int index, long clockOffset, long driftPpm) {
    this.world = world;
    this.index = index;
    this.clockOffset = clockOffset;
    this.driftPpm = driftPpm;
  }

  int index() {
    return index;
  }

  long clock() {
    return clockOffset + world.now() + world.now() * driftPpm / 1_000_000;
  }

  long nextLink() {
    return ++links;
  }

  @Nullable Process process() {
    return process;
  }

  boolean isFrozen() {
    return frozen;
  }

  boolean isBusy() {
    return busy;
  }

  /** The process works on one thing and sees no event until {@link #done}. */
  void startWork() {
    busy = true;
  }

  /** The work is done; {@code event} comes before all that waited. */
  void done(Process by, Runnable event) {
    if (by.isDead()) {
      return;
    }
    if (frozen) {
      whenThawed = () -> done(by, event);
      return;
    }
    busy = false;
    inbox.addFirst(new Work(by, event));
    drain();
  }

  void start(Process next) {
    if (process != null) {
      process.end();
    }
    process = next;
    busy = false;
    whenThawed = null;
    inbox.clear();
    actionsUntilCrash = -1;
    scheduleTick(next);
  }

  void run(Process target, Runnable event) {
    if (!target.isDead()) {
      inbox.add(new Work(target, event));
      drain();
    }
  }

  private void drain() {
    if (inEvent) {
      return;
    }
    while (!frozen && !busy && !inbox.isEmpty()) {
      Work work = inbox.poll();
      if (work.process.isDead()) {
        continue;
      }
      inEvent = true;
      try {
        work.event.run();
      } catch (Crash crash) {
        world.crash(this, crashTakesHost);
      } finally {
        inEvent = false;
      }
      world.rules().afterEvent();
    }
  }

  private void scheduleTick(Process target) {
    long sleep = Math.max(2_000, Math.min(target.sleepNanos(), world.config().periodNanos()));
    world.after(sleep, () -> run(target, () -> {
      target.tick();
      scheduleTick(target);
    }));
  }

  void freeze(boolean guestToo) {
    frozen = true;
    if (process != null) {
      process.frozen(guestToo);
    }
  }

  void thaw() {
    if (!frozen) {
      return;
    }
    frozen = false;
    Process woken = process;
    if (woken != null) {
      woken.thawed();
      if (!busy && world.random().nextBoolean()) {
        inbox.addFirst(new Work(woken, woken::tick));
      }
    }
    Runnable work = whenThawed;
    whenThawed = null;
    if (work != null) {
      work.run();
    }
    drain();
  }

  void crashAfterActions(int actions, boolean hostToo) {
    actionsUntilCrash = actions;
    crashTakesHost = hostToo;
  }

  boolean isArmed() {
    return actionsUntilCrash >= 0;
  }

  void disarm() {
    actionsUntilCrash = -1;
  }

  /** Called at the start of every action. */
  void action() {
    if (actionsUntilCrash >= 0 && actionsUntilCrash-- == 0) {
      throw new Crash();
    }
  }

  /** The process is gone. */
  void died(boolean hostToo) {
    Process victim = process;
    process = null;
    busy = false;
    frozen = false;
    whenThawed = null;
    inbox.clear();
    actionsUntilCrash = -1;
    if (victim != null) {
      victim.end();
      victim.died(hostToo);
    }
  }
}
