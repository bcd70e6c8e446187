package dev.dyad.engine.link;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SharedKeyTest {
  @TempDir Path directory = Path.of("");

  @Test
  void shouldRefuseAFileThatOthersCanReadAndSayWhatToRun() throws IOException {
    for (String mode : new String[] {"rw-r--r--", "rw-r-----", "rw----r--", "rw--w----"}) {
      Path file = file("a key of sufficient length\n", mode);
      IOException e = assertThrows(IOException.class, () -> SharedKey.read(file));
      assertEquals("key file " + file + " has mode " + mode + ": needed is one that only its owner can use; run: chmod 600 " + file, e.getMessage());
    }
  }

  @Test
  void shouldTakeAFileOfItsOwner() throws IOException {
    SharedKey one = SharedKey.read(file("a key of sufficient length\n", "rw-------"));
    SharedKey other = SharedKey.read(file("a key of sufficient length", "r--------"));
    byte[] data = {1, 2, 3};
    assertTrue(SharedKey.equal(one.hmac(data), other.hmac(data)), "white space at the end does not count");
  }

  @Test
  void shouldRefuseAShortKeyAndAMissingFile() throws IOException {
    Path small = file("short           \n", "rw-------");
    assertTrue(assertThrows(IOException.class, () -> SharedKey.read(small)).toString().contains("has 5 bytes: needed are at least 16"));
    Path missing = directory.resolve("missing");
    assertTrue(assertThrows(IOException.class, () -> SharedKey.read(missing)).toString().contains("head -c 32 /dev/urandom"));
  }

  @Test
  void shouldMakeAKeyThatItCanRead() throws IOException {
    Path file = directory.resolve("made");
    SharedKey.create(file);
    assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(file)));
    assertEquals(32, SharedKey.read(file).hmac(new byte[1]).length);
    assertThrows(IOException.class, () -> SharedKey.create(file));
  }

  /** RFC 4231, test case 2 has a key too short for us; case 6's key has 131 bytes of 0xaa. */
  @Test
  void shouldComputeTheStandardsHmac() throws IOException {
    Path file = directory.resolve("rfc");
    byte[] secret = new byte[131];
    Arrays.fill(secret, (byte) 0xaa);
    Files.write(file, secret);
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-------"));
    byte[] text = "Test Using Larger Than Block-Size Key - Hash Key First".getBytes(StandardCharsets.US_ASCII);
    byte[] expected = HexFormat.of().parseHex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assertArrayEquals(expected, SharedKey.read(file).hmac(text));
    assertFalse(SharedKey.equal(expected, new byte[32]));
  }

  private Path file(String content, String mode) throws IOException {
    Path file = directory.resolve("key-" + mode);
    Files.writeString(file, content);
    return Files.setPosixFilePermissions(file, PosixFilePermissions.fromString(mode));
  }
}
