@NullMarked
package dev.dyad.perf.pair;

import org.jspecify.annotations.NullMarked;
