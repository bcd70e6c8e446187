@NullMarked
package dev.dyad.engine.vm.kvm.boot;

import org.jspecify.annotations.NullMarked;
