package dev.dyad.engine.cli.page;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.json.Json;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class StatusPageTest {
  private static final String NAME = "page-test-" + ProcessHandle.current().pid();

  private StatusEndpoint node;
  private StatusPage page;

  @BeforeEach
  void open() throws IOException {
    node = new StatusEndpoint(RuntimeDirectory.path(), NAME, () -> Map.of("role", "primary", "name", NAME), Object::toString);
    page = new StatusPage(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 50);
  }

  @AfterEach
  void close() {
    page.close();
    node.close();
  }

  @Test
  void shouldStreamTheReportsOfTheNodes() throws IOException {
    try (Socket browser = ask("GET /events HTTP/1.1", "127.0.0.1"); BufferedReader lines = lines(browser)) {
      int reports = 0;
      for (String line = lines.readLine(); line != null && reports < 2; line = lines.readLine()) {
        if (line.startsWith("data: ")) {
          reports++;
          assertTrue(
              Json.parse(line.substring("data: ".length())).get("nodes").elements().stream().anyMatch(one -> one.get("name").text().equals(NAME)), line);
        }
      }
      assertEquals(2, reports);
    }
  }

  @Test
  void shouldGiveThePageAndASingleReport() throws IOException {
    assertTrue(all("GET / HTTP/1.1", "localhost").contains("new EventSource"));
    assertTrue(all("GET /status.json HTTP/1.1", "localhost").contains(NAME));
    assertTrue(all("GET /else HTTP/1.1", "localhost").startsWith("HTTP/1.1 404"));
  }

  @Test
  void shouldTellNothingToAForeignName() throws IOException {
    String said = all("GET /status.json HTTP/1.1", "evil.example");
    assertTrue(said.startsWith("HTTP/1.1 403"), said);
    assertFalse(said.contains(NAME), said);
  }

  @Test
  void shouldOnlyBeRead() throws IOException {
    assertTrue(all("POST /status.json HTTP/1.1", "localhost").startsWith("HTTP/1.1 405"));
  }

  private String all(String request, String host) throws IOException {
    try (Socket browser = ask(request, host)) {
      return new String(browser.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  private Socket ask(String request, String host) throws IOException {
    Socket browser = new Socket(InetAddress.getLoopbackAddress(), page.address().getPort());
    browser.getOutputStream().write((request + "\r\nHost: " + host + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
    return browser;
  }

  private static BufferedReader lines(Socket browser) throws IOException {
    return new BufferedReader(new InputStreamReader(browser.getInputStream(), StandardCharsets.UTF_8));
  }
}
