package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.net.Announcer;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.PacketPort;
import java.util.List;

/**
 * The page of the state block that is the node's: the addresses by which each NIC of the guest is known, so that a standby can
 * announce them after it has taken over.
 *
 * <pre>
 *   0    u32 number of NICs
 *   16+i u8  length of the virtio-net header in front of NIC i's frames
 *   512 (i + 1)  512 bytes: what was learned of NIC i
 * </pre>
 */
final class NodePage {
  private static final int NICS_MAX = 7;
  private static final int HEADERS_OFFSET = 16;

  private final HeldOutput[] nics;
  private final LearnedAddresses[] learned;

  NodePage(List<HeldOutput> nics, List<LearnedAddresses> learned) {
    if (nics.size() > NICS_MAX) {
      throw new IllegalArgumentException("a guest with " + nics.size() + " NICs: at most " + NICS_MAX + " can be protected");
    }
    this.nics = nics.toArray(HeldOutput[]::new);
    this.learned = learned.toArray(LearnedAddresses[]::new);
  }

  /** Writes the page. Epoch thread; allocates nothing. */
  void write(long page) {
    Memory.putInt(page, nics.length);
    for (int i = 0; i < nics.length; i++) {
      Memory.putByte(page + HEADERS_OFFSET + i, (byte) nics[i].headerBytes());
      // A table that changes at every attempt is written again at the next epoch; the reader checks what it takes.
      learned[i].encode(slot(page, i));
    }
  }

  static int nicCount(long page) {
    return Math.clamp(Memory.getInt(page), 0, NICS_MAX);
  }

  /** Announces NIC {@code nic} through {@code outside}. */
  static void announce(long page, int nic, PacketPort outside) {
    try (LearnedAddresses addresses = new LearnedAddresses()) {
      if (addresses.decode(slot(page, nic)) == null) {
        try (Announcer announcer = new Announcer(addresses, outside.prefixBytes(), Memory.getByte(page + HEADERS_OFFSET + nic))) {
          long at = announcer.wire();
          long left = announcer.wireBytes();
          // A TAP takes one frame a call. What it has no room for is announced again soon.
          for (long sent = 1; left > 0 && sent > 0; left -= sent, at += sent) {
            sent = outside.send(at, left);
          }
        }
      }
    }
  }

  private static long slot(long page, int nic) {
    return page + LearnedAddresses.BLOCK_BYTES * (nic + 1L);
  }
}
