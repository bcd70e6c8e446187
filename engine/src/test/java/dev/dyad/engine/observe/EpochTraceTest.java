package dev.dyad.engine.observe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.SteadyAllocation;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the epoch thread notes comes out as JFR events, whole and in order, and costs it no allocation. */
class EpochTraceTest {
  private static final int EPOCHS = 200;

  @TempDir Path directory;

  private static void epoch(EpochTrace trace, long epoch) {
    trace.sealed(epoch, epoch * 10, 400_000 + epoch, 1, 2, 3, 4, 5, 52);
    trace.committed(epoch, epoch * 10 + 5, 7_000);
    trace.released(epoch, epoch * 10 + 6, 8_000, 3);
  }

  private static List<RecordedEvent> named(List<RecordedEvent> events, String name) {
    return events.stream().filter(event -> event.getEventType().getName().equals(name)).toList();
  }

  @Test
  void shouldTellARecordingOfEveryEpoch() throws IOException, InterruptedException {
    Path file = directory.resolve("epochs.jfr");
    try (Recording recording = new Recording();
        EpochTrace trace = new EpochTrace()) {
      recording.start();
      trace.start();
      for (long epoch = 1; epoch <= EPOCHS; epoch++) {
        epoch(trace, epoch);
      }
      trace.close();
      recording.stop();
      recording.dump(file);
      assertEquals(0, trace.lost());
    }
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    List<RecordedEvent> epochs = named(events, "dyad.Epoch");
    assertEquals(EPOCHS, epochs.size());
    for (int i = 0; i < EPOCHS; i++) {
      assertEquals(i + 1, epochs.get(i).getLong("epoch"));
      assertEquals(400_001 + i, epochs.get(i).getDuration("pause").toNanos());
      assertEquals(52, epochs.get(i).getLong("pages"));
    }
    List<RecordedEvent> phases = named(events, "dyad.PausePhase");
    assertEquals(5 * EPOCHS, phases.size());
    assertEquals(List.of("stop", "scan", "copy", "state", "resume"), phases.subList(0, 5).stream().map(phase -> phase.getString("phase")).toList());
    assertEquals(List.of(1L, 2L, 3L, 4L, 5L), phases.subList(0, 5).stream().map(phase -> phase.getDuration("time").toNanos()).toList());
    assertEquals(7_000, named(events, "dyad.Commit").get(EPOCHS - 1).getDuration("latency").toNanos());
    RecordedEvent release = named(events, "dyad.Release").get(EPOCHS - 1);
    assertEquals(EPOCHS, release.getLong("epoch"));
    assertEquals(3, release.getLong("held"));
  }

  @Test
  void shouldAllocateNothingWhetherSomebodyRecordsOrNot() {
    for (boolean recorded : new boolean[] {false, true}) {
      try (Recording recording = new Recording();
          EpochTrace trace = new EpochTrace()) {
        if (recorded) {
          recording.start();
        }
        trace.start();
        long allocated =
            SteadyAllocation.bytes(
                () -> {
                  for (long epoch = 1; epoch <= 100_000; epoch++) {
                    epoch(trace, epoch);
                  }
                });
        assertEquals(0, allocated, "bytes on the thread of the epochs, recorded " + recorded);
      }
    }
  }

  /** Nobody waits for a reader. */
  @Test
  void shouldLoseAndCountWhatNobodyReads() {
    try (EpochTrace trace = new EpochTrace()) {
      for (long epoch = 1; epoch <= 10_000; epoch++) {
        epoch(trace, epoch);
      }
      assertTrue(trace.lost() > 0);
    }
  }
}
