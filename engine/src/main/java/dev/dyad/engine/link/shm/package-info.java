@NullMarked
package dev.dyad.engine.link.shm;

import org.jspecify.annotations.NullMarked;
