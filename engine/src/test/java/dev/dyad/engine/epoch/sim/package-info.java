/** A seeded world of two hosts, a guest, a link, an arbiter and a client, in which the two protocol machines run unchanged. */
@NullMarked
package dev.dyad.engine.epoch.sim;

import org.jspecify.annotations.NullMarked;
