package dev.dyad.engine.link;

import dev.dyad.bindings.abi.wire.dyad_challenge;
import dev.dyad.bindings.abi.wire.dyad_hello;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import dev.dyad.engine.wire.Wire;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import org.jspecify.annotations.Nullable;

/**
 * Finds out who is there before the ring starts, and fixes version, generation and sizes.
 *
 * <pre>
 *   caller                                         listener
 *     | HELLO   who, what, nonce ------------------> |
 *     | <--------- who, size of the ring, nonce CHALLENGE |
 *     | PROOF   hmac("caller", HELLO, CHALLENGE) --> |
 *     | <---- hmac("listener", HELLO, CHALLENGE) ACCEPT |
 * </pre>
 *
 * Both proofs cover both nonces and all that was said, so neither can be replayed, turned round or altered; the listener proves itself only to who
 * has proved itself. Without a key on both sides the proofs are zeros. Any answer may be REFUSE with the reason, after which the connection ends.
 *
 * <p>Cold code. The deadline is the socket's.
 */
public final class Handshake {
  /** The listener's say in who is let in. */
  @FunctionalInterface
  public interface Admission {
    /** Throws if this caller, which has proved itself, must not come in. */
    void check(Offer offer) throws RefusedException;
  }

  private static final byte[] CALLER = "dyad caller".getBytes(StandardCharsets.US_ASCII);
  private static final byte[] LISTENER = "dyad listener".getBytes(StandardCharsets.US_ASCII);
  private static final int NONCE_BYTES = wire_h.DYAD_NONCE_BYTES();
  private static final int PROOF_BYTES = wire_h.DYAD_PROOF_BYTES();
  private static final int DIGEST_BYTES = wire_h.DYAD_DIGEST_BYTES();
  private static final int AUTH_NONE = wire_h.DYAD_AUTH_NONE();
  private static final int AUTH_HMAC = wire_h.DYAD_AUTH_HMAC_SHA256();
  private static final SecureRandom RANDOM = new SecureRandom();

  private final PeerSocket peer;
  private final @Nullable SharedKey key;

  private Handshake(PeerSocket peer, @Nullable SharedKey key) {
    this.peer = peer;
    this.key = key;
  }

  /**
   * The caller's side.
   *
   * @param peer owned by the returned session; closed if this fails
   * @throws RefusedException by either side
   * @throws IOException the connection broke or the time is over
   */
  public static Session call(PeerSocket peer, Offer offer, @Nullable SharedKey key) throws IOException, RefusedException {
    try {
      return new Handshake(peer, key).call(offer);
    } catch (IOException | RefusedException | RuntimeException e) {
      peer.close();
      throw e;
    }
  }

  /**
   * The listener's side; its role is the other one.
   *
   * @param peer owned by the returned session; closed if this fails
   * @param own our role
   * @param ringBytesMax bound of the ring, a power of two
   */
  public static Session answer(PeerSocket peer, Role own, long ringBytesMax, @Nullable SharedKey key, Admission admission)
      throws IOException, RefusedException {
    Handshake handshake = new Handshake(peer, key);
    try {
      return handshake.answer(own, ringBytesMax, admission);
    } catch (RefusedException e) {
      handshake.tellRefusal(e);
      peer.close();
      throw e;
    } catch (IOException | RuntimeException e) {
      peer.close();
      throw e;
    }
  }

  /** Refuses without listening. */
  static void refuse(PeerSocket peer, Reason reason, long found, long needed) {
    new Handshake(peer, null).tellRefusal(new RefusedException(reason, found, needed));
    peer.close();
  }

  private Session call(Offer offer) throws IOException, RefusedException {
    if (!Wire.isRingSize(offer.ringBytes())) {
      throw new RefusedException(Reason.RING_BYTES, offer.ringBytes(), Wire.RING_BYTES_MIN);
    }
    byte[] hello = HandshakeFrame.encode(FrameType.HELLO, offer.generation(), hello(offer));
    peer.write(hello);
    HandshakeFrame challenge = HandshakeFrame.read(peer, FrameType.CHALLENGE, (int) dyad_challenge.sizeof());
    ByteBuffer in = challenge.payload();
    int role = Short.toUnsignedInt(in.getShort((int) dyad_challenge.role$offset()));
    if (role == offer.role().code()) {
      throw new RefusedException(Reason.ROLE, role, other(offer.role()).code());
    }
    checkAuth(Short.toUnsignedInt(in.getShort((int) dyad_challenge.auth$offset())));
    checkGeneration(challenge, offer.generation());
    long ringBytes = in.getLong((int) dyad_challenge.ring_bytes$offset());
    if (!Wire.isRingSize(ringBytes) || ringBytes > offer.ringBytes()) {
      throw new RefusedException(Reason.RING_BYTES, ringBytes, offer.ringBytes());
    }
    peer.write(HandshakeFrame.encode(FrameType.PROOF, offer.generation(), proof(CALLER, hello, challenge.bytes())));
    HandshakeFrame accept = HandshakeFrame.read(peer, FrameType.ACCEPT, PROOF_BYTES);
    if (!SharedKey.equal(accept.payload().array(), proof(LISTENER, hello, challenge.bytes()))) {
      throw new RefusedException(Reason.PROOF, 0, 0);
    }
    checkGeneration(accept, offer.generation());
    return new Session(peer, offer, ringBytes);
  }

  private Session answer(Role own, long ringBytesMax, Admission admission) throws IOException, RefusedException {
    HandshakeFrame hello = HandshakeFrame.read(peer, FrameType.HELLO, (int) dyad_hello.sizeof());
    Offer offer = offer(hello, own);
    long ringBytes = Math.min(offer.ringBytes(), ringBytesMax);
    byte[] challenge = HandshakeFrame.encode(FrameType.CHALLENGE, offer.generation(), challenge(own, ringBytes));
    peer.write(challenge);
    checkAuth(Short.toUnsignedInt(hello.payload().getShort((int) dyad_hello.auth$offset())));
    HandshakeFrame proof = HandshakeFrame.read(peer, FrameType.PROOF, PROOF_BYTES);
    if (!SharedKey.equal(proof.payload().array(), proof(CALLER, hello.bytes(), challenge))) {
      throw new RefusedException(Reason.PROOF, 0, 0);
    }
    checkGeneration(proof, offer.generation());
    admission.check(offer);
    peer.write(HandshakeFrame.encode(FrameType.ACCEPT, offer.generation(), proof(LISTENER, hello.bytes(), challenge)));
    return new Session(peer, offer, ringBytes);
  }

  private byte[] hello(Offer offer) {
    ByteBuffer out = HandshakeFrame.payload((int) dyad_hello.sizeof());
    out.put((int) dyad_hello.nonce$offset(), nonce());
    out.put((int) dyad_hello.memory_digest$offset(), offer.memoryDigest(), 0, DIGEST_BYTES);
    out.putLong((int) dyad_hello.memory_bytes$offset(), offer.memoryBytes());
    out.putLong((int) dyad_hello.ring_bytes$offset(), offer.ringBytes());
    out.putInt((int) dyad_hello.page_bytes$offset(), Wire.PAGE_BYTES);
    out.putShort((int) dyad_hello.role$offset(), (short) offer.role().code());
    out.putShort((int) dyad_hello.channel$offset(), (short) offer.channel().code());
    out.putShort((int) dyad_hello.auth$offset(), (short) auth());
    return out.array();
  }

  private byte[] challenge(Role own, long ringBytes) {
    ByteBuffer out = HandshakeFrame.payload((int) dyad_challenge.sizeof());
    out.put((int) dyad_challenge.nonce$offset(), nonce());
    out.putLong((int) dyad_challenge.ring_bytes$offset(), ringBytes);
    out.putShort((int) dyad_challenge.role$offset(), (short) own.code());
    out.putShort((int) dyad_challenge.auth$offset(), (short) auth());
    return out.array();
  }

  private static Offer offer(HandshakeFrame hello, Role own) throws RefusedException {
    ByteBuffer in = hello.payload();
    int role = Short.toUnsignedInt(in.getShort((int) dyad_hello.role$offset()));
    if (role != other(own).code()) {
      throw new RefusedException(Reason.ROLE, role, other(own).code());
    }
    int channelCode = Short.toUnsignedInt(in.getShort((int) dyad_hello.channel$offset()));
    Channel channel = Channel.of(channelCode);
    if (channel == null) {
      throw new RefusedException(Reason.CHANNEL, channelCode, Channel.DISK_BACK.code());
    }
    int pageBytes = in.getInt((int) dyad_hello.page_bytes$offset());
    if (pageBytes != Wire.PAGE_BYTES) {
      throw new RefusedException(Reason.PAGE_BYTES, Integer.toUnsignedLong(pageBytes), Wire.PAGE_BYTES);
    }
    long ringBytes = in.getLong((int) dyad_hello.ring_bytes$offset());
    if (!Wire.isRingSize(ringBytes)) {
      throw new RefusedException(Reason.RING_BYTES, ringBytes, Wire.RING_BYTES_MIN);
    }
    for (int i = 0; i < 3; i++) {
      int zero = in.getShort((int) dyad_hello.zero$offset() + i * Short.BYTES);
      if (zero != 0) {
        throw new RefusedException(Reason.ZERO_FIELD, zero, 0);
      }
    }
    byte[] digest = new byte[DIGEST_BYTES];
    in.get((int) dyad_hello.memory_digest$offset(), digest);
    return new Offer(other(own), channel, hello.generation(), ringBytes, in.getLong((int) dyad_hello.memory_bytes$offset()), digest);
  }

  private void checkAuth(int found) throws RefusedException {
    if (found != AUTH_NONE && found != AUTH_HMAC) {
      throw new RefusedException(Reason.KEY_UNKNOWN, found, AUTH_HMAC);
    }
    if (found != auth()) {
      throw new RefusedException(Reason.KEY_NEEDED, found, auth());
    }
  }

  private static void checkGeneration(HandshakeFrame frame, long generation) throws RefusedException {
    if (frame.generation() != generation) {
      throw new RefusedException(Reason.GENERATION, frame.generation(), generation);
    }
  }

  private int auth() {
    return key == null ? AUTH_NONE : AUTH_HMAC;
  }

  private byte[] proof(byte[] label, byte[] hello, byte[] challenge) {
    return key == null ? new byte[PROOF_BYTES] : key.hmac(label, hello, challenge);
  }

  private static byte[] nonce() {
    byte[] nonce = new byte[NONCE_BYTES];
    RANDOM.nextBytes(nonce);
    return nonce;
  }

  private static Role other(Role role) {
    return role == Role.PRIMARY ? Role.STANDBY : Role.PRIMARY;
  }

  private void tellRefusal(RefusedException why) {
    try {
      peer.write(HandshakeFrame.encode(FrameType.REFUSE, 0, HandshakeFrame.reason(why)));
    } catch (IOException e) {
      // The peer is gone or does not read; we part from it anyway.
    }
  }
}
