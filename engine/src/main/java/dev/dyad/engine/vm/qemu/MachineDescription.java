package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.GuestMemory;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What a standby has to know of a running QEMU to build one that can take its guest over; crosses to the other host as JSON.
 *
 * @param version QEMU's version with its package, equal on both sides
 * @param machineType e.g. {@code pc-q35-7.2-machine}
 * @param workingDirectory that relative paths of the command line refer to
 * @param commandLine QEMU's own, its program first
 * @param memory the replicated blocks and the bound of the state
 * @param hugePages bytes of a page, by the name of a block that is mapped from a file of pages larger than 4 KiB
 */
public record MachineDescription(
    String version, String machineType, Path workingDirectory, List<String> commandLine, GuestMemory memory, Map<String, Long> hugePages) {

  public MachineDescription {
    commandLine = List.copyOf(commandLine);
    hugePages = Map.copyOf(hugePages);
  }

  public String toJson() {
    List<String> blocks = memory.blocks().stream().map(block -> "{\"name\":" + Json.write(block.name()) + ",\"bytes\":" + block.bytes()
        + (hugePages.containsKey(block.name()) ? ",\"pageBytes\":" + hugePages.get(block.name()) : "") + "}").toList();
    return "{\"qemu\":" + Json.write(version) + ",\"machine\":" + Json.write(machineType) + ",\"directory\":" + Json.write(workingDirectory.toString())
        + ",\"commandLine\":" + Json.write(commandLine) + ",\"stateBytesMax\":" + memory.state().bytes() + ",\"blocks\":[" + String.join(",", blocks) + "]}";
  }

  /**
   * @throws IllegalArgumentException with the reason when the text is not such a description
   */
  public static MachineDescription fromJson(String text) {
    Json json = Json.parse(text);
    GuestMemory.Builder memory = GuestMemory.builder();
    List<Json> blocks = json.get("blocks").elements();
    Map<String, Long> hugePages = new HashMap<>();
    for (Json block : blocks) {
      String name = block.get("name").text();
      memory.block(name, block.get("bytes").number(0));
      if (!block.get("pageBytes").isAbsent()) {
        hugePages.put(name, block.get("pageBytes").number(0));
      }
    }
    List<String> commandLine = json.get("commandLine").elements().stream().map(Json::text).toList();
    if (blocks.isEmpty() || commandLine.isEmpty() || json.get("qemu").text().isEmpty()) {
      throw new IllegalArgumentException("a machine's description lacks blocks, command line or version");
    }
    return new MachineDescription(json.get("qemu").text(), json.get("machine").text(), Path.of(json.get("directory").text()), commandLine,
        memory.build(json.get("stateBytesMax").number(0)), hugePages);
  }
}
