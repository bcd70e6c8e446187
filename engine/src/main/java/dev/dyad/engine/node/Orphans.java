package dev.dyad.engine.node;

import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.qemu.AttachmentMark;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Guests whose protector has died: they run, and nothing leaves them. */
public final class Orphans {
  private Orphans() {}

  /** A line, or a JSON object, for each orphan on this host. */
  public static List<String> describe(boolean json) {
    return AttachmentMark.orphans().stream().map(orphan -> json ? object(orphan) : "orphan: " + orphan.advice()).toList();
  }

  private static String object(AttachmentMark.Orphan orphan) {
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("qemuPid", orphan.qemuPid());
    facts.put("qmp", orphan.qmp().toString());
    facts.put("protectorPid", orphan.protectorPid());
    facts.put("advice", orphan.advice());
    return Json.write(facts);
  }
}
