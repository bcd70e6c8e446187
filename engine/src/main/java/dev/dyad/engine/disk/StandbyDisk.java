package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;
import static dev.dyad.engine.disk.BlockDevice.DISCARD;
import static dev.dyad.engine.disk.BlockDevice.FLUSH;
import static dev.dyad.engine.disk.BlockDevice.READ;
import static dev.dyad.engine.disk.BlockDevice.WRITE;
import static dev.dyad.engine.disk.BlockDevice.ZEROES;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;
import org.jspecify.annotations.Nullable;

/**
 * The standby's disk: keeps the writes of epochs that are not committed apart, applies an epoch's writes in order when it is, drops those
 * of an epoch that never was. Thread: disk.
 *
 * <pre>
 *   GREETING → LEVELLING → LEVEL → PROMOTING → TAKEN     any → FAILED (own disk), CLOSED (refused or lost)
 * </pre>
 *
 * <p>While levelling, nothing can be taken over from this disk anyway, so epochs are applied as they are sealed. From the seal that says
 * LEVEL on, only what is committed reaches the image.
 *
 * <p>Must never happen: a write of an uncommitted epoch reaches the image once the disk is level; DURABLE is said before a flush that
 * began after everything up to that epoch was applied.
 */
public final class StandbyDisk implements StandbyEpochs, AutoCloseable {
  private static final long KIND_APPLY = 1L << 56;
  private static final long KIND_SERVE = 2L << 56;
  private static final long KIND_FLUSH = 3L << 56;
  private static final long KIND_MASK = 0xffL << 56;
  private static final int SERVICES = 8;
  private static final int WINDOW = 64;
  private static final long NONE = -1;

  // What became of a frame.
  private static final int OK = 0;
  private static final int LATER = 1;
  private static final int BAD = 2;

  private enum State {
    GREETING,
    LEVELLING,
    LEVEL,
    PROMOTING,
    TAKEN,
    FAILED,
    CLOSED
  }

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final DiskGeometry geometry;
  private final MirrorConfig config;
  private final DiskChannel channel;
  private final WriteLog log;
  private final @Nullable LogFile logFile;
  private final BlockMap ownMarks;
  private final Mapping sealRecords;
  private final int recordsBytes;
  private final long[] recordsEpoch = new long[WINDOW];
  private final int[] recordsCount = new int[WINDOW];
  private final Mapping serviceMemory;
  private final Mapping sumMemory = Mapping.anonymous((long) SERVICES << 16);
  private final int serviceBytes;
  private final BlockDevice.Completions fromImage = this::imageCompleted;

  private State state = State.GREETING;
  private String reason = "";
  private int nextExtent;
  private boolean greeted;
  private boolean marksTold;

  private Generations peerGenerations = Generations.NONE;
  private long peerSetLow;
  private long peerSetHigh;
  private long receivingTicket = Long.MAX_VALUE;

  private long sealedEpoch = NONE;
  private long sealedTail;
  private long committedEpoch = NONE;
  private long frames;
  private long frameBytes;
  private long flushedEpoch = NONE;
  private long checkpointEpoch = NONE;
  private boolean checkpointFlushing;
  private boolean checkpointFlushed;
  private long levelEpoch = NONE;
  private long levelTicket = NONE;
  private boolean forgetting;
  private long durableToSay = NONE;
  private boolean failureToSay;
  private int failedWith;
  private long promotedEpoch = NONE;
  private boolean promotionFlushing;
  private boolean promotionFlushed;
  private long restartTicket = NONE;
  private boolean restartFlushing;
  private boolean restartFlushed;
  private int applying;
  private long loadingEntry = NONE;

  // What the primary asked to be read: checksums to compare, or data in its disk's place.
  private final boolean[] serviceUsed = new boolean[SERVICES];
  private final boolean[] serviceReading = new boolean[SERVICES];
  private final boolean[] serviceDone = new boolean[SERVICES];
  private final boolean[] serviceSums = new boolean[SERVICES];
  private final long[] serviceOffset = new long[SERVICES];
  private final int[] serviceLength = new int[SERVICES];
  private final long[] serviceTag = new long[SERVICES];
  private final int[] serviceError = new int[SERVICES];

  /**
   * Opens an image to receive.
   *
   * @param logDevice where epochs go that memory cannot hold, and all of them with durability = disk; null for memory alone
   */
  public static StandbyDisk open(
      BlockDevice image, BlockDevice meta, @Nullable BlockDevice logDevice, MirrorConfig config, DiskChannel channel) {
    if (config.durable() && logDevice == null) {
      throw new DiskRefusedException("durability = disk needs a log file on the standby: name one");
    }
    WriteLog log = new WriteLog(config.logMemoryBytes(), config.logEntries(), Math.max(image.blockBytes(), 512), image.transferBytesMax());
    return open(image, meta, logDevice, log, config, channel);
  }

  /** With a write log that is given; this disk owns it from now on. */
  static StandbyDisk open(
      BlockDevice image, BlockDevice meta, @Nullable BlockDevice logDevice, WriteLog log, MirrorConfig config, DiskChannel channel) {
    BlockMap[] marks = new BlockMap[1];
    DiskMetadata metadata =
        DiskMetadata.open(
            meta, image.bytes(), block -> 0, geometry -> marks[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
    if (metadata.has(Superblock.LOGGED) && logDevice != null) {
      LogFile.replay(logDevice, image, metadata.logId(), image.transferBytesMax());
    }
    BlockMap own = marks[0];
    metadata.marks(own::word);
    return new StandbyDisk(image, metadata, own, logDevice, log, config, channel);
  }

  private StandbyDisk(
      BlockDevice image,
      DiskMetadata metadata,
      BlockMap ownMarks,
      @Nullable BlockDevice logDevice,
      WriteLog log,
      MirrorConfig config,
      DiskChannel channel) {
    this.image = image;
    this.metadata = metadata;
    this.ownMarks = ownMarks;
    this.config = config;
    this.channel = channel;
    this.log = log;
    geometry = metadata.geometry();
    logFile = logDevice == null ? null : new LogFile(logDevice, log, image.transferBytesMax(), metadata.logId() + 1);
    recordsBytes = config.requests() * (int) dyad_disk_request.sizeof();
    sealRecords = Mapping.anonymous((long) WINDOW * recordsBytes);
    serviceBytes = Math.max(config.pieceBytes(), image.transferBytesMax());
    serviceMemory = Mapping.anonymous((long) SERVICES * serviceBytes);
    java.util.Arrays.fill(recordsEpoch, NONE);
  }

  /** One turn of the disk thread; the amount of work done. */
  public int poll() {
    if (state == State.TAKEN) {
      return 0;
    }
    int work = image.poll(fromImage) + metadata.poll();
    LogFile file = logFile;
    if (file != null) {
      work += file.poll();
      if (file.error() != 0) {
        fail(file.error());
      }
    }
    if (metadata.error() != 0) {
      fail(metadata.error());
    }
    if (state != State.CLOSED) {
      work += channel.poll();
      if (state == State.GREETING) {
        greet();
      }
      if (state != State.FAILED && state != State.PROMOTING) {
        receive();
      }
      writeLogFile();
      apply();
      serve();
      checkpoint();
      promotion();
      say();
      if (!channel.isUp() && state != State.FAILED && state != State.PROMOTING && reason.isEmpty()) {
        reason = channel.failure();
      }
    }
    return work;
  }

  // ---- greeting ----

  private void greet() {
    if (!greeted) {
      int flags =
          (metadata.generations().current() == 0 || metadata.has(Superblock.FAILED) ? DYAD_DISK_FRESH() : 0)
              | (metadata.has(Superblock.INCONSISTENT) ? DYAD_DISK_INCONSISTENT() : 0)
              | (metadata.has(Superblock.DISCARD_MINE) ? DYAD_DISK_DISCARD_MINE() : 0);
      int length = (int) dyad_disk_hello.sizeof();
      long at = channel.begin(length, 0);
      if (at == 0) {
        return;
      }
      DiskHello.write(at, metadata, flags, DYAD_DISK_DECISION_NONE(), epochBytesMax());
      channel.send(FrameType.DISK_HELLO, length, 0);
      greeted = true;
    }
    if (!marksTold) {
      tellMarks();
    }
  }

  /** Two epochs must fit, one being received while one is not committed, with room to spare. */
  private long epochBytesMax() {
    LogFile file = logFile;
    return (config.logMemoryBytes() + (file == null ? 0 : file.bytes())) / 4;
  }

  private void tellMarks() {
    int head = (int) dyad_disk_extents.sizeof();
    int max = Math.min(4096, (channel.payloadBytesMax() - head) / 4 & ~1);
    while (!marksTold) {
      long at = channel.begin(head + 4 * max, 0);
      if (at == 0) {
        return;
      }
      int count = 0;
      while (nextExtent < geometry.extents() && count < max) {
        if (ownMarks.extentCount(nextExtent) > 0) {
          Memory.putInt(at + head + 4L * count++, nextExtent);
        }
        nextExtent++;
      }
      marksTold = nextExtent == geometry.extents();
      if ((count & 1) != 0) {
        Memory.putInt(at + head + 4L * count, 0);
      }
      Memory.putInt(at + dyad_disk_extents.count$offset(), count);
      Memory.putInt(at + dyad_disk_extents.flags$offset(), marksTold ? DYAD_DISK_EXTENTS_LAST() : 0);
      channel.send(FrameType.DISK_EXTENTS, head + 4 * count, 0);
    }
  }

  // ---- the ring ----

  private void receive() {
    while (channel.receive()) {
      long at = channel.payload();
      int result =
          switch (channel.type()) {
            case DISK_HELLO -> onHello(at, channel.length());
            case DISK_WRITE -> onWrite(at, channel.length(), channel.epoch());
            case DISK_CLEAR -> onClear(at, channel.length(), channel.epoch());
            case DISK_SEAL -> onSeal(at, channel.length(), channel.epoch());
            case DISK_SUMS -> onSums(at, channel.length());
            case DISK_READ -> onRead(at, channel.length());
            case DISK_STATE -> onState(at, channel.length());
            default -> BAD;
          };
      if (result == LATER) {
        return;
      }
      if (result == BAD) {
        close("the primary's disk sent a " + channel.type() + " frame that does not fit");
        return;
      }
      channel.consume();
      if (state == State.CLOSED || state == State.FAILED) {
        return;
      }
    }
  }

  private int onHello(long at, int length) {
    if (state != State.GREETING || !marksTold || length != dyad_disk_hello.sizeof()) {
      return BAD;
    }
    int decision = Memory.getInt(at + dyad_disk_hello.decision$offset());
    if (decision != DYAD_DISK_SYNC_ALL() && decision != DYAD_DISK_SYNC_DIFFERENCES()) {
      close(DiskHello.explain(decision));
      return OK;
    }
    peerGenerations = DiskHello.generations(at);
    peerSetLow = Memory.getLong(at + dyad_disk_hello.set_id$offset());
    peerSetHigh = Memory.getLong(at + dyad_disk_hello.set_id$offset() + 8);
    LogFile file = logFile;
    int set = Superblock.INCONSISTENT | Superblock.RECEIVING | (config.durable() ? Superblock.LOGGED : 0);
    receivingTicket = metadata.update(metadata.generations(), set, 0, file == null ? metadata.logId() : file.logId());
    state = State.LEVELLING;
    return OK;
  }

  private boolean isReceiving() {
    return state == State.LEVELLING || state == State.LEVEL;
  }

  private boolean isInside(long offset, long bytes) {
    int align = image.blockBytes();
    return offset >= 0 && bytes > 0 && offset <= geometry.bytes() - bytes && offset % align == 0 && bytes % align == 0;
  }

  private int onWrite(long at, int length, long epoch) {
    long offset = Memory.getLong(at + dyad_disk_write.offset$offset());
    int bytes = Memory.getInt(at + dyad_disk_write.bytes$offset());
    int head = (int) dyad_disk_write.sizeof();
    if (!isReceiving() || !isInside(offset, bytes) || bytes > image.transferBytesMax() || length != head + bytes || !isOpen(epoch)) {
      return BAD;
    }
    long data = log.add(WRITE, epoch, offset, bytes, bytes);
    if (data == 0) {
      return noRoom(epoch);
    }
    Memory.copy(at + head, data, bytes);
    frames++;
    frameBytes += bytes;
    return OK;
  }

  private int onClear(long at, int length, long epoch) {
    long offset = Memory.getLong(at + dyad_disk_clear.offset$offset());
    long bytes = Memory.getLong(at + dyad_disk_clear.bytes$offset());
    int flags = Memory.getInt(at + dyad_disk_clear.flags$offset());
    if (!isReceiving() || !isInside(offset, bytes) || length != dyad_disk_clear.sizeof() || !isOpen(epoch)) {
      return BAD;
    }
    if (log.add((flags & DYAD_DISK_CLEAR_KEEP()) != 0 ? ZEROES : DISCARD, epoch, offset, bytes, 0) == 0) {
      return noRoom(epoch);
    }
    frames++;
    return OK;
  }

  /** The epoch that frames may belong to: the one after the last seal, or any when there was none. */
  private boolean isOpen(long epoch) {
    return sealedEpoch == NONE ? epoch >= 0 : epoch == sealedEpoch + 1;
  }

  /** What waits to be applied makes room; an epoch that fills the log by itself never will. */
  private int noRoom(long epoch) {
    LogFile file = logFile;
    boolean drains = log.hasEntriesThrough(epoch - 1) || applying > 0;
    boolean spills = file != null && file.error() == 0 && (file.hasRoom() || file.isBusy());
    if (!drains && !spills) {
      close("epoch " + epoch + " is larger than the write log: shorten the period or give the log more room");
      return OK;
    }
    return LATER;
  }

  private int onSeal(long at, int length, long epoch) {
    int head = (int) dyad_disk_seal.sizeof();
    int inFlight = Memory.getInt(at + dyad_disk_seal.in_flight$offset());
    int flags = Memory.getInt(at + dyad_disk_seal.flags$offset());
    int recordBytes = (int) dyad_disk_request.sizeof();
    if (!isReceiving() || !isOpen(epoch) || inFlight < 0 || inFlight * recordBytes > recordsBytes || length != head + inFlight * recordBytes) {
      return BAD;
    }
    if (Memory.getLong(at + dyad_disk_seal.frames$offset()) != frames || Memory.getLong(at + dyad_disk_seal.bytes$offset()) != frameBytes) {
      close("epoch " + epoch + " has " + frames + " disk writes, its seal says " + Memory.getLong(at + dyad_disk_seal.frames$offset()));
      return OK;
    }
    frames = 0;
    frameBytes = 0;
    int window = (int) (epoch % WINDOW);
    recordsEpoch[window] = epoch;
    recordsCount[window] = inFlight;
    Memory.copy(at + head, sealRecords.hostVirt() + (long) window * recordsBytes, (long) inFlight * recordBytes);
    sealedEpoch = epoch;
    sealedTail = log.tail();
    if ((flags & DYAD_DISK_SEAL_FLUSHED()) != 0) {
      flushedEpoch = epoch;
    }
    if ((flags & DYAD_DISK_SEAL_CHECKPOINT()) != 0) {
      checkpointEpoch = epoch;
      checkpointFlushing = false;
      checkpointFlushed = false;
    }
    if ((flags & DYAD_DISK_SEAL_LEVEL()) != 0) {
      levelEpoch = epoch;
      committedEpoch = Math.max(committedEpoch, epoch); // up to here nothing could be taken over
      state = State.LEVEL;
    }
    return OK;
  }

  private int onSums(long at, int length) {
    int blocks = Memory.getInt(at + dyad_disk_sums.blocks$offset());
    long offset = Memory.getLong(at + dyad_disk_sums.offset$offset());
    int head = (int) dyad_disk_sums.sizeof();
    if (!isReceiving() || blocks <= 0 || length != head + blocks * BlockSum.BYTES) {
      return BAD;
    }
    long bytes = (long) blocks * geometry.blockBytes();
    int sumBytes = blocks * BlockSum.BYTES;
    if (!isInside(offset, bytes) || bytes > config.pieceBytes() || bytes + sumBytes > serviceBytes * 2L) {
      return BAD;
    }
    int service = freeService();
    if (service < 0) {
      return LATER;
    }
    take(service, true, offset, (int) bytes, Memory.getInt(at + dyad_disk_sums.flags$offset()));
    Memory.copy(at + head, sums(service), sumBytes);
    return OK;
  }

  private int onRead(long at, int length) {
    long offset = Memory.getLong(at + dyad_disk_read.offset$offset());
    int bytes = Memory.getInt(at + dyad_disk_read.bytes$offset());
    if (state != State.LEVEL || length != dyad_disk_read.sizeof() || !isInside(offset, bytes) || bytes > image.transferBytesMax()) {
      return BAD;
    }
    int service = freeService();
    if (service < 0) {
      return LATER;
    }
    take(service, false, offset, bytes, Memory.getLong(at + dyad_disk_read.tag$offset()));
    return OK;
  }

  private int onState(long at, int length) {
    if (length != dyad_disk_state.sizeof() || Memory.getInt(at + dyad_disk_state.kind$offset()) != DYAD_DISK_STATE_FAILED()) {
      return BAD;
    }
    metadata.update(metadata.generations(), Superblock.PEER_VOID, 0, metadata.logId());
    return OK;
  }

  // ---- log file and image ----

  private void writeLogFile() {
    LogFile file = logFile;
    if (file == null || state == State.FAILED || !metadata.isDurable(receivingTicket)) {
      return;
    }
    restartLog(file);
    boolean memoryShort = log.count() > 0 && needsSpill();
    long end = restartTicket != NONE || restartFlushing ? NONE : wantedInFile(file, memoryShort);
    if (end != NONE) {
      file.append(levelEpoch == NONE ? NONE : sealedEpoch, sealedTail, end, levelEpoch);
    }
    if (config.durable()) {
      file.flush();
    }
    if (memoryShort && !isAnyServiceReading()) {
      log.freeLogged();
    }
  }

  /** Entries before the result belong into the file now; −1 for none. */
  private long wantedInFile(LogFile file, boolean memoryShort) {
    if (!config.durable() || levelEpoch == NONE) {
      return memoryShort ? log.tail() : NONE;
    }
    boolean late = file.position() > file.bytes() / 2;
    if (late && !file.isBetweenSeals()) {
      return NONE; // it starts over as soon as its content is applied
    }
    if (file.sealedEntries() < sealedTail || !late) {
      return memoryShort && !late ? log.tail() : sealedTail;
    }
    return memoryShort ? log.tail() : NONE;
  }

  private boolean isAnyServiceReading() {
    for (boolean reading : serviceReading) {
      if (reading) {
        return true;
      }
    }
    return false;
  }

  private boolean needsSpill() {
    return log.freeBytes() < config.logMemoryBytes() / 4;
  }

  /** When the file is half full and nothing in it is needed, it starts over under a new number. */
  private void restartLog(LogFile file) {
    if (restartTicket == NONE) {
      boolean due = file.position() > file.bytes() / 2 && !log.needsFile() && !file.isBusy();
      if (due && !restartFlushing && !config.durable()) {
        file.restart(file.logId());
      } else if (due && !restartFlushing) {
        restartFlushed = false;
        restartFlushing = image.submit(FLUSH, 0, 0, 0, 0, KIND_FLUSH | 2);
      } else if (restartFlushing && restartFlushed) {
        restartFlushing = false;
        if (!log.needsFile() && !file.isBusy()) {
          restartTicket = metadata.update(metadata.generations(), 0, 0, file.logId() + 1);
        }
      }
    } else if (metadata.isDurable(restartTicket) && !log.needsFile() && !file.isBusy()) {
      file.restart(metadata.logId());
      restartTicket = NONE;
    }
  }

  /** The newest epoch whose writes may reach the image. */
  private long applyLimit() {
    if (state == State.LEVELLING) {
      return sealedEpoch;
    }
    long limit = promotedEpoch != NONE ? promotedEpoch : Math.min(committedEpoch, sealedEpoch);
    LogFile file = logFile;
    // A log that is ahead of the image can be replayed; an image that is ahead of its log is between two epochs.
    return config.durable() && file != null ? Math.min(limit, Math.max(levelEpoch, file.sealDurable())) : limit;
  }

  private void apply() {
    if (state == State.FAILED || state == State.GREETING || !metadata.isDurable(receivingTicket)) {
      return;
    }
    while (applying < config.applyDepth() && image.inFlight() < image.queueDepth() - 1) {
      long entry = log.nextToApply(applyLimit());
      if (entry < 0 || overlapsReading(log.offset(entry), log.bytes(entry))) {
        return;
      }
      long data = 0;
      if (log.isSpilled(entry)) {
        LogFile file = java.util.Objects.requireNonNull(logFile);
        if (loadingEntry != entry) {
          // One at a time: the buffer is free when what was loaded before has been applied.
          if (applying == 0 && file.load(log.logAt(entry), (int) log.bytes(entry))) {
            loadingEntry = entry;
          }
          return;
        }
        if (!file.isLoaded()) {
          return;
        }
        data = file.loadedData();
        loadingEntry = NONE;
        file.unload();
      } else if (log.op(entry) == WRITE) {
        data = log.data(entry);
      }
      if (!image.submit(log.op(entry), 0, log.offset(entry), log.bytes(entry), data, KIND_APPLY | entry)) {
        return;
      }
      log.applying(entry);
      applying++;
    }
  }

  private void imageCompleted(long tag, int error) {
    long kind = tag & KIND_MASK;
    long index = tag & ~KIND_MASK;
    if (kind == KIND_APPLY) {
      applying--;
      log.applied(index);
      if (error < 0) {
        fail(error);
      }
    } else if (kind == KIND_SERVE) {
      serviceReading[(int) index] = false;
      serviceDone[(int) index] = true;
      serviceError[(int) index] = error;
      if (error == 0) {
        log.overlay(serviceOffset[(int) index], serviceLength[(int) index], serviceData((int) index));
      }
    } else {
      if (error < 0) {
        fail(error);
        return;
      }
      if (index == 0) {
        checkpointFlushed = true;
      } else if (index == 1) {
        promotionFlushed = true;
      } else {
        restartFlushed = true;
      }
    }
  }

  private void fail(int error) {
    if (state == State.FAILED || state == State.TAKEN) {
      return;
    }
    state = State.FAILED;
    failedWith = error;
    failureToSay = true;
    reason = "this host's disk failed with " + Errno.name(-error) + ": replace it and start the standby again";
    metadata.update(metadata.generations(), Superblock.FAILED, 0, metadata.logId());
  }

  private void close(String why) {
    if (reason.isEmpty()) {
      reason = why;
    }
    state = State.CLOSED;
    channel.fail(why);
    channel.close();
  }

  // ---- what the primary asks to be read ----

  private int freeService() {
    for (int i = 0; i < SERVICES; i++) {
      if (!serviceUsed[i]) {
        return i;
      }
    }
    return -1;
  }

  private void take(int service, boolean sums, long offset, int bytes, long tag) {
    serviceUsed[service] = true;
    serviceReading[service] = false;
    serviceDone[service] = false;
    serviceSums[service] = sums;
    serviceOffset[service] = offset;
    serviceLength[service] = bytes;
    serviceTag[service] = tag;
  }

  private long serviceData(int service) {
    return serviceMemory.hostVirt() + (long) service * serviceBytes;
  }

  private long sums(int service) {
    return sumMemory.hostVirt() + ((long) service << 16);
  }

  private boolean overlapsReading(long offset, long bytes) {
    for (int i = 0; i < SERVICES; i++) {
      if (serviceReading[i] && serviceOffset[i] < offset + bytes && offset < serviceOffset[i] + serviceLength[i]) {
        return true;
      }
    }
    return false;
  }

  private void serve() {
    for (int i = 0; i < SERVICES; i++) {
      if (serviceUsed[i] && !serviceReading[i] && !serviceDone[i]) {
        boolean ready = !log.isApplying(serviceOffset[i], serviceLength[i]) && !log.isSpilled(serviceOffset[i], serviceLength[i]);
        if (ready && image.inFlight() < image.queueDepth()) {
          serviceReading[i] = image.submit(READ, 0, serviceOffset[i], serviceLength[i], serviceData(i), KIND_SERVE | i);
        }
      }
      if (serviceUsed[i] && serviceDone[i] && (serviceSums[i] ? answerSums(i) : answerRead(i))) {
        serviceUsed[i] = false;
      }
    }
  }

  private boolean answerSums(int i) {
    if (serviceError[i] < 0) {
      fail(serviceError[i]);
      return true;
    }
    int block = geometry.blockBytes();
    int blocks = serviceLength[i] / block;
    int words = (blocks + 63) / 64;
    int head = (int) dyad_disk_need.sizeof();
    long at = channel.begin(head + words * 8, 0);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_need.offset$offset(), serviceOffset[i]);
    Memory.putInt(at + dyad_disk_need.blocks$offset(), blocks);
    Memory.putInt(at + dyad_disk_need.flags$offset(), (int) serviceTag[i]);
    long scratch = sums(i) + (1 << 16) - BlockSum.BYTES;
    for (int word = 0; word < words; word++) {
      long bits = 0;
      for (int k = word * 64; k < Math.min(blocks, word * 64 + 64); k++) {
        BlockSum.of(serviceData(i) + (long) k * block, block, serviceOffset[i] / block + k, scratch);
        if (!Memory.equal(scratch, sums(i) + (long) k * BlockSum.BYTES, BlockSum.BYTES)) {
          bits |= 1L << k;
        }
      }
      Memory.putLong(at + head + 8L * word, bits);
    }
    channel.send(FrameType.DISK_NEED, head + words * 8, sealedEpoch);
    return true;
  }

  private boolean answerRead(int i) {
    int head = (int) dyad_disk_data.sizeof();
    int bytes = serviceError[i] < 0 ? 0 : serviceLength[i];
    long at = channel.begin(head + bytes, 0);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_data.tag$offset(), serviceTag[i]);
    Memory.putInt(at + dyad_disk_data.bytes$offset(), bytes);
    Memory.putInt(at + dyad_disk_data.error$offset(), serviceError[i]);
    Memory.copy(serviceData(i), at + head, bytes);
    channel.send(FrameType.DISK_DATA, head + bytes, sealedEpoch);
    return true;
  }

  // ---- checkpoints and promotion ----

  private void checkpoint() {
    if (checkpointEpoch == NONE || state == State.FAILED || state == State.PROMOTING) {
      return;
    }
    if (!checkpointFlushing && log.appliedThrough(applyLimit()) >= checkpointEpoch && metadata.isDurable(receivingTicket)) {
      checkpointFlushing = image.submit(FLUSH, 0, 0, 0, 0, KIND_FLUSH);
    }
    if (!checkpointFlushed) {
      return;
    }
    if (checkpointEpoch == levelEpoch) {
      if (levelTicket == NONE) {
        metadata.join(peerSetLow, peerSetHigh);
        levelTicket = becomeLevel();
        return;
      }
      if (!metadata.isDurable(levelTicket)) {
        return;
      }
      if (!forgetting) {
        if (!metadata.isForgetting()) {
          ownMarks.clear();
          metadata.forgetMarks();
          forgetting = true;
        }
        return;
      }
      if (metadata.isForgetting()) {
        return;
      }
    }
    durableToSay = checkpointEpoch;
    checkpointEpoch = NONE;
  }

  private long becomeLevel() {
    int unset = Superblock.INCONSISTENT | Superblock.DISCARD_MINE | Superblock.FAILED | Superblock.PEER_VOID;
    return metadata.update(peerGenerations.level(), Superblock.RECEIVING, unset, metadata.logId());
  }

  private void say() {
    if ((!failureToSay && durableToSay == NONE) || !channel.isUp()) {
      return;
    }
    int length = (int) dyad_disk_state.sizeof();
    long at = channel.begin(length, 0);
    if (at == 0) {
      return;
    }
    Memory.putInt(at + dyad_disk_state.kind$offset(), failureToSay ? DYAD_DISK_STATE_FAILED() : DYAD_DISK_STATE_DURABLE());
    Memory.putInt(at + dyad_disk_state.error$offset(), failureToSay ? failedWith : 0);
    Memory.putLong(at + dyad_disk_state.epoch$offset(), failureToSay ? sealedEpoch : durableToSay);
    channel.send(FrameType.DISK_STATE, length, sealedEpoch);
    if (failureToSay) {
      failureToSay = false;
    } else {
      durableToSay = NONE;
    }
  }

  @Override
  public boolean isWhole(long epoch) {
    if (state != State.LEVEL || epoch > sealedEpoch || epoch < levelEpoch) {
      return false;
    }
    LogFile file = logFile;
    return !config.durable() || file == null || flushedEpoch == NONE || file.sealDurable() >= Math.min(epoch, flushedEpoch);
  }

  @Override
  public void committed(long epoch) {
    committedEpoch = Math.max(committedEpoch, epoch);
  }

  @Override
  public boolean isLevel() {
    return state == State.LEVEL;
  }

  @Override
  public boolean promote(long epoch) {
    if (state != State.LEVEL || epoch > sealedEpoch || epoch < levelEpoch || epoch < committedEpoch) {
      return false;
    }
    log.dropAfter(epoch);
    sealedTail = Math.min(sealedTail, log.tail());
    promotedEpoch = epoch;
    sealedEpoch = epoch;
    state = State.PROMOTING;
    channel.close();
    return true;
  }

  private void promotion() {
    if (state == State.PROMOTING && !promotionFlushing && log.isEmpty() && !checkpointIsFlushing()) {
      promotionFlushing = image.submit(FLUSH, 0, 0, 0, 0, KIND_FLUSH | 1);
    }
  }

  private boolean checkpointIsFlushing() {
    return (checkpointFlushing && !checkpointFlushed && checkpointEpoch != NONE) || (restartFlushing && !restartFlushed);
  }

  @Override
  public boolean isReadyToTakeOver() {
    return state == State.PROMOTING && promotionFlushed && image.inFlight() == 0 && !metadata.isForgetting();
  }

  /**
   * Makes this disk a primary's, which owns the image and the metadata from then on.
   *
   * @param identifier of the data from now on, never used before
   */
  public MirroredDisk takeOver(long identifier) {
    if (!isReadyToTakeOver()) {
      throw new IllegalStateException("not promoted: " + state);
    }
    state = State.TAKEN;
    metadata.join(peerSetLow, peerSetHigh);
    int unset = Superblock.INCONSISTENT | Superblock.DISCARD_MINE | Superblock.RECEIVING | Superblock.LOGGED;
    metadata.update(peerGenerations.level(), 0, unset, metadata.logId());
    ownMarks.clear();
    MirroredDisk disk = new MirroredDisk(image, metadata, config, ownMarks, promotedEpoch + 1);
    disk.standAlone(identifier);
    closeOwn();
    return disk;
  }

  @Override
  public void inFlight(long epoch, InFlight listener) {
    int window = (int) (epoch % WINDOW);
    if (recordsEpoch[window] != epoch) {
      return;
    }
    long record = sealRecords.hostVirt() + (long) window * recordsBytes;
    for (int i = 0; i < recordsCount[window]; i++) {
      listener.request(
          Memory.getLong(record + dyad_disk_request.tag$offset()),
          Memory.getInt(record + dyad_disk_request.op$offset()),
          Memory.getInt(record + dyad_disk_request.flags$offset()),
          Memory.getLong(record + dyad_disk_request.offset$offset()),
          Memory.getLong(record + dyad_disk_request.bytes$offset()));
      record += dyad_disk_request.sizeof();
    }
  }

  @Override
  public String reason() {
    return reason;
  }

  /** The epoch from whose seal on this disk is level, −1 before. */
  public long levelEpoch() {
    return levelEpoch;
  }

  /** Whether the primary has taken this disk and what it sends arrives. */
  public boolean isConnected() {
    return isReceiving() && channel.isUp();
  }

  /** The newest epoch that was sealed here, −1 for none. */
  public long sealedEpoch() {
    return sealedEpoch;
  }

  /** Writes received and not applied. */
  public long pendingWrites() {
    return log.count();
  }

  /** The state in one line, for a failed test or a puzzled person. */
  @Override
  public String toString() {
    LogFile file = logFile;
    return state + " sealed " + sealedEpoch + " committed " + committedEpoch + " flushed " + flushedEpoch + " level " + levelEpoch
        + " checkpoint " + checkpointEpoch + " limit " + applyLimit() + " applying " + applying + " log " + log
        + (file == null ? "" : " file " + file);
  }

  private void closeOwn() {
    LogFile file = logFile;
    if (file != null) {
      file.close();
    }
    log.close();
    sealRecords.close();
    serviceMemory.close();
    sumMemory.close();
  }

  @Override
  public void close() {
    if (state == State.TAKEN) {
      return;
    }
    state = State.TAKEN;
    channel.close();
    image.close();
    metadata.close();
    closeOwn();
  }
}
