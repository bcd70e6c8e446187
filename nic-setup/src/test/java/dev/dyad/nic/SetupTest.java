package dev.dyad.nic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SetupTest {
  @TempDir Path folder = Path.of("");

  private final TapPlan plan = new TapPlan(2, "dytest", "10.79.0.1/24", null, true);
  private Journal journal = new Journal(Path.of("unused"));

  @BeforeEach
  void namespacesAreAllowed() {
    String reason = NetworkLab.unavailable();
    assumeTrue(reason.isEmpty(), reason);
    journal = new Journal(folder.resolve("state"));
  }

  @AfterEach
  void leaveNothing() {
    if (journal.exists()) {
      new Setup(journal).revert();
    }
  }

  private static final class Crash extends RuntimeException {
    private static final long serialVersionUID = 1L;
  }

  private String inside(String... words) {
    List<String> command = new ArrayList<>(Holder.with(plan.prefix(), Long.toString(journal.holder().pid())));
    command.addAll(List.of(words));
    return Commands.run(command).output();
  }

  @Test
  void shouldMakeTapsOnABridgeInANamespaceAndUndoAllOfIt() {
    List<Setup.Report> applied = new Setup(journal).apply(plan.steps());
    assertTrue(applied.stream().allMatch(report -> report.outcome() == Setup.Outcome.APPLIED), applied.toString());
    String links = inside("ip", "-br", "link");
    assertTrue(links.contains("dytest-t0") && links.contains("dytest-t1"), links);
    assertTrue(inside("ip", "addr", "show", "dev", "dytest").contains("10.79.0.1/24"));
    Holder holder = journal.holder();
    assertTrue(holder.isAlive());
    List<Setup.Report> reverted = new Setup(journal).revert();
    assertEquals(applied.size(), reverted.size());
    assertTrue(reverted.stream().allMatch(report -> report.outcome() == Setup.Outcome.UNDONE), reverted.toString());
    assertFalse(journal.exists());
    awaitDeath(holder);
  }

  private static void awaitDeath(Holder holder) {
    for (int i = 0; i < 500 && holder.isAlive(); i++) {
      LockSupport.parkNanos(10_000_000);
    }
    assertFalse(holder.isAlive());
  }

  @Test
  void shouldChangeNothingWhenAppliedAgain() {
    new Setup(journal).apply(plan.steps());
    String before = inside("ip", "addr");
    List<Setup.Report> again = new Setup(journal).apply(plan.steps());
    assertTrue(again.stream().allMatch(report -> report.outcome() == Setup.Outcome.KEPT), again.toString());
    assertEquals(before, inside("ip", "addr"));
  }

  @Test
  void shouldLeaveWhatWasThereBefore() {
    List<Step> steps = plan.steps();
    new Setup(journal).apply(steps.subList(0, 2));
    String pid = Long.toString(journal.holder().pid());
    Step bridge = steps.get(2);
    assertTrue(bridge.name().startsWith("bridge"));
    assertEquals(0, Commands.run(Holder.with(bridge.apply(), pid)).exit());
    List<Setup.Report> reports = new Setup(journal).apply(steps);
    assertEquals(Setup.Outcome.FOUND, reports.get(2).outcome());
    assertFalse(journal.entries().stream().anyMatch(entry -> entry.step().equals(bridge.name())));
  }

  @Test
  void shouldUndoWhatACrashLeftHalfWayAtEveryStep() {
    for (Step crashAt : plan.steps()) {
      Setup crashing =
          new Setup(
              journal,
              step -> {
                if (step.equals(crashAt.name())) {
                  throw new Crash();
                }
              });
      assertThrows(Crash.class, () -> crashing.apply(plan.steps()));
      Holder holder = journal.holder();
      if (journal.exists()) {
        new Setup(journal).revert();
      }
      assertFalse(journal.exists());
      awaitDeath(holder);
    }
  }

  @Test
  void shouldGoOnAfterACrashInTheMiddleOfARevert() {
    new Setup(journal).apply(plan.steps());
    Setup crashing =
        new Setup(
            journal,
            step -> {
              if (step.equals("tap dytest-t0")) {
                throw new Crash();
              }
            });
    assertThrows(Crash.class, crashing::revert);
    assertTrue(inside("ip", "-br", "link").contains("dytest-t0"));
    new Setup(journal).revert();
    assertFalse(journal.exists());
  }

  @Test
  void shouldUndoAStepWhoseCommandNeverRan() {
    new Setup(journal).apply(plan.steps());
    journal.begin("tap dytest-t9", List.of("ip", "tuntap", "del", "dev", "dytest-t9", "mode", "bogus"));
    new Setup(journal).revert();
    assertFalse(journal.exists());
  }

  @Test
  void shouldIgnoreALineThatACrashHasCut() throws Exception {
    journal.begin("one", List.of("true"));
    Files.writeString(journal.path(), Files.readString(journal.path()) + "begin\ttw");
    assertEquals(1, journal.entries().size());
    journal.begin("three", List.of("true"));
    assertEquals(List.of("one", "three"), journal.entries().stream().map(Journal.Entry::step).toList());
  }

  @Test
  void shouldRefuseAStateFileThatIsNotItsOwn() throws Exception {
    Files.writeString(journal.path(), "something else\n");
    assertThrows(IllegalArgumentException.class, () -> new Setup(journal).revert());
    assertEquals("something else\n", Files.readString(journal.path()));
    Files.delete(journal.path());
  }
}
