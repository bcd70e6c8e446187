@NullMarked
package dev.dyad.engine.disk;

import org.jspecify.annotations.NullMarked;
