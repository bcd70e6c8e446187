@NullMarked
package dev.dyad.hwtests.lab;

import org.jspecify.annotations.NullMarked;
