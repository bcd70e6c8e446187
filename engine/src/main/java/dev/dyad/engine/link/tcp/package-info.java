@NullMarked
package dev.dyad.engine.link.tcp;

import org.jspecify.annotations.NullMarked;
