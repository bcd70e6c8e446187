package dev.dyad.perf.pair;

import dev.dyad.engine.json.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/**
 * The client outside of an etcd, a process of its own: writes increasing keys through the JSON gateway, each after the answer to the one before, and
 * at the end reads every acknowledged key back.
 *
 * <p>Nobody else writes, so each answer must carry the revision that follows the one before: a write that was lost, or done twice, shows in the
 * very next answer. A request without an answer is this client's finding. Only what etcd itself says it gave up (503: its guest got no processor for seconds, and what became of
 * the write is open) is asked for again, as a transaction that writes a key once at most. Lines on standard output and the end are those of {@link KeyWriter}.
 */
public final class EtcdWriter {
  private static final long REPORT_NANOS = 50_000_000L;
  private static final long GAP_NANOS = 20_000_000L;
  private static final int READ_BACK_BATCH = 256;

  private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  private final URI etcd;
  private final Duration patience;
  private volatile boolean stop;

  /**
   * @param etcd {@code http://HOST:PORT}
   * @param patience after which a missing answer will not come
   */
  public EtcdWriter(URI etcd, Duration patience) {
    this.etcd = etcd;
    this.patience = patience;
  }

  /** Arguments: host, port, seconds after which a missing answer counts as a reset. */
  public static void main(String[] args) throws InterruptedException {
    PrintStream report = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
    EtcdWriter writer = new EtcdWriter(URI.create("http://" + args[0] + ":" + args[1]), Duration.ofSeconds(Long.parseLong(args[2])));
    Thread.ofPlatform().daemon().start(writer::awaitStop);
    writer.run(report);
    System.exit(0); // the client's threads would linger
  }

  private void awaitStop() {
    try {
      new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII)).readLine();
    } catch (IOException e) {
      // The parent is gone: stop as well.
    }
    stop = true;
  }

  private void run(PrintStream report) throws InterruptedException {
    long acked = 0;
    long reported = 0;
    try {
      long revision = firstRevision();
      report.println("connected " + System.nanoTime());
      long before = System.nanoTime();
      while (!stop) {
        long next = revisionOf(write(acked + 1));
        long now = System.nanoTime();
        if (next != revision + 1) {
          throw new IOException("revision " + next + " was answered after " + revision);
        }
        revision = next;
        acked++;
        if (now - before > GAP_NANOS) {
          report.println("gap " + before + " " + now);
        }
        if (now - reported > REPORT_NANOS) {
          report.println("acked " + acked + " " + now);
          reported = now;
        }
        before = now;
      }
      report.println("acked " + acked + " " + System.nanoTime());
      report.println("verified " + acked + " " + lost(acked) + " 0");
    } catch (IOException e) {
      report.println("reset " + acked + " " + e);
      report.println("verified " + acked + " 0 1");
    }
  }

  private Json write(long number) throws IOException, InterruptedException {
    String key = base64(key(number));
    Map<String, Object> absent = Map.of("key", key, "target", "CREATE", "result", "EQUAL", "create_revision", "0");
    Map<String, Object> put = Map.of("request_put", Map.of("key", key, "value", base64(Long.toString(number))));
    long end = System.nanoTime() + patience.toNanos();
    boolean again = false;
    while (true) {
      try {
        Json answer = call("/v3/kv/txn", Map.of("compare", List.of(absent), "success", List.of(put)));
        if (!answer.get("succeeded").isTrue() && !again) {
          throw new IOException("key " + number + " was there before it was written");
        }
        return answer;
      } catch (GivenUpException e) {
        if (System.nanoTime() > end) {
          throw e;
        }
        again = true;
      }
    }
  }

  /** Etcd answered that it gave the request up. */
  private static final class GivenUpException extends IOException {
    private static final long serialVersionUID = 1;

    GivenUpException(String answer) {
      super(answer);
    }
  }

  /** Of an etcd that has only just been started, perhaps. */
  private long firstRevision() throws IOException, InterruptedException {
    long end = System.nanoTime() + patience.toNanos();
    while (true) {
      try {
        return revisionOf(call("/v3/kv/range", Map.of("key", base64(key(1)))));
      } catch (ConnectException | GivenUpException e) {
        if (System.nanoTime() > end) {
          throw e;
        }
        Thread.sleep(50);
      }
    }
  }

  /** Of the keys 1 … acked, how many are not there with their value, written once, each at the revision after that of the one before. */
  public long lost(long acked) throws IOException, InterruptedException {
    long found = 0;
    long next = 1;
    long firstRevision = -1;
    while (next <= acked) {
      Map<String, Object> range = Map.of("key", base64(key(next)), "range_end", base64(key(acked + 1)), "limit", READ_BACK_BATCH);
      List<Json> there = call("/v3/kv/range", range).get("kvs").elements();
      if (there.isEmpty()) {
        break;
      }
      for (Json each : there) {
        long number = Long.parseLong(decoded(each.get("key")).substring(4));
        long revision = Long.parseLong(each.get("mod_revision").text());
        firstRevision = firstRevision < 0 ? revision - number + 1 : firstRevision;
        boolean asWritten = decoded(each.get("value")).equals(Long.toString(number)) && each.get("version").text().equals("1");
        found += asWritten && revision == firstRevision + number - 1 ? 1 : 0;
        next = number + 1;
      }
    }
    return acked - found;
  }

  private static String key(long number) {
    return String.format("key:%010d", number);
  }

  private static String base64(String text) {
    return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }

  private static String decoded(Json base64) {
    return new String(Base64.getDecoder().decode(base64.text()), StandardCharsets.UTF_8);
  }

  private static long revisionOf(Json answer) {
    return Long.parseLong(answer.get("header").get("revision").text());
  }

  private Json call(String path, Map<String, Object> request) throws IOException, InterruptedException {
    HttpRequest post = HttpRequest.newBuilder(etcd.resolve(path)).timeout(patience).POST(HttpRequest.BodyPublishers.ofString(Json.write(request))).build();
    HttpResponse<String> response = http.send(post, HttpResponse.BodyHandlers.ofString());
    if (response.statusCode() == 503) {
      throw new GivenUpException(response.body().strip());
    }
    if (response.statusCode() != 200) {
      throw new IOException("HTTP " + response.statusCode() + " " + response.body().strip());
    }
    return Json.parse(response.body());
  }
}
