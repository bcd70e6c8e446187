@NullMarked
package dev.dyad.nic;

import org.jspecify.annotations.NullMarked;
