package dev.dyad.engine.disk;

/** Where a guest's requests come in: an NBD server, a virtio device. Belongs to the disk thread, like the device behind it. */
public interface GuestDoor extends AutoCloseable {

  /** One turn: takes requests, submits them, answers. Returns the amount of work done. */
  int poll();

  /** Whom the device must tell. */
  BlockDevice.Completions completions();

  /** Who is connected. */
  int connections();

  @Override
  void close();
}
