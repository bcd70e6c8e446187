/** Profiling sessions of a running node: JFR, and flame graphs of what it recorded. */
@NullMarked
package dev.dyad.perf.profile;

import org.jspecify.annotations.NullMarked;
