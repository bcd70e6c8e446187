@NullMarked
package dev.dyad.engine.cli.doctor;

import org.jspecify.annotations.NullMarked;
