/**
 * A small real Linux with Redis in it, put together from the distribution's packages: what the demo, the measurements and the
 * end-to-end tests protect. Nothing of the engine depends on it.
 */
@NullMarked
package dev.dyad.engine.guest;

import org.jspecify.annotations.NullMarked;
