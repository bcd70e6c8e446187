package dev.dyad.hwtests.lab;

import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The command line that starts a class of this JVM's class path in another JVM with the same files, as a shell reads it. */
final class JavaCommand {
  /** For what is over before the better compiler has paid for itself. */
  static final List<String> SHORT_LIVED = List.of("-XX:TieredStopAtLevel=1");

  private JavaCommand() {}

  static String of(Class<?> main, List<String> options, List<String> arguments) {
    // The forked test JVM has a class path of one jar that only names the others; surefire keeps the real one.
    var classPath = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    var words = new ArrayList<String>();
    words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    words.addAll(List.of("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto", "-Xmx256m", "--enable-native-access=ALL-UNNAMED", "-Djava.io.tmpdir=/run/tmp", "-Duser.home=/run/home"));
    // The archive of classes that this JVM starts with, if any: the other one has the same files. What the JVM says of an archive would get into what is printed.
    ManagementFactory.getRuntimeMXBean().getInputArguments().stream().filter(flag -> flag.matches("-XX:SharedArchiveFile=.*|-Xlog:disable")).forEach(words::add);
    words.addAll(options);
    words.addAll(List.of("-cp", classPath, main.getName()));
    words.addAll(arguments);
    return "exec " + String.join(" ", words.stream().map(JavaCommand::quoted).toList());
  }

  private static String quoted(String word) {
    return word.matches("[A-Za-z0-9_./:=+,@%-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
  }
}
