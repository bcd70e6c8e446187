package dev.dyad.engine.cli.doctor;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One thing of this host: what it is and, unless it is as it should be, what follows and what to do about it.
 *
 * @param area what it belongs to, one word
 * @param name the thing
 * @param found what is there
 * @param needed what would be right
 * @param consequence what does not work, or works less well, for want of it; empty when nothing is wanting
 * @param command what to run or do; empty when nothing is wanting
 */
public record Finding(String area, String name, Level level, String found, String needed, String consequence, String command) {
  /** How bad it is. */
  public enum Level {
    OK,
    /** Everything works, but something less well, or an option is not there. */
    LIMITED,
    /** A command cannot work here. */
    MISSING
  }

  static Finding ok(String area, String name, String found, String needed) {
    return new Finding(area, name, Level.OK, found, needed, "", "");
  }

  static Finding limited(String area, String name, String found, String needed, String consequence, String command) {
    return new Finding(area, name, Level.LIMITED, found, needed, consequence, command);
  }

  static Finding missing(String area, String name, String found, String needed, String consequence, String command) {
    return new Finding(area, name, Level.MISSING, found, needed, consequence, command);
  }

  /** The object of {@code -o json}. */
  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("area", area);
    map.put("name", name);
    map.put("level", level.name().toLowerCase(java.util.Locale.ROOT));
    map.put("found", found);
    map.put("needed", needed);
    map.put("consequence", consequence);
    map.put("command", command);
    return map;
  }

  /** A line, and three more when something is wanting. */
  String toText() {
    String line = String.format("%-8s %-8s %-28s %s%n", level == Level.OK ? "ok" : level == Level.LIMITED ? "limited" : "MISSING", area, name, found);
    return level == Level.OK
        ? line
        : line + String.format("%18sneeded  %s%n%18sso      %s%n%18srun     %s%n", "", needed, "", consequence, "", command);
  }
}
