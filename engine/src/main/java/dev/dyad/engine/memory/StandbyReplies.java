package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.wire.ControlMessage;
import dev.dyad.engine.wire.ControlType;
import dev.dyad.engine.wire.Reason;

/**
 * What the standby has to say, of each kind the newest: an acknowledgement covers the earlier ones, and so does an echo. So a link without room
 * needs no queue here.
 *
 * <p>Thread: the standby's ship thread.
 */
final class StandbyReplies implements AutoCloseable {
  private final ReplicaLink link;
  private final long generation;
  private final Mapping buffer = Mapping.anonymous(Mapping.PAGE_BYTES);
  private long sequence;

  private boolean readyDue;
  private boolean ackDue;
  private long ackEpoch;
  private long ackNanos;
  private boolean echoDue;
  private long echoNanos;
  private boolean leaveDue;
  private boolean left;
  private ControlType leaveType = ControlType.BYE;
  private Reason leaveReason = Reason.NONE;
  private long found;
  private long needed;
  private long epoch;

  StandbyReplies(ReplicaLink link, long generation) {
    this.link = link;
    this.generation = generation;
  }

  void ready(long epochNow) {
    epoch = epochNow;
    readyDue = true;
    poll();
  }

  void acknowledge(long epochWhole, long sentNanos) {
    ackEpoch = epochWhole;
    ackNanos = sentNanos;
    ackDue = true;
    poll();
  }

  void echo(long epochNow, long sentNanos) {
    epoch = epochNow;
    echoNanos = sentNanos;
    echoDue = true;
    poll();
  }

  void leave(ControlType type, long epochNow, Reason reason, long numberFound, long numberNeeded) {
    if (left) {
      return;
    }
    left = true;
    leaveType = type;
    leaveReason = reason;
    epoch = epochNow;
    found = numberFound;
    needed = numberNeeded;
    leaveDue = true;
    poll();
  }

  /** Sends what is due as far as the link takes it. @return messages sent */
  int poll() {
    int sent = 0;
    if (readyDue && send(ControlType.READY, epoch, 0, Reason.NONE)) {
      readyDue = false;
      sent++;
    }
    if (ackDue && send(ControlType.ACK, ackEpoch, ackNanos, Reason.NONE)) {
      ackDue = false;
      sent++;
    }
    if (echoDue && send(ControlType.ECHO, epoch, echoNanos, Reason.NONE)) {
      echoDue = false;
      sent++;
    }
    if (leaveDue && !ackDue && send(leaveType, epoch, 0, leaveReason)) {
      leaveDue = false;
      sent++;
    }
    return sent;
  }

  private boolean send(ControlType type, long epochOf, long nanos, Reason reason) {
    ControlMessage.write(buffer.hostVirt(), type, sequence, generation, epochOf, nanos, reason, found, needed);
    if (!link.isUp() || !link.sendControl(buffer.hostVirt())) {
      return false;
    }
    sequence++;
    return true;
  }

  @Override
  public void close() {
    buffer.close();
  }
}
