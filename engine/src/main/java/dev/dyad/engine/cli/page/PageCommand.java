package dev.dyad.engine.cli.page;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.DurationConverter;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.StopSignal;
import java.io.IOException;
import java.io.PrintWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad page}: the nodes of this user on this host, in a browser. On loopback only: the page has no login. */
@Command(
    name = "page",
    mixinStandardHelpOptions = true,
    description = "Serve a live page of the nodes on this host to a browser on this host.",
    footer = {"", "From elsewhere: ssh -L 7480:127.0.0.1:7480 HOST"})
public final class PageCommand implements Callable<Integer> {
  @Option(names = "--port", paramLabel = "PORT", defaultValue = "7480", description = "on 127.0.0.1 (default ${DEFAULT-VALUE}; 0 takes a free one)")
  private int port;

  @Option(names = "--interval", paramLabel = "TIME", defaultValue = "500ms", converter = DurationConverter.class, description = "between two looks (default ${DEFAULT-VALUE})")
  private long intervalNanos;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws InterruptedException {
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    if (port < 0 || port > 65_535) {
      throw new CommandFailure(ExitCode.USAGE, "port " + port + ": 0 to 65535");
    }
    InetSocketAddress listen = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
    try (StopSignal stop = new StopSignal();
        StatusPage page = new StatusPage(listen, Math.max(50, intervalNanos / 1_000_000))) {
      out.println("http://127.0.0.1:" + page.address().getPort() + "/  (Ctrl-C ends)");
      out.flush();
      stop.await();
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "port " + port + " of 127.0.0.1 cannot be listened on (" + e.getMessage() + "): choose another with --port");
    }
    return ExitCode.OK;
  }
}
