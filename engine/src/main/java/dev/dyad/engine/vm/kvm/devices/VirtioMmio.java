package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import dev.dyad.engine.vm.kvm.MalformedStateException;

/**
 * The virtio-mmio transport, version 2 (Virtual I/O Device specification 1.2, 4.2): status, feature negotiation, queues, interrupts.
 * A device is a subclass that adds its queues' meaning.
 *
 * <p>Everything is guarded by this object's monitor: vCPU threads come with register accesses, the device's own side with what
 * arrives from outside. While quiesced, only registers are served (no vCPU runs then, so none asks).
 */
public abstract class VirtioMmio implements MmioDevice, StatefulDevice {
  public static final int WINDOW_BYTES = 0x200;

  private static final int MAGIC = 0x7472_6976;
  private static final int VERSION = 2;
  private static final int VENDOR = 0x4459_4144; // "DAYD" read as text

  private static final int STATUS_FEATURES_OK = 8;
  private static final int STATUS_DRIVER_OK = 4;
  private static final int STATUS_NEEDS_RESET = 64;
  private static final int STATUS_FAILED = 128;
  private static final int INTERRUPT_USED = 1;
  private static final int INTERRUPT_CONFIG = 2;
  private static final long FEATURE_VERSION_1 = 1L << 32;
  private static final int CONFIG = 0x100;
  private static final int HEADER_BYTES = 64;

  protected final GuestRam ram;
  private final InterruptLine interrupt;
  private final int deviceId;
  private final long features;
  private final Virtqueue[] queues;

  private int status;
  private int featuresSelect;
  private int driverSelect;
  private long driverFeatures;
  private int queueSelect;
  private int interruptStatus;
  private boolean quiet;
  private boolean restored;

  protected VirtioMmio(GuestRam ram, InterruptLine interrupt, int deviceId, long features, int queueCount) {
    this.ram = ram;
    this.interrupt = interrupt;
    this.deviceId = deviceId;
    this.features = features | FEATURE_VERSION_1;
    queues = new Virtqueue[queueCount];
    for (int i = 0; i < queueCount; i++) {
      queues[i] = new Virtqueue(ram);
    }
  }

  final Virtqueue queue(int index) {
    return queues[index];
  }

  /** Whether the driver is through with its start, and nothing is broken. */
  protected final boolean isStarted() {
    return (status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET | STATUS_FAILED)) == STATUS_DRIVER_OK;
  }

  /** Whether besides the machine is not paused. */
  protected final boolean isLive() {
    return isStarted() && !quiet;
  }

  protected final boolean isQuiet() {
    return quiet;
  }

  /** The driver rang for a queue, or the device woke up. Under the monitor, only while {@link #isLive}. */
  protected abstract void serve(int queue);

  /** A byte of the device's configuration space; 0 beyond its end. */
  protected abstract int configByte(int offset);

  /** Forgets what the device has of its own. */
  protected abstract void resetDevice();

  /** Tells the driver that buffers were used. */
  protected final void interruptUsed(Virtqueue queue) {
    interruptStatus |= INTERRUPT_USED;
    if (queue.wantsInterrupt()) {
      interrupt.raise();
    }
  }

  /** What the driver left in guest memory makes no sense: stop, and say so. */
  protected final void needsReset() {
    status |= STATUS_NEEDS_RESET;
    interruptStatus |= INTERRUPT_CONFIG;
    interrupt.raise();
  }

  @Override
  public final synchronized long read(int offset, int bytes) {
    if (offset >= CONFIG) {
      long value = 0;
      for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | configByte(offset - CONFIG + i);
      }
      return value;
    }
    return switch (offset) {
      case 0x000 -> MAGIC;
      case 0x004 -> VERSION;
      case 0x008 -> deviceId;
      case 0x00c -> VENDOR;
      case 0x010 -> featuresSelect == 0 ? features & 0xffff_ffffL : featuresSelect == 1 ? features >>> 32 : 0;
      case 0x034 -> queueSelect < queues.length ? Virtqueue.SIZE_MAX : 0;
      case 0x044 -> queueSelect < queues.length && queues[queueSelect].isReady() ? 1 : 0;
      case 0x060 -> interruptStatus;
      case 0x070 -> status;
      default -> 0; // 0x0fc: the configuration never changes; 0x0b0 ff.: no shared memory
    };
  }

  @Override
  public final synchronized void write(int offset, int bytes, long value) {
    int word = (int) value;
    switch (offset) {
      case 0x014 -> featuresSelect = word;
      case 0x020 -> setDriverFeatures(word);
      case 0x024 -> driverSelect = word;
      case 0x030 -> queueSelect = word < 0 ? Integer.MAX_VALUE : word;
      case 0x050 -> {
        if (word >= 0 && word < queues.length && isLive()) {
          serve(word);
        }
      }
      case 0x064 -> interruptStatus &= ~word;
      case 0x070 -> setStatus(word & 0xff);
      default -> {
        if (queueSelect < queues.length) {
          writeQueue(queues[queueSelect], offset, word);
        }
      }
    }
  }

  private void setDriverFeatures(int word) {
    if ((status & STATUS_FEATURES_OK) == 0) {
      if (driverSelect == 0) {
        driverFeatures = (driverFeatures & 0xffff_ffff_0000_0000L) | (word & 0xffff_ffffL);
      } else if (driverSelect == 1) {
        driverFeatures = (driverFeatures & 0xffff_ffffL) | (long) word << 32;
      }
    }
  }

  private void setStatus(int wanted) {
    if (wanted == 0) {
      resetTransport();
      return;
    }
    int next = wanted;
    boolean accepts = (wanted & STATUS_FEATURES_OK) != 0 && (status & STATUS_FEATURES_OK) == 0;
    if (accepts && ((driverFeatures & ~features) != 0 || (driverFeatures & FEATURE_VERSION_1) == 0)) {
      next &= ~STATUS_FEATURES_OK;
    }
    status = next | (status & STATUS_NEEDS_RESET);
  }

  private void writeQueue(Virtqueue queue, int offset, int word) {
    switch (offset) {
      case 0x038 -> queue.setSize(word);
      case 0x044 -> {
        if (!queue.setReady((word & 1) != 0)) {
          needsReset();
        }
      }
      case 0x080 -> queue.setDescriptors(word, false);
      case 0x084 -> queue.setDescriptors(word, true);
      case 0x090 -> queue.setDriver(word, false);
      case 0x094 -> queue.setDriver(word, true);
      case 0x0a0 -> queue.setDevice(word, false);
      case 0x0a4 -> queue.setDevice(word, true);
      default -> { }
    }
  }

  private void resetTransport() {
    status = 0;
    featuresSelect = 0;
    driverSelect = 0;
    driverFeatures = 0;
    queueSelect = 0;
    interruptStatus = 0;
    for (Virtqueue queue : queues) {
      queue.reset();
    }
    resetDevice();
  }

  @Override
  public final synchronized void reset() {
    resetTransport();
  }

  @Override
  public final synchronized void quiesce() {
    quiet = true;
  }

  /**
   * Serves what came meanwhile. After a restore, interrupts again for what the driver has not acknowledged: the first time may
   * have been lost on its way into the interrupt chip that was captured.
   */
  @Override
  public final synchronized void wake() {
    quiet = false;
    if (!isLive()) {
      return;
    }
    if (restored && interruptStatus != 0) {
      interrupt.raise();
    }
    restored = false;
    for (int i = 0; i < queues.length; i++) {
      if (queues[i].isReady() && isLive()) {
        serve(i);
      }
    }
  }

  @Override
  public int stateBytes() {
    return HEADER_BYTES + queues.length * Virtqueue.STATE_BYTES;
  }

  @Override
  public synchronized void saveState(long destination) {
    Memory.putInt(destination, deviceId);
    Memory.putInt(destination + 4, status);
    Memory.putLong(destination + 8, driverFeatures);
    Memory.putInt(destination + 16, featuresSelect);
    Memory.putInt(destination + 20, driverSelect);
    Memory.putInt(destination + 24, queueSelect);
    Memory.putInt(destination + 28, interruptStatus);
    Memory.zero(destination + 32, HEADER_BYTES - 32);
    for (int i = 0; i < queues.length; i++) {
      queues[i].save(destination + HEADER_BYTES + (long) i * Virtqueue.STATE_BYTES);
    }
  }

  @Override
  public synchronized void restoreState(long source) {
    int id = Memory.getInt(source);
    if (id != deviceId) {
      throw new MalformedStateException("machine state: virtio device " + id + " in the place of " + deviceId);
    }
    status = Memory.getInt(source + 4) & 0xff;
    driverFeatures = Memory.getLong(source + 8);
    if ((driverFeatures & ~features) != 0) {
      throw new MalformedStateException("machine state: virtio device " + id + " with features 0x" + Long.toHexString(driverFeatures));
    }
    featuresSelect = Memory.getInt(source + 16);
    driverSelect = Memory.getInt(source + 20);
    int select = Memory.getInt(source + 24);
    queueSelect = select < 0 ? Integer.MAX_VALUE : select;
    restored = true;
    interruptStatus = Memory.getInt(source + 28) & (INTERRUPT_USED | INTERRUPT_CONFIG);
    for (int i = 0; i < queues.length; i++) {
      queues[i].restore(source + HEADER_BYTES + (long) i * Virtqueue.STATE_BYTES);
    }
  }
}
