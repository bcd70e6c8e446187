/*
 * The pieces of an epoch's path in C, each as the benchmark of the same name in dev.dyad.perf.micro does it: same bytes, same work. Prints
 * "NAME NANOSECONDS" for each, the median of several runs; what this kernel has not is left out. Built by cc -O2 -msse4.2; one thread.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <nmmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 64UL
#define ENTRIES 1024U
#define RUNS 15
#define RUN_NANOS 20000000u

static char *versions, *room, *target;
static struct kvm_dirty_gfn *ring;
static uint64_t *bits;
static uint32_t *found;
static uint64_t *runs;
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

static inline uint64_t linesThatDiffer(const uint64_t *is, const uint64_t *was) {
  uint64_t lines = 0;
  for (int i = 0; i < 64; i++) {
    uint64_t differs = 0;
    for (int j = 0; j < 8; j++) differs |= is[i * 8 + j] ^ was[i * 8 + j];
    lines |= (uint64_t)(differs != 0) << i;
  }
  return lines;
}

static size_t encodeDelta(const uint64_t *is, uint64_t *was, char *to) {
  uint64_t lines = linesThatDiffer(is, was);
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

/* ---- the encoder of page records and what applies them: as PageEncoder and Replica do, over a table of the versions sent last ---- */

enum { ZERO = 1, SAME, RAW, DELTA }; /* kinds of records, as dyad_wire.h has them */
#define PAYLOAD (2 * PAGES * PAGE + 8192)
#define DELTA_MAX 3072
#define TOO_LONG (~(size_t)0)

static char *payload, *replica;
static uint64_t pageOfSlot[2 * PAGES];
static size_t payloadBytes;
static int form;

static uint64_t recordWord(uint64_t page, uint64_t kind, uint64_t n) { return page << 28 | kind << 24 | n; }

static size_t encodeIfShort(const uint64_t *is, uint64_t *was, char *to) {
  uint64_t lines = linesThatDiffer(is, was);
  int lineCount = __builtin_popcountl(lines);
  if (lineCount * 64 > DELTA_MAX) { /* a few lines tell how full all are */
    int words = 0, step = lineCount / 8;
    uint64_t rest = lines;
    for (int sample = 0; sample < 8; sample++) {
      int at = __builtin_ctzl(rest) * 8;
      for (int j = 0; j < 8; j++) words += is[at + j] != was[at + j];
      for (int skip = 0; skip < step; skip++) rest &= rest - 1;
    }
    if (8 + ((lineCount + 7) & ~7) + words * lineCount > DELTA_MAX) return TOO_LONG;
  }
  return encodeDelta(is, was, to);
}

static void encodePages(void) {
  char *at = payload + 8;
  uint64_t *open = NULL, openNext = ~0UL;
  uint32_t records = 0;
  int openKind = 0;
  version ^= 1;
  if (form == ZERO) memset(pageOfSlot, 0xff, sizeof pageOfSlot); /* a page that became zero */
  for (uint64_t page = 0; page < PAGES; page++) {
    const char *is = pageOf(version, page);
    uint64_t slot = page & (2 * PAGES - 1);
    char *was = target + slot * PAGE;
    int kind;
    if (pageOfSlot[slot] != page) {
      memcpy(was, is, PAGE);
      pageOfSlot[slot] = page;
      kind = isZeroPage((const uint64_t *)is) ? ZERO : RAW;
    } else if (!memcmp(is, was, PAGE)) {
      kind = SAME;
    } else if (isZeroPage((const uint64_t *)is)) {
      memcpy(was, is, PAGE);
      kind = ZERO;
    } else {
      size_t bytes = encodeIfShort((const uint64_t *)is, (uint64_t *)was, at + 8);
      if (bytes <= DELTA_MAX) {
        *(uint64_t *)at = recordWord(page, DELTA, bytes);
        at += 8 + bytes;
        records++;
        openNext = ~0UL;
        continue;
      }
      if (bytes == TOO_LONG) memcpy(was, is, PAGE);
      kind = RAW;
    }
    if (openNext == page && openKind == kind) {
      ++*open;
    } else {
      open = (uint64_t *)at;
      openKind = kind;
      *open = recordWord(page, (uint64_t)kind, 1);
      at += 8;
      records++;
    }
    openNext = page + 1;
    if (kind == RAW) {
      memcpy(at, is, PAGE);
      at += PAGE;
    }
  }
  ((uint32_t *)payload)[0] = records;
  ((uint32_t *)payload)[1] = 0;
  payloadBytes = (size_t)(at - payload);
}

static void applyPages(void) {
  for (const char *at = payload + 8; at < payload + payloadBytes;) {
    uint64_t word = *(const uint64_t *)at, page = word >> 28, n = word & 0xffffff;
    at += 8;
    switch (word >> 24 & 15) {
    case DELTA:
      applyOne(at, (uint64_t *)(replica + page * PAGE));
      at += n;
      break;
    case RAW:
      memcpy(replica + page * PAGE, at, n * PAGE);
      at += n * PAGE;
      break;
    case ZERO:
      for (uint64_t i = 0; i < n; i++) {
        if (!isZeroPage((const uint64_t *)(replica + (page + i) * PAGE))) memset(replica + (page + i) * PAGE, 0, PAGE);
      }
      break;
    default:
      break; /* SAME */
    }
  }
}

/* Two versions of 64 pages as PageEncodeBenchmark fills them. */
static void fillVersions(int wanted) {
  uint64_t random = 1, *words = (uint64_t *)versions;
  form = wanted;
  for (uint64_t i = 0; i < PAGES * PAGE / 8; i++) words[i] = form == ZERO ? 0 : (random = random * 6364136223846793005u + 1442695040888963407u);
  memcpy(versions + PAGES * PAGE, versions, PAGES * PAGE);
  uint64_t changes = form == DELTA ? 8 : form == RAW ? PAGE / 8 : 0;
  for (uint64_t i = 0; i < PAGES * changes; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint64_t word = form == RAW ? i % changes : (random >> 40) % 512;
    *(uint64_t *)(pageOf(1, i / changes) + word * 8) = random;
  }
  memset(pageOfSlot, 0xff, sizeof pageOfSlot);
  version = 0;
  encodePages();
  encodePages();
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
  uint32_t runCount = 0, pages = 0;
  for (uint32_t i = 0; i < count; i++) { /* runs of pages, in the order in which they came */
    uint64_t page = found[i], last = runCount ? runs[runCount - 1] : 0;
    if (runCount && (last >> 24) + (last & 0xffffff) == page) {
      runs[runCount - 1] = last + 1;
    } else {
      runs[runCount++] = page << 24 | 1;
    }
    pages++;
    bits[page >> 6] &= ~(1UL << (page & 63));
  }
  sink += pages;
}

static void crc(void) {
  uint64_t sum = ~0u;
  for (size_t i = 0; i < crcBytes; i += 8) sum = _mm_crc32_u64(sum, *(uint64_t *)(versions + i));
  sink += sum;
}

static void ioctlOne(void) { sink += (uint64_t)ioctl(kvm, KVM_GET_API_VERSION, 0); }

/* ---- one harvest of written pages, as PagemapScan does it ---- */

/* Newer than the headers of Debian 12. */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1ull << 13) /* Linux 6.4 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1ull << 15) /* Linux 6.7 */
#endif
#define IS_WRITTEN (1ull << 1)
#define WP_MATCHING (1ull << 0)
#define CHECK_WPASYNC (1ull << 1)
#define REGIONS (1u << 14)
#define SCANNED (256UL << 20)

struct region { uint64_t start, end, categories; }; /* struct page_region, Linux 6.7 */

struct scan { /* struct pm_scan_arg, Linux 6.7 */
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

static char *scanned;
static struct region *regions;
static int pagemap = -1;
static uint64_t writtenPages, stride, turn;

static int openScan(void) {
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  scanned = anonymous(SCANNED);
  regions = (struct region *)anonymous(REGIONS * sizeof *regions);
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED};
  struct uffdio_register range = {.range = {(uint64_t)scanned, SCANNED}, .mode = UFFDIO_REGISTER_MODE_WP};
  struct uffdio_writeprotect protect = {.range = {(uint64_t)scanned, SCANNED}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  for (uint64_t at = 0; at < SCANNED; at += PAGE) *(uint64_t *)(scanned + at) = at;
  if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range) || ioctl(fd, UFFDIO_WRITEPROTECT, &protect)) return 0;
  pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  return pagemap >= 0;
}

static void writePages(void) {
  turn++;
  for (uint64_t i = 0; i < writtenPages; i++) *(volatile uint64_t *)(scanned + i * stride) = turn;
}

static void writeAndHarvest(void) {
  writePages();
  struct scan scan = {.size = sizeof scan, .flags = WP_MATCHING | CHECK_WPASYNC, .start = (uint64_t)scanned, .end = (uint64_t)scanned + SCANNED,
      .vec = (uint64_t)regions, .vec_len = REGIONS, .category_mask = IS_WRITTEN, .return_mask = IS_WRITTEN};
  int found = ioctl(pagemap, _IOWR('f', 16, struct scan), &scan);
  if (found < 0) {
    perror("PAGEMAP_SCAN");
    exit(1);
  }
  sink += (uint64_t)found;
}

/* ---- held output: a batch of frames comes, each is measured and looked at, the batch gets the open epoch's tag and leaves when that is committed, as in HeldOutput ---- */

#define FRAMES 32U
#define FRAME 71U
#define BATCH (FRAMES * (4 + FRAME))
#define HELD (512UL << 10)
#define FRAME_MAX 65553U
#define HELD_EPOCHS 1024U

static char *frames, *held, *outside;
static uint64_t heldTail, heldComplete, heldReleased, heldFrames, releasedFrames, openEpoch = 1, committedEpoch, epochTail, epochHead, addresses;
static struct {
  uint64_t epoch, end, frames;
} heldEpochs[HELD_EPOCHS];
static int releaseCalls;

static void observe(const uint8_t *frame, uint32_t bytes) {
  if (bytes < 14 || frame[6] & 1) return;
  switch (frame[12] << 8 | frame[13]) {
    case 0x8100: return;
    case 0x0800: addresses += bytes >= 34 && (frame[22] == 64 || frame[22] == 128 || frame[22] == 255); return;
    default: addresses += 2;
  }
}

static void receive(void) {
  const char *at = held + (heldTail & (HELD - 1)), *frame = at;
  if (HELD - (heldTail - __atomic_load_n(&heldReleased, __ATOMIC_ACQUIRE)) < BATCH) return;
  memcpy((char *)at, frames, BATCH);
  uint64_t tag = __atomic_load_n(&openEpoch, __ATOMIC_SEQ_CST), count = 0;
  __atomic_store_n(&heldTail, heldTail + BATCH, __ATOMIC_RELEASE);
  while (at + BATCH - frame >= 4) {
    uint32_t length;
    memcpy(&length, frame, 4);
    length = __builtin_bswap32(length);
    if (length > FRAME_MAX || at + BATCH - frame - 4 < (long)length) break;
    observe((const uint8_t *)frame + 4, length);
    frame += 4 + length;
    count++;
  }
  heldFrames += count;
  uint64_t index = epochTail % HELD_EPOCHS;
  heldEpochs[index].epoch = tag;
  heldEpochs[index].end = heldTail;
  heldEpochs[index].frames = heldFrames;
  __atomic_store_n(&epochTail, epochTail + 1, __ATOMIC_RELEASE);
  __atomic_store_n(&heldComplete, heldTail, __ATOMIC_RELEASE);
}

static void release(uint64_t epoch) {
  __atomic_store_n(&committedEpoch, epoch, __ATOMIC_SEQ_CST);
  if (__atomic_fetch_add(&releaseCalls, 1, __ATOMIC_SEQ_CST) != 0) return;
  uint64_t entries = __atomic_load_n(&epochTail, __ATOMIC_ACQUIRE), until = heldReleased;
  for (; epochHead < entries && heldEpochs[epochHead % HELD_EPOCHS].epoch <= committedEpoch; epochHead++) {
    until = heldEpochs[epochHead % HELD_EPOCHS].end;
    releasedFrames = heldEpochs[epochHead % HELD_EPOCHS].frames;
  }
  memcpy(outside, held + (heldReleased & (HELD - 1)), until - heldReleased);
  __atomic_store_n(&heldReleased, until, __ATOMIC_SEQ_CST);
  __atomic_fetch_sub(&releaseCalls, 1, __ATOMIC_SEQ_CST);
}

static void holdAndRelease(void) {
  receive();
  uint64_t sealed = openEpoch;
  __atomic_store_n(&openEpoch, sealed + 1, __ATOMIC_SEQ_CST);
  release(sealed);
}

static void copyBatch(void) {
  memcpy(outside, frames, BATCH);
  __asm__ volatile("" ::: "memory");
}

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
  target = anonymous(2 * PAGES * PAGE);
  payload = anonymous(PAYLOAD);
  replica = anonymous(2 * PAGES * PAGE);
  ring = (struct kvm_dirty_gfn *)anonymous(ENTRIES * sizeof *ring);
  bits = (uint64_t *)anonymous(1 << 16);
  found = (uint32_t *)anonymous(ENTRIES * sizeof *found);
  runs = (uint64_t *)anonymous(ENTRIES * sizeof *runs);
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
  static const char *forms[] = {"", "ZERO", "SAME", "RAW", "DELTA"};
  for (int wanted = ZERO; wanted <= DELTA; wanted++) {
    char name[64];
    fillVersions(wanted);
    snprintf(name, sizeof name, "PageEncodeBenchmark.encodePage[%s]", forms[wanted]);
    measure(name, encodePages, PAGES);
    snprintf(name, sizeof name, "PageEncodeBenchmark.applyPage[%s]", forms[wanted]);
    measure(name, applyPages, PAGES);
  }
  frames = anonymous(BATCH);
  held = anonymous(HELD + BATCH);
  outside = anonymous(BATCH);
  for (uint32_t i = 0; i < FRAMES; i++) {
    uint32_t length = __builtin_bswap32(FRAME);
    memcpy(frames + i * (4 + FRAME), &length, 4);
    frames[i * (4 + FRAME) + 4 + 12] = 8; /* IPv4 */
  }
  measure("HeldOutputBenchmark.holdAndRelease", holdAndRelease, FRAMES);
  measure("HeldOutputBenchmark.copyOnly", copyBatch, FRAMES);
  if (openScan()) {
    static const uint64_t written[] = {0, 300, 3000};
    for (int i = 0; i < 3; i++) {
      char name[64];
      writtenPages = written[i];
      stride = writtenPages ? SCANNED / writtenPages & -PAGE : 0;
      snprintf(name, sizeof name, "DirtyScanBenchmark.writeAndHarvest[%lu]", writtenPages);
      measure(name, writeAndHarvest, 1);
      snprintf(name, sizeof name, "DirtyScanBenchmark.write[%lu]", writtenPages);
      measure(name, writePages, 1);
    }
  }
  kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm >= 0) measure("IoctlBenchmark.getApiVersion", ioctlOne, 1);
  return 0;
}
