@NullMarked
package dev.dyad.perf.plot;

import org.jspecify.annotations.NullMarked;
