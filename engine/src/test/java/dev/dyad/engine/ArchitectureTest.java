package dev.dyad.engine;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Holds the arrows between the parts: each part may import what its line lists, itself, the bindings and the JDK. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(new ImportOption.DoNotIncludeTests())
          .importPackages("dev.dyad.engine", "dev.dyad.bindings");

  /** Part to the parts that it may know. */
  private static final Map<String, List<String>> MAY_KNOW =
      Map.ofEntries(
          Map.entry("epoch", List.of()),
          Map.entry("wire", List.of()),
          Map.entry("json", List.of()),
          Map.entry("observe", List.of("json")),
          Map.entry("arbiter", List.of("json")),
          Map.entry("vm", List.of()),
          Map.entry("guest", List.of()),
          Map.entry("vm.qemu", List.of("vm", "observe", "json")),
          Map.entry("vm.kvm", List.of("vm", "net", "disk")),
          Map.entry("memory", List.of("vm", "wire", "link")),
          Map.entry("link", List.of("wire")),
          Map.entry("net", List.of("json")),
          Map.entry("disk", List.of("wire", "link")),
          Map.entry(
              "node", List.of("epoch", "wire", "json", "observe", "arbiter", "vm", "vm.qemu", "vm.kvm", "memory", "link", "net", "disk")),
          Map.entry("cli", List.of("node", "json", "observe", "epoch", "link", "arbiter")));

  @TestFactory
  Stream<DynamicTest> shouldOnlyImportDownwards() {
    return MAY_KNOW.keySet().stream()
        .sorted()
        .map(
            part ->
                DynamicTest.dynamicTest(
                    part,
                    () ->
                        noClasses()
                            .that()
                            .resideInAnyPackage(packagesOf(part))
                            .should()
                            .dependOnClassesThat()
                            .resideInAnyPackage(forbiddenFor(part))
                            .allowEmptyShould(true)
                            .check(CLASSES)));
  }

  @Test
  void shouldLeaveNativeCallsToTheBindings() {
    noClasses()
        .that()
        .resideInAPackage("dev.dyad.engine..")
        .should()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.foreign.Linker")
        .orShould()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.invoke.MethodHandle")
        .check(CLASSES);
  }

  @Test
  void shouldKeepTheProtocolFreeOfClockThreadsAndInputOutput() {
    noClasses()
        .that()
        .resideInAPackage("dev.dyad.engine.epoch..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("java.io..", "java.nio..", "java.net..", "java.time..", "java.util.concurrent..", "dev.dyad.bindings..")
        .orShould()
        .callMethod(System.class, "nanoTime")
        .orShould()
        .callMethod(System.class, "currentTimeMillis")
        .check(CLASSES);
  }

  /** A lease by a clock that stands still while the host is suspended would be good again after it. */
  @Test
  void shouldDecideWhoMayRunByTheClockThatGoesOnDuringSuspension() {
    noClasses()
        .that()
        .haveSimpleName("PrimaryLoop")
        .or()
        .haveSimpleName("StandbyLoop")
        .or()
        .haveSimpleName("ReleaseGate")
        .should()
        .callMethod(System.class, "nanoTime")
        .check(CLASSES);
  }

  @Test
  void shouldNotLetBindingsKnowTheEngine() {
    noClasses()
        .that()
        .resideInAPackage("dev.dyad.bindings..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("dev.dyad.engine..")
        .check(CLASSES);
  }

  /** The part's package and those below it that are not a part of their own. */
  private static String[] packagesOf(String part) {
    List<String> packages = new ArrayList<>();
    packages.add("dev.dyad.engine." + part);
    if (!part.equals("vm")) {
      packages.add("dev.dyad.engine." + part + "..");
    }
    return packages.toArray(String[]::new);
  }

  private static String[] forbiddenFor(String part) {
    return MAY_KNOW.keySet().stream()
        .filter(other -> !other.equals(part) && !MAY_KNOW.getOrDefault(part, List.of()).contains(other))
        .flatMap(other -> Arrays.stream(packagesOf(other)))
        .toArray(String[]::new);
  }
}
