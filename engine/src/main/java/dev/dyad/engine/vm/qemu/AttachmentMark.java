package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.observe.RuntimeDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.stream.Stream;

/**
 * A small file that says which process protects which QEMU, for those who come after its death: the guest of a dead
 * protector runs, its held output goes nowhere, and somebody has to know.
 *
 * <p>In the {@link RuntimeDirectory}.
 */
public final class AttachmentMark {

  /**
   * A QEMU whose protector has died.
   *
   * @param qemuPid its process, alive
   * @param qmp its QMP socket
   * @param protectorPid who protected it
   */
  public record Orphan(int qemuPid, Path qmp, int protectorPid) {

    /** What was found and what to do, in one line. */
    public String advice() {
      return "QEMU " + qemuPid + " was protected by process " + protectorPid + ", which has died; its guest runs, its held output does not leave:"
          + " dyad attach --qmp " + qmp + " …";
    }
  }

  private static final String PREFIX = "qemu-";

  private final Path file;

  private AttachmentMark(Path file) {
    this.file = file;
  }

  static AttachmentMark write(QemuProcess qemu, Path qmp) {
    QemuProcess self = new QemuProcess((int) ProcessHandle.current().pid());
    Properties facts = new Properties();
    facts.setProperty("qemu.start", Long.toString(qemu.startTime()));
    facts.setProperty("qmp", qmp.toString());
    facts.setProperty("protector", Integer.toString(self.pid()));
    facts.setProperty("protector.start", Long.toString(self.startTime()));
    try {
      Path directory = directory();
      Path part = Files.createTempFile(directory, ".mark", "");
      try (var out = Files.newBufferedWriter(part)) {
        facts.store(out, null);
      }
      Path file = directory.resolve(PREFIX + qemu.pid());
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
      return new AttachmentMark(file);
    } catch (IOException e) {
      throw new QemuException("the attachment cannot be noted in " + directory() + ": " + e.getMessage(), e);
    }
  }

  void remove() {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      // A mark that stays names a protector that is gone, which is what it then says.
    }
  }

  /**
   * @throws QemuException when another living process protects this QEMU
   */
  static void refuseWhenHeld(QemuProcess qemu) {
    Path file = directory().resolve(PREFIX + qemu.pid());
    if (Files.exists(file)) {
      Properties facts = read(file);
      if (qemuLives(qemu, facts) && protectorLives(facts)) {
        throw new QemuException("QEMU " + qemu.pid() + " is already protected by process " + facts.getProperty("protector") + ": end that first");
      }
    }
  }

  /** Whether a process other than this one has a mark on this QEMU, alive or dead. */
  public static boolean isHeldByAnother(int qemuPid) {
    Path file = directory().resolve(PREFIX + qemuPid);
    Properties facts;
    try {
      if (!Files.exists(file)) {
        return false;
      }
      facts = read(file);
    } catch (QemuException e) {
      return false; // taken away while we looked
    }
    return qemuLives(new QemuProcess(qemuPid), facts) && !Long.toString(ProcessHandle.current().pid()).equals(facts.getProperty("protector"));
  }

  /** Every QEMU of this host whose protector has died; marks of QEMUs that are gone are removed. */
  public static List<Orphan> orphans() {
    List<Orphan> orphans = new ArrayList<>();
    if (!Files.isDirectory(directory())) {
      return orphans;
    }
    try (Stream<Path> files = Files.list(directory())) {
      for (Path file : files.filter(path -> path.getFileName().toString().startsWith(PREFIX)).toList()) {
        Properties facts = read(file);
        QemuProcess qemu = new QemuProcess(Integer.parseInt(file.getFileName().toString().substring(PREFIX.length())));
        if (!qemuLives(qemu, facts)) {
          Files.deleteIfExists(file);
        } else if (!protectorLives(facts)) {
          orphans.add(new Orphan(qemu.pid(), Path.of(facts.getProperty("qmp", "")), Integer.parseInt(facts.getProperty("protector", "0"))));
        }
      }
    } catch (IOException e) {
      throw new QemuException("the attachments in " + directory() + " cannot be read: " + e.getMessage(), e);
    }
    return orphans;
  }

  private static Properties read(Path file) {
    Properties facts = new Properties();
    try (var in = Files.newBufferedReader(file)) {
      facts.load(in);
    } catch (IOException e) {
      throw new QemuException(file + " cannot be read: " + e.getMessage(), e);
    }
    return facts;
  }

  private static boolean qemuLives(QemuProcess qemu, Properties facts) {
    return qemu.exists() && Long.toString(qemu.startTime()).equals(facts.getProperty("qemu.start"));
  }

  private static boolean protectorLives(Properties facts) {
    QemuProcess protector = new QemuProcess(Integer.parseInt(facts.getProperty("protector", "0")));
    return protector.exists() && Long.toString(protector.startTime()).equals(facts.getProperty("protector.start"));
  }

  private static Path directory() {
    return RuntimeDirectory.path();
  }
}
