package dev.dyad.engine.json;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
  @Test
  void shouldReadBackWhatItWrites() {
    String text = "a\"b\\c\nd\u0001é";
    assertEquals(text, Json.parse(Json.write(text)).text());
    Json map = Json.parse(Json.write(Map.of("list", List.of(1, true, text), "far", Double.POSITIVE_INFINITY)));
    assertEquals(1, map.get("list").elements().getFirst().number(0));
    assertTrue(map.get("list").elements().get(1).isTrue());
    assertTrue(map.get("far").isAbsent());
  }

  @Test
  void shouldReadWhatIsNotThereAsAbsent() {
    Json json = Json.parse("{\"a\":1.5,\"b\":18446744073709551615}");
    assertTrue(json.get("x").get("y").isAbsent());
    assertEquals("", json.get("a").text());
    assertEquals(-1, json.get("a").number(-1));
    assertEquals(-1, json.get("b").number(-1));
    assertEquals(List.of(), json.elements());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "{\"a\":1", "[1,]", "{} {}", "nul", "'a'", "{a:1}", "\"\u0001\""})
  void shouldRefuseWhatIsNotJson(String text) {
    assertThrows(IllegalArgumentException.class, () -> Json.parse(text));
  }
}
