/**
 * RDMA verbs (libibverbs, librdmacm) as typed calls without policy: one class per kernel object, each closed once and its
 * dependants with it. Setting up goes through the libraries' functions, the data path through the provider's function
 * pointers, as C's inline functions do.
 */
@NullMarked
package dev.dyad.bindings.verbs;

import org.jspecify.annotations.NullMarked;
