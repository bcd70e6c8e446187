@NullMarked
package dev.dyad.engine.cli.disk;

import org.jspecify.annotations.NullMarked;
