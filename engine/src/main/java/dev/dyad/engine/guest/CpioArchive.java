package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;

/**
 * Writes an initramfs: the "newc" cpio format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * <p>Paths are given without a leading slash; the directories above an entry are added once, before it. Entries come out in the order of the calls, all owned
 * by root and dated 0, so that equal inputs give equal bytes.
 */
public final class CpioArchive implements AutoCloseable {
  private static final int DIRECTORY = 0040755;
  private static final int REGULAR = 0100000;
  private static final int SYMLINK = 0120777;
  private static final int CHARACTER_DEVICE = 0020600;

  private final OutputStream out;
  private final Set<String> directories = new HashSet<>();
  private long written;
  private int inode;

  public CpioArchive(OutputStream out) {
    this.out = out;
  }

  public void directory(String path) throws IOException {
    addParents(path);
    if (directories.add(path)) {
      entry(path, DIRECTORY, 2, new byte[0], 0, 0);
    }
  }

  /**
   * @param permissions the nine permission bits
   */
  public void file(String path, int permissions, byte[] content) throws IOException {
    addParents(path);
    entry(path, REGULAR | permissions, 1, content, 0, 0);
  }

  public void symlink(String path, String target) throws IOException {
    addParents(path);
    entry(path, SYMLINK, 1, target.getBytes(StandardCharsets.UTF_8), 0, 0);
  }

  public void characterDevice(String path, int major, int minor) throws IOException {
    addParents(path);
    entry(path, CHARACTER_DEVICE, 1, new byte[0], major, minor);
  }

  private void addParents(String path) throws IOException {
    int slash = path.lastIndexOf('/');
    if (slash > 0) {
      directory(path.substring(0, slash));
    }
  }

  private void entry(String path, int mode, int links, byte[] content, int major, int minor) throws IOException {
    byte[] name = (path + '\0').getBytes(StandardCharsets.UTF_8);
    String header = "070701" + hex(++inode) + hex(mode) + hex(0) + hex(0) + hex(links) + hex(0) + hex(content.length)
        + hex(0) + hex(0) + hex(major) + hex(minor) + hex(name.length) + hex(0);
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
    entry("TRAILER!!!", 0, 1, new byte[0], 0, 0);
    out.close();
  }
}
