@NullMarked
package dev.dyad.engine.cli.top;

import org.jspecify.annotations.NullMarked;
