/**
 * A block device for QEMU and every other NBD client, on a unix socket: fixed newstyle handshake, structured replies, FUA, flush, trim,
 * write-zeroes, block status, several connections. No TLS: the socket's permissions are the access control. Source: the NBD project's
 * {@code doc/proto.md}.
 */
@NullMarked
package dev.dyad.engine.disk.nbd;

import org.jspecify.annotations.NullMarked;
