package dev.dyad.engine.link;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.linux.Syscall;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Listens, and does each caller's handshake on a thread of its own and within a time of its own, so that a silent caller holds up nobody. The number of
 * handshakes under way is bounded; who comes beyond it is told to try again.
 *
 * <p>Threads: {@code control-listen} accepts, {@code control-greet} threads talk. Cold code.
 */
public final class PeerListener implements AutoCloseable {
  private static final Logger LOG = System.getLogger(PeerListener.class.getName());
  private static final int PENDING_MAX = 8;
  private static final int BACKLOG = 16;
  private static final int RETRY_MILLIS = 50;
  private static final Duration REFUSAL_TIMEOUT = Duration.ofMillis(100);

  private final FileDescriptor socket;
  private final SocketAddress address;
  private final @Nullable Path socketFile;
  private final Role role;
  private final long ringBytesMax;
  private final @Nullable SharedKey key;
  private final Duration timeout;
  private final Handshake.Admission admission;
  private final Consumer<Session> sessions;

  private final EventFd stop = new EventFd();
  private final Map<PeerSocket, Thread> pending = new ConcurrentHashMap<>();
  private final Thread thread;
  private volatile boolean closed;

  /**
   * @param at where; an internet port of 0 lets the kernel choose: {@link #address}
   * @param role our own
   * @param ringBytesMax bound of a session's ring, a power of two
   * @param key what callers must know; null: none, on loopback and unix sockets of the same user only
   * @param timeout of a handshake
   * @param sessions takes finished sessions, one at a time or several at once, on the handshake's thread; {@link #close} waits for it
   * @throws IllegalArgumentException by {@link ListenPolicy}
   */
  public PeerListener(
      SocketAddress at,
      Role role,
      long ringBytesMax,
      @Nullable SharedKey key,
      Duration timeout,
      Handshake.Admission admission,
      Consumer<Session> sessions) {
    ListenPolicy.check(at, key != null);
    this.role = role;
    this.ringBytesMax = ringBytesMax;
    this.key = key;
    this.timeout = timeout;
    this.admission = admission;
    this.sessions = sessions;
    if (!at.isInet()) {
      deleteStale(at);
    }
    socket = Sockets.listen(at, BACKLOG);
    socket.setNonBlocking(true);
    address = Sockets.localAddress(socket.fd());
    String name = address.toString();
    socketFile = name.startsWith("unix:/") ? Path.of(name.substring("unix:".length())) : null;
    thread = Thread.ofPlatform().name("control-listen").daemon().start(this::accept);
  }

  /** Where it listens, with the port that the kernel chose. */
  public SocketAddress address() {
    return address;
  }

  private void accept() {
    try (Poll poll = new Poll(2)) {
      poll.set(0, socket.fd(), linux_h.POLLIN());
      poll.set(1, stop.fd(), linux_h.POLLIN());
      while (!closed) {
        poll.await(-1);
        int fd = closed ? -1 : Sockets.accept(socket.fd(), 0);
        if (fd >= 0) {
          tryGreet(FileDescriptor.adopt(fd));
        } else if (fd == -linux_h.EMFILE() || fd == -linux_h.ENFILE()) {
          Poll.once(stop.fd(), linux_h.POLLIN(), RETRY_MILLIS); // it stays readable until a descriptor is free
        }
      }
    }
  }

  private void tryGreet(FileDescriptor connected) {
    try {
      greet(connected);
    } catch (NativeException e) {
      connected.close();
      LOG.log(Level.WARNING, "a peer at " + address + " could not be greeted: " + e.getMessage());
    }
  }

  private void greet(FileDescriptor connected) {
    if (pending.size() >= PENDING_MAX) {
      Handshake.refuse(new PeerSocket(connected, REFUSAL_TIMEOUT), Reason.BUSY, PENDING_MAX, PENDING_MAX);
      return;
    }
    PeerSocket peer = new PeerSocket(connected, timeout);
    Thread greeter = Thread.ofPlatform().name("control-greet").daemon().unstarted(() -> handshake(peer));
    pending.put(peer, greeter);
    greeter.start();
  }

  private void handshake(PeerSocket peer) {
    try {
      checkUser(peer);
      sessions.accept(Handshake.answer(peer, role, ringBytesMax, key, admission));
    } catch (RefusedException e) {
      LOG.log(Level.WARNING, "refused a peer at " + address + ": " + e.getMessage());
    } catch (IOException e) {
      LOG.log(Level.WARNING, "a peer at " + address + " did not finish its handshake: " + e.getMessage());
    } finally {
      pending.remove(peer);
    }
  }

  /** Without a key, only processes of the same user, and root, may use a unix socket. */
  private void checkUser(PeerSocket peer) throws RefusedException {
    if (key == null && !peer.isInternet()) {
      int uid = Sockets.peerCredentials(peer.fd()).uid();
      int own = (int) Syscall.call(linux_h.SYS_geteuid());
      if (uid != own && uid != 0) {
        Handshake.refuse(peer, Reason.KEY_NEEDED, 0, 1);
        throw new RefusedException(Reason.KEY_NEEDED, uid, own);
      }
    }
  }

  /** Ends listening and all handshakes under way, and what their sessions still wait for the peer for; links that were made are not touched. */
  @Override
  public void close() {
    closed = true;
    stop.signal();
    boolean interrupted = join(thread);
    for (Map.Entry<PeerSocket, Thread> greeting : pending.entrySet()) {
      greeting.getKey().abort();
      interrupted |= join(greeting.getValue());
    }
    socket.close();
    stop.close();
    deleteSocketFile();
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Waits for a thread that is about to end. @return whether this one was interrupted meanwhile */
  private static boolean join(Thread ending) {
    boolean interrupted = false;
    while (ending.isAlive()) {
      try {
        ending.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    return interrupted;
  }

  private void deleteSocketFile() {
    if (socketFile != null) {
      try {
        Files.deleteIfExists(socketFile);
      } catch (IOException e) {
        LOG.log(Level.WARNING, "socket file " + socketFile + " stays behind: " + e.getMessage());
      }
    }
  }

  /** A process that was killed leaves its socket file behind; one that nobody listens on is taken away. */
  private static void deleteStale(SocketAddress at) {
    try (FileDescriptor probe = Sockets.open(linux_h.AF_UNIX(), linux_h.SOCK_STREAM())) {
      String name = at.toString();
      if (name.startsWith("unix:/") && Sockets.connect(probe.fd(), at) == -linux_h.ECONNREFUSED()) {
        Files.deleteIfExists(Path.of(name.substring("unix:".length())));
      }
    } catch (IOException e) {
      LOG.log(Level.WARNING, "socket file of " + at + " stays behind: " + e.getMessage());
    }
  }
}
