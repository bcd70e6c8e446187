/** The link over RDMA beside perftest's programs, on the same pair of hosts, in turn. */
@NullMarked
package dev.dyad.perf.link;

import org.jspecify.annotations.NullMarked;
