package dev.dyad.perf.pair;

import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.locks.LockSupport;

/**
 * Begins a new TCP connection every 5 ms and says when each was accepted: since when a guest answers, whatever the timers of older
 * connections make of it (a packet that was lost with the primary is sent again by TCP after 200 ms at the earliest).
 *
 * <p>A process of its own. One line for each connection on standard output, {@code BEGUN_NANOS ACCEPTED_NANOS} by {@link System#nanoTime()}.
 */
public final class ConnectProbe {
  private static final long INTERVAL_NANOS = 5_000_000L;
  private static final long GIVE_UP_NANOS = 400_000_000L;

  private record Attempt(SocketChannel channel, long begunNanos) {}

  private ConnectProbe() {}

  /** Arguments: host, port. Ends when its output does. */
  public static void main(String[] args) throws IOException {
    InetSocketAddress target = new InetSocketAddress(args[0], Integer.parseInt(args[1]));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
    Deque<Attempt> pending = new ArrayDeque<>();
    long next = System.nanoTime();
    while (!out.checkError()) {
      long now = System.nanoTime();
      if (now - next >= 0) {
        SocketChannel channel = SocketChannel.open();
        channel.configureBlocking(false);
        channel.connect(target);
        pending.add(new Attempt(channel, now));
        next = now + INTERVAL_NANOS;
      }
      for (Iterator<Attempt> attempts = pending.iterator(); attempts.hasNext(); ) {
        Attempt attempt = attempts.next();
        boolean accepted = accepted(attempt.channel);
        if (accepted) {
          out.println(attempt.begunNanos + " " + System.nanoTime());
        }
        if (accepted || now - attempt.begunNanos > GIVE_UP_NANOS) {
          attempt.channel.close();
          attempts.remove();
        }
      }
      LockSupport.parkNanos(1_000_000L);
    }
  }

  private static boolean accepted(SocketChannel channel) {
    try {
      return channel.finishConnect();
    } catch (IOException e) {
      return false;
    }
  }
}
