package dev.dyad.engine.disk.nbd;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.MirrorConfig;
import dev.dyad.engine.disk.MirroredDisk;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Path;

/** The same clients against what a guest's disk hangs on: a primary's side of a mirror, which takes smaller pieces and keeps its own order. */
class NbdOnMirrorTest extends NbdServerTest {
  @Override
  BlockDevice open(Path image, long bytes) {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return DiskFiles.openPrimary(image, MirrorConfig.DEFAULT, 64, 1);
  }

  @Override
  void ready(BlockDevice device, NbdServer present) {
    if (device instanceof MirroredDisk mirror) {
      mirror.onCompletion(present.completions());
    }
  }
}
