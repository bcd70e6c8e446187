@NullMarked
package dev.dyad.engine.link.rdma;

import org.jspecify.annotations.NullMarked;
