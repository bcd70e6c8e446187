package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.opentest4j.TestAbortedException;

/**
 * Runs the {@code @Test} methods of a class inside a lab host and reports each as a test of its own here. A
 * skipped one is a failure: the lab has what the class needs.
 */
public final class TestsInHost {
  private TestsInHost() {}

  /** The results of {@code type}'s tests on {@code host}. */
  public static List<DynamicTest> of(LabHost host, Class<?> type, Duration bound) throws IOException {
    var job = host.start(TestsInHost.class, List.of(type.getName()));
    job.await(bound);
    var output = job.output();
    var tests = new ArrayList<DynamicTest>();
    for (var method : methods(type)) {
      tests.add(DynamicTest.dynamicTest(method.getName(), () -> {
        if (!output.contains("passed " + method.getName() + "\n")) {
          throw new AssertionError("not passed: " + job);
        }
      }));
    }
    return tests;
  }

  /** Runs inside the host. */
  public static void main(String[] args) throws Exception {
    int failures = 0;
    for (var method : methods(Class.forName(args[0]))) {
      long start = System.nanoTime();
      try {
        var constructor = method.getDeclaringClass().equals(Class.forName(args[0])) ? method.getDeclaringClass().getDeclaredConstructor()
            : Class.forName(args[0]).getDeclaredConstructor();
        constructor.setAccessible(true);
        var instance = constructor.newInstance();
        call(instance, BeforeEach.class);
        try {
          method.setAccessible(true);
          method.invoke(instance);
        } finally {
          call(instance, AfterEach.class);
        }
        System.out.println("passed " + method.getName());
      } catch (InvocationTargetException e) {
        failures++;
        var cause = e.getCause() == null ? e : e.getCause();
        System.out.println((cause instanceof TestAbortedException ? "skipped " : "failed ") + method.getName());
        cause.printStackTrace();
      }
      System.err.printf("%s took %d ms%n", method.getName(), (System.nanoTime() - start) / 1_000_000);
    }
    if (failures > 0) {
      throw new IllegalStateException(failures + " did not pass");
    }
  }

  private static void call(Object instance, Class<? extends java.lang.annotation.Annotation> when) throws ReflectiveOperationException {
    for (Class<?> type = instance.getClass(); type != null; type = type.getSuperclass()) {
      for (var method : type.getDeclaredMethods()) {
        if (method.isAnnotationPresent(when)) {
          method.setAccessible(true);
          method.invoke(instance);
        }
      }
    }
  }

  private static List<Method> methods(Class<?> type) {
    var methods = new ArrayList<Method>();
    for (Class<?> at = type; at != null; at = at.getSuperclass()) {
      Arrays.stream(at.getDeclaredMethods()).filter(m -> m.isAnnotationPresent(Test.class)).forEach(methods::add);
    }
    methods.sort(Comparator.comparing(Method::getName));
    return methods;
  }
}
