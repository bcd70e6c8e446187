package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_comp_channel;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;

/** Makes completions wake a sleeping thread: a descriptor for poll(2). ibv_create_comp_channel(3). */
public final class CompletionChannel extends VerbsObject {

  private final Arena arena = Arena.ofShared();
  private final long pointer;
  private final int fd;
  private final long event = arena.allocate(16, 8).address();

  private CompletionChannel(RdmaContext device, long pointer) {
    super(device);
    this.pointer = pointer;
    fd = Memory.getInt(pointer + ibv_comp_channel.fd$offset());
    FileDescriptor descriptor = FileDescriptor.adopt(fd);
    descriptor.setNonBlocking(true);
    descriptor.release();
  }

  public static CompletionChannel of(RdmaContext device) {
    return new CompletionChannel(device, Verbs.pointer("ibv_create_comp_channel", device.name(), device.pointer()));
  }

  long pointer() {
    requireOpen();
    return pointer;
  }

  /** Polls readable after a completion in a queue that was armed. */
  public int fd() {
    return fd;
  }

  /** Takes all notifications; acknowledged at once, since destroying a queue waits for that. Gives their number; never waits. */
  public int drain() {
    int count = 0;
    while (Verbs.notification(pointer(), event, event + 8) == 0) {
      Verbs.acknowledge(Memory.getLong(event), 1);
      count++;
    }
    return count;
  }

  @Override
  void destroy() {
    Verbs.check("ibv_destroy_comp_channel", "fd=" + fd, pointer);
    arena.close();
  }

  @Override
  public String toString() {
    return "completion channel";
  }
}
