package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.statx;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Ioctl;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Syscall;
import dev.dyad.bindings.uring.CompletionRing;
import dev.dyad.bindings.uring.Ring;
import dev.dyad.bindings.uring.RingConfig;
import dev.dyad.bindings.uring.SubmissionRing;
import dev.dyad.bindings.uring.UserData;
import org.jspecify.annotations.Nullable;

/**
 * A file or block device on one io_uring, past the page cache where the file system allows it. Thread: disk; owns ring and descriptor.
 *
 * <p>Short transfers go on where they stopped, {@code EAGAIN} and {@code EINTR} are tried again. A file that cannot punch or zero ranges
 * gets zeroes written instead, so that two hosts' disks read the same whatever they are made of.
 */
public final class UringDisk implements BlockDevice {
  private static final int TRANSFER_BYTES_MAX = 1 << 20;
  private static final int NO_BUFFER = -1;

  /**
   * Requests that one call hands over at most. All of a full queue at once would come back at once, too, and meanwhile nobody prepares the next: the device rests
   * while we work and we while it does. One by one, each pays for a call of its own.
   */
  private static final int BATCH = 4;

  /** The same as bytes: what a call costs is little beside the pages that it looks up, and whoever copies the data elsewhere does it while the device works. */
  private static final int BATCH_BYTES = 64 << 10;

  private final FileDescriptor file;
  private final Ring ring;
  private final SubmissionRing submission;
  private final CompletionRing completion;
  private final long bytes;
  private final int blockBytes;
  private final boolean direct;
  private final int[] op;
  private final int[] flags;
  private final long[] offset;
  private final long[] left;
  private final long[] hostVirt;
  private final long[] tag;
  private final int[] use;
  private final int[] free;
  private final int[] again;
  private final Mapping zeroes;
  /** Rung by completions, once somebody rests on it: a ring whose completion work is deferred wakes nobody who polls its own descriptor. */
  private @Nullable EventFd bell;

  private long pinnedFrom;
  private long pinnedTo;
  private int freeCount;
  private int againCount;
  private int prepared;
  private long preparedBytes;
  private boolean canPunch = true;
  private boolean canZero = true;

  private UringDisk(FileDescriptor file, long bytes, int blockBytes, boolean direct, int depth) {
    this.file = file;
    this.bytes = bytes;
    this.blockBytes = blockBytes;
    this.direct = direct;
    ring = Ring.create(RingConfig.of(depth));
    submission = ring.submission();
    completion = ring.completion();
    NativeException.check(ring.registerFiles(file.fd()), "io_uring_register FILES", "fd=" + file.fd());
    op = new int[depth];
    flags = new int[depth];
    offset = new long[depth];
    left = new long[depth];
    hostVirt = new long[depth];
    tag = new long[depth];
    use = new int[depth];
    free = new int[depth];
    again = new int[depth];
    for (int i = 0; i < depth; i++) {
      free[i] = depth - 1 - i;
    }
    freeCount = depth;
    zeroes = Mapping.anonymous(TRANSFER_BYTES_MAX);
  }

  /**
   * Opens an existing image for the calling thread.
   *
   * @param depth requests in flight, at most 32768
   * @throws DiskRefusedException when it cannot be opened, in one line
   */
  public static UringDisk open(String path, int depth) {
    return open(path, depth, 0);
  }

  /** The same; a regular file is created or grown to {@code bytesWanted} unless that is 0. */
  public static UringDisk open(String path, int depth, long bytesWanted) {
    int create = bytesWanted > 0 ? O_CREAT() : 0;
    int fd = Files.tryOpen(path, O_RDWR() | O_DIRECT() | create, 0600);
    boolean direct = fd >= 0;
    if (fd == -EINVAL()) {
      fd = Files.tryOpen(path, O_RDWR() | create, 0600); // tmpfs before Linux 6.5 and some others have no direct access
    }
    if (fd < 0) {
      throw new DiskRefusedException("disk image " + path + ": " + Errno.name(-fd) + ": an existing file or block device that can be written is needed");
    }
    FileDescriptor file = FileDescriptor.adopt(fd);
    try {
      long[] sizes = sizes(fd, path, direct);
      if (bytesWanted > sizes[0] && sizes[2] == 0) {
        NativeException.check(Files.truncate(fd, bytesWanted), "ftruncate", path + " to " + bytesWanted + " bytes");
        sizes[0] = bytesWanted;
      }
      int block = (int) sizes[1];
      if (sizes[0] < block) {
        throw new DiskRefusedException("disk image " + path + " has " + sizes[0] + " bytes, needed is at least one block of " + block);
      }
      return new UringDisk(file, sizes[0] & -block, block, direct, depth);
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  /**
   * Keeps other processes out until this is closed.
   *
   * @throws DiskRefusedException when one is in
   */
  void lock(java.nio.file.Path image) {
    long result = Syscall.call(SYS_flock(), file.fd(), LOCK_EX() | LOCK_NB());
    if (result == -EAGAIN()) {
      throw new DiskRefusedException("image " + image + " is used by another process: end that one first (dyad status names it)");
    }
    NativeException.check(result, "flock", image.toString());
  }

  /** Size, alignment, and 1 for a block device. */
  private static long[] sizes(int fd, String path, boolean direct) {
    try (Mapping scratch = Mapping.anonymous(4096)) {
      long at = scratch.hostVirt();
      int mask = STATX_SIZE() | STATX_MODE() | STATX_DIOALIGN();
      NativeException.check(Syscall.call(SYS_statx(), fd, at + 2048, AT_EMPTY_PATH(), mask, at), "statx", path);
      int mode = Memory.getShort(at + statx.stx_mode$offset());
      if ((mode & S_IFMT()) == S_IFBLK()) {
        NativeException.check(Ioctl.call(fd, BLKGETSIZE64(), at), "ioctl BLKGETSIZE64", path);
        long size = Memory.getLong(at);
        NativeException.check(Ioctl.call(fd, BLKSSZGET(), at), "ioctl BLKSSZGET", path);
        return new long[] {size, Memory.getInt(at), 1};
      }
      if ((mode & S_IFMT()) != S_IFREG()) {
        throw new DiskRefusedException("disk image " + path + " is neither a file nor a block device");
      }
      int align = Memory.getInt(at + statx.stx_dio_offset_align$offset());
      int memoryAlign = Memory.getInt(at + statx.stx_dio_mem_align$offset());
      boolean told = (Memory.getInt(at + statx.stx_mask$offset()) & STATX_DIOALIGN()) != 0 && align > 0;
      int block = !direct ? 512 : told ? Math.max(512, Math.max(align, memoryAlign)) : 4096;
      return new long[] {Memory.getLong(at + statx.stx_size$offset()), block, 0};
    }
  }

  /** Whether the page cache is bypassed. */
  public boolean isDirect() {
    return direct;
  }

  /**
   * Pins memory in which transfers' data lies, so that the kernel looks its pages up once.
   *
   * @return 0, or −errno (−ENOMEM: raise RLIMIT_MEMLOCK); without it everything works as well
   */
  public int pin(long from, long length) {
    int rc = ring.registerBuffers(from, length);
    if (rc == 0) {
      pinnedFrom = from;
      pinnedTo = from + length;
    }
    return rc;
  }

  @Override
  public long bytes() {
    return bytes;
  }

  @Override
  public int blockBytes() {
    return blockBytes;
  }

  @Override
  public int queueDepth() {
    return free.length;
  }

  @Override
  public int transferBytesMax() {
    return TRANSFER_BYTES_MAX;
  }

  @Override
  public long extent(long from, long count) {
    long data = Files.seek(file.fd(), from, SEEK_DATA());
    if (data == -ENXIO()) {
      return -count; // no data from there on
    }
    if (data < 0) {
      return count; // a block device, or a file system that does not tell
    }
    long zeroes = (data - from) & -blockBytes;
    if (zeroes > 0) {
      return -Math.min(count, zeroes);
    }
    long hole = Files.seek(file.fd(), data, SEEK_HOLE());
    // What was data may be punched between the two calls.
    return hole < 0 ? count : Math.min(count, Math.max(blockBytes, (hole - from + blockBytes - 1) & -blockBytes));
  }

  @Override
  public int inFlight() {
    return free.length - freeCount;
  }

  @Override
  public boolean submit(int newOp, int newFlags, long newOffset, long newBytes, long newHostVirt, long newTag) {
    if (freeCount == 0) {
      return false;
    }
    int slot = free[--freeCount];
    op[slot] = newOp;
    flags[slot] = newFlags;
    offset[slot] = newOffset;
    left[slot] = newBytes;
    hostVirt[slot] = newHostVirt;
    tag[slot] = newTag;
    use[slot]++;
    prepare(slot);
    return true;
  }

  private void prepare(int slot) {
    long data = UserData.pack(op[slot], slot, use[slot]);
    int length = (int) Math.min(left[slot], TRANSFER_BYTES_MAX);
    SubmissionRing sq = submission.with(SubmissionRing.FIXED_FILE);
    boolean taken =
        switch (op[slot]) {
          case READ ->
              bufferOf(slot, length) == NO_BUFFER
                  ? sq.read(0, hostVirt[slot], length, offset[slot], data)
                  : sq.readFixed(0, hostVirt[slot], length, offset[slot], 0, data);
          case WRITE ->
              bufferOf(slot, length) == NO_BUFFER
                  ? sq.write(0, hostVirt[slot], length, offset[slot], rwFlags(slot), data)
                  : sq.writeFixed(0, hostVirt[slot], length, offset[slot], 0, rwFlags(slot), data);
          case FLUSH -> sq.fdatasync(0, data);
          default -> prepareClear(sq, slot, length, data);
        };
    if (!taken) {
      again[againCount++] = slot;
      return;
    }
    prepared++;
    preparedBytes += left[slot];
    if (prepared == BATCH || preparedBytes >= BATCH_BYTES) {
      handedOver(ring.submit());
    }
  }

  private boolean prepareClear(SubmissionRing sq, int slot, int length, long data) {
    if (op[slot] == DISCARD && canPunch) {
      return sq.fallocate(0, FALLOC_FL_PUNCH_HOLE() | FALLOC_FL_KEEP_SIZE(), offset[slot], left[slot], data);
    }
    if (canZero) {
      return sq.fallocate(0, FALLOC_FL_ZERO_RANGE() | FALLOC_FL_KEEP_SIZE(), offset[slot], left[slot], data);
    }
    return sq.write(0, zeroes.hostVirt(), length, offset[slot], rwFlags(slot), data);
  }

  private int bufferOf(int slot, int length) {
    return hostVirt[slot] >= pinnedFrom && hostVirt[slot] + length <= pinnedTo ? 0 : NO_BUFFER;
  }

  private int rwFlags(int slot) {
    return (flags[slot] & FUA) != 0 ? SubmissionRing.RWF_DSYNC : 0;
  }

  @Override
  public int poll(Completions completions) {
    for (int waiting = againCount; waiting > 0; waiting--) {
      int slot = again[--againCount];
      prepare(slot);
      if (againCount == waiting) {
        break; // the ring is full still
      }
    }
    if (inFlight() == 0) {
      return 0;
    }
    handedOver(ring.submitAndReap());
    int done = 0;
    while (completion.next()) {
      done += complete(UserData.slot(completion.userData()), completion.result(), completions);
    }
    return done;
  }

  /** What is not taken now stays in the ring for the next call. */
  private void handedOver(int result) {
    prepared = 0;
    preparedBytes = 0;
    if (result < 0 && result != -EAGAIN() && result != -EBUSY() && result != -EINTR()) {
      throw new NativeException("io_uring_enter", -result, "to submit " + submission.pending());
    }
  }

  @Override
  public void await(long nanos) {
    if (inFlight() > 0) {
      waitForOne(nanos);
    }
  }

  @Override
  public void rest(DiskRest rest) {
    if (inFlight() == 0) {
      return;
    }
    handedOver(ring.submit());
    EventFd rings = bell;
    if (rings == null) {
      rings = new EventFd();
      bell = rings;
      NativeException.check(ring.registerEventFd(rings.fd()), "io_uring_register EVENTFD", "fd=" + rings.fd());
    }
    rings.drain(); // before it is asked for news: what comes after that rings
    rest.on(rings.fd(), POLLIN());
    if (ring.hasNews()) {
      rest.stayAwake();
    }
  }

  private int waitForOne(long nanos) {
    prepared = 0;
    preparedBytes = 0;
    return nanos == Long.MAX_VALUE ? ring.submitAndWait(1) : ring.submitAndWait(1, nanos);
  }

  private int complete(int slot, int result, Completions completions) {
    boolean clear = op[slot] == DISCARD || op[slot] == ZEROES;
    boolean byFallocate = clear && ((op[slot] == DISCARD && canPunch) || canZero);
    if (result == -EAGAIN() || result == -EINTR()) {
      prepare(slot);
      return 0;
    }
    if (byFallocate && (result == -EOPNOTSUPP() || result == -ENODEV() || result == -EINVAL())) {
      if (op[slot] == DISCARD && canPunch) {
        canPunch = false;
      } else {
        canZero = false;
      }
      prepare(slot);
      return 0;
    }
    if (byFallocate && result == 0 && (flags[slot] & FUA) != 0) {
      op[slot] = FLUSH; // fallocate(2) has no durable form
      prepare(slot);
      return 0;
    }
    boolean transfer = op[slot] != FLUSH && !byFallocate;
    int error = Math.min(result, 0);
    if (transfer && result > 0) {
      left[slot] -= result;
      offset[slot] += result;
      hostVirt[slot] += result;
      if (left[slot] > 0) {
        prepare(slot);
        return 0;
      }
    } else if (transfer && result == 0) {
      error = -EIO(); // the end of the file within the device: somebody cut it
    }
    long finished = tag[slot];
    free[freeCount++] = slot;
    completions.completed(finished, error);
    return 1;
  }

  @Override
  public void close() {
    // Another thread than the ring's own may not ask for completions: closing the ring then cancels what runs.
    int rc = 0;
    while (inFlight() > 0 && (rc >= 0 || rc == -ETIME() || rc == -EINTR() || rc == -EBUSY() || rc == -EAGAIN())) {
      rc = waitForOne(1_000_000_000L);
      poll((ignoredTag, ignoredError) -> {});
    }
    // A ring gives its files back some time after it was closed, and the lock would stay until then.
    var _ = Syscall.call(SYS_flock(), file.fd(), LOCK_UN());
    ring.close();
    if (bell != null) {
      bell.close();
    }
    file.close();
    zeroes.close();
  }
}
