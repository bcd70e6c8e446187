@NullMarked
package dev.dyad.hwtests;

import org.jspecify.annotations.NullMarked;
