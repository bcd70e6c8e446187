/** {@code dyad perf micro}: JMH benchmarks of the pieces on an epoch's path, each beside what the JDK or C does with the same bytes. */
@NullMarked
package dev.dyad.perf.micro;

import org.jspecify.annotations.NullMarked;
