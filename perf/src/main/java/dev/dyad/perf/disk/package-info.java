/** The disk beside fio on the same files: {@code dyad perf disk}. */
@NullMarked
package dev.dyad.perf.disk;

import org.jspecify.annotations.NullMarked;
