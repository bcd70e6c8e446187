package dev.dyad.hwtests.demo;

import dev.dyad.engine.cli.CommandProvider;
import java.util.List;

/** Adds {@code dyad demo}. */
public final class DemoCommands implements CommandProvider {
  @Override
  public List<Object> commands() {
    return List.of(new DemoCommand());
  }
}
