package dev.dyad.perf.kvm;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import dev.dyad.perf.Baseline;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad perf kvm}. */
@Command(
    name = "kvm",
    mixinStandardHelpOptions = true,
    description = "Epochs of a microVM between two processes: pause, commit and rate, beside a C program that makes the same epochs of the same guest.")
public final class KvmPerfCommand implements Callable<Integer> {
  private static final int EPOCHS = 10_000;
  private static final int SHORT_EPOCHS = 1_000;
  private static final int USUAL_MIB = 256;
  private static final long USUAL_PAGES = 1000;

  @Option(names = "--pages", paramLabel = "N", split = ",", defaultValue = "10,100,1000,10000", description = "pages written in each epoch (default ${DEFAULT-VALUE})")
  private List<Long> pages = List.of();

  @Option(names = "--memory-mib", paramLabel = "N", split = ",", defaultValue = "64,256,1024,8192", description = "sizes of the guest (default ${DEFAULT-VALUE})")
  private List<Integer> memory = List.of();

  @Option(names = "--vcpus", paramLabel = "N", split = ",", defaultValue = "1,2,4", description = "numbers of vCPUs (default ${DEFAULT-VALUE})")
  private List<Integer> vcpus = List.of();

  @Option(names = "--all", description = "every combination of these; without it one of them is varied at a time, the others at 1,000 pages, 256 MiB, 1 vCPU")
  private boolean all;

  @Option(names = "--epochs", paramLabel = "N", description = "measured epochs of each case and side (default 10000; 1000 in the short form)")
  private int epochs;

  @Option(names = "--rounds", paramLabel = "N", description = "how often C and ours take turns in a case (default 4; 2 in the short form)")
  private int rounds;

  @Option(names = "--short", description = "few epochs: quantiles above the median are rough")
  private boolean quick;

  @Option(names = "--spins", paramLabel = "N", defaultValue = "0", description = "turns that both sides spin before they sleep, for hosts with cores to spare (default ${DEFAULT-VALUE})")
  private int spins;

  @Option(names = "--variants", paramLabel = "NAME", split = ",", description = "ours with a technique changed, in the same rounds: ${COMPLETION-CANDIDATES}")
  private Set<Variant> variants = EnumSet.noneOf(Variant.class);

  @Option(names = "--plot", paramLabel = "DIR", defaultValue = ".", description = "where the plots go (default: the current directory)")
  private Path plot = Path.of(".");

  @Option(names = "--baseline", paramLabel = "FILE", description = "compare the ratios with those kept there; refused for another machine's")
  private @Nullable Path baseline;

  @Option(names = "--save-baseline", paramLabel = "FILE", description = "keep this run's ratios there")
  private @Nullable Path saved;

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws IOException {
    String unusable = Kvm.unusable();
    if (!unusable.isEmpty()) {
      throw new CommandFailure(ExitCode.PERMISSION, unusable);
    }
    Baseline before = baseline == null ? null : Baseline.open(baseline);
    CommandLine commandLine = Objects.requireNonNull(spec).commandLine();
    PrintWriter out = commandLine.getOut();
    PrintWriter err = commandLine.getErr();
    PrintWriter rows = output == OutputFormat.json ? err : out; // each case as it comes; a program gets the object alone, at the end
    rows.println(head());
    int wantedRounds = rounds > 0 ? rounds : quick ? 2 : 4;
    KvmPerf.Options options =
        new KvmPerf.Options(cases(), epochs > 0 ? epochs : quick ? SHORT_EPOCHS : EPOCHS, quick ? 100 : 500, wantedRounds, quick ? 3 : 15, spins, variants);
    Map<String, Object> report;
    try {
      report = new LinkedHashMap<>(new KvmPerf(options, line -> {
        err.println(line);
        err.flush();
      }, one -> {
        rows.print(rows(Json.parse(Json.write(one))));
        rows.flush();
      }).run());
    } catch (IllegalStateException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    }
    Json parsed = Json.parse(Json.write(report));
    Map<String, Double> figures = ratios(parsed);
    if (before != null) {
      report.put("overBaseline", before.ratios(figures));
    }
    if (saved != null) {
      Baseline.save(saved, figures);
    }
    report.put("plots", KvmPlots.write(parsed, plot).stream().map(Path::toString).toList());
    out.println(output == OutputFormat.json ? Json.write(report) : end(report));
    out.flush();
    return ExitCode.OK;
  }

  private List<KvmCase> cases() {
    List<KvmCase> cases = new ArrayList<>();
    int mib = memory.contains(USUAL_MIB) ? USUAL_MIB : memory.getFirst();
    long usual = pages.contains(USUAL_PAGES) ? USUAL_PAGES : pages.getFirst();
    int cpus = vcpus.getFirst();
    for (long page : new TreeSet<>(pages)) {
      for (int size : new TreeSet<>(memory)) {
        for (int cpu : new TreeSet<>(vcpus)) {
          int varied = (page == usual ? 0 : 1) + (size == mib ? 0 : 1) + (cpu == cpus ? 0 : 1);
          if (all || varied <= 1) {
            cases.add(checked(new KvmCase(page, size, cpu)));
          }
        }
      }
    }
    return cases;
  }

  private static KvmCase checked(KvmCase wanted) {
    if (wanted.vcpus() < 1 || wanted.pages() < wanted.vcpus() || (wanted.pages() >> 8) + 17 > wanted.memoryMib()) {
      throw new CommandFailure(ExitCode.USAGE, wanted + " is no guest; needed are a page for each vCPU, and 17 MiB of memory besides the pages");
    }
    return wanted;
  }

  private static Map<String, Double> ratios(Json report) {
    Map<String, Double> figures = new LinkedHashMap<>();
    for (Json one : report.get("cases").elements()) {
      for (String name : List.of("pauseP50", "pauseP99")) {
        figures.put(name + "OverC " + one.get("pages") + "/" + one.get("memoryMiB") + "/" + one.get("vcpus"), number(one.get("ratios"), name));
      }
    }
    return figures;
  }

  private static String head() {
    return String.format(Locale.ROOT, "%6s %6s %5s | %9s %9s %9s %7s | %9s %9s %9s %7s | %6s %6s",
        "pages", "MiB", "vCPUs", "ours p50", "p99", "commit", "epoch/s", "C p50", "p99", "commit", "epoch/s", "p50:C", "p99:C");
  }

  /** A case: its ratios, the parts of both sides, and each variant. */
  private static String rows(Json one) {
    StringBuilder out = new StringBuilder();
    String name = String.format(Locale.ROOT, "%6s %6s %5s ", one.get("pages"), one.get("memoryMiB"), one.get("vcpus"));
    out.append(String.format(Locale.ROOT, "%s|%s |%s | %6.2f %6.2f%n", name, side(one.get("ours")), side(one.get("c")),
        number(one.get("ratios"), "pauseP50"), number(one.get("ratios"), "pauseP99")));
    for (String side : List.of("ours", "c")) {
      out.append(String.format(Locale.ROOT, "%s%-4s p50 of the parts: %s; max of the pause %.1f%n", name, side,
          List.of("stop", "scan", "copy", "state", "resume").stream()
              .map(part -> String.format(Locale.ROOT, "%s %.1f", part, number(one.get(side).get(part + "Micros"), "p50"))).collect(Collectors.joining(", ")),
          number(one.get(side).get("pauseMicros"), "max")));
    }
    for (Variant variant : Variant.values()) {
      Json other = one.get("variants").get(variant.name());
      if (!other.isAbsent()) {
        out.append(String.format(Locale.ROOT, "%s|%s | %s: writes/s %s, usual %s%n", name, side(other), variant,
            other.get("guestWritesPerSecond"), one.get("ours").get("guestWritesPerSecond")));
      }
    }
    return out.toString();
  }

  private static String end(Map<String, Object> report) {
    Object over = report.get("overBaseline");
    return "times in µs; goals: " + Json.write(report.get("goals")) + (over == null ? "" : System.lineSeparator() + "over the baseline: " + Json.write(over));
  }

  private static String side(Json of) {
    return String.format(Locale.ROOT, " %9.1f %9.1f %9.1f %7.0f", number(of.get("pauseMicros"), "p50"), number(of.get("pauseMicros"), "p99"),
        number(of.get("commitMicros"), "p50"), number(of, "epochsPerSecond"));
  }

  private static double number(Json json, String name) {
    return Double.parseDouble(json.get(name).toString());
  }
}
