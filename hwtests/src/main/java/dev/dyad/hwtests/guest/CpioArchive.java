package dev.dyad.hwtests.guest;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/**
 * Writes an initial file system for Linux: cpio's "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst).
 * Entries come out in the order of the calls, all owned by root and dated 0, so that equal input gives equal bytes.
 */
public final class CpioArchive implements AutoCloseable {
  private static final int DIRECTORY = 0040755;
  private static final int FILE = 0100000;
  private static final int SYMLINK = 0120777;
  private static final int CHARACTER_DEVICE = 0020600;

  private final OutputStream out;
  private int inode = 1;

  public CpioArchive(OutputStream out) {
    this.out = out;
  }

  public void directory(String path) throws IOException {
    entry(path, DIRECTORY, new byte[0], 0, 0);
  }

  public void file(String path, int permissions, byte[] content) throws IOException {
    entry(path, FILE | permissions, content, 0, 0);
  }

  public void symlink(String path, String target) throws IOException {
    entry(path, SYMLINK, target.getBytes(StandardCharsets.UTF_8), 0, 0);
  }

  public void characterDevice(String path, int major, int minor) throws IOException {
    entry(path, CHARACTER_DEVICE, new byte[0], major, minor);
  }

  /** Writes the end mark and closes the stream. */
  @Override
  public void close() throws IOException {
    entry("TRAILER!!!", 0, new byte[0], 0, 0);
    out.close();
  }

  private void entry(String path, int mode, byte[] content, int major, int minor) throws IOException {
    var name = path.getBytes(StandardCharsets.UTF_8);
    int links = (mode & DIRECTORY) == DIRECTORY ? 2 : 1;
    var head = new ByteArrayOutputStream(128 + name.length);
    head.writeBytes("070701".getBytes(StandardCharsets.US_ASCII));
    int[] fields = {inode++, mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length + 1, 0};
    for (int field : fields) {
      head.writeBytes("%08X".formatted(field).getBytes(StandardCharsets.US_ASCII));
    }
    head.writeBytes(name);
    head.write(0);
    pad(head);
    head.writeTo(out);
    out.write(content);
    out.write(new byte[-content.length & 3]);
  }

  private static void pad(ByteArrayOutputStream head) {
    while ((head.size() & 3) != 0) {
      head.write(0);
    }
  }
}
