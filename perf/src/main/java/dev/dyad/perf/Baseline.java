package dev.dyad.perf;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Figures that were kept, with the machine they were taken on: {@code {"machine":{…},"figures":{"name":number,…}}}. Smaller is better.
 */
public final class Baseline {
  private final Path file;
  private final Json kept;

  private Baseline(Path file, Json kept) {
    this.file = file;
    this.kept = kept;
  }

  public static void save(Path file, Map<String, Double> figures) {
    Map<String, Object> content = new LinkedHashMap<>();
    content.put("machine", MachineDescription.here());
    content.put("figures", figures);
    try {
      Path directory = file.toAbsolutePath().getParent();
      if (directory != null) {
        Files.createDirectories(directory);
      }
      Files.writeString(file, Json.write(content).replace(",\"", ",\n\"") + "\n");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Throws {@link CommandFailure} when there is no such file, or it was taken on a machine that is not like this one. */
  public static Baseline open(Path file) {
    try {
      Baseline baseline = new Baseline(file, Json.parse(Files.readString(file)));
      baseline.requireSameMachine();
      return baseline;
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "no baseline at " + file + ": make one with --save-baseline " + file);
    }
  }

  private void requireSameMachine() {
    for (Map.Entry<String, Object> entry : MachineDescription.here().entrySet()) {
      String found = plain(kept.get("machine").get(entry.getKey()));
      if (!found.equals(String.valueOf(entry.getValue()))) {
        throw new CommandFailure(
            ExitCode.DATA,
            file + " is of another machine: " + entry.getKey() + " \"" + found + "\", here \"" + entry.getValue() + "\"; figures of different machines are not compared: make a baseline here with --save-baseline");
      }
    }
  }

  private static String plain(Json value) {
    return value.isAbsent() ? "not given" : value.text().isEmpty() ? value.toString() : value.text();
  }

  /** For each figure that the baseline has too: now divided by then. */
  public Map<String, Double> ratios(Map<String, Double> now) {
    Map<String, Double> ratios = new LinkedHashMap<>();
    now.forEach((name, value) -> {
      Json then = kept.get("figures").get(name);
      if (!then.isAbsent()) {
        ratios.put(name, Math.rint(1000 * value / Double.parseDouble(then.toString())) / 1000);
      }
    });
    return ratios;
  }
}
