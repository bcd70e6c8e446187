/**
 * /dev/kvm: system, virtual machine and vCPU as objects that own a descriptor each, and the two areas that a vCPU shares with
 * the kernel. Calls that fail where they must not throw; calls of the epoch path return the kernel's result or {@code -errno}
 * and allocate nothing. Source: Documentation/virt/kvm/api.rst of the kernel.
 */
@NullMarked
package dev.dyad.bindings.kvm;

import org.jspecify.annotations.NullMarked;
