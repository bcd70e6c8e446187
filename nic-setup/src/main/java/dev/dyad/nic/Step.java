package dev.dyad.nic;

import java.util.List;

/**
 * One change to the host, as data: how it is made, how one sees that it is there, how it is taken back.
 *
 * @param name for people, and the step's identity in the journal
 * @param apply the command; the word {@link #HOLDER} stands for the pid of the process that holds the namespace
 * @param check a command that only looks; the change is there when it exits with 0 and prints {@code expected}
 * @param expected a part of the check's output; empty for any
 * @param undo the command that takes the change back; empty when it goes with another step's
 */
public record Step(String name, List<String> apply, List<String> check, String expected, List<String> undo) {
  /** Placeholder in commands. */
  public static final String HOLDER = "{holder}";

  public Step {
    apply = List.copyOf(apply);
    check = List.copyOf(check);
    undo = List.copyOf(undo);
  }

  /** Whether this step starts the process that holds a namespace without a name. */
  public boolean startsHolder() {
    return !apply.isEmpty() && apply.getFirst().equals("unshare");
  }
}
