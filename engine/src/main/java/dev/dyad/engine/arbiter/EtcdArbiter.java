package dev.dyad.engine.arbiter;

import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The arbiter of two hosts: one key of an etcd (3.4 or later, through its JSON gateway), whose value is {@code GENERATION HOST}. A request reads
 * the key and replaces it in a transaction that fails if anybody wrote it meanwhile; both are linearizable, so of two sides that ask for the same
 * generation one gets it, whichever members of etcd they reach.
 *
 * <p>A request whose answer was lost may have been carried out: it is asked again, and whoever holds the generation gets it granted again.
 *
 * <p>A host is named by its boot besides what the caller says: processes of two hosts may have equal numbers and start times.
 *
 * <p>Control thread, except {@link #newest}. Owns nothing but connections that the JDK keeps.
 */
public final class EtcdArbiter implements Arbiter {
  private static final int TIMEOUT_MILLIS = 1000;

  /** Somebody else's writes between our reading and our transaction; each of them ends the race for one generation. */
  private static final int ATTEMPTS = 4;

  private static final int ANSWER_BYTES_MAX = 1 << 16;
  private static final Pattern RECORD = Pattern.compile("(\\d{1,18}) (.+)");

  /** What this process has heard of each key, whoever of it asked: the same as the mapped word of a generation file within one process. */
  private static final Map<String, AtomicLong> HEARD = new ConcurrentHashMap<>();

  /** What the key holds. @param revision of the key, "0": there is none yet */
  private record Held(long generation, String host, String revision) {}

  private final List<URI> endpoints;
  private final String key;
  private final String boot;
  private final AtomicLong newest;
  private volatile @Nullable String problem;

  /**
   * @param endpoints of etcd's members, {@code http://HOST:PORT}; the first that answers is used
   * @param key of the guest, the same on both hosts
   */
  public EtcdArbiter(List<URI> endpoints, String key) {
    this.endpoints = List.copyOf(endpoints);
    this.key = key;
    newest = HEARD.computeIfAbsent(endpoints + key, name -> new AtomicLong());
    try {
      boot = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    } catch (IOException e) {
      throw new IllegalStateException("this host's boot has no number (/proc/sys/kernel/random/boot_id): " + e.getMessage(), e);
    }
  }

  @Override
  public long newest() {
    return newest.get();
  }

  @Override
  public synchronized long current() {
    try {
      return read().generation();
    } catch (IOException e) {
      return -1;
    }
  }

  @Override
  public synchronized Verdict request(long generation, String host) {
    if (generation <= 0) {
      throw new IllegalArgumentException("generation " + generation + ": the first to be won is 1");
    }
    String self = boot + " " + host;
    try {
      for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        Held held = read();
        if (held.generation() == generation) {
          return held.host().equals(self) ? Verdict.GRANTED : Verdict.DENIED;
        }
        if (held.generation() > generation) {
          return Verdict.DENIED;
        }
        if (held.generation() < generation - 1) {
          problem = this + " is older than this side (it knows generation " + held.generation() + ", this side holds " + (generation - 1) + ")";
          return Verdict.UNREACHABLE;
        }
        if (replace(held, generation + " " + self)) {
          newest.accumulateAndGet(generation, Math::max);
          return Verdict.GRANTED;
        }
      }
      problem = this + " changes faster than it can be read";
    } catch (IOException e) {
      // The reason stands in problem.
    }
    return Verdict.UNREACHABLE;
  }

  private Held read() throws IOException {
    List<Json> found = call("/v3/kv/range", Map.of("key", base64(key))).get("kvs").elements();
    if (found.isEmpty()) {
      return new Held(0, "", "0"); // a key that is not there has modification revision 0
    }
    String text = decoded(found.getFirst().get("value").text());
    Matcher written = RECORD.matcher(text);
    if (!written.matches()) {
      problem = "key " + key + " of " + endpoints + " holds no generation (\"" + text + "\"); stop both sides, make sure that the guest runs on one of them only, and delete it";
      throw new IOException(problem);
    }
    // The gateway writes 64-bit integers as strings.
    Held held = new Held(Long.parseLong(written.group(1)), written.group(2), found.getFirst().get("mod_revision").text());
    newest.accumulateAndGet(held.generation(), Math::max);
    problem = null;
    return held;
  }

  private boolean replace(Held held, String value) throws IOException {
    String name = base64(key);
    Map<String, Object> unchanged = Map.of("key", name, "target", "MOD", "result", "EQUAL", "mod_revision", held.revision());
    Map<String, Object> put = Map.of("request_put", Map.of("key", name, "value", base64(value)));
    return call("/v3/kv/txn", Map.of("compare", List.of(unchanged), "success", List.of(put))).get("succeeded").isTrue();
  }

  private static String base64(String text) {
    return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }

  private static String decoded(String base64) {
    try {
      return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    } catch (IllegalArgumentException e) {
      return ""; // no more a generation than any other text
    }
  }

  private Json call(String path, Map<String, Object> request) throws IOException {
    String body = Json.write(request);
    StringBuilder reasons = new StringBuilder();
    for (URI endpoint : endpoints) {
      try {
        Json answer = Json.parse(post(endpoint.resolve(path), body));
        if (answer.get("header").isAbsent()) {
          throw new IOException("not an etcd, it says " + answer);
        }
        return answer;
      } catch (IOException | IllegalArgumentException e) {
        reasons.append(reasons.isEmpty() ? "" : ", ").append(endpoint).append(": ").append(e.getMessage());
      }
    }
    problem = "no answer from " + this + " (" + reasons + ")";
    throw new IOException(problem);
  }

  private static String post(URI to, String body) throws IOException {
    HttpURLConnection connection = (HttpURLConnection) to.toURL().openConnection();
    connection.setConnectTimeout(TIMEOUT_MILLIS);
    connection.setReadTimeout(TIMEOUT_MILLIS);
    connection.setUseCaches(false);
    connection.setDoOutput(true);
    connection.setRequestProperty("Content-Type", "application/json");
    try (OutputStream out = connection.getOutputStream()) {
      out.write(body.getBytes(StandardCharsets.UTF_8));
    }
    int code = connection.getResponseCode();
    try (InputStream in = code == HttpURLConnection.HTTP_OK ? connection.getInputStream() : connection.getErrorStream()) {
      String answer = in == null ? "" : new String(in.readNBytes(ANSWER_BYTES_MAX), StandardCharsets.UTF_8);
      if (code != HttpURLConnection.HTTP_OK) {
        throw new IOException("HTTP " + code + " " + answer.strip());
      }
      return answer;
    }
  }

  /** Why the last answer was UNREACHABLE, as one line; null when it was not. */
  @Override
  public @Nullable String problem() {
    return problem;
  }

  @Override
  public String toString() {
    return "key " + key + " of " + endpoints;
  }

  @Override
  public void close() {
    // Connections that are kept alive end by themselves.
  }
}
