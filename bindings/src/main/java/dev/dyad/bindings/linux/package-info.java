/**
 * Linux, one small class a kernel object: calls by number through {@link dev.dyad.bindings.linux.Syscall}, layouts and
 * constants from the generated {@code dev.dyad.bindings.abi.linux}.
 *
 * <p>Calls that belong to a steady state return the kernel's result or {@code -errno}, take addresses and ints, and
 * allocate nothing. Set-up calls throw {@link dev.dyad.bindings.linux.NativeException}.
 */
@NullMarked
package dev.dyad.bindings.linux;

import org.jspecify.annotations.NullMarked;
