@NullMarked
package dev.dyad.bindings;

import org.jspecify.annotations.NullMarked;
