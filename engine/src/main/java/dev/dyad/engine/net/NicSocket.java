package dev.dyad.engine.net;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The unix socket that a guest's NIC hangs on.
 *
 * @param qemu where QEMU listens ({@code -netdev stream,server=on}), or what it receives on ({@code -netdev dgram}: its {@code local.path})
 * @param ours where QEMU's datagrams go (its {@code remote.path}); null for a stream
 */
public record NicSocket(Path qemu, @Nullable Path ours) {}
