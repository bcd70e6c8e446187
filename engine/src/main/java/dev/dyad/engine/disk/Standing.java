package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Errno;

/**
 * Where a primary's disk stands: how far it is with its standby, whether its own image is good, and why it is not better. Owned by its
 * {@link MirroredDisk}, which alone changes the peer; its parts read it. Thread: disk.
 */
final class Standing {
  enum Peer {
    NONE,
    /** A channel is there; the standby says who it is. */
    GREETING,
    /** It has told what it marked; our answer is under way. */
    LEVELLING,
    /** The seal that makes it level is under way. */
    CLOSING_UP,
    LEVEL
  }

  private final DiskMetadata metadata;
  private Peer peer = Peer.NONE;
  private String reason = "no standby";
  private int imageError;
  private boolean failureToTell;

  Standing(DiskMetadata metadata) {
    this.metadata = metadata;
  }

  Peer peer() {
    return peer;
  }

  void become(Peer next) {
    peer = next;
  }

  boolean isLevel() {
    return peer == Peer.LEVEL;
  }

  /** Whether what the guest writes goes to the standby. */
  boolean isMirroring() {
    return peer.compareTo(Peer.LEVELLING) >= 0;
  }

  String reason() {
    return reason;
  }

  void because(String why) {
    reason = why;
  }

  boolean isImageFailed() {
    return imageError != 0;
  }

  /** The errno, negative; 0 for a good image. */
  int imageError() {
    return imageError;
  }

  /** The image or its metadata gave an error: nothing is asked of it any more. */
  void failImage(int error) {
    if (imageError != 0) {
      return;
    }
    imageError = error;
    reason = "the local image failed with " + Errno.name(-error) + (isLevel() ? ": the standby's disk serves the guest" : "");
    // After a restart this image must not pass for a good one.
    metadata.update(metadata.generations(), Superblock.FAILED, 0, metadata.logId());
    failureToTell = isLevel();
  }

  /** Whether the standby must still be told that it remembers the failure in our place: our metadata may be on the device that failed. */
  boolean isFailureToTell() {
    return failureToTell;
  }

  void failureTold() {
    failureToTell = false;
  }
}
