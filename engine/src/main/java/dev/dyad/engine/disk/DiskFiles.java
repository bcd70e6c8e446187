package dev.dyad.engine.disk;

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;

/**
 * An image and what belongs to it: {@code IMAGE.dyad} holds its metadata, {@code IMAGE.log} a standby's write log. Opens them; the rings are
 * made by the calling thread, so that is the disk thread.
 */
public final class DiskFiles {
  private static final SecureRandom RANDOM = new SecureRandom();

  private DiskFiles() {}

  public static Path metadata(Path image) {
    return image.resolveSibling(image.getFileName() + ".dyad");
  }

  public static Path log(Path image) {
    return image.resolveSibling(image.getFileName() + ".log");
  }

  /** An identifier of data, never used before. */
  public static long identifier() {
    long identifier = 0;
    while (identifier == 0) {
      identifier = RANDOM.nextLong();
    }
    return identifier;
  }

  /**
   * The disk of a primary. An image without metadata gets them: from now on it is what its content says.
   *
   * @throws DiskRefusedException in one line, when image or metadata are not usable
   */
  public static MirroredDisk openPrimary(Path image, MirrorConfig config, int depth, long firstEpoch) {
    UringDisk data = UringDisk.open(image.toString(), depth);
    try {
      return MirroredDisk.open(data, metadata(image, data.bytes(), true), config, firstEpoch);
    } catch (RuntimeException e) {
      data.close();
      throw e;
    }
  }

  /** The disk of a standby: an image without metadata counts as empty, whatever it holds, and gets everything from the primary. */
  public static StandbyDisk openStandby(Path image, MirrorConfig config, int depth, long logBytes, DiskChannel channel) {
    UringDisk data = UringDisk.open(image.toString(), depth);
    try {
      UringDisk log = logBytes > 0 ? UringDisk.open(log(image).toString(), 16, logBytes) : null;
      return StandbyDisk.open(data, metadata(image, data.bytes(), false), log, config, channel);
    } catch (RuntimeException e) {
      data.close();
      throw e;
    }
  }

  private static UringDisk metadata(Path image, long imageBytes, boolean hasContent) {
    Path path = metadata(image);
    DiskGeometry geometry = DiskGeometry.of(imageBytes);
    boolean isNew = !Files.exists(path);
    UringDisk device = UringDisk.open(path.toString(), 4 * ActivityLog.TRANSACTION_MAX, isNew ? geometry.metadataBytes() : 0);
    try {
      device.lock(image);
      if (isNew || DiskMetadata.isBlank(device)) {
        Generations generations = hasContent ? Generations.first(identifier()) : Generations.NONE;
        DiskMetadata.format(device, geometry, RANDOM.nextLong(), RANDOM.nextLong(), generations);
      }
      return device;
    } catch (RuntimeException e) {
      device.close();
      throw e;
    }
  }
}
