package dev.dyad.engine.arbiter;

import static dev.dyad.bindings.abi.linux.linux_h.O_CREAT;
import static dev.dyad.bindings.abi.linux.linux_h.O_DIRECTORY;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDONLY;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The arbiter of two sides on one host: a {@link GenerationFile} under an exclusive lock.
 *
 * <p>A request takes the lock (bounded), reads, compares, writes the slot that does not hold the current generation, makes it durable,
 * and only then says GRANTED. A crash at any step leaves the generation before or the new one, never none; and a GRANTED that
 * was not heard is granted again to the same host.
 *
 * <p>The file stays mapped. {@link #newest} reads the word that a winner writes, without a lock or a system call, so that a
 * primary that was stopped and woke up learns of its successor before its next packet ({@code ReleaseGate}).
 *
 * <p>Control thread, except {@link #newest}. The file must not be on a network file system; two hosts need an arbiter that
 * both reach and that neither is.
 */
public final class FileArbiter implements Arbiter {
  /** Default bound of the wait for the lock, which its holders keep for one fdatasync. */
  public static final long LOCK_WAIT_NANOS = 500_000_000;

  /** Where a crash is simulated. */
  enum Step {
    LOCKED,
    CREATED,
    SLOT_BEFORE_HEAD,
    HEAD_WRITTEN,
    SLOT_HALF_WRITTEN,
    SLOT_WRITTEN,
    SLOT_DURABLE
  }

  private final Path path;
  private final long lockWaitNanos;
  private final Consumer<Step> steps;
  private final FileDescriptor file;
  private final Mapping view;
  private final Arena arena = Arena.ofShared();
  private final long scratch = arena.allocate(GenerationFile.SLOT_BYTES, 64).address();

  private @Nullable String problem;
  private boolean closed;

  /**
   * Opens the file, or creates it with generation 0.
   *
   * @throws IllegalStateException with one line when it is foreign, corrupt or locked for too long
   * @throws NativeException when it cannot be opened
   */
  public static FileArbiter open(Path path) {
    return new FileArbiter(path, LOCK_WAIT_NANOS, step -> {});
  }

  FileArbiter(Path path, long lockWaitNanos, Consumer<Step> steps) {
    this.path = path;
    this.lockWaitNanos = lockWaitNanos;
    this.steps = steps;
    file = Files.open(path.toString(), O_RDWR() | O_CREAT(), 0600);
    Mapping mapped = null;
    try {
      if (!HostLock.acquire(file.fd(), lockWaitNanos)) {
        throw new IllegalStateException(line("is locked by another process for more than " + lockWaitNanos / 1_000_000 + " ms"));
      }
      try {
        steps.accept(Step.LOCKED);
        mapped = prepare();
      } finally {
        HostLock.release(file.fd());
      }
    } catch (RuntimeException e) {
      file.close();
      arena.close();
      throw e;
    }
    view = mapped;
  }

  private String line(String what) {
    return "generation file " + path + " " + what + "; stop both sides, make sure that the guest runs on one of them only, and remove it";
  }

  /** Under the lock: lays the file out if it is new, or was left half new by a crash, and maps it. */
  private Mapping prepare() {
    int fd = file.fd();
    long bytes = NativeException.check(Files.bytes(fd), "statx", path.toString());
    if (bytes > GenerationFile.BYTES) {
      throw new IllegalStateException(line("is not a generation file (it has " + bytes + " bytes, not " + GenerationFile.BYTES + ")"));
    }
    if (bytes < GenerationFile.BYTES) {
      // Ours is made longer before anything is written to it: what is shorter and has content is somebody else's.
      if (bytes > 0) {
        throw new IllegalStateException(line("is not a generation file (it has " + bytes + " bytes, not " + GenerationFile.BYTES + ")"));
      }
      NativeException.check(Files.truncate(fd, GenerationFile.BYTES), "ftruncate", path.toString());
      steps.accept(Step.CREATED);
    }
    Mapping mapped = Mapping.shared(fd, 0, GenerationFile.BYTES);
    try {
      if (Memory.getLong(mapped.hostVirt()) == 0) {
        if (GenerationFile.newestNamed(mapped.hostVirt()) != 0) {
          throw new IllegalStateException(line("is corrupt (it has records, but no head)"));
        }
        writeSlot(0, 0, "nobody");
        steps.accept(Step.SLOT_BEFORE_HEAD);
        Memory.putLong(scratch, GenerationFile.MAGIC);
        writeFully(scratch, GenerationFile.HEAD_BYTES, 0);
        steps.accept(Step.HEAD_WRITTEN);
        NativeException.check(Files.sync(fd), "fsync", path.toString());
        Path folder = path.toAbsolutePath().getParent();
        try (FileDescriptor directory = Files.open(String.valueOf(folder), O_RDONLY() | O_DIRECTORY())) {
          NativeException.check(Files.sync(directory.fd()), "fsync", String.valueOf(folder));
        }
      }
      String wrong = GenerationFile.problem(mapped.hostVirt());
      if (wrong != null) {
        throw new IllegalStateException(line(wrong));
      }
      return mapped;
    } catch (RuntimeException e) {
      mapped.close();
      throw e;
    }
  }

  /**
   * The newest generation that anybody on this host has won or is just winning. Any thread; one load. Good for holding back, not
   * for going on.
   */
  @Override
  public long newest() {
    return GenerationFile.newestNamed(view.hostVirt());
  }

  @Override
  public synchronized long current() {
    if (isLost()) {
      return -1;
    }
    int slot = GenerationFile.newestSlot(view.hostVirt());
    return slot < 0 ? -1 : GenerationFile.generation(view.hostVirt(), slot);
  }

  @Override
  public synchronized Verdict request(long generation, String host) {
    if (generation <= 0) {
      throw new IllegalArgumentException("generation " + generation + ": the first to be won is 1");
    }
    if (isLost()) {
      return Verdict.UNREACHABLE;
    }
    int fd = file.fd();
    if (!HostLock.acquire(fd, lockWaitNanos)) {
      problem = "generation file " + path + " is locked by another process for more than " + lockWaitNanos / 1_000_000 + " ms";
      return Verdict.UNREACHABLE;
    }
    try {
      steps.accept(Step.LOCKED);
      return decide(generation, host);
    } catch (NativeException e) {
      problem = "generation file " + path + ": " + e.getMessage();
      return Verdict.UNREACHABLE;
    } finally {
      HostLock.release(fd);
    }
  }

  private Verdict decide(long generation, String host) {
    long at = view.hostVirt();
    String wrong = GenerationFile.problem(at);
    if (wrong != null) {
      problem = line(wrong);
      return Verdict.UNREACHABLE;
    }
    int slot = GenerationFile.newestSlot(at);
    long current = GenerationFile.generation(at, slot);
    if (current == generation) {
      problem = null;
      return GenerationFile.host(at, slot).equals(host) ? Verdict.GRANTED : Verdict.DENIED;
    }
    if (current > generation) {
      problem = null;
      return Verdict.DENIED;
    }
    if (current < generation - 1) {
      problem = line("is older than this side (it knows generation " + current + ", this side holds " + (generation - 1) + ")");
      return Verdict.UNREACHABLE;
    }
    writeSlot(1 - slot, generation, host);
    problem = null;
    return Verdict.GRANTED;
  }

  private void writeSlot(int slot, long generation, String host) {
    GenerationFile.write(scratch, generation, host);
    int offset = GenerationFile.slotOffset(slot);
    // The second half first: a slot of which only that was written is not whole. (One write would do for a kernel that lives; on
    // power loss a sector may be old and the next one new.)
    int half = GenerationFile.SLOT_BYTES / 2;
    writeFully(scratch + 16, half - 16, offset + 16);
    writeFully(scratch + half, half, offset + half);
    steps.accept(Step.SLOT_HALF_WRITTEN);
    writeFully(scratch, 16, offset);
    steps.accept(Step.SLOT_WRITTEN);
    NativeException.check(Files.dataSync(file.fd()), "fdatasync", path.toString());
    steps.accept(Step.SLOT_DURABLE);
  }

  private void writeFully(long from, int bytes, int offset) {
    long written = Files.pwrite(file.fd(), from, bytes, offset);
    NativeException.check(written, "pwrite", path + " offset=" + offset);
    if (written != bytes) {
      throw new IllegalStateException(line("could not be written (" + written + " of " + bytes + " bytes)"));
    }
  }

  /** Whether the open file is no longer what the path names: another process would be granted on another file. */
  private boolean isLost() {
    if (closed) {
      return true;
    }
    try {
      Map<String, Object> named = java.nio.file.Files.readAttributes(path, "unix:dev,ino");
      Map<String, Object> held = java.nio.file.Files.readAttributes(Path.of("/proc/self/fd/" + file.fd()), "unix:dev,ino");
      if (named.equals(held)) {
        return false;
      }
      problem = "generation file " + path + " was replaced while it was in use";
    } catch (IOException e) {
      problem = "generation file " + path + " is gone (" + e.getClass().getSimpleName() + ")";
    }
    return true;
  }

  /** Why the last answer was UNREACHABLE, as one line; null when it was not. */
  @Override
  public synchronized @Nullable String problem() {
    return problem;
  }

  /** Nobody may call {@link #newest} any more. */
  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      view.close();
      file.close();
      arena.close();
    }
  }
}
