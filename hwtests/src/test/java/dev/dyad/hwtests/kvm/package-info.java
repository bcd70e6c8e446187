/** The KVM port where this machine has no KVM of its own. */
@NullMarked
package dev.dyad.hwtests.kvm;

import org.jspecify.annotations.NullMarked;
