/** Two virtual hosts with RDMA devices inside one machine: where no lab server is at hand, tests of two hosts run here. */
@NullMarked
package dev.dyad.hwtests.lab;

import org.jspecify.annotations.NullMarked;
