package dev.dyad.perf;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a figure depends on besides the code: figures of machines that differ in any of this are not compared. */
public final class MachineDescription {
  private static final Path CPU = Path.of("/proc/cpuinfo");
  private static final Path RELEASE = Path.of("/proc/sys/kernel/osrelease");
  private static final Path MEMORY = Path.of("/proc/meminfo");
  private static final Path SOFTWARE_KVM = Path.of("/sys/module/kvm_pvm");
  private static final long KIB_PER_GIB = 1 << 20;

  private MachineDescription() {}

  /** Of this machine, in a fixed order. */
  public static Map<String, Object> here() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("cpu", value(CPU, "model name"));
    map.put("cores", Runtime.getRuntime().availableProcessors());
    map.put("memoryGib", memoryGib());
    map.put("kernel", text(RELEASE));
    map.put("java", System.getProperty("java.vm.name") + " " + Runtime.version());
    map.put("kvm", !Files.exists(Path.of("/dev/kvm")) ? "none" : Files.exists(SOFTWARE_KVM) ? "software" : "hardware");
    return map;
  }

  private static long memoryGib() {
    String kib = value(MEMORY, "MemTotal").replaceAll("\\D", "");
    return kib.isEmpty() ? 0 : Math.round((double) Long.parseLong(kib) / KIB_PER_GIB);
  }

  private static String value(Path file, String key) {
    return text(file).lines().filter(line -> line.startsWith(key)).findFirst().map(line -> line.substring(line.indexOf(':') + 1).strip()).orElse("unknown");
  }

  private static String text(Path file) {
    try {
      return Files.readString(file).strip();
    } catch (IOException e) {
      return "unknown";
    }
  }
}
