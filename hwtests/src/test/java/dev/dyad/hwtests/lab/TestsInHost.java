package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.DynamicTest;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.TestDescriptor;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.TagFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs tests inside a lab host and reports each as a test of its own here. A skipped one is a failure: the lab has what they need.
 *
 * <p>Tests are named {@code Class}, or {@code Class#method} with all its parameters; a name that is of none is a failure, too.
 */
public final class TestsInHost {
  private static final Pattern RESULT = Pattern.compile("(?m)^(?:passed|failed|skipped) (\\S+) (.*)$");

  private final LabJob job;
  private final List<String> tests;

  private TestsInHost(LabJob job, List<String> tests) {
    this.job = job;
    this.tests = tests;
  }

  /** Starts {@code type}'s tests in the JVM that stays on {@code host}. */
  public static TestsInHost start(LabHost host, Class<?> type) throws IOException {
    return new TestsInHost(host.start(TestsInHost.class, List.of(type.getName())), List.of(type.getName()));
  }

  /** Starts tests in a JVM of their own with {@code options}. */
  public static TestsInHost start(LabHost host, List<String> options, List<String> tests) throws IOException {
    return new TestsInHost(host.java(TestsInHost.class, options, tests), tests);
  }

  /** Waits for their end; what they have come to. */
  public List<DynamicTest> results(Duration bound) throws IOException {
    job.endsWithin(bound);
    var output = job.output();
    var results = new ArrayList<DynamicTest>();
    var ran = new TreeSet<String>();
    var matcher = RESULT.matcher(output);
    while (matcher.find()) {
      ran.add(matcher.group(1));
      boolean passed = matcher.group().startsWith("passed");
      results.add(DynamicTest.dynamicTest(matcher.group(2), () -> Assertions.assertTrue(passed, () -> "not passed: " + job)));
    }
    for (var test : tests) {
      results.add(DynamicTest.dynamicTest(test + " ran to its end", () -> {
        Assertions.assertTrue(ran.stream().anyMatch(name -> names(test, name)), () -> "none of it ran: " + job);
        Assertions.assertTrue(output.contains("\nall have run\n"), () -> "not ended after " + bound.toSeconds() + " s: " + job);
      }));
    }
    return results;
  }

  private static boolean names(String test, String method) {
    return method.equals(test) || method.startsWith(test + "#");
  }

  /** Runs inside the host. */
  public static void main(String[] args) {
    var tests = List.of(args);
    var classes = tests.stream().map(test -> test.split("#")[0]).distinct().map(DiscoverySelectors::selectClass).toList();
    var request = LauncherDiscoveryRequestBuilder.request().selectors(classes)
        .filters(TagFilter.excludeTags("soak"), (PostDiscoveryFilter) descriptor -> FilterResult.includedIf(isWanted(descriptor, tests))).build();
    LauncherFactory.create().execute(request, new Printer());
    System.out.println("\nall have run");
  }

  private static boolean isWanted(TestDescriptor descriptor, List<String> tests) {
    return descriptor.getSource().filter(MethodSource.class::isInstance).map(MethodSource.class::cast)
        .map(method -> tests.stream().anyMatch(test -> names(test, classOf(descriptor.getUniqueId().toString(), method) + "#" + method.getMethodName()))).orElse(true);
  }

  /** A method of a superclass is a test of the class that was asked for. */
  private static String classOf(String uniqueId, MethodSource method) {
    return Arrays.stream(uniqueId.split("/")).filter(part -> part.startsWith("[class:")).map(part -> part.substring(7, part.length() - 1)).findFirst()
        .orElse(method.getClassName());
  }

  /** Says a line for each test. */
  private static final class Printer implements TestExecutionListener {
    private final ConcurrentHashMap<String, Long> started = new ConcurrentHashMap<>();

    @Override
    public void executionStarted(TestIdentifier test) {
      started.put(test.getUniqueId(), System.nanoTime());
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
      say("skipped", test, reason);
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
      boolean successful = result.getStatus() == TestExecutionResult.Status.SUCCESSFUL;
      if (!test.isTest() && successful) {
        return;
      }
      result.getThrowable().ifPresent(Throwable::printStackTrace);
      var millis = (System.nanoTime() - started.getOrDefault(test.getUniqueId(), System.nanoTime())) / 1_000_000;
      say(successful ? "passed" : result.getStatus() == TestExecutionResult.Status.ABORTED ? "skipped" : "failed", test, millis + " ms");
    }

    private static void say(String what, TestIdentifier test, String more) {
      var source = test.getSource().filter(MethodSource.class::isInstance).map(MethodSource.class::cast);
      var method = source.map(s -> classOf(test.getUniqueId(), s) + "#" + s.getMethodName()).orElse(test.getUniqueId());
      var shown = test.getDisplayName().replaceAll("\\s+", " ");
      System.out.println(what + " " + method + " " + source.map(s -> shown.startsWith(s.getMethodName()) ? shown : s.getMethodName() + " " + shown).orElse(shown));
      System.err.println(method + " " + shown + ": " + more);
    }
  }
}
