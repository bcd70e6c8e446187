package dev.dyad.perf.qemu;

/** Lets a measured time pass. */
final class Waiting {
  private Waiting() {}

  static void seconds(double seconds) {
    try {
      Thread.sleep((long) (seconds * 1e3));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }
}
