package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.json.Json;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Turns the command line of a running QEMU into that of one that waits for its guest: the same machine, with everything that only
 * one process can have (sockets, log files, pid file, forwarded ports, shared memory files) put into the standby's own directory.
 */
final class ReceivingCommandLine {

  private static final Set<String> WITHOUT_VALUE = Set.of("nodefaults", "no-user-config", "nographic", "no-reboot", "no-shutdown", "snapshot", "S", "s",
      "daemonize", "enable-kvm", "no-acpi", "no-hpet", "no-fd-bootchk", "mem-prealloc", "singlestep", "one-insn-per-tb", "usb", "full-screen", "no-quit",
      "only-migratable", "preconfig", "win2k-hack", "show-cursor", "nouserconfig", "h", "help", "version", "xen-attach", "xen-domid-restrict");

  /** The primary's own business, or set anew below. */
  private static final Set<String> DROPPED = Set.of("daemonize", "S", "s", "gdb", "incoming", "loadvm", "pidfile", "qmp", "qmp-pretty", "monitor", "mon",
      "display", "nographic", "vnc", "spice", "full-screen", "D", "d", "trace", "mem-path", "mem-prealloc", "chroot", "run-with");

  private static final Set<String> FILES = Set.of("kernel", "initrd", "dtb", "bios", "pflash", "cdrom", "hda", "hdb", "hdc", "hdd", "fda", "fdb", "sd", "mtdblock");

  /** Properties that name files. A block device's {@code file} may also be the name of another one. */
  private static final Map<String, List<String>> FILE_PROPERTIES = Map.of("drive", List.of("file", "file.filename"), "blockdev", List.of("filename", "file.filename"),
      "acpitable", List.of("file"), "smbios", List.of("file"), "fw_cfg", List.of("file"), "device", List.of("romfile"));

  /** What a {@code -drive} says of the primary's image and not of the guest's disk. */
  private static final List<String> OF_THE_IMAGE = List.of("file", "format=", "driver=", "node-name=", "snapshot=", "aio=", "cache");

  private static final String SEND_CONFIGURATION = "migration.send-configuration=off";
  private static final String NO_DESCRIPTION = "suppress-vmdesc=on";

  private final MachineDescription source;
  private final ReceivingQemu.Options options;
  private final List<String> line = new ArrayList<>();
  private final Set<String> disksFound = new HashSet<>();

  /** Nodes below a disk that is served here. */
  private final Set<String> needless = new HashSet<>();

  private int serials;

  /** Units of {@code if=virtio} that drives have. */
  private final Set<Integer> virtioUnits = new HashSet<>();

  private ReceivingCommandLine(MachineDescription source, ReceivingQemu.Options options) {
    this.source = source;
    this.options = options;
  }

  /**
   * @throws QemuException for what cannot be on this host: a missing file, a network back end that nobody named
   */
  static List<String> of(MachineDescription source, ReceivingQemu.Options options) {
    ReceivingCommandLine receiving = new ReceivingCommandLine(source, options);
    receiving.adapt();
    return List.copyOf(receiving.line);
  }

  private void adapt() {
    List<String> words = source.commandLine();
    line.add(words.getFirst());
    for (int i = 1; i + 1 < words.size(); i++) {
      if (words.get(i).replace("--", "-").equals("-blockdev") && options.disks().containsKey(property(words.get(i + 1), "node-name"))) {
        needless.add(property(words.get(i + 1), "file"));
      }
    }
    for (int i = 1; i < words.size(); i++) {
      String word = words.get(i);
      if (!word.startsWith("-")) {
        requireFile("a disk image", word);
        line.add(word);
        continue;
      }
      String option = word.substring(word.startsWith("--") ? 2 : 1);
      if (WITHOUT_VALUE.contains(option)) {
        if (option.equals("nographic")) {
          // It stands for a serial port on the terminal, beside no display.
          add("serial", serialFile());
        } else if (!DROPPED.contains(option)) {
          line.add("-" + option);
        }
      } else if (i + 1 < words.size()) {
        i++;
        if (!DROPPED.contains(option)) {
          adapt(option, words.get(i));
        }
      }
    }
    for (String disk : options.disks().keySet()) {
      if (!disksFound.contains(disk)) {
        throw new QemuException("the primary's QEMU was not started with a disk " + disk + " (a -blockdev's node-name or a -drive's id): name the same on both sides");
      }
    }
    add("display", "none");
    add("monitor", "none");
    add("machine", NO_DESCRIPTION);
    add("global", SEND_CONFIGURATION);
    add("S");
    add("incoming", "defer");
    add("qmp", "unix:" + CommandLine.join(List.of(options.directory().resolve(ReceivingQemu.CONTROL_SOCKET).toString())) + ",server=on,wait=off");
    add("qmp", "unix:" + CommandLine.join(List.of(options.directory().resolve(ReceivingQemu.QMP_SOCKET).toString())) + ",server=on,wait=off");
    line.addAll(options.moreArguments());
  }

  private void add(String option, String... value) {
    line.add("-" + option);
    line.addAll(List.of(value));
  }

  private void adapt(String option, String value) {
    if (value.contains("vhost-user")) {
      throw new QemuException("vhost-user (-" + option + " " + value + ") cannot be protected: its process writes guest memory unseen");
    }
    if (option.equals("blockdev") || option.equals("drive")) {
      if (disk(option, value)) {
        return;
      }
    }
    if (FILES.contains(option)) {
      requireFile("-" + option, value);
    } else if (FILE_PROPERTIES.containsKey(option)) {
      for (String name : FILE_PROPERTIES.getOrDefault(option, List.of())) {
        String file = property(value, name);
        if (!file.isEmpty() && !file.contains(":")) {
          requireFile("-" + option, file);
        }
      }
    }
    switch (option) {
      case "serial" -> add(option, standsAlone(value) ? counted(value) : serialFile());
      case "parallel" -> add(option, standsAlone(value) ? value : "null");
      case "chardev" -> add(option, chardev(value));
      case "netdev" -> add(option, netdev(value));
      case "nic" -> add(option, nic(value));
      case "net" -> add(option, net(value));
      case "object" -> add(option, memoryBackend(value));
      case "machine", "M" -> {
        if (!value.equals(NO_DESCRIPTION)) {
          add(option, value);
        }
      }
      case "global" -> {
        if (!value.equals(SEND_CONFIGURATION)) {
          add(option, value);
        }
      }
      default -> add(option, value);
    }
  }

  /** A disk that is served here takes the place of the primary's. Whether the option is done with. */
  private boolean disk(String option, String value) {
    String name = option.equals("drive") ? driveName(value) : property(value, "node-name");
    Path socket = options.disks().get(name);
    if (socket == null) {
      return !name.isEmpty() && needless.contains(name);
    }
    disksFound.add(name);
    if (option.equals("blockdev")) {
      add(option, QemuDisk.blockdev(name, socket));
      return true;
    }
    List<String> kept = new ArrayList<>(CommandLine.parts(value));
    kept.removeIf(part -> OF_THE_IMAGE.stream().anyMatch(part::startsWith));
    kept.addAll(QemuDisk.driveParts(name, socket));
    add(option, CommandLine.join(kept));
    return true;
  }

  /** The id, or the one that QEMU gives to a virtio disk without: its interface and unit, by default the first that is free. */
  private String driveName(String value) {
    String id = property(value, "id");
    if (!property(value, "if").equals("virtio")) {
      return id;
    }
    String index = property(value, "index");
    int unit = 0;
    if (index.isEmpty()) {
      while (virtioUnits.contains(unit)) {
        unit++;
      }
    } else {
      unit = Integer.parseInt(index);
    }
    virtioUnits.add(unit);
    return id.isEmpty() ? "virtio" + unit : id;
  }

  private static boolean standsAlone(String device) {
    return device.equals("none") || device.equals("null") || device.startsWith("chardev:");
  }

  private String counted(String value) {
    serials++;
    return value;
  }

  private String serialFile() {
    return "file:" + options.directory().resolve("serial" + serials++ + ".log");
  }

  private String chardev(String value) {
    String id = CommandLine.property(value, "id");
    String path = CommandLine.property(value, "path");
    boolean server = value.contains("server=on") || CommandLine.parts(value).contains("server");
    return switch (CommandLine.first(value)) {
      case "file" -> CommandLine.with(value, List.of("path"), "path=" + own(path));
      case "socket" -> server && !path.isEmpty() ? CommandLine.with(value, List.of("path"), "path=" + own(path)) : "null,id=" + id;
      case "null", "ringbuf", "memory", "testdev" -> value;
      default -> "null,id=" + id;
    };
  }

  private Path own(String path) {
    return options.directory().resolve(Path.of(path).getFileName());
  }

  private String netdev(String value) {
    Netdev primary = Netdev.parse(value);
    String id = primary.id();
    String backend = options.netdevs().get(id);
    if (backend != null) {
      return alike(primary, CommandLine.with(backend, List.of("id"), "id=" + id));
    }
    return switch (value.startsWith("{") ? "" : primary.type()) {
      // A forwarded port is taken by the primary when both are on one host.
      case "user" -> CommandLine.with(value, List.of("hostfwd", "guestfwd", "smb"));
      case "hubport" -> value;
      default -> throw new QemuException("the standby's own back end for network " + id + " is not known (the primary's: " + value
          + "): --netdev " + id + "=tap,ifname=…,script=no,downscript=no");
    };
  }

  /** With the offloads that the primary's back end has: a guest that was offered more cannot be loaded, and one that was offered less sends plain frames. */
  private static String alike(Netdev primary, String backend) {
    boolean offloads = Netdev.parse(backend).offloads();
    if (primary.offloads() && !offloads) {
      throw new QemuException("network " + primary.id() + " is a TAP of QEMU's own on the primary, whose guest counts on offloads that \"" + backend
          + "\" does not have: --netdev " + primary.id() + "=tap,ifname=…,script=no,downscript=no");
    }
    return primary.offloads() || !offloads ? backend : CommandLine.with(backend, List.of("vnet_hdr"), "vnet_hdr=off");
  }

  private String nic(String value) {
    String first = CommandLine.first(value);
    if (first.equals("none")) {
      return value;
    }
    if (first.equals("user")) {
      return CommandLine.with(value, List.of("hostfwd", "guestfwd", "smb"));
    }
    throw new QemuException("-nic " + value + " cannot be rebuilt on the standby: start the primary with -netdev and -device");
  }

  private String net(String value) {
    String first = CommandLine.first(value);
    if (Set.of("none", "nic", "user").contains(first)) {
      return CommandLine.with(value, List.of("hostfwd", "guestfwd", "smb"));
    }
    throw new QemuException("-net " + value + " cannot be rebuilt on the standby: start the primary with -netdev and -device");
  }

  /** A memory file of the primary's must not be opened by the standby: on one host it is the running guest's memory. */
  private String memoryBackend(String value) {
    String type = objectType(value);
    if (!type.equals("memory-backend-file") && !type.equals("memory-backend-shm")) {
      return value;
    }
    String id = property(value, "id");
    // QEMU calls the block after its object: ram, or /objects/ram on machines before 4.0.
    long pageBytes = source.hugePages().getOrDefault(id, source.hugePages().getOrDefault("/objects/" + id, 0L));
    return "memory-backend-memfd,id=" + id + ",size=" + property(value, "size") + ",share=on" + (pageBytes > 0 ? ",hugetlb=on,hugetlbsize=" + pageBytes : "");
  }

  /**
   * The same for a command line that somebody else wrote, as far as a look at it can tell: QEMU's start alone writes into the file.
   *
   * @throws QemuException when memory of the machine would be a file with a name
   */
  static void refuseNamedMemory(List<String> line, Path workingDirectory) {
    for (String word : line) {
      if (!word.contains("memory-backend-")) {
        continue;
      }
      String path = property(word, "mem-path");
      boolean named = objectType(word).equals("memory-backend-file") && !Files.isDirectory(workingDirectory.resolve(path));
      if (named) {
        throw new QemuException("the standby's QEMU would have the file " + path + " for its memory, which may be the running guest's: use memory-backend-memfd,share=on, or a directory"
            + " of huge pages as mem-path");
      }
    }
  }

  private static String objectType(String value) {
    return value.startsWith("{") ? property(value, "qom-type") : CommandLine.first(value);
  }

  /** Of an option's value in either of its forms; empty where it has none. */
  private static String property(String value, String name) {
    if (!value.startsWith("{")) {
      return CommandLine.property(value, name);
    }
    Json whole = Json.parse(value);
    Json found = whole.get(name);
    for (int dot = name.indexOf('.'); found.isAbsent() && dot > 0; dot = name.indexOf('.', dot + 1)) {
      found = whole.get(name.substring(0, dot)).get(name.substring(dot + 1));
    }
    long number = found.number(-1);
    return number < 0 ? found.text() : Long.toString(number);
  }

  /** Firmware without a folder in its name is looked for among QEMU's own as well, and by QEMU itself. */
  private void requireFile(String what, String file) {
    boolean searched = (what.equals("-bios") || what.equals("-device")) && !file.contains("/");
    if (!searched && !Files.isReadable(source.workingDirectory().resolve(file))) {
      throw new QemuException("the standby lacks " + file + " (" + what + " of the primary's QEMU): put it there, at the same path");
    }
  }
}
