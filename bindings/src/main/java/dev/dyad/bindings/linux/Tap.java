package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.ifreq;
import dev.dyad.bindings.abi.linux.sockaddr;
import java.nio.charset.StandardCharsets;

/**
 * Owner of one queue of a TAP interface: whole Ethernet frames in and out, without any header. Non-blocking.
 * Documentation/networking/tuntap.rst, netdevice(7). One thread reads, one writes.
 *
 * <p>Works in the network namespace of the thread that opened it; the descriptor itself works from anywhere.
 */
public final class Tap implements AutoCloseable {

  private static final long NAME = 0;
  // The union of all else: flags, MTU and hardware address each begin here.
  private static final long VALUE = ifreq.ifr_ifru$offset();
  private static final int HARDWARE_ADDRESS_BYTES = 6;

  private final FileDescriptor descriptor;
  private final String name;

  private Tap(FileDescriptor descriptor, String name) {
    this.descriptor = descriptor;
    this.name = name;
  }

  /**
   * Attaches to the interface, or makes it, which needs CAP_NET_ADMIN; a name with {@code %d} lets the kernel number it.
   * EBUSY: another program has it.
   */
  public static Tap open(String name) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    if (bytes.length == 0 || bytes.length >= IFNAMSIZ()) {
      throw new IllegalArgumentException("interface name of 1 to " + (IFNAMSIZ() - 1) + " bytes: " + name);
    }
    FileDescriptor descriptor = Files.open("/dev/net/tun", O_RDWR() | O_NONBLOCK());
    long request = request(bytes);
    Memory.putShort(request + VALUE, (short) (IFF_TAP() | IFF_NO_PI()));
    long result = Ioctl.call(descriptor.fd(), TUNSETIFF(), request);
    if (result < 0) {
      descriptor.close();
      throw new NativeException("ioctl TUNSETIFF", (int) -result, name);
    }
    return new Tap(descriptor, Memory.getString(request + NAME, IFNAMSIZ()));
  }

  /** Whether an interface of that name is there, TAP or not, in the network namespace of the calling thread. */
  public static boolean exists(String name) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    try (FileDescriptor control = Sockets.open(AF_INET(), SOCK_DGRAM())) {
      return bytes.length < IFNAMSIZ() && Ioctl.call(control.fd(), SIOCGIFFLAGS(), request(bytes)) >= 0;
    }
  }

  /** As the kernel has it. */
  public String name() {
    return name;
  }

  /** For poll and epoll. */
  public int fd() {
    return descriptor.fd();
  }

  /** One frame that the host sent into the interface; its bytes, {@code -EAGAIN} for none. A longer one is cut. */
  public long read(long hostVirt, long bytes) {
    return Files.read(fd(), hostVirt, bytes);
  }

  /** One frame to the host; its bytes, or {@code -errno} (EIO: the interface is down). */
  public long write(long hostVirt, long bytes) {
    return Files.write(fd(), hostVirt, bytes);
  }

  /**
   * TUNSETOFFLOAD of nothing: the kernel hands over whole frames with their checksums, whatever an earlier owner of the interface had asked for
   * (it keeps that). Throws.
   */
  public void withoutOffload() {
    NativeException.check(Ioctl.call(fd(), TUNSETOFFLOAD(), 0), "ioctl TUNSETOFFLOAD", name);
  }

  /** TUNSETPERSIST: whether the interface outlives this descriptor; returns 0 or {@code -errno}. */
  public int setPersistent(boolean persistent) {
    return (int) Ioctl.call(fd(), TUNSETPERSIST(), persistent ? 1 : 0);
  }

  /** SIOCSIFFLAGS with IFF_UP. Throws. */
  public void bringUp() {
    try (FileDescriptor control = Sockets.open(AF_INET(), SOCK_DGRAM())) {
      long request = ask(control, SIOCGIFFLAGS(), "SIOCGIFFLAGS");
      Memory.putShort(request + VALUE, (short) (Memory.getShort(request + VALUE) | IFF_UP()));
      NativeException.check(Ioctl.call(control.fd(), SIOCSIFFLAGS(), request), "ioctl SIOCSIFFLAGS", name);
    }
  }

  /** SIOCSIFMTU. Throws. */
  public void setMtu(int mtuBytes) {
    try (FileDescriptor control = Sockets.open(AF_INET(), SOCK_DGRAM())) {
      long request = request(name.getBytes(StandardCharsets.UTF_8));
      Memory.putInt(request + VALUE, mtuBytes);
      NativeException.check(Ioctl.call(control.fd(), SIOCSIFMTU(), request), "ioctl SIOCSIFMTU", name);
    }
  }

  /** SIOCGIFHWADDR: the host side's six bytes. Throws. */
  public byte[] hardwareAddress() {
    try (FileDescriptor control = Sockets.open(AF_INET(), SOCK_DGRAM())) {
      long request = ask(control, SIOCGIFHWADDR(), "SIOCGIFHWADDR");
      byte[] address = new byte[HARDWARE_ADDRESS_BYTES];
      Memory.copyTo(request + VALUE + sockaddr.sa_data$offset(), address, 0, HARDWARE_ADDRESS_BYTES);
      return address;
    }
  }

  private long ask(FileDescriptor control, long what, String call) {
    long request = request(name.getBytes(StandardCharsets.UTF_8));
    NativeException.check(Ioctl.call(control.fd(), what, request), "ioctl " + call, name);
    return request;
  }

  private static long request(byte[] name) {
    long at = ThreadScratch.address();
    Memory.zero(at, ifreq.sizeof());
    Memory.copyFrom(name, 0, at + NAME, name.length);
    return at;
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
