@NullMarked
package dev.dyad.engine.vm.qemu;

import org.jspecify.annotations.NullMarked;
