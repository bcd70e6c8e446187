package dev.dyad.engine.node;

import dev.dyad.engine.disk.MirrorConfig;
import java.nio.file.Path;

/**
 * A guest's disk as the operator names it.
 *
 * @param node QEMU's name of it (drive id or node-name); any word for a microVM
 * @param image this host's image: a file or block device
 * @param durable whether an epoch in which the guest flushed counts only when both disks have it; else the standby's memory will do
 * @param resyncBytesPerSecond bound of levelling, {@link Long#MAX_VALUE} for none
 */
public record DiskOptions(String node, Path image, boolean durable, long resyncBytesPerSecond) {
  /** Requests to the image in flight. */
  static final int DEPTH = 128;

  /** Where epochs go that memory cannot hold; sparse, so it takes what it needs. An epoch may be a quarter of both. */
  static final long LOG_BYTES = 1L << 30;

  MirrorConfig config() {
    return MirrorConfig.DEFAULT.withDurable(durable).withResyncRate(resyncBytesPerSecond);
  }
}
