package dev.dyad.engine.disk;

/** Where a guest's requests come in: an NBD server, a virtio device. Belongs to the disk thread, like the device behind it. */
public interface GuestDoor extends AutoCloseable {

  /** One turn: takes requests, submits them, answers. Returns the amount of work done. */
  int poll();

  /** Names what wakes when a guest asks for something. */
  void rest(DiskRest rest);

  /** Who is called, by any thread, when a guest asks for something of which no descriptor tells. */
  default void onRequest(Runnable bell) {}

  /** Whom the device must tell. */
  BlockDevice.Completions completions();

  /** Who is connected. */
  int connections();

  @Override
  void close();
}
