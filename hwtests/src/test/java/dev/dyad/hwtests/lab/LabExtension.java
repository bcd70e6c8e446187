package dev.dyad.hwtests.lab;

import dev.dyad.engine.guest.GuestUnavailableException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ExtensionContext.Namespace;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;
import org.jspecify.annotations.Nullable;

/**
 * Gives tests a {@link Lab} of two hosts as a parameter. One pair serves all tests of the JVM; between tests faults are taken
 * back and dead hosts booted again. A machine that cannot have a lab skips with its reason, or fails with
 * {@code -Ddyad.lab=require}; a host that does not come up is always a failure. Logs of a failed test stay in
 * {@code target/lab/}. The death of a host's kernel fails the test in which it happens, at once.
 */
public final class LabExtension implements ParameterResolver, BeforeEachCallback, AfterTestExecutionCallback, AfterEachCallback {
  private static final Namespace NAMESPACE = Namespace.create(LabExtension.class);

  /** Closed by JUnit when all tests are over. */
  private static final class Holder implements AutoCloseable {
    private final @Nullable Lab lab;
    private final String unavailable;
    private final @Nullable IOException broken;

    Holder() {
      Lab booted = null;
      String reason = "";
      IOException failure = null;
      try {
        booted = Lab.boot(LabConfig.pair());
      } catch (GuestUnavailableException e) {
        reason = String.valueOf(e.getMessage());
      } catch (IOException e) {
        failure = e; // once is enough: no test tries again
      }
      lab = booted;
      unavailable = reason;
      broken = failure;
    }

    @Override
    public void close() throws IOException {
      if (lab != null) {
        lab.close();
      }
    }
  }

  @Override
  public void beforeEach(ExtensionContext context) throws IOException {
    var holder = holder(context);
    if (holder.broken != null) {
      throw holder.broken;
    }
    if (holder.lab == null) {
      if ("require".equals(System.getProperty("dyad.lab"))) {
        Assertions.fail("the lab is required here: " + holder.unavailable);
      }
      Assumptions.abort(holder.unavailable);
    } else {
      holder.lab.restore();
      holder.lab.startAgents();
    }
  }

  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return parameter.getParameter().getType() == Lab.class;
  }

  @Override
  public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
    return Optional.ofNullable(holder(context).lab).orElseThrow();
  }

  @Override
  public void afterTestExecution(ExtensionContext context) throws IOException {
    var lab = holder(context).lab;
    if (lab != null && (context.getExecutionException().isPresent() || !lab.kernelDeath().isEmpty())) {
      var name = context.getRequiredTestClass().getSimpleName() + "." + context.getRequiredTestMethod().getName();
      var kept = Path.of("target", "lab", name);
      lab.keepLogs(kept);
      if (!lab.kernelDeath().isEmpty()) {
        // Also of a test that did not notice: what it has seen was no host.
        throw new IOException(lab.kernelDeath() + "; kept in hwtests/" + kept);
      }
    }
  }

  @Override
  public void afterEach(ExtensionContext context) throws IOException {
    var lab = holder(context).lab;
    // With a dead kernel among them they are calmed before the next test, when that host is up again.
    if (lab != null && lab.kernelDeath().isEmpty()) {
      for (var host : lab.hosts()) {
        if (host.isAlive()) {
          host.calm();
        }
      }
    }
  }

  private static Holder holder(ExtensionContext context) {
    return context.getRoot().getStore(NAMESPACE).computeIfAbsent(Holder.class, key -> new Holder(), Holder.class);
  }
}
