package dev.dyad.perf.pair;

import dev.dyad.engine.json.Json;
import java.io.IOException;
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
 * {@link AckedWrites} to an etcd through its JSON gateway.
 *
 * <p>Nobody else writes, so each answer must carry the revision that follows the one before: a write that was lost, or done twice, shows in the
 * very next answer. A request without an answer is this client's finding. Only what etcd itself says it gave up (503: its guest got no processor for seconds, and what became of
 * the write is open) is asked for again, as a transaction that writes a key once at most.
 */
public final class EtcdWriter implements AckedWrites.Service {
  private static final int READ_BACK_BATCH = 256;

  private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  private final URI etcd;
  private final Duration patience;
  private long revision;

  /**
   * @param etcd {@code http://HOST:PORT}
   * @param patience after which a missing answer will not come
   */
  public EtcdWriter(URI etcd, Duration patience) {
    this.etcd = etcd;
    this.patience = patience;
  }

  /** Arguments: host, port, seconds after which a missing answer counts as a reset. */
  public static void main(String[] args) throws IOException, InterruptedException {
    EtcdWriter writer = new EtcdWriter(URI.create("http://" + args[0] + ":" + args[1]), Duration.ofSeconds(Long.parseLong(args[2])));
    writer.revision = writer.firstRevision();
    AckedWrites writes = new AckedWrites();
    writes.connected();
    writes.run(writer);
    System.exit(0); // the client's threads would linger
  }

  @Override
  public void write(long number) throws IOException, InterruptedException {
    long next = revisionOf(put(number));
    if (next != revision + 1) {
      throw new IOException("revision " + next + " was answered after " + revision);
    }
    revision = next;
  }

  private Json put(long number) throws IOException, InterruptedException {
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

  /** Each is to be there with its value, written once, at the revision after that of the one before. */
  @Override
  public long lost(long acked) throws IOException, InterruptedException {
    long found = 0;
    long next = 1;
    long firstAt = -1;
    while (next <= acked) {
      Map<String, Object> range = Map.of("key", base64(key(next)), "range_end", base64(key(acked + 1)), "limit", READ_BACK_BATCH);
      List<Json> there = call("/v3/kv/range", range).get("kvs").elements();
      if (there.isEmpty()) {
        break;
      }
      for (Json each : there) {
        long number = Long.parseLong(decoded(each.get("key")).substring(4));
        long writtenAt = Long.parseLong(each.get("mod_revision").text());
        firstAt = firstAt < 0 ? writtenAt - number + 1 : firstAt;
        boolean asWritten = decoded(each.get("value")).equals(Long.toString(number)) && each.get("version").text().equals("1");
        found += asWritten && writtenAt == firstAt + number - 1 ? 1 : 0;
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
