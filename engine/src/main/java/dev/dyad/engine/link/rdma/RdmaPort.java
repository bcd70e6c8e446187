package dev.dyad.engine.link.rdma;

/**
 * What a link needs of connected queue pairs; so narrow that a simulated provider can stand in for {@link VerbsPort}. Owned by the
 * link's thread; nothing blocks, nothing but {@link #describe} and {@link #event} allocates.
 *
 * <p>Sends on a queue pair are counted from 0 on and finish in order. Receives are slots, {@link #receives} on each queue pair;
 * each is given back before it can be used again.
 */
interface RdmaPort extends AutoCloseable {
  int queuePairs();

  /** Sends that may be under way on each queue pair, a power of two. */
  int sendDepth();

  /** Receives that the peer has posted on each queue pair. */
  int peerReceives();

  int stripeBytes();

  // ---- sending: filled in order, then posted

  /** Writes bytes of our ring to the same position of the peer's; they do not run over the ring's end. */
  void write(int queuePair, long position, int bytes, int count, boolean signalled);

  /** As {@link #write}, and then tells the peer {@code told} and wakes it. */
  void writeAndTell(int queuePair, long position, int bytes, int told, int count);

  /** Where the message of this count is to be written before {@link #message}; stays ours until that send has finished. */
  long outgoing(int count);

  /** Sends the message of this count on queue pair 0. */
  void message(int count, boolean wakes);

  /** Posts what was filled in. Returns 0 or a positive errno. */
  int post(int queuePair);

  // ---- receiving

  /** Where the message of a slot of queue pair 0 is. */
  long incoming(int slot);

  /** The slot may be used again; takes effect with {@link #postReceives}. */
  void giveBack(int queuePair, int slot);

  /** Returns 0 or a positive errno. */
  int postReceives(int queuePair);

  // ---- completions

  /** Takes some completions, which are read by index until the next call. Gives their number, or a negative one: no port any more. */
  int poll();

  boolean hasFailed(int index);

  /** Of a failed one: whether it failed only because its queue pair had. */
  boolean isFlushed(int index);

  /** What failed, in words. */
  String describe(int index);

  boolean isReceive(int index);

  int queuePair(int index);

  /** Of a receive its slot, of a send its count. */
  int number(int index);

  /** Whether a receive is the end of a {@link #writeAndTell}, not a message. */
  boolean isTold(int index);

  int told(int index);

  // ---- waiting and watching

  /** Descriptor that becomes readable by a completion after {@link #arm}. */
  int completionFd();

  /** @param also our own finished sends are to wake, not only what the peer sent to wake us, and failures */
  void arm(boolean also);

  /** Takes the notifications that came. */
  void disarm();

  /** Descriptor that becomes readable by an asynchronous event, or −1. */
  int eventFd();

  /** What happened to device, port or queue pairs that ends the link, in words; empty for nothing. */
  String event();

  /**
   * Takes the peer's right to write to our ring away; when it returns, no write reaches the ring any more.
   *
   * @return what shows that it is so, in words
   * @throws RuntimeException when it may not be so
   */
  String revoke();

  @Override
  void close();
}
