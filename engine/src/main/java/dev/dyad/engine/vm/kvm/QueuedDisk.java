package dev.dyad.engine.vm.kvm;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.GuestDoor;
import dev.dyad.engine.vm.kvm.devices.BlockPort;
import dev.dyad.engine.vm.kvm.devices.BlockRequest;
import dev.dyad.engine.vm.kvm.devices.VirtioBlock;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The way from a microVM's disk device to the disk thread: a ring of requests, written by whichever vCPU thread holds the device's monitor and
 * read by the disk thread, which also tells the device what is done.
 *
 * <p>A place of the ring is one of the device's requests, which are fewer, so it is never full. A place is empty again when it is null.
 */
public final class QueuedDisk implements BlockPort, GuestDoor, BlockDevice.Completions {
  private static final int PLACES = 128;

  private final BlockDevice device;
  private final long sectors;
  private final int blockBytes;
  private final AtomicReferenceArray<@Nullable BlockRequest> ring = new AtomicReferenceArray<>(PLACES);
  private final @Nullable BlockRequest[] running = new @Nullable BlockRequest[PLACES];
  private long written;
  private long read;
  private volatile @Nullable VirtioBlock card;
  private volatile Runnable bell = () -> {};

  /** Belongs to the disk thread from now on. */
  public QueuedDisk(BlockDevice device) {
    this.device = device;
    sectors = device.bytes() >>> 9;
    blockBytes = device.blockBytes();
  }

  /** The device that is told of completions; set before the machine runs. */
  public void tell(VirtioBlock device) {
    card = device;
  }

  @Override
  public long sectors() {
    return sectors;
  }

  @Override
  public int blockBytes() {
    return blockBytes;
  }

  @Override
  public void submit(BlockRequest request) {
    ring.set((int) (written++ % PLACES), request); // read by the disk thread in poll; before the bell looks whether that sleeps
    bell.run();
  }

  @Override
  public int poll() {
    int work = 0;
    int place = (int) (read % PLACES);
    for (BlockRequest next = ring.getAcquire(place); next != null && start(next); next = ring.getAcquire(place)) {
      ring.setRelease(place, null);
      place = (int) (++read % PLACES);
      work++;
    }
    return work;
  }

  @Override
  public void rest(DiskRest rest) {
    if (ring.get((int) (read % PLACES)) != null) {
      rest.stayAwake();
    }
  }

  @Override
  public void onRequest(Runnable rings) {
    bell = rings;
  }

  private boolean start(BlockRequest request) {
    running[request.slot()] = request;
    int op =
        switch (request.kind()) {
          case READ -> BlockDevice.READ;
          case WRITE -> BlockDevice.WRITE;
          case FLUSH -> BlockDevice.FLUSH;
        };
    boolean flush = op == BlockDevice.FLUSH;
    return device.submit(op, 0, flush ? 0 : request.sector() << 9, flush ? 0 : request.bytes(), flush ? 0 : request.buffer(), request.slot());
  }

  @Override
  public void completed(long tag, int error) {
    BlockRequest request = running[(int) tag];
    running[(int) tag] = null;
    VirtioBlock told = card;
    if (request != null && told != null) {
      told.complete(request, error == 0 ? VirtioBlock.OK : VirtioBlock.IO_ERROR);
    }
  }

  @Override
  public BlockDevice.Completions completions() {
    return this;
  }

  @Override
  public int connections() {
    return card == null ? 0 : 1;
  }

  /** The machine ends first; what it still asked for is forgotten. */
  @Override
  public void close() {
    card = null;
  }
}
