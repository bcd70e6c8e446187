package dev.dyad.engine.disk.nbd;

import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_NOSIGNAL;
import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_CLOEXEC;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_NONBLOCK;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.GuestDoor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Serves a {@link BlockDevice} on a unix socket. Thread: disk, which calls {@link #poll}; the device's completions must come to {@link
 * #completions}. Owns the socket and its connections, not the device.
 */
public final class NbdServer implements GuestDoor {
  private static final int CONNECTIONS_MAX = 16;
  private static final int REQUESTS = 128;

  private final BlockDevice device;
  private final String export;
  private final Path path;
  private final FileDescriptor listener;
  private final NbdRequests requests;
  private final List<NbdConnection> connections = new ArrayList<>();
  private int acceptCountdown;

  /**
   * @param path of the socket; one that is left over is replaced
   * @param export name that clients may give; the empty one always works
   */
  public NbdServer(BlockDevice device, Path path, String export) {
    this.device = device;
    this.export = export;
    this.path = path;
    try {
      Files.deleteIfExists(path);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    listener = Sockets.listen(SocketAddress.unix(path.toString()), CONNECTIONS_MAX);
    listener.setNonBlocking(true);
    requests = new NbdRequests(device, REQUESTS);
  }

  @Override
  public BlockDevice.Completions completions() {
    return requests;
  }

  /** Address of the buffers from which and into which the device transfers, to be pinned. */
  public long buffersVirt() {
    return requests.buffersVirt();
  }

  public long buffersBytes() {
    return requests.buffersBytes();
  }

  @Override
  public int connections() {
    return connections.size();
  }

  /** For poll(2): readable when a client comes. */
  public int fd() {
    return listener.fd();
  }

  /** One turn: accepts, receives, submits, replies. */
  @Override
  public int poll() {
    int work = 0;
    if (--acceptCountdown < 0) {
      acceptCountdown = connections.isEmpty() ? 0 : 64; // a system call that almost always says no
      work += accept();
    }
    requests.poll();
    for (int i = connections.size() - 1; i >= 0; i--) {
      NbdConnection connection = connections.get(i);
      work += connection.poll();
      if (connection.isClosed()) {
        connection.close();
        connection.free();
        connections.remove(i);
      }
    }
    return work;
  }

  @Override
  public void rest(DiskRest rest) {
    rest.on(listener.fd(), POLLIN());
    for (int i = 0; i < connections.size(); i++) {
      connections.get(i).rest(rest);
    }
  }

  private int accept() {
    int fd = Sockets.accept(listener.fd(), SOCK_NONBLOCK() | SOCK_CLOEXEC());
    if (fd < 0) {
      return 0;
    }
    FileDescriptor socket = FileDescriptor.adopt(fd);
    if (connections.size() == CONNECTIONS_MAX) {
      socket.close();
      return 1;
    }
    connections.add(new NbdConnection(new SocketWire(socket), requests, device, export, REQUESTS));
    return 1;
  }

  /** Requests that are not answered yet. */
  public int inFlight() {
    return requests.inUse();
  }

  @Override
  public void close() {
    for (NbdConnection connection : connections) {
      connection.close();
      connection.free();
    }
    connections.clear();
    listener.close();
    requests.close();
    try {
      Files.deleteIfExists(path);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private record SocketWire(FileDescriptor socket) implements NbdWire {
    @Override
    public long receive(long hostVirt, long bytes) {
      return Sockets.receive(socket.fd(), hostVirt, bytes, MSG_DONTWAIT());
    }

    @Override
    public long send(long hostVirt, long bytes) {
      return Sockets.send(socket.fd(), hostVirt, bytes, MSG_DONTWAIT() | MSG_NOSIGNAL());
    }

    @Override
    public int fd() {
      return socket.fd();
    }

    @Override
    public void close() {
      socket.close();
    }
  }
}
