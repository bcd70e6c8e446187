@NullMarked
package dev.dyad.engine.cli;

import org.jspecify.annotations.NullMarked;
