package dev.dyad.nic;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What {@code apply} has done, step by step, so that {@code revert} undoes exactly that, also after a crash half way.
 *
 * <p>A line is durable before its command runs ({@code begin}) and after it ({@code done}). A step with {@code begin} only may or
 * may not have happened: undoing it may fail, which is then no error.
 *
 * <pre>
 * dyad-nic 1
 * holder TAB pid TAB start ticks
 * begin  TAB step TAB word TAB word …     the undo command
 * done   TAB step
 * undone TAB step
 * </pre>
 */
final class Journal {
  private static final String HEAD = "dyad-nic 1";

  /** A step that is to be undone. */
  record Entry(String step, List<String> undo, boolean done) {}

  private final Path path;

  Journal(Path path) {
    this.path = path;
  }

  Path path() {
    return path;
  }

  boolean exists() {
    return Files.exists(path);
  }

  private List<String> lines() {
    if (!exists()) {
      return List.of();
    }
    try {
      String text = Files.readString(path);
      List<String> lines = new ArrayList<>(Arrays.asList(text.split("\n", -1)));
      lines.removeLast(); // after the last line's end: empty, or a line that a crash has cut
      if (!lines.isEmpty() && !lines.getFirst().equals(HEAD)) {
        throw new IllegalArgumentException("state file " + path + " is not one of 'dyad nic' (it begins '" + lines.getFirst() + "')");
      }
      return lines;
    } catch (IOException e) {
      throw new UncheckedIOException("state file " + path + " cannot be read", e);
    }
  }

  /** In the order in which they were begun. */
  List<Entry> entries() {
    Map<String, Entry> open = new LinkedHashMap<>();
    for (String line : lines()) {
      String[] words = line.split("\t", -1);
      if (words.length < 2) {
        continue;
      }
      switch (words[0]) {
        case "begin" ->
            open.put(words[1], new Entry(words[1], List.of(Arrays.copyOfRange(words, 2, words.length)), false));
        case "done" -> open.computeIfPresent(words[1], (step, entry) -> new Entry(step, entry.undo, true));
        case "undone" -> open.remove(words[1]);
        default -> {
          // the holder's line
        }
      }
    }
    return List.copyOf(open.values());
  }

  /** The newest holder that was started; pid 0 when none was. */
  Holder holder() {
    Holder found = new Holder(0, -1);
    for (String line : lines()) {
      String[] words = line.split("\t", -1);
      if (words[0].equals("holder") && words.length == 3) {
        found = new Holder(Long.parseLong(words[1]), Long.parseLong(words[2]));
      }
    }
    return found;
  }

  void holder(Holder holder) {
    append("holder\t" + holder.pid() + "\t" + holder.startTicks());
  }

  void begin(String step, List<String> undo) {
    append("begin\t" + step + (undo.isEmpty() ? "" : "\t" + String.join("\t", undo)));
  }

  void done(String step) {
    append("done\t" + step);
  }

  void undone(String step) {
    append("undone\t" + step);
  }

  private void append(String line) {
    try {
      Path folder = path.toAbsolutePath().getParent();
      if (folder != null) {
        Files.createDirectories(folder);
      }
      try (FileChannel file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
        // What a crash has cut is no line: go on after the last whole one.
        byte[] old = Files.readAllBytes(path);
        int end = old.length;
        while (end > 0 && old[end - 1] != '\n') {
          end--;
        }
        String text = (end == 0 ? HEAD + "\n" : "") + line + "\n";
        file.truncate(end);
        file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)), end);
        file.force(true);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("state file " + path + " cannot be written", e);
    }
  }

  void delete() {
    try {
      Files.deleteIfExists(path);
    } catch (IOException e) {
      throw new UncheckedIOException("state file " + path + " cannot be removed", e);
    }
  }
}
