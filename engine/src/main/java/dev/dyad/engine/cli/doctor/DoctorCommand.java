package dev.dyad.engine.cli.doctor;

import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad doctor}: what this host has of what Dyad uses, and what follows from what it has not. Changes nothing. */
@Command(
    name = "doctor",
    mixinStandardHelpOptions = true,
    description = "Check this host: what is there, what is needed, what follows, what to run. Changes nothing.",
    footer = {"", "Exit code: 0, or 1 when a command of Dyad cannot work on this host."})
public final class DoctorCommand implements Callable<Integer> {
  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() {
    List<Finding> findings = examine(new HostFiles(Path.of("/")));
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    if (output == OutputFormat.json) {
      Map<String, Object> report = new LinkedHashMap<>();
      report.put("ok", count(findings, Finding.Level.MISSING) == 0);
      report.put("missing", count(findings, Finding.Level.MISSING));
      report.put("limited", count(findings, Finding.Level.LIMITED));
      report.put("findings", findings.stream().map(Finding::toMap).toList());
      out.println(Json.write(report));
    } else {
      findings.forEach(finding -> out.print(finding.toText()));
      out.println(summary(findings));
    }
    out.flush();
    return count(findings, Finding.Level.MISSING) == 0 ? ExitCode.OK : ExitCode.FINDING;
  }

  private static List<Finding> examine(HostFiles files) {
    List<Finding> findings = new ArrayList<>(KvmChecks.all(files));
    findings.addAll(MemoryChecks.all(files));
    findings.addAll(TracingChecks.all(files));
    findings.addAll(ClockChecks.all(files));
    findings.addAll(IoChecks.all(files));
    findings.addAll(JavaChecks.all());
    return findings;
  }

  private static String summary(List<Finding> findings) {
    long missing = count(findings, Finding.Level.MISSING);
    long limited = count(findings, Finding.Level.LIMITED);
    return missing == 0 && limited == 0 ? "everything is there" : missing + " missing, " + limited + " limited, " + count(findings, Finding.Level.OK) + " as it should be";
  }

  private static long count(List<Finding> findings, Finding.Level level) {
    return findings.stream().filter(finding -> finding.level() == level).count();
  }
}
