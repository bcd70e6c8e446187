package dev.dyad.hwtests.lab;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Runs classes inside a lab host in one JVM, which stays: starting one is what takes an emulated host longest. Reads orders from its standard input
 * and says {@code ID exit CODE} on its standard output when a class's main method has returned (0) or thrown (1). What a class prints, also in
 * threads that it starts, goes to files of its own, as that of a command does.
 *
 * <p>A thread for each order; nothing here ends one. Killing this JVM does.
 */
final class LabAgent {
  private static final Path RESULTS = Path.of("/run/out");

  private static final InheritableThreadLocal<@Nullable OutputStream> OUT = new InheritableThreadLocal<>();
  private static final InheritableThreadLocal<@Nullable OutputStream> ERR = new InheritableThreadLocal<>();

  private final OutputStream control = new FileOutputStream(FileDescriptor.out);

  private LabAgent() {}

  /** One line. @param agent whose order it is: what an agent that is gone has not read is left to the next one */
  static String order(String agent, String id, Class<?> main, List<String> arguments) {
    var words = new ArrayList<>(List.of(agent, id, main.getName()));
    arguments.forEach(argument -> words.add(URLEncoder.encode(argument, StandardCharsets.UTF_8)));
    return String.join(" ", words);
  }

  public static void main(String[] args) throws IOException {
    var agent = new LabAgent();
    var own = System.err;
    System.setOut(routed(OUT, own));
    System.setErr(routed(ERR, own));
    try (var orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      @Nullable String line;
      while ((line = orders.readLine()) != null) {
        var words = line.split(" ");
        if (words.length >= 3 && words[0].equals(args[0])) {
          var arguments = Arrays.stream(words).skip(3).map(word -> URLDecoder.decode(word, StandardCharsets.UTF_8)).toArray(String[]::new);
          new Thread(() -> agent.carryOut(words[1], words[2], arguments), words[1]).start();
        }
      }
    }
  }

  private void carryOut(String id, String main, String[] arguments) {
    int code = 1;
    try (var out = Files.newOutputStream(RESULTS.resolve(id + ".out")); var err = Files.newOutputStream(RESULTS.resolve(id + ".err"))) {
      OUT.set(out);
      ERR.set(err);
      code = call(main, arguments);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } finally {
      say(id + " exit " + code + "\n");
    }
  }

  private static int call(String main, String[] arguments) {
    try {
      var method = Class.forName(main).getDeclaredMethod("main", String[].class);
      method.setAccessible(true);
      method.invoke(null, (Object) arguments);
      return 0;
    } catch (ReflectiveOperationException e) {
      var thrown = e instanceof InvocationTargetException && e.getCause() != null ? e.getCause() : e;
      thrown.printStackTrace();
      return 1;
    }
  }

  private synchronized void say(String line) {
    try {
      control.write(line.getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static PrintStream routed(ThreadLocal<@Nullable OutputStream> target, PrintStream otherwise) {
    return new PrintStream(new OutputStream() {
      private OutputStream target() {
        var own = target.get();
        return own == null ? otherwise : own;
      }

      @Override
      public void write(int b) throws IOException {
        target().write(b);
      }

      @Override
      public void write(byte[] bytes, int from, int count) throws IOException {
        target().write(bytes, from, count);
      }
    }, true, StandardCharsets.UTF_8);
  }
}
