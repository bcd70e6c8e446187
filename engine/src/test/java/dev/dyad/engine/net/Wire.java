package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Sockets;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Frames with a number in them, and the two ends of sockets that carry them. */
final class Wire {
  static final int FRAME_BYTES = 60;

  private Wire() {}

  /** An Ethernet frame of the experimental type 88b5 that carries {@code number}. */
  static byte[] frame(int number, int bytes) {
    ByteBuffer frame = ByteBuffer.allocate(bytes);
    frame.put(new byte[] {-1, -1, -1, -1, -1, -1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, (byte) 0x88, (byte) 0xb5});
    return frame.putInt(number).array();
  }

  static byte[] prefixed(byte[] frame, int prefixBytes) {
    ByteBuffer wire = ByteBuffer.allocate(prefixBytes + frame.length).putInt(frame.length);
    if (prefixBytes == 8) {
      wire.putInt(0);
    }
    return wire.put(frame).array();
  }

  /** Sends all of it, blocking. */
  static void send(FileDescriptor socket, byte[] bytes) {
    try (Mapping at = Mapping.anonymous(bytes.length + 4096L)) {
      Memory.copyFrom(bytes, 0, at.hostVirt(), bytes.length);
      long done = 0;
      while (done < bytes.length) {
        done += Sockets.send(socket.fd(), at.hostVirt() + done, bytes.length - done, 0);
      }
    }
  }

  /** What is there now. */
  static byte[] received(FileDescriptor socket) {
    try (Mapping at = Mapping.anonymous(1 << 20)) {
      long got = 0;
      while (true) {
        long more = Sockets.receive(socket.fd(), at.hostVirt() + got, at.bytes() - got, MSG_DONTWAIT());
        if (more <= 0) {
          break;
        }
        got += more;
      }
      byte[] bytes = new byte[(int) got];
      Memory.copyTo(at.hostVirt(), bytes, 0, bytes.length);
      return bytes;
    }
  }

  /** The numbers of the frames in a piece of wire form that holds whole ones. */
  static List<Integer> numbers(byte[] wire, int prefixBytes) {
    List<Integer> numbers = new ArrayList<>();
    ByteBuffer bytes = ByteBuffer.wrap(wire);
    while (bytes.hasRemaining()) {
      int length = bytes.getInt();
      bytes.position(bytes.position() + prefixBytes - 4);
      numbers.add(bytes.getInt(bytes.position() + 14));
      bytes.position(bytes.position() + length);
    }
    return numbers;
  }
}
