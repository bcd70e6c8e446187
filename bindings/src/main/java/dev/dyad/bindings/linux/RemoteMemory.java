package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.iovec;

/**
 * Another process's memory, read or written in batches of ranges. process_vm_readv(2), process_vm_writev(2).
 *
 * <p>One thread. Add ranges until full, then {@link #read} or {@link #write}, which empties the batch.
 */
public final class RemoteMemory implements AutoCloseable {

  private final int pid;
  private final IoVector remote;
  private final IoVector local;

  /** @param capacity ranges of one call, at most 1,024 */
  public RemoteMemory(int pid, int capacity) {
    this.pid = pid;
    this.remote = new IoVector(capacity);
    this.local = new IoVector(capacity);
  }

  /** Adds a range; false when the batch is full. */
  public boolean add(long remoteVirt, long localVirt, long bytes) {
    if (remote.isFull() || local.isFull()) {
      return false;
    }
    remote.add(remoteVirt, bytes);
    local.add(localVirt, bytes);
    return true;
  }

  /** Bytes of all ranges added. */
  public long bytes() {
    return remote.bytes();
  }

  public void clear() {
    remote.clear();
    local.clear();
  }

  /** From the process to here; returns bytes, fewer than {@link #bytes()} when a range is not mapped there, or {@code -errno}. */
  public long read() {
    return transfer(SYS_process_vm_readv());
  }

  /** From here to the process; as {@link #read}. */
  public long write() {
    return transfer(SYS_process_vm_writev());
  }

  private long transfer(int call) {
    long result = Syscall.call(call, pid, local.hostVirt(), local.count(), remote.hostVirt(), remote.count(), 0);
    clear();
    return result;
  }

  /** One range, read now. */
  public static long read(int pid, long remoteVirt, long localVirt, long bytes) {
    return transferOne(SYS_process_vm_readv(), pid, remoteVirt, localVirt, bytes);
  }

  /** One range, written now. */
  public static long write(int pid, long remoteVirt, long localVirt, long bytes) {
    return transferOne(SYS_process_vm_writev(), pid, remoteVirt, localVirt, bytes);
  }

  private static long transferOne(int call, int pid, long remoteVirt, long localVirt, long bytes) {
    long here = ThreadScratch.address();
    long there = here + iovec.sizeof();
    Memory.putLong(here + iovec.iov_base$offset(), localVirt);
    Memory.putLong(here + iovec.iov_len$offset(), bytes);
    Memory.putLong(there + iovec.iov_base$offset(), remoteVirt);
    Memory.putLong(there + iovec.iov_len$offset(), bytes);
    return Syscall.call(call, pid, here, 1, there, 1, 0);
  }

  @Override
  public void close() {
    remote.close();
    local.close();
  }
}
