package dev.dyad.engine.node;

import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.FileArbiter;
import dev.dyad.engine.net.GuestNic;
import dev.dyad.engine.net.QmpCommands;
import dev.dyad.engine.net.RedirectorPair;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import dev.dyad.engine.vm.qemu.MachineDescription;
import dev.dyad.engine.vm.qemu.ReceivingQemu;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What a standby for QEMU guests brings along: builds the QEMU that waits, with a way to announce its addresses through its own network
 * back ends, and opens the arbiter's file.
 *
 * <p>Control thread.
 */
public final class QemuStandbyHost implements StandbyNode.Host {
  /**
   * What the operator decides for this side.
   *
   * @param netdevs by netdev id, the value of {@code -netdev} here
   * @param moreArguments appended to the command line
   * @param commandLine replaces the adapted command line, unless empty
   * @param generationFile of the arbiter, or null for the one that the primary names
   */
  public record Options(Map<String, String> netdevs, List<String> moreArguments, List<String> commandLine, @Nullable Path generationFile) {}

  /** A QEMU that waits, and what belongs to it. */
  private static final class Waiting implements StandbyMachine {
    private final ReceivingQemu qemu;
    private final Path directory;
    private final List<RedirectorPair> pairs = new ArrayList<>();

    Waiting(ReceivingQemu qemu, Path directory) {
      this.qemu = qemu;
      this.directory = directory;
      QmpCommands qmp = (command, arguments) -> qemu.control().execute(command, arguments).toString();
      for (GuestNic nic : GuestNic.of(qmp)) {
        pairs.add(RedirectorPair.open(qmp, nic, qemu.pid(), directory));
      }
    }

    @Override
    public GuestMemory memory() {
      return qemu.memory();
    }

    @Override
    public long hostVirt(int block) {
      return qemu.hostVirt(block);
    }

    @Override
    public void promote(long state, int bytes) {
      qemu.promote(state, bytes);
    }

    @Override
    public void close() {
      qemu.close();
      pairs.forEach(RedirectorPair::close);
      deleteTree(directory);
    }
  }

  private final Options options;
  private int built;

  public QemuStandbyHost(Options options) {
    this.options = options;
  }

  @Override
  public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
    if (kind != AttachedQemu.MACHINE_KIND) {
      throw new IllegalArgumentException("the primary runs a machine of kind " + kind + "; this standby builds QEMU machines, kind " + AttachedQemu.MACHINE_KIND);
    }
    MachineDescription source = MachineDescription.fromJson(new String(envelope.description(), StandardCharsets.UTF_8));
    Path directory = RuntimeDirectory.path().resolve("standby-" + ProcessHandle.current().pid() + "-" + built++);
    try {
      Files.createDirectories(directory);
    } catch (IOException e) {
      throw new UncheckedIOException("directory " + directory + " for the waiting QEMU cannot be made: " + e.getMessage(), e);
    }
    try {
      ReceivingQemu qemu = ReceivingQemu.start(source, new ReceivingQemu.Options(directory, options.netdevs(), options.moreArguments(), options.commandLine()));
      try {
        return new Waiting(qemu, directory);
      } catch (RuntimeException e) {
        qemu.close();
        throw e;
      }
    } catch (RuntimeException e) {
      deleteTree(directory);
      throw e;
    }
  }

  @Override
  public Arbiter arbiter(MachineEnvelope envelope) {
    Path file = options.generationFile();
    return FileArbiter.open(file != null ? file : Path.of(envelope.generationFile()));
  }

  @Override
  public String identity(StandbyMachine machine) {
    return ((Waiting) machine).qemu.identity();
  }

  /** Tells the network where the guest is now. */
  public static void announce(StandbyNode.Promoted promoted) {
    List<RedirectorPair> pairs = ((Waiting) promoted.machine()).pairs;
    for (int i = 0; i < Math.min(pairs.size(), NodePage.nicCount(promoted.nodePage())); i++) {
      NodePage.announce(promoted.nodePage(), i, pairs.get(i).outside());
    }
  }

  /** QMP socket of the guest that went on here, for its users and for protecting it again. */
  public static Path qmp(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.qmp();
  }

  public static int pid(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.pid();
  }

  public static boolean alive(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.alive();
  }

  /** Lets go of a guest that went on here: it lives on without us. */
  public static void release(StandbyMachine promoted) {
    ((Waiting) promoted).pairs.forEach(RedirectorPair::close);
  }

  private static void deleteTree(Path directory) {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
