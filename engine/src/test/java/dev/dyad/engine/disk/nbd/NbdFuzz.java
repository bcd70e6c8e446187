package dev.dyad.engine.disk.nbd;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.BlockDevice;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Clients that send what no client should: the connection answers or ends, and leaves nothing behind. */
class NbdFuzz {
  private static final int RUNS = Integer.getInteger("dyad.fuzz.runs", 3_000);
  private static final byte[] ALLOCATION = "base:allocation".getBytes(StandardCharsets.UTF_8);

  /** Says done at once and checks that nothing outside of it is asked for. */
  private static final class Device implements BlockDevice {
    private final long[] tags = new long[64];
    private int count;
    private int looks;
    private int mostLooks;
    private long lookedTo = -1;
    private long end = -1;

    @Override
    public long bytes() {
      return 1 << 20;
    }

    @Override
    public int blockBytes() {
      return 512;
    }

    @Override
    public int queueDepth() {
      return tags.length;
    }

    @Override
    public int transferBytesMax() {
      return 64 << 10;
    }

    @Override
    public int inFlight() {
      return count;
    }

    @Override
    public boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
      if (count == tags.length) {
        return false;
      }
      if (op != FLUSH) {
        assertTrue(offset >= 0 && bytes > 0 && offset + bytes <= bytes() && offset % 512 == 0 && bytes % 512 == 0, "request outside of the device");
      }
      tags[count++] = tag;
      return true;
    }

    @Override
    public long extent(long offset, long bytes) {
      assertTrue(offset >= 0 && bytes > 0 && offset + bytes <= bytes() && offset % 512 == 0 && bytes % 512 == 0, "status of what is outside of the device");
      looks = offset == lookedTo && offset + bytes == end ? looks + 1 : 1;
      mostLooks = Math.max(mostLooks, looks);
      assertTrue(looks <= 64, "one request looks for more than an answer holds");
      long extent = Math.min(bytes, 512 + (offset * 7 & 0xe00));
      lookedTo = offset + extent;
      end = offset + bytes;
      return (offset >>> 9 & 1) == 0 ? extent : -extent;
    }

    @Override
    public int poll(Completions completions) {
      int done = count;
      count = 0;
      for (int i = 0; i < done; i++) {
        completions.completed(tags[i], 0);
      }
      return done;
    }

    @Override
    public void close() {}
  }

  private static final class Script implements NbdWire {
    private final byte[] bytes;
    private final Random random;
    private int at;

    Script(byte[] bytes, Random random) {
      this.bytes = bytes;
      this.random = random;
    }

    @Override
    public long receive(long hostVirt, long max) {
      if (at == bytes.length) {
        return 0;
      }
      if (random.nextInt(4) == 0) {
        return -EAGAIN();
      }
      int count = (int) Math.min(max, 1 + random.nextInt(bytes.length - at));
      Memory.copyFrom(bytes, at, hostVirt, count);
      at += count;
      return count;
    }

    @Override
    public long send(long hostVirt, long max) {
      return random.nextInt(4) == 0 ? -EAGAIN() : 1 + random.nextInt((int) max);
    }

    @Override
    public void close() {}
  }

  private static byte[] conversation(Random random) {
    ByteBuffer out = ByteBuffer.allocate(1 << 16);
    out.putInt(Nbd.FLAG_FIXED_NEWSTYLE | random.nextInt(2) * Nbd.FLAG_NO_ZEROES);
    for (int i = random.nextInt(6); i > 0; i--) {
      byte[] data = new byte[random.nextInt(40)];
      random.nextBytes(data);
      if (random.nextBoolean() && data.length >= 8) {
        ByteBuffer.wrap(data).putInt(random.nextInt(12));
      }
      out.putLong(Nbd.IHAVEOPT).putInt(random.nextInt(12)).putInt(data.length).put(data);
    }
    if (random.nextBoolean()) {
      out.putLong(Nbd.IHAVEOPT).putInt(Nbd.OPT_STRUCTURED_REPLY).putInt(0);
      out.putLong(Nbd.IHAVEOPT).putInt(Nbd.OPT_SET_META_CONTEXT).putInt(12 + ALLOCATION.length).putInt(0).putInt(1).putInt(ALLOCATION.length).put(ALLOCATION);
    }
    out.putLong(Nbd.IHAVEOPT).putInt(Nbd.OPT_GO).putInt(6).putInt(0).putShort((short) 0);
    for (int i = random.nextInt(12); i > 0; i--) {
      int command = random.nextInt(9);
      int bytes = random.nextInt(16) * 512 + (random.nextInt(8) == 0 ? random.nextInt() >>> random.nextInt(32) : 0);
      long offset = random.nextInt(8) == 0 ? random.nextLong() : random.nextInt(2048) * 512L;
      if (command == Nbd.CMD_BLOCK_STATUS && random.nextBoolean()) {
        offset = 0;
        bytes = 1 << 20;
      }
      out.putInt(Nbd.REQUEST_MAGIC).putShort((short) random.nextInt(32)).putShort((short) command).putLong(i);
      out.putLong(offset).putInt(bytes);
      if (command == Nbd.CMD_WRITE && bytes >= 0 && bytes < out.remaining() - 64) {
        out.put(new byte[bytes]);
      }
      if (out.remaining() < 128) {
        break;
      }
    }
    byte[] all = new byte[out.position()];
    out.flip().get(all);
    for (int flips = random.nextInt(4); flips > 0; flips--) {
      all[random.nextInt(all.length)] ^= (byte) (1 << random.nextInt(8));
    }
    return all;
  }

  @Test
  void shouldAnswerOrEndWhateverComes() {
    Device device = new Device();
    try (NbdRequests requests = new NbdRequests(device, 16)) {
      for (int run = 0; run < RUNS; run++) {
        Random random = new Random(run);
        NbdConnection connection = new NbdConnection(new Script(conversation(random), random), requests, device, "disk", 16);
        int turns = 0;
        while (!connection.isClosed()) {
          connection.poll();
          requests.poll();
          device.poll(requests);
          assertTrue(++turns < 100_000, "run " + run + " does not end");
        }
        connection.close();
        connection.free();
        assertEquals(0, requests.inUse(), "run " + run + " leaves requests behind");
      }
      assertEquals(64, device.mostLooks, "clients came to block status of more than an answer holds");
    }
  }
}
