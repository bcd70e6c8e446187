package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.engine.arbiter.EtcdServer;
import dev.dyad.perf.pair.EtcdWriter;
import dev.dyad.perf.pair.GuestDisks;
import dev.dyad.perf.pair.LinuxPair;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * An etcd in the guest that flushes its log before each answer. Judges: the client outside, which expects each answer to carry the next revision and every
 * acknowledged key to be there, e2fsck, and an etcd of this host that is started on the data found on the last image.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class EtcdFailoverTest extends FailoverWithDisk {
  private static final int KILLS_SOAK = Integer.getInteger("dyad.kills", 20);
  private static final int MEGABYTES = 256; // etcd allocates 64 MiB of log at a time, and the next 64 MiB ahead

  @TempDir Path folder;

  /** Hosts that come back are in every build with Redis ({@link DiskFailoverTest}), with etcd in the soak. */
  @Test
  void shouldHaveEveryAcknowledgedRevisionAfterItsHostDied() throws Exception {
    needs(GuestDisks.Program.ETCD);
    killAndComeBack(1, new GuestDisks.Content(MEGABYTES, GuestDisks.Program.ETCD, GuestDisks.Shape.BLOCKDEV, false, "memory"), LinuxPair::startEtcdClient, this::anEtcdOnThatDataHasEveryKey);
  }

  @Test
  @Tag("soak")
  @Timeout(value = 2, unit = TimeUnit.HOURS)
  void shouldHaveThemWhateverTheirDurability() throws Exception {
    needs(GuestDisks.Program.ETCD);
    for (String durability : new String[] {"memory", "disk"}) {
      killAndComeBack(
          KILLS_SOAK, new GuestDisks.Content(MEGABYTES, GuestDisks.Program.ETCD, GuestDisks.Shape.BLOCKDEV, false, durability), LinuxPair::startEtcdClient, this::anEtcdOnThatDataHasEveryKey);
    }
  }

  private void anEtcdOnThatDataHasEveryKey(GuestDisks disks, long acked) throws Exception {
    Path here = Files.createTempDirectory(folder, "image");
    disks.folder(GuestDisks.ETCD_FOLDER, here);
    try (EtcdServer etcd = EtcdServer.start(here)) {
      assertEquals(0, new EtcdWriter(URI.create(etcd.url()), Duration.ofSeconds(30)).lost(acked), "of " + acked + " acknowledged keys, in the data on the image");
    }
  }
}
