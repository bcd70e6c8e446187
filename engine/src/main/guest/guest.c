/* Prologue (CPL0), main loop and page-dirtying work (CPL3), console. */
#include "guest.h"

extern u64 gdt[];

#define LAPIC 0xfee00000UL
#define IOAPIC 0xfec00000UL
#define SERIAL 0x3f8
#define PORT_SLEEP 0x600
#define SLEEP_S5 0x34

static void route(u32 pin, u32 vector) {
  mmioWrite(IOAPIC, 0x10 + 2 * pin);
  mmioWrite(IOAPIC + 0x10, vector); /* fixed, physical, edge, to APIC 0 */
  mmioWrite(IOAPIC, 0x11 + 2 * pin);
  mmioWrite(IOAPIC + 0x10, 0);
}

/* CPL0. Short: every instruction is emulated on a software KVM. */
void prologue(u64 id) {
  const struct parameters *p = parameters();
  struct cpu *cpu = cpuPage(id);
  u64 tss = (u64)cpu + CPU_TSS;
  cpu->id = id;
  cpu->state = STATE_RUNNING;
  *(u64 *)(tss + 4) = (u64)cpu + 4096; /* stack for CPL0 */
  *(u16 *)(tss + 102) = 104;           /* I/O bitmap: all zero, ports below 0x680 permitted */
  *(u8 *)(tss + CPU_TSS_BYTES - 1) = 0xff;
  gdt[SELECTOR_TSS / 8 + 2 * id] =
      (CPU_TSS_BYTES - 1) | (tss & 0xffffff) << 16 | 0x89UL << 40 | (tss >> 24 & 0xff) << 56;
  gdt[SELECTOR_TSS / 8 + 2 * id + 1] = tss >> 32;

  mmioWrite(LAPIC + 0xf0, 0x1ff);   /* on, spurious vector 0xff */
  mmioWrite(LAPIC + 0x350, 0x10000); /* LINT0 masked: the 8259 stays silent */
  if (id == 0) {
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    if (p->netMmio) route(p->netIrq, VECTOR_NET);
    if (p->blockMmio) route(p->blockIrq, VECTOR_BLOCK);
  }
  if (p->timerMode == TIMER_PERIODIC) {
    mmioWrite(LAPIC + 0x3e0, 0xb); /* divide by 1 */
    mmioWrite(LAPIC + 0x320, 0x20000 | VECTOR_TIMER);
    mmioWrite(LAPIC + 0x380, p->timerCount);
  } else if (p->timerMode == TIMER_DEADLINE) {
    u32 low, high;
    mmioWrite(LAPIC + 0x320, 0x40000 | VECTOR_TIMER);
    cpu->deadlineStep = p->timerCount;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    u64 next = ((u64)high << 32 | low) + p->timerCount;
    __asm__ volatile("wrmsr" : : "a"((u32)next), "d"((u32)(next >> 32)), "c"(MSR_TSC_DEADLINE));
  }
}

/* CPL3 from here on. */

void *memcpy(void *to, const void *from, u64 bytes) {
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  return result;
}

void *memset(void *to, int value, u64 bytes) {
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

int memcmp(const void *a, const void *b, u64 bytes) {
  const u8 *x = a, *y = b;
  for (u64 i = 0; i < bytes; i++) {
    if (x[i] != y[i]) return x[i] - y[i];
  }
  return 0;
}

void print(const char *text) {
  if (parameters()->quiet) return;
  for (; *text; text++) {
    while (!(in8(SERIAL + 5) & 0x20)) { }
    out8(SERIAL, (u8)*text);
  }
}

void printNumber(u64 value) {
  char text[24];
  int at = sizeof text - 1;
  text[at] = 0;
  do {
    text[--at] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  print(text + at);
}

void printHex(u64 value) {
  char text[17];
  for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
  text[16] = 0;
  print(text);
}

static inline u64 rotate(u64 value, int bits) { return value << bits | value >> (64 - bits); }

/*
 * The work of one vCPU: state in registers, in an SSE register and in memory, each step depends on what an earlier one left in
 * memory. A page, a register or a step lost, stale or done twice changes the checksum.
 */
struct work {
  u64 random;
  u64 sum;
  u64 base;
  u64 pages;
  u64 next; /* sequential position */
  u64 round;
};

static void work(struct cpu *cpu, struct work *w, u64 count) {
  const struct parameters *p = parameters();
  u64 random = w->random, sum = w->sum, next = w->next, done = cpu->writes;
  for (u64 i = 0; i < count; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    u64 page;
    if (p->hotPercent && (random >> 40) % 100 < p->hotPercent) {
      page = (random >> 8) % p->hotPages;
    } else if (p->pattern == PATTERN_SEQUENTIAL) {
      page = next;
      next = next + 1 == w->pages ? 0 : next + 1;
    } else {
      page = (random >> 8) % w->pages;
    }
    volatile u64 *word = (volatile u64 *)(w->base + page * 4096 + (random & 0xff8));
    sum = rotate(sum, 5) ^ (*word + done);
    sum *= 0x9e3779b97f4a7c15UL;
    *word = sum ^ random;
    __asm__ volatile("movq %0,%%xmm14\n\tpaddq %%xmm14,%%xmm15" : : "r"(sum));
    done++;
    if (++w->round == w->pages) {
      w->round = 0;
      cpu->rounds++;
    }
    cpu->writes = done;
  }
  w->random = random;
  w->sum = sum;
  w->next = next;
  cpu->checksum = sum;
}

static void finish(struct cpu *cpu, struct work *w) {
  u64 sum, vector;
  __asm__ volatile("movq %%xmm15,%0" : "=r"(vector));
  sum = w->sum ^ vector;
  const u64 *word = (const u64 *)w->base;
  for (u64 i = 0; i < w->pages * 512; i++) sum = (rotate(sum, 7) ^ word[i]) * 0x9e3779b97f4a7c15UL;
  cpu->checksum = sum;
  barrier();
  cpu->state = STATE_DONE;
}

static void powerOffWhenAllDone(void) {
  const struct parameters *p = parameters();
  u64 sum = 0;
  for (u32 i = 0; i < p->vcpus; i++) {
    volatile struct cpu *cpu = cpuPage(i);
    if (cpu->state != STATE_DONE) return;
    sum ^= rotate(cpu->checksum, (int)(i & 63));
  }
  print("dyad guest: done, checksum ");
  printHex(sum);
  print("\n");
  out8(PORT_SLEEP, SLEEP_S5);
}

void userMain(u64 id) {
  const struct parameters *p = parameters();
  struct cpu *cpu = cpuPage(id);
  struct work w = {
      .random = (p->seed + id + 1) * 0x9e3779b97f4a7c15UL | 1,
      .sum = p->seed ^ id,
      .base = p->workBase + id * p->workPages * 4096,
      .pages = p->workPages,
  };
  __asm__ volatile("pxor %xmm15,%xmm15");
  if (id == 0) {
    print("dyad guest: ");
    printNumber(p->vcpus);
    print(" vCPUs, ");
    printNumber(p->workPages);
    print(" pages each\n");
    netStart();
    blockStart();
  }
  for (;;) {
    int busy = 0;
    if (w.pages && cpu->state == STATE_RUNNING) {
      u64 done = cpu->writes;
      u64 count = 64;
      if (p->writesPerTick) {
        u64 allowed = (*(volatile u64 *)&cpu->ticks + 1) * p->writesPerTick;
        u64 left = allowed > done ? allowed - done : 0;
        if (left < count) count = left;
      }
      if (p->stopAfter && p->stopAfter - done < count) count = p->stopAfter - done;
      if (count) {
        work(cpu, &w, count);
        busy = 1;
      }
      if (p->stopAfter && cpu->writes == p->stopAfter) finish(cpu, &w);
    }
    if (id == 0) {
      *(volatile u64 *)&cpu->pending = 0;
      fence();
      busy |= netPoll(cpu);
      busy |= blockPoll(cpu);
      if (p->powerOffWhenDone) powerOffWhenAllDone();
    }
    if (!busy && (id != 0 || (netSleep() && blockSleep()))) __asm__ volatile("hlt" : : : "memory");
  }
}
