package dev.dyad.engine.link;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.Set;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * The secret that both hosts know, from a file that only its owner can read. All bytes of the file count, but white space at its end.
 *
 * <p>Immutable; any thread. Cold code.
 */
public final class SharedKey {
  private static final int BYTES_MIN = 16;
  private static final int BYTES_MAX = 4096;
  private static final String ALGORITHM = "HmacSHA256";
  private static final Set<PosixFilePermission> OWNERS =
      EnumSet.of(PosixFilePermission.OWNER_READ, PosixFilePermission.OWNER_WRITE, PosixFilePermission.OWNER_EXECUTE);

  private final SecretKeySpec key;

  private SharedKey(byte[] secret) {
    key = new SecretKeySpec(secret, ALGORITHM);
  }

  /**
   * Reads a key file.
   *
   * @throws IOException in one line: what was found, what is needed, what to run
   */
  public static SharedKey read(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw new IOException("key file " + file + " is not there: needed is a file of at least " + BYTES_MIN + " bytes; run: " + recipe(file));
    }
    PosixFileAttributes attributes = Files.readAttributes(file, PosixFileAttributes.class);
    Set<PosixFilePermission> permissions = attributes.permissions();
    if (!OWNERS.containsAll(permissions)) {
      throw new IOException(
          "key file " + file + " has mode " + PosixFilePermissions.toString(permissions) + ": needed is one that only its owner can use; run: chmod 600 " + file);
    }
    if (attributes.size() > BYTES_MAX) {
      throw new IOException("key file " + file + " has " + attributes.size() + " bytes: allowed are " + BYTES_MAX);
    }
    byte[] bytes = Files.readAllBytes(file);
    int length = bytes.length;
    while (length > 0 && bytes[length - 1] >= 0 && bytes[length - 1] <= ' ') {
      length--;
    }
    if (length < BYTES_MIN) {
      throw new IOException("key file " + file + " has " + length + " bytes: needed are at least " + BYTES_MIN + "; run: " + recipe(file));
    }
    return new SharedKey(Arrays.copyOf(bytes, length));
  }

  private static String recipe(Path file) {
    return "(umask 077; head -c 32 /dev/urandom | base64 > " + file + ")";
  }

  /** Makes a key file with 32 random bytes in hexadecimal; the file must not be there. */
  public static void create(Path file) throws IOException {
    byte[] secret = new byte[32];
    new SecureRandom().nextBytes(secret);
    Set<PosixFilePermission> mode = PosixFilePermissions.fromString("rw-------");
    Files.createFile(file, PosixFilePermissions.asFileAttribute(mode));
    Files.writeString(file, HexFormat.of().formatHex(secret) + "\n", StandardOpenOption.WRITE);
  }

  /** HMAC-SHA256 over the parts in a row. */
  byte[] hmac(byte[]... parts) {
    try {
      Mac mac = Mac.getInstance(ALGORITHM);
      mac.init(key);
      for (byte[] part : parts) {
        mac.update(part);
      }
      return mac.doFinal();
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e); // every Java platform has it
    }
  }

  /** Takes the same time whatever differs. */
  static boolean equal(byte[] one, byte[] other) {
    return MessageDigest.isEqual(one, other);
  }
}
