package dev.dyad.engine.disk.nbd;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.POLLOUT;
import static dev.dyad.engine.disk.nbd.Nbd.*;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskRest;
import java.nio.charset.StandardCharsets;

/**
 * One client: parses what it sends, starts its requests, writes the replies. Thread: disk; owns its wire and two buffers.
 *
 * <pre>
 *   FLAGS → OPTIONS → REQUESTS ⇄ PAYLOAD → CLOSED
 * </pre>
 *
 * <p>Whatever the protocol allows but we do not offer is answered with an error; whatever it does not allow ends the connection.
 */
final class NbdConnection implements AutoCloseable {
  private static final int IN_BYTES = 1 << 18;
  private static final int OUT_BYTES = 1 << 22;
  private static final int OPTION_HEAD = 16;
  private static final int OPTION_BYTES_MAX = 8192;
  private static final int CONTEXT_ALLOCATION = 1;

  /** In one answer, each of two system calls; a client asks again for what is behind them. */
  private static final int EXTENTS_MAX = 64;

  private static final int EXTENT_BYTES = 8;
  private static final String ALLOCATION = "base:allocation";

  private enum State {
    FLAGS,
    OPTIONS,
    REQUESTS,
    PAYLOAD,
    CLOSED
  }

  private final NbdWire wire;
  private final NbdRequests requests;
  private final BlockDevice device;
  private final String export;
  private final Mapping memory;
  private final long in;
  private final long out;
  private final int[] doneQueue;
  private int inFrom;
  private int inTo;
  private int outFrom;
  private int outTo;
  private int doneCount;
  private int running;
  private State state = State.FLAGS;
  private boolean structured;
  private boolean allocationContext;
  private boolean noZeroes;
  private boolean ending;
  private int payloadSlot;
  private int payloadHave;
  private String reason = "";

  NbdConnection(NbdWire wire, NbdRequests requests, BlockDevice device, String export, int requestsMax) {
    this.wire = wire;
    this.requests = requests;
    this.device = device;
    this.export = export;
    doneQueue = new int[requestsMax];
    memory = Mapping.anonymous(IN_BYTES + OUT_BYTES);
    in = memory.hostVirt();
    out = in + IN_BYTES;
    putLong(out, NBDMAGIC);
    putLong(out + 8, IHAVEOPT);
    putShort(out + 16, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
    outTo = 18;
  }

  boolean isClosed() {
    return state == State.CLOSED && running == 0;
  }

  /** Why it was ended, when that was not by its own wish. */
  String reason() {
    return reason;
  }

  /** One turn: the amount of work done. */
  int poll() {
    int work = reply();
    work += send();
    if (state != State.CLOSED && !ending) {
      work += receive();
      work += reply();
      work += send();
    }
    if (ending && outFrom == outTo && running == 0) {
      state = State.CLOSED;
    }
    return work;
  }

  /** Names what wakes when the client sends, or takes what it is sent. */
  void rest(DiskRest rest) {
    int events = (ending ? 0 : POLLIN()) | (outFrom < outTo ? POLLOUT() : 0);
    if (events != 0) {
      rest.on(wire.fd(), events);
    }
  }

  private int receive() {
    int work = 0;
    while (state != State.CLOSED && !ending) {
      if (!parse()) {
        return work;
      }
      if (state == State.PAYLOAD && inFrom == inTo) {
        if (!receivePayload()) {
          return work;
        }
        work++;
        continue;
      }
      if (inFrom > 0) {
        Memory.copy(in + inFrom, in, inTo - inFrom);
        inTo -= inFrom;
        inFrom = 0;
      }
      long got = wire.receive(in + inTo, IN_BYTES - inTo);
      if (!received(got)) {
        return work;
      }
      inTo += (int) got;
      work++;
    }
    return work;
  }

  private boolean received(long got) {
    if (got > 0) {
      return true;
    }
    if (got == 0 || (got != -EAGAIN() && got != -EINTR())) {
      end(got == 0 ? "" : "receive failed");
    }
    return false;
  }

  private boolean receivePayload() {
    long want = requests.bytes[payloadSlot] - payloadHave;
    long got = wire.receive(requests.buffer(payloadSlot) + payloadHave, want);
    if (!received(got)) {
      return false;
    }
    payloadHave += (int) got;
    if (payloadHave == requests.bytes[payloadSlot]) {
      payloadComplete();
    }
    return true;
  }

  /** Goes through what is in the buffer; false when it must stop although more bytes may be there. */
  private boolean parse() {
    while (true) {
      int have = inTo - inFrom;
      long at = in + inFrom;
      switch (state) {
        case FLAGS -> {
          if (have < 4) {
            return true;
          }
          int flags = getInt(at);
          inFrom += 4;
          if ((flags & ~(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)) != 0) {
            end("client flags 0x" + Integer.toHexString(flags));
            return false;
          }
          noZeroes = (flags & FLAG_NO_ZEROES) != 0;
          state = State.OPTIONS;
        }
        case OPTIONS -> {
          if (have < OPTION_HEAD) {
            return true;
          }
          int length = getInt(at + 12);
          if (getLong(at) != IHAVEOPT || length < 0 || length > OPTION_BYTES_MAX) {
            end("malformed option");
            return false;
          }
          if (have < OPTION_HEAD + length) {
            return true;
          }
          if (OUT_BYTES - outTo < 4 * OPTION_BYTES_MAX && !makeRoom(4 * OPTION_BYTES_MAX)) {
            return false; // a client that asks and does not listen
          }
          inFrom += OPTION_HEAD + length;
          option(getInt(at + 8), at + OPTION_HEAD, length);
          if (ending) {
            return false;
          }
        }
        case REQUESTS -> {
          if (have < REQUEST_BYTES) {
            return true;
          }
          if (requests.isFull() || running == doneQueue.length) {
            return false;
          }
          inFrom += REQUEST_BYTES;
          request(at);
          if (ending) {
            return false;
          }
        }
        case PAYLOAD -> {
          int take = (int) Math.min(have, requests.bytes[payloadSlot] - payloadHave);
          if (take == 0) {
            return true;
          }
          Memory.copy(at, requests.buffer(payloadSlot) + payloadHave, take);
          inFrom += take;
          payloadHave += take;
          if (payloadHave == requests.bytes[payloadSlot]) {
            payloadComplete();
          }
        }
        case CLOSED -> {
          return false;
        }
      }
    }
  }

  // ---- options ----

  private void option(int option, long data, int length) {
    switch (option) {
      case OPT_EXPORT_NAME -> {
        if (!nameFits(data, length)) {
          end("unknown export");
          return;
        }
        putLong(out + outTo, device.bytes());
        putShort(out + outTo + 8, transmissionFlags());
        outTo += 10;
        if (!noZeroes) {
          Memory.zero(out + outTo, 124);
          outTo += 124;
        }
        state = State.REQUESTS;
      }
      case OPT_ABORT -> {
        optionReply(option, REP_ACK, 0);
        end("");
      }
      case OPT_LIST -> {
        if (length != 0) {
          optionReply(option, REP_ERR_INVALID, 0);
          return;
        }
        byte[] name = export.getBytes(StandardCharsets.UTF_8);
        long at = out + outTo + 20;
        putInt(at, name.length);
        Memory.copyFrom(name, 0, at + 4, name.length);
        optionReply(option, REP_SERVER, 4 + name.length);
        optionReply(option, REP_ACK, 0);
      }
      case OPT_INFO, OPT_GO -> infoOrGo(option, data, length);
      case OPT_STRUCTURED_REPLY -> {
        if (length != 0) {
          optionReply(option, REP_ERR_INVALID, 0);
          return;
        }
        structured = true;
        optionReply(option, REP_ACK, 0);
      }
      case OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT -> metaContext(option, data, length);
      default -> optionReply(option, REP_ERR_UNSUP, 0);
    }
  }

  private void infoOrGo(int option, long data, int length) {
    int nameBytes = length < 6 ? -1 : getInt(data);
    if (nameBytes < 0 || nameBytes > length - 6 || 6 + nameBytes + 2 * getShort(data + 4 + nameBytes) != length) {
      optionReply(option, REP_ERR_INVALID, 0);
      return;
    }
    if (!nameFits(data + 4, nameBytes)) {
      optionReply(option, REP_ERR_UNKNOWN, 0);
      return;
    }
    long at = out + outTo + 20;
    putShort(at, INFO_EXPORT);
    putLong(at + 2, device.bytes());
    putShort(at + 10, transmissionFlags());
    optionReply(option, REP_INFO, 12);
    at = out + outTo + 20;
    putShort(at, INFO_BLOCK_SIZE);
    putInt(at + 2, device.blockBytes());
    putInt(at + 6, Math.max(4096, device.blockBytes()));
    putInt(at + 10, NbdRequests.BUFFER_BYTES);
    optionReply(option, REP_INFO, 14);
    optionReply(option, REP_ACK, 0);
    if (option == OPT_GO) {
      state = State.REQUESTS;
    }
  }

  /** The empty name stands for the only export. */
  private boolean nameFits(long data, int length) {
    if (length == 0) {
      return true;
    }
    byte[] name = new byte[length];
    Memory.copyTo(data, name, 0, length);
    return new String(name, StandardCharsets.UTF_8).equals(export);
  }

  private void metaContext(int option, long data, int length) {
    int nameBytes = length < 8 ? -1 : getInt(data);
    if (!structured || nameBytes < 0 || nameBytes > length - 8) {
      optionReply(option, REP_ERR_INVALID, 0);
      return;
    }
    if (!nameFits(data + 4, nameBytes)) {
      optionReply(option, REP_ERR_UNKNOWN, 0);
      return;
    }
    int queries = getInt(data + 4 + nameBytes);
    int from = 8 + nameBytes;
    boolean wanted = option == OPT_LIST_META_CONTEXT && queries == 0;
    for (int i = 0; i < queries; i++) {
      int bytes = length - from < 4 ? -1 : getInt(data + from);
      if (bytes < 0 || bytes > length - from - 4) {
        optionReply(option, REP_ERR_INVALID, 0);
        return;
      }
      byte[] query = new byte[bytes];
      Memory.copyTo(data + from + 4, query, 0, bytes);
      String text = new String(query, StandardCharsets.UTF_8);
      wanted |= text.equals(ALLOCATION) || (option == OPT_LIST_META_CONTEXT && text.equals("base:"));
      from += 4 + bytes;
    }
    if (queries < 0 || from != length) {
      optionReply(option, REP_ERR_INVALID, 0);
      return;
    }
    if (option == OPT_SET_META_CONTEXT) {
      allocationContext = wanted;
    }
    if (wanted) {
      byte[] name = ALLOCATION.getBytes(StandardCharsets.UTF_8);
      long at = out + outTo + 20;
      putInt(at, CONTEXT_ALLOCATION);
      Memory.copyFrom(name, 0, at + 4, name.length);
      optionReply(option, REP_META_CONTEXT, 4 + name.length);
    }
    optionReply(option, REP_ACK, 0);
  }

  /** Completes a reply whose data was written 20 bytes behind the end of the output. */
  private void optionReply(int option, int type, int dataBytes) {
    long at = out + outTo;
    putLong(at, REPLY_MAGIC);
    putInt(at + 8, option);
    putInt(at + 12, type);
    putInt(at + 16, dataBytes);
    outTo += 20 + dataBytes;
  }

  private int transmissionFlags() {
    return HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | CAN_MULTI_CONN | (structured ? SEND_DF : 0);
  }

  // ---- requests ----

  private void request(long at) {
    int flags = getShort(at + 4);
    int command = getShort(at + 6);
    long cookie = Memory.getLong(at + 8); // given back as it came
    long offset = getLong(at + 16);
    long bytes = Integer.toUnsignedLong(getInt(at + 24));
    if (getInt(at) != REQUEST_MAGIC) {
      end("request magic 0x" + Integer.toHexString(getInt(at)));
      return;
    }
    if (command == CMD_DISC) {
      end("");
      return;
    }
    if (command == CMD_WRITE && bytes > NbdRequests.BUFFER_BYTES) {
      end("a write of " + bytes + " bytes, announced was a maximum of " + NbdRequests.BUFFER_BYTES);
      return;
    }
    int slot = requests.take(this, command, flags, cookie, offset, command == CMD_FLUSH ? 0 : bytes);
    running++;
    if (command == CMD_WRITE) {
      payloadSlot = slot;
      payloadHave = 0;
      state = State.PAYLOAD;
      if (bytes == 0) {
        payloadComplete();
      }
      return;
    }
    start(slot);
  }

  private void payloadComplete() {
    state = State.REQUESTS;
    start(payloadSlot);
  }

  private void start(int slot) {
    int invalid = check(slot);
    if (invalid != 0) {
      fail(slot, invalid);
      return;
    }
    int fua = (requests.flags[slot] & CMD_FLAG_FUA) != 0 ? BlockDevice.FUA : 0;
    switch (requests.command[slot]) {
      case CMD_READ -> requests.start(slot, BlockDevice.READ, 0);
      case CMD_WRITE -> requests.start(slot, BlockDevice.WRITE, fua);
      case CMD_FLUSH -> requests.start(slot, BlockDevice.FLUSH, 0);
      case CMD_TRIM -> requests.start(slot, BlockDevice.DISCARD, fua);
      case CMD_WRITE_ZEROES ->
          requests.start(slot, (requests.flags[slot] & CMD_FLAG_NO_HOLE) != 0 ? BlockDevice.ZEROES : BlockDevice.DISCARD, fua);
      default -> done(slot); // block status: nothing to ask the device
    }
  }

  /** 0, or the error with which the request is refused. */
  private int check(int slot) {
    int command = requests.command[slot];
    int known =
        switch (command) {
          case CMD_READ -> CMD_FLAG_DF;
          case CMD_WRITE, CMD_TRIM -> CMD_FLAG_FUA;
          case CMD_WRITE_ZEROES -> CMD_FLAG_FUA | CMD_FLAG_NO_HOLE;
          case CMD_BLOCK_STATUS -> CMD_FLAG_REQ_ONE;
          case CMD_FLUSH -> 0;
          default -> -1;
        };
    if (known < 0 || (requests.flags[slot] & ~(known | CMD_FLAG_FUA)) != 0) {
      return EINVAL;
    }
    if (command == CMD_FLUSH) {
      return 0;
    }
    if (command == CMD_BLOCK_STATUS && !allocationContext) {
      return EINVAL;
    }
    long offset = requests.offset[slot];
    long bytes = requests.bytes[slot];
    if (offset < 0 || bytes == 0 || offset > device.bytes() - bytes) {
      return command == CMD_READ || command == CMD_BLOCK_STATUS ? EINVAL : ENOSPC;
    }
    boolean aligned = offset % device.blockBytes() == 0 && bytes % device.blockBytes() == 0;
    boolean tooLong = command == CMD_READ && bytes > NbdRequests.BUFFER_BYTES;
    return aligned && !tooLong ? 0 : EINVAL;
  }

  private void fail(int slot, int error) {
    requests.bytes[slot] = 0;
    requests.completed(slot, -error);
  }

  /** A request has its result; the reply goes out as soon as there is room. */
  void done(int slot) {
    doneQueue[doneCount++] = slot;
  }

  private int reply() {
    int written = 0;
    while (written < doneCount && reply(doneQueue[written])) {
      requests.release(doneQueue[written]);
      running--;
      written++;
    }
    if (written > 0) {
      System.arraycopy(doneQueue, written, doneQueue, 0, doneCount - written);
      doneCount -= written;
    }
    return written;
  }

  private boolean reply(int slot) {
    if (state == State.CLOSED) {
      return true;
    }
    int error = error(requests.error(slot));
    boolean read = requests.command[slot] == CMD_READ && error == 0;
    boolean status = requests.command[slot] == CMD_BLOCK_STATUS && error == 0;
    int data = read ? (int) requests.bytes[slot] : 0;
    if (!makeRoom(data + 64 + (status ? EXTENTS_MAX * EXTENT_BYTES : 0))) {
      return false;
    }
    long at = out + outTo;
    if (!structured) {
      putInt(at, SIMPLE_REPLY_MAGIC);
      putInt(at + 4, error);
      Memory.putLong(at + 8, requests.cookie[slot]);
      Memory.copy(requests.buffer(slot), at + SIMPLE_REPLY_BYTES, data);
      outTo += SIMPLE_REPLY_BYTES + data;
      return true;
    }
    if (error != 0) {
      chunk(at, CHUNK_ERROR, slot, 6);
      putInt(at + CHUNK_BYTES, error);
      putShort(at + CHUNK_BYTES + 4, 0);
      outTo += CHUNK_BYTES + 6;
    } else if (read) {
      chunk(at, CHUNK_OFFSET_DATA, slot, 8 + data);
      putLong(at + CHUNK_BYTES, requests.offset[slot]);
      Memory.copy(requests.buffer(slot), at + CHUNK_BYTES + 8, data);
      outTo += CHUNK_BYTES + 8 + data;
    } else if (status) {
      int extents = extents(slot, at + CHUNK_BYTES + 4) * EXTENT_BYTES;
      chunk(at, CHUNK_BLOCK_STATUS, slot, 4 + extents);
      putInt(at + CHUNK_BYTES, CONTEXT_ALLOCATION);
      outTo += CHUNK_BYTES + 4 + extents;
    } else {
      chunk(at, CHUNK_NONE, slot, 0);
      outTo += CHUNK_BYTES;
    }
    return true;
  }

  /** Writes what the device says of the request's range, as far as one answer goes; the number of extents. */
  private int extents(int slot, long at) {
    int max = (requests.flags[slot] & CMD_FLAG_REQ_ONE) != 0 ? 1 : EXTENTS_MAX;
    long from = requests.offset[slot];
    long end = from + requests.bytes[slot];
    int count = 0;
    while (from < end && count < max) {
      long extent = device.extent(from, end - from);
      putInt(at + (long) count * EXTENT_BYTES, (int) Math.abs(extent));
      putInt(at + (long) count * EXTENT_BYTES + 4, extent < 0 ? STATE_HOLE | STATE_ZERO : 0);
      from += Math.abs(extent);
      count++;
    }
    return count;
  }

  private void chunk(long at, int type, int slot, int length) {
    putInt(at, CHUNK_MAGIC);
    putShort(at + 4, CHUNK_DONE);
    putShort(at + 6, type);
    Memory.putLong(at + 8, requests.cookie[slot]);
    putInt(at + 16, length);
  }

  private boolean makeRoom(int bytes) {
    if (OUT_BYTES - outTo >= bytes) {
      return true;
    }
    send();
    if (outFrom > 0) {
      Memory.copy(out + outFrom, out, outTo - outFrom);
      outTo -= outFrom;
      outFrom = 0;
    }
    return OUT_BYTES - outTo >= bytes;
  }

  private int send() {
    int work = 0;
    while (outFrom < outTo && state != State.CLOSED) {
      long sent = wire.send(out + outFrom, outTo - outFrom);
      if (sent <= 0) {
        if (sent != -EAGAIN() && sent != -EINTR()) {
          abandonPayload();
          state = State.CLOSED;
        }
        break;
      }
      outFrom += (int) sent;
      work++;
    }
    if (outFrom == outTo) {
      outFrom = 0;
      outTo = 0;
    }
    return work;
  }

  /** No more requests; what runs is answered, then the connection is closed. */
  private void end(String why) {
    reason = why;
    ending = true;
    abandonPayload();
  }

  private void abandonPayload() {
    if (state == State.PAYLOAD) {
      requests.release(payloadSlot);
      running--;
      state = State.REQUESTS;
    }
  }

  /** The socket goes away; requests that still run release their places when they complete. */
  @Override
  public void close() {
    abandonPayload();
    state = State.CLOSED;
    wire.close();
  }

  /** After {@link #isClosed}. */
  void free() {
    memory.close();
  }
}
