@NullMarked
package dev.dyad.engine.observe;

import org.jspecify.annotations.NullMarked;
