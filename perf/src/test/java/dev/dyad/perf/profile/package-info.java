@NullMarked
package dev.dyad.perf.profile;

import org.jspecify.annotations.NullMarked;
