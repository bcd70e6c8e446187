package dev.dyad.engine.cli;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Turns SIGINT and SIGTERM into a request to end in good order: the JVM's shutdown waits until the command has closed what it
 * owns, for a bounded time.
 */
public final class StopSignal implements AutoCloseable {
  private static final long BOUND_SECONDS = 20;

  private final CountDownLatch asked = new CountDownLatch(1);
  private final CountDownLatch done = new CountDownLatch(1);
  private final Thread hook = Thread.ofPlatform().name("control-stop").unstarted(this::stop);

  public StopSignal() {
    Runtime.getRuntime().addShutdownHook(hook);
  }

  private void stop() {
    asked.countDown();
    try {
      done.await(BOUND_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  public void await() throws InterruptedException {
    asked.await();
  }

  public boolean asked() {
    return asked.getCount() == 0;
  }

  /** To be the outermost resource of a command: when it closes, all the others have. */
  @Override
  public void close() {
    if (asked()) {
      done.countDown();
    } else {
      Runtime.getRuntime().removeShutdownHook(hook);
    }
  }
}
