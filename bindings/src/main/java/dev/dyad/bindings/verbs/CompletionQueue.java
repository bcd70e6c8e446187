package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_wc;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Where finished work is reported. One thread polls; {@link #poll} and the getters allocate nothing. ibv_create_cq(3),
 * ibv_poll_cq(3).
 */
public final class CompletionQueue extends VerbsObject {

  private static final int BATCH = 32;
  private static final long BYTES = ibv_wc.sizeof();
  private static final long WORK_ID = ibv_wc.wr_id$offset();
  private static final long STATUS = ibv_wc.status$offset();
  private static final long OPCODE = ibv_wc.opcode$offset();
  private static final long VENDOR_ERROR = ibv_wc.vendor_err$offset();
  private static final long LENGTH = ibv_wc.byte_len$offset();
  private static final long IMMEDIATE = ibv_wc.imm_data$offset();
  private static final long QUEUE_PAIR = ibv_wc.qp_num$offset();
  private static final int TEXT_BYTES = 256;

  private final Arena arena = Arena.ofShared();
  private final long completions = arena.allocate(BYTES * BATCH, 64).address();
  private final long pointer;
  private final MemorySegment pollFunction;
  private final MemorySegment notifyFunction;

  private CompletionQueue(long pointer, RdmaContext device, VerbsObject... parents) {
    super(parents);
    this.pointer = pointer;
    pollFunction = device.pollCompletions();
    notifyFunction = device.requestNotify();
  }

  /**
   * @param entries how many completions may wait; the device may give more. More completions than entries break the queue, so its
   *     users bound what they have under way
   * @param channel that {@link #arm} notifies, or null
   */
  public static CompletionQueue create(RdmaContext device, int entries, @Nullable CompletionChannel channel) {
    long pointer = Verbs.pointer("ibv_create_cq", "entries=" + entries, device.pointer(), entries, 0, channel == null ? 0 : channel.pointer(), 0);
    return channel == null ? new CompletionQueue(pointer, device, device) : new CompletionQueue(pointer, device, device, channel);
  }

  long pointer() {
    requireOpen();
    return pointer;
  }

  /** Takes up to 32 completions; they are read by index until the next poll. Gives their number, or a negative one when the queue is broken. */
  public int poll() {
    requireOpen();
    return Verbs.poll(pollFunction, pointer, BATCH, completions);
  }

  /**
   * The next completion is to notify the channel; whoever then sleeps polls once more before. Returns 0 or a positive errno.
   *
   * @param solicitedOnly only failures and what the peer sent with {@code IBV_SEND_SOLICITED}
   */
  public int arm(boolean solicitedOnly) {
    requireOpen();
    return Verbs.requestNotify(notifyFunction, pointer, solicitedOnly ? 1 : 0);
  }

  public long workId(int index) {
    return Memory.getLong(completions + index * BYTES + WORK_ID);
  }

  /** {@code IBV_WC_SUCCESS} or another {@code IBV_WC_*_ERR}; without success only work identity, queue pair and vendor error mean anything. */
  public int status(int index) {
    return Memory.getInt(completions + index * BYTES + STATUS);
  }

  /** {@code IBV_WC_*}. */
  public int opcode(int index) {
    return Memory.getInt(completions + index * BYTES + OPCODE);
  }

  public int vendorError(int index) {
    return Memory.getInt(completions + index * BYTES + VENDOR_ERROR);
  }

  public int length(int index) {
    return Memory.getInt(completions + index * BYTES + LENGTH);
  }

  public int immediate(int index) {
    return Integer.reverseBytes(Memory.getInt(completions + index * BYTES + IMMEDIATE));
  }

  public int queuePair(int index) {
    return Memory.getInt(completions + index * BYTES + QUEUE_PAIR);
  }

  /** What went wrong, in words; allocates. */
  public String describe(int index) {
    return statusName(status(index)) + " (status " + status(index) + ", vendor error 0x" + Integer.toHexString(vendorError(index)) + ", queue pair "
        + queuePair(index) + ")";
  }

  /** The library's words for {@code IBV_WC_*}. */
  public static String statusName(int status) {
    return Memory.getString(Verbs.call("ibv_wc_status_str", status).value(), TEXT_BYTES);
  }

  @Override
  void destroy() {
    Verbs.check("ibv_destroy_cq", "", pointer);
    arena.close();
  }

  @Override
  public String toString() {
    return "completion queue";
  }
}
