@NullMarked
package dev.dyad.hwtests.link;

import org.jspecify.annotations.NullMarked;
