package dev.dyad.perf;

import dev.dyad.perf.kvm.KvmPerfCommand;
import dev.dyad.perf.link.LinkPerfCommand;
import dev.dyad.perf.disk.DiskPerfCommand;
import dev.dyad.perf.micro.MicroCommand;
import dev.dyad.perf.profile.ProfileCommand;
import dev.dyad.perf.qemu.QemuPerfCommand;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** {@code dyad perf}: measurements beside a baseline that does the same work, each a command of its own. */
@Command(
    name = "perf",
    mixinStandardHelpOptions = true,
    description = "Measure a part beside its baseline.",
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {DiskPerfCommand.class, KvmPerfCommand.class, MicroCommand.class, ProfileCommand.class, QemuPerfCommand.class, LinkPerfCommand.class})
public final class PerfCommand implements Runnable {
  @Spec private @Nullable CommandSpec spec;

  @Override
  public void run() {
    if (spec != null) {
      spec.commandLine().usage(System.out);
    }
  }
}
