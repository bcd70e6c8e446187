/**
 * The protocol as two pure state machines: events in, actions out; no clock, no I/O, no threads, no allocation. The simulator in
 * the tests drives exactly these classes.
 */
@NullMarked
package dev.dyad.engine.epoch;

import org.jspecify.annotations.NullMarked;
