package dev.dyad.hwtests.lab;

import dev.dyad.engine.guest.EmulatedClock;
import dev.dyad.engine.guest.Tool;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * One virtual host of the lab: its QEMU process, its control channel, and the faults that can be done to it. Methods may be
 * called from any one thread at a time; a thread of its own reads what the host says.
 */
public final class LabHost implements AutoCloseable {
  /** By which a host of two reaches servers on the loopback of this machine: what the hosts take for a third place. Faults leave it alone. */
  public static final String WITNESS = "10.0.2.2";

  static final String NETWORK = "10.77.0.";
  private static final int CONNECT_SECONDS = 10;
  private static final int READY_POLL_MILLIS = 200;

  /** On two processors that twenty others want, too, a host was seen to need more than a minute for what takes it 5 s. */
  private static final int STARVED_TIMES_MAX = 4;

  /** For a class whose test has seen enough: the JVM that it runs in would have to start again. */
  private static final Duration LAST_WORDS = Duration.ofSeconds(1);

  /** More than are ever under way: a packet that does not fit is refused, too. The same number as in the script {@code init}. */
  private static final int NETEM_PACKETS_MAX = 100_000;

  private final int number;
  private final Path folder;
  private final ProcessHandle process;
  private final SocketChannel control;
  private final LabMonitor monitor;
  private final LabConsoles consoles;
  private final Map<String, LabJob> jobs = new ConcurrentHashMap<>();
  private final CompletableFuture<Boolean> ready = new CompletableFuture<>();
  private final String idPrefix = "j" + ProcessHandle.current().pid() + "-" + Long.toString(System.nanoTime() & 0xffffff, 36) + "-";
  private int nextJob;
  private @Nullable LabJob agent;
  private boolean linkUp = true;
  private boolean netem;

  private LabHost(int number, Path folder, LabConsoles consoles, ProcessHandle process, SocketChannel control) {
    this.consoles = consoles;
    this.number = number;
    this.folder = folder;
    this.process = process;
    this.control = control;
    monitor = new LabMonitor(folder.resolve("q" + number));
    var reader = new Thread(this::read, "lab-host-" + number);
    reader.setDaemon(true);
    reader.start();
  }

  /** Starts the host's QEMU; {@link #awaitReady} tells when it can be used. */
  static LabHost start(int number, LabConfig config, LabImage image, Path folder, LabConsoles consoles, LabProcesses processes) throws IOException {
    consoles.keep(number);
    for (var name : List.of("out" + number, "shared")) {
      Files.createDirectories(folder.resolve(name));
    }
    for (var name : List.of("c" + number, "q" + number, "n" + number)) {
      Files.deleteIfExists(folder.resolve(name));
    }
    var process = processes.start(command(number, config, image, folder), log(number, folder));
    try {
      return attach(number, folder, consoles, process);
    } catch (IOException | RuntimeException e) {
      process.destroyForcibly();
      throw e;
    }
  }

  /** Takes over a host that runs already. */
  static LabHost attach(int number, Path folder, LabConsoles consoles, ProcessHandle process) throws IOException {
    return new LabHost(number, folder, consoles, process, connect(number, folder, process));
  }

  private static SocketChannel connect(int number, Path folder, ProcessHandle process) throws IOException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(CONNECT_SECONDS);
    while (true) {
      var channel = SocketChannel.open(StandardProtocolFamily.UNIX);
      try {
        channel.connect(UnixDomainSocketAddress.of(folder.resolve("c" + number)));
        return channel;
      } catch (IOException e) {
        channel.close();
        if (!process.isAlive() || System.nanoTime() - deadline > 0) {
          var log = log(number, folder);
          throw new IOException("lab host " + number + " does not start: " + (Files.exists(log) ? Files.readString(log).strip() : ""), e);
        }
        pause(20);
      }
    }
  }

  private static Path log(int number, Path folder) {
    return folder.resolve("qemu" + number + ".log");
  }

  private static List<String> command(int number, LabConfig config, LabImage image, Path folder) {
    boolean kvm = LabConfig.realKvm();
    var address = NETWORK + number;
    var append = "console=ttyS0 quiet oops=panic panic=-1 nokaslr mitigations=off cryptomgr.notests no_timer_check tsc=reliable " + (kvm ? "" : EmulatedClock.kernelWords())
        + " net.ifnames=0 dyad.number=" + number
        + " dyad.address=" + address + " dyad.rdma=" + (config.hosts() == 1 ? "dummy" : "eth0");
    var command = new ArrayList<>(List.of(Tool.find("qemu-system-x86_64").orElseThrow().toString(), "-name", LabProcesses.name(number), "-machine", "q35", "-smp",
        String.valueOf(config.cpus()), "-m", String.valueOf(config.memoryMib()), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"));
    command.addAll(kvm ? List.of("-accel", "kvm", "-cpu", "host") : List.of("-accel", "tcg,tb-size=256", "-cpu", "max,+svm"));
    command.addAll(List.of("-kernel", image.kernel().toString(), "-initrd", image.initramfs().toString(), "-append", append));
    command.addAll(List.of("-serial", "file:console" + number + ".log", "-qmp", "unix:q" + number + ",server=on,wait=off"));
    command.addAll(List.of("-device", "virtio-serial-pci", "-chardev", "socket,id=control,path=c" + number + ",server=on,wait=off", "-device",
        "virtserialport,chardev=control,name=dyad.lab"));
    share(command, "host", "/", ",readonly=on,multidevs=remap");
    share(command, "out", folder.resolve("out" + number).toString(), "");
    share(command, "shared", folder.resolve("shared").toString(), "");
    if (config.hosts() > 1) {
      int peer = 3 - number;
      command.addAll(List.of("-netdev", "dgram,id=n0,local.type=unix,local.path=n" + number + ",remote.type=unix,remote.path=n" + peer, "-device",
          "virtio-net-pci,id=nic0,netdev=n0,mac=52:54:00:77:00:0" + number + ",romfile=,host_mtu=4200"));
      command.addAll(List.of("-netdev", "user,id=w0", "-device", "virtio-net-pci,id=nic1,netdev=w0,mac=52:54:00:78:00:0" + number + ",romfile="));
    }
    return command;
  }

  private static void share(List<String> command, String tag, String path, String options) {
    command.addAll(List.of("-fsdev", "local,id=" + tag + ",path=" + path + ",security_model=none" + options, "-device",
        "virtio-9p-pci,fsdev=" + tag + ",mount_tag=" + tag));
  }

  /**
   * Waits until the host can be used.
   *
   * @param timeout that an emulated host may run for; what other work on this machine takes from it does not count, up to {@value #STARVED_TIMES_MAX} times as long
   */
  void awaitReady(Duration timeout) throws IOException {
    long start = System.nanoTime();
    while (true) {
      try {
        ready.get(READY_POLL_MILLIS, TimeUnit.MILLISECONDS);
        return;
      } catch (TimeoutException e) {
        long nanos = System.nanoTime() - start;
        long ran = process.info().totalCpuDuration().orElse(Duration.ZERO).toNanos();
        if (nanos > timeout.toNanos() && (ran > timeout.toNanos() || nanos > STARVED_TIMES_MAX * timeout.toNanos())) {
          throw new IOException("lab host " + number + " is not ready after " + nanos / 1_000_000_000 + " s, of which it ran " + ran / 1_000_000_000 + " s; its console ends with:\n"
              + consoleTail(), e);
        }
      } catch (ExecutionException e) {
        throw new IOException("lab host " + number + " does not come up: " + (e.getCause() == null ? "" : e.getCause().getMessage()) + "\n" + consoleTail(), e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted while lab host " + number + " came up", e);
      }
    }
  }

  /** 1 or 2. */
  public int number() {
    return number;
  }

  /** Its IPv4 address on the lab's network, which is also the address of its RDMA device. */
  public String address() {
    return NETWORK + number;
  }

  public boolean isAlive() {
    return process.isAlive();
  }

  /** Starts a shell command on the host, as root and with this machine's programs. */
  public LabJob start(String command) throws IOException {
    if (command.indexOf('\n') >= 0) {
      throw new IllegalArgumentException("a command of one line is needed: " + command);
    }
    return submit("run " + command, command);
  }

  /** Runs a shell command to its end, which must be a success. */
  public String run(String command) throws IOException {
    return start(command).succeed(Duration.ofSeconds(60));
  }

  /**
   * Starts a class of this JVM's class path in the host's JVM that stays ({@link LabAgent}). A signal to the job is one to that JVM and all that it
   * runs; the next class then gets a new one.
   */
  public LabJob start(Class<?> main, List<String> arguments) throws IOException {
    var within = agent();
    var id = idPrefix + nextJob++;
    var job = new LabJob(this, id, main.getName() + " " + String.join(" ", arguments), folder.resolve("out" + number), within);
    submit(job, "feed " + LabAgent.order(within.id(), id, main, arguments));
    return job;
  }

  /** The JVM for {@link #start(Class, List)}, on its way up unless it is there. */
  LabJob agent() throws IOException {
    var known = agent;
    if (known == null || known.hasEnded()) {
      var id = idPrefix + nextJob++;
      known = new LabJob(this, id, "agent", folder.resolve("out" + number), null);
      agent = known;
      submit(known, "serve " + JavaCommand.of(LabAgent.class, JavaCommand.SHORT_LIVED, List.of(id)));
    }
    return known;
  }

  /** Starts a class of this JVM's class path in a JVM of its own on the host. */
  public LabJob java(Class<?> main, List<String> options, List<String> arguments) throws IOException {
    return start(JavaCommand.of(main, options, arguments));
  }

  /** Loads the modules for virtual machines inside this host. */
  public void loadKvm() throws IOException {
    submit("load kvm", "load kvm").await(Duration.ofSeconds(30));
  }

  private LabJob submit(String line, String command) throws IOException {
    var job = new LabJob(this, idPrefix + nextJob++, command, folder.resolve("out" + number), null);
    submit(job, line);
    return job;
  }

  private void submit(LabJob job, String line) throws IOException {
    jobs.put(job.id(), job);
    send(job.id() + " " + line);
    if (!process.isAlive()) {
      lose(gone(null));
    }
  }

  private IOException gone(@Nullable IOException how) {
    try {
      var death = consoles.death();
      return new IOException(death.isEmpty() ? "lab host " + number + " is gone" : death, how);
    } catch (IOException e) {
      return new IOException("lab host " + number + " is gone, and its console cannot be read", e);
    }
  }

  /** Power loss. */
  public void kill() throws IOException {
    process.destroyForcibly();
    process.onExit().join();
    control.close();
  }

  /** The whole host stands still while time goes on, as in a long stall of firmware or a hypervisor. */
  public void freeze() throws IOException {
    Tool.run(folder, 10, List.of("kill", "-STOP", String.valueOf(process.pid())));
  }

  public void thaw() throws IOException {
    Tool.run(folder, 10, List.of("kill", "-CONT", String.valueOf(process.pid())));
  }

  /** The host stands still and its clock with it. */
  public void suspend() throws IOException {
    monitor.stop();
  }

  public void resume() throws IOException {
    monitor.resume();
  }

  /** Plugs the network cable in or out at this host. */
  public void setLink(boolean up) throws IOException {
    monitor.setLink("nic0", up);
    linkUp = up;
  }

  /**
   * Treats what this host sends, as tc-netem(8) describes: {@code "loss 1% delay 5ms"}, {@code "rate 10mbit"}, {@code "reorder 25% delay 2ms"}.
   *
   * <p>The host has this discipline from its start on, and only its numbers change: while a discipline is replaced by another, Linux refuses
   * packets, and soft-RoCE ends a queue pair whose packet was refused.
   */
  public void netem(String what) throws IOException {
    netem = true;
    changeNetem(what);
  }

  public void clearNetem() throws IOException {
    if (netem) {
      changeNetem("");
      netem = false;
    }
  }

  /** As {@link #netem}. @return what tc says against it, in one line; empty when it was done */
  String tryNetem(String what) throws IOException {
    var job = start(netemCommand(what));
    return job.await(Duration.ofSeconds(60)) == 0 ? "" : job.errors().lines().findFirst().orElse("refused");
  }

  private void changeNetem(String what) throws IOException {
    run(netemCommand(what));
  }

  /** What is not named is switched off; rate and corrupt would else stay as they are. */
  private static String netemCommand(String what) {
    return "tc qdisc change dev eth0 root netem limit " + NETEM_PACKETS_MAX + " " + what + (what.contains("rate") ? "" : " rate 0") + (what.contains("corrupt") ? "" : " corrupt 0%");
  }

  /** Moves the host's wall clock. */
  public void jumpClock(Duration by) throws IOException {
    run("date -s @$(( $(date +%s) + " + by.toSeconds() + " )) > /dev/null");
  }

  /** Ends what still runs and takes back the faults that are not deadly. */
  void calm() throws IOException {
    thaw();
    if (!linkUp) {
      setLink(true);
    }
    for (var job : jobs.values()) {
      if (job != agent && !job.endsWithin(job.within == null ? Duration.ZERO : LAST_WORDS)) {
        job.process().signal("KILL");
        // Of a class that ends by itself just now, too: its JVM is not to be used again.
        job.process().await(Duration.ofSeconds(10));
      }
    }
    jobs.values().removeIf(LabJob::hasEnded);
    clearNetem();
  }

  public Path console() {
    return LabConsoles.of(folder, number);
  }

  /** Throws when the kernel of this or another host of the lab has died: whatever is waited for then will not come. */
  void requireKernels() throws IOException {
    consoles.requireAlive();
  }

  private String consoleTail() throws IOException {
    var lines = Files.exists(console()) ? Files.readAllLines(console(), StandardCharsets.ISO_8859_1) : List.<String>of();
    return String.join("\n", lines.subList(Math.max(0, lines.size() - 15), lines.size()));
  }

  synchronized void send(String line) throws IOException {
    var bytes = ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8));
    while (bytes.hasRemaining()) {
      control.write(bytes);
    }
  }

  private void read() {
    try (var lines = new BufferedReader(Channels.newReader(control, StandardCharsets.UTF_8))) {
      @Nullable String line;
      while ((line = lines.readLine()) != null) {
        take(line.split(" ", 3));
      }
      lose(gone(null));
    } catch (IOException e) {
      lose(gone(e));
    }
  }

  private void take(String[] words) {
    if (words.length < 2) {
      return;
    }
    switch (words[1]) {
      case "ready" -> ready.complete(true);
      case "failed" -> ready.completeExceptionally(new IOException(words.length > 2 ? words[2] : "unknown reason"));
      case "exit" -> {
        var job = jobs.get(words[0]);
        if (job != null && words.length > 2) {
          int code = Integer.parseInt(words[2]);
          job.exit.complete(code);
          jobs.values().stream().filter(other -> job.equals(other.within)).forEach(other -> other.exit.complete(code));
        }
      }
      default -> { } // half a line from before we attached
    }
  }

  private void lose(IOException why) {
    ready.completeExceptionally(why);
    jobs.values().forEach(job -> job.exit.completeExceptionally(why));
  }

  static void pause(int millis) throws IOException {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  /** Ends the host's process, also when it is frozen. */
  @Override
  public void close() throws IOException {
    kill();
  }

  /** From now on the host runs on when nobody holds its control channel. */
  void stay() throws IOException {
    submit("stay", "stay").await(Duration.ofSeconds(30));
  }

  /** Lets go of the host's control channel. */
  void detach() throws IOException {
    control.close();
  }
}
