/*
 * Block driver and log: each changed key-value slot is appended as one 2 KiB record, flushed where the device can flush. The log
 * wraps at the device's end. Runs on vCPU 0.
 */
#include "guest.h"

#define QUEUE_SIZE 256
#define RECORD_BYTES 2048
#define REQUESTS 32
#define DESCRIPTORS_PER_REQUEST 8 /* write: 0 1 2, flush: 4 5 */
#define HEADERS_AT (BLOCK_AT + 0x8000)
#define RECORDS_AT (BLOCK_AT + 0x10000)
enum { MMIO_DRIVER_FEATURES_LOW = 0x010, MMIO_NOTIFY = 0x050, MMIO_INTERRUPT_ACK = 0x064, MMIO_CONFIG = 0x100 };
enum { TYPE_WRITE = 1, TYPE_FLUSH = 4 };
enum { FREE = 0, WRITING, FLUSHING, WRITTEN };
#define FEATURE_FLUSH (1 << 9)
#define RECORD_MAGIC 0x44524f4345524759UL

struct header { u32 type; u32 reserved; u64 sector; };
struct request { struct header write; struct header flush; u8 writeStatus; u8 flushStatus; u8 pad[30]; };
/* Takes the place of the slot's first 16 bytes on the disk. */
struct recordHead { u64 magic; u64 number; };

static struct queue queue;
static u64 sectors;
static u64 issued;
static int present, canFlush;
static u32 stateOf[REQUESTS];

static volatile struct request *requestAt(u32 slot) { return (volatile struct request *)(HEADERS_AT + (u64)slot * sizeof(struct request)); }

void blockStart(void) {
  u64 mmio = parameters()->blockMmio;
  if (!mmio || !virtioBegin(mmio, 2, FEATURE_FLUSH)) return;
  canFlush = (mmioRead(mmio + MMIO_DRIVER_FEATURES_LOW) & FEATURE_FLUSH) != 0; /* word 0 is still selected */
  if (!virtioQueue(mmio, 0, &queue, BLOCK_AT, QUEUE_SIZE)) return;
  sectors = mmioRead(mmio + MMIO_CONFIG) | (u64)mmioRead(mmio + MMIO_CONFIG + 4) << 32;
  if (sectors < RECORD_BYTES / 512) return;
  virtioGo(mmio);
  present = 1;
  print("dyad guest: disk of ");
  printNumber(sectors);
  print(" sectors\n");
}

static void describe(u32 index, u64 address, u32 bytes, u16 flags) {
  queue.descriptors[index].address = address;
  queue.descriptors[index].bytes = bytes;
  queue.descriptors[index].flags = flags;
  queue.descriptors[index].next = (u16)(index + 1);
}

static void offer(u32 first) {
  queue.available->ring[queue.available->index % QUEUE_SIZE] = (u16)first;
  barrier();
  queue.available->index++;
  fence();
  if (!(queue.used->flags & 1)) mmioWrite(parameters()->blockMmio + MMIO_NOTIFY, 0);
}

static void write(u32 slot, u64 sector) {
  volatile struct request *r = requestAt(slot);
  u32 first = slot * DESCRIPTORS_PER_REQUEST;
  r->write.type = TYPE_WRITE;
  r->write.sector = sector;
  r->writeStatus = 0xff;
  describe(first, (u64)&r->write, sizeof(struct header), DESCRIPTOR_NEXT);
  describe(first + 1, RECORDS_AT + (u64)slot * RECORD_BYTES, RECORD_BYTES, DESCRIPTOR_NEXT);
  describe(first + 2, (u64)&r->writeStatus, 1, DESCRIPTOR_WRITE);
  stateOf[slot] = WRITING;
  offer(first);
}

static void flush(u32 slot) {
  volatile struct request *r = requestAt(slot);
  u32 first = slot * DESCRIPTORS_PER_REQUEST + 4;
  r->flush.type = TYPE_FLUSH;
  r->flush.sector = 0;
  r->flushStatus = 0xff;
  describe(first, (u64)&r->flush, sizeof(struct header), DESCRIPTOR_NEXT);
  describe(first + 1, (u64)&r->flushStatus, 1, DESCRIPTOR_WRITE);
  stateOf[slot] = FLUSHING;
  offer(first);
}

/* Number of the record, counted from 1; 0 when there is no log. Waits for the oldest record when too many are on their way. */
u64 blockLog(struct cpu *cpu, const void *record) {
  if (!present || parameters()->logMode == LOG_OFF) return 0;
  while (issued - cpu->logCompleted == REQUESTS) blockPoll(cpu);
  u64 number = ++issued;
  u32 slot = (u32)(number % REQUESTS);
  u8 *copy = (u8 *)(RECORDS_AT + (u64)slot * RECORD_BYTES);
  memcpy(copy, record, RECORD_BYTES);
  ((struct recordHead *)copy)->magic = RECORD_MAGIC;
  ((struct recordHead *)copy)->number = number;
  u64 recordsMax = sectors / (RECORD_BYTES / 512);
  cpu->logRecords = number;
  write(slot, (number - 1) % recordsMax * (RECORD_BYTES / 512));
  return number;
}

int blockPoll(struct cpu *cpu) {
  if (!present || queue.seen == queue.used->index) return 0;
  while (queue.seen != queue.used->index) {
    barrier();
    u32 id = queue.used->ring[queue.seen % QUEUE_SIZE].id;
    u32 slot = id / DESCRIPTORS_PER_REQUEST;
    queue.seen++;
    u8 status = id % DESCRIPTORS_PER_REQUEST ? requestAt(slot)->flushStatus : requestAt(slot)->writeStatus;
    if (status) {
      print("dyad guest: disk error\n");
      stateOf[slot] = FREE; /* never counts as completed: what waits for it is not answered */
    } else if (stateOf[slot] == WRITING && canFlush) {
      flush(slot);
    } else {
      stateOf[slot] = WRITTEN;
    }
  }
  while (stateOf[(cpu->logCompleted + 1) % REQUESTS] == WRITTEN) {
    stateOf[(cpu->logCompleted + 1) % REQUESTS] = FREE;
    cpu->logCompleted++;
  }
  mmioWrite(parameters()->blockMmio + MMIO_INTERRUPT_ACK, 1);
  return 1;
}

/* Nothing new in the ring: the vCPU may sleep, the next completion interrupts. */
int blockSleep(void) { return !present || queue.seen == queue.used->index; }
