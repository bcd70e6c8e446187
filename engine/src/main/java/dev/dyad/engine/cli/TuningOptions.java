package dev.dyad.engine.cli;

import dev.dyad.engine.node.MicroVmTuning;
import picocli.CommandLine.Option;

/** Techniques of a microVM's pause, each by itself; docs/decisions/pause-techniques.md has their effects. A primary and a standby each for itself. */
final class TuningOptions {
  static final String HEADING = "%nFor experts: how a microVM's epochs are made. What is replicated is the same with any of it; 'dyad perf kvm --variants' measures.%n";

  /** Lower case, as it is typed. */
  enum Tracking {
    best(MicroVmTuning.Tracking.BEST),
    ring(MicroVmTuning.Tracking.RING),
    log(MicroVmTuning.Tracking.LOG);

    private final MicroVmTuning.Tracking meant;

    Tracking(MicroVmTuning.Tracking meant) {
      this.meant = meant;
    }
  }

  @Option(names = "--tracker", paramLabel = "KIND", description = "how dirty pages are found: ring, log (KVM's bitmap), or best: the ring where the kernel has it (default)")
  private Tracking tracking = Tracking.best;

  @Option(names = "--hot-pages", paramLabel = "N", description = "up to N pages that are written in every epoch stay writable and are always sent; with the ring only, at most " + MicroVmTuning.HOT_PAGES_MAX + " (default 0)")
  private int hotPages;

  @Option(names = "--copy-on-write", description = "copy long runs of pages after the guest has gone on; what it writes meanwhile waits for its page")
  private boolean copyOnWrite;

  @Option(names = "--serial-capture", description = "the epoch thread reads the vCPUs' states one after the other, instead of each vCPU's thread its own")
  private boolean serialCapture;

  @Option(names = "--early", paramLabel = "TIME", converter = DurationConverter.class, description = "ship during an epoch what has been written, each time this has passed, such as 500us (default: only at its end)")
  private long earlyNanos;

  /** @throws CommandFailure when they do not go together */
  MicroVmTuning tuning() {
    if (hotPages < 0 || hotPages > MicroVmTuning.HOT_PAGES_MAX) {
      throw new CommandFailure(ExitCode.USAGE, "--hot-pages " + hotPages + " is out of range; needed is 0 to " + MicroVmTuning.HOT_PAGES_MAX);
    }
    if (hotPages > 0 && tracking == Tracking.log) {
      throw new CommandFailure(ExitCode.USAGE, "--hot-pages needs the dirty ring, and --tracker log was given: leave one out");
    }
    return new MicroVmTuning(tracking.meant, hotPages, copyOnWrite, !serialCapture, earlyNanos);
  }
}
