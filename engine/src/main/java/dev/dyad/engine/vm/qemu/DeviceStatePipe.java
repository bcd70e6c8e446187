package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.linux.Inotify.IN_CLOSE_WRITE;
import static dev.dyad.bindings.linux.Inotify.IN_OPEN;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Inotify;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import java.nio.charset.StandardCharsets;

/**
 * The one command that stops the guest, brings its machine state here and lets it run on; and the gate that holds QEMU between the
 * two. Belongs to the epoch thread; allocates nothing after it is made.
 *
 * <pre>
 *   epoch thread                               QEMU's main thread
 *   fill the pipe (its size: one page)
 *   xen-save-devices-state into the pipe  -->  vCPUs stopped, STOP, disk requests drained and flushed
 *   IN_OPEN: the guest stands still       <--  opens the pipe
 *   scan and copy memory                       serialises the state, then waits: the pipe is full
 *   enlarge the pipe, read                <->  writes the state
 *   IN_CLOSE_WRITE: the state is whole    <--  closes the pipe; vCPUs run, RESUME, answer
 * </pre>
 *
 * <p>QEMU writes to a pipe whose only reader is this process. Should it die at any moment, QEMU's write fails (EPIPE), and QEMU
 * lets the guest run on by itself: no guest is left standing. The STOP event is no sign of standstill, because QEMU sends it before
 * it drains disk requests, which may still write guest memory; the opening of the pipe comes after that.
 */
final class DeviceStatePipe implements AutoCloseable {
  private static final int GATE_BYTES = 4096;
  private static final int OPEN_BYTES = 1 << 20;
  private static final int OPEN_BYTES_UNPRIVILEGED = 1 << 16;
  private static final int ANY_USER_WRITES = 0622;
  private static final int FDSET = 0x64796164;
  private static final int STOP_BOUND_MILLIS = 30_000;
  private static final long STOP_CHECK_NANOS = 100_000_000L;

  private final QmpChannel qmp;
  private final FileDescriptor reading;
  private final FileDescriptor writing;
  private final Inotify openings;
  private final Poll poll = new Poll(3);
  private final Mapping scratch = Mapping.anonymous(1 << 16);
  private final long command;
  private final int commandBytes;
  private final int openBytes;
  private Runnable sign = () -> {};
  private long signEveryNanos = STOP_CHECK_NANOS;
  private boolean stateEnded;
  private boolean pending;

  DeviceStatePipe(QmpChannel qmp) {
    this.qmp = qmp;
    FileDescriptor[] pipe = Files.pipe(0);
    reading = pipe[0];
    writing = pipe[1];
    reading.setNonBlocking(true);
    // QEMU may run as another user; only who can name this descriptor in /proc reaches the pipe.
    NativeException.check(Files.setMode(writing.fd(), ANY_USER_WRITES), "fchmod", "pipe");
    openings = new Inotify("/proc/self/fd/" + writing.fd(), IN_OPEN | IN_CLOSE_WRITE);
    openBytes = Files.setPipeBytes(writing.fd(), OPEN_BYTES) >= 0 ? OPEN_BYTES : OPEN_BYTES_UNPRIVILEGED;
    poll.set(0, openings.fd(), POLLIN());
    poll.set(1, qmp.fd(), POLLIN());
    command = scratch.hostVirt() + GATE_BYTES;
    removeDescriptor();
    long remoteFd = qmp.executeWithDescriptor("add-fd", "{\"fdset-id\":" + FDSET + ",\"opaque\":\"dyad\"}", writing.fd()).get("fd").number(-1);
    byte[] line = ("{\"execute\":\"xen-save-devices-state\",\"arguments\":{\"filename\":\"/proc/self/fd/" + remoteFd + "\",\"live\":true}}\n")
        .getBytes(StandardCharsets.US_ASCII);
    Memory.copyFrom(line, 0, command, line.length);
    commandBytes = line.length;
  }

  /** Takes back what an earlier attachment left in QEMU. */
  private void removeDescriptor() {
    try {
      qmp.execute("remove-fd", "{\"fdset-id\":" + FDSET + "}");
    } catch (QemuException e) {
      // There was none.
    }
  }

  /** As {@link dev.dyad.engine.vm.Hypervisor#whileWaiting}. */
  void whileWaiting(Runnable newSign, long everyNanos) {
    sign = newSign;
    signEveryNanos = Math.min(everyNanos, STOP_CHECK_NANOS);
  }

  /** Waits for any of the three, and gives the sign when none of them comes in time. */
  private void await() {
    if (poll.awaitNanos(signEveryNanos) == 0) {
      sign.run();
    }
  }

  /** Stops the guest; on return neither a vCPU nor a device writes its memory. */
  void stop() {
    poll.set(2, -1, 0);
    openings.take();
    stateEnded = false;
    NativeException.check(Files.setPipeBytes(writing.fd(), GATE_BYTES), "fcntl F_SETPIPE_SZ", "gate");
    long filled = Files.write(writing.fd(), scratch.hostVirt(), GATE_BYTES);
    if (filled != GATE_BYTES) {
      throw new QemuException("the state pipe took " + filled + " of " + GATE_BYTES + " bytes");
    }
    pending = true;
    qmp.send(command, commandBytes);
    long end = System.nanoTime() + STOP_BOUND_MILLIS * 1_000_000L;
    while ((openings.take() & IN_OPEN) == 0) {
      await();
      qmp.poll();
      if (qmp.answered()) {
        throw new QemuException("QEMU did not stop for a checkpoint: " + qmp.failure());
      }
      if (System.nanoTime() > end) {
        throw new QemuException("QEMU did not stop within " + STOP_BOUND_MILLIS / 1000 + " s");
      }
    }
  }

  /**
   * Opens the gate and reads the state to its end.
   *
   * @return its bytes
   * @throws QemuException when it does not fit; QEMU is read empty nevertheless, and runs on
   */
  int read(long destination, int bytesMax) {
    NativeException.check(Files.setPipeBytes(writing.fd(), openBytes), "fcntl F_SETPIPE_SZ", "open");
    int skip = GATE_BYTES;
    while (skip > 0) {
      skip -= (int) NativeException.check(Files.read(reading.fd(), scratch.hostVirt(), skip), "read", "gate");
    }
    poll.set(2, reading.fd(), POLLIN());
    long total = 0;
    while (true) {
      // Asked before the read: what QEMU wrote before it closed is then in the pipe.
      boolean last = stateEnded || (openings.take() & IN_CLOSE_WRITE) != 0;
      stateEnded = last;
      boolean fits = total < bytesMax;
      long got = Files.read(reading.fd(), fits ? destination + total : scratch.hostVirt() + 2L * GATE_BYTES,
          fits ? bytesMax - total : 2L * GATE_BYTES);
      if (got > 0) {
        total += got;
      } else if (got != -EAGAIN() && got != -EINTR()) {
        throw new NativeException("read", (int) -got, "state pipe");
      } else if (last || qmp.answered()) {
        break;
      } else {
        await();
        qmp.poll();
      }
    }
    if (total > bytesMax && bytesMax > 0) {
      throw new QemuException("the machine's state is larger than its bound of " + bytesMax + " bytes");
    }
    return (int) total;
  }

  /** Opens the gate and throws the state away. */
  void discard() {
    read(scratch.hostVirt(), 0);
  }

  /** Waits until QEMU has answered, which is after it let the vCPUs run; throws when the state is not good. */
  void awaitAnswer() {
    poll.set(2, -1, 0);
    while (!qmp.answered()) {
      qmp.poll();
      if (!qmp.answered()) {
        openings.take(); // the pipe's closing is known; left there it would end each wait at once
        await();
      }
    }
    pending = false;
    String failure = qmp.failure();
    if (!failure.isEmpty()) {
      throw new QemuException("QEMU could not save the machine's state: " + failure);
    }
  }

  /**
   * Takes the descriptor back from QEMU and closes the pipe. Between stop and answer it only closes the pipe, which makes QEMU give up
   * and lets the guest run on; the descriptor goes with the QMP connection.
   */
  @Override
  public void close() {
    try {
      if (!pending) {
        removeDescriptor();
      }
    } catch (RuntimeException e) {
      // QEMU is gone, and the descriptor with it.
    }
    openings.close();
    reading.close();
    writing.close();
    poll.close();
    scratch.close();
  }
}
