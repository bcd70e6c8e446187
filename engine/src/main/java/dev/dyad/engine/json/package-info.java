/** JSON as QMP, reports and kept descriptions need it; cold paths only. */
@NullMarked
package dev.dyad.engine.json;

import org.jspecify.annotations.NullMarked;
