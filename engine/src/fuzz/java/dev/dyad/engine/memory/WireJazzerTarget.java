package dev.dyad.engine.memory;

import java.util.Arrays;

/** What Jazzer calls: the first byte chooses the parser. Any exception but the defined refusals, and any read outside, is a finding. */
public final class WireJazzerTarget {
  private static final FuzzedPayload PAYLOAD = new FuzzedPayload();
  private static final FuzzedStream STREAM = new FuzzedStream();
  private static final int BYTES_MAX = 16 << 10;

  private WireJazzerTarget() {}

  public static void fuzzerTestOneInput(byte[] data) {
    if (data.length == 0) {
      return;
    }
    byte[] bytes = Arrays.copyOfRange(data, 1, Math.min(data.length, BYTES_MAX));
    switch (data[0] & 3) {
      case 0 -> PAYLOAD.check(bytes);
      case 1 -> PAYLOAD.checkBlocks(bytes, bytes.length);
      case 2 -> PAYLOAD.checkMachine(bytes);
      default -> STREAM.feedFrames(bytes);
    }
  }
}
