/**
 * io_uring without a C library: the rings are mapped and driven from Java, the only system calls are {@code io_uring_setup},
 * {@code io_uring_enter} and {@code io_uring_register} (see their pages in section 2 of the manual).
 *
 * <p>A ring belongs to one thread. Nothing is allocated for a request or a completion, and a full ring is a return code:
 *
 * {@snippet lang=java :
 * try (Ring ring = Ring.create(RingConfig.of(64)); Arena arena = Arena.ofShared()) {
 *   long buffer = arena.allocate(4096, 4096).address();
 *   if (!ring.submission().read(fd, buffer, 4096, 0L, 7L)) {
 *     ring.submit(); // full: hand over what is there, then try again
 *   }
 *   int rc = ring.submitAndWait(1); // number of requests handed over, or -errno
 *   CompletionRing done = ring.completion();
 *   while (done.next()) {
 *     long request = done.userData(); // 7
 *     int bytes = done.result();      // 4096, fewer for a short read, or -errno
 *   }
 * }
 * }
 *
 * <p>Short reads and writes, {@code -EAGAIN}, {@code -EINTR} and {@code -ECANCELED} are results like any other: the ring repeats
 * nothing by itself. {@link UserData} packs what a request is about into the long that comes back with its completion.
 */
@NullMarked
package dev.dyad.bindings.uring;

import org.jspecify.annotations.NullMarked;
