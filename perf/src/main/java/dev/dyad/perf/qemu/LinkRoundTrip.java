package dev.dyad.perf.qemu;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Arrays;

/** How long a small message takes over loopback TCP to another thread and back: the least that a commit can cost here. */
final class LinkRoundTrip {
  private static final int TURNS = 2_000;
  private static final int MESSAGE_BYTES = 64;

  private LinkRoundTrip() {}

  static double medianMicros() throws IOException {
    long[] nanos = new long[TURNS];
    try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        Socket near = new Socket(listener.getInetAddress(), listener.getLocalPort());
        Socket far = listener.accept()) {
      near.setTcpNoDelay(true);
      far.setTcpNoDelay(true);
      Thread echo = Thread.ofPlatform().daemon().name("echo").start(() -> echo(far));
      InputStream in = near.getInputStream();
      OutputStream out = near.getOutputStream();
      byte[] message = new byte[MESSAGE_BYTES];
      for (int i = 0; i < TURNS; i++) {
        long start = System.nanoTime();
        out.write(message);
        in.readNBytes(message, 0, MESSAGE_BYTES);
        nanos[i] = System.nanoTime() - start;
      }
      near.shutdownOutput();
      echo.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    Arrays.sort(nanos, TURNS / 2, TURNS); // the first half warmed up
    return nanos[TURNS * 3 / 4] / 1e3;
  }

  private static void echo(Socket far) {
    try {
      byte[] message = new byte[MESSAGE_BYTES];
      while (far.getInputStream().readNBytes(message, 0, MESSAGE_BYTES) == MESSAGE_BYTES) {
        far.getOutputStream().write(message);
      }
    } catch (IOException e) {
      // The near end notices as well.
    }
  }
}
