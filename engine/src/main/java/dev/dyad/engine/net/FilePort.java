package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.O_APPEND;
import static dev.dyad.bindings.abi.linux.linux_h.O_CREAT;
import static dev.dyad.bindings.abi.linux.linux_h.O_NONBLOCK;
import static dev.dyad.bindings.abi.linux.linux_h.O_WRONLY;

import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Memory;
import java.nio.file.Path;

/**
 * Appends the contents of frames to a file, a terminal or a pipe: where a console's output leaves. Receives nothing. Owns the descriptor.
 *
 * <p>Never waits: the thread that releases is the epoch thread. What a stopped terminal or a full pipe does not take at once is lost and counted.
 */
public final class FilePort implements PacketPort {
  private static final int PREFIX_BYTES = 4;
  private static final int OWNER_ONLY = 0600;

  private final FileDescriptor file;
  private final Count lost = new Count();

  private FilePort(FileDescriptor file) {
    this.file = file;
  }

  /**
   * @throws IllegalArgumentException with one line when it cannot be opened
   */
  public static FilePort append(Path path) {
    int fd = Files.tryOpen(path.toString(), O_WRONLY() | O_APPEND() | O_CREAT() | O_NONBLOCK(), OWNER_ONLY);
    if (fd < 0) {
      throw new IllegalArgumentException("console file " + path + ": " + Errno.name(-fd) + "; needed is a file that can be made or written to");
    }
    return new FilePort(FileDescriptor.adopt(fd));
  }

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  @Override
  public long receive(long at, long room) {
    return AGAIN;
  }

  /** One frame. */
  @Override
  public long send(long from, long bytes) {
    int length = Integer.reverseBytes(Memory.getInt(from));
    long done = 0;
    while (done < length) {
      long written = Files.write(file.fd(), from + PREFIX_BYTES + done, length - done);
      if (written > 0) {
        done += written;
      } else if (written != -EINTR()) {
        lost.add(1); // no room, a full disk, a closed pipe: the guest goes on
        break;
      }
    }
    return PREFIX_BYTES + (long) length;
  }

  @Override
  public int receiveFd() {
    return -1;
  }

  @Override
  public int sendFd() {
    return file.fd();
  }

  @Override
  public long lostFrames() {
    return lost.get();
  }

  @Override
  public void close() {
    file.close();
  }
}
