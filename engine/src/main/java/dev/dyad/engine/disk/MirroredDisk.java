package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.EIO;
import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;
import java.util.BitSet;
import org.jspecify.annotations.Nullable;

/**
 * The primary's disk: what the guest writes goes to the local image and, with its epoch, into the ring to the standby; it is answered when
 * it is on the local image. Thread: disk.
 *
 * <p>Marks. A block in which the two disks may differ if power is lost now is in exactly these sets, whose union the metadata holds
 * (as active extent or as bit):
 *
 * <pre>
 *   dirty     the standby must get it: written while there was none, or found to differ
 *   compare   may differ: the other side marked it; asked by checksum first
 *   sent      it is in the ring or beyond, not known to be durable on both sides
 *   settling  as sent, and a checkpoint is under way after which it is durable on both
 *
 *   write, mirroring: → sent             sent → settling: a seal with CHECKPOINT
 *   write, alone:     → dirty            settling → ∅:    the standby says DURABLE and our own flush has ended
 *   copy:       dirty → sent             the standby is lost: sent, settling → dirty
 * </pre>
 *
 * <p>Must never happen: a write to an extent that is not durably active; two writes that overlap in flight, since the ring and the
 * device could then order them differently; a frame of an epoch after its seal; an answer to a write that is neither on the image
 * nor, with the image failed, in the ring to a level standby.
 */
public final class MirroredDisk implements BlockDevice, DiskEpochs {
  /** Bound of one request: a frame of the ring. */
  static final int TRANSFER_BYTES_MAX = 128 << 10;

  private static final int RING_RESERVE = 32 << 10;
  private static final long KIND_REQUEST = 0;
  private static final long KIND_PIECE = 1;
  private static final long KIND_FLUSH = 2;
  private static final int KIND_SHIFT = 56;

  private enum Peer {
    NONE,
    /** A channel is there; the standby says who it is. */
    GREETING,
    /** It has told what it marked; our answer is under way. */
    LEVELLING,
    /** The seal that makes it level is under way. */
    CLOSING_UP,
    LEVEL
  }

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final ActivityLog activity;
  private final DiskGeometry geometry;
  private final MirrorConfig config;
  private final int blockBytes;
  private final int extentShift;
  private final RequestTable requests;
  private final BlockMap dirty;
  private final BlockMap compare;
  private BlockMap sent;
  private BlockMap settling;
  private final Resync resync;
  private final Completions fromImage = this::imageCompleted;
  private Completions answers = (tag, error) -> {};
  private final BitSet staleBitmap;

  private @Nullable DiskChannel channel;
  private Peer peer = Peer.NONE;
  private String reason = "no standby";
  private long epochBytesMax;
  private final BitSet peerExtents = new BitSet();
  private Generations peerGenerations = Generations.NONE;
  private int peerFlags;

  private long epoch;
  private long epochFrames;
  private long epochBytes;
  private boolean epochFlushed;
  private long identityTicket;
  /** Whether a standby may hold data under the identifier that is ours now. */
  private boolean identityShared;
  private int markSet;
  private final int[] writesInSet = new int[2];

  private long checkpointEpoch = -1;
  private boolean checkpointLevels;
  private boolean peerDurable;
  private boolean flushStarted;
  private boolean flushDone;
  private long lastCheckpointNanos;

  private boolean starting;
  private boolean imageFailed;
  private boolean mustTellFailure;
  private int imageError;
  private long stalledSinceNanos = -1;
  private boolean stalledNow;
  private int completionsReported;
  private long nowNanos;
  private long ringFull;
  private boolean closed;

  /**
   * Opens the image as that of a primary.
   *
   * @param image the guest's data
   * @param meta its metadata, formatted before
   * @param firstEpoch the epoch that writes belong to from now on
   */
  public static MirroredDisk open(BlockDevice image, BlockDevice meta, MirrorConfig config, long firstEpoch) {
    BlockMap[] maps = new BlockMap[2];
    MirroredDisk[] self = new MirroredDisk[1];
    DiskMetadata metadata =
        DiskMetadata.open(
            meta,
            image.bytes(),
            block -> self[0].marked(block),
            geometry -> maps[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
    if (metadata.has(Superblock.INCONSISTENT | Superblock.RECEIVING | Superblock.FAILED)) {
      String found =
          metadata.has(Superblock.FAILED)
              ? "the image failed before"
              : metadata.has(Superblock.INCONSISTENT)
                  ? "the image was not level with its other side when that was lost"
                  : "the image was a standby's and may be between two epochs";
      metadata.close();
      throw new DiskRefusedException(found + ": start the machine on the other host, or declare this image good (dyad disk force)");
    }
    self[0] = new MirroredDisk(image, metadata, config, maps[0], firstEpoch);
    return self[0];
  }

  MirroredDisk(BlockDevice image, DiskMetadata metadata, MirrorConfig config, BlockMap marked, long firstEpoch) {
    this.image = image;
    this.metadata = metadata;
    this.config = config;
    activity = metadata.activity();
    geometry = metadata.geometry();
    blockBytes = geometry.blockBytes();
    extentShift = Integer.numberOfTrailingZeros(geometry.extentBytes());
    requests = new RequestTable(config.requests());
    dirty = marked;
    compare = newMap();
    sent = newMap();
    settling = newMap();
    resync = new Resync(geometry, config.pieceBytes(), config.resyncBytesPerSecond(), dirty, compare);
    staleBitmap = new BitSet(geometry.bitmapBlocks());
    epoch = firstEpoch;
    identityShared = metadata.generations().base() == 0;
    metadata.marks(this::marked);
  }

  private BlockMap newMap() {
    return new BlockMap(geometry.blocks(), geometry.blocksPerExtent());
  }

  /** Bits of 64 blocks for the metadata's bitmap. */
  long marked(long block) {
    return dirty.word(block) | compare.word(block) | sent.word(block) | settling.word(block);
  }

  /** Who hears of completions outside of {@link #poll(Completions)}. */
  public void onCompletion(Completions listener) {
    answers = listener;
  }

  // ---- the guest's side ----

  @Override
  public long bytes() {
    return geometry.bytes();
  }

  @Override
  public int blockBytes() {
    return image.blockBytes();
  }

  @Override
  public int queueDepth() {
    return requests.capacity();
  }

  @Override
  public int transferBytesMax() {
    return Math.min(image.transferBytesMax(), TRANSFER_BYTES_MAX);
  }

  @Override
  public int inFlight() {
    return requests.count();
  }

  @Override
  public boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
    if (requests.isFull()) {
      return false;
    }
    boolean transfer = op == READ || op == WRITE;
    if (op != FLUSH
        && (offset < 0 || bytes <= 0 || offset + bytes > geometry.bytes() || (transfer && bytes > transferBytesMax()))) {
      throw new IllegalArgumentException("request of " + bytes + " bytes at " + offset + " on a disk of " + geometry.bytes());
    }
    requests.add(op, flags, offset, bytes, hostVirt, tag);
    start();
    return true;
  }

  /** Starts what waits, in its order as far as that matters. An answer may bring new requests: they are seen in the same turn. */
  private void start() {
    if (starting) {
      return;
    }
    starting = true;
    stalledNow = false;
    for (int i = 0; i < requests.queued(); i++) {
      int slot = requests.queued(i);
      boolean went =
          switch (requests.op[slot]) {
            case READ -> startRead(slot, i);
            case FLUSH -> startFlush(slot, i);
            default -> startWrite(slot, i);
          };
      if (!went && requests.op[slot] == READ && !imageFailed) {
        break; // the image is full
      }
    }
    requests.compact();
    starting = false;
  }

  private boolean startRead(int slot, int place) {
    if (imageFailed) {
      return startRemoteRead(slot, place);
    }
    if (!image.submit(READ, 0, requests.offset[slot], requests.bytes[slot], requests.hostVirt[slot], requestTag(slot))) {
      return false;
    }
    requests.take(place);
    requests.start(slot, RequestTable.LOCAL);
    return true;
  }

  private boolean startRemoteRead(int slot, int place) {
    if (peer != Peer.LEVEL) {
      requests.take(place);
      answer(slot, -EIO());
      return true;
    }
    DiskChannel to = channel();
    long at = to.begin((int) dyad_disk_read.sizeof(), RING_RESERVE);
    if (at == 0) {
      stall();
      return false;
    }
    Memory.putLong(at + dyad_disk_read.tag$offset(), requestTag(slot));
    Memory.putLong(at + dyad_disk_read.offset$offset(), requests.offset[slot]);
    Memory.putInt(at + dyad_disk_read.bytes$offset(), (int) requests.bytes[slot]);
    Memory.putInt(at + dyad_disk_read.zero$offset(), 0);
    to.send(FrameType.DISK_READ, (int) dyad_disk_read.sizeof(), epoch);
    requests.take(place);
    requests.start(slot, RequestTable.REMOTE);
    return true;
  }

  private boolean startFlush(int slot, int place) {
    epochFlushed = true;
    if (imageFailed) {
      requests.take(place);
      answer(slot, peer == Peer.LEVEL ? 0 : -EIO());
      return true;
    }
    if (!image.submit(FLUSH, 0, 0, 0, 0, requestTag(slot))) {
      return false;
    }
    requests.take(place);
    requests.start(slot, RequestTable.LOCAL);
    return true;
  }

  private boolean startWrite(int slot, int place) {
    long offset = requests.offset[slot];
    long bytes = requests.bytes[slot];
    if (imageFailed && peer != Peer.LEVEL) {
      requests.take(place);
      answer(slot, -EIO());
      return true;
    }
    if (requests.overlapsWrite(offset, bytes)) {
      return false;
    }
    if (!imageFailed && !activate(offset, bytes)) {
      return false;
    }
    if (!imageFailed && image.inFlight() == image.queueDepth()) {
      return false;
    }
    if (isMirroring()) {
      if (!ship(slot)) {
        stall();
        return false;
      }
      mark(sent, offset, bytes);
      unmarkWhole(dirty, offset, bytes);
    } else {
      mark(dirty, offset, bytes);
    }
    resync.touch(offset, bytes);
    requests.markSet[slot] = markSet;
    epochFlushed |= (requests.flags[slot] & FUA) != 0;
    if (imageFailed) {
      requests.take(place);
      answer(slot, 0);
      return true;
    }
    holdAll(offset, bytes);
    writesInSet[markSet]++;
    requests.take(place);
    requests.start(slot, RequestTable.LOCAL);
    if (!image.submit(requests.op[slot], requests.flags[slot], offset, bytes, requests.hostVirt[slot], requestTag(slot))) {
      throw new IllegalStateException("the image took less than its queue depth");
    }
    return true;
  }

  private boolean activate(long offset, long bytes) {
    boolean active = true;
    int last = (int) ((offset + bytes - 1) >>> extentShift);
    for (int extent = (int) (offset >>> extentShift); extent <= last; extent++) {
      if (!activity.isActive(extent)) {
        activity.want(extent);
        active = false;
      }
    }
    return active;
  }

  private void holdAll(long offset, long bytes) {
    int last = (int) ((offset + bytes - 1) >>> extentShift);
    for (int extent = (int) (offset >>> extentShift); extent <= last; extent++) {
      activity.hold(extent);
    }
  }

  private void letGoAll(long offset, long bytes) {
    int last = (int) ((offset + bytes - 1) >>> extentShift);
    for (int extent = (int) (offset >>> extentShift); extent <= last; extent++) {
      activity.letGo(extent);
    }
  }

  private void mark(BlockMap set, long offset, long bytes) {
    long first = offset / blockBytes;
    set.set(first, (offset + bytes + blockBytes - 1) / blockBytes - first);
  }

  private void unmarkWhole(BlockMap set, long offset, long bytes) {
    long first = (offset + blockBytes - 1) / blockBytes;
    long end = (offset + bytes) / blockBytes;
    if (end > first) {
      set.clear(first, end - first);
    }
  }

  /** Puts a write into the ring; false when there is no room. */
  private boolean ship(int slot) {
    DiskChannel to = channel();
    if (epochFrames >= config.logEntries() / 4) {
      return false;
    }
    if (requests.op[slot] == WRITE) {
      return sendData(to, requests.offset[slot], (int) requests.bytes[slot], requests.hostVirt[slot]);
    }
    long at = to.begin((int) dyad_disk_clear.sizeof(), RING_RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_clear.offset$offset(), requests.offset[slot]);
    Memory.putLong(at + dyad_disk_clear.bytes$offset(), requests.bytes[slot]);
    Memory.putInt(at + dyad_disk_clear.flags$offset(), requests.op[slot] == ZEROES ? DYAD_DISK_CLEAR_KEEP() : 0);
    Memory.putInt(at + dyad_disk_clear.zero$offset(), 0);
    to.send(FrameType.DISK_CLEAR, (int) dyad_disk_clear.sizeof(), epoch);
    epochFrames++;
    return true;
  }

  private boolean sendData(DiskChannel to, long offset, int bytes, long hostVirt) {
    // What the standby's log cannot take for one epoch must wait for the next; half of it is the early sign, see wantsSeal.
    if (epochBytes + bytes > epochBytesMax) {
      return false;
    }
    int head = (int) dyad_disk_write.sizeof();
    long at = to.begin(head + bytes, RING_RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_write.offset$offset(), offset);
    Memory.putInt(at + dyad_disk_write.bytes$offset(), bytes);
    Memory.putInt(at + dyad_disk_write.flags$offset(), 0);
    Memory.copy(hostVirt, at + head, bytes);
    to.send(FrameType.DISK_WRITE, head + bytes, epoch);
    epochFrames++;
    epochBytes += bytes;
    return true;
  }

  private void stall() {
    stalledNow = true;
    ringFull++;
  }

  private long requestTag(int slot) {
    return KIND_REQUEST << KIND_SHIFT | (requests.use[slot] & 0xffffffL) << 32 | slot;
  }

  private void answer(int slot, int error) {
    long tag = requests.tag[slot];
    requests.end(slot);
    completionsReported++;
    answers.completed(tag, error);
  }

  // ---- the image's side ----

  private void imageCompleted(long tag, int error) {
    long kind = tag >>> KIND_SHIFT;
    int index = (int) tag;
    if (kind == KIND_REQUEST) {
      requestCompleted(index, error);
    } else if (kind == KIND_PIECE) {
      if (error < 0) {
        failImage(error);
      }
      resync.read(index, error);
    } else if (kind == KIND_FLUSH) {
      if (error < 0) {
        failImage(error);
      }
      flushDone = true;
    }
  }

  private void requestCompleted(int slot, int error) {
    boolean write = requests.isWrite(slot);
    if (write) {
      letGoAll(requests.offset[slot], requests.bytes[slot]);
      writesInSet[requests.markSet[slot]]--;
    }
    if (requests.op[slot] == FLUSH) {
      epochFlushed = true;
    }
    if (error < 0) {
      failImage(error);
      if (peer == Peer.LEVEL && requests.op[slot] == READ) {
        long offset = requests.offset[slot];
        long bytes = requests.bytes[slot];
        long hostVirt = requests.hostVirt[slot];
        long tag = requests.tag[slot];
        requests.end(slot);
        requests.add(READ, 0, offset, bytes, hostVirt, tag); // now of the standby
        return;
      }
      // A write is in the ring of a level standby already, and a flush stands for what is there.
      answer(slot, peer == Peer.LEVEL ? 0 : error);
      return;
    }
    answer(slot, 0);
  }

  private void failImage(int error) {
    if (imageFailed) {
      return;
    }
    imageFailed = true;
    imageError = error;
    reason = "the local image failed with " + Errno.name(-error) + (peer == Peer.LEVEL ? ": the standby's disk serves the guest" : "");
    // After a restart this image must not pass for a good one.
    metadata.update(metadata.generations(), Superblock.FAILED, 0, metadata.logId());
    mustTellFailure = peer == Peer.LEVEL;
  }

  /** Whether the guest is served by the standby's disk, or by none. */
  public boolean isImageFailed() {
    return imageFailed;
  }

  // ---- epochs ----

  @Override
  public void seal(long sealedEpoch) {
    seal(sealedEpoch, true, true);
  }

  @Override
  public void sealLevelling(boolean mayCheckpoint) {
    if (peer == Peer.LEVELLING) {
      seal(epoch, false, mayCheckpoint);
    }
  }

  private void seal(long sealedEpoch, boolean mayLevel, boolean mayCheckpoint) {
    if (sealedEpoch != epoch) {
      throw new IllegalStateException("seal of epoch " + sealedEpoch + ", open is " + epoch);
    }
    if (isMirroring()) {
      sendSeal(mayLevel, mayCheckpoint);
    }
    epoch++;
    epochFrames = 0;
    epochBytes = 0;
    epochFlushed = false;
  }

  private void sendSeal(boolean mayLevel, boolean mayCheckpoint) {
    int flags = epochFlushed ? DYAD_DISK_SEAL_FLUSHED() : 0;
    boolean becomesLevel = mayLevel && isCaughtUp();
    boolean due = mayCheckpoint && nowNanos - lastCheckpointNanos >= config.checkpointNanos() && !sent.isEmpty();
    if (checkpointEpoch < 0 && !imageFailed && (becomesLevel || due)) {
      flags |= DYAD_DISK_SEAL_CHECKPOINT();
      BlockMap empty = settling;
      settling = sent;
      sent = empty;
      markSet ^= 1;
      checkpointEpoch = epoch;
      checkpointLevels = becomesLevel;
      peerDurable = false;
      flushStarted = false;
      flushDone = false;
      lastCheckpointNanos = nowNanos;
      if (becomesLevel) {
        flags |= DYAD_DISK_SEAL_LEVEL();
        peer = Peer.CLOSING_UP;
        identityShared = true;
      }
    }
    int inFlight = requests.count();
    int recordBytes = (int) dyad_disk_request.sizeof();
    int length = (int) dyad_disk_seal.sizeof() + inFlight * recordBytes;
    DiskChannel to = channel();
    long at = to.begin(length, 0);
    if (at == 0) {
      suspend(to.isUp() ? "the ring to the standby's disk has no room for a seal" : to.failure());
      return;
    }
    Memory.putLong(at + dyad_disk_seal.frames$offset(), epochFrames);
    Memory.putLong(at + dyad_disk_seal.bytes$offset(), epochBytes);
    Memory.putInt(at + dyad_disk_seal.flags$offset(), flags);
    Memory.putInt(at + dyad_disk_seal.in_flight$offset(), inFlight);
    long record = at + dyad_disk_seal.sizeof();
    for (int slot = 0; slot < requests.capacity(); slot++) {
      if (requests.state[slot] != RequestTable.FREE) {
        Memory.putLong(record + dyad_disk_request.tag$offset(), requests.tag[slot]);
        Memory.putLong(record + dyad_disk_request.offset$offset(), requests.offset[slot]);
        Memory.putLong(record + dyad_disk_request.bytes$offset(), requests.bytes[slot]);
        Memory.putInt(record + dyad_disk_request.op$offset(), requests.op[slot]);
        Memory.putInt(record + dyad_disk_request.flags$offset(), requests.flags[slot]);
        record += recordBytes;
      }
    }
    to.send(FrameType.DISK_SEAL, length, epoch);
  }

  @Override
  public long epoch() {
    return epoch;
  }

  @Override
  public boolean isLevel() {
    return peer == Peer.LEVEL;
  }

  @Override
  public boolean isCaughtUp() {
    return peer == Peer.LEVELLING && dirty.isEmpty() && compare.isEmpty() && checkpointEpoch < 0 && !imageFailed;
  }

  @Override
  public boolean isMirroring() {
    return peer.compareTo(Peer.LEVELLING) >= 0;
  }

  @Override
  public boolean wantsSeal() {
    return isMirroring() && (epochBytes > epochBytesMax / 2 || epochFrames > config.logEntries() / 8);
  }

  @Override
  public String reason() {
    return reason;
  }

  @Override
  public boolean needsIdentity() {
    return identityShared;
  }

  @Override
  public void standAlone(long identifier) {
    lose("no standby");
    identityShared = false;
    identityTicket = metadata.update(metadata.generations().alone(identifier), 0, 0, metadata.logId());
  }

  /**
   * From here on others write to the image, unseen: no side's marks tell what differs any more, so the next standby is compared as a
   * whole. {@link #isIdentityDurable} tells when that is recorded.
   */
  public void leaveToOthers(long identifier) {
    lose("no standby");
    identityTicket = metadata.update(metadata.generations().alone(identifier).level(), 0, 0, metadata.logId());
  }

  @Override
  public boolean isIdentityDurable() {
    return metadata.isDurable(identityTicket);
  }

  public Generations generations() {
    return metadata.generations();
  }

  /** Blocks that the standby lacks or may lack. */
  public long behindBlocks() {
    return dirty.count() + compare.count();
  }

  /** How levelling and verification go. */
  public Resync resync() {
    return resync;
  }

  /** How often a request waited because the ring was full. */
  public long ringFull() {
    return ringFull;
  }

  // ---- the standby's side ----

  /** Takes a channel to a standby's disk; the disk owns it from now on. */
  public void attach(DiskChannel newChannel) {
    lose("");
    if (imageFailed) {
      newChannel.close();
      reason = "the local image failed with " + Errno.name(-imageError) + ": replace it, or move the machine to the other host";
      return;
    }
    int frame = Math.max(config.pieceBytes(), transferBytesMax()) + (int) dyad_disk_write.sizeof();
    if (newChannel.payloadBytesMax() < frame) {
      newChannel.close();
      reason = "the disk's ring takes frames of " + newChannel.payloadBytesMax() + " bytes, needed are " + frame + ": give it more memory";
      return;
    }
    channel = newChannel;
    peer = Peer.GREETING;
    peerExtents.clear();
    peerFlags = 0;
    reason = "";
  }

  /** Whether there is a channel to a standby's disk, accepted or not. */
  public boolean isConnected() {
    return peer != Peer.NONE;
  }

  /** Stops mirroring for a reason; what was not durable on the other side stays marked. */
  private void suspend(String why) {
    lose("protection of the disk suspended: " + why);
  }

  private void lose(String why) {
    if (!why.isEmpty() && (reason.isEmpty() || peer != Peer.NONE)) {
      reason = why;
    }
    DiskChannel old = channel;
    if (old != null) {
      old.close();
      channel = null;
    }
    if (isMirroring()) {
      dirty.addAll(sent);
      dirty.addAll(settling);
      sent.clear();
      settling.clear();
      // The standby tells its own marks again when it comes back.
      compare.clear();
    }
    peer = Peer.NONE;
    mustTellFailure = false;
    checkpointEpoch = -1;
    stalledSinceNanos = -1;
    resync.stop();
    for (int slot = 0; slot < requests.capacity(); slot++) {
      if (requests.state[slot] == RequestTable.REMOTE) {
        answer(slot, -EIO());
      }
    }
  }

  private DiskChannel channel() {
    DiskChannel present = channel;
    if (present == null) {
      throw new IllegalStateException("no channel in state " + peer);
    }
    return present;
  }

  private void receive() {
    DiskChannel from = channel;
    while (from != null && from == channel && from.receive()) {
      long at = from.payload();
      boolean good =
          switch (from.type()) {
            case DISK_HELLO -> onHello(at, from.length());
            case DISK_EXTENTS -> onExtents(at, from.length());
            case DISK_NEED -> onNeed(at, from.length());
            case DISK_DATA -> onData(at, from.length());
            case DISK_STATE -> onState(at, from.length());
            default -> false;
          };
      if (channel != from) {
        return;
      }
      if (!good) {
        suspend("the standby's disk sent a " + from.type() + " frame that does not fit");
        return;
      }
      from.consume();
    }
  }

  private boolean onHello(long at, int length) {
    if (peer != Peer.GREETING || length != dyad_disk_hello.sizeof()) {
      return false;
    }
    peerFlags = Memory.getInt(at + dyad_disk_hello.flags$offset());
    peerGenerations = DiskHello.generations(at);
    epochBytesMax = Memory.getLong(at + dyad_disk_hello.epoch_bytes_max$offset());
    int refusal = DiskHello.refusal(at, geometry, metadata, peerFlags);
    if (refusal != DYAD_DISK_DECISION_NONE()) {
      refuse(refusal, DiskHello.explain(refusal, at, geometry));
    }
    return true;
  }

  private boolean onExtents(long at, int length) {
    int count = Memory.getInt(at + dyad_disk_extents.count$offset());
    int head = (int) dyad_disk_extents.sizeof();
    if (peer != Peer.GREETING || count < 0 || count > (length - head) / 4) {
      return false;
    }
    for (int i = 0; i < count; i++) {
      int extent = Memory.getInt(at + head + 4L * i);
      if (extent < 0 || extent >= geometry.extents()) {
        return false;
      }
      peerExtents.set(extent);
    }
    if ((Memory.getInt(at + dyad_disk_extents.flags$offset()) & DYAD_DISK_EXTENTS_LAST()) != 0) {
      decide();
    }
    return true;
  }

  private void refuse(int decision, String why) {
    if (sendHello(decision)) {
      channel().poll();
    }
    lose(why);
  }

  private boolean sendHello(int decision) {
    DiskChannel to = channel();
    int length = (int) dyad_disk_hello.sizeof();
    long at = to.begin(length, 0);
    if (at == 0) {
      return false;
    }
    DiskHello.write(at, geometry, metadata, 0, decision, 0);
    to.send(FrameType.DISK_HELLO, length, epoch);
    return true;
  }

  private void decide() {
    Generations.Relation relation = metadata.generations().relationTo(peerGenerations);
    if ((peerFlags & DYAD_DISK_FRESH()) != 0) {
      relation = Generations.Relation.FRESH;
    } else if (relation == Generations.Relation.DIFFERENCES && metadata.has(Superblock.PEER_VOID)) {
      relation = Generations.Relation.OLDER;
    } else if ((peerFlags & DYAD_DISK_DISCARD_MINE()) != 0 && relation != Generations.Relation.DIFFERENCES) {
      relation = Generations.Relation.OLDER;
    }
    switch (relation) {
      case FRESH, OLDER -> {
        compare.set(0, geometry.blocks());
        level(DYAD_DISK_SYNC_ALL());
      }
      case DIFFERENCES -> {
        for (int extent = peerExtents.nextSetBit(0); extent >= 0; extent = peerExtents.nextSetBit(extent + 1)) {
          compare.set((long) extent * geometry.blocksPerExtent(), geometry.blocksPerExtent());
        }
        level(DYAD_DISK_SYNC_DIFFERENCES());
      }
      case AHEAD -> refuse(DYAD_DISK_REFUSED_BEHIND(), DiskHello.BEHIND);
      case DIVERGED -> refuse(DYAD_DISK_REFUSED_DIVERGED(), DiskHello.DIVERGED);
      case FOREIGN -> refuse(DYAD_DISK_REFUSED_FOREIGN(), DiskHello.FOREIGN);
    }
  }

  private void level(int decision) {
    if (!sendHello(decision)) {
      suspend("the ring to the standby's disk is too small");
      return;
    }
    peer = Peer.LEVELLING;
    // Frames count from here, within the epoch that is open.
    epochFrames = 0;
    epochBytes = 0;
    resync.start(nowNanos);
  }

  private boolean onNeed(long at, int length) {
    int blocks = Memory.getInt(at + dyad_disk_need.blocks$offset());
    int words = (blocks + 63) / 64;
    int head = (int) dyad_disk_need.sizeof();
    if (blocks <= 0 || length != head + words * 8) {
      return false;
    }
    return resync.answered(Memory.getLong(at + dyad_disk_need.offset$offset()), blocks, words, at + head);
  }

  private boolean onData(long at, int length) {
    long tag = Memory.getLong(at + dyad_disk_data.tag$offset());
    int bytes = Memory.getInt(at + dyad_disk_data.bytes$offset());
    int error = Memory.getInt(at + dyad_disk_data.error$offset());
    int head = (int) dyad_disk_data.sizeof();
    int slot = (int) tag;
    if (slot < 0 || slot >= requests.capacity() || requests.state[slot] != RequestTable.REMOTE || requestTag(slot) != tag) {
      return false;
    }
    if (error == 0) {
      if (bytes != requests.bytes[slot] || length < head + bytes) {
        return false;
      }
      Memory.copy(at + head, requests.hostVirt[slot], bytes);
    }
    answer(slot, error);
    return true;
  }

  private boolean onState(long at, int length) {
    if (length != dyad_disk_state.sizeof()) {
      return false;
    }
    int kind = Memory.getInt(at + dyad_disk_state.kind$offset());
    if (kind == DYAD_DISK_STATE_DURABLE()) {
      if (Memory.getLong(at + dyad_disk_state.epoch$offset()) == checkpointEpoch) {
        peerDurable = true;
      }
      return true;
    }
    if (kind == DYAD_DISK_STATE_FAILED()) {
      suspend("the standby's disk failed with " + Errno.name(-Memory.getInt(at + dyad_disk_state.error$offset())));
      return true;
    }
    return false;
  }

  /** The standby remembers it in our place: our own metadata may be on the device that failed. */
  private void tellFailure() {
    if (!mustTellFailure) {
      return;
    }
    DiskChannel to = channel();
    int length = (int) dyad_disk_state.sizeof();
    long at = to.begin(length, 0);
    if (at != 0) {
      Memory.putInt(at + dyad_disk_state.kind$offset(), DYAD_DISK_STATE_FAILED());
      Memory.putInt(at + dyad_disk_state.error$offset(), imageError);
      Memory.putLong(at + dyad_disk_state.epoch$offset(), epoch);
      to.send(FrameType.DISK_STATE, length, epoch);
      mustTellFailure = false;
    }
  }

  private void checkpoint() {
    if (checkpointEpoch < 0) {
      return;
    }
    if (!flushStarted && writesInSet[markSet ^ 1] == 0 && !imageFailed) {
      flushStarted = image.submit(FLUSH, 0, 0, 0, 0, KIND_FLUSH << KIND_SHIFT);
    }
    if (peerDurable && flushDone && !imageFailed) {
      staleBitmap.set(0, geometry.bitmapBlocks());
      settling.clear();
      checkpointEpoch = -1;
      if (checkpointLevels) {
        checkpointLevels = false;
        peer = Peer.LEVEL;
        identityTicket = metadata.update(metadata.generations().level(), 0, Superblock.PEER_VOID, metadata.logId());
      }
    }
  }

  private void pump() {
    if (!isMirroring() || imageFailed) {
      return;
    }
    DiskChannel to = channel();
    for (int piece = 0; piece < resync.pieces(); piece++) {
      if (resync.state[piece] == Resync.READY) {
        if (resync.isStale(piece)) {
          resync.giveUp(piece);
        } else if (resync.kind[piece] == Resync.COPY) {
          sendPiece(to, piece);
        } else {
          sendSums(to, piece);
        }
      }
    }
    // Copied blocks leave half of the ring and of the epoch to the guest.
    while (to.room() > to.capacity() / 2 && epochBytes < epochBytesMax / 2 && !stalledNow) {
      if (image.inFlight() + 1 >= image.queueDepth()) {
        return;
      }
      int piece = resync.next(nowNanos, requests);
      if (piece < 0) {
        return;
      }
      if (!image.submit(READ, 0, resync.offset(piece), resync.bytes(piece), resync.buffer(piece), KIND_PIECE << KIND_SHIFT | piece)) {
        resync.giveUp(piece);
        return;
      }
    }
  }

  private void sendPiece(DiskChannel to, int piece) {
    if (sendData(to, resync.offset(piece), resync.bytes(piece), resync.buffer(piece))) {
      sent.set(resync.firstBlock[piece], resync.blockCount[piece]);
      resync.copied(piece);
    }
  }

  private void sendSums(DiskChannel to, int piece) {
    int head = (int) dyad_disk_sums.sizeof();
    int length = head + resync.blockCount[piece] * BlockSum.BYTES;
    long at = to.begin(length, RING_RESERVE);
    if (at == 0) {
      return;
    }
    Memory.putLong(at + dyad_disk_sums.offset$offset(), resync.offset(piece));
    Memory.putInt(at + dyad_disk_sums.blocks$offset(), resync.blockCount[piece]);
    Memory.putInt(at + dyad_disk_sums.flags$offset(), resync.kind[piece] == Resync.VERIFY ? DYAD_DISK_SUMS_VERIFY() : 0);
    for (int i = 0; i < resync.blockCount[piece]; i++) {
      BlockSum.of(
          resync.buffer(piece) + (long) i * blockBytes, blockBytes, resync.firstBlock[piece] + i, at + head + (long) i * BlockSum.BYTES);
    }
    to.send(FrameType.DISK_SUMS, length, epoch);
    resync.asked(piece);
  }

  /** Takes back bits of the durable bitmap that are no longer needed, one block at a time. */
  private void cleanBitmap() {
    int next = staleBitmap.nextSetBit(0);
    if (next >= 0 && metadata.clean(next)) {
      staleBitmap.clear(next);
    }
  }

  /**
   * Compares both disks block by block while the guest runs; nothing is changed.
   *
   * @return false when the standby's disk is not level
   */
  public boolean startVerify() {
    if (peer != Peer.LEVEL || imageFailed) {
      return false;
    }
    resync.startVerify();
    return true;
  }

  @Override
  public void await(long nanos) {
    image.await(nanos);
  }

  /** The clock for turns that come without one. */
  public void tick(long now) {
    nowNanos = now;
  }

  /** Everything but the clock: see {@link #poll(Completions, long)}. */
  @Override
  public int poll(Completions completions) {
    return poll(completions, nowNanos);
  }

  /** One turn of the disk thread. */
  public int poll(Completions completions, long now) {
    nowNanos = now;
    answers = completions;
    completionsReported = 0;
    int work = image.poll(fromImage);
    work += metadata.poll();
    if (metadata.error() != 0) {
      failImage(metadata.error());
    }
    DiskChannel to = channel;
    if (to != null) {
      work += to.poll();
      receive();
      if (channel != null && !channel.isUp()) {
        suspend(channel.failure());
      }
    }
    start();
    if (channel != null) {
      tellFailure();
      pump();
      checkpoint();
      watchForStall();
    }
    cleanBitmap();
    if (work > 0) {
      image.poll(fromImage);
      if (channel != null) {
        channel.poll();
      }
    }
    return work + completionsReported;
  }

  private void watchForStall() {
    if (!stalledNow || !isMirroring()) {
      stalledSinceNanos = -1;
    } else if (stalledSinceNanos < 0) {
      stalledSinceNanos = nowNanos;
    } else if (nowNanos - stalledSinceNanos > config.stallNanosMax()) {
      suspend("the standby's disk has made no room for " + config.stallNanosMax() / 1_000_000 + " ms");
    }
  }

  /** Whether nothing waits, runs or is being recorded. */
  public boolean isIdle() {
    return requests.count() == 0 && metadata.isIdle() && image.inFlight() == 0;
  }

  /** The state in one line, for a failed test or a puzzled person. */
  @Override
  public String toString() {
    return peer + " epoch " + epoch + " requests " + requests.count() + " queued " + requests.queued() + " dirty " + dirty.count() + " compare "
        + compare.count() + " sent " + sent.count() + " settling " + settling.count() + " checkpoint " + checkpointEpoch + " peer durable " + peerDurable
        + " flushed " + flushDone + " metadata idle " + metadata.isIdle() + " image in flight " + image.inFlight() + " " + resync;
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    lose("closed");
    image.close();
    metadata.close();
    resync.close();
  }

}
