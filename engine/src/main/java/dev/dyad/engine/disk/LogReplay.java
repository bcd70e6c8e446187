package dev.dyad.engine.disk;

import static dev.dyad.engine.disk.BlockDevice.READ;
import static dev.dyad.engine.disk.BlockDevice.WRITE;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.Crc32c;
import java.util.ArrayList;
import java.util.List;

/**
 * What a standby's log file is for: after a loss of power the image gets every epoch up to the last seal in the file, and nothing of what
 * came after it. Any thread, before anybody else has the image; waits.
 *
 * <p>It may end half-way and be done again: it begins with the first batch each time, and what is written twice is the same.
 *
 * <p>Must never happen: the image gets a write from a batch that is not durable. A process that died leaves batches that a loss of power can
 * still take; the next replay would then mend to an older epoch what this one has written of a newer one.
 */
final class LogReplay {
  private static final int HEAD = WriteLog.BATCH_HEAD_BYTES;

  private LogReplay() {}

  /**
   * Applies to an image what was whole in a log when its host lost power: every epoch up to the last seal in it. Waits.
   *
   * @return number of writes applied
   */
  static int run(BlockDevice device, BlockDevice image, long logId, int dataBytesMax) {
    try (Mapping memory = Mapping.anonymous(HEAD + (long) dataBytesMax)) {
      long at = memory.hostVirt();
      long data = at + HEAD;
      Crc32c crc = new Crc32c(at, HEAD + (long) dataBytesMax);
      List<Long> batches = new ArrayList<>();
      int whole = 0;
      long lastSeal = -1;
      long base = -1;
      long position = 0;
      while (position + HEAD <= device.bytes()) {
        SyncIo.transfer(device, READ, position, HEAD, at);
        if (!WriteLog.isBatch(at, logId, batches.size())) {
          break;
        }
        int bytes = WriteLog.batchDataBytes(at);
        if (bytes > dataBytesMax || position + HEAD + bytes > device.bytes()) {
          break;
        }
        if (bytes > 0) {
          SyncIo.transfer(device, READ, position + HEAD, bytes, data);
          if (crc.of(data, bytes) != WriteLog.batchDataCrc(at)) {
            break;
          }
        }
        batches.add(position);
        if (WriteLog.batchSeal(at) >= 0) {
          whole = batches.size();
          lastSeal = WriteLog.batchSeal(at);
          base = WriteLog.batchBase(at);
        }
        position += HEAD + bytes;
      }
      if (whole > 0) {
        SyncIo.flush(device); // what was read may be in its cache alone
      }
      int writes = 0;
      for (int batch = 0; batch < whole; batch++) {
        SyncIo.transfer(device, READ, batches.get(batch), HEAD, at);
        int bytes = WriteLog.batchDataBytes(at);
        if (bytes > 0) {
          SyncIo.transfer(device, READ, batches.get(batch) + HEAD, bytes, data);
        }
        for (int k = 0; k < WriteLog.batchCount(at); k++) {
          long entry = WriteLog.batchEntry(at, k);
          long epoch = Memory.getLong(entry + 24);
          if (epoch > lastSeal || epoch <= base) {
            continue;
          }
          writes++;
          int op = Memory.getInt(entry);
          long offset = Memory.getLong(entry + 8);
          long length = Memory.getLong(entry + 16);
          if (op == WRITE) {
            SyncIo.transfer(image, WRITE, offset, (int) length, data + Memory.getInt(entry + 4));
          } else {
            SyncIo.clear(image, op, offset, length);
          }
        }
      }
      if (writes > 0) {
        SyncIo.flush(image);
      }
      return writes;
    }
  }
}
