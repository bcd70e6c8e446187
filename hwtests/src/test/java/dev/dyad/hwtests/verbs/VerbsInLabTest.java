package dev.dyad.hwtests.verbs;

import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.TestsInHost;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.extension.ExtendWith;

/** {@link VerbsHwTest} and {@link ConnectionHwTest} on a lab host's soft-RoCE device. */
@ExtendWith(LabExtension.class)
final class VerbsInLabTest {
  @TestFactory
  List<DynamicTest> shouldHoldInsideALabHost(Lab lab) throws IOException {
    return TestsInHost.of(lab.host(1), VerbsHwTest.class, Duration.ofSeconds(120));
  }

  @TestFactory
  List<DynamicTest> shouldConnectInsideALabHost(Lab lab) throws IOException {
    return TestsInHost.of(lab.host(2), ConnectionHwTest.class, Duration.ofSeconds(120));
  }
}
