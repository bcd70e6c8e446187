package dev.dyad.engine.epoch.sim;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/** A connection between two processes: one ordered channel each way, with everything that a network may do to it. */
final class SimLink {
  /** One end; called by the world, not by the owner's thread. */
  interface End {
    void frameArrives(SimLink link, byte[] bytes, boolean tampered);

    void closeArrives(SimLink link);
  }

  private static final class Message {
    private byte @Nullable [] bytes;
    private boolean tampered;
    private boolean lost;
  }

  /** From one host to the other. */
  final class Channel {
    private final int from;
    private final List<Message> underWay = new ArrayList<>();
    private final ArrayDeque<Message> stalled = new ArrayDeque<>();
    private @Nullable End receiver;
    private long lastArrival;
    private int sequence;
    private boolean senderGone;

    private Channel(int from) {
      this.from = from;
    }

    void send(Frame frame) {
      if (!senderGone) {
        SplittableRandom random = world.random();
        byte[] bytes = frame.encode(sequence++);
        int dice = world.frameFaultPerMille() == 0 ? 1000 : random.nextInt(1000);
        if (dice >= world.frameFaultPerMille()) {
          put(bytes, false, false);
          return;
        }
        world.damaged(Math.max(world.now() + 3 * world.linkDelayNanos(), lastArrival));
        switch (dice % 5) {
          case 0 -> {
            byte[] damaged = bytes.clone();
            int flips = 1 + random.nextInt(3);
            for (int i = 0; i < flips; i++) {
              damaged[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
            }
            put(damaged, !java.util.Arrays.equals(damaged, bytes), false);
          }
          case 1 -> put(java.util.Arrays.copyOf(bytes, random.nextInt(bytes.length)), true, false);
          case 2 -> {
            put(bytes, false, false);
            put(bytes, false, random.nextBoolean());
          }
          case 3 -> put(bytes, false, true);
          default -> {}
        }
      }
    }

    private void close() {
      if (!senderGone) {
        senderGone = true;
        put(null, false, false);
      }
    }

    /** The sender's process or host dies: what has not arrived may be lost from some byte on. */
    private void senderDies(boolean hostToo) {
      if (senderGone) {
        return;
      }
      senderGone = true;
      int left = hostToo || world.random().nextBoolean() ? world.random().nextInt(underWay.size() + 1) : underWay.size();
      for (int i = left; i < underWay.size(); i++) {
        Message message = underWay.get(i);
        byte[] bytes = message.bytes;
        if (i == left && bytes != null && bytes.length > 0) {
          message.bytes = java.util.Arrays.copyOf(bytes, world.random().nextInt(bytes.length));
          message.tampered = true;
        } else {
          message.lost = true;
        }
      }
      if (!hostToo) {
        put(null, false, false);
      }
    }

    private void put(byte @Nullable [] bytes, boolean tampered, boolean outOfOrder) {
      Message message = new Message();
      message.bytes = bytes;
      message.tampered = tampered;
      long arrival = world.now() + world.linkDelayNanos();
      if (outOfOrder) {
        arrival += world.linkDelayNanos() * 2;
      } else {
        arrival = Math.max(arrival, lastArrival + 1);
        lastArrival = arrival;
      }
      underWay.add(message);
      world.at(arrival, () -> {
        underWay.remove(message);
        if (world.isCut(from) || !stalled.isEmpty()) {
          stalled.add(message);
        } else {
          deliver(message);
        }
      });
    }

    private void heal() {
      while (!stalled.isEmpty()) {
        deliver(stalled.poll());
      }
    }

    private void deliver(Message message) {
      End end = receiver;
      byte[] bytes = message.bytes;
      if (end == null || message.lost) {
        return;
      }
      if (bytes == null) {
        receiver = null;
        end.closeArrives(SimLink.this);
      } else {
        end.frameArrives(SimLink.this, bytes, message.tampered);
      }
    }
  }

  private final World world;
  private final Channel[] from;
  /** Number of this link at the host of that index, 0 before it has one. */
  private final long[] number = new long[2];

  SimLink(World world) {
    this.world = world;
    from = new Channel[] {new Channel(0), new Channel(1)};
  }

  void attach(int host, End end) {
    from[1 - host].receiver = end;
  }

  void send(int host, Frame frame) {
    from[host].send(frame);
  }

  long number(int host) {
    return number[host];
  }

  void number(int host, long linkNumber) {
    number[host] = linkNumber;
  }

  /** {@code host} wants no more of it; the other end will see it closed. */
  void close(int host) {
    from[1 - host].receiver = null;
    from[host].close();
  }

  void die(int host, boolean hostToo) {
    from[1 - host].receiver = null;
    from[host].senderDies(hostToo);
  }

  void heal(int host) {
    from[host].heal();
  }
}
