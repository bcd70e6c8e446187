package dev.dyad.engine.link;

import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.engine.link.rdma.RdmaSetup;
import java.io.IOException;

/**
 * Makes the links of a node's sessions as configured, and says in one line what the last one is: {@code rdma, rxe0 port 1 …}, {@code tcp: why not
 * RDMA}, {@code shared memory}.
 *
 * <p>Any thread, one session at a time; cold code, within the session's time.
 */
public final class LinkMaker {
  private static final String NONE = "none";

  private final LinkConfig config;
  private volatile String text = NONE;

  public LinkMaker(LinkConfig config) {
    this.config = config;
    if (config.wish() != LinkConfig.Wish.TCP) {
      // Once before it counts: the first look for devices loads and links the libraries.
      RdmaDevice.list();
    }
  }

  /**
   * The sending end.
   *
   * @throws IOException when none comes about; the session is closed then
   */
  public ReplicationLink sendingEnd(Session session) throws IOException {
    return make(session, Session::sendingEnd, RdmaSetup::sendingEnd);
  }

  /** The receiving end, as {@link #sendingEnd}. */
  public ReplicaLink receivingEnd(Session session) throws IOException {
    return make(session, Session::receivingEnd, RdmaSetup::receivingEnd);
  }

  private interface End<F, L> {
    L of(F from) throws IOException;
  }

  private <L> L make(Session session, End<Session, L> onOneHost, End<RdmaSetup, L> between) throws IOException {
    if (!session.isInternet()) {
      L link = onOneHost.of(session);
      text = "shared memory";
      return link;
    }
    RdmaSetup over = session.overRdma(config);
    try {
      L link = between.of(over);
      text = over.text();
      return link;
    } catch (IOException | RuntimeException e) {
      text = "none: " + e.getMessage();
      throw e;
    }
  }

  /**
   * What the link is, or why there is none.
   *
   * @param isInUse whether the last link that was made is
   */
  public String text(boolean isInUse) {
    String last = text;
    return isInUse || last.startsWith(NONE) ? last : NONE;
  }
}
