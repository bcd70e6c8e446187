package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A stock QEMU that runs the {@link LinuxGuest}, started by us as any user would start it: no option in its command line knows of
 * Dyad.
 *
 * <p>Its console goes to {@code console.log} and its QMP socket is {@code qmp} in the directory that it was given; both names are
 * fixed when it starts. Closing it ends the process.
 */
public final class GuestMachine implements AutoCloseable {

  /** Machine types on which the guest boots. */
  public enum Kind {
    /** PCI, no legacy devices: small state, the usual choice. */
    LEAN_Q35(List.of("-nodefaults", "-vga", "none"), "virtio-net-pci,romfile="),
    /** What QEMU builds when nothing is said: VGA, CD drive, PS/2. */
    DEFAULT_Q35(List.of("-net", "none"), "virtio-net-pci,romfile="),
    MICROVM(List.of("-nodefaults"), "virtio-net-device");

    private final List<String> arguments;
    private final String networkDevice;

    Kind(List<String> arguments, String networkDevice) {
      this.arguments = arguments;
      this.networkDevice = networkDevice;
    }

    private String machineType() {
      return this == MICROVM ? "microvm" : "q35";
    }
  }

  private final Process process;
  private final Path directory;

  private GuestMachine(Process process, Path directory) {
    this.process = process;
    this.directory = directory;
  }

  /**
   * @param directory an existing directory for the console log, the QMP socket and QEMU's own messages; keep its path short (a
   *     unix socket's path ends at 107 bytes)
   */
  public static Builder builder(LinuxGuest guest, Path directory) {
    return new Builder(guest, directory);
  }

  /** What the machine is made of; the defaults are a lean q35 with 256 MiB of private memory, no network, TCG. */
  public static final class Builder {
    private final LinuxGuest guest;
    private final Path directory;
    private Kind kind = Kind.LEAN_Q35;
    private int memoryMib = 256;
    private boolean shared;
    private String memoryObject = "";
    private String accelerator = "tcg";
    private String kernelOptions = "";
    private @Nullable String netdev;
    private String mac = "52:54:00:64:79:01";
    private final List<String> more = new ArrayList<>();
    private final List<String> prefix = new ArrayList<>();

    private Builder(LinuxGuest guest, Path directory) {
      this.guest = guest;
      this.directory = directory;
    }

    public Builder kind(Kind newKind) {
      kind = newKind;
      return this;
    }

    public Builder memoryMib(int mib) {
      memoryMib = mib;
      return this;
    }

    /** Memory from a memfd, mapped shared, instead of anonymous private memory. */
    public Builder sharedMemory() {
      shared = true;
      return this;
    }

    /** Memory from this {@code -object}, whose id is {@code ram} and whose size is {@link #memoryMib}. */
    public Builder sharedMemory(String object) {
      shared = true;
      memoryObject = object;
      return this;
    }

    /** Value of {@code -accel}; {@code tcg} unless told. */
    public Builder accelerator(String value) {
      accelerator = value;
      return this;
    }

    /** Words for the guest's kernel command line, see {@link LinuxGuest#commandLine}. */
    public Builder kernelOptions(String words) {
      kernelOptions = words;
      return this;
    }

    /**
     * One virtio network card.
     *
     * @param backend the value of {@code -netdev} without its id, e.g. {@code tap,ifname=tap0,script=no,downscript=no}
     */
    public Builder network(String backend, String macAddress) {
      netdev = backend;
      mac = macAddress;
      return this;
    }

    /** More words for QEMU's command line. */
    public Builder arguments(String... words) {
      more.addAll(List.of(words));
      return this;
    }

    /** What to run QEMU with, e.g. {@code ip netns exec NAME} or {@code setpriv --reuid …}. */
    public Builder runWith(String... words) {
      prefix.addAll(List.of(words));
      return this;
    }

    private String timeOptions() {
      String words = accelerator.startsWith("tcg") ? EmulatedClock.kernelWords() : "";
      return words.isEmpty() ? "" : words + " ";
    }

    /** QEMU's command line, without what it is run with. */
    public List<String> commandLine() {
      List<String> line = new ArrayList<>(List.of("qemu-system-x86_64", "-M",
          kind.machineType() + (shared ? ",memory-backend=ram" : ""), "-accel", accelerator, "-m", Integer.toString(memoryMib)));
      if (shared) {
        line.addAll(List.of("-object", memoryObject.isEmpty() ? "memory-backend-memfd,id=ram,share=on,size=" + memoryMib + "M" : memoryObject));
      }
      line.addAll(kind.arguments);
      line.addAll(List.of("-display", "none", "-no-reboot",
          "-chardev", "file,id=console,path=" + directory.resolve("console.log") + ",append=on", "-serial", "chardev:console",
          "-qmp", "unix:" + directory.resolve("qmp") + ",server=on,wait=off",
          "-kernel", guest.kernel().toString(), "-initrd", guest.initramfs().toString(), "-append", guest.commandLine(timeOptions() + kernelOptions)));
      if (netdev != null) {
        int comma = netdev.indexOf(',') < 0 ? netdev.length() : netdev.indexOf(',');
        line.addAll(List.of("-netdev", netdev.substring(0, comma) + ",id=net0" + netdev.substring(comma),
            "-device", kind.networkDevice + ",netdev=net0,mac=" + mac));
      }
      line.addAll(more);
      return line;
    }

    /** Starts QEMU; the guest boots in the background. */
    public GuestMachine start() {
      var _ = Tool.require("qemu-system-x86_64", "qemu-system-x86");
      List<String> line = new ArrayList<>(prefix);
      line.addAll(commandLine());
      try {
        return new GuestMachine(new ProcessBuilder(line).redirectErrorStream(true)
            .redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()))
            .redirectOutput(directory.resolve("qemu.log").toFile()).start(), directory);
      } catch (IOException e) {
        throw new GuestUnavailableException("QEMU could not be started: " + e.getMessage(), e);
      }
    }
  }

  /** QEMU's process id (of the program it is run with, when that does not replace itself by QEMU). */
  public long pid() {
    return process.pid();
  }

  public boolean alive() {
    return process.isAlive();
  }

  public Path qmp() {
    return directory.resolve("qmp");
  }

  public Path console() {
    return directory.resolve("console.log");
  }

  /** Waits until the guest has started Redis and its console counts. */
  public GuestMachine awaitReady(Duration bound) {
    awaitConsole(Pattern.compile(LinuxGuest.TICK), bound);
    return this;
  }

  /**
   * Waits for a line of the console that the pattern matches as a whole.
   *
   * @return the match
   * @throws GuestUnavailableException when the bound is over or QEMU has ended; the message carries the last lines
   */
  public Matcher awaitConsole(Pattern pattern, Duration bound) {
    long end = System.nanoTime() + bound.toNanos();
    while (true) {
      boolean alive = alive();
      for (String line : consoleLines(console())) {
        Matcher matcher = pattern.matcher(line);
        if (matcher.matches()) {
          return matcher;
        }
      }
      if (!alive || System.nanoTime() > end) {
        throw new GuestUnavailableException("the guest's console did not show \"" + pattern + "\" within " + bound.toSeconds() + " s"
            + (alive ? "" : " (QEMU has ended: " + lastLine(directory.resolve("qemu.log")) + ")") + "; last line: " + lastLine(console()));
      }
      sleepMillis(20);
    }
  }

  /** Complete lines of a console log so far, without line ends. */
  public static List<String> consoleLines(Path log) {
    if (!Files.exists(log)) {
      return List.of();
    }
    try {
      String text = Files.readString(log, StandardCharsets.ISO_8859_1);
      return text.substring(0, text.lastIndexOf('\n') + 1).lines().map(line -> line.replace("\r", "")).toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String lastLine(Path log) {
    List<String> lines = consoleLines(log);
    return lines.isEmpty() ? "none" : lines.getLast();
  }

  private static void sleepMillis(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new GuestUnavailableException("interrupted while waiting for the guest", e);
    }
  }

  /** SIGKILL, as a host that is gone; returns when the process has ended. */
  public void kill() {
    process.destroyForcibly();
    try {
      if (!process.waitFor(10, TimeUnit.SECONDS)) {
        throw new IllegalStateException("QEMU " + pid() + " did not end after SIGKILL");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void close() {
    kill();
  }
}
