package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.POLLOUT;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Poll;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The role of the <em>net</em> thread: receives what the guest sends, over all NICs, and tags it; sends what the releasing thread
 * could not; relays input where the guest's NIC is a socket of ours.
 *
 * <p>Allocates nothing once it runs. Owns no port.
 */
public final class NetThread implements Runnable {
  /** What it serves: one NIC. */
  public record Nic(HeldOutput output, @Nullable InputRelay input) {}

  /** Frames that arrive while others are handled are taken along, up to this many calls, before anything else is looked at. */
  private static final int RECEIVES_MAX = 64;

  /** How long to wait when the gate has said no: an answer of the peer may extend the lease without any release. */
  private static final int REFUSED_WAIT_MILLIS = 1;

  private static final int ENTRIES_PER_NIC = 4;

  private final Nic[] nics;
  private final @Nullable Announcer[] announcements;
  private final boolean[] guestOpen;
  private final EventFd bell;
  private final Runnable doorbell;
  private final boolean busyPoll;
  private final Poll poll;

  private volatile boolean stopped;
  private volatile boolean announces;
  private long rungFor = Long.MIN_VALUE;

  /**
   * @param nics the guest's
   * @param bell the one given to each {@link HeldOutput}; rung to stop the thread, too
   * @param doorbell rung when the first output of an epoch has arrived; must not block nor allocate
   * @param busyPoll never sleep: for a core of its own
   */
  public NetThread(List<Nic> nics, EventFd bell, Runnable doorbell, boolean busyPoll) {
    this.nics = nics.toArray(Nic[]::new);
    this.announcements = new Announcer[this.nics.length];
    this.guestOpen = new boolean[this.nics.length];
    Arrays.fill(guestOpen, true);
    this.bell = bell;
    this.doorbell = doorbell;
    this.busyPoll = busyPoll;
    this.poll = new Poll(1 + ENTRIES_PER_NIC * this.nics.length);
  }

  @Override
  public void run() {
    poll.set(0, bell.fd(), POLLIN());
    while (!stopped) {
      boolean refused = false;
      boolean more = false;
      for (int i = 0; i < nics.length; i++) {
        more |= serve(i);
        refused |= nics[i].output.isRefused();
      }
      int wait = busyPoll || more ? 0 : refused ? REFUSED_WAIT_MILLIS : -1;
      if (wait != 0 || !more) {
        poll.await(wait);
        if (poll.ready(0) != 0) {
          bell.drain();
        }
      }
    }
  }

  /** One turn for a NIC; true when there is more to do at once. */
  private boolean serve(int index) {
    Nic nic = nics[index];
    HeldOutput output = nic.output;
    HeldOutput.Received last = guestOpen[index] ? output.receive() : HeldOutput.Received.CLOSED;
    int calls = 1;
    boolean any = last == HeldOutput.Received.FRAMES;
    while (last == HeldOutput.Received.FRAMES && calls < RECEIVES_MAX) {
      if (calls == 1) {
        ringFor(output);
      }
      last = output.receive();
      calls++;
    }
    if (any) {
      ringFor(output);
    }
    guestOpen[index] = last != HeldOutput.Received.CLOSED;
    if (announces) {
      announce(index);
    }
    if (output.isBlocked() || output.isRefused() || output.isDrainDue()) {
      output.drain();
    }
    InputRelay input = nic.input;
    if (input != null) {
      input.pump();
    }
    int entry = 1 + ENTRIES_PER_NIC * index;
    boolean reads = guestOpen[index] && last != HeldOutput.Received.FULL;
    poll.set(entry, reads ? output.guest().receiveFd() : -1, POLLIN());
    poll.set(entry + 1, output.isBlocked() ? output.outside().sendFd() : -1, POLLOUT());
    poll.set(entry + 2, input != null && input.wantsInput() ? input.inputFd() : -1, POLLIN());
    poll.set(entry + 3, input != null && input.wantsRoom() ? input.roomFd() : -1, POLLOUT());
    return last == HeldOutput.Received.FRAMES;
  }

  /** Once for each epoch that has output, so that a busy guest does not ring for every frame. */
  private void ringFor(HeldOutput output) {
    if (output.newestTag() > rungFor && output.outputWaits()) {
      rungFor = output.newestTag();
      doorbell.run();
    }
  }

  private void announce(int index) {
    announces = false; // before looking: one that comes meanwhile sets it again
    boolean left = false;
    for (int i = 0; i < nics.length; i++) {
      Announcer announcer = announcements[i];
      if (announcer != null && i == index && nics[i].output.insert(announcer.wire(), announcer.wireBytes())) {
        announcements[i] = null;
        announcer = null;
      }
      left |= announcer != null;
    }
    if (left) {
      announces = true;
    }
  }

  /** Sends an announcement through NIC {@code index} as soon as no frame is under way. Control thread; one at a time. */
  public void announce(int index, Announcer announcer) {
    announcements[index] = announcer;
    announces = true; // publishes the line above
    bell.signal();
  }

  /** Whether the guest's end of a NIC was closed. */
  public boolean isGuestOpen(int index) {
    return guestOpen[index];
  }

  /** Ends {@link #run}; the caller joins the thread and calls {@link #close}. */
  public void stop() {
    stopped = true;
    bell.signal();
  }

  /** After the thread has ended. */
  public void close() {
    poll.close();
  }
}
