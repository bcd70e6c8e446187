@NullMarked
package dev.dyad.perf.kvm;

import org.jspecify.annotations.NullMarked;
