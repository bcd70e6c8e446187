package dev.dyad.nic;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.json.Json;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code dyad nic plan|apply|revert}: what a guest's NIC hangs on. */
@Command(
    name = "nic",
    description = "Plan, apply and revert TAP devices, bridge and namespace for guests.",
    mixinStandardHelpOptions = true,
    subcommands = {NicCommand.PlanCommand.class, NicCommand.ApplyCommand.class, NicCommand.RevertCommand.class})
final class NicCommand implements Runnable {
  @Spec private @Nullable CommandSpec spec;

  @Override
  public void run() {
    if (spec != null) {
      spec.commandLine().usage(spec.commandLine().getOut());
    }
  }

  /** What all three are told. */
  static final class Target {
    @Option(names = "--bridge", paramLabel = "NAME", defaultValue = "dyad0", description = "Bridge, and first part of the TAPs' names (${DEFAULT-VALUE}).")
    String bridge = "dyad0";

    @Option(names = "--state", paramLabel = "FILE", description = "Where apply notes what it did (default: nic-BRIDGE.state in the run-time folder).")
    @Nullable Path state;

    @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", defaultValue = "text", description = "text or json.")
    String output = "text";

    Journal journal() {
      if (state != null) {
        return new Journal(state);
      }
      String runtime = System.getenv("XDG_RUNTIME_DIR");
      Path folder =
          NetworkLab.isRoot()
              ? Path.of("/run/dyad")
              : runtime != null && Files.isDirectory(Path.of(runtime)) ? Path.of(runtime, "dyad") : Path.of(System.getProperty("java.io.tmpdir"), "dyad-" + System.getProperty("user.name"));
      return new Journal(folder.resolve("nic-" + bridge + ".state"));
    }

    boolean json(CommandSpec spec) {
      return switch (output) {
        case "json" -> true;
        case "text" -> false;
        default -> throw new ParameterException(spec.commandLine(), "-o " + output + ": text or json");
      };
    }
  }

  /** What is to be there. */
  static final class Wanted {
    @Option(names = "--taps", paramLabel = "N", defaultValue = "2", description = "TAP devices (${DEFAULT-VALUE}: the primary's and the standby's).")
    int taps = 2;

    @Option(names = "--address", paramLabel = "CIDR", description = "Address of this host on the bridge, such as 10.77.0.1/24.")
    @Nullable String address;

    @Option(names = "--netns", paramLabel = "NAME", description = "Put everything into this network namespace.")
    @Nullable String netns;

    @Option(names = "--userns", description = "Put everything into a user and network namespace of its own: needs no root.")
    boolean userns;

    TapPlan plan(Target target, CommandSpec spec) {
      try {
        return new TapPlan(taps, target.bridge, address, netns, userns);
      } catch (IllegalArgumentException e) {
        throw new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
      }
    }
  }

  @Command(name = "plan", description = "Show the commands that apply would run, what is there already, and how each is undone.", mixinStandardHelpOptions = true)
  static final class PlanCommand implements Callable<Integer> {
    @Spec private @Nullable CommandSpec spec;
    @Mixin private Target target = new Target();
    @Mixin private Wanted wanted = new Wanted();

    @Override
    public Integer call() {
      CommandSpec at = Objects.requireNonNull(spec);
      TapPlan plan = wanted.plan(target, at);
      boolean json = target.json(at);
      Holder holder = target.journal().holder();
      boolean entered = !plan.userns() || holder.isAlive();
      PrintWriter out = at.commandLine().getOut();
      List<String> rows = new ArrayList<>();
      for (Step step : plan.steps()) {
        boolean there = entered && (step.startsHolder() || Setup.isThere(step, Long.toString(holder.pid())));
        rows.add(
            json
                ? "{\"step\":"
                    + Json.write(step.name())
                    + ",\"there\":"
                    + there
                    + ",\"apply\":"
                    + Json.write(step.apply())
                    + ",\"check\":"
                    + Json.write(step.check())
                    + ",\"undo\":"
                    + Json.write(step.undo())
                    + "}"
                : (there ? "there  " : "to do  ")
                    + Commands.shown(step.apply())
                    + (step.undo().isEmpty() ? "" : "\n         undo: " + Commands.shown(step.undo())));
      }
      if (json) {
        out.println("{\"needsRoot\":" + !plan.userns() + ",\"prefix\":" + Json.write(plan.prefix()) + ",\"steps\":[" + String.join(",", rows) + "]}");
      } else {
        rows.forEach(out::println);
        if (!plan.userns() && !NetworkLab.isRoot()) {
          out.println("apply needs root; without it: add --userns");
        }
      }
      out.flush();
      return ExitCode.OK;
    }
  }

  @Command(name = "apply", description = "Make what is not there yet.", mixinStandardHelpOptions = true)
  static final class ApplyCommand implements Callable<Integer> {
    @Spec private @Nullable CommandSpec spec;
    @Mixin private Target target = new Target();
    @Mixin private Wanted wanted = new Wanted();

    @Override
    public Integer call() {
      CommandSpec at = Objects.requireNonNull(spec);
      TapPlan plan = wanted.plan(target, at);
      boolean json = target.json(at);
      if (!plan.userns() && !NetworkLab.isRoot()) {
        throw new CommandFailure(
            ExitCode.PERMISSION,
            "not root: '"
                + Commands.shown(plan.steps().getFirst().apply())
                + "' and what follows need CAP_NET_ADMIN; run it as root, or add --userns to put the devices into a namespace of your own");
      }
      Journal journal = target.journal();
      List<Setup.Report> reports = failing(() -> new Setup(journal).apply(plan.steps()));
      List<String> prefix = Holder.with(plan.prefix(), Long.toString(journal.holder().pid()));
      if (json) {
        at.commandLine().getOut().println("{\"state\":" + Json.write(journal.path().toString()) + ",\"prefix\":" + Json.write(prefix) + ",\"steps\":" + Json.write(facts(reports)) + "}");
      } else {
        print(at, reports);
        at.commandLine().getOut().println("run programs there with: " + (prefix.isEmpty() ? "(nothing in front)" : Commands.shown(prefix) + " COMMAND"));
      }
      at.commandLine().getOut().flush();
      return ExitCode.OK;
    }
  }

  @Command(name = "revert", description = "Undo exactly what apply did.", mixinStandardHelpOptions = true)
  static final class RevertCommand implements Callable<Integer> {
    @Spec private @Nullable CommandSpec spec;
    @Mixin private Target target = new Target();

    @Override
    public Integer call() {
      CommandSpec at = Objects.requireNonNull(spec);
      boolean json = target.json(at);
      Journal journal = target.journal();
      List<Setup.Report> reports = journal.exists() ? failing(() -> new Setup(journal).revert()) : List.of();
      if (json) {
        at.commandLine().getOut().println("{\"state\":" + Json.write(journal.path().toString()) + ",\"steps\":" + Json.write(facts(reports)) + "}");
      } else if (reports.isEmpty()) {
        at.commandLine().getOut().println("nothing to undo (no state in " + journal.path() + ")");
      } else {
        print(at, reports);
      }
      at.commandLine().getOut().flush();
      return ExitCode.OK;
    }
  }

  private static List<Map<String, Object>> facts(List<Setup.Report> reports) {
    return reports.stream()
        .map(report -> Map.<String, Object>of("step", report.step(), "outcome", report.outcome().name().toLowerCase(Locale.ROOT), "command", report.command()))
        .toList();
  }

  private static void print(CommandSpec at, List<Setup.Report> reports) {
    for (Setup.Report report : reports) {
      at.commandLine().getOut().printf("%-8s %-28s %s%n", report.outcome().name().toLowerCase(Locale.ROOT), report.step(), report.command());
    }
  }

  private static List<Setup.Report> failing(Supplier<List<Setup.Report>> work) {
    try {
      return work.get();
    } catch (IllegalArgumentException e) {
      throw new CommandFailure(ExitCode.DATA, String.valueOf(e.getMessage()));
    } catch (IllegalStateException e) {
      String said = String.valueOf(e.getMessage());
      throw new CommandFailure(said.contains("not permitted") || said.contains("no namespace") ? ExitCode.PERMISSION : ExitCode.UNAVAILABLE, said);
    }
  }
}
