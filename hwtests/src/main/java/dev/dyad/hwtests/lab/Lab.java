package dev.dyad.hwtests.lab;

import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.CacheFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * A lab of virtual hosts with a network and an RDMA device each, ready to run this machine's programs and this JVM's classes.
 * Whoever boots it closes it; hosts end with it, whatever happened to them.
 */
public final class Lab implements AutoCloseable {
  /** Ready takes 4 to 10 s on an idle machine; other work beside it makes that several times longer. */
  static final Duration BOOT_TIMEOUT = Duration.ofSeconds(Integer.getInteger("dyad.lab.bootSeconds", 60));

  private static final String PROGRAMS = "/run/shared/bin";

  private final LabConfig config;
  private final LabImage image;
  private final Path folder;
  private final LabConsoles consoles;
  private final LabProcesses processes;
  private final List<LabHost> hosts = new ArrayList<>();
  private final Thread ending;

  private Lab(LabConfig config, LabImage image, Path folder) {
    this.config = config;
    this.image = image;
    this.folder = folder;
    consoles = new LabConsoles(folder);
    processes = new LabProcesses(folder);
    ending = new Thread(this::end, "lab-end");
  }

  /**
   * Boots the hosts and waits until all are ready.
   *
   * @throws GuestUnavailableException when this machine cannot have a lab, with the reason
   * @throws IOException when it could but a host did not come up
   */
  public static Lab boot(LabConfig config) throws IOException, GuestUnavailableException {
    config.requireTools();
    var image = LabImage.obtain();
    return boot(config, image, Files.createTempDirectory("dyadlab"));
  }

  static Lab boot(LabConfig config, LabImage image, Path folder) throws IOException {
    var lab = new Lab(config, image, folder);
    Runtime.getRuntime().addShutdownHook(lab.ending);
    try {
      for (int number = 1; number <= config.hosts(); number++) {
        lab.hosts.add(LabHost.start(number, config, lab.image, folder, lab.consoles, lab.processes));
      }
      for (var host : lab.hosts) {
        host.awaitReady(BOOT_TIMEOUT);
      }
      return lab;
    } catch (IOException | RuntimeException e) {
      lab.close();
      throw e;
    }
  }

  private void end() {
    try {
      processes.end();
      CacheFolder.deleteTree(folder);
    } catch (IOException e) {
      System.getLogger(Lab.class.getName()).log(System.Logger.Level.WARNING, folder + " stays behind: " + e.getMessage());
    }
  }

  /** @param number 1 or 2 */
  public LabHost host(int number) {
    return hosts.get(number - 1);
  }

  public List<LabHost> hosts() {
    return List.copyOf(hosts);
  }

  /** A folder that all hosts have at {@code /run/shared}. */
  public Path shared() {
    return folder.resolve("shared");
  }

  /** Cuts the network between the hosts; both ports see it. */
  public void cutLink() throws IOException {
    for (var host : hosts) {
      host.setLink(false);
    }
  }

  public void healLink() throws IOException {
    for (var host : hosts) {
      host.setLink(true);
    }
  }

  /** Treats what each host sends, see {@link LabHost#netem}. */
  public void netem(String what) throws IOException {
    for (var host : hosts) {
      host.netem(what);
    }
  }

  /** Each host sends no faster than that. Packets wait and none is lost. */
  public void limitRate(int megabits) throws IOException {
    netem("rate " + megabits + "mbit");
  }

  /** Takes back what {@link #netem} did. */
  public void clearNetem() throws IOException {
    for (var host : hosts) {
      host.clearNetem();
    }
  }

  /** Boots a host that died, and leaves the other one alone. */
  public LabHost powerOn(int number) throws IOException {
    var host = LabHost.start(number, config, image, folder, consoles, processes);
    hosts.set(number - 1, host);
    host.awaitReady(BOOT_TIMEOUT);
    return host;
  }

  /** Takes back all faults and ends all commands; hosts that died are booted again. */
  public void restore() throws IOException {
    int dead = consoles.dead();
    if (dead != 0) {
      host(dead).kill(); // it is on its way down, or stuck there
    }
    var survivors = new ArrayList<LabHost>();
    for (int i = 0; i < hosts.size(); i++) {
      var host = hosts.get(i);
      if (host.isAlive()) {
        survivors.add(host);
      } else {
        hosts.set(i, LabHost.start(host.number(), config, image, folder, consoles, processes));
      }
    }
    // While a kernel lies dead nothing is waited for, so only now.
    for (var host : survivors) {
      host.calm();
    }
    for (var host : hosts) {
      if (!host.isAlive()) {
        throw new IOException("lab host " + host.number() + " died while it came up again");
      }
    }
    for (var host : hosts) {
      host.awaitReady(BOOT_TIMEOUT);
    }
  }

  /** Which host's kernel has died of what, in one line; empty for none since the hosts were switched on. */
  public String kernelDeath() throws IOException {
    return consoles.death();
  }

  /** Lets the JVMs that run classes in the hosts start now, all at once, and does not wait for them. */
  public void startAgents() throws IOException {
    for (var host : hosts) {
      host.agent();
    }
  }

  /**
   * Makes {@code dyad} of this JVM's classes a program of all hosts.
   *
   * @return the folder where they have it, for a PATH
   */
  public String installDyad() throws IOException {
    installProgram("dyad", JavaCommand.of(Dyad.class, JavaCommand.SHORT_LIVED, List.of()) + " \"$@\"");
    return PROGRAMS;
  }

  /** Puts a shell script beside {@link #installDyad}'s. */
  public void installProgram(String name, String script) throws IOException {
    var program = shared().resolve(Path.of("bin", name));
    Files.createDirectories(program.resolveSibling("."));
    Files.writeString(program, "#!/bin/sh\n" + script + "\n");
    Files.setPosixFilePermissions(program, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  /** Copies consoles and the output of all commands to {@code target}. */
  public void keepLogs(Path target) throws IOException {
    try (var files = Files.walk(folder)) {
      for (var file : files.filter(Files::isRegularFile).toList()) {
        var copy = target.resolve(folder.relativize(file).toString());
        Files.createDirectories(copy.resolveSibling("."));
        Files.copy(file, copy, StandardCopyOption.REPLACE_EXISTING);
      }
    }
  }

  /** Ends all hosts and deletes what they left. */
  @Override
  public void close() throws IOException {
    for (var host : hosts) {
      host.close();
    }
    if (untie()) {
      processes.end();
      CacheFolder.deleteTree(folder);
    }
  }

  /** Leaves the hosts running for whoever attaches to them; {@link #isUp} from now on. */
  void detach() throws IOException {
    for (var host : hosts) {
      host.stay();
    }
    Files.createFile(sign(folder));
    if (!untie()) {
      throw new IOException("interrupted when the lab was up");
    }
    for (var host : hosts) {
      host.detach();
    }
  }

  /** Whether a lab was booted in a folder and left there. */
  static boolean isUp(Path folder) {
    return Files.exists(sign(folder));
  }

  private static Path sign(Path folder) {
    return folder.resolve("up");
  }

  /** From now on the lab does not end with this JVM; false if it is too late for that. */
  private boolean untie() {
    try {
      Runtime.getRuntime().removeShutdownHook(ending);
      return true;
    } catch (IllegalStateException e) {
      return false;
    }
  }
}
