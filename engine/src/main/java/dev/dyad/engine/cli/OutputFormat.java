package dev.dyad.engine.cli;

/** How a command prints: for people or for programs. Lower case, as it is typed. */
public enum OutputFormat {
  text,
  json
}
