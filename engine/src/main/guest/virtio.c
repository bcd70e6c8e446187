/* Start of a virtio-mmio device, version 2 (Virtual I/O Device specification 1.2, 4.2.2 and 4.2.3), split virtqueues. */
#include "guest.h"

enum { MMIO_MAGIC = 0x000, MMIO_VERSION = 0x004, MMIO_DEVICE_ID = 0x008, MMIO_FEATURES = 0x010, MMIO_FEATURES_SELECT = 0x014,
  MMIO_DRIVER_FEATURES = 0x020, MMIO_DRIVER_SELECT = 0x024, MMIO_QUEUE_SELECT = 0x030, MMIO_QUEUE_MAX = 0x034, MMIO_QUEUE_SIZE = 0x038,
  MMIO_QUEUE_READY = 0x044, MMIO_STATUS = 0x070, MMIO_DESCRIPTORS = 0x080, MMIO_DRIVER = 0x090, MMIO_DEVICE = 0x0a0 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

int virtioBegin(u64 mmio, u32 deviceId, u32 wantLow) {
  if (mmioRead(mmio + MMIO_MAGIC) != 0x74726976 || mmioRead(mmio + MMIO_VERSION) != 2) return 0;
  if (mmioRead(mmio + MMIO_DEVICE_ID) != deviceId) return 0;
  mmioWrite(mmio + MMIO_STATUS, 0);
  mmioWrite(mmio + MMIO_STATUS, ACKNOWLEDGE | DRIVER);
  mmioWrite(mmio + MMIO_FEATURES_SELECT, 0);
  u32 low = mmioRead(mmio + MMIO_FEATURES) & wantLow;
  mmioWrite(mmio + MMIO_DRIVER_SELECT, 0);
  mmioWrite(mmio + MMIO_DRIVER_FEATURES, low);
  mmioWrite(mmio + MMIO_DRIVER_SELECT, 1);
  mmioWrite(mmio + MMIO_DRIVER_FEATURES, 1); /* VIRTIO_F_VERSION_1 */
  mmioWrite(mmio + MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
  return (mmioRead(mmio + MMIO_STATUS) & FEATURES_OK) != 0;
}

/* Layout at `at`: descriptors 16 × size, available from 0x1000, used from 0x2000. */
int virtioQueue(u64 mmio, u32 index, struct queue *queue, u64 at, u16 size) {
  mmioWrite(mmio + MMIO_QUEUE_SELECT, index);
  if (mmioRead(mmio + MMIO_QUEUE_MAX) < size) return 0;
  queue->descriptors = (volatile struct descriptor *)at;
  queue->available = (volatile struct available *)(at + 0x1000);
  queue->used = (volatile struct used *)(at + 0x2000);
  queue->size = size;
  queue->seen = 0;
  mmioWrite(mmio + MMIO_QUEUE_SIZE, size);
  mmioWrite(mmio + MMIO_DESCRIPTORS, (u32)at);
  mmioWrite(mmio + MMIO_DESCRIPTORS + 4, (u32)(at >> 32));
  mmioWrite(mmio + MMIO_DRIVER, (u32)(at + 0x1000));
  mmioWrite(mmio + MMIO_DRIVER + 4, (u32)(at >> 32));
  mmioWrite(mmio + MMIO_DEVICE, (u32)(at + 0x2000));
  mmioWrite(mmio + MMIO_DEVICE + 4, (u32)(at >> 32));
  mmioWrite(mmio + MMIO_QUEUE_READY, 1);
  return 1;
}

void virtioGo(u64 mmio) {
  mmioWrite(mmio + MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}
