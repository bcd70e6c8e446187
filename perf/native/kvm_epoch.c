/*
 * The C engine to compare with: one microVM with the built-in guest, epochs as Dyad makes them (kick, harvest, copy, capture, resume), and a
 * second process that takes each epoch over from shared memory. Same guest, same ioctls in the same order, same copies, same gate; no devices.
 *
 *   kvm_epoch --guest FILE [--pages N] [--memory-mib M] [--vcpus V] [--epochs E] [--warmup W] [--ring ENTRIES] [--spins N] [--values FILE]
 *
 * Each epoch begins when every vCPU has written each of its pages (N in all) at least once. Prints one JSON object; with --values, each
 * epoch's times go to FILE besides: pause, commit, and the pause's parts stop, scan, copy, state, resume, as nanoseconds of 64 bits.
 *
 * Threads: main (epoch and ship), one per vCPU; the standby is a process of one thread. Built by cc -O2 -pthread -msse4.2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <nmmintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define VCPUS_MAX 8
#define MSRS_MAX 512
#define WORK_BASE (16UL << 20)
#define HOLE_START (3UL << 30)
#define HOLE_END (4UL << 30)
#define PAGE_TABLES 0x50000UL
#define PROGRAM 0x100000UL
#define CPU_PAGES 0x2000UL
#define STAGING_PAGES 65536UL
#define KICK (SIGRTMIN + 5)

enum { RUN, STOP, CAPTURE, CLOSE };

static void die(const char *what) {
  fprintf(stderr, "kvm_epoch: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long must(long result, const char *what) {
  if (result < 0) die(what);
  return result;
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *anonymous(size_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) die("mmap");
  return at;
}

/* ---- what primary and standby share ---- */

struct record { uint64_t page; };

struct shared {
  _Alignas(64) uint32_t published; /* epochs handed over; futex of the standby */
  _Alignas(64) uint32_t acknowledged; /* epochs that the standby holds; futex of the primary */
  _Alignas(64) uint32_t applied;
  uint32_t pages;
  uint32_t stateBytes;
  uint32_t crc;
  uint32_t end;
};

static struct shared *shared;
static struct record *records; /* STAGING_PAGES */
static char *staging; /* STAGING_PAGES × 4 KiB, the state behind it */
static char *stagedState;
#define STATE_MAX (1u << 20)

static void wait32(uint32_t *word, uint32_t expected, int spins) {
  for (int i = 0; i < spins; i++) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != expected) return;
    _mm_pause();
  }
  struct timespec timeout = {0, 100000000};
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == expected) syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0);
}

static void wake32(uint32_t *word, int waiters) { syscall(SYS_futex, word, FUTEX_WAKE, waiters, NULL, NULL, 0); }

static uint32_t crc32c(uint32_t crc, const void *from, size_t bytes) {
  const uint64_t *word = from;
  uint64_t sum = crc;
  for (size_t i = 0; i < bytes / 8; i++) sum = _mm_crc32_u64(sum, word[i]);
  return (uint32_t)sum;
}

static uint32_t epochCrc(uint32_t pages, uint32_t stateBytes) {
  uint32_t crc = crc32c(0, records, pages * sizeof(struct record));
  crc = crc32c(crc, staging, pages * PAGE);
  return crc32c(crc, stagedState, stateBytes);
}

/* Whole? Acknowledge, then apply. */
static int standby(size_t memoryBytes, int spins) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char *replica = anonymous(memoryBytes);
  char *state = anonymous(STATE_MAX);
  for (uint32_t epoch = 0;; epoch++) {
    wait32(&shared->published, epoch, spins);
    if (shared->end) return 0;
    if (epochCrc(shared->pages, shared->stateBytes) != shared->crc) {
      fprintf(stderr, "kvm_epoch: epoch %u is not whole\n", epoch);
      return 1;
    }
    __atomic_store_n(&shared->acknowledged, epoch + 1, __ATOMIC_RELEASE);
    wake32(&shared->acknowledged, 1);
    for (uint32_t i = 0; i < shared->pages; i++) memcpy(replica + records[i].page * PAGE, staging + i * PAGE, PAGE);
    memcpy(state, stagedState, shared->stateBytes);
    __atomic_store_n(&shared->applied, epoch + 1, __ATOMIC_RELEASE);
    wake32(&shared->applied, 1);
  }
}

/* ---- the machine ---- */

struct vcpu {
  int id, fd, tid;
  struct kvm_run *run;
  struct kvm_dirty_gfn *ring;
  uint32_t next;
  int settled;
  char *state;
  size_t stateBytes;
  pthread_t thread;
};

static int vm, vcpuCount, spinTurns;
static uint32_t ringEntries = 65536;
static size_t memoryBytes, lowBytes, xsaveBytes = 4096;
static char *memory;
static struct vcpu vcpus[VCPUS_MAX];
static struct { _Alignas(64) uint32_t phase; _Alignas(64) uint32_t stopped; _Alignas(64) uint32_t captured; _Alignas(64) uint32_t ready; } *gate;
static uint32_t msrIndices[MSRS_MAX];
static uint32_t msrCount;
static uint64_t *dirtyBits;
static uint32_t dirtyPages[STAGING_PAGES];
static uint32_t dirtyCount;

static size_t aligned(size_t n) { return (n + 63) & ~63UL; }

static void capture(struct vcpu *v) {
  char *at = v->state;
  memcpy(at, &v->run->s.regs.regs, sizeof(struct kvm_regs));
  at += aligned(sizeof(struct kvm_regs));
  memcpy(at, &v->run->s.regs.events, sizeof(struct kvm_vcpu_events));
  at += aligned(sizeof(struct kvm_vcpu_events));
  must(ioctl(v->fd, KVM_GET_SREGS2, at), "KVM_GET_SREGS2");
  at += aligned(sizeof(struct kvm_sregs2));
  must(ioctl(v->fd, KVM_GET_DEBUGREGS, at), "KVM_GET_DEBUGREGS");
  at += aligned(sizeof(struct kvm_debugregs));
  must(ioctl(v->fd, KVM_GET_MP_STATE, at), "KVM_GET_MP_STATE");
  at += aligned(sizeof(struct kvm_mp_state));
  must(ioctl(v->fd, KVM_GET_XCRS, at), "KVM_GET_XCRS");
  at += aligned(sizeof(struct kvm_xcrs));
  must(ioctl(v->fd, KVM_GET_XSAVE2, at), "KVM_GET_XSAVE2");
  at += aligned(xsaveBytes);
  must(ioctl(v->fd, KVM_GET_LAPIC, at), "KVM_GET_LAPIC");
  at += aligned(sizeof(struct kvm_lapic_state));
  must(ioctl(v->fd, KVM_GET_MSRS, at), "KVM_GET_MSRS");
  at += aligned(sizeof(struct kvm_msrs) + msrCount * sizeof(struct kvm_msr_entry));
  v->stateBytes = (size_t)(at - v->state);
}

static void prepareState(struct vcpu *v) {
  v->state = anonymous(65536);
  size_t at = aligned(sizeof(struct kvm_regs)) + aligned(sizeof(struct kvm_vcpu_events)) + aligned(sizeof(struct kvm_sregs2)) +
      aligned(sizeof(struct kvm_debugregs)) + aligned(sizeof(struct kvm_mp_state)) + aligned(sizeof(struct kvm_xcrs)) + aligned(xsaveBytes) +
      aligned(sizeof(struct kvm_lapic_state));
  struct kvm_msrs *msrs = (struct kvm_msrs *)(v->state + at);
  msrs->nmsrs = msrCount;
  for (uint32_t i = 0; i < msrCount; i++) msrs->entries[i].index = msrIndices[i];
}

static void drainKicks(void) {
  sigset_t set;
  struct timespec none = {0, 0};
  sigemptyset(&set);
  sigaddset(&set, KICK);
  sigtimedwait(&set, NULL, &none);
}

static void step(struct vcpu *v) {
  if (ioctl(v->fd, KVM_RUN, 0) < 0) {
    if (errno != EINTR) die("KVM_RUN");
    v->settled = 1;
    drainKicks();
    return;
  }
  v->settled = 0;
  struct kvm_run *run = v->run;
  switch (run->exit_reason) {
  case KVM_EXIT_IO:
    if (run->io.direction == KVM_EXIT_IO_IN) memset((char *)run + run->io.data_offset, 0xff, run->io.size * run->io.count);
    break;
  case KVM_EXIT_MMIO:
    if (!run->mmio.is_write) memset(run->mmio.data, 0xff, 8);
    break;
  case KVM_EXIT_INTR:
    break;
  default:
    fprintf(stderr, "kvm_epoch: vCPU %d: exit %u\n", v->id, run->exit_reason);
    exit(1);
  }
}

static void count(uint32_t *word) {
  if (__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST) == (uint32_t)vcpuCount - 1) wake32(word, 1);
}

static void *vcpuThread(void *argument) {
  struct vcpu *v = argument;
  v->tid = (int)syscall(SYS_gettid);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, KICK);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  struct { struct kvm_signal_mask head; uint64_t mask; } __attribute__((packed)) inside = {.head.len = 8, .mask = 0};
  must(ioctl(v->fd, KVM_SET_SIGNAL_MASK, &inside), "KVM_SET_SIGNAL_MASK");
  count(&gate->ready);
  uint32_t stoppedAt = (uint32_t)-1;
  for (;;) {
    uint32_t word = __atomic_load_n(&gate->phase, __ATOMIC_SEQ_CST);
    int kind = word & 3;
    if (kind == RUN) {
      step(v);
    } else if (kind == CLOSE) {
      return NULL;
    } else if (!v->settled) {
      v->run->immediate_exit = 1;
      step(v);
      v->run->immediate_exit = 0;
    } else {
      if (kind == STOP && word != stoppedAt) {
        stoppedAt = word;
        count(&gate->stopped);
      } else if (kind == CAPTURE) {
        capture(v);
        count(&gate->captured);
      }
      wait32(&gate->phase, word, spinTurns);
    }
  }
}

static void enter(int kind) {
  if (kind == STOP) gate->stopped = 0;
  if (kind == CAPTURE) gate->captured = 0;
  __atomic_store_n(&gate->phase, ((gate->phase & ~3u) + 4) | (uint32_t)kind, __ATOMIC_SEQ_CST);
  wake32(&gate->phase, 1 << 30);
}

static void awaitAll(uint32_t *word) {
  for (int i = 0; i < spinTurns; i++) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == (uint32_t)vcpuCount) return;
    _mm_pause();
  }
  for (uint32_t seen; (seen = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != (uint32_t)vcpuCount;) wait32(word, seen, 0);
}

static void pauseAll(void) {
  enter(STOP);
  for (int i = 0; i < vcpuCount; i++) syscall(SYS_tgkill, getpid(), vcpus[i].tid, KICK);
  awaitAll(&gate->stopped);
  enter(CAPTURE);
}

static void harvestAll(void) {
  int taken = 0;
  dirtyCount = 0;
  for (int i = 0; i < vcpuCount; i++) {
    struct vcpu *v = &vcpus[i];
    for (;;) {
      struct kvm_dirty_gfn *entry = &v->ring[v->next & (ringEntries - 1)];
      if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & 3) != KVM_DIRTY_GFN_F_DIRTY) break;
      uint64_t page = entry->offset + (entry->slot ? lowBytes / PAGE : 0);
      uint64_t bit = 1UL << (page & 63);
      if (!(dirtyBits[page >> 6] & bit)) {
        dirtyBits[page >> 6] |= bit;
        if (dirtyCount == STAGING_PAGES) {
          fprintf(stderr, "kvm_epoch: more dirty pages than %lu\n", STAGING_PAGES);
          exit(1);
        }
        dirtyPages[dirtyCount++] = (uint32_t)page;
      }
      __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
      v->next++;
      taken++;
    }
  }
  if (taken) must(ioctl(vm, KVM_RESET_DIRTY_RINGS, 0), "KVM_RESET_DIRTY_RINGS");
  for (uint32_t i = 0; i < dirtyCount; i++) dirtyBits[dirtyPages[i] >> 6] = 0;
}

static void copyAll(void) {
  for (uint32_t i = 0; i < dirtyCount;) {
    uint32_t run = 1;
    while (i + run < dirtyCount && dirtyPages[i + run] == dirtyPages[i] + run) run++;
    memcpy(staging + i * PAGE, memory + dirtyPages[i] * PAGE, run * PAGE);
    i += run;
  }
}

static uint32_t captureAll(void) {
  char *at = stagedState;
  for (uint32_t chip = 0; chip < 3; chip++) {
    struct kvm_irqchip *c = (struct kvm_irqchip *)at;
    c->chip_id = chip;
    must(ioctl(vm, KVM_GET_IRQCHIP, c), "KVM_GET_IRQCHIP");
    at += aligned(sizeof *c);
  }
  must(ioctl(vm, KVM_GET_PIT2, at), "KVM_GET_PIT2");
  at += aligned(sizeof(struct kvm_pit_state2));
  must(ioctl(vm, KVM_GET_CLOCK, at), "KVM_GET_CLOCK");
  at += aligned(sizeof(struct kvm_clock_data));
  awaitAll(&gate->captured);
  for (int i = 0; i < vcpuCount; i++) {
    memcpy(at, vcpus[i].state, vcpus[i].stateBytes);
    at += vcpus[i].stateBytes;
  }
  return (uint32_t)(at - stagedState);
}

/* ---- start ---- */

static void *at(uint64_t guestPhys) { return memory + (guestPhys < lowBytes ? guestPhys : guestPhys - HOLE_END + lowBytes); }

static void loadGuest(const char *path, uint64_t pagesPerVcpu) {
  FILE *file = fopen(path, "rb");
  if (!file) die(path);
  if (fread(at(PROGRAM), 1, 65536, file) < 1024) die(path);
  fclose(file);
  uint64_t end = memoryBytes <= HOLE_START ? HOLE_END : HOLE_END + memoryBytes - HOLE_START;
  uint64_t directories = (end + (1UL << 30) - 1) >> 30;
  uint64_t *top = at(PAGE_TABLES), *middle = at(PAGE_TABLES + PAGE);
  top[0] = (PAGE_TABLES + PAGE) | 0x27;
  for (uint64_t i = 0; i < directories; i++) {
    middle[i] = (PAGE_TABLES + (2 + i) * PAGE) | 0x27;
    uint64_t *directory = at(PAGE_TABLES + (2 + i) * PAGE);
    for (uint64_t j = 0; j < 512; j++) directory[j] = (i << 30) + (j << 21) + 0xe7;
  }
  char *p = at(0x1000); /* struct parameters of guest.h */
  *(uint32_t *)(p + 8) = 1;
  *(uint32_t *)(p + 12) = (uint32_t)vcpuCount;
  *(uint64_t *)(p + 16) = WORK_BASE;
  *(uint64_t *)(p + 24) = pagesPerVcpu;
  *(uint64_t *)(p + 64) = 1;
  *(uint32_t *)(p + 72) = 1;
  *(uint32_t *)(p + 76) = 10000000;
  *(uint32_t *)(p + 124) = 1;
}

static void makeVcpu(int kvm, int id, int areaBytes, const struct kvm_cpuid2 *cpuid) {
  struct vcpu *v = &vcpus[id];
  v->id = id;
  v->fd = (int)must(ioctl(vm, KVM_CREATE_VCPU, id), "KVM_CREATE_VCPU");
  v->run = mmap(NULL, (size_t)areaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
  v->ring = mmap(NULL, ringEntries * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, KVM_DIRTY_LOG_PAGE_OFFSET * (long)PAGE);
  if (v->run == MAP_FAILED || v->ring == MAP_FAILED) die("mmap of a vCPU");
  must(ioctl(v->fd, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
  v->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
  struct kvm_sregs s;
  must(ioctl(v->fd, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
  s.cr0 = 0x80010033;
  s.cr3 = PAGE_TABLES;
  s.cr4 = 0x620;
  s.efer = 0x500;
  s.cs = (struct kvm_segment){.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
  s.ds = s.es = s.fs = s.gs = s.ss = (struct kvm_segment){.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
  must(ioctl(v->fd, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
  struct kvm_regs r = {.rip = PROGRAM, .rflags = 2, .rdi = (uint64_t)id};
  must(ioctl(v->fd, KVM_SET_REGS, &r), "KVM_SET_REGS");
  struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
  must(ioctl(v->fd, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
  if (id == 0) { /* the registers that can be read and written back */
    struct { struct kvm_msr_list head; uint32_t indices[MSRS_MAX]; } list = {.head.nmsrs = MSRS_MAX};
    must(ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &list), "KVM_GET_MSR_INDEX_LIST");
    for (uint32_t i = 0; i < list.head.nmsrs; i++) {
      struct { struct kvm_msrs head; struct kvm_msr_entry entry; } one = {.head.nmsrs = 1, .entry.index = list.indices[i]};
      if (one.entry.index == 0x11 || one.entry.index == 0x4b564d00) continue;
      if (ioctl(v->fd, KVM_GET_MSRS, &one) == 1 && ioctl(v->fd, KVM_SET_MSRS, &one) == 1) msrIndices[msrCount++] = one.entry.index;
    }
  }
  prepareState(v);
}

static void makeMachine(const char *guestPath, uint64_t pagesPerVcpu) {
  int kvm = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  vm = (int)must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  uint64_t identityMap = 0xfffbc000;
  must(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identityMap), "KVM_SET_IDENTITY_MAP_ADDR");
  must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
  must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
  struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
  must(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
  struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL, .args = {ringEntries * sizeof(struct kvm_dirty_gfn)}};
  must(ioctl(vm, KVM_ENABLE_CAP, &ring), "KVM_CAP_DIRTY_LOG_RING_ACQ_REL");
  int fd = memfd_create("guest", MFD_CLOEXEC);
  must(ftruncate(fd, (off_t)memoryBytes), "ftruncate");
  memory = mmap(NULL, memoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) die("mmap of guest memory");
  lowBytes = memoryBytes < HOLE_START ? memoryBytes : HOLE_START;
  for (uint32_t slot = 0; slot < (memoryBytes > lowBytes ? 2u : 1u); slot++) {
    struct kvm_userspace_memory_region region = {
        .slot = slot, .flags = KVM_MEM_LOG_DIRTY_PAGES, .guest_phys_addr = slot ? HOLE_END : 0, .memory_size = slot ? memoryBytes - lowBytes : lowBytes,
        .userspace_addr = (uint64_t)(memory + (slot ? lowBytes : 0))};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  }
  loadGuest(guestPath, pagesPerVcpu);
  int xsave = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  if (xsave > 4096) xsaveBytes = (size_t)xsave;
  int areaBytes = (int)must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entries[256]; } cpuid = {.head.nent = 256};
  must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
  for (int i = 0; i < vcpuCount; i++) makeVcpu(kvm, i, areaBytes, &cpuid.head);
  gate = anonymous(PAGE);
  gate->phase = STOP;
  dirtyBits = anonymous(memoryBytes / PAGE / 8 + 8);
  for (int i = 0; i < vcpuCount; i++) {
    if (pthread_create(&vcpus[i].thread, NULL, vcpuThread, &vcpus[i])) die("pthread_create");
  }
  awaitAll(&gate->ready);
  awaitAll(&gate->stopped);
}

static uint64_t rounds(int id) { return __atomic_load_n((uint64_t *)at(CPU_PAGES + (uint64_t)id * PAGE + 80), __ATOMIC_ACQUIRE); }

/* ---- figures ---- */

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void printMicros(const char *name, uint64_t *values, size_t n) {
  qsort(values, n, sizeof *values, ascending);
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)values[i];
  printf("\"%s\":{\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"mean\":%.1f}", name, values[0] / 1e3,
      values[n / 2] / 1e3, values[n * 9 / 10] / 1e3, values[n * 99 / 100] / 1e3, values[n * 999 / 1000] / 1e3, values[n - 1] / 1e3, sum / (double)n / 1e3);
}

enum { PAUSE, COMMIT, STOPPING, SCAN, COPY, STATE, RESUME, TIMES };

static void writeValues(const char *path, const uint64_t *values, size_t epochs) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(values, TIMES * sizeof *values, epochs, file) != epochs || fclose(file)) die(path);
}

int main(int argc, char **argv) {
  const char *guest = NULL, *valuesPath = NULL;
  uint64_t pages = 100, memoryMiB = 64, epochs = 1000, warmup = 200;
  vcpuCount = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *value = argv[i + 1];
    if (!strcmp(argv[i], "--guest")) guest = value;
    else if (!strcmp(argv[i], "--pages")) pages = strtoull(value, NULL, 10);
    else if (!strcmp(argv[i], "--memory-mib")) memoryMiB = strtoull(value, NULL, 10);
    else if (!strcmp(argv[i], "--vcpus")) vcpuCount = atoi(value);
    else if (!strcmp(argv[i], "--epochs")) epochs = strtoull(value, NULL, 10);
    else if (!strcmp(argv[i], "--warmup")) warmup = strtoull(value, NULL, 10);
    else if (!strcmp(argv[i], "--ring")) ringEntries = (uint32_t)strtoul(value, NULL, 10);
    else if (!strcmp(argv[i], "--spins")) spinTurns = atoi(value);
    else if (!strcmp(argv[i], "--values")) valuesPath = value;
    else {
      fprintf(stderr, "kvm_epoch: unknown option %s\n", argv[i]);
      return 2;
    }
  }
  memoryBytes = memoryMiB << 20;
  if (!guest || vcpuCount < 1 || vcpuCount > VCPUS_MAX || pages < (uint64_t)vcpuCount || !epochs || WORK_BASE + pages * PAGE > memoryBytes) {
    fprintf(stderr, "kvm_epoch: --guest FILE is needed; 1 to %d vCPUs, at least a page each, pages within memory\n", VCPUS_MAX);
    return 2;
  }
  shared = anonymous(PAGE);
  records = anonymous(STAGING_PAGES * sizeof(struct record));
  staging = anonymous(STAGING_PAGES * PAGE + STATE_MAX);
  stagedState = staging + STAGING_PAGES * PAGE;
  pid_t child = fork();
  must(child, "fork");
  if (child == 0) return standby(memoryBytes, spinTurns);

  makeMachine(guest, pages / (uint64_t)vcpuCount);
  uint64_t *pauses = malloc(epochs * sizeof *pauses), *commits = malloc(epochs * sizeof *commits), *values = malloc(epochs * TIMES * sizeof *values);
  uint64_t dirtySum = 0, begin = now();
  enter(RUN);
  for (uint64_t epoch = 0; epoch < warmup + epochs; epoch++) {
    if (epoch == warmup) {
      begin = now();
      dirtySum = 0;
    }
    uint64_t seen[VCPUS_MAX];
    for (int i = 0; i < vcpuCount; i++) seen[i] = rounds(i) + 1;
    for (int i = 0; i < vcpuCount; i++) {
      while (rounds(i) <= seen[i]) sched_yield();
    }
    wait32(&shared->applied, (uint32_t)epoch - 1, spinTurns); /* one epoch is staged at a time */
    uint64_t start = now();
    pauseAll();
    uint64_t stopped = now();
    harvestAll();
    uint64_t scanned = now();
    copyAll();
    uint64_t copied = now();
    uint32_t stateBytes = captureAll();
    uint64_t saved = now();
    enter(RUN);
    uint64_t resumed = now();
    for (uint32_t i = 0; i < dirtyCount; i++) records[i].page = dirtyPages[i];
    shared->pages = dirtyCount;
    shared->stateBytes = stateBytes;
    shared->crc = epochCrc(dirtyCount, stateBytes);
    __atomic_store_n(&shared->published, (uint32_t)epoch + 1, __ATOMIC_RELEASE);
    wake32(&shared->published, 1);
    wait32(&shared->acknowledged, (uint32_t)epoch, spinTurns);
    uint64_t committed = now();
    dirtySum += dirtyCount;
    if (epoch >= warmup) {
      pauses[epoch - warmup] = resumed - start;
      commits[epoch - warmup] = committed - start;
      uint64_t times[TIMES] = {resumed - start, committed - start, stopped - start, scanned - stopped, copied - scanned, saved - copied, resumed - saved};
      memcpy(values + (epoch - warmup) * TIMES, times, sizeof times);
    }
  }
  double seconds = (double)(now() - begin) / 1e9;
  pauseAll();
  awaitAll(&gate->captured);
  enter(CLOSE);
  for (int i = 0; i < vcpuCount; i++) pthread_join(vcpus[i].thread, NULL);
  shared->end = 1;
  __atomic_fetch_add(&shared->published, 1, __ATOMIC_SEQ_CST);
  wake32(&shared->published, 1);
  int status = 0;
  waitpid(child, &status, 0);
  if (status) return 1;
  if (valuesPath) writeValues(valuesPath, values, epochs);
  printf("{\"pages\":%lu,\"memoryMiB\":%lu,\"vcpus\":%d,\"epochs\":%lu,\"dirtyPagesMean\":%.1f,", pages, memoryMiB, vcpuCount, epochs, (double)dirtySum / (double)epochs);
  printMicros("pauseMicros", pauses, epochs);
  putchar(',');
  printMicros("commitMicros", commits, epochs);
  printf(",\"epochsPerSecond\":%.1f}\n", (double)epochs / seconds);
  return 0;
}
