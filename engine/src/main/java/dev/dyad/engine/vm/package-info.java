@NullMarked
package dev.dyad.engine.vm;

import org.jspecify.annotations.NullMarked;
