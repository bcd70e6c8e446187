package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.uring.uring_h.IORING_REGISTER_PROBE;
import static dev.dyad.bindings.abi.uring.uring_h.IO_URING_OP_SUPPORTED;

import dev.dyad.bindings.abi.uring.io_uring_probe;
import dev.dyad.bindings.abi.uring.io_uring_probe_op;
import dev.dyad.bindings.linux.NativeException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.BitSet;

/** What this kernel's io_uring can do: IORING_REGISTER_PROBE of io_uring_register(2). */
public final class Probe {
  private static final int OPS_MAX = 256;

  private final int lastOpcode;
  private final BitSet supported = new BitSet(OPS_MAX);

  private Probe(MemorySegment probe) {
    lastOpcode = io_uring_probe.last_op(probe) & 0xff;
    int count = io_uring_probe.ops_len(probe) & 0xff;
    long ops = io_uring_probe.layout().byteSize();
    long opBytes = io_uring_probe_op.layout().byteSize();
    for (int i = 0; i < count; i++) {
      MemorySegment op = probe.asSlice(ops + i * opBytes, opBytes);
      if ((io_uring_probe_op.flags(op) & IO_URING_OP_SUPPORTED()) != 0) {
        supported.set(io_uring_probe_op.op(op) & 0xff);
      }
    }
  }

  public static Probe of(Ring ring) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment probe = arena.allocate(io_uring_probe.layout().byteSize() + OPS_MAX * io_uring_probe_op.layout().byteSize(), 8);
      NativeException.check(ring.register(IORING_REGISTER_PROBE(), probe.address(), OPS_MAX), "io_uring_register PROBE", "");
      return new Probe(probe);
    }
  }

  /**
   * @param opcode IORING_OP_*
   */
  public boolean supports(int opcode) {
    return supported.get(opcode);
  }

  /** The highest IORING_OP_* that this kernel knows, also if it was built without it. */
  public int lastOpcode() {
    return lastOpcode;
  }
}
