@NullMarked
package dev.dyad.perf.qemu;

import org.jspecify.annotations.NullMarked;
