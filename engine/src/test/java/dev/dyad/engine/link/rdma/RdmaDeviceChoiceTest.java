package dev.dyad.engine.link.rdma;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.bindings.verbs.RdmaDevice;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** Which device is tried first. */
final class RdmaDeviceChoiceTest {
  private static final List<RdmaDevice> DEVICES =
      List.of(new RdmaDevice("rxe0", 0, -1), new RdmaDevice("mlx5_0", 1, 1), new RdmaDevice("mlx5_1", 2, 0), new RdmaDevice("mlx5_2", 3, 0));

  private static List<String> order(RdmaConfig config) {
    return RdmaSetup.candidates(DEVICES, config).stream().map(RdmaDevice::name).toList();
  }

  @Test
  void shouldTryTheDeviceNearTheCoreFirstAndASoftwareDeviceLast() {
    Assumptions.assumeTrue(Files.exists(Path.of("/sys/devices/system/cpu/cpu0/node0")), "this kernel tells no NUMA nodes");
    assertEquals(List.of("mlx5_1", "mlx5_2", "mlx5_0", "rxe0"), order(RdmaConfig.standard().nearCore(0)));
  }

  @Test
  void shouldKeepTheLibrarysOrderWithoutACoreOrForOneThatIsNotThere() {
    assertEquals(List.of("mlx5_0", "mlx5_1", "mlx5_2", "rxe0"), order(RdmaConfig.standard()));
    assertEquals(List.of("mlx5_0", "mlx5_1", "mlx5_2", "rxe0"), order(RdmaConfig.standard().nearCore(0).nearCore(1_000_000)));
  }

  @Test
  void shouldTryNoOtherThanTheNamedDevice() {
    assertEquals(List.of("rxe0"), order(RdmaConfig.standard().nearCore(0).withDevice("rxe0")));
    assertEquals(List.of(), order(RdmaConfig.standard().withDevice("mlx5_9")));
  }
}
