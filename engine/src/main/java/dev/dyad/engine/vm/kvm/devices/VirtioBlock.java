package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import dev.dyad.engine.vm.kvm.MalformedStateException;

/**
 * A disk (Virtual I/O Device specification 1.2, 5.2) with one queue: read, write, flush, identity.
 *
 * <p>Requests that are under way belong to the state, as the heads of their chains in the order in which they began; a restored machine begins
 * them again. Data goes through buffers of this device, so that nothing is written to guest memory while it is paused: what
 * completes meanwhile is kept until {@link #wake}.
 */
public final class VirtioBlock extends VirtioMmio {
  private static final int DEVICE_ID = 2;
  private static final long FEATURE_SEG_MAX = 1 << 2;
  private static final long FEATURE_BLK_SIZE = 1 << 6;
  private static final long FEATURE_FLUSH = 1 << 9;
  private static final int SLOTS = 64;
  private static final int SEGMENTS_MAX = 32;
  private static final int SECTOR_SHIFT = 9;

  private static final int TYPE_IN = 0;
  private static final int TYPE_OUT = 1;
  private static final int TYPE_FLUSH = 4;
  private static final int TYPE_ID = 8;
  private static final int ID_BYTES = 20;
  private static final int HEADER_BYTES = 16;

  /** Status bytes of the specification. */
  public static final int OK = 0;

  public static final int IO_ERROR = 1;
  public static final int UNSUPPORTED = 2;

  /** Result of {@link #parse} besides a status. */
  private static final int UNDER_WAY = -3;

  /** Head of a request whose guest has forgotten it. */
  private static final int ABANDONED = -1;

  private static final int CONFIG_SEG_MAX = 12;
  private static final int CONFIG_BLK_SIZE = 20;
  private static final int STATE_BYTES = 320;

  private final BlockPort disk;
  private final Mapping buffers = Mapping.anonymous((long) SLOTS * BlockRequest.BYTES_MAX);
  private final BlockRequest[] slots = new BlockRequest[SLOTS];
  private final BlockRequest[] free = new BlockRequest[SLOTS];
  private int freeCount;

  /** Under way, in the order of their beginning. */
  private final BlockRequest[] running = new BlockRequest[SLOTS];

  private int runningCount;
  private final int[] restoredHeads = new int[SLOTS];
  private int restoredCount;
  private long requests;

  public VirtioBlock(GuestRam ram, InterruptLine interrupt, BlockPort disk) {
    super(ram, interrupt, DEVICE_ID, FEATURE_SEG_MAX | FEATURE_BLK_SIZE | FEATURE_FLUSH, 1);
    this.disk = disk;
    for (int i = 0; i < SLOTS; i++) {
      slots[i] = new BlockRequest(i, buffers.hostVirt() + (long) i * BlockRequest.BYTES_MAX);
      free[freeCount++] = slots[i];
    }
  }

  @Override
  protected int configByte(int offset) {
    if (offset < Long.BYTES) {
      return (int) (disk.sectors() >>> (8 * offset)) & 0xff;
    }
    if (offset >= CONFIG_BLK_SIZE && offset < CONFIG_BLK_SIZE + Integer.BYTES) {
      return disk.blockBytes() >>> (8 * (offset - CONFIG_BLK_SIZE)) & 0xff;
    }
    return offset == CONFIG_SEG_MAX ? SEGMENTS_MAX : 0;
  }

  /** What is under way ends without a trace in the guest. */
  @Override
  protected void resetDevice() {
    for (int i = 0; i < runningCount; i++) {
      running[i].head = ABANDONED;
    }
    restoredCount = 0;
  }

  @Override
  protected void serve(int queueIndex) {
    Virtqueue queue = queue(0);
    for (int i = 0; i < restoredCount; i++) {
      begin(queue, restoredHeads[i]);
    }
    restoredCount = 0;
    finishDone();
    while (freeCount > 0 && isLive()) {
      int head = queue.pop();
      if (head == Virtqueue.EMPTY) {
        return;
      }
      if (head == Virtqueue.BROKEN) {
        needsReset();
        return;
      }
      begin(queue, head);
    }
  }

  private void begin(Virtqueue queue, int head) {
    BlockRequest request = free[--freeCount];
    request.head = head;
    request.done = false;
    running[runningCount++] = request;
    int status = parse(queue, request);
    if (status == Virtqueue.BROKEN) {
      forget(request);
      needsReset();
    } else if (status == UNDER_WAY) {
      requests++;
      disk.submit(request);
    } else {
      complete(request, status);
    }
  }

  /** Fills the request from its chain: {@link #UNDER_WAY}, a status that it ends with at once, or {@link Virtqueue#BROKEN}. */
  private int parse(Virtqueue queue, BlockRequest request) {
    queue.walk(request.head);
    long header = queue.hostVirt(HEADER_BYTES);
    if (header == GuestRam.OUTSIDE || queue.isWritable() || queue.bytes() != HEADER_BYTES) {
      return Virtqueue.BROKEN;
    }
    int type = Memory.getInt(header);
    request.sector = Memory.getLong(header + 8);
    request.kind = type == TYPE_IN || type == TYPE_ID ? BlockRequest.Kind.READ : type == TYPE_OUT ? BlockRequest.Kind.WRITE : BlockRequest.Kind.FLUSH;
    request.bytes = 0;
    boolean tooLarge = false;
    int step = queue.next();
    while (step == 0) {
      long length = queue.bytes();
      long at = queue.hostVirt(length);
      if (at == GuestRam.OUTSIDE) {
        return Virtqueue.BROKEN;
      }
      boolean writable = queue.isWritable();
      step = queue.next();
      if (step == Virtqueue.END) {
        if (!writable || length < 1) {
          return Virtqueue.BROKEN;
        }
        request.statusVirt = at + length - 1;
        return tooLarge ? IO_ERROR : judge(type, request);
      }
      if (writable != (request.kind == BlockRequest.Kind.READ)) {
        return Virtqueue.BROKEN;
      }
      if (length > BlockRequest.BYTES_MAX - request.bytes) {
        tooLarge = true;
      } else {
        if (!writable) {
          Memory.copy(at, request.buffer() + request.bytes, length);
        }
        request.bytes += (int) length;
      }
    }
    return Virtqueue.BROKEN;
  }

  private int judge(int type, BlockRequest request) {
    switch (type) {
      case TYPE_IN, TYPE_OUT -> {
        long sectors = request.bytes >> SECTOR_SHIFT;
        long at = request.sector << SECTOR_SHIFT;
        boolean whole = request.bytes > 0 && request.bytes % disk.blockBytes() == 0 && at % disk.blockBytes() == 0;
        boolean inside = request.sector >= 0 && request.sector <= disk.sectors() && sectors <= disk.sectors() - request.sector;
        return whole && inside ? UNDER_WAY : IO_ERROR;
      }
      case TYPE_FLUSH -> {
        request.bytes = 0;
        return UNDER_WAY;
      }
      case TYPE_ID -> {
        Memory.zero(request.buffer(), ID_BYTES);
        Memory.putLong(request.buffer(), 0x6b73_6964_6461_7964L); // "dyaddisk"
        request.bytes = Math.min(request.bytes, ID_BYTES);
        return OK;
      }
      default -> {
        return UNSUPPORTED;
      }
    }
  }

  /** Ends a request with {@link #OK} or {@link #IO_ERROR}. Any thread. */
  public synchronized void complete(BlockRequest request, int status) {
    request.status = status;
    request.done = true;
    if (!isQuiet()) {
      Virtqueue queue = queue(0);
      boolean used = finish(queue, request);
      if (used) {
        interruptUsed(queue);
        if (isLive() && freeCount == 1 && queue.hasWork()) {
          serve(0);
        }
      }
    }
  }

  /** Tells the guest of what ended during a pause. */
  private void finishDone() {
    Virtqueue queue = queue(0);
    boolean used = false;
    for (int i = 0; i < runningCount; ) {
      BlockRequest request = running[i];
      if (request.done) {
        used |= finish(queue, request);
      } else {
        i++;
      }
    }
    if (used) {
      interruptUsed(queue);
    }
  }

  /** Whether the guest got something. */
  private boolean finish(Virtqueue queue, BlockRequest request) {
    boolean known = request.head != ABANDONED && isStarted() && queue.isReady();
    if (known) {
      int written = request.kind == BlockRequest.Kind.READ && request.status == OK ? scatter(queue, request) : 0;
      Memory.putByte(request.statusVirt, (byte) request.status);
      ram.wrote(request.statusVirt, 1);
      queue.push(request.head, written + 1);
    }
    forget(request);
    return known;
  }

  private int scatter(Virtqueue queue, BlockRequest request) {
    int done = 0;
    queue.walk(request.head);
    while (done < request.bytes && queue.next() == 0) {
      long length = Math.min(queue.bytes(), request.bytes - done);
      long to = queue.hostVirt(length);
      if (to == GuestRam.OUTSIDE) {
        return done;
      }
      Memory.copy(request.buffer() + done, to, length);
      ram.wrote(to, length);
      done += (int) length;
    }
    return done;
  }

  private void forget(BlockRequest request) {
    int at = 0;
    while (running[at] != request) {
      at++;
    }
    System.arraycopy(running, at + 1, running, at, runningCount - at - 1);
    runningCount--;
    free[freeCount++] = request;
  }

  /** Requests that went to the disk. */
  public synchronized long requests() {
    return requests;
  }

  @Override
  public int stateBytes() {
    return super.stateBytes() + STATE_BYTES;
  }

  @Override
  public synchronized void saveState(long destination) {
    super.saveState(destination);
    long at = destination + super.stateBytes();
    Memory.zero(at, STATE_BYTES);
    int count = 0;
    for (int i = 0; i < restoredCount; i++) {
      Memory.putInt(at + 4 + 4L * count++, restoredHeads[i]);
    }
    for (int i = 0; i < runningCount; i++) {
      if (running[i].head != ABANDONED) {
        Memory.putInt(at + 4 + 4L * count++, running[i].head);
      }
    }
    Memory.putInt(at, count);
  }

  @Override
  public synchronized void restoreState(long source) {
    super.restoreState(source);
    long at = source + super.stateBytes();
    int count = Memory.getInt(at);
    if (count < 0 || count > SLOTS || (count > 0 && !queue(0).isReady())) {
      throw new MalformedStateException("machine state: " + count + " disk requests under way");
    }
    for (int i = 0; i < count; i++) {
      int head = Memory.getInt(at + 4 + 4L * i);
      if (head < 0 || head >= queue(0).size()) {
        throw new MalformedStateException("machine state: disk request at descriptor " + head);
      }
      restoredHeads[i] = head;
    }
    for (int i = 0; i < runningCount; i++) {
      running[i].head = ABANDONED;
    }
    restoredCount = count;
  }

  /** Frees the buffers, after the disk has told of the last request. */
  public void close() {
    buffers.close();
  }
}
