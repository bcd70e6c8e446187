package dev.dyad.engine.link;

/**
 * What a caller says of itself and asks for.
 *
 * @param role its own
 * @param channel what the ring is for
 * @param generation the session's
 * @param ringBytes size of the ring that it would like, a power of two
 * @param memoryBytes the guest's RAM and room for the machine state, 0 where it does not matter
 * @param memoryDigest SHA-256 of the guest's blocks, 32 bytes; zeros where it does not matter
 */
public record Offer(Role role, Channel channel, long generation, long ringBytes, long memoryBytes, byte[] memoryDigest) {}
