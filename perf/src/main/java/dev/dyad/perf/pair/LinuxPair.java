package dev.dyad.perf.pair;

import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.observe.StatusEndpoint;
import dev.dyad.nic.NetworkLab;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Both hosts of a protected Linux on one machine, each a set of processes that can be killed or frozen: a stock QEMU with Redis in its guest
 * and {@code dyad attach} on one side, {@code dyad standby} on the other, a client outside.
 *
 * <p>All of it runs in a network namespace of its own and below one folder; {@link #close} ends and removes everything. One thread.
 */
public final class LinuxPair implements AutoCloseable {
  private static final String WORLD = "10.77.0.1/24";
  private static final String GUEST = "10.77.0.2";
  private static final String REDIS_PORT = "6379";
  static final String ETCD_PORT = "2379";
  private static final String MAC = "52:54:00:64:79:02";
  private static final String LISTEN = "127.0.0.1:7400";
  private static final String RELAY = "127.0.0.1:7401";
  private static final List<String> DYAD_FLAGS = List.of("-Xms64m", "-Xmx256m", "-XX:+AlwaysPreTouch");
  private static final Duration NODE_BOUND = Duration.ofSeconds(60);
  private static final Duration BOOT_BOUND = Duration.ofSeconds(90);

  /**
   * @param period of {@code dyad attach}
   * @param bound of the failure detector
   * @param memoryMib of the guest
   * @param link {@code tcp}, {@code unix}, or {@code relay}: tcp through a process that can be frozen ({@link #relay})
   * @param wire what the guest's NIC hangs on
   */
  public record Options(String period, String bound, int memoryMib, String link, List<String> attachArguments, Wire wire) {
    public Options(String period, String bound, int memoryMib, String link, List<String> attachArguments) {
      this(period, bound, memoryMib, link, attachArguments, Wire.TAP);
    }

    public static Options usual() {
      return new Options("10ms", "100ms", 256, "tcp", List.of());
    }

    /** A detector that takes no pause of a machine shared with other work for a death. */
    public static Options patient() {
      return new Options("10ms", "1s", 256, "tcp", List.of());
    }
  }

  /** What the guest's NIC hangs on. */
  public enum Wire {
    /** A TAP of QEMU's own. */
    TAP,
    /** A unix socket at which QEMU listens; Dyad carries the frames between it and a TAP. */
    STREAM,
    /** The same with unix datagrams. */
    DGRAM
  }

  private final Options options;
  private final Path directory;
  private final NetworkLab network;
  private final List<Process> processes = new ArrayList<>();
  private final List<Process> standbys = new ArrayList<>();
  private @Nullable GuestMachine guest;
  private @Nullable Process attach;
  private @Nullable Process standby;
  private @Nullable Process relay;
  private @Nullable ProcessHandle primaryQemu;
  private int primaryTap;
  private int standbyTap;
  private @Nullable GuestDisks disks;
  private Path primaryQmp = Path.of("");
  private Path primaryConsole = Path.of("");

  /**
   * @throws RuntimeException with one line when something that is needed is not there
   */
  public LinuxPair(Options options) {
    this.options = options;
    LinuxGuest.obtain(); // says first what is missing
    network = NetworkLab.open(3, WORLD);
    try {
      directory = Files.createTempDirectory("dyad-pair-");
      Files.createDirectories(directory.resolve("guest"));
    } catch (IOException e) {
      network.close();
      throw new UncheckedIOException(e);
    }
  }

  /** The guest gets a disk with ext4, protected from the attachment on; before {@link #startGuest}. */
  public GuestDisks withDisk(GuestDisks.Content content) {
    GuestDisks made = GuestDisks.make(directory.resolve("disks"), content);
    disks = made;
    return made;
  }

  /** Boots the guest, unprotected; returns when Redis answers on the console. */
  public GuestMachine startGuest() {
    GuestDisks disk = disks;
    GuestMachine started =
        GuestMachine.builder(LinuxGuest.obtain(), directory.resolve("guest"))
            .memoryMib(options.memoryMib())
            .kernelOptions("dyad.ip=" + GUEST + "/24 dyad.tick=0.2" + (disk == null ? "" : " dyad.disk=vda"))
            .arguments(disk == null ? new String[0] : disk.qemuArguments())
            .network(backend(), MAC)
            .runWith(network.prefix().toArray(String[]::new))
            .start();
    guest = started;
    started.awaitReady(BOOT_BOUND);
    primaryQemu = ProcessHandle.of(started.pid()).orElseThrow();
    primaryQmp = started.qmp();
    primaryConsole = started.console();
    return started;
  }

  private String backend() {
    Path folder = directory.resolve("guest");
    return switch (options.wire()) {
      case TAP -> "tap,ifname=" + network.tap(0) + ",script=no,downscript=no,vhost=off";
      case STREAM -> "stream,server=on,addr.type=unix,addr.path=" + folder.resolve("net");
      case DGRAM -> "dgram,local.type=unix,local.path=" + folder.resolve("net") + ",remote.type=unix,remote.path=" + folder.resolve("dyad-net");
    };
  }

  /** Starts a standby whose guest will go on at TAP {@code tap}. */
  public Process startStandby(int tap) {
    List<String> words = new ArrayList<>(List.of("standby", "--listen", options.link().equals("unix") ? to() : LISTEN, "--bound", options.bound()));
    if (disks != null) {
      words.addAll(List.of("--disk", disks.standbyArgument()));
      words.addAll(disks.moreArguments());
    }
    if (options.wire() == Wire.TAP) {
      words.addAll(List.of("--netdev", "net0=tap,ifname=" + network.tap(tap) + ",script=no,downscript=no,vhost=off"));
    } else {
      words.addAll(List.of("--tap", "net0=" + network.tap(tap)));
    }
    if (options.attachArguments().contains("--realtime")) {
      words.add("--realtime");
    }
    standbyTap = tap;
    Process started = dyad("standby-" + standbys.size(), words);
    standbys.add(started);
    standby = started;
    await("the standby listens", NODE_BOUND, () -> status("standby", started).map(report -> true).orElse(false));
    return started;
  }

  /** Attaches to the guest; returns when the process runs, long before the guest is protected. */
  public Process startAttach() {
    List<String> words = new ArrayList<>(List.of("attach", "--qmp", primaryQmp.toString(), "--to", to(), "--period", options.period(), "--bound", options.bound()));
    words.addAll(List.of("--name", "linux"));
    if (options.wire() != Wire.TAP) {
      words.addAll(List.of("--tap", "net0=" + network.tap(primaryTap)));
    }
    if (disks != null) {
      words.addAll(List.of("--disk", disks.primaryArgument()));
      words.addAll(disks.moreArguments());
    }
    words.addAll(options.attachArguments());
    Process started = dyad("attach", words);
    attach = started;
    return started;
  }

  public void awaitProtected(Duration bound) {
    Process present = attach();
    await("the guest is protected", bound, () -> status("primary", present).filter(report -> report.get("protected").isTrue()).isPresent());
  }

  /** A client that writes through one connection until it is told to finish. */
  public OutsideClient startClient() {
    return startClient(KeyWriter.class, REDIS_PORT, "-Xint", "-XX:TieredStopAtLevel=1");
  }

  /** The same for the etcd that the guest runs from its disk. */
  public OutsideClient startEtcdClient() {
    return startClient(EtcdWriter.class, ETCD_PORT, "-XX:TieredStopAtLevel=1");
  }

  private OutsideClient startClient(Class<?> writer, String port, String... flags) {
    List<String> line = new ArrayList<>(network.prefix());
    line.addAll(java(List.of(flags)));
    line.addAll(List.of(writer.getName(), GUEST, port, "30"));
    return new OutsideClient(start("client", line, ProcessBuilder.Redirect.PIPE));
  }

  /** The process that stands for the cable between the hosts: frozen, it is a cut that nobody is told of. */
  public Process relay() {
    Process present = relay;
    if (present == null) {
      List<String> line = new ArrayList<>(network.prefix());
      line.addAll(java(List.of("-XX:TieredStopAtLevel=1")));
      line.addAll(List.of(Relay.class.getName(), RELAY, LISTEN));
      present = start("relay", line, ProcessBuilder.Redirect.DISCARD);
      relay = present;
    }
    return present;
  }

  /** Any program inside the network, with its input and output here; it ends with this pair at the latest. */
  public Process startInside(String... words) {
    List<String> line = new ArrayList<>(network.prefix());
    line.addAll(List.of(words));
    ProcessBuilder builder = environment(new ProcessBuilder(line));
    builder.redirectError(directory.resolve(Path.of(words[0]).getFileName() + ".log").toFile());
    return start(builder);
  }

  /** A class of this class path inside the network, with the flags of every {@code dyad} process here. */
  public Process startJavaInside(String mainClass, String... arguments) {
    List<String> words = java(DYAD_FLAGS);
    words.add(mainClass);
    words.addAll(List.of(arguments));
    return startInside(words.toArray(String[]::new));
  }

  /** Where the guest's Redis listens. */
  public String redisHost() {
    return GUEST;
  }

  public String redisPort() {
    return REDIS_PORT;
  }

  /** SIGKILL to the whole primary side at once. Returns {@link System#nanoTime()} of the first one. */
  public long killPrimary() {
    long at = System.nanoTime();
    attach().destroyForcibly();
    qemu().destroyForcibly();
    return at;
  }

  /** After a take-over: the guest that goes on at the standby is the primary's now, and can be attached to. */
  public void becomePrimary() {
    Process present = standby();
    await("the standby has taken over", NODE_BOUND, () -> status("standby", present).filter(report -> !report.get("qemuPid").isAbsent()).isPresent());
    Json report = status("standby", present).orElseThrow();
    primaryQemu = ProcessHandle.of(report.get("qemuPid").number(0)).orElseThrow();
    primaryQmp = Path.of(report.get("qmp").text());
    primaryTap = standbyTap;
    primaryConsole = consoleOf(primaryQmp.resolveSibling("."));
    if (disks != null) {
      disks.swap();
    }
  }

  private static Path consoleOf(Path folder) {
    try (Stream<Path> files = Files.walk(folder)) {
      return files.filter(file -> file.getFileName().toString().contains("console")).findFirst().orElseThrow();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The QEMU in which the guest runs. */
  public ProcessHandle qemu() {
    return present(primaryQemu, "no guest was started");
  }

  /** Frames that have left the guest through TAP {@code tap}. */
  public long framesOut(int tap) {
    Json link = Json.parse(network.require("ip", "-s", "-j", "link", "show", "dev", network.tap(tap))).elements().getFirst();
    return link.get("stats64").get("rx").get("packets").number(-1);
  }

  /** SIGKILL to the guest where it runs now, and to all that serves it. */
  public void killEverything() {
    for (Process process : processes) {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
    qemu().destroyForcibly();
    for (Process process : processes) {
      try {
        process.waitFor(10, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** SIGKILL to our process only; QEMU lives on. */
  public long killAttachOnly() {
    long at = System.nanoTime();
    attach().destroyForcibly();
    return at;
  }

  /** SIGKILL to the standby and to the QEMU that waits there. */
  public long killStandby() {
    long at = System.nanoTime();
    Process present = standby();
    List<ProcessHandle> all = new ArrayList<>(present.descendants().toList());
    all.add(present.toHandle());
    all.forEach(ProcessHandle::destroyForcibly);
    return at;
  }

  /** SIGSTOP or SIGCONT to processes. */
  public void signal(String signal, ProcessHandle... targets) {
    for (ProcessHandle target : targets) {
      run("kill", "-" + signal, Long.toString(target.pid()));
    }
  }

  /** What the node of {@code process} says of itself, if it answers. */
  public Optional<Json> status(String role, Process process) {
    Path socket = directory.resolve("run").resolve(role + "-" + process.pid() + ".status");
    if (!Files.exists(socket)) {
      return Optional.empty();
    }
    try {
      return Optional.of(Json.parse(StatusEndpoint.ask(socket, true)));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Waits for a state of the standby's node. */
  public Json awaitStandby(Duration bound, Predicate<Json> wanted) {
    Process present = standby();
    await("the standby's state", bound, () -> status("standby", present).filter(wanted).isPresent());
    return status("standby", present).orElseThrow();
  }

  /** Runs {@code dyad} with these words to its end and returns what it printed and its exit code. */
  public Finished dyadOnce(String... words) {
    Path log = directory.resolve("once.log");
    Process process = dyadTo(log, List.of(words));
    try {
      process.waitFor(60, TimeUnit.SECONDS);
      return new Finished(process.exitValue(), Files.readString(log));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** How a command ended. */
  public record Finished(int exitCode, String output) {}

  public GuestMachine guest() {
    return present(guest, "no guest was started");
  }

  public Process attach() {
    return present(attach, "nothing is attached");
  }

  public Process standby() {
    return present(standby, "no standby was started");
  }

  /** Console of the guest where it runs now. */
  public Path console() {
    return primaryConsole;
  }

  /** The logs of all processes, for a failure's message. */
  public String logs() {
    StringBuilder all = new StringBuilder();
    try (Stream<Path> files = Files.list(directory)) {
      for (Path file : files.filter(path -> path.toString().endsWith(".log")).sorted().toList()) {
        all.append("--- ").append(file.getFileName()).append('\n').append(Files.readString(file)).append('\n');
      }
    } catch (IOException e) {
      all.append("logs cannot be read: ").append(e.getMessage());
    }
    return all.toString();
  }

  private static <T> T present(@Nullable T value, String otherwise) {
    if (value == null) {
      throw new IllegalStateException(otherwise);
    }
    return value;
  }

  /** What an attach connects to. */
  public String to() {
    return switch (options.link()) {
      case "tcp" -> LISTEN;
      case "relay" -> RELAY;
      default -> "unix:" + directory.resolve("link");
    };
  }

  private Process dyad(String name, List<String> words) {
    return dyadTo(directory.resolve(name + ".log"), words);
  }

  private Process dyadTo(Path log, List<String> words) {
    List<String> line = new ArrayList<>(network.prefix());
    line.addAll(java(DYAD_FLAGS));
    line.add("dev.dyad.engine.cli.Dyad");
    line.addAll(words);
    return start(line, ProcessBuilder.Redirect.to(log.toFile()));
  }

  private Process start(String name, List<String> line, ProcessBuilder.Redirect output) {
    return start(line, output.type() == ProcessBuilder.Redirect.Type.PIPE ? output : ProcessBuilder.Redirect.to(directory.resolve(name + ".log").toFile()));
  }

  private Process start(List<String> line, ProcessBuilder.Redirect output) {
    return start(environment(new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(output)));
  }

  private ProcessBuilder environment(ProcessBuilder builder) {
    builder.environment().put("DYAD_RUNTIME_DIR", directory.resolve("run").toString());
    return builder;
  }

  private Process start(ProcessBuilder builder) {
    try {
      Process process = builder.start();
      processes.add(process);
      return process;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The start of a command line that runs a class of this JVM's class path in another JVM. */
  static List<String> java(List<String> flags) {
    // A forked test JVM may have a class path of one jar that only names the others; surefire keeps the real one.
    String classPath = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> line = new ArrayList<>();
    line.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    line.addAll(List.of("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xlog:disable", "--enable-native-access=ALL-UNNAMED", "--illegal-native-access=deny"));
    ManagementFactory.getRuntimeMXBean().getInputArguments().stream().filter(flag -> flag.startsWith("-XX:SharedArchiveFile=")).forEach(line::add);
    line.addAll(flags);
    line.addAll(List.of("-cp", classPath));
    return line;
  }

  private static void run(String... words) {
    try {
      Process process = new ProcessBuilder(words).inheritIO().start();
      if (!process.waitFor(10, TimeUnit.SECONDS) || process.exitValue() != 0) {
        throw new IllegalStateException("'" + String.join(" ", words) + "' failed");
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void await(String what, Duration bound, BooleanSupplier condition) {
    long end = System.nanoTime() + bound.toNanos();
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > end) {
        throw new IllegalStateException("not within " + bound.toSeconds() + " s: " + what + "\n" + logs());
      }
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while waiting: " + what, e);
      }
    }
  }

  @Override
  public void close() {
    List<ProcessHandle> all = new ArrayList<>();
    for (Process process : processes) {
      process.descendants().forEach(all::add);
      all.add(process.toHandle());
    }
    all.forEach(ProcessHandle::destroyForcibly);
    if (primaryQemu != null) {
      primaryQemu.destroyForcibly();
    }
    if (guest != null) {
      guest.kill();
    }
    for (Process process : processes) {
      try {
        process.waitFor(10, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    network.close();
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
