package dev.dyad.engine.node;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;

/**
 * A kernel that prints "boot", waits a little and asks for a reset, or switches itself off.
 *
 * <pre>
 *   mov $0x3f8, %edx ; mov $'b', %al ; out %al, %dx ; mov $'o', %al ; out ; out ; mov $'t', %al ; out
 *   mov $20000, %ecx ; 1: pause ; dec %ecx ; jnz 1b
 *   mov $0x64, %edx ; mov $0xfe, %al ; out %al, %dx        (the keyboard controller's reset line; or 0x600 and 0x34: off)
 *   5: hlt ; jmp 5b
 * </pre>
 */
final class ResettingKernel {
  private static final long LOAD = 0x200000;
  private static final String PRINT_AND_WAIT = "488da6f00f0000baf8030000b062eeb06feeeeb074eeb9204e0000f390ffc975fa";

  private ResettingKernel() {}

  static byte[] elf() {
    return elf("ba64000000b0feeef4ebfd");
  }

  static byte[] thatSwitchesOff() {
    return elf("ba00060000b034eef4ebfd");
  }

  private static byte[] elf(String end) {
    byte[] code = HexFormat.of().parseHex(PRINT_AND_WAIT + end);
    ByteBuffer file = ByteBuffer.allocate(0x100 + code.length).order(ByteOrder.LITTLE_ENDIAN);
    file.putInt(0x464c457f).put((byte) 2).put((byte) 1).put((byte) 1);
    file.putShort(16, (short) 2).putShort(18, (short) 62).putLong(24, LOAD).putLong(32, 64).putShort(54, (short) 56).putShort(56, (short) 1);
    file.putInt(64, 1).putLong(72, 0x100).putLong(80, LOAD).putLong(88, LOAD).putLong(96, code.length).putLong(104, code.length);
    return file.put(0x100, code).array();
  }
}
