/*
 * memcached's text protocol over UDP (doc/protocol.txt there): get gets set add delete incr decr version verbosity, one command a datagram.
 * Open addressing in 2 KiB slots; nothing is ever evicted and expiry times are not kept: a full table answers SERVER_ERROR.
 */
#include "guest.h"

#define KEY_MAX 250
#define VALUE_MAX 1400
#define PROBES 64

struct slot { u32 state; u32 flags; u64 cas; u16 keyBytes; u16 valueBytes; u32 sequence; u8 key[KEY_MAX + 2]; u8 value[VALUE_MAX]; };
_Static_assert(sizeof(struct slot) <= 2048, "a slot is 2 KiB");
enum { EMPTY = 0, USED = 1, DELETED = 2 };

static u64 changes;

static struct slot *slotAt(u64 index) { return (struct slot *)(KV_AT + index * 2048); }

static u64 mix(const u8 *at, u32 bytes, u64 sum) {
  for (u32 i = 0; i < bytes; i++) sum = (sum ^ at[i]) * 0x100000001b3UL;
  return sum;
}

static u64 digest(const struct slot *s) {
  u64 sum = mix(s->value, s->valueBytes, mix(s->key, s->keyBytes, 0xcbf29ce484222325UL));
  return sum ^ sum >> 29;
}

/* The slot of the key; when absent, the one to put it in if `place`, else 0. */
static struct slot *find(const u8 *key, u32 bytes, int place) {
  u64 mask = parameters()->kvSlots - 1;
  u64 hash = mix(key, bytes, 0xcbf29ce484222325UL);
  hash ^= hash >> 32;
  struct slot *room = 0;
  for (u32 i = 0; i < PROBES && i <= mask; i++) {
    struct slot *s = slotAt((hash + i) & mask);
    if (s->state == USED && s->keyBytes == bytes && !memcmp(s->key, key, bytes)) return s;
    if (s->state != USED && !room) room = s;
    if (s->state == EMPTY) break;
  }
  return place ? room : 0;
}

struct text { const u8 *at; const u8 *end; };

static u32 token(struct text *t, const u8 **start) {
  while (t->at < t->end && *t->at == ' ') t->at++;
  *start = t->at;
  while (t->at < t->end && *t->at != ' ' && *t->at != '\r') t->at++;
  return (u32)(t->at - *start);
}

static int number(const u8 *at, u32 bytes, u64 *value) {
  u64 sum = 0;
  if (!bytes || bytes > 20) return 0;
  for (u32 i = 0; i < bytes; i++) {
    if (at[i] < '0' || at[i] > '9') return 0;
    sum = sum * 10 + (u64)(at[i] - '0');
  }
  *value = sum;
  return 1;
}

static int is(const u8 *at, u32 bytes, const char *word) {
  for (; bytes && *word; at++, word++, bytes--) {
    if (*at != (u8)*word) return 0;
  }
  return !bytes && !*word;
}

struct answer { u8 *at; u8 *end; };

static void put(struct answer *a, const void *from, u32 bytes) {
  if ((u64)(a->end - a->at) < bytes) return;
  memcpy(a->at, from, bytes);
  a->at += bytes;
}

static void say(struct answer *a, const char *text) {
  const char *end = text;
  while (*end) end++;
  put(a, text, (u32)(end - text));
}

static u32 digits(u8 *to, u64 value) {
  u8 text[20];
  u32 count = 0;
  do {
    text[count++] = (u8)('0' + value % 10);
    value /= 10;
  } while (value);
  for (u32 i = 0; i < count; i++) to[i] = text[count - 1 - i];
  return count;
}

static void sayNumber(struct answer *a, u64 value) {
  u8 text[20];
  put(a, text, digits(text, value));
}

static void before(struct cpu *cpu, struct slot *s) {
  if (s->state == USED) {
    cpu->kvSum -= digest(s);
    cpu->items--;
  }
}

static u32 after(struct cpu *cpu, struct slot *s) {
  s->cas = ++changes;
  s->sequence++;
  if (s->state == USED) {
    cpu->kvSum += digest(s);
    cpu->items++;
  }
  return (u32)(((u64)s - KV_AT) / 2048) + 1;
}

static void get(struct text *line, struct answer *a, int withCas) {
  const u8 *key;
  u32 keyBytes;
  while ((keyBytes = token(line, &key)) != 0) {
    struct slot *s = keyBytes <= KEY_MAX ? find(key, keyBytes, 0) : 0;
    if (!s) continue;
    if ((u64)(a->end - a->at) < 80u + keyBytes + s->valueBytes) break; /* one datagram is all there is */
    say(a, "VALUE ");
    put(a, key, keyBytes);
    say(a, " ");
    sayNumber(a, s->flags);
    say(a, " ");
    sayNumber(a, s->valueBytes);
    if (withCas) {
      say(a, " ");
      sayNumber(a, s->cas);
    }
    say(a, "\r\n");
    put(a, s->value, s->valueBytes);
    say(a, "\r\n");
  }
  say(a, "END\r\n");
}

static u32 set(struct cpu *cpu, struct text *line, const u8 *body, const u8 *end, struct answer *a, int onlyNew, int *silent) {
  const u8 *key, *word;
  u64 flags = 0, expiry = 0, bytes = 0;
  u32 wordBytes, keyBytes = token(line, &key);
  wordBytes = token(line, &word);
  int good = number(word, wordBytes, &flags);
  wordBytes = token(line, &word);
  good &= number(word, wordBytes, &expiry);
  wordBytes = token(line, &word);
  good &= number(word, wordBytes, &bytes);
  wordBytes = token(line, &word);
  *silent = is(word, wordBytes, "noreply");
  if (!good || !keyBytes || keyBytes > KEY_MAX) {
    say(a, "CLIENT_ERROR bad command line format\r\n");
    return 0;
  }
  if (bytes > VALUE_MAX) {
    say(a, "SERVER_ERROR object too large for cache\r\n");
    return 0;
  }
  if ((u64)(end - body) < bytes + 2 || body[bytes] != '\r' || body[bytes + 1] != '\n') {
    say(a, "CLIENT_ERROR bad data chunk\r\n");
    return 0;
  }
  struct slot *s = find(key, keyBytes, 1);
  if (!s) {
    say(a, "SERVER_ERROR out of memory storing object\r\n");
    return 0;
  }
  if (onlyNew && s->state == USED) {
    say(a, "NOT_STORED\r\n");
    return 0;
  }
  before(cpu, s);
  s->state = USED;
  s->flags = (u32)flags;
  s->keyBytes = (u16)keyBytes;
  s->valueBytes = (u16)bytes;
  memcpy(s->key, key, keyBytes);
  memcpy(s->value, body, bytes);
  say(a, "STORED\r\n");
  return after(cpu, s);
}

static u32 delete(struct cpu *cpu, struct text *line, struct answer *a, int *silent) {
  const u8 *key, *word;
  u32 keyBytes = token(line, &key);
  u32 wordBytes = token(line, &word);
  *silent = is(word, wordBytes, "noreply");
  struct slot *s = keyBytes && keyBytes <= KEY_MAX ? find(key, keyBytes, 0) : 0;
  if (!s) {
    say(a, "NOT_FOUND\r\n");
    return 0;
  }
  before(cpu, s);
  s->state = DELETED;
  say(a, "DELETED\r\n");
  return after(cpu, s);
}

static u32 add(struct cpu *cpu, struct text *line, struct answer *a, int down, int *silent) {
  const u8 *key, *word;
  u64 step, value;
  u32 keyBytes = token(line, &key);
  u32 wordBytes = token(line, &word);
  if (!number(word, wordBytes, &step)) {
    say(a, "CLIENT_ERROR invalid numeric delta argument\r\n");
    return 0;
  }
  wordBytes = token(line, &word);
  *silent = is(word, wordBytes, "noreply");
  struct slot *s = keyBytes && keyBytes <= KEY_MAX ? find(key, keyBytes, 0) : 0;
  if (!s) {
    say(a, "NOT_FOUND\r\n");
    return 0;
  }
  if (!number(s->value, s->valueBytes, &value)) {
    say(a, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    return 0;
  }
  value = down ? (value > step ? value - step : 0) : value + step;
  before(cpu, s);
  s->valueBytes = (u16)digits(s->value, value);
  sayNumber(a, value);
  say(a, "\r\n");
  return after(cpu, s);
}

/* Bytes of the reply; *logged is 1 + the number of the slot that changed, 0 for none. */
u32 kvServe(struct cpu *cpu, const u8 *request, u32 bytes, u8 *reply, u32 room, u32 *logged) {
  struct answer a = {reply, reply + room};
  u32 lineBytes = 0;
  while (lineBytes < bytes && request[lineBytes] != '\n') lineBytes++;
  struct text line = {request, request + lineBytes};
  const u8 *body = request + lineBytes + (lineBytes < bytes);
  const u8 *word;
  u32 wordBytes = token(&line, &word);
  int silent = 0;
  if (!parameters()->kvSlots || lineBytes == bytes) {
    say(&a, "ERROR\r\n");
  } else if (is(word, wordBytes, "get")) {
    get(&line, &a, 0);
  } else if (is(word, wordBytes, "gets")) {
    get(&line, &a, 1);
  } else if (is(word, wordBytes, "set")) {
    *logged = set(cpu, &line, body, request + bytes, &a, 0, &silent);
  } else if (is(word, wordBytes, "add")) {
    *logged = set(cpu, &line, body, request + bytes, &a, 1, &silent);
  } else if (is(word, wordBytes, "delete")) {
    *logged = delete(cpu, &line, &a, &silent);
  } else if (is(word, wordBytes, "incr")) {
    *logged = add(cpu, &line, &a, 0, &silent);
  } else if (is(word, wordBytes, "decr")) {
    *logged = add(cpu, &line, &a, 1, &silent);
  } else if (is(word, wordBytes, "version")) {
    say(&a, "VERSION 1.6.0-dyad\r\n");
  } else if (is(word, wordBytes, "verbosity")) {
    say(&a, "OK\r\n");
  } else {
    say(&a, "ERROR\r\n");
  }
  return silent ? 0 : (u32)(a.at - reply);
}
