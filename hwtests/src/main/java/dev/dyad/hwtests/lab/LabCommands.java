package dev.dyad.hwtests.lab;

import dev.dyad.engine.cli.CommandProvider;
import java.util.List;

/** Adds {@code dyad lab}. */
public final class LabCommands implements CommandProvider {
  @Override
  public List<Object> commands() {
    return List.of(new LabCommand());
  }
}
