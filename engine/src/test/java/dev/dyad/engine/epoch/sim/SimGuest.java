package dev.dyad.engine.epoch.sim;

import java.util.ArrayDeque;
import java.util.SplittableRandom;
import java.util.function.Consumer;

/**
 * The guest: a few hundred pages of one long each, which are all of its state, and a key-value service that numbers its
 * operations and keeps each connection's last reply, as a TCP stack would for retransmission.
 */
final class SimGuest {
  static final int CONNECTIONS = 4;
  static final int KEYS = 16;
  private static final int VERSION = 0;
  private static final int CHAIN = 1;
  private static final int SEQUENCE = 2;
  private static final int REPLY_VERSION = SEQUENCE + CONNECTIONS;
  private static final int REPLY_CHAIN = REPLY_VERSION + CONNECTIONS;
  private static final int REPLY_RESULT = REPLY_CHAIN + CONNECTIONS;
  private static final int KEY = REPLY_RESULT + CONNECTIONS;
  private static final int SCRATCH = KEY + KEYS;
  private static final int NIC_RING = 32;

  private final long[] pages;
  private final boolean[] dirty;
  private final ArrayDeque<Request> nic = new ArrayDeque<>();
  private Consumer<Packet> output;
  private long hash;
  private boolean running;

  SimGuest(long[] pages, Consumer<Packet> output) {
    this.pages = pages;
    this.output = output;
    dirty = new boolean[pages.length];
    hash = hash(pages);
  }

  /** Whoever handles this guest's network from now on. */
  void connect(Consumer<Packet> handler) {
    output = handler;
  }

  static long mix(long a, long b) {
    long z = (a * 0x9E3779B97F4A7C15L) ^ (b + 0xD1B54A32D192ED03L);
    z = (z ^ (z >>> 32)) * 0xBF58476D1CE4E5B9L;
    return z ^ (z >>> 29);
  }

  /** Sum over pages, so that a write changes it in constant time. */
  static long hash(long[] pages) {
    long sum = 0;
    for (int i = 0; i < pages.length; i++) {
      sum += mix(i, pages[i]);
    }
    return sum;
  }

  static long version(long[] pages) {
    return pages[VERSION];
  }

  int pageCount() {
    return pages.length;
  }

  long page(int index) {
    return pages[index];
  }

  long hash() {
    return hash;
  }

  boolean isRunning() {
    return running;
  }

  boolean[] dirty() {
    return dirty;
  }

  void resume() {
    running = true;
    while (running && !nic.isEmpty()) {
      execute(nic.poll());
    }
  }

  void pause() {
    running = false;
  }

  void scribble(SplittableRandom random, int writes) {
    if (running) {
      for (int i = 0; i < writes; i++) {
        write(SCRATCH + random.nextInt(pages.length - SCRATCH), random.nextLong());
      }
    }
  }

  void receive(Request request) {
    if (running) {
      execute(request);
    } else if (nic.size() < NIC_RING) {
      nic.add(request);
    }
  }

  private void execute(Request op) {
    int c = op.connection();
    long last = pages[SEQUENCE + c];
    if (op.sequence() > last + 1) {
      output.accept(new Packet(c, 0, pages[VERSION], 0, last));
      return;
    }
    if (op.sequence() < last) {
      return;
    }
    if (op.sequence() == last + 1) {
      long version = pages[VERSION] + 1;
      write(VERSION, version);
      write(CHAIN, Request.chain(pages[CHAIN], op, version));
      write(SEQUENCE + c, op.sequence());
      write(REPLY_VERSION + c, version);
      write(REPLY_CHAIN + c, pages[CHAIN]);
      write(REPLY_RESULT + c, pages[KEY + op.key()]);
      if (op.write()) {
        write(KEY + op.key(), op.value());
      }
    }
    output.accept(new Packet(c, op.sequence(), pages[REPLY_VERSION + c], pages[REPLY_CHAIN + c], pages[REPLY_RESULT + c]));
  }

  private void write(int index, long value) {
    hash += mix(index, value) - mix(index, pages[index]);
    pages[index] = value;
    dirty[index] = true;
  }
}
