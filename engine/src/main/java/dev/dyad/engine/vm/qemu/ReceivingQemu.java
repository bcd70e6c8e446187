package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.FALLOC_FL_KEEP_SIZE;
import static dev.dyad.bindings.abi.linux.linux_h.FALLOC_FL_PUNCH_HOLE;
import static dev.dyad.bindings.abi.linux.linux_h.MAP_FIXED;
import static dev.dyad.bindings.abi.linux.linux_h.MAP_SHARED;
import static dev.dyad.bindings.abi.linux.linux_h.MFD_CLOEXEC;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;
import static dev.dyad.bindings.abi.linux.linux_h.PROT_READ;
import static dev.dyad.bindings.abi.linux.linux_h.PROT_WRITE;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_close;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_ftruncate;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_memfd_create;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_mmap;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.MemFd;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.PidFd;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/**
 * A second QEMU, started with the primary's own command line, that waits with its vCPUs stopped until it is to take the guest over.
 *
 * <p>Every replicated block of it is memory that it shares with this process, so that the replica is written where the guest will
 * run. A block whose memory is not a shared file by its command line (the usual case, and always so for video memory) is replaced
 * by one while nothing runs yet: a memfd made and mapped over it by injected calls.
 *
 * <p>While it waits it dies with this process, however early and however hard that dies: a pipe leads from here to a small shell beside
 * QEMU, and when it closes without a word, QEMU is killed. Once promoted it holds the only copy of the guest, and outlives us. (PR_SET_PDEATHSIG
 * does not do: it is set too late by us, and for the first thread, which could not be made to take it back, when it is set before QEMU starts.)
 * Control thread only.
 */
public final class ReceivingQemu implements StandbyMachine {
  static final String CONTROL_SOCKET = "control";
  static final String QMP_SOCKET = "qmp";

  private static final int START_BOUND_MILLIS = 30_000;
  private static final int LOAD_BOUND_MILLIS = 30_000;
  private static final String STATE_FD = "dyad-state";

  /**
   * Becomes QEMU, and leaves a watcher behind that reads our pipe. $1 is the directory, by which the watcher makes sure that the process it kills is still the
   * one that it means.
   */
  private static final String LAUNCH = """
      directory=$1; shift
      exec 3<&0 </dev/null
      ( ( read -r word <&3 || { grep -qF -e "$directory" /proc/$$/cmdline && kill -9 $$; } ) >/dev/null 2>&1 & )
      exec "$@" 3<&-
      """;

  /**
   * What the standby decides for itself.
   *
   * @param directory an existing directory of its own: sockets, logs, and what the primary's command line writes to
   * @param netdevs by netdev id, the value of {@code -netdev} here; user-mode networks need none
   * @param disks by QEMU's name of a disk of the guest, the socket of the NBD server that has it here
   * @param moreArguments appended to the command line
   * @param commandLine replaces the adapted command line as a whole, unless empty; {@code {directory}} stands for the directory. It
   *     must make QEMU wait ({@code -S -incoming defer -global migration.send-configuration=off}) and listen on QMP sockets
   *     {@code control} and {@code qmp} in the directory
   */
  public record Options(Path directory, Map<String, String> netdevs, Map<String, Path> disks, List<String> moreArguments, List<String> commandLine) {
    public Options {
      netdevs = Map.copyOf(netdevs);
      disks = Map.copyOf(disks);
      moreArguments = List.copyOf(moreArguments);
      commandLine = List.copyOf(commandLine);
    }

    public static Options in(Path directory) {
      return new Options(directory, Map.of(), Map.of(), List.of(), List.of());
    }

    public Options withNetdev(String id, String backend) {
      Map<String, String> more = new HashMap<>(netdevs);
      more.put(id, backend);
      return new Options(directory, more, disks, moreArguments, commandLine);
    }
  }

  private final GuestMemory memory;
  private final Path directory;
  private final Process process;
  private final OutputStream leash;
  private final List<Mapping> mappings = new ArrayList<>();
  private final QmpChannel control;
  private final MemFd stateFile;
  private final Mapping state;

  private ReceivingQemu(MachineDescription source, Options options, Process process) {
    this.memory = source.memory();
    this.directory = options.directory();
    this.process = process;
    leash = process.getOutputStream();
    control = awaitControl();
    refuseUnequal("QEMU", source.version(), QemuAttach.versionOf(control));
    refuseUnequal("machine type", source.machineType(), QemuAttach.machineTypeOf(control));
    shareMemory();
    stateFile = MemFd.create(STATE_FD, memory.state().bytes());
    state = stateFile.map();
    mappings.add(state);
    control.executeWithDescriptor("getfd", "{\"fdname\":\"" + STATE_FD + "\"}", stateFile.fd());
  }

  /**
   * Starts it; on return its memory can be written.
   *
   * @throws QemuException with one line that says what cannot work: version, machine type, a missing file, QEMU's own complaint
   */
  public static ReceivingQemu start(MachineDescription source, Options options) {
    List<String> line = options.commandLine().isEmpty()
        ? ReceivingCommandLine.of(source, options)
        : options.commandLine().stream().map(word -> word.replace("{directory}", options.directory().toString())).toList();
    ReceivingCommandLine.refuseNamedMemory(line, source.workingDirectory());
    List<String> launch = new ArrayList<>(List.of("/bin/sh", "-c", LAUNCH, "dyad-standby", options.directory().toString()));
    launch.addAll(line);
    Path workingDirectory = source.workingDirectory();
    Process process;
    try {
      process = new ProcessBuilder(launch)
          .directory((java.nio.file.Files.isDirectory(workingDirectory) ? workingDirectory : options.directory()).toFile())
          .redirectErrorStream(true).redirectOutput(options.directory().resolve("qemu.log").toFile()).start();
    } catch (IOException e) {
      throw new QemuException("the standby's QEMU cannot be started: " + e.getMessage(), e);
    }
    try {
      return new ReceivingQemu(source, options, process);
    } catch (RuntimeException e) {
      process.destroyForcibly();
      letGo(process.getOutputStream());
      throw e;
    }
  }

  /** The watcher ends and does nothing. */
  private static void letGo(OutputStream leash) {
    try {
      leash.write('\n');
      leash.close();
    } catch (IOException e) {
      // The watcher is gone already.
    }
  }

  private QmpChannel awaitControl() {
    Path socket = directory.resolve(CONTROL_SOCKET);
    long end = System.nanoTime() + START_BOUND_MILLIS * 1_000_000L;
    while (true) {
      requireAlive("the standby's QEMU did not start");
      if (java.nio.file.Files.exists(socket)) {
        try {
          return QmpChannel.connect(socket);
        } catch (QemuException e) {
          if (System.nanoTime() > end) {
            throw e;
          }
        }
      } else if (System.nanoTime() > end) {
        throw new QemuException("the standby's QEMU made no QMP socket within " + START_BOUND_MILLIS / 1000 + " s");
      }
      pause();
    }
  }

  private void requireAlive(String what) {
    if (!process.isAlive()) {
      throw new QemuException(what + ": " + complaint());
    }
  }

  /** The first line: what follows in QEMU's log is advice, or the consequence. */
  private String complaint() {
    try {
      return java.nio.file.Files.readString(directory.resolve("qemu.log"), StandardCharsets.UTF_8).strip().lines().findFirst().orElse("it ended without a word");
    } catch (IOException e) {
      return "its log cannot be read";
    }
  }

  private static void refuseUnequal(String what, String primary, String here) {
    if (!primary.equals(here)) {
      throw new QemuException("the standby's " + what + " is " + here + ", the primary's is " + primary + ": both must be the same");
    }
  }

  /** Makes every block a mapping that both processes have, all zero. */
  private void shareMemory() {
    QemuProcess qemu = new QemuProcess(pid());
    List<RamBlocks.RamBlock> blocks = RamBlocks.find(control, qemu);
    List<RamBlocks.RamBlock> wanted = new ArrayList<>();
    for (GuestMemory.Block block : memory.blocks()) {
      wanted.add(blocks.stream().filter(found -> found.name().equals(block.name()) && found.bytes() == block.bytes()).findFirst()
          .orElseThrow(() -> new QemuException("the standby's QEMU has no RAM block " + block.name() + " of " + block.bytes() + " bytes")));
    }
    if (blocks.size() != wanted.size()) {
      throw new QemuException("the standby's QEMU has " + blocks.size() + " RAM blocks, the primary's " + wanted.size());
    }
    try (PidFd target = PidFd.open(pid())) {
      new SyscallInjector(pid()).run(calls -> {
        for (RamBlocks.RamBlock block : wanted) {
          Optional<Path> file = block.area().shared() ? qemu.openFile(block.area()) : Optional.empty();
          mappings.add(file.isPresent() ? sharedAlready(block, file.get()) : replaced(block, calls, target));
        }
        return wanted.size();
      });
    }
  }

  private static Mapping sharedAlready(RamBlocks.RamBlock block, Path file) {
    try (FileDescriptor descriptor = Files.open(file.toString(), O_RDWR())) {
      // What the machine's reset wrote there goes: a page that was never sent is zero.
      NativeException.check(Files.allocate(descriptor.fd(), FALLOC_FL_PUNCH_HOLE() | FALLOC_FL_KEEP_SIZE(), block.area().offset(), block.bytes()),
          "fallocate", "FALLOC_FL_PUNCH_HOLE " + block.name());
      return Mapping.shared(descriptor.fd(), block.area().offset(), block.bytes());
    }
  }

  private static Mapping replaced(RamBlocks.RamBlock block, SyscallInjector.Calls calls, PidFd target) {
    String detail = "in QEMU, block " + block.name();
    long remote = NativeException.check(calls.call(SYS_memfd_create(), calls.nameVirt(), MFD_CLOEXEC()), "memfd_create", detail);
    NativeException.check(calls.call(SYS_ftruncate(), remote, block.bytes()), "ftruncate", detail);
    NativeException.check(calls.call(SYS_mmap(), block.remoteVirt(), block.bytes(), PROT_READ() | PROT_WRITE(), MAP_SHARED() | MAP_FIXED(), remote, 0),
        "mmap", detail);
    int here = (int) NativeException.check(target.takeDescriptor((int) remote), "pidfd_getfd", detail);
    calls.call(SYS_close(), remote);
    try (FileDescriptor descriptor = FileDescriptor.adopt(here)) {
      return Mapping.shared(descriptor.fd(), 0, block.bytes());
    }
  }

  /** Equal for as long as this QEMU lives, and no other's; the same as {@link QemuAttach#identity} for this process. */
  public String identity() {
    return new QemuProcess(pid()).identity();
  }

  public int pid() {
    return (int) process.pid();
  }

  public boolean alive() {
    return process.isAlive();
  }

  /** A QMP socket that nobody holds: to protect the promoted guest again, and for its users. */
  public Path qmp() {
    return directory.resolve(QMP_SOCKET);
  }

  /** Our own QMP connection, for commands of other parts. */
  public QmpChannel control() {
    return control;
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public long hostVirt(int block) {
    return mappings.get(block).hostVirt();
  }

  @Override
  public void promote(long fromVirt, int bytes) {
    Memory.copy(fromVirt, state.hostVirt(), bytes);
    NativeException.check(Files.truncate(stateFile.fd(), bytes), "ftruncate", "state bytes=" + bytes);
    try {
      control.execute("migrate-incoming", "{\"uri\":\"fd:" + STATE_FD + "\"}");
      // While it loads this only notes that it shall run then.
      control.execute("cont", "");
      long end = System.nanoTime() + LOAD_BOUND_MILLIS * 1_000_000L;
      while (!control.execute("query-status", "").get("running").isTrue()) {
        if (control.execute("query-status", "").get("status").text().equals("paused")) {
          control.execute("cont", "");
        }
        if (System.nanoTime() > end) {
          throw new QemuException("the standby's QEMU did not load the state within " + LOAD_BOUND_MILLIS / 1000 + " s");
        }
      }
    } catch (QemuException e) {
      requireAliveAfterLoad(e);
      throw e;
    }
    letGo(leash);
  }

  private void requireAliveAfterLoad(QemuException cause) {
    try {
      if (process.waitFor(1, TimeUnit.SECONDS)) {
        throw new QemuException("the standby's QEMU refused the guest's state: " + complaint(), cause);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void pause() {
    try {
      Thread.sleep(10);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new QemuException("interrupted while the standby's QEMU started", e);
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor(10, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    letGo(leash);
    control.close();
    mappings.forEach(Mapping::close);
    stateFile.close();
  }
}
