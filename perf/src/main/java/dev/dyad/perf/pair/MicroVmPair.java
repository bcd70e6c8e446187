package dev.dyad.perf.pair;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.node.ProtectedMicroVm;
import dev.dyad.engine.observe.StatusEndpoint;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Two hosts on one machine, each a process: {@code dyad protect} with the built-in guest on one side, {@code dyad standby} on the other, a
 * client outside that speaks UDP. Needs {@code /dev/kvm} and nothing else.
 *
 * <p>All files are below one folder; {@link #close} ends and removes everything. One thread.
 */
public final class MicroVmPair implements AutoCloseable {
  private static final String HOST = "127.0.0.1";

  /** Of a client whose every request costs the guest two waits for its disk. */
  private static final String PATIENT_REPEAT_MILLIS = "200";

  /**
   * @param period of the primaries
   * @param bound of the failure detector
   * @param stopAfter writes of each vCPU after which the guest adds up its checksum
   */
  public record Options(String period, String bound, long memoryMib, int vcpus, long pages, long writesPerTick, long stopAfter) {}

  private final Options options;
  private final Path directory;
  private final int[] linkPorts = new int[2];
  private final int udpPort;
  private final List<Process> processes = new ArrayList<>();
  private int side;
  private int standbys;
  private boolean hasDisk;
  private @Nullable Process primary;
  private @Nullable Process standby;

  public MicroVmPair(Options options) {
    this.options = options;
    try (ServerSocket first = new ServerSocket(0, 1, InetAddress.getByName(HOST));
        ServerSocket second = new ServerSocket(0, 1, InetAddress.getByName(HOST));
        DatagramSocket udp = new DatagramSocket(new InetSocketAddress(HOST, 0))) {
      linkPorts[0] = first.getLocalPort();
      linkPorts[1] = second.getLocalPort();
      udpPort = udp.getLocalPort();
      directory = Files.createTempDirectory("dyad-microvm-");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The checksum that the guest ends with when nobody disturbs it: the same work, as fast as it can, in this process. */
  public static String undisturbedChecksum(Options options) {
    long bytes = options.memoryMib() << 20;
    ProtectedMicroVm.Machine same = new ProtectedMicroVm.Machine(bytes, options.vcpus(), SocketAddress.inet(HOST, 0), options.pages(), 0, options.stopAfter());
    try (MicroVm machine = new MicroVm(MicroVmConfig.of(bytes, options.vcpus()), character -> {}, MachineListener.NONE)) {
      machine.boot(same.image());
      machine.resume();
      BuiltinGuestStatus status = new BuiltinGuestStatus(machine.ram().hostVirt(), options.vcpus());
      await("the undisturbed guest's end", Duration.ofSeconds(60), status::isDone);
      return Long.toHexString(status.checksum());
    }
  }

  /** The guest gets a disk, on which it writes down each key before it answers; before {@link #startPrimary}. */
  public void withDisk(int megabytes) {
    try {
      Files.createDirectories(directory.resolve("disks"));
      for (int which = 0; which < 2; which++) {
        try (RandomAccessFile file = new RandomAccessFile(image(which).toFile(), "rw")) {
          file.setLength((long) megabytes << 20);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    hasDisk = true;
  }

  /** The image of the side on which the guest is, or was last. */
  public Path image() {
    return image(side);
  }

  /** The image of the other side. */
  public Path otherImage() {
    return image(1 - side);
  }

  private Path image(int which) {
    return directory.resolve("disks").resolve("disk" + which); // beside it, write logs that are no texts
  }

  private List<String> diskArguments(int which) {
    return hasDisk ? List.of("--disk", "disk0=" + image(which)) : List.of();
  }

  /** Starts {@code dyad protect}, which boots the guest. */
  public Process startPrimary() {
    List<String> words = new ArrayList<>(List.of("protect", "--guest", "builtin", "--name", "builtin"));
    words.addAll(List.of("--memory", options.memoryMib() + "M", "--vcpus", Integer.toString(options.vcpus())));
    words.addAll(List.of("--to", listen(1 - side), "--udp", HOST + ":" + udpPort, "--period", options.period(), "--bound", options.bound()));
    words.addAll(List.of("--pages", Long.toString(options.pages()), "--writes", Long.toString(options.writesPerTick()), "--stop-after", Long.toString(options.stopAfter())));
    words.addAll(diskArguments(side));
    Process started = dyad("protect", words);
    primary = started;
    return started;
  }

  /** Starts {@code dyad standby} on the side where the guest is not. */
  public Process startStandby() {
    List<String> words = new ArrayList<>(List.of("standby", "--listen", listen(1 - side), "--peer", listen(side), "--period", options.period(), "--bound", options.bound()));
    words.addAll(diskArguments(1 - side));
    Process started = dyad("standby-" + standbys++, words);
    standby = started;
    return started;
  }

  private String listen(int which) {
    return HOST + ":" + linkPorts[which];
  }

  /** What a command that came to its end said. */
  public record Finished(int exitCode, String output) {}

  /** Runs a command of Dyad's to its end, where the pair's nodes are found. */
  public Finished dyad(Duration bound, String... words) {
    Path output = directory.resolve("command.out");
    List<String> line = LinuxPair.java(List.of("-Xshare:auto", "-XX:TieredStopAtLevel=1"));
    line.add("dev.dyad.engine.cli.Dyad");
    line.addAll(List.of(words));
    Process process = start(line, ProcessBuilder.Redirect.to(output.toFile()));
    try {
      if (!process.waitFor(bound.toMillis(), TimeUnit.MILLISECONDS)) {
        process.destroyForcibly();
        throw new IllegalStateException("not within " + bound.toSeconds() + " s: dyad " + String.join(" ", words) + "\n" + logs());
      }
      return new Finished(process.exitValue(), Files.readString(output));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** SIGKILL to the standby. */
  public void killStandby() {
    Process present = standby;
    standby = null;
    if (present != null) {
      kill(present);
    }
  }

  /**
   * SIGKILL to both, the standby first: nobody takes over. Then {@link #startPrimary} begins on the other side, since the generation's file goes as well: what an operator does who knows that the
   * other one is gone for good.
   */
  public void killBothAndSwap() {
    killStandby();
    kill(primary());
    side = 1 - side;
    try {
      Files.deleteIfExists(directory.resolve("run").resolve("builtin.generation"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void kill(Process process) {
    try {
      process.destroyForcibly().waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  public void awaitProtected(Duration bound) {
    awaitHere("the guest is protected", bound, this::isProtected);
  }

  public boolean isProtected() {
    return status().filter(report -> report.get("protected").isTrue()).isPresent();
  }

  /** Whether a line about this is in the logs. */
  public void awaitLogged(String words, Duration bound) {
    try {
      await("logged: " + words, bound, () -> logs().contains(words));
    } catch (IllegalStateException e) {
      throw new IllegalStateException(e.getMessage() + "\n" + status().map(Json::toString).orElse("no status") + "\n" + logs(), e);
    }
  }

  /** SIGKILL to the process that runs the guest, and so to its virtual machine. Returns {@link System#nanoTime()} of it. */
  public long killPrimary() {
    long at = System.nanoTime();
    primary().destroyForcibly();
    primary = standby;
    side = 1 - side;
    return at;
  }

  /** Waits until the process that took over answers as a primary. */
  public void awaitTakenOver(Duration bound) {
    awaitHere("the standby has taken over", bound, () -> status().isPresent());
  }

  /** What the node that runs the guest says of itself, if it answers. */
  public Optional<Json> status() {
    Path socket = directory.resolve("run").resolve("primary-" + primary().pid() + ".status");
    try {
      return Files.exists(socket) ? Optional.of(Json.parse(StatusEndpoint.ask(socket, true))) : Optional.empty();
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** A client that writes until it is told to finish. */
  public OutsideClient startClient() {
    List<String> line = LinuxPair.java(List.of("-Xshare:auto", "-XX:TieredStopAtLevel=1"));
    line.addAll(List.of(UdpKeyWriter.class.getName(), HOST, Integer.toString(udpPort), "30"));
    if (hasDisk) {
      line.add(PATIENT_REPEAT_MILLIS);
    }
    return new OutsideClient(start(line, ProcessBuilder.Redirect.PIPE));
  }

  /** The process in which the guest runs. */
  public Process primary() {
    Process present = primary;
    if (present == null) {
      throw new IllegalStateException("no guest was started");
    }
    return present;
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

  private Process dyad(String name, List<String> words) {
    List<String> line = LinuxPair.java(List.of("-Xshare:auto", "-Xms64m", "-Xmx256m", "-XX:+AlwaysPreTouch"));
    line.add("dev.dyad.engine.cli.Dyad");
    line.addAll(words);
    return start(line, ProcessBuilder.Redirect.to(directory.resolve(name + ".log").toFile()));
  }

  private Process start(List<String> line, ProcessBuilder.Redirect output) {
    ProcessBuilder builder = new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(output);
    builder.environment().put("DYAD_RUNTIME_DIR", directory.resolve("run").toString());
    try {
      Process process = builder.start();
      processes.add(process);
      return process;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void awaitHere(String what, Duration bound, BooleanSupplier condition) {
    try {
      await(what, bound, () -> {
        if (!primary().isAlive()) {
          throw new IllegalStateException("its process has ended");
        }
        return condition.getAsBoolean();
      });
    } catch (IllegalStateException e) {
      throw new IllegalStateException(e.getMessage() + "\n" + logs(), e);
    }
  }

  private static void await(String what, Duration bound, BooleanSupplier condition) {
    long end = System.nanoTime() + bound.toNanos();
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > end) {
        throw new IllegalStateException("not within " + bound.toSeconds() + " s: " + what);
      }
      try {
        Thread.sleep(10);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while waiting: " + what, e);
      }
    }
  }

  @Override
  public void close() {
    processes.forEach(Process::destroyForcibly);
    for (Process process : processes) {
      try {
        process.waitFor(10, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
