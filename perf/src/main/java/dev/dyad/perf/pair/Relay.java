package dev.dyad.perf.pair;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;

/**
 * Passes connections on, in a process of its own. Stopped by SIGSTOP it is a cable that somebody cut: nothing arrives, and neither
 * side is told. Arguments: HOST:PORT to listen on, HOST:PORT to connect to.
 */
public final class Relay {
  private Relay() {}

  public static void main(String[] args) throws IOException {
    try (ServerSocket server = new ServerSocket()) {
      server.setReuseAddress(true);
      server.bind(address(args[0]));
      while (true) {
        Socket near = server.accept();
        Thread.ofPlatform().daemon().start(() -> connect(near, address(args[1])));
      }
    }
  }

  private static InetSocketAddress address(String text) {
    int colon = text.lastIndexOf(':');
    return new InetSocketAddress(text.substring(0, colon), Integer.parseInt(text.substring(colon + 1)));
  }

  private static void connect(Socket near, InetSocketAddress to) {
    try (near; Socket far = new Socket()) {
      near.setTcpNoDelay(true);
      far.setTcpNoDelay(true);
      far.connect(to);
      Thread back = Thread.ofPlatform().daemon().start(() -> pass(far, near));
      pass(near, far);
      back.join();
    } catch (IOException e) {
      // The far end does not listen: the near one is closed, which says so.
      return;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void pass(Socket from, Socket to) {
    try (InputStream in = from.getInputStream();
        OutputStream out = to.getOutputStream()) {
      in.transferTo(out);
    } catch (IOException e) {
      // One end is gone; closing both ends tells the other.
      return;
    }
  }
}
