package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.abi.wire.dyad_rdma_message;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.LinkEnd;

/** A message beside the ring's bytes, {@code dyad_rdma_message}, by its address. */
final class RdmaMessage {
  static final int BYTES = (int) dyad_rdma_message.sizeof();

  private static final long RELEASED_AT = dyad_rdma_message.released$offset();
  private static final long TAKEN_AT = dyad_rdma_message.taken$offset();
  private static final long CONTROL_AT = dyad_rdma_message.control$offset();

  private RdmaMessage() {}

  /** @param control address of a control message, 0 for none */
  static void write(long message, long released, int[] taken, long control) {
    Memory.putLong(message + RELEASED_AT, released);
    for (int i = 0; i < taken.length; i++) {
      Memory.putInt(message + TAKEN_AT + (long) i * Integer.BYTES, taken[i]);
    }
    if (control == 0) {
      Memory.zero(message + CONTROL_AT, LinkEnd.CONTROL_BYTES);
    } else {
      Memory.copy(control, message + CONTROL_AT, LinkEnd.CONTROL_BYTES);
    }
  }

  static long released(long message) {
    return Memory.getLong(message + RELEASED_AT);
  }

  static int taken(long message, int queuePair) {
    return Memory.getInt(message + TAKEN_AT + (long) queuePair * Integer.BYTES);
  }

  static boolean hasControl(long message) {
    return Memory.getInt(message + CONTROL_AT) != 0;
  }

  static long control(long message) {
    return message + CONTROL_AT;
  }
}
