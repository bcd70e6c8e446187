package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.EMFILE;
import static dev.dyad.bindings.abi.linux.linux_h.ENOSYS;
import static dev.dyad.bindings.abi.linux.linux_h.EPERM;
import static dev.dyad.bindings.abi.linux.linux_h.O_CLOEXEC;
import static dev.dyad.bindings.abi.linux.linux_h.O_NONBLOCK;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_userfaultfd;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_USER_MODE_ONLY;

import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.PidFd;
import dev.dyad.bindings.linux.Userfaultfd;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;
import java.nio.file.Path;
import java.util.List;
import java.util.function.IntConsumer;

/**
 * An unmodified QEMU that is already running, made a {@link Hypervisor} from outside.
 *
 * <p>Attached by any thread, used by the epoch thread. Owns the QMP connection, the state pipe and the userfaultfd of QEMU's address
 * space; all of them are ours, so that our death, at any moment, leaves QEMU as it was before, with the guest running. Nothing
 * between {@link #pause} and {@link #resume} allocates.
 */
public final class QemuAttach implements Hypervisor {

  /** Bound of the machine state; that of a q35 with everything QEMU adds unasked is 171 KB. */
  private static final long STATE_BYTES_MAX = 4L << 20;

  private final QemuProcess process;
  private final QmpChannel qmp;
  private final MachineDescription description;
  private final AttachmentMark mark;
  private final DeviceStatePipe statePipe;
  private final WriteTracker tracker;
  private final PageReader reader;
  private boolean stateRead;
  private boolean closed;

  private QemuAttach(QemuProcess process, QmpChannel qmp, MachineDescription description, List<RamBlocks.RamBlock> blocks, FileDescriptor userfaultfd) {
    this.process = process;
    this.qmp = qmp;
    this.description = description;
    statePipe = new DeviceStatePipe(qmp);
    tracker = new WriteTracker(process.pid(), Userfaultfd.adopt(userfaultfd), description.memory(), blocks);
    reader = new PageReader(process, description.memory(), blocks);
    mark = AttachmentMark.write(process, qmp.path());
  }

  /**
   * By QMP socket.
   *
   * @throws QemuException with one line that says what forbids it
   */
  public static QemuAttach attach(Path qmpSocket) {
    QmpChannel qmp = QmpChannel.connect(qmpSocket.toAbsolutePath());
    return attach(qmp, () -> QemuLocator.processOf(qmp));
  }

  /** By process id; the QMP socket is the one in QEMU's command line. */
  public static QemuAttach attach(int pid) {
    QemuProcess process = new QemuProcess(pid);
    QmpChannel qmp = QmpChannel.connect(QemuLocator.qmpSocketOf(process));
    return attach(qmp, () -> process);
  }

  private static QemuAttach attach(QmpChannel qmp, java.util.function.Supplier<QemuProcess> whose) {
    try {
      QemuProcess process = whose.get();
      AttachmentMark.refuseWhenHeld(process);
      refuseWhatCannotBeSaved(qmp);
      PluggedDevices.refuse(qmp, process.commandLine());
      List<RamBlocks.RamBlock> blocks = RamBlocks.find(qmp, process);
      MachineDescription description = new MachineDescription(versionOf(qmp), machineTypeOf(qmp), process.workingDirectory(), process.commandLine(),
          RamBlocks.memoryOf(blocks, STATE_BYTES_MAX), RamBlocks.hugePages(blocks, process));
      return new QemuAttach(process, qmp, description, blocks, takeUserfaultfd(process.pid()));
    } catch (RuntimeException e) {
      qmp.close();
      throw e;
    }
  }

  static String versionOf(QmpChannel qmp) {
    Json version = qmp.execute("query-version", "");
    Json number = version.get("qemu");
    String suffix = version.get("package").text();
    return number.get("major") + "." + number.get("minor") + "." + number.get("micro") + (suffix.isEmpty() ? "" : " (" + suffix + ")");
  }

  static String machineTypeOf(QmpChannel qmp) {
    return qmp.execute("qom-get", "{\"path\":\"/machine\",\"property\":\"type\"}").text();
  }

  private static void refuseWhatCannotBeSaved(QmpChannel qmp) {
    List<Json> reasons = qmp.execute("query-migrate", "").get("blocked-reasons").elements();
    if (!reasons.isEmpty()) {
      throw new QemuException("this guest cannot be protected, its state cannot be saved: " + reasons.getFirst().text().replace('\n', ' '));
    }
  }

  /** Makes a userfaultfd inside QEMU, takes it over, and has QEMU's copy closed: one stop of one sleeping thread. */
  private static FileDescriptor takeUserfaultfd(int pid) {
    try (PidFd process = PidFd.open(pid)) {
      return new SyscallInjector(pid).run(calls -> {
        int[] here = {0};
        IntConsumer take = remote -> here[0] = process.takeDescriptor(remote);
        long flags = O_CLOEXEC() | O_NONBLOCK();
        long answer = calls.callForDescriptor(take, SYS_userfaultfd(), flags);
        if (answer == -EPERM()) {
          // Without privilege the kernel asks for this flag; asynchronous tracking has no handler that it could restrict.
          answer = calls.callForDescriptor(take, SYS_userfaultfd(), flags | UFFD_USER_MODE_ONLY());
        }
        if (answer < 0) {
          throw userfaultfdRefused(pid, (int) -answer);
        }
        if (here[0] < 0) {
          throw takingRefused(pid, -here[0]);
        }
        return FileDescriptor.adopt(here[0]);
      });
    }
  }

  private static QemuException takingRefused(int pid, int errno) {
    return new QemuException("a descriptor of process " + pid + " cannot be taken over (pidfd_getfd " + Errno.name(errno) + "): "
        + (errno == EMFILE() ? "raise this process's limit of open files (ulimit -n)"
            : "run dyad as the user that runs QEMU, or as root (CAP_SYS_PTRACE); a seccomp filter around dyad, such as a container's profile, must allow pidfd_getfd (Linux 5.6)"));
  }

  private static QemuException userfaultfdRefused(int pid, int errno) {
    if (errno == ENOSYS()) {
      return new QemuException("this kernel has no userfaultfd, or the seccomp filter of process " + pid + " hides it: Linux 6.7 with CONFIG_USERFAULTFD is needed");
    }
    return new QemuException("userfaultfd is refused to process " + pid + " (" + Errno.name(errno)
        + "): a seccomp filter (-sandbox on, a container's profile) must allow it");
  }

  @Override
  public GuestMemory memory() {
    return description.memory();
  }

  /** What the standby builds its QEMU from. */
  public MachineDescription description() {
    return description;
  }

  /** Equal for as long as this QEMU lives, and no other's. */
  public String identity() {
    return process.identity();
  }

  public int pid() {
    return process.pid();
  }

  /** For commands of other parts; they wait while an epoch holds the guest. */
  public QmpChannel qmp() {
    return qmp;
  }

  /** Whether the guest runs, by QEMU's own events. */
  public boolean running() {
    return qmp.running();
  }

  /** Number of blocks that are read from a shared mapping instead of by system calls. */
  int sharedBlocks() {
    return reader.sharedBlocks();
  }

  @Override
  public void whileWaiting(Runnable sign, long everyNanos) {
    statePipe.whileWaiting(sign, everyNanos);
  }

  @Override
  public void startTracking() {
    tracker.start();
  }

  @Override
  public void pause() {
    qmp.lock().lock();
    stateRead = false;
    boolean stopped = false;
    try {
      statePipe.stop();
      stopped = true;
    } finally {
      if (!stopped) {
        qmp.lock().unlock();
      }
    }
  }

  @Override
  public boolean harvest(DirtyPages into) {
    return tracker.harvest(into);
  }

  @Override
  public void copyPages(DirtyPages pages, long destination) {
    reader.copy(pages, destination);
  }

  @Override
  public int captureState(long destination, int bytesMax) {
    stateRead = true;
    return statePipe.read(destination, bytesMax);
  }

  /**
   * The vCPUs run again since shortly before the state's end was read; this waits for QEMU's word that the state is good.
   *
   * @throws QemuException when it is not: nothing of this epoch may be used
   */
  @Override
  public void resume() {
    try {
      if (!stateRead) {
        // An epoch given up half way: take the state out of QEMU's hands, it runs on then.
        statePipe.discard();
      }
      statePipe.awaitAnswer();
    } finally {
      qmp.lock().unlock();
    }
  }

  /** By QEMU's own clock: vCPUs stopped to vCPUs let go. Until then and from then on the guest runs. */
  @Override
  public long standstillNanos(long callerNanos) {
    return Math.clamp((qmp.resumedMicros() - qmp.stoppedMicros()) * 1000, 0, callerNanos);
  }

  @Override
  public void halt() {
    qmp.execute("stop", "");
  }

  @Override
  public void unhalt() {
    qmp.execute("cont", "");
  }

  /** Lets the guest go on as it was before the attachment, also out of a pause. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    tracker.close();
    reader.close();
    statePipe.close();
    qmp.close();
    mark.remove();
  }
}
