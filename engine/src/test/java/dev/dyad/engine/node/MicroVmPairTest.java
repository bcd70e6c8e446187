package dev.dyad.engine.node;

import static java.util.Objects.requireNonNull;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.SteadyAllocation;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.vm.GuestMemory;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code dyad protect} and {@code dyad standby} in one process: a microVM with its network and console, over a real link. */
class MicroVmPairTest {
  private static final long BOUND = 3_000_000_000L; // no pause of a busy machine is a death
  private static final long MEMORY = 32L << 20;
  private static final int WARM_EPOCHS = 6_000;

  @TempDir private Path directory = Path.of("");

  private @Nullable StandbyNode standby;
  private @Nullable ProtectedMicroVm running;

  @BeforeEach
  void needsKvm() {
    assumeTrue(Kvm.unusable().isEmpty(), Kvm.unusable());
  }

  @AfterEach
  void end() {
    if (running != null) {
      running.close();
    }
    if (standby != null) {
      standby.stop(Duration.ofSeconds(5));
      standby.close();
    }
  }

  @Test
  void shouldGoOnAtTheStandbyWithWhatWasAcknowledgedAndBackAgain() throws Exception {
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 10_000_000L);
    running = boot(machine(200, 20, 0), 10_000_000L);
    awaitProtected();
    for (int round = 0; round < 2; round++) {
      InetSocketAddress service = address();
      for (int i = 0; i < 20; i++) {
        assertEquals("STORED", request(service, "set k" + round + " 0 0 4\r\n" + (1000 + i) + "\r\n"));
      }
      node().kill();
      StandbyNode.Promoted promoted = standbyNode().promoted().get(20, TimeUnit.SECONDS);
      machine().close();
      StandbyNode done = standbyNode();
      standby = standby(SocketAddress.inet("127.0.0.1", 0), 10_000_000L);
      running = ProtectedMicroVm.goOn(promoted, new MicroVmPlace(null, null, null, false), options(standbyNode().address(), 10_000_000L));
      done.close();
      for (int asked = 0; asked <= round; asked++) {
        assertEquals("VALUE k" + asked + " 0 4\r\n1019\r\nEND", request(address(), "get k" + asked + "\r\n"), "value that was acknowledged before kill " + round);
      }
      awaitProtected();
    }
    assertEquals("", facts().get("fault"));
  }

  @Test
  void shouldAllocateNothingOnAnyThreadInTenThousandEpochs() throws Exception {
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 300_000L);
    running = boot(machine(100, 100, 0), 300_000L);
    awaitProtected();
    await("warm", () -> node().metrics().epochsCommitted() > WARM_EPOCHS);
    long[] allocated = SteadyAllocation.bytes(steadyThreads(), this::tenThousandEpochs);
    assertArrayEquals(new long[4], allocated, "bytes on the threads of epoch, standby's epoch, net, vCPU");
  }

  private void tenThousandEpochs() throws InterruptedException {
    long epochs = node().metrics().epochsCommitted();
    await("10,000 epochs more", () -> node().metrics().epochsCommitted() >= epochs + 10_000);
  }

  private long[] steadyThreads() {
    long net = Thread.getAllStackTraces().keySet().stream().filter(thread -> thread.getName().equals("net")).findFirst().orElseThrow().threadId();
    long vcpu = machine().vcpuThreads().getFirst().threadId();
    return new long[] {node().threadId(), standbyNode().threadId(), net, vcpu};
  }

  @Test
  void shouldProtectAgainWithAStandbyThatDiedAndCameBackWheneverThatWas() throws Exception {
    SplittableRandom random = new SplittableRandom(7);
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 2_000_000L);
    SocketAddress listen = standbyNode().address();
    running = boot(machine(300, 0, 0), 2_000_000L);
    awaitProtected();
    for (int death = 0; death < 6; death++) {
      TimeUnit.MICROSECONDS.sleep(random.nextInt(20_000));
      standbyNode().kill();
      standbyNode().close();
      await("alone", () -> node().state() == PrimaryState.ALONE);
      standby = standby(listen, 2_000_000L);
      awaitProtected();
      long epochs = node().metrics().epochsCommitted();
      await("epochs go on", () -> node().metrics().epochsCommitted() > epochs + 20);
    }
    assertEquals("", facts().get("fault"));
  }

  @Test
  void shouldEndInTheSameChecksumAfterATakeOver() throws Exception {
    ProtectedMicroVm.Machine work = machine(300, 40, 4_000);
    String expected = alone(work);
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 5_000_000L);
    running = boot(work, 5_000_000L);
    awaitProtected();
    Thread.sleep(150);
    node().kill();
    StandbyNode.Promoted promoted = standbyNode().promoted().get(20, TimeUnit.SECONDS);
    machine().close();
    running = ProtectedMicroVm.goOn(promoted, new MicroVmPlace(null, null, null, false), options(null, 5_000_000L));
    await("the guest's end", () -> Boolean.TRUE.equals(facts().get("done")));
    assertEquals(expected, facts().get("checksum"));
  }

  @Test
  void shouldEndInTheSameChecksumWithEveryTechniqueAndFindPagesEarly() throws Exception {
    MicroVmTuning every = new MicroVmTuning(MicroVmTuning.Tracking.BEST, 256, true, false, 300_000L);
    ProtectedMicroVm.Machine work = machine(300, 40, 4_000);
    String expected = alone(work);
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 5_000_000L);
    running = ProtectedMicroVm.boot(work, new MicroVmPlace(work.udp(), null, null, false, every), options(standbyNode().address(), 5_000_000L));
    awaitProtected();
    await("pages that were found early", () -> node().metrics().pagesShippedEarly() > 0);
    node().kill();
    StandbyNode.Promoted promoted = standbyNode().promoted().get(20, TimeUnit.SECONDS);
    machine().close();
    running = ProtectedMicroVm.goOn(promoted, new MicroVmPlace(null, null, null, false, every), options(null, 5_000_000L));
    await("the guest's end", () -> Boolean.TRUE.equals(facts().get("done")));
    assertEquals(expected, facts().get("checksum"));
  }

  private String alone(ProtectedMicroVm.Machine work) throws Exception {
    try (ProtectedMicroVm undisturbed = ProtectedMicroVm.boot(work, options(null, 5_000_000L))) {
      ProtectedMicroVm before = running;
      running = undisturbed;
      await("the guest's end", () -> Boolean.TRUE.equals(facts().get("done")));
      String checksum = String.valueOf(facts().get("checksum"));
      running = before;
      return checksum;
    } finally {
      Files.deleteIfExists(directory.resolve("generation"));
    }
  }

  /** What the guest prints leaves, and not before its epoch is committed: it is read from the file that it leaves to. */
  @Test
  void shouldStartAnewWhenTheGuestAsksForIt() throws Exception {
    Path console = directory.resolve("console");
    Path kernel = Files.write(directory.resolve("kernel"), ResettingKernel.elf());
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 5_000_000L);
    running =
        ProtectedMicroVm.boot(
            new ProtectedMicroVm.Kernel(kernel, null, "", MEMORY, 1), new MicroVmPlace(SocketAddress.inet("127.0.0.1", 0), null, console, false), options(standbyNode().address(), 5_000_000L));
    awaitProtected();
    await("three resets", () -> ((Number) requireNonNull(machineReport().get("resets"))).longValue() >= 3);
    await("what it prints after each", () -> text(console).startsWith("bootbootboot"));
    assertTrue(running.isOn());
    assertEquals(PrimaryState.PROTECTED, node().state());
    // The other host has no image to start anew from: there the guest ends.
    node().kill();
    StandbyNode.Promoted promoted = standbyNode().promoted().get(20, TimeUnit.SECONDS);
    machine().close();
    ProtectedMicroVm elsewhere = ProtectedMicroVm.goOn(promoted, new MicroVmPlace(null, null, null, false), options(null, 5_000_000L));
    running = elsewhere;
    await("the end", () -> !elsewhere.isOn());
    assertTrue(elsewhere.powerLine().startsWith("RESET"), elsewhere.powerLine());
  }

  @Test
  void shouldEndOnBothSidesWhenTheGuestSwitchesItselfOff() throws Exception {
    Path kernel = Files.write(directory.resolve("kernel"), ResettingKernel.thatSwitchesOff());
    standby = standby(SocketAddress.inet("127.0.0.1", 0), 5_000_000L);
    ProtectedMicroVm ending =
        ProtectedMicroVm.boot(
            new ProtectedMicroVm.Kernel(kernel, null, "", MEMORY, 1), new MicroVmPlace(SocketAddress.inet("127.0.0.1", 0), null, null, false), options(standbyNode().address(), 5_000_000L));
    running = ending;
    await("power off", () -> !ending.isOn());
    assertEquals("OFF: switched off by the guest", ending.powerLine());
    ending.close();
    running = null;
    await("the standby waits for another", () -> standbyNode().state() == StandbyState.WAITING);
    assertFalse(standbyNode().promoted().isDone(), "a guest that is off must not go on elsewhere");
  }

  /** Whatever bytes come: a machine of possible shape, or one line. */
  @Test
  void shouldRefuseADescriptionThatIsMalformed() {
    MicroVmDescription good = new MicroVmDescription(MEMORY, 2, 0x02_64_79_61_64_01L, 0x0a4d0002, 11211, SocketAddress.inet("127.0.0.1", 11211), "tapA", true);
    byte[] bytes = good.encode();
    assertEquals(good.toString(), MicroVmDescription.decode(bytes).toString());
    SplittableRandom random = new SplittableRandom(3);
    for (int i = 0; i < 20_000; i++) {
      byte[] other = i % 3 == 0 ? Arrays.copyOf(bytes, random.nextInt(bytes.length + 5)) : bytes.clone();
      for (int change = random.nextInt(1, 5); change > 0 && other.length > 0; change--) {
        other[random.nextInt(other.length)] = (byte) random.nextInt();
      }
      try {
        MicroVmDescription read = MicroVmDescription.decode(other);
        assertTrue(read.memoryBytes() > 0 && read.memoryBytes() % (2 << 20) == 0 && read.vcpus() >= 1 && read.vcpus() <= 64);
      } catch (IllegalArgumentException e) {
        assertFalse(String.valueOf(e.getMessage()).contains("\n"));
      }
    }
  }

  @Test
  void shouldRefuseToBuildWhatDoesNotFitThePrimarysMemory() {
    KvmStandbyHost host = new KvmStandbyHost(null, false);
    MicroVmDescription described = new MicroVmDescription(MEMORY, 1, 0x02_64_79_61_64_01L, 0x0a4d0002, 11211, SocketAddress.inet("127.0.0.1", 11211), "", true);
    MachineEnvelope envelope = new MachineEnvelope("g", directory.resolve("generation").toString(), BOUND, described.encode());
    GuestMemory other = GuestMemory.builder().block("ram", MEMORY * 2).build(1 << 20);
    String line = String.valueOf(assertThrows(IllegalArgumentException.class, () -> host.build(ProtectedMicroVm.MACHINE_KIND, envelope, other)).getMessage());
    assertTrue(line.contains("needed are equal CPUs and kernels"), line);
    assertThrows(IllegalArgumentException.class, () -> host.build(99, envelope, other));
  }

  // ---- the pair

  private ProtectedMicroVm.Machine machine(long pages, long writesPerTick, long stopAfter) {
    return new ProtectedMicroVm.Machine(MEMORY, 1, SocketAddress.inet("127.0.0.1", 0), pages, writesPerTick, stopAfter);
  }

  private ProtectedMicroVm boot(ProtectedMicroVm.Machine machine, long periodNanos) {
    return ProtectedMicroVm.boot(machine, options(standbyNode().address(), periodNanos));
  }

  private ProtectedMicroVm.Options options(@Nullable SocketAddress to, long periodNanos) {
    return new ProtectedMicroVm.Options("pair", to, null, EpochConfig.of(periodNanos, BOUND), ArbiterPlace.file(directory.resolve("generation")), false, -1, LinkConfig.standard());
  }

  private StandbyNode standby(SocketAddress listen, long periodNanos) {
    StandbyNode node = new StandbyNode(new StandbyConfig(listen, null, EpochConfig.of(periodNanos, BOUND), PrimaryConfig.RING_BYTES, false, -1), new KvmStandbyHost(null, false));
    node.start();
    return node;
  }

  private static String text(Path file) {
    try {
      return Files.readString(file, StandardCharsets.ISO_8859_1);
    } catch (IOException e) {
      return "";
    }
  }

  /** Memcached's UDP frame around one request; repeated as a client would. */
  private static String request(InetSocketAddress service, String text) throws IOException {
    byte[] body = text.getBytes(StandardCharsets.US_ASCII);
    byte[] frame = new byte[8 + body.length];
    frame[5] = 1;
    System.arraycopy(body, 0, frame, 8, body.length);
    try (DatagramSocket socket = new DatagramSocket()) {
      socket.setSoTimeout(1_000);
      for (int attempt = 0; attempt < 20; attempt++) {
        socket.send(new DatagramPacket(frame, frame.length, service));
        DatagramPacket reply = new DatagramPacket(new byte[2048], 2048);
        try {
          socket.receive(reply);
          return new String(reply.getData(), 8, reply.getLength() - 8, StandardCharsets.US_ASCII).strip();
        } catch (SocketTimeoutException e) {
          continue;
        }
      }
    }
    throw new IOException("no reply from " + service);
  }

  private InetSocketAddress address() {
    InetSocketAddress address = machine().udp();
    assertNotNull(address);
    return address;
  }

  private ProtectedMicroVm machine() {
    assertNotNull(running);
    return running;
  }

  private PrimaryNode node() {
    return machine().node();
  }

  private StandbyNode standbyNode() {
    assertNotNull(standby);
    return standby;
  }

  private Map<String, Object> machineReport() {
    return machine().report();
  }

  private Map<?, ?> facts() {
    return (Map<?, ?>) requireNonNull(machineReport().get("builtin"));
  }

  private void awaitProtected() throws InterruptedException {
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
  }

  private void await(String what, BooleanSupplier condition) throws InterruptedException {
    long giveUpAt = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > giveUpAt) {
        throw new AssertionError("not within 90 s: " + what + "; primary " + (running == null ? null : running.report()) + ", standby " + (standby == null ? null : standby.report()));
      }
      Thread.sleep(5);
    }
  }
}
