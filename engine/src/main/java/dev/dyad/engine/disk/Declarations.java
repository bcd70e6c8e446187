package dev.dyad.engine.disk;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** What only a person can decide of an image that no process uses, written to its metadata. Control thread; waits. */
public final class Declarations {
  private static final long WAIT_NANOS = 100_000_000L;

  private Declarations() {}

  /**
   * The image is good as it is: a machine may start from it although it was a standby's, was not level or failed. Where that was so, nothing
   * is known of what it lacks, and its content gets an identifier without a past.
   *
   * @return what was found and is so no more, in a few words
   * @throws DiskRefusedException in one line
   */
  public static String force(Path image) {
    return change(
        image,
        metadata -> {
          boolean whole = !metadata.has(Superblock.INCONSISTENT | Superblock.FAILED);
          String found = whole ? "was a standby's" : "was not level, or had failed";
          if (whole && !metadata.has(Superblock.RECEIVING)) {
            return "was good already";
          }
          int unset = Superblock.INCONSISTENT | Superblock.RECEIVING | Superblock.FAILED | Superblock.LOGGED | Superblock.DISCARD_MINE;
          Generations now = whole ? metadata.generations() : Generations.first(DiskFiles.identifier());
          await(metadata, metadata.update(now, 0, unset, metadata.logId()));
          return found;
        });
  }

  /**
   * What this image has of its own is void: the next primary levels it, whatever both went through.
   *
   * @return what it was, in a few words
   */
  public static String discard(Path image) {
    return change(
        image,
        metadata -> {
          await(metadata, metadata.update(metadata.generations(), Superblock.DISCARD_MINE, 0, metadata.logId()));
          return "was " + metadata.generations();
        });
  }

  /**
   * Forgets all that is known of the image: as a standby's it counts as empty, as a primary's it begins anew.
   *
   * @return where that was kept
   */
  public static String reset(Path image) {
    Path metadata = DiskFiles.metadata(image);
    try {
      if (!Files.isRegularFile(metadata)) {
        throw new DiskRefusedException("image " + image + " has no metadata (looked for " + metadata + ")");
      }
      UringDisk open = UringDisk.open(metadata.toString(), 1);
      try {
        open.lock(image); // nobody uses it
      } finally {
        open.close();
      }
      Files.delete(metadata);
      Files.deleteIfExists(DiskFiles.log(image));
      return metadata.toString();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String change(Path image, java.util.function.Function<DiskMetadata, String> how) {
    Path path = DiskFiles.metadata(image);
    if (!Files.isRegularFile(path)) {
      throw new DiskRefusedException("image " + image + " has no metadata (looked for " + path + "): it was never protected");
    }
    long bytes;
    UringDisk data = UringDisk.open(image.toString(), 16);
    try {
      bytes = data.bytes();
      UringDisk device = UringDisk.open(path.toString(), 4 * ActivityLog.TRANSACTION_MAX);
      try {
        device.lock(image);
      } catch (RuntimeException e) {
        device.close();
        throw e;
      }
      BlockMap[] marks = new BlockMap[1];
      DiskMetadata metadata =
          DiskMetadata.open(device, bytes, block -> 0, geometry -> marks[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
      metadata.marks(marks[0]::word);
      try {
        if (metadata.has(Superblock.LOGGED) && Files.exists(DiskFiles.log(image))) {
          replay(image, data, metadata);
        }
        return how.apply(metadata);
      } finally {
        metadata.close();
      }
    } finally {
      data.close();
    }
  }

  /** Durable epochs that the image has not got yet belong to it. */
  private static void replay(Path image, UringDisk data, DiskMetadata metadata) {
    UringDisk log = UringDisk.open(DiskFiles.log(image).toString(), 16);
    try {
      LogReplay.run(log, data, metadata.logId(), data.transferBytesMax());
    } finally {
      log.close();
    }
  }

  private static void await(DiskMetadata metadata, long ticket) {
    while (!metadata.isDurable(ticket)) {
      metadata.poll();
      metadata.await(WAIT_NANOS);
      if (metadata.error() != 0) {
        throw new DiskRefusedException("the metadata cannot be written: " + dev.dyad.bindings.linux.Errno.name(-metadata.error()));
      }
    }
  }
}
