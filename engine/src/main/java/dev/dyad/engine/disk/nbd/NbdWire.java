package dev.dyad.engine.disk.nbd;

/** Where a connection's bytes come from and go to; a socket, or a test's script. Nothing here waits. */
interface NbdWire extends AutoCloseable {

  /** Bytes received, 0 at the end, −EAGAIN when there are none now, or another −errno. */
  long receive(long hostVirt, long bytes);

  /** Bytes sent, −EAGAIN, or another −errno. */
  long send(long hostVirt, long bytes);

  @Override
  void close();

  /** For poll(2), −1 for none. */
  default int fd() {
    return -1;
  }
}
