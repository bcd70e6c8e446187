package dev.dyad.engine.node;

import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * What other threads want a loop to do. When the loop has ended, whatever it has not done is told so, once, so that what it would have
 * owned (a link, a machine) finds its end elsewhere.
 *
 * <p>{@link #post} from any thread; {@link #serve} and {@link #end} from the loop's. Does not wake the loop.
 */
final class Mailbox {
  private record Letter(Runnable task, Runnable unlessDone) {}

  private final ConcurrentLinkedQueue<Letter> letters = new ConcurrentLinkedQueue<>();
  private volatile boolean ended;

  /**
   * @param task run by the loop
   * @param unlessDone run instead when the loop ends or has ended: by the loop's thread or by this one
   * @return false when the loop has ended
   */
  boolean post(Runnable task, Runnable unlessDone) {
    letters.add(new Letter(task, unlessDone));
    if (ended) {
      returnAll(); // end() may have looked before the letter was there; whoever polls it is the one that returns it
    }
    return !ended;
  }

  /** Does what was posted. @return how much it was */
  int serve() {
    int done = 0;
    for (Letter letter = letters.poll(); letter != null; letter = letters.poll()) {
      letter.task.run();
      done++;
    }
    return done;
  }

  /** Nothing is done any more. */
  void end() {
    ended = true;
    returnAll();
  }

  private void returnAll() {
    for (Letter letter = letters.poll(); letter != null; letter = letters.poll()) {
      letter.unlessDone.run();
    }
  }
}
