package dev.dyad.engine.net;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A QEMU without any guest software, whose e1000 NICs are driven from outside by the qtest protocol: it sends exactly the frames
 * that a test asks for, and boots in no time. Its firmware is one halted instruction.
 */
final class QtestGuest implements AutoCloseable {
  private static final int FIRST_SLOT = 4;
  private static final long BAR = 0xe000_0000L;
  private static final long BAR_BYTES = 0x2_0000L;
  private static final long RING = 0x10_0000L;
  private static final long BUFFERS = 0x20_0000L;
  private static final long NIC_BYTES = 0x10_0000L;
  private static final int DESCRIPTORS = 128;

  private final Process process;
  private final SocketChannel monitor;
  private final BufferedReader monitorIn;
  private final SocketChannel qtest;
  private final BufferedReader qtestIn;
  private final int[] tails;

  /**
   * @param prefix put before the command, such as {@code ip netns exec NAME}
   * @param netdevs one {@code -netdev} value for each NIC, ids n0, n1, …
   */
  QtestGuest(Path folder, List<String> prefix, List<String> netdevs) {
    try {
      byte[] firmware = new byte[65536];
      Arrays.fill(firmware, (byte) 0xf4);
      firmware[0xfff0] = (byte) 0xfa; // cli; hlt; jmp to the hlt
      firmware[0xfff2] = (byte) 0xeb;
      firmware[0xfff3] = (byte) 0xfd;
      Path bios = Files.write(folder.resolve("halt.bin"), firmware);
      Path qmp = folder.resolve("qmp");
      Path control = folder.resolve("qtest");
      List<String> command = new ArrayList<>(prefix);
      command.addAll(
          List.of("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-bios", bios.toString(), "-nodefaults", "-display", "none"));
      command.addAll(List.of("-m", "64", "-qtest-log", "/dev/null", "-qtest", "unix:" + control + ",server=on,wait=off"));
      command.addAll(List.of("-qmp", "unix:" + qmp + ",server=on,wait=off"));
      for (int i = 0; i < netdevs.size(); i++) {
        command.addAll(List.of("-netdev", netdevs.get(i)));
        command.addAll(
            List.of("-device", "e1000,netdev=n" + i + ",mac=52:54:00:12:34:5" + (6 + i) + ",addr=" + (FIRST_SLOT + i) + ",romfile="));
      }
      process =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(folder.resolve("qemu.log").toFile())
              .start();
      tails = new int[netdevs.size()];
      monitor = connect(qmp, folder);
      monitorIn = new BufferedReader(new InputStreamReader(Channels.newInputStream(monitor), StandardCharsets.UTF_8));
      monitorIn.readLine();
      execute("qmp_capabilities", "{}");
      qtest = connect(control, folder);
      qtestIn = new BufferedReader(new InputStreamReader(Channels.newInputStream(qtest), StandardCharsets.UTF_8));
      for (int i = 0; i < netdevs.size(); i++) {
        prepareNic(i);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private SocketChannel connect(Path path, Path folder) throws IOException {
    long start = System.nanoTime();
    while (true) {
      SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
      try {
        channel.connect(UnixDomainSocketAddress.of(path));
        return channel;
      } catch (IOException e) {
        channel.close();
        if (!process.isAlive() || System.nanoTime() - start > 20_000_000_000L) {
          process.destroyForcibly();
          throw new IOException("qemu: " + Files.readString(folder.resolve("qemu.log")), e);
        }
      }
    }
  }

  /** As {@link QmpCommands}; without any JSON parser, since tests know what they look for. */
  synchronized String execute(String command, String arguments) {
    try {
      String line = "{\"execute\":\"" + command + "\",\"arguments\":" + arguments + "}\n";
      monitor.write(ByteBuffer.wrap(line.getBytes(StandardCharsets.UTF_8)));
      while (true) {
        String answer = monitorIn.readLine();
        if (answer == null) {
          throw new IllegalStateException("the monitor is closed");
        }
        if (answer.startsWith("{\"return\": ")) {
          return answer.substring("{\"return\": ".length(), answer.length() - 1);
        }
        if (answer.startsWith("{\"error\": ")) {
          int at = answer.indexOf("\"desc\": ");
          throw new IllegalStateException(answer.substring(at + 9, answer.lastIndexOf('"')));
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void command(String line) {
    try {
      qtest.write(ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.US_ASCII)));
      String answer;
      do {
        answer = qtestIn.readLine();
      } while (answer != null && answer.startsWith("IRQ"));
      if (answer == null || !answer.startsWith("OK")) {
        throw new IllegalStateException(line + ": " + answer);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void config(int nic, int register, long value) {
    command("outl 0xcf8 0x" + Long.toHexString(0x8000_0000L | (long) (FIRST_SLOT + nic) << 11 | register));
    command("outl 0xcfc 0x" + Long.toHexString(value));
  }

  private void register(int nic, int register, long value) {
    command("writel 0x" + Long.toHexString(BAR + nic * BAR_BYTES + register) + " 0x" + Long.toHexString(value));
  }

  /** PCI: memory and bus master on. e1000: transmit ring, TCTL.EN. */
  private void prepareNic(int nic) {
    config(nic, 0x10, BAR + nic * BAR_BYTES);
    config(nic, 0x04, 6);
    register(nic, 0x3800, RING + nic * NIC_BYTES / 2);
    register(nic, 0x3804, 0);
    register(nic, 0x3808, DESCRIPTORS * 16);
    register(nic, 0x3810, 0);
    register(nic, 0x3818, 0);
    register(nic, 0x400, 2 | 8);
  }

  /** Lets a NIC send one frame that carries {@code number}. */
  void send(int nic, int number, int bytes) {
    byte[] frame = Wire.frame(number, bytes);
    int tail = tails[nic];
    long buffer = BUFFERS + nic * NIC_BYTES + tail * 4096L;
    long ring = RING + nic * NIC_BYTES / 2;
    write(buffer, frame);
    ByteBuffer descriptor = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
    descriptor.putLong(buffer).putShort((short) bytes).put((byte) 0).put((byte) 0x0b);
    write(ring + tail * 16L, descriptor.array());
    tails[nic] = (tail + 1) % DESCRIPTORS;
    register(nic, 0x3818, tails[nic]);
  }

  private void write(long at, byte[] bytes) {
    command("write 0x" + Long.toHexString(at) + " 0x" + Integer.toHexString(bytes.length) + " 0x" + HexFormat.of().formatHex(bytes));
  }

  int pid() {
    // Behind `ip netns exec` it is still this process: that one replaces itself.
    return (int) process.pid();
  }

  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor(10, TimeUnit.SECONDS);
      monitor.close();
      qtest.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
