/** What a Linux guest of a test is made of: a distribution's kernel, its modules, an initial file system. */
@NullMarked
package dev.dyad.hwtests.guest;

import org.jspecify.annotations.NullMarked;
