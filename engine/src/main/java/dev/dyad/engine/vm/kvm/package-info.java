@NullMarked
package dev.dyad.engine.vm.kvm;

import org.jspecify.annotations.NullMarked;
