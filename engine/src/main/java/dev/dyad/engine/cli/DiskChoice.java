package dev.dyad.engine.cli;

import dev.dyad.engine.node.DiskOptions;
import dev.dyad.engine.node.NotStartedException;
import dev.dyad.engine.node.ReceivingDisk;
import dev.dyad.engine.observe.RuntimeDirectory;
import java.nio.file.Path;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The guest's disk on this host. */
final class DiskChoice {
  /** What must have the writes of an epoch in which the guest flushed before it counts. Lower case, as it is typed. */
  enum Durability {
    memory,
    disk
  }

  @Option(
      names = "--disk",
      paramLabel = "NODE=FILE",
      description = "protect the guest's disk NODE (a drive id or node-name of QEMU's; virtio0 is the first -drive if=virtio without one) with FILE as this host's image; FILE.dyad is kept beside it")
  private Map<String, Path> disks = Map.of();

  @Option(
      names = "--durability",
      paramLabel = "WHERE",
      defaultValue = "memory",
      description = "what the standby must have an epoch on in which the guest flushed: memory (default; a power loss of both hosts takes its last epochs) or disk; equal on both")
  private Durability durability = Durability.memory;

  @Option(names = "--resync-rate", paramLabel = "SIZE", converter = SizeConverter.class, description = "bytes a second at most while the standby's disk is levelled (default: no bound)")
  private @Nullable Long resyncBytesPerSecond;

  /** The disk that was named, or null. */
  @Nullable DiskOptions chosen() {
    if (disks.isEmpty()) {
      return null;
    }
    if (disks.size() > 1) {
      throw new CommandFailure(ExitCode.USAGE, disks.size() + " disks were named; so far one disk of a guest can be protected");
    }
    Map.Entry<String, Path> only = disks.entrySet().iterator().next();
    long rate = resyncBytesPerSecond == null ? Long.MAX_VALUE : resyncBytesPerSecond;
    return new DiskOptions(only.getKey(), only.getValue().toAbsolutePath(), durability == Durability.disk, rate);
  }

  /** The same for a standby, opened; or null. */
  @Nullable ReceivingDisk receiver() {
    DiskOptions named = chosen();
    if (named == null) {
      return null;
    }
    try {
      return new ReceivingDisk(named, RuntimeDirectory.path().resolve("standby-" + ProcessHandle.current().pid() + "-" + named.node() + ".nbd"));
    } catch (RuntimeException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    }
  }
}
