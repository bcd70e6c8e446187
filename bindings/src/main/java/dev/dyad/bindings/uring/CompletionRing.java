package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.uring.uring_h.IORING_CQE_F_MORE;

import dev.dyad.bindings.abi.uring.io_uring_cqe;
import dev.dyad.bindings.linux.Memory;

/**
 * The ring of completions, mapped from the kernel; read by the ring's thread, one completion at a time by {@link #next}.
 *
 * <p>Memory order: the tail, stored by the kernel with release after it wrote a completion, is read with acquire; the head is stored
 * with release after a completion was read, so that the kernel overwrites nothing that is still looked at.
 */
public final class CompletionRing {
  private static final int CQE_BYTES = (int) io_uring_cqe.layout().byteSize();
  private static final long USER_DATA = io_uring_cqe.user_data$offset();
  private static final long RES = io_uring_cqe.res$offset();
  private static final long FLAGS = io_uring_cqe.flags$offset();

  private final long cqesVirt;
  private final long headVirt;
  private final long tailVirt;
  private final long overflowVirt;
  private final int entries;
  private final int mask;
  private int head;
  private long userData;
  private int result;
  private int flags;

  CompletionRing(long cqesVirt, long headVirt, long tailVirt, long overflowVirt, int entries) {
    this.cqesVirt = cqesVirt;
    this.headVirt = headVirt;
    this.tailVirt = tailVirt;
    this.overflowVirt = overflowVirt;
    this.entries = entries;
    mask = entries - 1;
    head = Memory.getInt(headVirt);
  }

  public int entries() {
    return entries;
  }

  /** Completions that can be taken now. */
  public int ready() {
    return Memory.getIntAcquire(tailVirt) - head;
  }

  /**
   * Takes the next completion; {@link #userData}, {@link #result} and {@link #flags} tell of it until the next call.
   *
   * @return false when there is none
   */
  public boolean next() {
    if (head == Memory.getIntAcquire(tailVirt)) {
      return false;
    }
    long cqe = cqesVirt + (long) (head & mask) * CQE_BYTES;
    userData = Memory.getLong(cqe + USER_DATA);
    result = Memory.getInt(cqe + RES);
    flags = Memory.getInt(cqe + FLAGS);
    head++;
    Memory.putIntRelease(headVirt, head);
    return true;
  }

  public long userData() {
    return userData;
  }

  /** What the system call of the same name would have returned, or −errno. */
  public int result() {
    return result;
  }

  /** IORING_CQE_F_*. */
  public int flags() {
    return flags;
  }

  /** Whether more completions of the same request follow. */
  public boolean hasMore() {
    return (flags & IORING_CQE_F_MORE()) != 0;
  }

  /** Completions that were lost for lack of room; kernels with IORING_FEAT_NODROP (5.5) keep them back instead. */
  public int overflowed() {
    return Memory.getInt(overflowVirt);
  }
}
