@NullMarked
package dev.dyad.engine.link;

import org.jspecify.annotations.NullMarked;
