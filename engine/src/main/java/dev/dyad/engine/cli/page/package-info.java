/** {@code dyad page}: what the nodes on this host say of themselves, as a live page in a browser. */
@NullMarked
package dev.dyad.engine.cli.page;

import org.jspecify.annotations.NullMarked;
