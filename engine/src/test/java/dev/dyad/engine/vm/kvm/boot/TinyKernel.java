package dev.dyad.engine.vm.kvm.boot;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;

/**
 * A kernel of a few bytes in both forms that Linux kernels come in. It says on the serial port what it was started with, and switches
 * itself off: command line, initrd, number of entries of the memory map, CS less 0x10, DS less 0x18, interrupt flag.
 *
 * <pre>
 *      mov  $0x3f8, %edx                      mov  $'|', %al        ; out
 *      mov  0x228(%rsi), %ebx                 mov  0x1e8(%rsi), %al ; add $'0', %al ; out
 *   1: mov  (%rbx), %al                       mov  %cs, %eax        ; add $'0'-0x10, %al ; out
 *      test %al, %al ; je 2f                  mov  %ds, %eax        ; add $'0'-0x18, %al ; out
 *      out  %al, %dx ; inc %rbx ; jmp 1b      pushf ; pop %rax      ; shr $9, %eax ; and $1, %eax
 *   2: mov  $'|', %al ; out %al, %dx          add  $'0', %al        ; out %al, %dx
 *      mov  0x21c(%rsi), %ecx                 mov  $0x600, %edx     ; mov $0x34, %al ; out %al, %dx
 *      mov  0x218(%rsi), %ebx              5: hlt  ; jmp 5b
 *   3: test %ecx, %ecx ; je 4f
 *      mov  (%rbx), %al ; out %al, %dx
 *      inc  %rbx ; dec %ecx ; jmp 3b
 * </pre>
 */
final class TinyKernel {
  static final long LOAD = 0x1000000;
  static final int INIT_BYTES = 0x200000;

  /** The stack is the argument page's own end: pushf needs one. */
  private static final byte[] SET_STACK = HexFormat.of().parseHex("488da6f00f0000"); // lea 0xff0(%rsi), %rsp

  private static final byte[] PROGRAM =
      HexFormat.of()
          .parseHex(
              "baf80300008b9e280200008a0384c07406ee48ffc3ebf4b07cee8b8e1c020000"
                  + "8b9e1802000085c9740a8a03ee48ffc3ffc9ebf2b07cee8a86e80100000430ee"
                  + "8cc80420ee8cd80418ee9c58c1e80983e0010430eeba00060000b034eef4ebfd");

  private TinyKernel() {}

  private static byte[] code() {
    return ByteBuffer.allocate(SET_STACK.length + PROGRAM.length).put(SET_STACK).put(PROGRAM).array();
  }

  /** One segment and its entry in the middle of it, with room after it that is zero. */
  static byte[] elf() {
    byte[] code = code();
    int offset = 0x100;
    ByteBuffer file = ByteBuffer.allocate(offset + code.length).order(ByteOrder.LITTLE_ENDIAN);
    file.putInt(0x464c457f).put((byte) 2).put((byte) 1).put((byte) 1);
    file.putShort(16, (short) 2).putShort(18, (short) 62).putInt(20, 1).putLong(24, LOAD + 0x20).putLong(32, 64);
    file.putShort(52, (short) 64).putShort(54, (short) 56).putShort(56, (short) 1);
    file.putInt(64, 1).putInt(68, 7).putLong(72, offset - 0x20).putLong(80, 0xffffffff81000000L).putLong(88, LOAD);
    file.putLong(96, 0x20L + code.length).putLong(104, INIT_BYTES).putLong(112, 0x200000);
    return file.put(offset, code).array();
  }

  /** One sector of set-up and the 64-bit entry 0x200 behind it. */
  static byte[] bzImage() {
    byte[] code = code();
    ByteBuffer file = ByteBuffer.allocate(2 * 512 + 0x200 + code.length).order(ByteOrder.LITTLE_ENDIAN);
    file.put(0x1f1, (byte) 1).putShort(0x1fe, (short) 0xaa55).put(0x200, (byte) 0xeb).put(0x201, (byte) 0x6a);
    file.put(0x202, "HdrS".getBytes(StandardCharsets.US_ASCII)).putShort(0x206, (short) 0x20f).put(0x211, (byte) 1);
    file.putInt(0x22c, 0x7fffffff).putInt(0x230, 0x200000).put(0x234, (byte) 1).putShort(0x236, (short) 3).putInt(0x238, 2047);
    file.putLong(0x258, LOAD).putInt(0x260, INIT_BYTES);
    return file.put(2 * 512 + 0x200, code).array();
  }
}
