package dev.dyad.nic;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/** Applies the steps of a plan and takes them back, with a {@link Journal}. One at a time for a journal. */
final class Setup {
  /** What became of a step. */
  enum Outcome {
    /** Made now. */
    APPLIED,
    /** Made by an earlier apply, and still there. */
    KEPT,
    /** There already, and not by us: never undone. */
    FOUND,
    UNDONE,
    /** Gone before it could be undone. */
    GONE
  }

  /** A step with what became of it. */
  record Report(String step, Outcome outcome, String command) {}

  private final Journal journal;
  private final Consumer<String> beforeStep;

  Setup(Journal journal) {
    this(journal, step -> {});
  }

  /** With a hook for tests, which call it a crash by throwing. */
  Setup(Journal journal, Consumer<String> beforeStep) {
    this.journal = journal;
    this.beforeStep = beforeStep;
  }

  /**
   * Makes what is not there yet.
   *
   * @throws IllegalStateException with one line when a command fails; what was made stays and stands in the journal
   */
  List<Report> apply(List<Step> steps) {
    Set<String> ours = new HashSet<>();
    for (Journal.Entry entry : journal.entries()) {
      ours.add(entry.step());
    }
    Holder holder = journal.holder();
    List<Report> reports = new ArrayList<>();
    boolean anew = false;
    for (Step step : steps) {
      String pid = Long.toString(holder.pid());
      if (step.startsHolder()) {
        if (holder.isAlive()) {
          reports.add(new Report(step.name(), Outcome.KEPT, Commands.shown(step.apply())));
          continue;
        }
        anew = true; // a new namespace: nothing of before is in it
        holder = startHolder(step);
        reports.add(new Report(step.name(), Outcome.APPLIED, Commands.shown(step.apply())));
        continue;
      }
      List<String> command = Holder.with(step.apply(), pid);
      if (!anew && isThere(step, pid)) {
        reports.add(new Report(step.name(), ours.contains(step.name()) ? Outcome.KEPT : Outcome.FOUND, Commands.shown(command)));
        continue;
      }
      beforeStep.accept(step.name());
      journal.begin(step.name(), Holder.with(step.undo(), pid));
      Commands.Result result = Commands.run(command);
      if (result.exit() != 0) {
        journal.undone(step.name());
        throw new IllegalStateException(
            "'" + Commands.shown(command) + "' failed: " + result.output() + " (state kept in " + journal.path() + "; 'dyad nic revert' undoes it)");
      }
      if (!isThere(step, pid)) {
        throw new IllegalStateException("'" + Commands.shown(command) + "' said it was done, but '" + Commands.shown(step.check()) + "' does not show it");
      }
      journal.done(step.name());
      reports.add(new Report(step.name(), Outcome.APPLIED, Commands.shown(command)));
    }
    return reports;
  }

  private Holder startHolder(Step step) {
    beforeStep.accept(step.name());
    Process process = Holder.start(step.apply(), false);
    Holder holder = Holder.await(process, Holder.with(step.check(), Long.toString(process.pid())));
    journal.holder(holder);
    journal.begin(step.name(), Holder.with(step.undo(), Long.toString(holder.pid())));
    journal.done(step.name());
    return holder;
  }

  static boolean isThere(Step step, String pid) {
    Commands.Result seen = Commands.run(Holder.with(step.check(), pid));
    return seen.exit() == 0 && seen.output().contains(step.expected());
  }

  /** Undoes, newest first, what stands in the journal, and removes it. Going on after a crash of its own is safe. */
  List<Report> revert() {
    List<Journal.Entry> entries = journal.entries();
    Holder holder = journal.holder();
    List<Report> reports = new ArrayList<>();
    List<String> failures = new ArrayList<>();
    for (Journal.Entry entry : entries.reversed()) {
      beforeStep.accept(entry.step());
      String shown = Commands.shown(entry.undo());
      Outcome outcome = Outcome.UNDONE;
      boolean needsHolder = entry.undo().contains(Long.toString(holder.pid()));
      if (needsHolder && !holder.isAlive()) {
        outcome = Outcome.GONE; // with its namespace
      } else if (!entry.undo().isEmpty()) {
        Commands.Result result = Commands.run(entry.undo());
        if (result.exit() != 0) {
          boolean absent = !entry.done() || result.output().matches("(?s).*(Cannot find|No such|does not exist|Cannot open network namespace|Cannot assign).*");
          if (!absent) {
            failures.add("'" + shown + "': " + result.output());
            continue;
          }
          outcome = Outcome.GONE;
        }
      }
      journal.undone(entry.step());
      reports.add(new Report(entry.step(), outcome, shown));
    }
    if (!failures.isEmpty()) {
      throw new IllegalStateException("not undone: " + String.join("; ", failures) + " (the rest is; run 'dyad nic revert' again)");
    }
    journal.delete();
    return reports;
  }
}
