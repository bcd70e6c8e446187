package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import java.util.Map;

/** Names of errno values, for messages. errno(3). */
public final class Errno {

  // errno(3): a few names share a number (EAGAIN is EWOULDBLOCK, EOPNOTSUPP is ENOTSUP); the usual one stands here.
  private static final Map<Integer, String> NAMES =
      Map.ofEntries(
          Map.entry(EPERM(), "EPERM"),
          Map.entry(ENOENT(), "ENOENT"),
          Map.entry(ESRCH(), "ESRCH"),
          Map.entry(EINTR(), "EINTR"),
          Map.entry(EIO(), "EIO"),
          Map.entry(ENXIO(), "ENXIO"),
          Map.entry(E2BIG(), "E2BIG"),
          Map.entry(ENOEXEC(), "ENOEXEC"),
          Map.entry(EBADF(), "EBADF"),
          Map.entry(ECHILD(), "ECHILD"),
          Map.entry(EAGAIN(), "EAGAIN"),
          Map.entry(ENOMEM(), "ENOMEM"),
          Map.entry(EACCES(), "EACCES"),
          Map.entry(EFAULT(), "EFAULT"),
          Map.entry(ENOTBLK(), "ENOTBLK"),
          Map.entry(EBUSY(), "EBUSY"),
          Map.entry(EEXIST(), "EEXIST"),
          Map.entry(EXDEV(), "EXDEV"),
          Map.entry(ENODEV(), "ENODEV"),
          Map.entry(ENOTDIR(), "ENOTDIR"),
          Map.entry(EISDIR(), "EISDIR"),
          Map.entry(EINVAL(), "EINVAL"),
          Map.entry(ENFILE(), "ENFILE"),
          Map.entry(EMFILE(), "EMFILE"),
          Map.entry(ENOTTY(), "ENOTTY"),
          Map.entry(ETXTBSY(), "ETXTBSY"),
          Map.entry(EFBIG(), "EFBIG"),
          Map.entry(ENOSPC(), "ENOSPC"),
          Map.entry(ESPIPE(), "ESPIPE"),
          Map.entry(EROFS(), "EROFS"),
          Map.entry(EMLINK(), "EMLINK"),
          Map.entry(EPIPE(), "EPIPE"),
          Map.entry(EDOM(), "EDOM"),
          Map.entry(ERANGE(), "ERANGE"),
          Map.entry(EDEADLK(), "EDEADLK"),
          Map.entry(ENAMETOOLONG(), "ENAMETOOLONG"),
          Map.entry(ENOLCK(), "ENOLCK"),
          Map.entry(ENOSYS(), "ENOSYS"),
          Map.entry(ENOTEMPTY(), "ENOTEMPTY"),
          Map.entry(ELOOP(), "ELOOP"),
          Map.entry(EBADFD(), "EBADFD"),
          Map.entry(EPROTO(), "EPROTO"),
          Map.entry(EBADMSG(), "EBADMSG"),
          Map.entry(EOVERFLOW(), "EOVERFLOW"),
          Map.entry(EILSEQ(), "EILSEQ"),
          Map.entry(ENOTSOCK(), "ENOTSOCK"),
          Map.entry(EDESTADDRREQ(), "EDESTADDRREQ"),
          Map.entry(EMSGSIZE(), "EMSGSIZE"),
          Map.entry(EPROTOTYPE(), "EPROTOTYPE"),
          Map.entry(ENOPROTOOPT(), "ENOPROTOOPT"),
          Map.entry(EPROTONOSUPPORT(), "EPROTONOSUPPORT"),
          Map.entry(EOPNOTSUPP(), "EOPNOTSUPP"),
          Map.entry(EAFNOSUPPORT(), "EAFNOSUPPORT"),
          Map.entry(EADDRINUSE(), "EADDRINUSE"),
          Map.entry(EADDRNOTAVAIL(), "EADDRNOTAVAIL"),
          Map.entry(ENETDOWN(), "ENETDOWN"),
          Map.entry(ENETUNREACH(), "ENETUNREACH"),
          Map.entry(ENETRESET(), "ENETRESET"),
          Map.entry(ECONNABORTED(), "ECONNABORTED"),
          Map.entry(ECONNRESET(), "ECONNRESET"),
          Map.entry(ENOBUFS(), "ENOBUFS"),
          Map.entry(EISCONN(), "EISCONN"),
          Map.entry(ENOTCONN(), "ENOTCONN"),
          Map.entry(ESHUTDOWN(), "ESHUTDOWN"),
          Map.entry(ETIMEDOUT(), "ETIMEDOUT"),
          Map.entry(ECONNREFUSED(), "ECONNREFUSED"),
          Map.entry(EHOSTDOWN(), "EHOSTDOWN"),
          Map.entry(EHOSTUNREACH(), "EHOSTUNREACH"),
          Map.entry(EALREADY(), "EALREADY"),
          Map.entry(EINPROGRESS(), "EINPROGRESS"),
          Map.entry(ESTALE(), "ESTALE"),
          Map.entry(EDQUOT(), "EDQUOT"),
          Map.entry(ECANCELED(), "ECANCELED"),
          Map.entry(EOWNERDEAD(), "EOWNERDEAD"),
          Map.entry(ENOTRECOVERABLE(), "ENOTRECOVERABLE"),
          Map.entry(ETIME(), "ETIME"));

  private Errno() {}

  /** The constant's name, or {@code errno N} for one that is not listed. */
  public static String name(int errno) {
    return NAMES.getOrDefault(errno, "errno " + errno);
  }
}
