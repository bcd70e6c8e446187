package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.StagingRing;
import java.util.Random;

/** One direction of a connection: bytes arrive late, in pieces, and not at all after it was cut. */
final class SimLink {
  private final StagingRing ring;
  private final Random random;
  private long published;
  private long received;
  private long releasedByReader;
  private long released;
  private boolean up = true;
  private int open = 2;

  final ReplicationLink sender = new Sender();
  final ReplicaLink receiver = new Receiver();

  SimLink(Random random) {
    this(random, 256 << 10);
  }

  SimLink(Random random, int ringBytes) {
    ring = new StagingRing(Mapping.mirrored(ringBytes));
    this.random = random;
  }

  void cut() {
    up = false;
  }

  /** How far the writer told that it has written. */
  long published() {
    return published;
  }

  private void move() {
    if (up && received < published && random.nextInt(3) != 0) {
      received += 1 + (long) (random.nextDouble() * (published - received));
    }
    if (up && released < releasedByReader && random.nextInt(3) != 0) {
      released = releasedByReader;
    }
  }

  private void end() {
    up = false;
    if (--open == 0) {
      ring.close();
    }
  }

  class End {
    private boolean closed;

    public StagingRing ring() {
      return ring;
    }

    public int poll() {
      if (!closed) {
        move();
      }
      return 0;
    }

    public boolean isUp() {
      return up && !closed;
    }

    public String failure() {
      return isUp() ? "" : "connection cut";
    }

    public long activity() {
      return received;
    }

    public boolean prepareToWait() {
      return false;
    }

    public int pollEvents() {
      return 0;
    }

    public int pollFd() {
      return -1;
    }


    public void close() {
      if (!closed) {
        closed = true;
        end();
      }
    }
  }

  private final class Sender extends End implements ReplicationLink {
    @Override
    public long released() {
      return released;
    }

    @Override
    public void publish(long position) {
      published = position;
    }

    @Override
    public boolean receiveControl(long destination) {
      return false;
    }
  }

  private final class Receiver extends End implements ReplicaLink {
    @Override
    public long received() {
      return received;
    }

    @Override
    public void release(long position) {
      releasedByReader = position;
    }

    @Override
    public void fence() {
      up = false;
    }

    @Override
    public boolean sendControl(long source) {
      return false;
    }
  }
}
