@NullMarked
package dev.dyad.engine.net;

import org.jspecify.annotations.NullMarked;
