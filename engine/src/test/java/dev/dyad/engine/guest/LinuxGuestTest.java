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
      try (Socket redis = new Socket(InetAddress.getLoopbackAddress(), port)) {
        redis.setSoTimeout((int) BOOT_BOUND.toMillis());
        redis.getOutputStream().write("PING\r\n".getBytes(StandardCharsets.US_ASCII));
        byte[] reply = redis.getInputStream().readNBytes(7);
        assertEquals("+PONG\r\n", new String(reply, StandardCharsets.US_ASCII));
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
      Assumptions.assumeTrue(Tools.find("qemu-system-x86_64") != null, "qemu-system-x86_64 is not installed: apt-get install qemu-system-x86");
      return LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      return Assumptions.abort(e.toString());
    }
  }
}
