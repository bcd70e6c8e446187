package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.cmsghdr;
import dev.dyad.bindings.abi.linux.iovec;
import dev.dyad.bindings.abi.linux.msghdr;
import dev.dyad.bindings.abi.linux.ucred;

/**
 * Stream and datagram sockets, unix and internet. socket(2), socket(7), unix(7), tcp(7).
 *
 * <p>Set-up throws; what runs in steady state returns the kernel's result or {@code -errno}, never raises SIGPIPE and
 * allocates nothing. All descriptors are close-on-exec.
 */
public final class Sockets {

  /** Who was at the other end of a unix socket when it connected. unix(7) SO_PEERCRED. */
  public record PeerCredentials(int pid, int uid, int gid) {}

  // CMSG_LEN and CMSG_SPACE of one descriptor: cmsg(3) are macros.
  private static final int CMSG_HEADER_BYTES = (int) cmsghdr.sizeof();
  private static final int CMSG_ONE_FD_LENGTH = CMSG_HEADER_BYTES + Integer.BYTES;
  private static final int CMSG_ONE_FD_SPACE = CMSG_HEADER_BYTES + Long.BYTES;

  private static final int ADDRESS_MAX_BYTES = 128;

  private Sockets() {}

  /** socket(2). */
  public static FileDescriptor open(int family, int type) {
    long result = Syscall.call(SYS_socket(), family, type | SOCK_CLOEXEC(), 0);
    return FileDescriptor.ofResult(result, "socket", "family=" + family + " type=" + type);
  }

  /** socketpair(2) of unix sockets: two that are connected with each other. */
  public static FileDescriptor[] pair(int type) {
    long into = ThreadScratch.address();
    NativeException.check(
        Syscall.call(SYS_socketpair(), AF_UNIX(), type | SOCK_CLOEXEC(), 0, into), "socketpair", "type=" + type);
    int first = Memory.getInt(into);
    int second = Memory.getInt(into + 4);
    return new FileDescriptor[] {FileDescriptor.adopt(first), FileDescriptor.adopt(second)};
  }

  /** A listening stream socket. An internet one may take a port over from connections that are still closing. */
  public static FileDescriptor listen(SocketAddress at, int backlog) {
    FileDescriptor socket = bind(at, SOCK_STREAM());
    long result = Syscall.call(SYS_listen(), socket.fd(), backlog);
    return orClose(socket, result, "listen", at);
  }

  /** A socket with a name of its own. */
  public static FileDescriptor bind(SocketAddress at, int type) {
    FileDescriptor socket = open(at.family(), type);
    if (at.isInet()) {
      setOption(socket.fd(), SOL_SOCKET(), SO_REUSEADDR(), 1);
    }
    long name = ThreadScratch.address();
    at.encode(name);
    return orClose(socket, Syscall.call(SYS_bind(), socket.fd(), name, at.length()), "bind", at);
  }

  /** A blocking connect. ECONNREFUSED and the like are for the caller to tell: {@link NativeException#errno()}. */
  public static FileDescriptor connect(SocketAddress to, int type) {
    FileDescriptor socket = open(to.family(), type);
    return orClose(socket, connect(socket.fd(), to), "connect", to);
  }

  private static FileDescriptor orClose(FileDescriptor socket, long result, String call, SocketAddress address) {
    if (result < 0) {
      socket.close();
      throw new NativeException(call, (int) -result, address.toString());
    }
    return socket;
  }

  /** connect(2); {@code -EINPROGRESS} of a non-blocking socket: wait for POLLOUT, then ask {@link #pendingError}. */
  public static int connect(int fd, SocketAddress to) {
    long name = ThreadScratch.address();
    to.encode(name);
    return (int) Syscall.call(SYS_connect(), fd, name, to.length());
  }

  /** accept4(2): a descriptor that the caller owns, or {@code -errno}. {@code flags} may be SOCK_NONBLOCK. */
  public static int accept(int fd, int flags) {
    return (int) Syscall.call(SYS_accept4(), fd, 0, 0, flags | SOCK_CLOEXEC());
  }

  /** shutdown(2). */
  public static int shutdown(int fd, int how) {
    return (int) Syscall.call(SYS_shutdown(), fd, how);
  }

  /** send(2); {@code flags} may be MSG_DONTWAIT, MSG_MORE. */
  public static long send(int fd, long hostVirt, long bytes, int flags) {
    return Syscall.call(SYS_sendto(), fd, hostVirt, bytes, flags | MSG_NOSIGNAL(), 0, 0);
  }

  /** recv(2); 0 is the end of a stream. */
  public static long receive(int fd, long hostVirt, long bytes, int flags) {
    return Syscall.call(SYS_recvfrom(), fd, hostVirt, bytes, flags, 0, 0);
  }

  /** sendto(2): one datagram to the encoded address of {@code toBytes} bytes at {@code to}. */
  public static long sendTo(int fd, long hostVirt, long bytes, int flags, long to, int toBytes) {
    return Syscall.call(SYS_sendto(), fd, hostVirt, bytes, flags | MSG_NOSIGNAL(), to, toBytes);
  }

  /** recvfrom(2): one datagram; its sender's encoded address goes to {@code from}, cut to {@code fromBytes}. */
  public static long receiveFrom(int fd, long hostVirt, long bytes, int flags, long from, int fromBytes) {
    long length = ThreadScratch.address();
    Memory.putInt(length, fromBytes);
    return Syscall.call(SYS_recvfrom(), fd, hostVirt, bytes, flags, from, length);
  }

  /** sendmsg(2) of what is left in {@code vector}. */
  public static long send(int fd, IoVector vector, int flags) {
    return Syscall.call(SYS_sendmsg(), fd, message(vector.hostVirt(), vector.count(), 0, 0), flags | MSG_NOSIGNAL());
  }

  /** recvmsg(2) into what is left in {@code vector}. */
  public static long receive(int fd, IoVector vector, int flags) {
    return Syscall.call(SYS_recvmsg(), fd, message(vector.hostVirt(), vector.count(), 0, 0), flags);
  }

  /** Sends a descriptor with one zero byte of data over a unix socket; returns 1 or {@code -errno}. */
  public static int sendDescriptor(int fd, int passed) {
    return sendDescriptor(fd, passed, (byte) 0);
  }

  /** Sends a descriptor with the byte {@code data}, for receivers that read it as part of their stream. */
  public static int sendDescriptor(int fd, int passed, byte data) {
    long at = ThreadScratch.address() + ThreadScratch.BYTES / 2;
    long control = oneByteMessageControl(at);
    Memory.putByte(Memory.getLong(at + iovec.iov_base$offset()), data);
    Memory.putLong(control + cmsghdr.cmsg_len$offset(), CMSG_ONE_FD_LENGTH);
    Memory.putInt(control + cmsghdr.cmsg_level$offset(), SOL_SOCKET());
    Memory.putInt(control + cmsghdr.cmsg_type$offset(), SCM_RIGHTS());
    Memory.putInt(control + CMSG_HEADER_BYTES, passed);
    return (int) Syscall.call(SYS_sendmsg(), fd, message(at, 1, control, CMSG_ONE_FD_SPACE), MSG_NOSIGNAL());
  }

  /**
   * Receives a descriptor with its one byte: the descriptor, which the caller owns, or {@code -errno}; {@code -EBADMSG} when
   * the stream ended or the byte came without one.
   */
  public static int receiveDescriptor(int fd) {
    long at = ThreadScratch.address() + ThreadScratch.BYTES / 2;
    long control = oneByteMessageControl(at);
    long message = message(at, 1, control, CMSG_ONE_FD_SPACE);
    long result = Syscall.call(SYS_recvmsg(), fd, message, MSG_CMSG_CLOEXEC());
    if (result < 0) {
      return (int) result;
    }
    boolean carries = Memory.getLong(message + msghdr.msg_controllen$offset()) >= CMSG_ONE_FD_LENGTH
        && Memory.getInt(control + cmsghdr.cmsg_level$offset()) == SOL_SOCKET()
        && Memory.getInt(control + cmsghdr.cmsg_type$offset()) == SCM_RIGHTS();
    return carries ? Memory.getInt(control + CMSG_HEADER_BYTES) : -EBADMSG();
  }

  // An iovec of one zero byte at `at`, that byte, and after them room for the control message, whose address is returned.
  private static long oneByteMessageControl(long at) {
    long data = at + iovec.sizeof();
    long control = data + Long.BYTES;
    Memory.putLong(at + iovec.iov_base$offset(), data);
    Memory.putLong(at + iovec.iov_len$offset(), 1);
    Memory.zero(data, Long.BYTES + CMSG_ONE_FD_SPACE);
    return control;
  }

  private static long message(long vector, int count, long control, int controlBytes) {
    long at = ThreadScratch.address();
    Memory.putLong(at + msghdr.msg_name$offset(), 0);
    Memory.putLong(at + msghdr.msg_namelen$offset(), 0);
    Memory.putLong(at + msghdr.msg_iov$offset(), vector);
    Memory.putLong(at + msghdr.msg_iovlen$offset(), count);
    Memory.putLong(at + msghdr.msg_control$offset(), control);
    Memory.putLong(at + msghdr.msg_controllen$offset(), controlBytes);
    Memory.putLong(at + msghdr.msg_flags$offset(), 0);
    return at;
  }

  /** setsockopt(2) of an int; returns 0 or {@code -errno}. */
  public static int setOption(int fd, int level, int option, int value) {
    long at = ThreadScratch.address();
    Memory.putInt(at, value);
    return (int) Syscall.call(SYS_setsockopt(), fd, level, option, at, Integer.BYTES);
  }

  /** getsockopt(2) of an int that is never negative; or {@code -errno}. */
  public static int option(int fd, int level, int option) {
    long at = ThreadScratch.address();
    Memory.putInt(at + 4, Integer.BYTES);
    long result = Syscall.call(SYS_getsockopt(), fd, level, option, at, at + 4);
    return result < 0 ? (int) result : Memory.getInt(at);
  }

  /** tcp(7) TCP_NODELAY. */
  public static int setNoDelay(int fd) {
    return setOption(fd, IPPROTO_TCP(), TCP_NODELAY(), 1);
  }

  /** SO_ERROR, which asking clears: errno of a failed connect, 0 for none, or {@code -errno} of the asking. */
  public static int pendingError(int fd) {
    return option(fd, SOL_SOCKET(), SO_ERROR());
  }

  /** Bytes sent that the peer has not acknowledged yet (TCP) or not read (unix). SIOCOUTQ. */
  public static int unsentBytes(int fd) {
    long at = ThreadScratch.address();
    long result = Ioctl.call(fd, SIOCOUTQ(), at);
    return result < 0 ? (int) result : Memory.getInt(at);
  }

  /** SO_PEERCRED of a connected unix socket. */
  public static PeerCredentials peerCredentials(int fd) {
    long at = ThreadScratch.address();
    long length = at + ADDRESS_MAX_BYTES;
    Memory.putInt(length, (int) ucred.sizeof());
    NativeException.check(
        Syscall.call(SYS_getsockopt(), fd, SOL_SOCKET(), SO_PEERCRED(), at, length),
        "getsockopt SO_PEERCRED", "fd=" + fd);
    return new PeerCredentials(
        Memory.getInt(at + ucred.pid$offset()),
        Memory.getInt(at + ucred.uid$offset()),
        Memory.getInt(at + ucred.gid$offset()));
  }

  /** getsockname(2): with the port that the kernel chose for 0. */
  public static SocketAddress localAddress(int fd) {
    return address(SYS_getsockname(), "getsockname", fd);
  }

  /** getpeername(2). */
  public static SocketAddress peerAddress(int fd) {
    return address(SYS_getpeername(), "getpeername", fd);
  }

  private static SocketAddress address(int call, String name, int fd) {
    long at = ThreadScratch.address();
    long length = at + ADDRESS_MAX_BYTES;
    Memory.putInt(length, ADDRESS_MAX_BYTES);
    NativeException.check(Syscall.call(call, fd, at, length), name, "fd=" + fd);
    return SocketAddress.decode(at, Math.min(Memory.getInt(length), ADDRESS_MAX_BYTES));
  }
}
