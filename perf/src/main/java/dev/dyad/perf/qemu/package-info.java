/** {@code dyad perf qemu}: a protected QEMU beside the same QEMU unprotected, and beside a C program that runs the same epochs. */
@NullMarked
package dev.dyad.perf.qemu;

import org.jspecify.annotations.NullMarked;
