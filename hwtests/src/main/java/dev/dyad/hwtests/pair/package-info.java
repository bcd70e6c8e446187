@NullMarked
package dev.dyad.hwtests.pair;

import org.jspecify.annotations.NullMarked;
