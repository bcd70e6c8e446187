package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Primaries in processes of their own, killed with SIGKILL wherever they are; the next one is a fresh process with a fresh machine. */
class KillTest {
  private static final int KILLS = Rig.amount(6);
  private static final int VCPUS = 2;
  private static final long STOP_AFTER = 60_000;

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @Test
  void shouldEndAsIfNothingHadHappenedWhenProcessesAreKilled(@TempDir Path directory) throws IOException, InterruptedException {
    long seed = System.nanoTime();
    SplittableRandom random = new SplittableRandom(seed);
    long expected = Rig.undisturbed(Rig.config(VCPUS), PrimaryProcess.image(STOP_AFTER));
    List<String> files = new ArrayList<>();
    for (int kill = 0; kill < KILLS; kill++) {
      String file = create(directory, kill);
      Process process = start(file, files);
      try {
        awaitEpochs(process, file, 1 + random.nextInt(60));
        TimeUnit.MICROSECONDS.sleep(random.nextInt(3_000));
      } finally {
        process.destroyForcibly().waitFor();
      }
      files.add(file);
    }
    Process last = start(create(directory, KILLS), files);
    try {
      String output = new String(last.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertTrue(last.waitFor(Rig.patient(60), TimeUnit.SECONDS));
      assertEquals("checksum " + Long.toHexString(expected), output.strip(), "seed " + seed);
    } finally {
      last.destroyForcibly().waitFor();
    }
  }

  private static String create(Path directory, int number) throws IOException {
    Path path = directory.resolve("replica" + number);
    try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
      file.setLength(PrimaryProcess.FILE_BYTES);
    }
    return path.toString();
  }

  private static Process start(String file, List<String> earlier) throws IOException {
    List<String> command = new ArrayList<>(
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", System.getProperty("java.class.path"),
            PrimaryProcess.class.getName(), Integer.toString(VCPUS), Long.toString(STOP_AFTER), file));
    if (!earlier.isEmpty()) {
      command.add(earlier.getLast());
    }
    return new ProcessBuilder(command).redirectErrorStream(true).start();
  }

  private static void awaitEpochs(Process process, String file, int epochs) throws IOException, InterruptedException {
    try (FileChannel channel = FileChannel.open(Path.of(file))) {
      ByteBuffer header = channel.map(FileChannel.MapMode.READ_ONLY, 0, 4096).order(ByteOrder.LITTLE_ENDIAN);
      long end = System.nanoTime() + Rig.patient(TimeUnit.SECONDS.toNanos(60));
      while (header.getInt(PrimaryProcess.COMMITTED) < epochs) {
        if (!process.isAlive()) {
          assertTrue(header.getInt(PrimaryProcess.COMMITTED) > 0, () -> "the process ended: " + output(process));
          return; // the guest was done first
        }
        assertTrue(System.nanoTime() < end, "no epoch in time");
        Thread.sleep(1);
      }
    }
  }

  private static String output(Process process) {
    try {
      return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      return e.toString();
    }
  }
}
