package dev.dyad.engine.arbiter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The arbiter of two hosts, against an etcd of its own. */
class EtcdArbiterTest {
  @TempDir Path folder = Path.of("");

  private EtcdServer etcd = EtcdServer.none();

  @BeforeEach
  void startEtcd() throws IOException {
    Assumptions.assumeTrue(EtcdServer.isInstalled(), "no etcd here: apt-get install etcd-server");
    etcd = EtcdServer.start(folder);
  }

  @AfterEach
  void stopEtcd() {
    etcd.close();
  }

  private Arbiter arbiter() {
    return new ArbiterPlace(etcd.url()).open("guest");
  }

  @Test
  void shouldGrantAGenerationToTheFirstWhoAsksAndToNobodyElse() {
    Arbiter a = arbiter();
    Arbiter b = arbiter();
    assertEquals(0, a.current());
    assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
    assertEquals(Arbiter.Verdict.DENIED, b.request(1, "host-b"));
    assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"), "an answer that was lost is given again");
    assertEquals(Arbiter.Verdict.GRANTED, b.request(2, "host-b"));
    assertEquals(Arbiter.Verdict.DENIED, a.request(2, "host-a"));
    assertEquals(Arbiter.Verdict.DENIED, a.request(1, "host-a"));
    assertEquals(2, a.current());
    assertEquals(2, a.newest());
    assertEquals(0, new ArbiterPlace(etcd.url()).open("other").current(), "guests have nothing to do with each other");
    assertEquals(Arbiter.Verdict.UNREACHABLE, a.request(9, "host-a"));
    assertTrue(String.valueOf(a.problem()).contains("older than this side"), a.problem());
  }

  @Test
  void shouldGrantEachGenerationOnceHoweverManyAskAtTheSameTime() throws Exception {
    int asking = 8;
    try (var threads = Executors.newFixedThreadPool(asking)) {
      for (long generation = 1; generation <= 20; generation++) {
        long wanted = generation;
        List<Callable<Arbiter.Verdict>> requests = new ArrayList<>();
        for (int i = 0; i < asking; i++) {
          String host = "host-" + i;
          requests.add(() -> arbiter().request(wanted, host));
        }
        int granted = 0;
        for (var verdict : threads.invokeAll(requests)) {
          granted += verdict.get() == Arbiter.Verdict.GRANTED ? 1 : 0;
        }
        assertEquals(1, granted, "generation " + generation);
      }
    }
  }

  @Test
  void shouldKnowNothingWhileEtcdIsAwayAndRememberWhenItIsBack() throws IOException {
    Arbiter a = arbiter();
    assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
    etcd.stop();
    assertEquals(Arbiter.Verdict.UNREACHABLE, a.request(2, "host-a"));
    assertEquals(-1, a.current());
    assertTrue(String.valueOf(a.problem()).contains("no answer"), a.problem());
    etcd = EtcdServer.start(folder);
    assertEquals(Arbiter.Verdict.DENIED, arbiter().request(1, "host-b"));
    assertEquals(1, arbiter().current());
  }

  @Test
  void shouldUseTheNextMemberWhenTheFirstDoesNotAnswer() {
    Arbiter arbiter = new EtcdArbiter(List.of(URI.create("http://127.0.0.1:1"), URI.create(etcd.url())), "key");
    assertEquals(Arbiter.Verdict.GRANTED, arbiter.request(1, "host"));
  }

  @Test
  void shouldGrantNothingWhenSomebodyElseAnswers() throws IOException {
    for (var answer : List.of("hello", "{}", "[]", "{\"header\":{},\"kvs\":[{\"mod_revision\":\"1\",\"value\":\"!\"}]}")) {
      HttpServer other = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
      other.createContext(
          "/",
          exchange -> {
            exchange.sendResponseHeaders(200, answer.length());
            exchange.getResponseBody().write(answer.getBytes(StandardCharsets.UTF_8));
            exchange.close();
          });
      other.start();
      try {
        Arbiter arbiter = new EtcdArbiter(List.of(URI.create("http://127.0.0.1:" + other.getAddress().getPort())), "key");
        assertEquals(Arbiter.Verdict.UNREACHABLE, arbiter.request(1, "host"), answer);
        assertNotNull(arbiter.problem(), answer);
        assertEquals(-1, arbiter.current(), answer);
      } finally {
        other.stop(0);
      }
    }
  }

  @Test
  void shouldRefuseWhatIsNoAddressOfAnEtcd() {
    for (var wrong : List.of("", "http://", "https://host", "http://a:1,b:2", "httpx://a:1")) {
      assertThrows(IllegalArgumentException.class, () -> new ArbiterPlace(wrong), wrong);
    }
  }
}
