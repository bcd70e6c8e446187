@NullMarked
package dev.dyad.engine.node;

import org.jspecify.annotations.NullMarked;
