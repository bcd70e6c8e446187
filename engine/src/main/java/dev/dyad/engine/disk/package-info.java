/**
 * The disk of a protected machine: one image on each host, kept in step epoch by epoch.
 *
 * <p>Everything here runs on the one disk thread of its host and never blocks: requests go down through {@link
 * dev.dyad.engine.disk.BlockDevice#submit}, completions come up through {@code poll}. No class but {@link
 * dev.dyad.engine.disk.UringDisk} touches the kernel, so that the simulator drives these very classes over devices that lose
 * caches, tear writes and fail.
 *
 * <pre>
 *   guest ── MirroredDisk ──────────────── ring ───────────────→ StandbyDisk
 *              │      │        (MirrorStream)                       │   └ WriteLog: epochs that are open or not applied yet
 *          image   metadata (ActivityLog, bitmap,                image   metadata, log file
 *                   generation identifiers)
 * </pre>
 *
 * <p>What makes a return cheap and right is one invariant: <b>a block in which the two disks may differ, whatever loses power now,
 * is marked in the durable metadata of the side that was primary.</b>
 */
@NullMarked
package dev.dyad.engine.disk;

import org.jspecify.annotations.NullMarked;
