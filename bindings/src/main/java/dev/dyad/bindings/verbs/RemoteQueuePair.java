package dev.dyad.bindings.verbs;

/**
 * What one side must know of the other's queue pair.
 *
 * @param number 24 bits
 * @param firstPacket its first packet sequence number, 24 bits
 * @param gidHigh in network order
 * @param gidLow in network order
 * @param lid with InfiniBand, else 0
 */
public record RemoteQueuePair(int number, int firstPacket, long gidHigh, long gidLow, int lid) {}
