package dev.dyad.engine.vm.qemu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;

/**
 * A guest of 84 bytes, for a QEMU's {@code -bios}: real mode, no devices but a serial port, so that it runs under every accelerator, also on a software KVM.
 *
 * <p>It has a number in a word at 0x500 and one in each of 128 pages from 64 KiB on. Each turn finds all of them equal, counts each up, and prints the number as eight
 * digits and a newline. Once a page is of another instant than the rest of memory, or than the registers, it prints exclamation marks for ever.
 */
final class TickingFirmware {
  private static final int ROM_BYTES = 64 << 10;

  private static final String CODE = """
      fa              cli
      31 c0           xor ax, ax
      8e d8           mov ds, ax
      66 a1 00 05     mov eax, [0x500]          ; tick
      bb 00 10        mov bx, 0x1000
      8e c3           mov es, bx                ; page
      26 66 39 06 00 00   cmp es:[0], eax
      75 36           jne broken
      26 66 ff 06 00 00   inc dword es:[0]
      81 c3 00 01     add bx, 0x100
      81 fb 00 90     cmp bx, 0x9000
      72 e6           jb page
      66 ff 06 00 05  inc dword [0x500]
      66 89 c6        mov esi, eax
      ba f8 03        mov dx, 0x3f8
      b9 08 00        mov cx, 8
      66 c1 c6 04     rol esi, 4                ; digit
      89 f0           mov ax, si
      24 0f           and al, 15
      04 30           add al, '0'
      3c 39           cmp al, '9'
      76 02           jbe out
      04 07           add al, 7
      ee              out dx, al                ; out
      e2 ed           loop digit
      b0 0a           mov al, 10
      ee              out dx, al
      eb b9           jmp tick
      ba f8 03        mov dx, 0x3f8             ; broken
      b0 21           mov al, '!'
      ee              out dx, al
      eb f8           jmp broken
      """;

  /** At 0xfff0, where a processor begins: {@code jmp 0xf000:0}. */
  private static final byte[] RESET = HexFormat.of().parseHex("ea000000f0");

  private TickingFirmware() {}

  static Path write(Path folder) throws IOException {
    byte[] rom = new byte[ROM_BYTES];
    String digits = String.join("", CODE.lines().map(line -> line.split(" {2,}")[0].replace(" ", "")).toList());
    byte[] code = HexFormat.of().parseHex(digits);
    System.arraycopy(code, 0, rom, 0, code.length);
    System.arraycopy(RESET, 0, rom, 0xfff0, RESET.length);
    return Files.write(folder.resolve("firmware.rom"), rom);
  }
}
