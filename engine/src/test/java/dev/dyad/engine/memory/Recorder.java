package dev.dyad.engine.memory;

import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Reason;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Writes down what both ends of the memory channel report. */
final class Recorder implements EpochReader.Listener, EpochWriter.Listener {
  final List<String> events = new ArrayList<>();
  @Nullable GuestMemory memory;
  long whole = -1;
  long acknowledged = -1;
  Reason refused = Reason.NONE;

  @Override
  public void machine(int kind, byte[] description) {
    events.add("machine " + kind + " " + description.length);
  }

  @Override
  public void memory(GuestMemory announced, long epoch) {
    memory = announced;
    events.add("memory " + announced.pages());
  }

  @Override
  public void whole(long epoch, boolean baseline, long sentNanos, int stateBytes) {
    whole = epoch;
    events.add((baseline ? "baseline " : "whole ") + epoch + " " + sentNanos + " " + stateBytes);
  }

  @Override
  public void heartbeat(long sentNanos) {
    events.add("heartbeat " + sentNanos);
  }

  @Override
  public void bye(int reasonCode, long found, long needed) {
    events.add("bye " + Reason.of(reasonCode));
  }

  @Override
  public void refused(Reason reason, long found, long needed) {
    refused = reason;
    events.add("refused " + reason + " " + reason.message(found, needed));
  }

  @Override
  public void ready() {
    events.add("ready");
  }

  @Override
  public void acknowledged(long epoch, long sentNanos) {
    acknowledged = epoch;
    events.add("acknowledged " + epoch + " " + sentNanos);
  }

  @Override
  public void echoed(long sentNanos) {
    events.add("echoed " + sentNanos);
  }

  @Override
  public void bye(int reasonCode) {
    events.add("bye " + Reason.of(reasonCode));
  }

  @Override
  public void refused(int reasonCode, long found, long needed) {
    events.add("told " + Reason.of(reasonCode));
  }

  @Override
  public void malformed(Reason reason) {
    events.add("malformed " + reason);
  }
}
