package dev.dyad.engine.node;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.GuestDoor;
import dev.dyad.engine.disk.nbd.NbdServer;
import dev.dyad.engine.vm.kvm.QueuedDisk;
import java.nio.file.Path;

/**
 * The doors of a machine that may be a QEMU or a microVM, of which one will be used: before the primary has come it is not known which. A bit
 * of the tags tells whose a completion is. Thread: disk.
 */
final class EitherDoor implements GuestDoor, BlockDevice.Completions {
  /** No tag of the NBD server's reaches it. */
  private static final long QUEUED = 1L << 55;

  private final NbdServer server;
  private final QueuedDisk queue;

  EitherDoor(BlockDevice device, Path socket, String export) {
    server = new NbdServer(device, socket, export);
    queue = new QueuedDisk(new Marked(device));
  }

  QueuedDisk queue() {
    return queue;
  }

  @Override
  public int poll() {
    return server.poll() + queue.poll();
  }

  @Override
  public BlockDevice.Completions completions() {
    return this;
  }

  @Override
  public void completed(long tag, int error) {
    if ((tag & QUEUED) != 0) {
      queue.completed(tag & ~QUEUED, error);
    } else {
      server.completions().completed(tag, error);
    }
  }

  @Override
  public void rest(DiskRest rest) {
    server.rest(rest);
    queue.rest(rest);
  }

  @Override
  public void onRequest(Runnable bell) {
    queue.onRequest(bell);
  }

  @Override
  public int connections() {
    return server.connections() + queue.connections();
  }

  @Override
  public void close() {
    server.close();
    queue.close();
  }

  /** The device, with the microVM's requests marked. */
  private record Marked(BlockDevice device) implements BlockDevice {
    @Override
    public long bytes() {
      return device.bytes();
    }

    @Override
    public int blockBytes() {
      return device.blockBytes();
    }

    @Override
    public int queueDepth() {
      return device.queueDepth();
    }

    @Override
    public int transferBytesMax() {
      return device.transferBytesMax();
    }

    @Override
    public boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
      return device.submit(op, flags, offset, bytes, hostVirt, tag | QUEUED);
    }

    @Override
    public int poll(Completions completions) {
      return device.poll(completions);
    }

    @Override
    public int inFlight() {
      return device.inFlight();
    }

    @Override
    public void close() {
      // Its owner's.
    }
  }
}
