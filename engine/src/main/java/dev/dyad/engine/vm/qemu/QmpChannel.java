package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;
import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.json.Json;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A connection to QEMU's machine protocol (QMP) on a unix socket. QEMU serves one client of a socket at a time, so everybody who
 * has something to tell this QEMU does it through this one object.
 *
 * <p>Two uses, told apart by {@link #lock}: any thread may {@link #execute} a command, which waits while an epoch holds the
 * channel; the epoch thread holds it from pause to resume and sends one prepared command, whose progress it reads off {@link
 * #poll} as three facts (stopped, running again, answered) without allocation. Events other than STOP and RESUME are counted and
 * the last one is kept.
 */
public final class QmpChannel implements AutoCloseable {
  private static final int BUFFER_BYTES = 1 << 20;
  private static final int ANSWER_BOUND_MILLIS = 30_000;
  private static final byte SPACE = ' ';

  private static final byte[] RETURN = ascii("{\"return\"");
  private static final byte[] ERROR = ascii("{\"error\"");
  private static final byte[] STOP = ascii("\"event\": \"STOP\"");
  private static final byte[] SECONDS = ascii("\"seconds\": ");
  private static final byte[] MICROSECONDS = ascii("\"microseconds\": ");
  private static final byte[] RESUME = ascii("\"event\": \"RESUME\"");

  private final Path path;
  private final FileDescriptor socket;
  private final Mapping buffer = Mapping.anonymous(BUFFER_BYTES);
  private final ReentrantLock lock = new ReentrantLock();

  private int filled;
  private int lineStart;
  private int lineLength;
  private boolean running = true;
  private boolean answered;
  private boolean failed;
  private String answer = "";
  private boolean keepAnswer;
  private long stoppedMicros;
  private long resumedMicros;
  private long otherEvents;
  private String lastOtherEvent = "";

  private QmpChannel(Path path, FileDescriptor socket) {
    this.path = path;
    this.socket = socket;
  }

  /**
   * Connects, negotiates, and learns whether the guest runs.
   *
   * @throws QemuException when nobody listens there, or another client holds the socket
   */
  public static QmpChannel connect(Path path) {
    FileDescriptor socket;
    try {
      socket = Sockets.connect(SocketAddress.unix(path.toString()), SOCK_STREAM());
    } catch (NativeException e) {
      throw new QemuException("no QMP at " + path + " (" + e.errnoName() + "): start QEMU with -qmp unix:PATH,server=on,wait=off", e);
    }
    QmpChannel channel = new QmpChannel(path, socket);
    try {
      if (!channel.awaitLine(2_000)) {
        throw new QemuException("QEMU does not greet at " + path + ": another client holds this QMP socket (give QEMU a second -qmp for Dyad)");
      }
      channel.execute("qmp_capabilities", "");
      channel.running = channel.execute("query-status", "").get("running").isTrue();
      return channel;
    } catch (RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  public Path path() {
    return path;
  }

  /** Process at the other end; the one that called listen(2), which is the manager's when it passed the socket to QEMU. */
  public int peerPid() {
    return Sockets.peerCredentials(socket.fd()).pid();
  }

  /** The descriptor to wait on, readable when {@link #poll} has something to see. */
  int fd() {
    return socket.fd();
  }

  /** Held by the epoch thread from pause to resume, and by {@link #execute} for one command. */
  ReentrantLock lock() {
    return lock;
  }

  /**
   * Executes a command and waits for its answer.
   *
   * @param argumentsJson an object's text, or empty for none
   * @return what QEMU returned
   * @throws QemuException with QEMU's own words when it refused
   */
  public Json execute(String command, String argumentsJson) {
    lock.lock();
    try {
      String arguments = argumentsJson.isEmpty() ? "" : ",\"arguments\":" + argumentsJson;
      send("{\"execute\":" + Json.write(command) + arguments + "}\n");
      return Json.parse(awaitAnswer(command)).get("return");
    } finally {
      lock.unlock();
    }
  }

  /** Executes a command of the human monitor and returns what it prints. */
  public String monitor(String commandLine) {
    return execute("human-monitor-command", "{\"command-line\":" + Json.write(commandLine) + "}").text().replace("\r", "");
  }

  /** Executes a command that takes a descriptor with it ({@code getfd}, {@code add-fd}). */
  public Json executeWithDescriptor(String command, String argumentsJson, int fd) {
    lock.lock();
    try {
      // The descriptor travels with a byte of its own; a space is nothing to a JSON reader.
      NativeException.check(Sockets.sendDescriptor(socket.fd(), fd, SPACE), "sendmsg", "QMP " + command);
      return execute(command, argumentsJson);
    } finally {
      lock.unlock();
    }
  }

  private String awaitAnswer(String command) {
    keepAnswer = true;
    try {
      long end = System.nanoTime() + ANSWER_BOUND_MILLIS * 1_000_000L;
      while (!answered) {
        int left = (int) Math.max(0, (end - System.nanoTime()) / 1_000_000L);
        if (!awaitLine(left)) {
          throw new QemuException("QEMU did not answer \"" + command + "\" within " + ANSWER_BOUND_MILLIS / 1000 + " s");
        }
      }
    } finally {
      keepAnswer = false;
    }
    if (failed) {
      throw new QemuException("QEMU refused \"" + command + "\": " + Json.parse(answer).get("error").get("desc").text());
    }
    return answer;
  }

  private void send(String line) {
    byte[] bytes = line.getBytes(StandardCharsets.UTF_8);
    try (Mapping out = Mapping.anonymous(bytes.length)) {
      Memory.copyFrom(bytes, 0, out.hostVirt(), bytes.length);
      send(out.hostVirt(), bytes.length);
    }
  }

  /** Sends a whole command line; the facts of the command before it are cleared. Caller holds the lock. */
  void send(long hostVirt, int bytes) {
    answered = false;
    failed = false;
    stoppedMicros = 0;
    resumedMicros = 0;
    int sent = 0;
    while (sent < bytes) {
      long result = Sockets.send(socket.fd(), hostVirt + sent, bytes - sent, 0);
      if (result < 0 && result != -EINTR()) {
        throw gone((int) -result);
      }
      sent += (int) Math.max(0, result);
    }
  }

  /** Takes in whatever has arrived, without waiting. Caller holds the lock. */
  void poll() {
    long result = Sockets.receive(socket.fd(), buffer.hostVirt() + filled, BUFFER_BYTES - filled, MSG_DONTWAIT());
    if (result == -EAGAIN() || result == -EINTR()) {
      return;
    }
    if (result <= 0) {
      throw gone((int) -result);
    }
    filled += (int) result;
    while (nextLine()) {
      classify();
    }
    if (lineStart > 0) {
      Memory.copy(buffer.hostVirt() + lineStart, buffer.hostVirt(), filled - lineStart);
      filled -= lineStart;
      lineStart = 0;
    } else if (filled == BUFFER_BYTES) {
      throw new QemuException("QMP line of more than " + BUFFER_BYTES + " bytes from " + path);
    }
  }

  /** Waits for bytes and takes them in; false when none came in time. */
  private boolean awaitLine(int timeoutMillis) {
    int ready = Poll.once(socket.fd(), POLLIN(), timeoutMillis);
    if (ready > 0) {
      poll();
    }
    return ready != 0;
  }

  private QemuException gone(int errno) {
    return new QemuException("QEMU is gone: its QMP socket " + path + " was closed" + (errno == 0 ? "" : " (errno " + errno + ")"));
  }

  private boolean nextLine() {
    int from = lineStart + lineLength;
    for (int i = from; i < filled; i++) {
      if (Memory.getByte(buffer.hostVirt() + i) == '\n') {
        lineStart = from;
        lineLength = i + 1 - from;
        return true;
      }
    }
    lineStart = from;
    lineLength = 0;
    return false;
  }

  private void classify() {
    boolean isReturn = startsWith(RETURN);
    if (isReturn || startsWith(ERROR)) {
      answered = true;
      failed = !isReturn;
      if (keepAnswer || failed) {
        answer = line();
      }
    } else if (contains(STOP)) {
      running = false;
      stoppedMicros = timestampMicros();
    } else if (contains(RESUME)) {
      running = true;
      resumedMicros = timestampMicros();
    } else {
      otherEvents++;
      lastOtherEvent = line();
    }
  }

  private boolean startsWith(byte[] word) {
    return word.length <= lineLength && matches(word, lineStart);
  }

  /** Quotes inside a JSON string are escaped, so that the bytes cannot come from one. */
  private boolean contains(byte[] word) {
    return find(word) >= 0;
  }

  /** Where the word begins in the line's buffer, or −1. */
  private int find(byte[] word) {
    for (int i = lineStart; i <= lineStart + lineLength - word.length; i++) {
      if (matches(word, i)) {
        return i;
      }
    }
    return -1;
  }

  /** When QEMU says that the event of this line happened. */
  private long timestampMicros() {
    return numberAfter(SECONDS) * 1_000_000L + numberAfter(MICROSECONDS);
  }

  private long numberAfter(byte[] word) {
    int at = find(word);
    if (at < 0) {
      return 0;
    }
    long number = 0;
    for (int i = at + word.length; i < lineStart + lineLength; i++) {
      int digit = Memory.getByte(buffer.hostVirt() + i) - '0';
      if (digit < 0 || digit > 9) {
        break;
      }
      number = number * 10 + digit;
    }
    return number;
  }

  private boolean matches(byte[] word, int at) {
    for (int i = 0; i < word.length; i++) {
      if (Memory.getByte(buffer.hostVirt() + at + i) != word[i]) {
        return false;
      }
    }
    return true;
  }

  private String line() {
    byte[] bytes = new byte[lineLength];
    Memory.copyTo(buffer.hostVirt() + lineStart, bytes, 0, lineLength);
    return new String(bytes, StandardCharsets.UTF_8).strip();
  }

  /** Whether the guest runs, by the events seen so far. */
  boolean running() {
    return running;
  }

  /** QEMU's time of a STOP since the last command was sent: its vCPUs had just stopped. 0 when there was none. */
  long stoppedMicros() {
    return stoppedMicros;
  }

  /** QEMU's time of a RESUME since then: it was about to let its vCPUs go. 0 when there was none. */
  long resumedMicros() {
    return resumedMicros;
  }

  /** Whether the last command was answered. */
  boolean answered() {
    return answered;
  }

  /** Why the last command failed, or empty when it did not. */
  String failure() {
    return failed ? Json.parse(answer).get("error").get("desc").text() : "";
  }

  /** Number of events beside STOP and RESUME. */
  public long otherEvents() {
    return otherEvents;
  }

  /** The last of these, as QEMU wrote it; empty when there was none. */
  public String lastOtherEvent() {
    return lastOtherEvent;
  }

  private static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }

  @Override
  public void close() {
    socket.close();
    buffer.close();
  }
}
