@NullMarked
package dev.dyad.engine.vm.kvm.devices;

import org.jspecify.annotations.NullMarked;
