/*
 * The built-in guest: memory map, parameter page, per-vCPU page. Freestanding, 64 bit, identity-mapped.
 *
 * Who runs where: the prologue and the interrupt handlers at CPL0 in plain integer code (a software KVM emulates CPL0 one
 * instruction at a time), everything else at CPL3. CPL3 reaches CPL0 only by interrupts and by executing HLT, whose #GP
 * handler sleeps on its behalf: neither SYSCALL nor INT n is used.
 *
 * Memory map (guest-physical = virtual)
 *   0x00001000  parameters, written by the monitor before the start, only read here
 *   0x00002000  one page per vCPU: status, task state segment, kernel stack (grows down from the page's end)
 *   0x00050000  page tables, made by the monitor
 *   0x00100000  this program
 *   0x00180000  user stacks, 8 KiB per vCPU
 *   0x00200000  network rings and buffers
 *   0x00300000  block ring and buffers
 *   0x00400000  key-value table, 2 KiB a slot
 *   workBase    the pages that are dirtied, workPages for each vCPU
 */
#ifndef DYAD_GUEST_H
#define DYAD_GUEST_H

#define PARAMETERS_AT 0x1000
#define CPU_PAGES_AT 0x2000
#define CPUS_MAX 64
#define USER_STACKS_AT 0x180000
#define USER_STACK_BYTES 0x2000
#define NET_AT 0x200000
#define BLOCK_AT 0x300000
#define KV_AT 0x400000

#define VECTOR_TIMER 0x30
#define VECTOR_NET 0x31
#define VECTOR_BLOCK 0x32

#define SELECTOR_CODE0 0x08
#define SELECTOR_DATA0 0x10
#define SELECTOR_DATA3 0x1b
#define SELECTOR_CODE3 0x23
#define SELECTOR_TSS 0x30

/* Offsets into the per-vCPU page that the handlers use. */
#define CPU_TICKS 8
#define CPU_PENDING 16
#define CPU_FAULT 24
#define CPU_FAULT_RIP 32
#define CPU_FAULT_CODE 40
#define CPU_DEADLINE_STEP 48
#define CPU_IDLES 56
#define CPU_TSS 0x200
#define CPU_TSS_BYTES (104 + 208 + 1)

#define LAPIC_EOI 0xfee000b0
#define MSR_TSC_DEADLINE 0x6e0
#define PORT_PANIC 0x505

#ifndef __ASSEMBLER__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define MAGIC 0x7473657564617964UL /* "dyadguest" cut to eight bytes */
#define PARAMETERS_VERSION 1

enum { PATTERN_SEQUENTIAL = 0, PATTERN_RANDOM = 1 };
enum { TIMER_OFF = 0, TIMER_PERIODIC = 1, TIMER_DEADLINE = 2 };
enum { STATE_RUNNING = 1, STATE_DONE = 2 };
enum { LOG_OFF = 0, LOG_WRITE = 1, LOG_BEFORE_REPLY = 2 };

struct parameters {
  u64 magic;
  u32 version;
  u32 vcpus;
  u64 workBase;
  u64 workPages;      /* per vCPU; 0: dirties nothing */
  u32 pattern;
  u32 hotPercent;     /* share of the writes that go to the hot pages */
  u64 hotPages;       /* the first ones of workPages */
  u64 writesPerTick;  /* per vCPU; 0: as fast as it can */
  u64 stopAfter;      /* writes per vCPU until it adds up its memory and rests; 0: never */
  u64 seed;
  u32 timerMode;
  u32 timerCount;     /* periodic: APIC timer counts; deadline: TSC counts between ticks */
  u64 netMmio;        /* 0: none */
  u64 blockMmio;      /* 0: none */
  u32 netIrq;
  u32 blockIrq;
  u32 address;        /* IPv4, host order */
  u16 port;
  u16 powerOffWhenDone;
  u64 kvSlots;        /* a power of two */
  u32 logMode;
  u32 quiet;          /* 1: prints nothing */
};
_Static_assert(sizeof(struct parameters) == 128, "the monitor writes these offsets");

struct cpu {
  u64 id;
  u64 ticks;
  u64 pending;        /* set by device interrupts, cleared before the rings are looked at */
  u64 fault;          /* vector + 1 of an unexpected exception */
  u64 faultRip;
  u64 faultCode;
  u64 deadlineStep;
  u64 idles;
  u64 writes;         /* 64: work done so far */
  u64 checksum;       /* 72: over everything read and written; complete in STATE_DONE */
  u64 rounds;         /* 80: writes / workPages */
  u64 state;          /* 88 */
  u64 requests;       /* 96: datagrams that the key-value service answered */
  u64 items;          /* 104: keys present */
  u64 kvSum;          /* 112: sum over all slots of a mix of key and value */
  u64 dropped;        /* 120: frames not sent for want of room */
  u64 logRecords;     /* 128: records written to the block device */
  u64 logCompleted;   /* 136 */
};

static inline const struct parameters *parameters(void) { return (const struct parameters *)PARAMETERS_AT; }
static inline struct cpu *cpuPage(u64 id) { return (struct cpu *)(CPU_PAGES_AT + id * 4096); }

static inline u32 mmioRead(u64 at) { u32 v; __asm__ volatile("movl (%1),%0" : "=r"(v) : "r"(at) : "memory"); return v; }
static inline void mmioWrite(u64 at, u32 v) { __asm__ volatile("movl %0,(%1)" : : "r"(v), "r"(at) : "memory"); }
static inline void out8(u16 port, u8 v) { __asm__ volatile("outb %0,%1" : : "a"(v), "Nd"(port) : "memory"); }
static inline u8 in8(u16 port) { u8 v; __asm__ volatile("inb %1,%0" : "=a"(v) : "Nd"(port) : "memory"); return v; }
static inline void barrier(void) { __asm__ volatile("" : : : "memory"); }
static inline void fence(void) { __asm__ volatile("lock; addl $0,-64(%%rsp)" : : : "memory", "cc"); }

/* A virtqueue of our own side, split layout. */
struct descriptor { u64 address; u32 bytes; u16 flags; u16 next; };
struct available { u16 flags; u16 index; u16 ring[]; };
struct usedElement { u32 id; u32 bytes; };
struct used { u16 flags; u16 index; struct usedElement ring[]; };
struct queue {
  volatile struct descriptor *descriptors;
  volatile struct available *available;
  volatile struct used *used;
  u16 size;
  u16 seen;           /* used entries taken so far */
};
enum { DESCRIPTOR_NEXT = 1, DESCRIPTOR_WRITE = 2 };

int virtioBegin(u64 mmio, u32 deviceId, u32 wantLow);
int virtioQueue(u64 mmio, u32 index, struct queue *queue, u64 at, u16 size);
void virtioGo(u64 mmio);

void print(const char *text);
void printNumber(u64 value);
void printHex(u64 value);

void netStart(void);
int netPoll(struct cpu *cpu);
int netSleep(void);

u32 kvServe(struct cpu *cpu, const u8 *request, u32 bytes, u8 *reply, u32 room, u32 *logged);

void blockStart(void);
u64 blockLog(struct cpu *cpu, const void *record);
int blockPoll(struct cpu *cpu);
int blockSleep(void);

void *memcpy(void *to, const void *from, u64 bytes);
void *memset(void *to, int value, u64 bytes);
int memcmp(const void *a, const void *b, u64 bytes);
#endif
#endif
