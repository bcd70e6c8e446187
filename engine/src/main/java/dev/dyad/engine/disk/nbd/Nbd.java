package dev.dyad.engine.disk.nbd;

import dev.dyad.bindings.linux.Memory;

/** Numbers of the NBD protocol under their names in {@code proto.md}, and its byte order: big-endian. */
final class Nbd {
  static final long NBDMAGIC = 0x4e42444d41474943L;
  static final long IHAVEOPT = 0x49484156454f5054L;
  static final long REPLY_MAGIC = 0x3e889045565a9L;
  static final int FLAG_FIXED_NEWSTYLE = 1;
  static final int FLAG_NO_ZEROES = 2;

  static final int OPT_EXPORT_NAME = 1;
  static final int OPT_ABORT = 2;
  static final int OPT_LIST = 3;
  static final int OPT_INFO = 6;
  static final int OPT_GO = 7;
  static final int OPT_STRUCTURED_REPLY = 8;
  static final int OPT_LIST_META_CONTEXT = 9;
  static final int OPT_SET_META_CONTEXT = 10;

  static final int REP_ACK = 1;
  static final int REP_SERVER = 2;
  static final int REP_INFO = 3;
  static final int REP_META_CONTEXT = 4;
  static final int REP_ERR_UNSUP = 0x8000_0001;
  static final int REP_ERR_INVALID = 0x8000_0003;
  static final int REP_ERR_UNKNOWN = 0x8000_0006;
  static final int REP_ERR_TOO_BIG = 0x8000_0009;

  static final int INFO_EXPORT = 0;
  static final int INFO_BLOCK_SIZE = 3;

  static final int HAS_FLAGS = 1;
  static final int SEND_FLUSH = 4;
  static final int SEND_FUA = 8;
  static final int SEND_TRIM = 32;
  static final int SEND_WRITE_ZEROES = 64;
  static final int SEND_DF = 128;
  static final int CAN_MULTI_CONN = 256;

  static final int REQUEST_MAGIC = 0x25609513;
  static final int REQUEST_BYTES = 28;
  static final int CMD_READ = 0;
  static final int CMD_WRITE = 1;
  static final int CMD_DISC = 2;
  static final int CMD_FLUSH = 3;
  static final int CMD_TRIM = 4;
  static final int CMD_WRITE_ZEROES = 6;
  static final int CMD_BLOCK_STATUS = 7;
  static final int CMD_FLAG_FUA = 1;
  static final int CMD_FLAG_NO_HOLE = 2;
  static final int CMD_FLAG_DF = 4;
  static final int CMD_FLAG_REQ_ONE = 8;

  static final int SIMPLE_REPLY_MAGIC = 0x67446698;
  static final int SIMPLE_REPLY_BYTES = 16;
  static final int CHUNK_MAGIC = 0x668e33ef;
  static final int CHUNK_BYTES = 20;
  static final int CHUNK_DONE = 1;
  static final int CHUNK_NONE = 0;
  static final int CHUNK_OFFSET_DATA = 1;
  static final int CHUNK_BLOCK_STATUS = 5;
  static final int CHUNK_ERROR = 0x8001;

  static final int STATE_HOLE = 1;
  static final int STATE_ZERO = 2;

  /** The errors of the protocol are Linux's numbers, but only these. */
  static final int EPERM = 1;

  static final int EIO = 5;
  static final int EINVAL = 22;
  static final int ENOSPC = 28;

  private Nbd() {}

  static int error(int negativeErrno) {
    return switch (-negativeErrno) {
      case 0 -> 0;
      case EPERM -> EPERM;
      case EINVAL -> EINVAL;
      case ENOSPC -> ENOSPC;
      default -> EIO;
    };
  }

  static int getShort(long at) {
    return Short.toUnsignedInt(Short.reverseBytes(Memory.getShort(at)));
  }

  static int getInt(long at) {
    return Integer.reverseBytes(Memory.getInt(at));
  }

  static long getLong(long at) {
    return Long.reverseBytes(Memory.getLong(at));
  }

  static void putShort(long at, int value) {
    Memory.putShort(at, Short.reverseBytes((short) value));
  }

  static void putInt(long at, int value) {
    Memory.putInt(at, Integer.reverseBytes(value));
  }

  static void putLong(long at, long value) {
    Memory.putLong(at, Long.reverseBytes(value));
  }
}
