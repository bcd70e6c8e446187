package dev.dyad.perf;

import dev.dyad.engine.cli.CommandProvider;
import java.util.List;

/** Adds {@code dyad perf} and what is below it. */
public final class PerfCommands implements CommandProvider {
  @Override
  public List<Object> commands() {
    return List.of(new PerfCommand());
  }
}
