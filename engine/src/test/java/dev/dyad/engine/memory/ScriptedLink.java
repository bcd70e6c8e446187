package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.StagingRing;

/** A receiving end into which a test puts bytes. What is sent back is taken and forgotten. */
final class ScriptedLink implements ReplicaLink {
  private final StagingRing ring;
  private long received;
  private long released;

  ScriptedLink(long ringBytes) {
    ring = new StagingRing(ringBytes);
  }

  void arrive(byte[] bytes, int from, int count) {
    if (received + count - released > ring.capacityBytes()) {
      throw new IllegalStateException("the test's stream does not fit the ring");
    }
    Memory.copyFrom(bytes, from, ring.address(received), count);
    received += count;
  }

  @Override
  public StagingRing ring() {
    return ring;
  }

  @Override
  public long received() {
    return received;
  }

  @Override
  public void release(long position) {
    if (position < released || position > received) {
      throw new AssertionError("released " + position + " of " + released + " to " + received);
    }
    released = position;
  }

  @Override
  public boolean sendControl(long source) {
    return true;
  }

  @Override
  public void fence() {}

  @Override
  public int poll() {
    return 0;
  }

  @Override
  public boolean isUp() {
    return true;
  }

  @Override
  public String failure() {
    return "";
  }

  @Override
  public long activity() {
    return received;
  }

  @Override
  public boolean prepareToWait() {
    return true;
  }

  @Override
  public int pollFd() {
    return -1;
  }

  @Override
  public int pollEvents() {
    return 0;
  }

  @Override
  public void close() {
    ring.close();
  }
}
