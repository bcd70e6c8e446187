package dev.dyad.engine.net;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class GuestNicTest {

  @Test
  void shouldReadNicsAndTheirBackendsFromInfoNetwork() {
    String answer =
        "\"net0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\\r\\n \\\\ n0: index=0,type=tap,ifname=tap0,script=no\\r\\n"
            + "filters:\\r\\n  - f-in: type=filter-redirector,indev=a\\r\\ne1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:57\\r\\n"
            + "u0: index=0,type=user,net=10.0.2.0,restrict=off\\r\\n\"";
    List<GuestNic> nics = GuestNic.of((command, arguments) -> answer);
    assertEquals(
        List.of(
            new GuestNic("net0", "52:54:00:12:34:56", "n0", "tap", 1), new GuestNic("e1000.0", "52:54:00:12:34:57", "", "", 1)),
        nics);
    assertNull(nics.getFirst().problem());
    assertNotNull(nics.getLast().problem());
  }

  @Test
  void shouldSayThatUserModeConnectionsCannotLiveOn() {
    String text = "net0: index=0,type=nic,model=e1000,macaddr=aa\r\n \\ u0: index=0,type=user,net=10.0.2.0,restrict=off\r\n";
    String problem = String.valueOf(GuestNic.parse(text).getFirst().problem());
    assertTrue(problem.contains("die with it") && problem.contains("-netdev tap"), problem);
  }

  @Test
  void shouldRefuseSeveralQueues() {
    String text =
        "net0: index=0,type=nic,model=virtio-net-pci,macaddr=aa\r\n \\ n0: index=0,type=tap,fd=9\r\n"
            + "net0: index=1,type=nic,model=virtio-net-pci,macaddr=aa\r\n \\ n0: index=1,type=tap,fd=10\r\n";
    List<GuestNic> nics = GuestNic.parse(text);
    assertEquals(1, nics.size());
    assertEquals(2, nics.getFirst().queues());
    assertTrue(String.valueOf(nics.getFirst().problem()).contains("queues=1"));
  }
}
