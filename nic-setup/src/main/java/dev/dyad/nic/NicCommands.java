package dev.dyad.nic;

import dev.dyad.engine.cli.CommandProvider;
import java.util.List;

/** Adds {@code dyad nic} to the command line. */
public final class NicCommands implements CommandProvider {
  @Override
  public List<Object> commands() {
    return List.of(new NicCommand());
  }
}
