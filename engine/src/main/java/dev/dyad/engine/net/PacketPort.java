package dev.dyad.engine.net;

/**
 * One end of a wire: a TAP device, a unix socket of QEMU's, a pair of redirected sockets.
 *
 * <p>Frames are moved in <em>wire form</em>, one after the other without gaps: a prefix of {@link #prefixBytes()} whose first four
 * bytes are the frame's length (big-endian, prefix not counted), then the frame. That is QEMU's own stream framing, so that
 * for sockets nothing is ever moved or rewritten, and a batch is one system call.
 *
 * <p>Non-blocking, no allocation, at most one system call in each {@link #send}: a check right before it covers all of it. One
 * thread receives, one sends at a time.
 */
public interface PacketPort extends AutoCloseable {

  /** Nothing there, or no room at the other end: poll {@link #receiveFd()} or {@link #sendFd()}. */
  int AGAIN = 0;

  /** The other end is gone for good. */
  int CLOSED = -1;

  /** Largest frame in wire form: 64 KiB of segmentation offload, headers, prefix (QEMU's NET_BUFSIZE is 68 KiB). */
  int WIRE_FRAME_BYTES_MAX = 72 * 1024;

  /** 4, or 8 where QEMU adds the length of the virtio-net header that each frame starts with. */
  int prefixBytes();

  /**
   * Appends what has arrived. A stream may leave its last frame incomplete; the rest comes with the next call.
   *
   * @param at address of the first free byte
   * @param room free bytes there; a port of whole frames needs {@link #WIRE_FRAME_BYTES_MAX}
   * @return bytes appended, {@link #AGAIN} or {@link #CLOSED}
   */
  long receive(long at, long room);

  /**
   * Sends from whole frames in wire form, of which the first may be the rest of one that was sent in part. A frame that the
   * device refuses for good (interface down, peer of a datagram socket gone) is lost as on a pulled cable, and counted.
   *
   * @return bytes taken, {@link #AGAIN} or {@link #CLOSED}
   */
  long send(long from, long bytes);

  /** Descriptor to wait on before receiving, or −1 when nothing is ever received. */
  int receiveFd();

  /** Descriptor to wait on when {@link #send} said {@link #AGAIN}. */
  int sendFd();

  /** Frames that the device refused for good. */
  long lostFrames();

  @Override
  void close();
}
