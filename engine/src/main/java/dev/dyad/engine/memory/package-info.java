@NullMarked
package dev.dyad.engine.memory;

import org.jspecify.annotations.NullMarked;
