package dev.dyad.engine.cli;

import dev.dyad.engine.cli.disk.DiskCommand;
import dev.dyad.engine.cli.doctor.DoctorCommand;
import dev.dyad.engine.cli.page.PageCommand;
import dev.dyad.engine.cli.top.TopCommand;
import dev.dyad.engine.node.NotStartedException;
import java.util.Comparator;
import java.util.ServiceLoader;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * Entry of the command line: gathers the commands of all modules and runs one.
 *
 * <p>What every command keeps to: an error is one line on standard error (what was found, what is needed, what to run), and the
 * exit code is one of {@link ExitCode}.
 */
@Command(
    name = "dyad",
    mixinStandardHelpOptions = true,
    version = "dyad 0.1.0",
    description = "One virtual machine on two hosts: it goes on when either of them dies.",
    synopsisSubcommandLabel = "COMMAND",
    usageHelpAutoWidth = true)
public final class Dyad implements Runnable {
  @Spec private @Nullable CommandSpec spec;

  @Override
  public void run() {
    if (spec != null) {
      spec.commandLine().usage(System.out);
    }
  }

  /** The whole command line, with the commands of every module on the class path. */
  public static CommandLine commandLine() {
    CommandLine root = new CommandLine(new Dyad());
    Stream<Object> own =
        Stream.of(
            new AttachCommand(), new DiskCommand(), new DoctorCommand(), new PageCommand(), new ProtectCommand(), new StandbyCommand(), new StatusCommand(), new TopCommand());
    Stream<Object> others = ServiceLoader.load(CommandProvider.class).stream().flatMap(provider -> provider.get().commands().stream());
    // Reading a command's annotations is what takes longest of a start: once for each.
    Stream.concat(own, others).map(CommandLine::new).sorted(Comparator.comparing(CommandLine::getCommandName)).forEach(root::addSubcommand);
    root.setParameterExceptionHandler(Dyad::reportUsage);
    root.setExecutionExceptionHandler(Dyad::reportFailure);
    return root;
  }

  public static void main(String[] args) {
    logInOneLine();
    int code = commandLine().execute(args);
    System.out.flush();
    System.exit(code);
  }

  /** One line an event, without the class that told it; {@code -Djava.util.logging.config.file} still decides all of it. */
  private static void logInOneLine() {
    String key = "java.util.logging.SimpleFormatter.format";
    if (System.getProperty(key) == null) {
      System.setProperty(key, "%1$tF %1$tT %4$s %3$s: %5$s%6$s%n");
    }
  }

  private static int reportUsage(ParameterException problem, String[] args) {
    CommandLine at = problem.getCommandLine();
    at.getErr().println("dyad: " + oneLine(problem.getMessage()) + "; see '" + at.getCommandSpec().qualifiedName() + " --help'");
    return ExitCode.USAGE;
  }

  private static int reportFailure(Exception problem, CommandLine at, CommandLine.ParseResult parsed) {
    String text = problem.getMessage() == null ? problem.toString() : problem.getMessage();
    at.getErr().println("dyad: " + oneLine(text));
    if (Boolean.getBoolean("dyad.trace")) {
      problem.printStackTrace(at.getErr());
    }
    return exitCode(problem);
  }

  private static int exitCode(Exception problem) {
    return switch (problem) {
      case CommandFailure failure -> failure.exitCode();
      case NotStartedException refused ->
          switch (refused.obstacle()) {
            case UNAVAILABLE -> ExitCode.UNAVAILABLE;
            case PERMISSION -> ExitCode.PERMISSION;
            case HELD_ELSEWHERE -> ExitCode.FENCED;
          };
      case IllegalArgumentException refused -> ExitCode.DATA;
      default -> ExitCode.SOFTWARE;
    };
  }

  private static String oneLine(@Nullable String text) {
    return String.valueOf(text).strip().replaceAll("\\s*\\R\\s*", "; ");
  }
}
