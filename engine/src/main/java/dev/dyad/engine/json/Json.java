package dev.dyad.engine.json;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import java.io.IOException;
import java.io.StringReader;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * One JSON value (RFC 8259), read strictly and never changed. A member that is not there, or that is of another kind, reads as
 * absent, so that an answer of a foreign program is taken apart without a test at each step.
 */
public final class Json {
  private static final Json ABSENT = new Json(JsonNull.INSTANCE);

  private final JsonElement value;

  private Json(JsonElement value) {
    this.value = value;
  }

  /**
   * @throws IllegalArgumentException with what does not belong there, and where
   */
  public static Json parse(String text) {
    try (JsonReader reader = new JsonReader(new StringReader(text))) {
      reader.setStrictness(Strictness.STRICT);
      var _ = reader.peek(); // an empty text would else be taken for a null
      JsonElement value = JsonParser.parseReader(reader);
      if (reader.peek() != JsonToken.END_DOCUMENT) {
        throw new IllegalArgumentException("not JSON: more than one value");
      }
      return new Json(value);
    } catch (JsonParseException | IOException e) {
      throw new IllegalArgumentException("not JSON: " + e.getMessage(), e);
    }
  }

  /** Maps, collections, strings, finite numbers, booleans and nulls as they are, an infinite number as null, all else by its text. */
  public static String write(@Nullable Object value) {
    return tree(value).toString();
  }

  private static JsonElement tree(@Nullable Object value) {
    return switch (value) {
      case null -> JsonNull.INSTANCE;
      case Json json -> json.value;
      case Map<?, ?> map -> {
        JsonObject object = new JsonObject();
        map.forEach((name, member) -> object.add(String.valueOf(name), tree(member)));
        yield object;
      }
      case Collection<?> collection -> {
        JsonArray array = new JsonArray();
        collection.forEach(element -> array.add(tree(element)));
        yield array;
      }
      case Double number when !Double.isFinite(number) -> JsonNull.INSTANCE;
      case Number number -> new JsonPrimitive(number);
      case Boolean flag -> new JsonPrimitive(flag);
      default -> new JsonPrimitive(value.toString());
    };
  }

  /** The member of an object; an absent value when there is none, or when this is no object. */
  public Json get(String name) {
    return value instanceof JsonObject object && object.has(name) ? new Json(object.get(name)) : ABSENT;
  }

  /** The elements of an array; none when this is no array. */
  public List<Json> elements() {
    return value instanceof JsonArray array ? array.asList().stream().map(Json::new).toList() : List.of();
  }

  public boolean isAbsent() {
    return value.isJsonNull();
  }

  /** The string, or an empty one when this is none. */
  public String text() {
    return value instanceof JsonPrimitive primitive && primitive.isString() ? primitive.getAsString() : "";
  }

  /** The integer, or {@code fallback} when this is none. */
  public long number(long fallback) {
    try {
      return value instanceof JsonPrimitive primitive && primitive.isNumber() ? Long.parseLong(primitive.getAsString()) : fallback;
    } catch (NumberFormatException e) {
      return fallback; // a fraction, or more than 63 bits
    }
  }

  public boolean isTrue() {
    return value instanceof JsonPrimitive primitive && primitive.isBoolean() && primitive.getAsBoolean();
  }

  /** The value as JSON text again. */
  @Override
  public String toString() {
    return value.toString();
  }
}
