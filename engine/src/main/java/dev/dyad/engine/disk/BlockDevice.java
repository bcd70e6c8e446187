package dev.dyad.engine.disk;

/**
 * A disk as the engine sees it: requests in, completions out, both without waiting. Owned by one thread; nothing is allocated for a
 * request.
 *
 * <p>Requests run concurrently and complete in any order; what overlaps must not be in flight together. A completed write is durable
 * after the next completed FLUSH, or at once with FUA.
 */
public interface BlockDevice extends AutoCloseable {
  int READ = 0;
  int WRITE = 1;
  int FLUSH = 2;

  /** Reads as zeroes afterwards; space may be given back. */
  int DISCARD = 3;

  /** Reads as zeroes afterwards; space stays allocated. */
  int ZEROES = 4;

  /** Flag of WRITE, DISCARD and ZEROES: durable when it completes. */
  int FUA = 1;

  /** Who hears of completions. */
  interface Completions {
    /**
     * @param tag as given with the request
     * @param error 0, or a negative errno
     */
    void completed(long tag, int error);
  }

  long bytes();

  /** Offsets, lengths and, for READ and WRITE, addresses are multiples of this power of two. */
  int blockBytes();

  /** Requests that can be in flight. */
  int queueDepth();

  /** Bound of one READ or WRITE. */
  int transferBytesMax();

  /**
   * Starts a request.
   *
   * @param op READ … ZEROES
   * @param flags 0 or FUA
   * @param bytes 0 for FLUSH
   * @param hostVirt the data of READ and WRITE, in use until the completion
   * @return false, with nothing done, when as many requests are in flight as may be
   */
  boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag);

  /**
   * Hands started requests to whoever does them and reports what is done.
   *
   * @return number of completions reported
   */
  int poll(Completions completions);

  /**
   * What lies at {@code offset}: how many of the {@code bytes} from there on may be data or, as a negative number, are zeroes without space of their own; multiples of
   * the block. Says of completed requests only what is true; a device that does not know says that all is data. A few system calls, no more.
   */
  default long extent(long offset, long bytes) {
    return bytes;
  }

  /** Requests started and not reported. */
  int inFlight();

  /**
   * Hands over what was started and waits for a completion; for a thread that has nothing else to do.
   *
   * @param nanos bound, {@link Long#MAX_VALUE} for none, which saves the kernel a timer
   */
  default void await(long nanos) {}

  /** Hands over what was started and names what a completion wakes, for a thread that waits for more than this device. */
  default void rest(DiskRest rest) {}

  /** Ends the device; requests in flight are waited for and not reported. */
  @Override
  void close();
}
