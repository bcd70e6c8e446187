package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;

/**
 * Writes an initramfs: the "newc" cpio format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * <p>Paths are given without a leading slash; the directories above a file are added once, before it. All is owned by root and
 * dated 0, so that equal inputs give equal bytes.
 */
final class CpioArchive implements AutoCloseable {
  private static final int DIRECTORY = 0040755;
  private static final int REGULAR = 0100000;

  private final OutputStream out;
  private final Set<String> directories = new HashSet<>();
  private long written;
  private int inode;

  CpioArchive(OutputStream out) {
    this.out = out;
  }

  void directory(String path) throws IOException {
    addParents(path);
    if (directories.add(path)) {
      entry(path, DIRECTORY, new byte[0]);
    }
  }

  /**
   * @param permissions the nine permission bits
   */
  void file(String path, int permissions, byte[] content) throws IOException {
    addParents(path);
    entry(path, REGULAR | permissions, content);
  }

  private void addParents(String path) throws IOException {
    int slash = path.lastIndexOf('/');
    if (slash > 0) {
      directory(path.substring(0, slash));
    }
  }

  private void entry(String path, int mode, byte[] content) throws IOException {
    byte[] name = (path + '\0').getBytes(StandardCharsets.UTF_8);
    String header = "070701" + hex(++inode) + hex(mode) + hex(0) + hex(0) + hex(1) + hex(0) + hex(content.length)
        + hex(0) + hex(0) + hex(0) + hex(0) + hex(name.length) + hex(0);
    write(header.getBytes(StandardCharsets.US_ASCII));
    write(name);
    pad();
    write(content);
    pad();
  }

  private static String hex(int value) {
    return String.format("%08x", value);
  }

  private void write(byte[] bytes) throws IOException {
    out.write(bytes);
    written += bytes.length;
  }

  private void pad() throws IOException {
    while (written % 4 != 0) {
      out.write(0);
      written++;
    }
  }

  /** Writes the end mark and closes the stream. */
  @Override
  public void close() throws IOException {
    inode = -1;
    entry("TRAILER!!!", 0, new byte[0]);
    out.close();
  }
}
