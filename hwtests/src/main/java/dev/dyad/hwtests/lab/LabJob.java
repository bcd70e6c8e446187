package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** A command or class that runs, or ran, inside a lab host. Its output appears here while it runs. */
public final class LabJob {
  private static final int POLL_MILLIS = 10;
  private static final Duration FOLLOW = Duration.ofMillis(200);

  private final LabHost host;
  private final String id;
  private final String command;
  private final Path out;
  private final Path err;
  final CompletableFuture<Integer> exit = new CompletableFuture<>();

  /** The process that runs it, if it has none of its own; ends with it. */
  final @Nullable LabJob within;

  LabJob(LabHost host, String id, String command, Path results, @Nullable LabJob within) {
    this.host = host;
    this.id = id;
    this.within = within;
    // A class path says little; the words after it do.
    this.command = command.replaceAll(" -cp \\S+", "");
    out = results.resolve(id + ".out");
    err = results.resolve(id + ".err");
  }

  String id() {
    return id;
  }

  /** Waits for the command's end and gives its exit code. */
  public int await(Duration timeout) throws IOException {
    long deadline = System.nanoTime() + timeout.toNanos();
    while (!endsWithin(Duration.ofNanos(Math.clamp(deadline - System.nanoTime(), 0, FOLLOW.toNanos())))) {
      host.requireKernels();
      if (System.nanoTime() - deadline >= 0) {
        throw new IOException("no end within " + timeout.toMillis() + " ms: " + this);
      }
    }
    try {
      return exit.get();
    } catch (ExecutionException e) {
      throw new IOException(e.getCause() == null ? "no result" : e.getCause().getMessage() + ": " + this, e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted: " + this, e);
    }
  }

  /** Waits for the end and insists on exit code 0; gives the standard output. */
  public String succeed(Duration timeout) throws IOException {
    int code = await(timeout);
    if (code != 0) {
      throw new IOException("exit code " + code + ": " + this);
    }
    return output();
  }

  /** Waits for the end and passes on what the command prints while it prints it; gives the exit code. */
  public int follow(OutputStream output, OutputStream errors, Duration timeout) throws IOException {
    long deadline = System.nanoTime() + timeout.toNanos();
    long shown = 0;
    long shownErrors = 0;
    while (true) {
      boolean ended = endsWithin(FOLLOW);
      host.requireKernels();
      shown += passOn(out, shown, output);
      shownErrors += passOn(err, shownErrors, errors);
      if (ended) {
        return await(Duration.ZERO);
      }
      if (System.nanoTime() - deadline > 0) {
        throw new IOException("no end within " + timeout.toSeconds() + " s: " + command);
      }
    }
  }

  private static long passOn(Path file, long from, OutputStream to) throws IOException {
    if (!Files.exists(file)) {
      return 0;
    }
    try (var in = Files.newInputStream(file)) {
      in.skipNBytes(from);
      long count = in.transferTo(to);
      to.flush();
      return count;
    }
  }

  /** Waits until the standard output matches; fails at once when the command ends without it. */
  public Matcher awaitOutput(String regex, Duration timeout) throws IOException {
    return awaitIn(out, regex, timeout);
  }

  /** As {@link #awaitOutput}, in what it says on its standard error. */
  public Matcher awaitErrors(String regex, Duration timeout) throws IOException {
    return awaitIn(err, regex, timeout);
  }

  private Matcher awaitIn(Path file, String regex, Duration timeout) throws IOException {
    var pattern = Pattern.compile(regex, Pattern.MULTILINE);
    long deadline = System.nanoTime() + timeout.toNanos();
    while (true) {
      boolean ended = exit.isDone();
      host.requireKernels();
      var matcher = pattern.matcher(text(file));
      if (matcher.find()) {
        return matcher;
      }
      if (ended) {
        throw new IOException("ended without \"" + regex + "\": " + this);
      }
      if (System.nanoTime() - deadline > 0) {
        throw new IOException("no \"" + regex + "\" within " + timeout.toMillis() + " ms: " + this);
      }
      try {
        Thread.sleep(POLL_MILLIS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted: " + this, e);
      }
    }
  }

  /** What it has printed so far. Throws when the kernel of a host of the lab has died, so that nobody goes on looking for more. */
  public String output() throws IOException {
    host.requireKernels();
    return text(out);
  }

  /** As {@link #output}, what it has said on its standard error. */
  public String errors() throws IOException {
    host.requireKernels();
    return text(err);
  }

  private static String text(Path file) throws IOException {
    return Files.exists(file) ? Files.readString(file, StandardCharsets.UTF_8) : "";
  }

  public boolean hasEnded() {
    return exit.isDone();
  }

  /** Whether it has ended, or does so soon. */
  boolean endsWithin(Duration time) {
    try {
      exit.get(time.toMillis(), TimeUnit.MILLISECONDS);
      return true;
    } catch (TimeoutException e) {
      return false;
    } catch (ExecutionException e) {
      return true; // its host is gone
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** What a signal goes to. */
  LabJob process() {
    return within == null ? this : within;
  }

  /** Sends a signal, such as {@code KILL}, {@code STOP} or {@code CONT}, to the command and all that it started. */
  public void signal(String name) throws IOException {
    if (!exit.isDone()) {
      host.send(process().id + " kill " + name);
    }
  }

  private static String tail(@Nullable String text) {
    return text == null ? "" : text.length() > 4000 ? "…" + text.substring(text.length() - 4000) : text;
  }

  @Override
  public String toString() {
    try {
      return "[" + command + "] on lab host " + host.number() + "\n--- output\n" + tail(text(out)) + "\n--- errors\n" + tail(text(err));
    } catch (IOException e) {
      return "[" + command + "] on lab host " + host.number() + " (output cannot be read: " + e.getMessage() + ")";
    }
  }
}
