package dev.dyad.engine.vm.kvm.devices;

/**
 * One request of the guest's to its disk, in memory of the device: data of a write is copied before, data of a read after. Made once per
 * slot and used again; valid from {@link BlockPort#submit} to {@link VirtioBlock#complete}.
 */
public final class BlockRequest {
  /** What is asked for. */
  public enum Kind {
    READ,
    WRITE,
    FLUSH
  }

  public static final int BYTES_MAX = 128 << 10;

  private final int slot;
  private final long buffer;

  Kind kind = Kind.FLUSH;
  long sector;
  int bytes;
  int head;

  /** Where its status byte is; looked up again when it completes. */
  long statusVirt;

  int status;
  boolean done;

  BlockRequest(int slot, long buffer) {
    this.slot = slot;
    this.buffer = buffer;
  }

  /** Small number, unique among those under way. */
  public int slot() {
    return slot;
  }

  public Kind kind() {
    return kind;
  }

  /** First sector of 512 bytes. */
  public long sector() {
    return sector;
  }

  /** A multiple of 512; 0 for a flush. */
  public int bytes() {
    return bytes;
  }

  /** Address of the data in this process. */
  public long buffer() {
    return buffer;
  }
}
