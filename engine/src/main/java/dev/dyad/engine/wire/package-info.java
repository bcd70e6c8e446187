@NullMarked
package dev.dyad.engine.wire;

import org.jspecify.annotations.NullMarked;
