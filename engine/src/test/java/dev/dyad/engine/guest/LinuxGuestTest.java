package dev.dyad.engine.guest;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.locks.LockSupport;
import java.time.Duration;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class LinuxGuestTest {
  private static final Duration BOOT_BOUND = Duration.ofSeconds(60);

  @TempDir
  Path directory;

  @ParameterizedTest
  @EnumSource
  void shouldBootAndAnswerRedis(GuestMachine.Kind kind) throws IOException {
    LinuxGuest guest = guestOrSkip();
    int port;
    try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      port = free.getLocalPort();
    }
    try (GuestMachine machine = GuestMachine.builder(guest, directory).kind(kind)
        .network("user,restrict=on,hostfwd=tcp:127.0.0.1:" + port + "-:6379", "52:54:00:64:79:02").start()) {
      machine.awaitReady(BOOT_BOUND);
      assertEquals("+PONG\r\n", ping(port));
    }
  }

  /** QEMU's forwarding accepts before the guest's port is open, and resets then: asked again for a while. */
  private static String ping(int port) throws IOException {
    long end = System.nanoTime() + BOOT_BOUND.toNanos();
    while (true) {
      try (Socket redis = new Socket(InetAddress.getLoopbackAddress(), port)) {
        redis.setSoTimeout((int) BOOT_BOUND.toMillis());
        redis.getOutputStream().write("PING\r\n".getBytes(StandardCharsets.US_ASCII));
        return new String(redis.getInputStream().readNBytes(7), StandardCharsets.US_ASCII);
      } catch (IOException e) {
        if (System.nanoTime() > end) {
          throw e;
        }
        LockSupport.parkNanos(50_000_000);
      }
    }
  }

  @Test
  void shouldComeFromTheCacheWhenItsInputsAreTheSame() throws IOException {
    LinuxGuest first = guestOrSkip();
    byte[] head = Files.readAllBytes(first.initramfs());
    LinuxGuest second = LinuxGuest.obtain();
    assertEquals(first, second);
    assertArrayEquals(head, Files.readAllBytes(second.initramfs()));
  }

  @Test
  void shouldSayInOneLineWhatAKernelMustBringWhenTheNamedOneCannotBeUsed() throws IOException {
    guestOrSkip();
    Path notAKernel = Files.writeString(directory.resolve("bzImage"), "");
    GuestUnavailableException refusal = assertThrows(GuestUnavailableException.class, () -> LinuxGuest.obtain(notAKernel));
    String message = String.valueOf(refusal.getMessage());
    assertTrue(message.contains("vmlinuz-VERSION") && !message.contains("\n"), message);
  }

  private static LinuxGuest guestOrSkip() {
    try {
      Assumptions.assumeTrue(Tool.find("qemu-system-x86_64").isPresent(), "qemu-system-x86_64 is not installed: apt-get install qemu-system-x86");
      return LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      return Assumptions.abort(e.toString());
    }
  }
}
