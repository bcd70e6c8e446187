package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Errno;

/** Requests that are waited for: start, repair and inspection, never the guest's path. */
final class SyncIo {
  private static final int RUNNING = 1;

  private SyncIo() {}

  static void transfer(BlockDevice device, int op, long offset, int bytes, long hostVirt) {
    run(device, op, 0, offset, bytes, hostVirt);
  }

  static void clear(BlockDevice device, int op, long offset, long bytes) {
    run(device, op, 0, offset, bytes, 0);
  }

  static void flush(BlockDevice device) {
    run(device, BlockDevice.FLUSH, 0, 0, 0, 0);
  }

  static void run(BlockDevice device, int op, int flags, long offset, long bytes, long hostVirt) {
    int[] result = {RUNNING};
    if (!device.submit(op, flags, offset, bytes, hostVirt, 0)) {
      throw new IllegalStateException("the device is busy");
    }
    while (result[0] == RUNNING) {
      device.poll((tag, error) -> result[0] = error);
    }
    if (result[0] < 0) {
      String name = op == BlockDevice.READ ? "read" : op == BlockDevice.WRITE ? "write" : op == BlockDevice.FLUSH ? "flush" : "clear";
      throw new DiskRefusedException(name + " of " + bytes + " bytes at " + offset + " failed with " + Errno.name(-result[0]));
    }
  }
}
