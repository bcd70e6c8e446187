@NullMarked
package dev.dyad.hwtests.redis;

import org.jspecify.annotations.NullMarked;
