@NullMarked
package dev.dyad.engine.arbiter;

import org.jspecify.annotations.NullMarked;
