/** {@code dyad perf kvm}: epochs of a microVM between two processes, beside a C program that makes the same ones. */
@NullMarked
package dev.dyad.perf.kvm;

import org.jspecify.annotations.NullMarked;
