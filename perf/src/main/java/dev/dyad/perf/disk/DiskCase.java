package dev.dyad.perf.disk;

/**
 * What is measured.
 *
 * @param flushEvery a flush after that many writes, 0 for none
 */
record DiskCase(boolean random, boolean write, int blockBytes, int queueDepth, int flushEvery) {
  String pattern() {
    return (random ? "rand" : "") + (write ? "write" : "read") + (flushEvery > 0 ? "+flush" : "");
  }
}
