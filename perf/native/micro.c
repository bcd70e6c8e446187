/*
 * The pieces of an epoch's path in C, each as the benchmark of the same name in dev.dyad.perf.micro does it: same bytes, same work. Prints
 * "NAME NANOSECONDS" for each, the median of several runs. Built by cc -O2 -msse4.2; one thread.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <nmmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096UL
#define PAGES 64UL
#define ENTRIES 1024U
#define RUNS 15
#define RUN_NANOS 20000000u

static char *versions, *room, *target;
static struct kvm_dirty_gfn *ring;
static uint64_t *bits;
static uint32_t *found;
static int version, kvm = -1;
static size_t crcBytes;
static volatile uint64_t sink;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *anonymous(size_t bytes) {
  char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return at;
}

static char *pageOf(int v, uint64_t page) { return versions + ((uint64_t)v * PAGES + page) * PAGE; }

static void copy(void) {
  version ^= 1;
  for (uint64_t i = 0; i < PAGES; i++) memcpy(target + i * PAGE, pageOf(version, i), PAGE);
}

static int isZeroPage(const uint64_t *word) {
  for (size_t i = 0; i < PAGE / 8; i += 8) {
    if (word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] | word[i + 6] | word[i + 7]) return 0;
  }
  return 1;
}

static void isZero(void) {
  for (uint64_t i = 0; i < PAGES; i++) sink += (uint64_t)isZeroPage((uint64_t *)(room + i * PAGE));
}

static size_t encodeDelta(const uint64_t *is, uint64_t *was, char *to) {
  uint64_t lines = 0;
  for (int i = 0; i < 64; i++) {
    uint64_t differs = 0;
    for (int j = 0; j < 8; j++) differs |= is[i * 8 + j] ^ was[i * 8 + j];
    lines |= (uint64_t)(differs != 0) << i;
  }
  int lineCount = __builtin_popcountl(lines);
  uint8_t *mask = (uint8_t *)to + 8;
  uint64_t *xor = (uint64_t *)(to + 8 + ((lineCount + 7) & ~7));
  memcpy(to, &lines, 8);
  xor[-1] = 0;
  for (uint64_t rest = lines; rest; rest &= rest - 1) {
    int at = __builtin_ctzl(rest) * 8;
    uint8_t words = 0;
    for (int j = 0; j < 8; j++) {
      uint64_t difference = is[at + j] ^ was[at + j];
      was[at + j] = is[at + j];
      *xor = difference;
      words |= (uint8_t)((difference != 0) << j);
      xor += difference != 0;
    }
    *mask++ = words;
  }
  return (size_t)((char *)xor - to);
}

static void delta(void) {
  version ^= 1;
  for (uint64_t i = 0; i < PAGES; i++) sink += encodeDelta((uint64_t *)pageOf(version, i), (uint64_t *)(target + i * PAGE), room);
}

static void applyOne(const char *delta, uint64_t *page) {
  uint64_t lines;
  memcpy(&lines, delta, 8);
  const uint8_t *mask = (const uint8_t *)delta + 8;
  const uint64_t *xor = (const uint64_t *)(delta + 8 + ((__builtin_popcountl(lines) + 7) & ~7));
  for (uint64_t rest = lines; rest; rest &= rest - 1) {
    uint64_t *line = page + __builtin_ctzl(rest) * 8;
    for (unsigned words = *mask++; words; words &= words - 1) line[__builtin_ctz(words)] ^= *xor++;
  }
}

static void apply(void) {
  for (uint64_t i = 0; i < PAGES; i++) applyOne(room, (uint64_t *)(target + i * PAGE));
}

static void harvest(void) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < ENTRIES; i++) __atomic_store_n(&ring[i].flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
  for (uint32_t i = 0; i < ENTRIES; i++) {
    struct kvm_dirty_gfn *entry = &ring[i];
    if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & 3) != KVM_DIRTY_GFN_F_DIRTY) break;
    uint64_t page = entry->offset, bit = 1UL << (page & 63);
    if (!(bits[page >> 6] & bit)) {
      bits[page >> 6] |= bit;
      found[count++] = (uint32_t)page;
    }
    __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
  }
  for (uint32_t i = 0; i < count; i++) bits[found[i] >> 6] &= ~(1UL << (found[i] & 63));
  sink += count;
}

static void crc(void) {
  uint64_t sum = ~0u;
  for (size_t i = 0; i < crcBytes; i += 8) sum = _mm_crc32_u64(sum, *(uint64_t *)(versions + i));
  sink += sum;
}

static void ioctlOne(void) { sink += (uint64_t)ioctl(kvm, KVM_GET_API_VERSION, 0); }

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*piece)(void), double perCall) {
  double runs[RUNS];
  for (int i = 0; i < RUNS; i++) {
    uint64_t calls = 0, begin = now(), end;
    do {
      for (int j = 0; j < 16; j++) piece();
      calls += 16;
      end = now();
    } while (end - begin < RUN_NANOS);
    runs[i] = (double)(end - begin) / (double)calls / perCall;
  }
  qsort(runs, RUNS, sizeof *runs, ascending);
  printf("%s %.2f\n", name, runs[RUNS / 2]);
  fflush(stdout);
}

int main(void) {
  versions = anonymous(2 * PAGES * PAGE);
  room = anonymous(PAGES * PAGE + 8192);
  target = anonymous(PAGES * PAGE);
  ring = (struct kvm_dirty_gfn *)anonymous(ENTRIES * sizeof *ring);
  bits = (uint64_t *)anonymous(1 << 16);
  found = (uint32_t *)anonymous(ENTRIES * sizeof *found);
  measure("PageWorkBenchmark.isZero", isZero, PAGES);
  uint64_t random = 1;
  for (uint64_t i = 0; i < PAGES * PAGE / 8; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    ((uint64_t *)versions)[i] = random;
  }
  memcpy(versions + PAGES * PAGE, versions, PAGES * PAGE);
  memcpy(target, versions, PAGES * PAGE);
  for (uint64_t i = 0; i < PAGES * 8; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    *(uint64_t *)(pageOf(1, i / 8) + (random >> 40) % 512 * 8) = random;
  }
  for (uint32_t i = 0; i < ENTRIES; i++) ring[i].offset = i * 7 % 8192;
  delta();
  measure("PageWorkBenchmark.delta", delta, PAGES);
  measure("PageWorkBenchmark.apply", apply, PAGES);
  measure("PageWorkBenchmark.copy", copy, PAGES);
  measure("RingBenchmark.harvest", harvest, ENTRIES);
  for (crcBytes = 64; crcBytes <= 262144; crcBytes *= 64) {
    char name[64];
    snprintf(name, sizeof name, "ChecksumBenchmark.ofMemory[%zu]", crcBytes);
    measure(name, crc, 1);
  }
  kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm >= 0) measure("IoctlBenchmark.getApiVersion", ioctlOne, 1);
  return 0;
}
