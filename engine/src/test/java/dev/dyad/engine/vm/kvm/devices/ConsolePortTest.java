package dev.dyad.engine.vm.kvm.devices;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.engine.net.FilePort;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.ReleaseGate;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a guest prints leaves when its epoch is committed, and not before. */
class ConsolePortTest {
  @TempDir Path directory;

  private final ConsolePort console = new ConsolePort();
  private final EventFd bell = new EventFd();
  private final LearnedAddresses learned = new LearnedAddresses();
  private final OutputEpoch epoch = new OutputEpoch(1);
  private final ReleaseGate gate = new ReleaseGate(() -> 1, 1);
  private Path file = Path.of("");
  private FilePort out = FilePort.append(Path.of("/dev/null"));
  private HeldOutput held = new HeldOutput(console, out, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);

  @BeforeEach
  void toAFile() {
    held.close();
    out.close();
    file = directory.resolve("console");
    out = FilePort.append(file);
    held = new HeldOutput(console, out, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);
    gate.leaseUntil(Clocks.bootNs() + 3_600_000_000_000L);
  }

  @AfterEach
  void close() {
    held.close();
    out.close();
    console.close();
    learned.close();
    bell.close();
  }

  private void print(String text) {
    text.chars().forEach(console::write);
  }

  private void receiveAll() {
    while (held.receive() == HeldOutput.Received.FRAMES) {
      // until nothing is left
    }
  }

  private String left() throws IOException {
    return Files.readString(file, StandardCharsets.ISO_8859_1);
  }

  @Test
  void shouldLeaveWhenItsEpochIsCommittedAndNotBefore() throws IOException {
    print("one ");
    receiveAll();
    assertTrue(held.outputWaits());
    epoch.seal(1);
    print("two");
    receiveAll();
    assertEquals("", left());
    held.release(1);
    assertEquals("one ", left());
    epoch.seal(2);
    held.release(2);
    assertEquals("one two", left());
  }

  @Test
  void shouldThrowAwayWhatWasNotCommittedWhenThisSideIsFenced() throws IOException {
    print("never");
    receiveAll();
    epoch.seal(1);
    gate.fence();
    held.discard();
    held.release(1);
    assertEquals("", left());
  }

  /** Whoever prints rings for the first character, and nobody waits for one that is there. */
  @Test
  void shouldWakeTheReceiverForEverythingThatIsPrinted() throws IOException {
    Poll poll = new Poll(1);
    try {
      for (int i = 0; i < 1_000; i++) {
        print("line " + i + "\n");
        poll.set(0, console.receiveFd(), linux_h.POLLIN());
        poll.await(1_000);
        assertTrue(poll.ready(0) != 0, "bell of line " + i);
        receiveAll();
        epoch.seal(i + 1);
        held.release(i + 1);
      }
    } finally {
      poll.close();
    }
    assertEquals(1_000, left().lines().count());
  }

  /** A reader that has stopped holds nobody up: what its pipe does not take is lost. */
  @Test
  void shouldNotWaitForAReaderThatHasStopped() {
    Path pipe = directory.resolve("pipe");
    dev.dyad.bindings.linux.Files.makeFifo(pipe.toString(), 0600);
    try (FileDescriptor reader = dev.dyad.bindings.linux.Files.open(pipe.toString(), linux_h.O_RDONLY() | linux_h.O_NONBLOCK());
        FilePort stuck = FilePort.append(pipe);
        HeldOutput toPipe = new HeldOutput(console, stuck, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false)) {
      assertTrue(reader.isOpen());
      for (int i = 1; i <= 40; i++) {
        print("x".repeat(4_096));
        while (toPipe.receive() == HeldOutput.Received.FRAMES) {
          // until nothing is left
        }
        epoch.seal(i);
        toPipe.release(i);
        assertEquals(0, toPipe.heldBytes());
      }
      assertTrue(stuck.lostFrames() > 0, "more than a pipe holds");
    }
  }

  @Test
  void shouldLoseAndCountWhatDoesNotFit() {
    print("x".repeat((1 << 18) + 5));
    assertEquals(5, console.lostFrames());
  }
}
