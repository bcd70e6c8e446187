package dev.dyad.engine.cli.page;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import dev.dyad.engine.node.HostReport;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Serves one page and the stream of reports behind it: {@code /} the page, {@code /events} a report each interval (server-sent events,
 * WHATWG HTML §9.2), {@code /status.json} a single one. Reads only what {@code dyad status} reads; changes nothing. A virtual thread for
 * each browser, nothing runs while none looks.
 */
final class StatusPage implements AutoCloseable {
  private final HttpServer server;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final long intervalMillis;

  /** @throws IOException when the address cannot be listened on */
  StatusPage(InetSocketAddress listen, long intervalMillis) throws IOException {
    this.intervalMillis = intervalMillis;
    server = HttpServer.create(listen, 0);
    server.setExecutor(threads);
    serve("/", StatusPage::page);
    serve("/status.json", exchange -> answer(exchange, 200, "application/json", report()));
    serve("/events", this::events);
    server.start();
  }

  /** Only under a name of this host: a foreign page whose name was pointed at loopback gets nothing (DNS rebinding). */
  private void serve(String path, HttpHandler handler) {
    server.createContext(path, exchange -> {
      String host = String.valueOf(exchange.getRequestHeaders().getFirst("Host"));
      if (host.matches("(127\\.0\\.0\\.1|localhost|\\[::1])(:\\d+)?")) {
        handler.handle(exchange);
      } else {
        answer(exchange, 403, "text/plain; charset=utf-8", "ask for 127.0.0.1 or localhost\n".getBytes(StandardCharsets.UTF_8));
      }
    });
  }

  /** The address with the port that was chosen, if 0 was asked for. */
  InetSocketAddress address() {
    return server.getAddress();
  }

  private static void page(HttpExchange exchange) throws IOException {
    if (!exchange.getRequestURI().getPath().equals("/")) {
      answer(exchange, 404, "text/plain; charset=utf-8", "no such page\n".getBytes(StandardCharsets.UTF_8));
      return;
    }
    try (InputStream page = Objects.requireNonNull(StatusPage.class.getResourceAsStream("status.html"), "status.html")) {
      answer(exchange, 200, "text/html; charset=utf-8", page.readAllBytes());
    }
  }

  private static byte[] report() throws IOException {
    return HostReport.gather(true).toJson().getBytes(StandardCharsets.UTF_8);
  }

  private static void answer(HttpExchange exchange, int code, String type, byte[] body) throws IOException {
    try (exchange) {
      boolean read = exchange.getRequestMethod().equals("GET");
      exchange.getResponseHeaders().set("Content-Type", type);
      exchange.getResponseHeaders().set("Cache-Control", "no-store");
      exchange.sendResponseHeaders(read ? code : 405, read ? body.length : -1);
      if (read) {
        exchange.getResponseBody().write(body);
      }
    }
  }

  /** Until the browser goes away, which the next write notices, or the page is closed. */
  private void events(HttpExchange exchange) throws IOException {
    try (exchange) {
      exchange.getResponseHeaders().set("Content-Type", "text/event-stream");
      exchange.getResponseHeaders().set("Cache-Control", "no-store");
      exchange.sendResponseHeaders(200, 0);
      OutputStream out = exchange.getResponseBody();
      while (!Thread.currentThread().isInterrupted()) {
        out.write("data: ".getBytes(StandardCharsets.US_ASCII));
        out.write(report());
        out.write("\n\n".getBytes(StandardCharsets.US_ASCII));
        out.flush();
        Thread.sleep(intervalMillis);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void close() {
    server.stop(0);
    threads.shutdownNow();
  }
}
