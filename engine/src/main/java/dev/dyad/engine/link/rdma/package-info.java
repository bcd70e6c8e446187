/**
 * The link over RDMA: the NIC writes the ring's bytes into the peer's ring, no thread of the peer's copies anything.
 *
 * <p><b>Why a torn or reordered delivery cannot look like a whole epoch.</b> A reliable connection executes requests in the order in
 * which they were posted, each exactly once, and a write with immediate completes at the responder only after its own and all
 * earlier writes' bytes are in memory (InfiniBand Architecture Specification 1.4, volume 1, section 9.5 on ordering, o9-20 on when
 * written data may be relied on; 9.7.5 on duplicates, which are acknowledged and not executed again). The receiver moves its
 * position only on such completions, never by looking at memory, and with several queue pairs to the smallest of what each has
 * told. Beyond that, and for providers with defects, every frame in the ring has its length, sequence and CRC32C, and an epoch is
 * whole only with its seal.
 */
@NullMarked
package dev.dyad.engine.link.rdma;

import org.jspecify.annotations.NullMarked;
