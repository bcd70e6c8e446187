package dev.dyad.perf.qemu;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Processor time of processes and threads, by role, from proc(5): who uses the cores that the guest does not get. On a host with few of
 * them that, not the pause, is what protection costs.
 */
final class CpuTime {
  private static final double TICKS_PER_SECOND = 100; // USER_HZ, the same on every x86-64

  private final Map<String, Double> secondsByRole = new LinkedHashMap<>();
  private final long nanos = System.nanoTime();

  /** All threads of a process under one role. */
  CpuTime add(String role, long pid) {
    return add(pid, thread -> role);
  }

  /** QEMU: its first thread, and the vCPUs with whatever else it has. */
  CpuTime addQemu(long pid) {
    return add(pid, thread -> thread.id() == pid ? "qemuMain" : "vcpu");
  }

  /** A primary: its own threads by name, and what the JVM has beside them. */
  CpuTime addPrimary(long pid) {
    return add(pid, thread -> thread.name().equals("epoch") || thread.name().equals("net") ? thread.name() : "jvm");
  }

  private record ThreadOf(long id, String name) {}

  private interface Role {
    String of(ThreadOf thread);
  }

  private CpuTime add(long pid, Role role) {
    try (DirectoryStream<Path> threads = Files.newDirectoryStream(Path.of("/proc", Long.toString(pid), "task"))) {
      for (Path thread : threads) {
        String stat = Files.readString(thread.resolve("stat"));
        int end = stat.lastIndexOf(')');
        String[] fields = stat.substring(end + 2).split(" ");
        double seconds = (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / TICKS_PER_SECOND;
        String name = stat.substring(stat.indexOf('(') + 1, end);
        secondsByRole.merge(role.of(new ThreadOf(Long.parseLong(thread.getFileName().toString()), name)), seconds, Double::sum);
      }
    } catch (IOException e) {
      // It has ended: nothing more of it to count.
    }
    return this;
  }

  /** Cores in use since {@code before}, by role. */
  Map<String, Object> coresSince(CpuTime before) {
    Map<String, Object> cores = new LinkedHashMap<>();
    double elapsed = (nanos - before.nanos) / 1e9;
    secondsByRole.forEach((role, seconds) -> cores.put(role, Quantiles.rounded(Math.max(0, seconds - before.secondsByRole.getOrDefault(role, 0.0)) / elapsed)));
    return cores;
  }
}
