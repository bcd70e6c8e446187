package dev.dyad.perf.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;

/** What the link of the mirror carries when nothing is done with it: the bound of levelling. The calling thread sends, another one takes. */
final class LinkRate {
  private static final int PIECE_BYTES = 256 << 10;

  private LinkRate() {}

  static double bytesPerSecond(String link, double seconds) throws InterruptedException {
    MirrorPair.Line line = MirrorPair.line(link, MirrorPair.RING_BYTES);
    Taker taker = new Taker(line.in());
    try (Mapping source = Mapping.anonymous(PIECE_BYTES)) {
      Memory.fill(source.hostVirt(), PIECE_BYTES, (byte) 1);
      taker.start();
      ReplicationLink out = line.out();
      long capacity = out.ring().capacityBytes();
      long written = out.released();
      long from = written;
      long start = System.nanoTime();
      long now = start;
      while (now - start < seconds * 1e9) {
        if (capacity - (written - out.released()) >= PIECE_BYTES) {
          Memory.copy(source.hostVirt(), out.ring().address(written), PIECE_BYTES);
          written += PIECE_BYTES;
          out.publish(written);
        }
        out.poll();
        now = System.nanoTime();
      }
      return (out.released() - from) * 1e9 / (now - start);
    } finally {
      taker.stop = true;
      taker.join();
      line.out().close();
      line.in().close();
    }
  }

  private static final class Taker extends Thread {
    private final ReplicaLink in;
    private volatile boolean stop;

    Taker(ReplicaLink in) {
      super("link-taker");
      this.in = in;
    }

    @Override
    public void run() {
      while (!stop) {
        in.poll();
        in.release(in.received());
      }
    }
  }
}
