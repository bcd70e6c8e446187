package dev.dyad.engine.disk;

import java.util.ArrayList;
import java.util.List;

/**
 * What each block of a guest's disk may hold after a loss of power: the value that the last flush covers, or any that was begun after it.
 * Writes to a block are begun one after the other.
 */
final class DurableValues {
  private final List<List<Long>> begun = new ArrayList<>();

  /** Number of the first value of the list; the first one is the oldest that may be found. */
  private final long[] first;

  /** Number of the newest value whose write has completed. */
  private final long[] completed;

  DurableValues(int blocks) {
    first = new long[blocks];
    completed = new long[blocks];
    for (int block = 0; block < blocks; block++) {
      begun.add(new ArrayList<>(List.of(0L)));
    }
  }

  /** That is on the disk, durably. */
  void reset(int block, long value) {
    begun.set(block, new ArrayList<>(List.of(value)));
    first[block] = 0;
    completed[block] = 0;
  }

  /** That is on the disk after a crash of the process: what was begun may or may not have happened, and nothing became durable by it. */
  void found(int block, long value) {
    begin(block, value);
    complete(block, false);
  }

  void begin(int block, long value) {
    begun.get(block).add(value);
  }

  /** The newest write has completed. */
  void complete(int block, boolean durably) {
    completed[block] = first[block] + begun.get(block).size() - 1;
    if (durably) {
      durable(block, completed[block]);
    }
  }

  /** What a flush that is submitted now covers. */
  long[] covered() {
    return completed.clone();
  }

  /** That flush has completed; one that covers more may have done so before. */
  void flushed(long[] covered) {
    for (int block = 0; block < covered.length; block++) {
      durable(block, covered[block]);
    }
  }

  private void durable(int block, long number) {
    if (number > first[block]) {
      begun.get(block).subList(0, (int) (number - first[block])).clear();
      first[block] = number;
    }
  }

  List<Long> possible(int block) {
    return begun.get(block);
  }
}
