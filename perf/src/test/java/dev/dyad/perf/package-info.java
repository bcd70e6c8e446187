@NullMarked
package dev.dyad.perf;

import org.jspecify.annotations.NullMarked;
