package dev.dyad.perf.qemu;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.cli.AddressConverter;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.node.AttachedQemu;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.observe.EpochMetrics.PausePart;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.qemu.QemuAttach;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The primary in a process of its own, which attaches and detaches as often as it is told: what it measures is then not its JVM's
 * start. One command a line on standard input, one JSON object a line as its answer:
 *
 * <pre>
 * attach QMP STANDBY PERIOD_NANOS BOUND_NANOS adaptive|fixed
 * state                          {"protected":…,"why":…}
 * mark                           begins a window
 * report                         the window's figures
 * detach
 * bare QMP PERIOD_NANOS SECONDS WARMUP_SECONDS    epochs without shipping and without held output, as the C program's
 * roundtrip                      median TCP round trip over loopback
 * </pre>
 *
 * An error is {@code {"error":…}}. Ends at the end of its input.
 */
public final class MeasuredPrimary {
  private static final int RUNS_MAX = 1 << 18;
  private static final int SNAPSHOT_PAGES = 1 << 14;

  private @Nullable AttachedQemu attached;
  private EpochFigures.@Nullable Window window;

  private MeasuredPrimary() {}

  public static void main(String[] args) throws IOException {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    MeasuredPrimary primary = new MeasuredPrimary();
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        out.println(Json.write(primary.answer(line.split(" "))));
      }
    } finally {
      primary.detach();
    }
  }

  private Map<String, Object> answer(String[] words) {
    try {
      return switch (words[0]) {
        case "attach" -> attach(Path.of(words[1]), new AddressConverter().convert(words[2]), Long.parseLong(words[3]), Long.parseLong(words[4]), words[5].equals("adaptive"));
        case "state" -> present().report();
        case "mark" -> {
          window = new EpochFigures.Window(present().node().metrics());
          yield Map.of();
        }
        case "report" -> {
          EpochFigures.Window marked = window;
          if (marked == null) {
            throw new IllegalStateException("no mark");
          }
          yield marked.figures().toMap();
        }
        case "detach" -> detach();
        case "bare" -> bare(Path.of(words[1]), Long.parseLong(words[2]), Double.parseDouble(words[3]), Double.parseDouble(words[4])).toMap();
        case "roundtrip" -> Map.of("micros", LinkRoundTrip.medianMicros());
        default -> throw new IllegalArgumentException("no command '" + words[0] + "'");
      };
    } catch (IOException | RuntimeException e) {
      return Map.of("error", String.valueOf(e.getMessage() == null ? e.toString() : e.getMessage()));
    }
  }

  private AttachedQemu present() {
    AttachedQemu now = attached;
    if (now == null) {
      throw new IllegalStateException("nothing is attached");
    }
    return now;
  }

  private Map<String, Object> attach(Path qmp, SocketAddress standby, long periodNanos, long boundNanos, boolean adaptive) {
    EpochConfig usual = EpochConfig.of(periodNanos, boundNanos);
    EpochConfig epochs =
        new EpochConfig(periodNanos, usual.window(), adaptive, usual.detectorNanos(), usual.leaseMarginNanos(), usual.heartbeatNanos(),
            usual.commitNanosMax(), usual.askAgainNanos(), usual.undecidedRunNanos());
    attached = AttachedQemu.attach(qmp, 0, new AttachedQemu.Options("perf", standby, null, epochs, null, false, -1, Map.of()));
    return Map.of();
  }

  private Map<String, Object> detach() {
    AttachedQemu now = attached;
    attached = null;
    window = null;
    if (now != null) {
      now.close();
    }
    return new LinkedHashMap<>();
  }

  /** The C program's loop, call by call. */
  private static EpochFigures bare(Path qmp, long periodNanos, double seconds, double warmupSeconds) {
    EpochMetrics metrics = new EpochMetrics();
    DirtyPages dirty = new DirtyPages(RUNS_MAX);
    try (QemuAttach qemu = QemuAttach.attach(qmp);
        Mapping copies = Mapping.anonymous((long) SNAPSHOT_PAGES << GuestMemory.PAGE_SHIFT);
        Mapping state = Mapping.anonymous(qemu.memory().state().bytes());
        Poll timer = new Poll(1)) {
      qemu.startTracking();
      long next = System.nanoTime();
      long from = next + (long) (warmupSeconds * 1e9);
      long until = from + (long) (seconds * 1e9);
      while (next < until) {
        next += periodNanos;
        long wait = next - System.nanoTime();
        if (wait > 0) {
          timer.awaitNanos(wait);
        }
        long start = System.nanoTime();
        qemu.pause();
        long stopped = System.nanoTime();
        long scanNanos = 0;
        long copyNanos = 0;
        long pages = 0;
        long mark = stopped;
        for (boolean complete = false; !complete; ) {
          dirty.clear();
          complete = qemu.harvest(dirty);
          long scanned = System.nanoTime();
          // The first harvest finds all of memory; what is not shipped need not be kept.
          if (dirty.pageCount() <= SNAPSHOT_PAGES) {
            qemu.copyPages(dirty, copies.hostVirt());
          }
          pages += dirty.pageCount();
          scanNanos += scanned - mark;
          mark = System.nanoTime();
          copyNanos += mark - scanned;
        }
        qemu.captureState(state.hostVirt(), (int) state.bytes());
        long saved = System.nanoTime();
        qemu.resume();
        long end = System.nanoTime();
        next = end;
        if (start >= from) {
          metrics.sealed(qemu.standstillNanos(end - start), pages);
          metrics.cut(end - start);
          metrics.pausePart(PausePart.STOP, stopped - start);
          metrics.pausePart(PausePart.SCAN, scanNanos);
          metrics.pausePart(PausePart.COPY, copyNanos);
          metrics.pausePart(PausePart.STATE, saved - mark);
          metrics.pausePart(PausePart.RESUME, end - saved);
        }
      }
    }
    return EpochFigures.of(metrics);
  }
}
