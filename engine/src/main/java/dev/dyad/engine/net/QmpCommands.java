package dev.dyad.engine.net;

/** As much of a QEMU monitor as this package needs. */
@FunctionalInterface
public interface QmpCommands {

  /**
   * Runs one command and waits for its answer.
   *
   * @param command such as {@code object-add}
   * @param argumentsJson a JSON object; {@code {}} for none
   * @return the JSON of the answer's {@code return} member
   * @throws RuntimeException when QEMU refuses (its description is the message) or does not answer
   */
  String execute(String command, String argumentsJson);
}
