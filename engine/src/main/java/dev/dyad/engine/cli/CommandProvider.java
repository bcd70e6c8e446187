package dev.dyad.engine.cli;

import java.util.List;

/**
 * How another module adds commands to {@code dyad}: found by {@link java.util.ServiceLoader}.
 */
public interface CommandProvider {

  /** picocli command objects, each annotated with its name and one line of description. */
  List<Object> commands();
}
