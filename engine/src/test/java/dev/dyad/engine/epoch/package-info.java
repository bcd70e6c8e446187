@NullMarked
package dev.dyad.engine.epoch;

import org.jspecify.annotations.NullMarked;
