package dev.dyad.engine.cli.top;

import dev.dyad.engine.cli.DurationConverter;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.StopSignal;
import dev.dyad.engine.node.NodeSnapshot;
import dev.dyad.engine.observe.RuntimeDirectory;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.LocalTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code dyad top}: the nodes of this user on this host, live. In place on a terminal, else a line for each node and interval. */
@Command(
    name = "top",
    mixinStandardHelpOptions = true,
    description = "Watch the nodes on this host: role, protected or why not, epochs, pauses, pages, bytes, held packets. q or Ctrl-C ends.",
    footer = {"", "Exit code: 0, or 69 when no node was ever seen."})
public final class TopCommand implements Callable<Integer> {
  private static final DateTimeFormatter CLOCK = DateTimeFormatter.ofPattern("HH:mm:ss");
  private static final long KEYS_NANOS = 50_000_000L;

  @Parameters(arity = "0..1", paramLabel = "NAME", description = "show this machine only: its name, or the process id of its node")
  private @Nullable String wanted;

  @Option(names = "--interval", paramLabel = "TIME", defaultValue = "1s", converter = DurationConverter.class, description = "between two looks (default ${DEFAULT-VALUE})")
  private long intervalNanos;

  @Option(names = "--count", paramLabel = "N", defaultValue = "0", description = "end after so many looks (default: never)")
  private int count;

  @Spec private @Nullable CommandSpec spec;

  private final Map<Path, NodeSnapshot> before = new HashMap<>();
  private boolean anySeen;

  @Override
  public Integer call() throws IOException, InterruptedException {
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    try (StopSignal stop = new StopSignal()) {
      if (Terminal.isPresent()) {
        try (Terminal terminal = new Terminal(out)) {
          inPlace(terminal, stop);
        }
      } else {
        asLines(out, stop);
      }
    }
    return anySeen ? ExitCode.OK : ExitCode.UNAVAILABLE;
  }

  private void inPlace(Terminal terminal, StopSignal stop) throws IOException, InterruptedException {
    boolean quit = false;
    for (int look = 0; !quit && (count == 0 || look < count); look++) {
      long next = System.nanoTime() + intervalNanos;
      int[] size = terminal.size();
      terminal.draw(TopScreen.lines(look(), LocalTime.now().format(CLOCK), nobody(), size[1], size[0]));
      while (!quit && System.nanoTime() - next < 0) {
        Thread.sleep(Math.max(0, Math.min(KEYS_NANOS, next - System.nanoTime()) / 1_000_000));
        quit = stop.asked() || terminal.quitAsked();
      }
    }
  }

  private void asLines(PrintWriter out, StopSignal stop) throws IOException, InterruptedException {
    boolean saidNobody = false;
    for (int look = 0; !stop.asked() && !out.checkError() && (count == 0 || look < count); look++) {
      List<NodeRow> rows = look();
      String clock = LocalTime.now().format(CLOCK);
      rows.forEach(row -> out.println(clock + "  " + row.line()));
      if (rows.isEmpty() && !saidNobody) {
        out.println(clock + "  " + nobody());
      }
      saidNobody = rows.isEmpty();
      out.flush();
      long next = System.nanoTime() + intervalNanos;
      while (!stop.asked() && (count == 0 || look + 1 < count) && System.nanoTime() - next < 0) {
        Thread.sleep(Math.max(0, Math.min(KEYS_NANOS, next - System.nanoTime()) / 1_000_000));
      }
    }
  }

  private String nobody() {
    return (wanted == null ? "no node runs" : "no node of '" + wanted + "' runs") + " on this host for this user (looked in " + RuntimeDirectory.path() + ")";
  }

  private List<NodeRow> look() throws IOException {
    List<NodeRow> rows = new ArrayList<>();
    Map<Path, NodeSnapshot> seen = new HashMap<>();
    for (Path socket : RuntimeDirectory.statusSockets()) {
      try {
        NodeSnapshot now = NodeSnapshot.ask(socket);
        seen.put(socket, now);
        if (isWanted(now)) {
          rows.add(new NodeRow(now, before.get(socket)));
        }
      } catch (IOException e) {
        continue; // its node is gone
      }
    }
    before.clear();
    before.putAll(seen);
    anySeen |= !rows.isEmpty();
    rows.sort(Comparator.<NodeRow, String>comparing(row -> row.now().name()).thenComparing(row -> row.now().role()).thenComparing(row -> row.now().pid()));
    return rows;
  }

  private boolean isWanted(NodeSnapshot node) {
    return wanted == null || wanted.equals(node.name()) || wanted.equals(Long.toString(node.pid()));
  }
}
