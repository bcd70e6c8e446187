package dev.dyad.engine.observe;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/**
 * The JFR events of epochs. They are made a little after the fact, by {@link EpochTrace}'s thread: when it happened stands in {@code nanos},
 * nanoseconds since that host was started.
 */
final class EpochEvents {
  private EpochEvents() {}

  @Name("dyad.Epoch")
  @Label("Epoch")
  @Category("Dyad")
  @Description("An epoch was sealed on the primary")
  @StackTrace(false)
  static final class Epoch extends Event {
    @Label("Epoch")
    long epoch;

    @Label("Nanoseconds since boot")
    long nanos;

    @Label("Pause")
    @Timespan(Timespan.NANOSECONDS)
    long pause;

    @Label("Pages written")
    long pages;
  }

  @Name("dyad.PausePhase")
  @Label("Pause Phase")
  @Category("Dyad")
  @Description("A part of what ended an epoch: stop, scan, copy, state, resume")
  @StackTrace(false)
  static final class PausePhase extends Event {
    @Label("Epoch")
    long epoch;

    @Label("Nanoseconds since boot")
    long nanos;

    @Label("Phase")
    String phase = "";

    @Label("Time")
    @Timespan(Timespan.NANOSECONDS)
    long time;
  }

  @Name("dyad.Commit")
  @Label("Commit")
  @Category("Dyad")
  @Description("The standby acknowledged an epoch")
  @StackTrace(false)
  static final class Commit extends Event {
    @Label("Epoch")
    long epoch;

    @Label("Nanoseconds since boot")
    long nanos;

    @Label("Since the seal")
    @Timespan(Timespan.NANOSECONDS)
    long latency;
  }

  @Name("dyad.Release")
  @Label("Release")
  @Category("Dyad")
  @Description("What the guest sent in committed epochs left")
  @StackTrace(false)
  static final class Release extends Event {
    @Label("Up to epoch")
    long epoch;

    @Label("Nanoseconds since boot")
    long nanos;

    @Label("Time")
    @Timespan(Timespan.NANOSECONDS)
    long time;

    @Label("Frames still held")
    long held;
  }

  static void epoch(long epoch, long nanos, long pauseNs, long pages) {
    Epoch event = new Epoch();
    event.epoch = epoch;
    event.nanos = nanos;
    event.pause = pauseNs;
    event.pages = pages;
    event.commit();
  }

  static void phase(long epoch, long nanos, String phase, long durationNs) {
    PausePhase event = new PausePhase();
    event.epoch = epoch;
    event.nanos = nanos;
    event.phase = phase;
    event.time = durationNs;
    event.commit();
  }

  static void commit(long epoch, long nanos, long latencyNs) {
    Commit event = new Commit();
    event.epoch = epoch;
    event.nanos = nanos;
    event.latency = latencyNs;
    event.commit();
  }

  static void release(long epoch, long nanos, long durationNs, long held) {
    Release event = new Release();
    event.epoch = epoch;
    event.nanos = nanos;
    event.time = durationNs;
    event.held = held;
    event.commit();
  }
}
