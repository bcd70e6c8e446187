@NullMarked
package dev.dyad.hwtests.demo;

import org.jspecify.annotations.NullMarked;
