package dev.dyad.hwtests.demo;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.json.Json;
import dev.dyad.nic.NetworkLab;
import java.io.PrintWriter;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad demo}: a machine survives the death of its host, on this one computer, while one watches. */
@Command(name = "demo", mixinStandardHelpOptions = true, description = "See a machine survive the death of its host, all on this computer.")
public final class DemoCommand implements Callable<Integer> {
  /** What is protected. Lower case, as it is typed. */
  enum Guest {
    builtin,
    linux
  }

  @Option(
      names = "--guest",
      paramLabel = "GUEST",
      description = "builtin: a small guest in a microVM of our own on KVM (default where there is KVM); linux: a real Linux with Redis in a stock QEMU (default elsewhere)")
  private @Nullable Guest guest;

  @Option(names = "--period", paramLabel = "TIME", defaultValue = "10ms", description = "length of an epoch at most (default ${DEFAULT-VALUE})")
  private String period = "10ms";

  @Option(names = "--bound", paramLabel = "TIME", defaultValue = "100ms", description = "silence after which a host takes the other for dead (default ${DEFAULT-VALUE})")
  private String bound = "100ms";

  @Option(names = "--seconds", paramLabel = "N", defaultValue = "0", description = "how long to watch the protected guest before the kill (default: 3 for builtin, 8 for linux)")
  private int seconds;

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws InterruptedException {
    CommandLine commandLine = Objects.requireNonNull(spec).commandLine();
    PrintWriter out = commandLine.getOut();
    Guest chosen = guest == null ? choose(commandLine.getErr()) : guest;
    String missing = chosen == Guest.builtin ? Kvm.unusable() : NetworkLab.unavailable();
    if (!missing.isEmpty()) {
      String instead = chosen == Guest.builtin ? "; or, without KVM: dyad demo --guest linux" : "";
      throw new CommandFailure(ExitCode.PERMISSION, missing + instead);
    }
    boolean json = output == OutputFormat.json;
    Progress progress = new Progress(json ? commandLine.getErr() : out);
    DemoSummary summary;
    try {
      summary = switch (chosen) {
        case builtin -> new BuiltinDemo(progress, period, bound, seconds == 0 ? 3 : seconds).run();
        case linux -> new LinuxDemo(progress, period, bound, seconds == 0 ? 8 : seconds).run();
      };
    } catch (GuestUnavailableException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    }
    if (json) {
      out.println(Json.write(summary.toMap()));
    } else {
      out.println(summary.toText());
    }
    out.flush();
    return summary.isGood() ? ExitCode.OK : ExitCode.FINDING;
  }

  /** The built-in guest, or, where it cannot run, the one that needs no KVM: whoever asked for no guest by name wants to see one survive. */
  private static Guest choose(PrintWriter err) {
    String missing = Kvm.unusable();
    if (missing.isEmpty()) {
      return Guest.builtin;
    }
    err.println("dyad: " + missing + "; without KVM this is dyad demo --guest linux");
    err.flush();
    return Guest.linux;
  }
}
