package dev.dyad.engine.epoch;

/** Why a link between primary and standby ended. A link that ended never comes up again; a new one has a new number. */
public enum LinkEnd {
  /** The peer closed it, or the connection was reset. */
  CLOSED("the peer closed the connection"),
  /** The link's own machinery failed on this host. */
  LOCAL_FAULT("the link failed on this host"),
  /** Nothing was heard for the detector's bound. */
  SILENT("the peer was silent for longer than the failure detector's bound"),
  /** The peer lives but commits too slowly: acknowledgements or echoed send times come back later than the bounds allow. */
  SLOW("the standby commits too slowly for the bounds in force"),
  /** A record did not parse, its CRC was wrong, or an epoch's records do not add up to what its seal says. */
  CORRUPT("a record from the peer is damaged"),
  /** The sealed epoch is not the successor of the one before. */
  EPOCH_GAP("an epoch from the peer is not the next one"),
  /** A record of another generation than the link's. */
  WRONG_GENERATION("a record from the peer is of another generation"),
  /** The peer's generation is older than one that is known here: it lost an arbitration and does not know it yet. */
  STALE_GENERATION("the peer's generation is older than one already won"),
  /** An acknowledgement of an epoch that was never sent. */
  ACK_OF_UNSENT("the standby acknowledged an epoch that was not sent"),
  /** An echoed send time that this host's clock has not reached. */
  ECHO_FROM_FUTURE("the standby echoed a send time that lies ahead"),
  /** A record that has no place in the present state. */
  UNEXPECTED("the peer sent a record that has no place now"),
  /** Another link is in use already. */
  BUSY("another peer is connected already"),
  /** The host is deciding, leaving or clearing its replica: come back later. */
  NOT_NOW("not ready for a peer yet, come back later"),
  /** A newer generation showed up: what this link brought is obsolete. */
  SUPERSEDED("a newer generation is running"),
  /** Ended in order, after a goodbye. */
  GOODBYE("one side said goodbye"),
  /** The standby has won the next generation. */
  PROMOTED("the standby has taken over");

  private final String text;

  LinkEnd(String text) {
    this.text = text;
  }

  /** Half a sentence for logs and status. */
  public String text() {
    return text;
  }
}
