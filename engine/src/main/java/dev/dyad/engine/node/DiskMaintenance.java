package dev.dyad.engine.node;

import dev.dyad.engine.disk.Declarations;
import dev.dyad.engine.disk.DiskRefusedException;
import java.nio.file.Path;

/** A person's decisions on an image that no node uses. */
public final class DiskMaintenance {
  private DiskMaintenance() {}

  /** See {@link Declarations#force}. */
  public static String force(Path image) {
    return asked(() -> Declarations.force(image));
  }

  /** See {@link Declarations#discard}. */
  public static String discard(Path image) {
    return asked(() -> Declarations.discard(image));
  }

  /** See {@link Declarations#reset}. */
  public static String reset(Path image) {
    return asked(() -> Declarations.reset(image));
  }

  private static String asked(java.util.function.Supplier<String> what) {
    try {
      return what.get();
    } catch (DiskRefusedException e) {
      throw NotStartedException.of(e);
    }
  }
}
