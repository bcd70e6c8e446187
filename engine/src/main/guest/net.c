/* Network driver, ARP, ICMP echo, and UDP for the key-value service. Runs on vCPU 0. */
#include "guest.h"

#define QUEUE_SIZE 128
#define BUFFER_BYTES 2048
#define HEADER_BYTES 12 /* virtio_net_hdr */
#define RX_QUEUE_AT NET_AT
#define TX_QUEUE_AT (NET_AT + 0x4000)
#define RX_BUFFERS_AT (NET_AT + 0x10000)
#define TX_BUFFERS_AT (NET_AT + 0x60000)
enum { MMIO_NOTIFY = 0x050, MMIO_INTERRUPT_ACK = 0x064, MMIO_CONFIG = 0x100 };
enum { AVAILABLE_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

static struct queue rx, tx;
static u8 mac[6];
static u16 txFree; /* count of free transmit buffers */
static int present;

/* Replies that wait for their log record to be on the disk, in the order of the records. */
static u64 heldRecord[QUEUE_SIZE];
static u16 heldBuffer[QUEUE_SIZE];
static u32 heldBytes[QUEUE_SIZE];
static u32 heldFirst, heldCount;
static u16 bufferStack[QUEUE_SIZE];

static inline u16 swap16(u16 v) { return (u16)(v << 8 | v >> 8); }
static inline u32 swap32(u32 v) { return __builtin_bswap32(v); }
static inline u16 get16(const u8 *at) { return (u16)(at[0] << 8 | at[1]); }
static inline u32 get32(const u8 *at) { return (u32)get16(at) << 16 | get16(at + 2); }
static inline void put16(u8 *at, u16 v) { at[0] = (u8)(v >> 8); at[1] = (u8)v; }
static inline void put32(u8 *at, u32 v) { put16(at, (u16)(v >> 16)); put16(at + 2, (u16)v); }

static u32 sum16(const u8 *at, u32 bytes, u32 sum) {
  for (; bytes > 1; bytes -= 2, at += 2) sum += get16(at);
  if (bytes) sum += (u32)at[0] << 8;
  return sum;
}

static u16 fold(u32 sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (u16)~sum;
}

void netStart(void) {
  u64 mmio = parameters()->netMmio;
  if (!mmio || !virtioBegin(mmio, 1, 1 << 5 /* VIRTIO_NET_F_MAC */)) return;
  if (!virtioQueue(mmio, 0, &rx, RX_QUEUE_AT, QUEUE_SIZE) || !virtioQueue(mmio, 1, &tx, TX_QUEUE_AT, QUEUE_SIZE)) return;
  for (int i = 0; i < 6; i++) {
    u32 word = mmioRead(mmio + MMIO_CONFIG + (i & 4));
    mac[i] = (u8)(word >> 8 * (i & 3));
  }
  for (u16 i = 0; i < QUEUE_SIZE; i++) {
    rx.descriptors[i].address = RX_BUFFERS_AT + i * BUFFER_BYTES;
    rx.descriptors[i].bytes = BUFFER_BYTES;
    rx.descriptors[i].flags = DESCRIPTOR_WRITE;
    rx.available->ring[i] = i;
    tx.descriptors[i].address = TX_BUFFERS_AT + i * BUFFER_BYTES;
    tx.descriptors[i].flags = 0;
    bufferStack[i] = i;
  }
  txFree = QUEUE_SIZE;
  tx.available->flags = AVAILABLE_NO_INTERRUPT;
  barrier();
  rx.available->index = QUEUE_SIZE;
  virtioGo(mmio);
  present = 1;
  print("dyad guest: network up\n");
}

static void reclaim(void) {
  while (tx.seen != tx.used->index) {
    barrier();
    bufferStack[txFree++] = (u16)tx.used->ring[tx.seen % QUEUE_SIZE].id;
    tx.seen++;
  }
}

static void post(u16 buffer, u32 frameBytes) {
  tx.descriptors[buffer].bytes = HEADER_BYTES + frameBytes;
  tx.available->ring[tx.available->index % QUEUE_SIZE] = buffer;
  barrier();
  tx.available->index++;
}

static u32 arp(const u8 *frame, u32 bytes, u8 *reply) {
  u32 own = parameters()->address;
  if (bytes < 42 || get32(frame + 14) != 0x00010800 || get32(frame + 18) != 0x06040001 || get32(frame + 38) != own) return 0;
  memcpy(reply, frame + 6, 6);
  memcpy(reply + 6, mac, 6);
  put16(reply + 12, 0x0806);
  put32(reply + 14, 0x00010800);
  put32(reply + 18, 0x06040002);
  memcpy(reply + 22, mac, 6);
  put32(reply + 28, own);
  memcpy(reply + 32, frame + 22, 10);
  return 42;
}

/* Fills Ethernet and IPv4 headers of an answer to `frame` that carries `bytes` after the IPv4 header. */
static u32 ipv4(const u8 *frame, u8 *reply, u8 protocol, u32 bytes) {
  memcpy(reply, frame + 6, 6);
  memcpy(reply + 6, mac, 6);
  put16(reply + 12, 0x0800);
  u8 *ip = reply + 14;
  put32(ip, 0x45000000 | (20 + bytes));
  put32(ip + 4, 0x00004000); /* do not fragment */
  put32(ip + 8, 0x40000000 | (u32)protocol << 16);
  memcpy(ip + 12, frame + 14 + 16, 4);
  memcpy(ip + 16, frame + 14 + 12, 4);
  put16(ip + 10, fold(sum16(ip, 20, 0)));
  return 14 + 20 + bytes;
}

static u32 pseudoHeader(const u8 *ip, u32 protocol, u32 bytes) { return sum16(ip + 12, 8, protocol + bytes); }

/* Length of the reply frame, 0 for none; *record is the log record that has to be on the disk first, 0 for none. */
static u32 answer(struct cpu *cpu, const u8 *frame, u32 bytes, u8 *reply, u64 *record) {
  const struct parameters *p = parameters();
  if (bytes < 34) return 0;
  u16 type = get16(frame + 12);
  if (type == 0x0806) return arp(frame, bytes, reply);
  const u8 *ip = frame + 14;
  if (type != 0x0800 || ip[0] != 0x45 || get32(ip + 16) != p->address || (get16(ip + 6) & 0x3fff)) return 0;
  u32 total = get16(ip + 2);
  if (total < 28 || 14 + total > bytes || fold(sum16(ip, 20, 0))) return 0;
  const u8 *data = ip + 20;
  u32 dataBytes = total - 20;
  if (ip[9] == 1 && data[0] == 8) {
    u8 *icmp = reply + 34;
    memcpy(icmp, data, dataBytes);
    icmp[0] = 0;
    put16(icmp + 2, 0);
    put16(icmp + 2, fold(sum16(icmp, dataBytes, 0)));
    return ipv4(frame, reply, 1, dataBytes);
  }
  if (ip[9] != 17 || get16(data + 2) != p->port) return 0;
  u32 udpBytes = get16(data + 4);
  if (udpBytes < 16 || udpBytes > dataBytes) return 0; /* less than UDP's and memcached's headers */
  if (get16(data + 6) && fold(sum16(data, udpBytes, pseudoHeader(ip, 17, udpBytes)))) return 0;
  u8 *udp = reply + 34;
  u32 logged = 0;
  u32 replyBytes = kvServe(cpu, data + 16, udpBytes - 16, udp + 16, 1400, &logged);
  cpu->requests++;
  if (logged) *record = blockLog(cpu, (const void *)(KV_AT + (u64)(logged - 1) * 2048));
  if (!replyBytes) return 0;
  u32 outBytes = 16 + replyBytes;
  put16(udp, p->port);
  put16(udp + 2, get16(data));
  put16(udp + 4, (u16)outBytes);
  put16(udp + 6, 0);
  put16(udp + 8, get16(data + 8)); /* request id; sequence 0 of 1 datagram */
  put16(udp + 10, 0);
  put16(udp + 12, 1);
  put16(udp + 14, 0);
  u32 length = ipv4(frame, reply, 17, outBytes);
  u16 sum = fold(sum16(udp, outBytes, pseudoHeader(reply + 14, 17, outBytes)));
  put16(udp + 6, sum ? sum : 0xffff);
  return length;
}

static int releaseHeld(struct cpu *cpu) {
  int released = 0;
  while (heldCount && heldRecord[heldFirst] <= cpu->logCompleted) {
    post(heldBuffer[heldFirst], heldBytes[heldFirst]);
    heldFirst = (heldFirst + 1) % QUEUE_SIZE;
    heldCount--;
    released = 1;
  }
  return released;
}

int netPoll(struct cpu *cpu) {
  if (!present) return 0;
  u64 mmio = parameters()->netMmio;
  int sent = releaseHeld(cpu), received = 0;
  while (rx.seen != rx.used->index) {
    barrier();
    volatile struct usedElement *element = &rx.used->ring[rx.seen % QUEUE_SIZE];
    u16 id = (u16)element->id;
    u32 bytes = element->bytes;
    reclaim();
    if (txFree && bytes > HEADER_BYTES) {
      u16 buffer = bufferStack[txFree - 1];
      u8 *out = (u8 *)(TX_BUFFERS_AT + (u64)buffer * BUFFER_BYTES);
      memset(out, 0, HEADER_BYTES);
      u64 record = 0;
      u32 length = answer(cpu, (const u8 *)(RX_BUFFERS_AT + (u64)id * BUFFER_BYTES) + HEADER_BYTES, bytes - HEADER_BYTES, out + HEADER_BYTES, &record);
      if (length) {
        txFree--;
        if (record > cpu->logCompleted && parameters()->logMode == LOG_BEFORE_REPLY) {
          u32 at = (heldFirst + heldCount++) % QUEUE_SIZE;
          heldRecord[at] = record;
          heldBuffer[at] = buffer;
          heldBytes[at] = length;
        } else {
          post(buffer, length);
          sent = 1;
        }
      }
    } else {
      cpu->dropped++;
    }
    rx.available->ring[rx.available->index % QUEUE_SIZE] = id;
    barrier();
    rx.available->index++;
    rx.seen++;
    received = 1;
  }
  fence();
  if (sent && !(tx.used->flags & USED_NO_NOTIFY)) mmioWrite(mmio + MMIO_NOTIFY, 1);
  if (received) {
    if (!(rx.used->flags & USED_NO_NOTIFY)) mmioWrite(mmio + MMIO_NOTIFY, 0);
    mmioWrite(mmio + MMIO_INTERRUPT_ACK, 1);
  }
  return sent | received;
}

/* Nothing new in the ring: the vCPU may sleep, the next frame interrupts. */
int netSleep(void) { return !present || rx.seen == rx.used->index; }
