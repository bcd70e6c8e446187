package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.uring.uring_h.*;

import dev.dyad.bindings.abi.uring.io_uring_sqe;
import dev.dyad.bindings.linux.Memory;

/**
 * The ring of requests, mapped from the kernel. Owned by the one thread that hands over.
 *
 * <p>Each method prepares one request and returns false when the ring is full, with nothing changed. A request becomes visible to the
 * kernel with {@link #publish}, which {@link Ring#submit} calls. Addresses that a request names must stay valid until its completion,
 * except those of a timeout, a link timeout or a file table update, which the kernel reads while it takes the request over.
 *
 * <p>Memory order: the kernel reads the tail with acquire after it was stored here with release; the head, written by the kernel with
 * release when it has copied a request, is read here with acquire.
 */
public final class SubmissionRing {
  /** Flags of one request, see io_uring_enter(2). */
  public static final int FIXED_FILE = IOSQE_FIXED_FILE();

  public static final int DRAIN = IOSQE_IO_DRAIN();
  public static final int LINK = IOSQE_IO_LINK();
  public static final int HARDLINK = IOSQE_IO_HARDLINK();
  public static final int ASYNC = IOSQE_ASYNC();
  public static final int SKIP_SUCCESS = IOSQE_CQE_SKIP_SUCCESS();

  /** Flag of a write that is durable when it completes, preadv2(2); since Linux 4.7. The header's macro is a cast, which has no generated form. */
  public static final int RWF_DSYNC = 0x2;

  private static final int SQE_BYTES = (int) io_uring_sqe.layout().byteSize();
  private static final long OPCODE = io_uring_sqe.opcode$offset();
  private static final long FLAGS = io_uring_sqe.flags$offset();
  private static final long IOPRIO = io_uring_sqe.ioprio$offset();
  private static final long FD = io_uring_sqe.fd$offset();
  private static final long OFF = io_uring_sqe.off$offset();
  private static final long ADDR = io_uring_sqe.addr$offset();
  private static final long LEN = io_uring_sqe.len$offset();
  private static final long OP_FLAGS = io_uring_sqe.rw_flags$offset();
  private static final long USER_DATA = io_uring_sqe.user_data$offset();
  private static final long BUF_INDEX = io_uring_sqe.buf_index$offset();
  private static final long PERSONALITY = io_uring_sqe.personality$offset();
  private static final long FILE_INDEX = io_uring_sqe.file_index$offset();
  private static final long ADDR3 = io_uring_sqe.addr3$offset();
  private static final long LAST = SQE_BYTES - 8L;

  private final long sqesVirt;
  private final long headVirt;
  private final long tailVirt;
  private final long flagsVirt;
  private final long droppedVirt;
  private final int entries;
  private final int mask;
  private int tail;
  private int flags;

  SubmissionRing(long sqesVirt, long headVirt, long tailVirt, long flagsVirt, long droppedVirt, int entries) {
    this.sqesVirt = sqesVirt;
    this.headVirt = headVirt;
    this.tailVirt = tailVirt;
    this.flagsVirt = flagsVirt;
    this.droppedVirt = droppedVirt;
    this.entries = entries;
    mask = entries - 1;
    tail = Memory.getInt(tailVirt);
  }

  public int entries() {
    return entries;
  }

  /** Requests that fit now. */
  public int space() {
    return entries - (tail - Memory.getIntAcquire(headVirt));
  }

  /** Requests that the kernel has not taken over yet, published or not. */
  public int pending() {
    return tail - Memory.getIntAcquire(headVirt);
  }

  /** Requests that the kernel refused because the index was out of range; always 0 with this class. */
  public int dropped() {
    return Memory.getInt(droppedVirt);
  }

  /** Request flags (OR-ed constants of this class) that the next request takes, and only that one. */
  public SubmissionRing with(int requestFlags) {
    flags = requestFlags;
    return this;
  }

  /** Makes what was prepared visible to the kernel. */
  void publish() {
    Memory.putIntRelease(tailVirt, tail);
  }

  /** The kernel's word to us: IORING_SQ_NEED_WAKEUP, _CQ_OVERFLOW, _TASKRUN. */
  int kernelFlags() {
    return Memory.getIntAcquire(flagsVirt);
  }

  /** A request in the kernel's own words; the typed methods below are this with names. */
  public boolean prepare(
      int opcode, int fd, long off, long addr, int len, int opFlags, int ioprio, int bufferIndex, int fileIndex, long addr3, long userData) {
    int position = tail;
    if (position - Memory.getIntAcquire(headVirt) >= entries) {
      flags = 0;
      return false;
    }
    long sqe = sqesVirt + (long) (position & mask) * SQE_BYTES;
    Memory.putByte(sqe + OPCODE, (byte) opcode);
    Memory.putByte(sqe + FLAGS, (byte) flags);
    Memory.putShort(sqe + IOPRIO, (short) ioprio);
    Memory.putInt(sqe + FD, fd);
    Memory.putLong(sqe + OFF, off);
    Memory.putLong(sqe + ADDR, addr);
    Memory.putInt(sqe + LEN, len);
    Memory.putInt(sqe + OP_FLAGS, opFlags);
    Memory.putLong(sqe + USER_DATA, userData);
    Memory.putShort(sqe + BUF_INDEX, (short) bufferIndex);
    Memory.putShort(sqe + PERSONALITY, (short) 0);
    Memory.putInt(sqe + FILE_INDEX, fileIndex);
    Memory.putLong(sqe + ADDR3, addr3);
    Memory.putLong(sqe + LAST, 0L);
    tail = position + 1;
    flags = 0;
    return true;
  }

  private boolean simple(int opcode, int fd, long off, long addr, int len, int opFlags, long userData) {
    return prepare(opcode, fd, off, addr, len, opFlags, 0, 0, 0, 0L, userData);
  }

  public boolean nop(long userData) {
    return simple(IORING_OP_NOP(), -1, 0, 0, 0, 0, userData);
  }

  /** pread(2) semantics; {@code offset} −1 uses and moves the file position. */
  public boolean read(int fd, long address, int bytes, long offset, long userData) {
    return simple(IORING_OP_READ(), fd, offset, address, bytes, 0, userData);
  }

  public boolean write(int fd, long address, int bytes, long offset, long userData) {
    return simple(IORING_OP_WRITE(), fd, offset, address, bytes, 0, userData);
  }

  /**
   * @param rwFlags RWF_* of preadv2(2), such as {@link #RWF_DSYNC}
   */
  public boolean write(int fd, long address, int bytes, long offset, int rwFlags, long userData) {
    return simple(IORING_OP_WRITE(), fd, offset, address, bytes, rwFlags, userData);
  }

  /** Read into a registered buffer; {@code address} lies inside buffer {@code bufferIndex}. */
  public boolean readFixed(int fd, long address, int bytes, long offset, int bufferIndex, long userData) {
    return prepare(IORING_OP_READ_FIXED(), fd, offset, address, bytes, 0, 0, bufferIndex, 0, 0L, userData);
  }

  public boolean writeFixed(int fd, long address, int bytes, long offset, int bufferIndex, int rwFlags, long userData) {
    return prepare(IORING_OP_WRITE_FIXED(), fd, offset, address, bytes, rwFlags, 0, bufferIndex, 0, 0L, userData);
  }

  /**
   * @param iovecs address of {@code count} struct iovec
   */
  public boolean readv(int fd, long iovecs, int count, long offset, long userData) {
    return simple(IORING_OP_READV(), fd, offset, iovecs, count, 0, userData);
  }

  public boolean writev(int fd, long iovecs, int count, long offset, int rwFlags, long userData) {
    return simple(IORING_OP_WRITEV(), fd, offset, iovecs, count, rwFlags, userData);
  }

  public boolean fsync(int fd, long userData) {
    return simple(IORING_OP_FSYNC(), fd, 0, 0, 0, 0, userData);
  }

  public boolean fdatasync(int fd, long userData) {
    return simple(IORING_OP_FSYNC(), fd, 0, 0, 0, IORING_FSYNC_DATASYNC(), userData);
  }

  /**
   * @param rangeFlags SYNC_FILE_RANGE_* of sync_file_range(2), which makes nothing durable by itself
   */
  public boolean syncFileRange(int fd, long offset, int bytes, int rangeFlags, long userData) {
    return simple(IORING_OP_SYNC_FILE_RANGE(), fd, offset, 0, bytes, rangeFlags, userData);
  }

  /**
   * @param mode FALLOC_FL_* of fallocate(2): 0 allocates, PUNCH_HOLE|KEEP_SIZE discards, ZERO_RANGE|KEEP_SIZE zeroes
   */
  public boolean fallocate(int fd, int mode, long offset, long bytes, long userData) {
    return simple(IORING_OP_FALLOCATE(), fd, offset, bytes, mode, 0, userData);
  }

  public boolean close(int fd, long userData) {
    return simple(IORING_OP_CLOSE(), fd, 0, 0, 0, 0, userData);
  }

  /** One-shot poll for {@code events} (POLLIN, ...). */
  public boolean pollAdd(int fd, int events, long userData) {
    return simple(IORING_OP_POLL_ADD(), fd, 0, 0, 0, events, userData);
  }

  public boolean pollRemove(long targetUserData, long userData) {
    return simple(IORING_OP_POLL_REMOVE(), -1, 0, targetUserData, 0, 0, userData);
  }

  public boolean accept(int fd, int acceptFlags, long userData) {
    return simple(IORING_OP_ACCEPT(), fd, 0, 0, 0, acceptFlags, userData);
  }

  public boolean recv(int fd, long address, int bytes, int messageFlags, long userData) {
    return simple(IORING_OP_RECV(), fd, 0, address, bytes, messageFlags, userData);
  }

  public boolean send(int fd, long address, int bytes, int messageFlags, long userData) {
    return simple(IORING_OP_SEND(), fd, 0, address, bytes, messageFlags, userData);
  }

  /**
   * Completes with −ETIME when the time is over, with 0 when {@code completions} others completed before.
   *
   * @param timespec address of a struct __kernel_timespec
   * @param timeoutFlags IORING_TIMEOUT_*, 0 for a duration on the monotonic clock
   */
  public boolean timeout(long timespec, int completions, int timeoutFlags, long userData) {
    return simple(IORING_OP_TIMEOUT(), -1, completions, timespec, 1, timeoutFlags, userData);
  }

  public boolean timeoutRemove(long targetUserData, long userData) {
    return simple(IORING_OP_TIMEOUT_REMOVE(), -1, 0, targetUserData, 0, 0, userData);
  }

  /** Bounds the request before it, which carries {@link #LINK}. */
  public boolean linkTimeout(long timespec, int timeoutFlags, long userData) {
    return simple(IORING_OP_LINK_TIMEOUT(), -1, 0, timespec, 1, timeoutFlags, userData);
  }

  /** Cancels the request with that user data: 0, −ENOENT when there is none, −EALREADY when it cannot be stopped any more. */
  public boolean cancel(long targetUserData, long userData) {
    return simple(IORING_OP_ASYNC_CANCEL(), -1, 0, targetUserData, 0, 0, userData);
  }

  /** Cancels every request on that descriptor; completes with their number. */
  public boolean cancelFd(int fd, long userData) {
    return simple(IORING_OP_ASYNC_CANCEL(), fd, 0, 0, 0, IORING_ASYNC_CANCEL_FD() | IORING_ASYNC_CANCEL_ALL(), userData);
  }

  /** Puts {@code data} as a completion with result {@code result} into another ring. */
  public boolean message(int ringFd, int result, long data, long userData) {
    return simple(IORING_OP_MSG_RING(), ringFd, data, IORING_MSG_DATA(), result, 0, userData);
  }
}
