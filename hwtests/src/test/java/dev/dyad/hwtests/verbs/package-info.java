@NullMarked
package dev.dyad.hwtests.verbs;

import org.jspecify.annotations.NullMarked;
