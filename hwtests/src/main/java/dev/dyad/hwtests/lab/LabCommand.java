package dev.dyad.hwtests.lab;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.CacheFolder;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.IModelTransformer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code dyad lab up|run|down|fault}: a lab that stays up between commands; its state is a folder in the user's cache. */
@Command(
    name = "lab",
    mixinStandardHelpOptions = true,
    description = "Two virtual hosts with RDMA devices, to try things that need two servers.",
    synopsisSubcommandLabel = "up|run|fault|down")
public final class LabCommand implements Runnable {
  /** Less than this and the kernel has no room for a Java process. */
  private static final int MEMORY_MIB_MIN = 512;

  private static final int CPUS_MAX = 64;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public void run() {
    if (spec != null) {
      throw new ParameterException(spec.commandLine(), "one of up, run, fault, down is needed");
    }
  }

  /** {@code up/c1}, {@code up/console1.log}, …: beside the cached images. */
  private static Path folder() {
    return CacheFolder.path().resolve("lab").resolve("up");
  }

  /** Locked by who boots or ends a lab; the kernel lets go of it, however he ends. What it says is his number. */
  private static FileChannel lock() throws IOException {
    var file = folder().resolveSibling("up.lock");
    Files.createDirectories(file.resolveSibling("."));
    var channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    if (channel.tryLock() == null) {
      channel.close();
      throw new CommandFailure(ExitCode.UNAVAILABLE, "process " + Files.readString(file).strip() + " is booting or ending the lab: wait for it, or end it, and try again");
    }
    channel.truncate(0).write(ByteBuffer.wrap((ProcessHandle.current().pid() + "\n").getBytes(StandardCharsets.UTF_8)));
    return channel;
  }

  @Command(name = "up", mixinStandardHelpOptions = true, description = "Boots both hosts and leaves them running.")
  int up(@Option(names = "--memory", paramLabel = "MIB", defaultValue = "1024", description = "memory of each host (default: ${DEFAULT-VALUE})") int memoryMib,
      @Option(names = "--cpus", defaultValue = "1", description = "processors of each host (default: ${DEFAULT-VALUE})") int cpus,
      @Option(names = "--kvm", description = "with /dev/kvm in both, for virtual machines inside them") boolean kvm) throws IOException {
    if (memoryMib < MEMORY_MIB_MIN) {
      throw new CommandFailure(ExitCode.USAGE, "--memory " + memoryMib + ": a host needs " + MEMORY_MIB_MIN + " MiB at least");
    }
    if (cpus < 1 || cpus > CPUS_MAX) {
      throw new CommandFailure(ExitCode.USAGE, "--cpus " + cpus + ": 1 to " + CPUS_MAX + " are possible");
    }
    long start = System.nanoTime();
    try (var _ = lock()) {
      if (Lab.isUp(folder())) {
        throw new CommandFailure(ExitCode.UNAVAILABLE, "a lab is up already (" + folder() + "): run 'dyad lab down' first");
      }
      clear(); // of what an 'up' left that was killed
      var config = new LabConfig(2, memoryMib, cpus);
      config.requireTools();
      var image = LabImage.obtain();
      Files.createDirectories(folder());
      var lab = Lab.boot(config, image, folder());
      if (kvm) {
        for (var host : lab.hosts()) {
          host.loadKvm();
        }
      }
      lab.detach();
      System.out.printf("2 hosts ready in %.1f s: %s and %s%n", (System.nanoTime() - start) / 1e9, lab.host(1).address(), lab.host(2).address());
      return ExitCode.OK;
    } catch (GuestUnavailableException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    }
  }

  private static void clear() throws IOException {
    LabProcesses.end(folder());
    CacheFolder.deleteTree(folder());
  }

  @Command(name = "down", mixinStandardHelpOptions = true, description = "Ends both hosts and deletes what they left.")
  int down() throws IOException {
    try (var _ = lock()) {
      clear();
      return ExitCode.OK;
    }
  }

  /** What follows the first word is that command's own, options too. */
  static final class WordsOfACommand implements IModelTransformer {
    @Override
    public CommandSpec transform(CommandSpec run) {
      run.parser().stopAtPositional(true);
      return run;
    }
  }

  @Command(name = "run", mixinStandardHelpOptions = true, modelTransformer = WordsOfACommand.class,
      description = {"Runs a dyad command in both hosts, or with --shell a shell command.",
          "Each finds its own number and address, and the other's, in LAB_NUMBER, LAB_ADDRESS and LAB_PEER. Printed is what host 1 prints, unless --host says otherwise."})
  int run(@Option(names = "--host", defaultValue = "0", description = "1 or 2: only there") int only,
      @Option(names = "--shell", description = "the words are a shell command") boolean shell,
      @Option(names = "--timeout", paramLabel = "SECONDS", defaultValue = "600", description = "bound for the whole (default: ${DEFAULT-VALUE})") int seconds,
      @Parameters(arity = "1..*", paramLabel = "WORD") List<String> words) throws IOException {
    if (only != 0) {
      requireNumber(only);
    }
    var hosts = new ArrayList<LabHost>();
    var jobs = new ArrayList<LabJob>();
    try {
      for (int number = 1; number <= 2; number++) {
        if (only == 0 || only == number) {
          var host = attach(number);
          hosts.add(host);
          var command = shell ? String.join(" ", words) : JavaCommand.of(Dyad.class, List.of(), words);
          jobs.add(host.start("export LAB_PEER=" + LabHost.NETWORK + (3 - number) + "; " + command));
        }
      }
      // An interrupt here is one for what runs there.
      Runtime.getRuntime().addShutdownHook(new Thread(() -> jobs.forEach(LabCommand::end), "lab-run-end"));
      var shown = jobs.getFirst();
      int code = shown.follow(System.out, System.err, Duration.ofSeconds(seconds));
      for (var job : jobs) {
        if (!job.hasEnded()) {
          job.signal("TERM");
          job.await(Duration.ofSeconds(10));
        }
      }
      return code;
    } finally {
      jobs.forEach(LabCommand::end);
      for (var host : hosts) {
        host.detach();
      }
    }
  }

  private static void end(LabJob job) {
    try {
      job.signal("TERM");
    } catch (IOException e) {
      System.err.println("dyad: " + job.id() + " may still run in the lab: " + e.getMessage());
    }
  }

  @Command(name = "fault", mixinStandardHelpOptions = true, description = {"Does something bad to a host, or takes it back:",
      "kill, freeze, thaw, suspend, resume, cut, heal, netem SPEC, calm, jump SECONDS"})
  int fault(@Option(names = "--host", required = true, description = "1 or 2") int number,
      @Parameters(arity = "1..*", paramLabel = "WORD") List<String> words) throws IOException {
    requireNumber(number);
    var rest = String.join(" ", words.subList(1, words.size()));
    Fault fault = switch (words.getFirst()) {
      case "kill" -> LabHost::kill;
      case "freeze" -> LabHost::freeze;
      case "thaw" -> LabHost::thaw;
      case "suspend" -> LabHost::suspend;
      case "resume" -> LabHost::resume;
      case "cut" -> host -> host.setLink(false);
      case "heal" -> host -> host.setLink(true);
      case "netem" -> host -> netem(host, rest);
      case "calm" -> host -> netem(host, "");
      case "jump" -> {
        var by = Duration.ofSeconds(seconds(rest));
        yield host -> host.jumpClock(by);
      }
      default -> throw new CommandFailure(ExitCode.USAGE, "no such fault: " + words.getFirst() + "; see 'dyad lab fault --help'");
    };
    var host = attach(number);
    try {
      fault.happenTo(host);
      return ExitCode.OK;
    } finally {
      host.detach();
    }
  }

  @FunctionalInterface
  private interface Fault {
    void happenTo(LabHost host) throws IOException;
  }

  private static void requireNumber(int number) {
    if (number != 1 && number != 2) {
      throw new CommandFailure(ExitCode.USAGE, "--host " + number + ": a lab has the hosts 1 and 2");
    }
  }

  private static long seconds(String text) {
    try {
      return Long.parseLong(text);
    } catch (NumberFormatException e) {
      throw new CommandFailure(ExitCode.USAGE, "jump " + text + ": a number of seconds is needed, such as jump 3600 or jump -60");
    }
  }

  private static void netem(LabHost host, String what) throws IOException {
    var problem = host.tryNetem(what);
    if (!problem.isEmpty()) {
      throw new CommandFailure(ExitCode.USAGE, "netem " + what + ": " + problem + " (man tc-netem)");
    }
  }

  private static LabHost attach(int number) throws IOException {
    var process = Lab.isUp(folder()) ? LabProcesses.of(folder(), number) : Optional.<ProcessHandle>empty();
    var consoles = new LabConsoles(folder());
    if (process.isEmpty()) {
      var death = consoles.death();
      throw new CommandFailure(ExitCode.UNAVAILABLE, death.isEmpty() ? "lab host " + number + " is not up: run 'dyad lab up' first"
          : death + "; run 'dyad lab down', then 'dyad lab up'");
    }
    return LabHost.attach(number, folder(), consoles, process.get());
  }
}
