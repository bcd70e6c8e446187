package dev.dyad.hwtests.verbs;

import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.TestsInHost;
import java.io.IOException;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.extension.ExtendWith;

/** {@link VerbsHwTest} and {@link ConnectionHwTest} on soft-RoCE devices, each on a host of its own at the same time. */
@ExtendWith(LabExtension.class)
final class VerbsInLabTest {
  private static final Duration BOUND = Duration.ofSeconds(120);

  @TestFactory
  Stream<DynamicTest> shouldHoldAndConnectInsideLabHosts(Lab lab) throws IOException {
    var verbs = TestsInHost.start(lab.host(1), VerbsHwTest.class);
    var connections = TestsInHost.start(lab.host(2), ConnectionHwTest.class);
    return Stream.concat(verbs.results(BOUND).stream(), connections.results(BOUND).stream());
  }
}
