/*
 * Everything of Dyad's that crosses a host boundary, defined here and nowhere else. All fields are little-endian,
 * of fixed width and naturally aligned; every frame and every record is a multiple of 8 bytes, so that whatever starts on an
 * 8-byte boundary leaves the next one on such a boundary. Fields named "zero" must be 0.
 *
 *   primary                                              standby
 *      | HELLO -------------------------------------------> |   on the connected socket,
 *      | <---------------------------------------- CHALLENGE |   before the ring starts;
 *      | PROOF -------------------------------------------> |   REFUSE may take the place
 *      | <------------------------------------------- ACCEPT |   of any answer
 *      | ==== from here on: the ring (frames) and, back, control messages ====
 *      | MACHINE, MEMORY ---------------------------------> |
 *      | <------------------------------------ control READY |
 *      | PAGES PAGES ... SEAL (the baseline) --------------> |
 *      | <-------------------------------------- control ACK |
 *      | PAGES ... SEAL ... HEARTBEAT ... ----------------> |
 *      | <---------------------------- control ACK and ECHO |
 *      | BYE ---------------------------------------------> |
 */
#ifndef DYAD_WIRE_H
#define DYAD_WIRE_H

#include <stdint.h>

enum dyad_wire_constants {
    DYAD_WIRE_VERSION = 1,
    DYAD_FRAME_MAGIC = 0x46445944,   /* "DYDF" */
    DYAD_CONTROL_MAGIC = 0x43445944, /* "DYDC" */
    DYAD_FRAME_ALIGN = 8,
    DYAD_FRAME_PAYLOAD_MAX = 1 << 20, /* bytes; and never more than a quarter of the ring */
    DYAD_PAGE_BYTES = 4096,
    DYAD_NONCE_BYTES = 32,
    DYAD_PROOF_BYTES = 32,  /* HMAC-SHA256 */
    DYAD_DIGEST_BYTES = 32, /* SHA-256 */
    DYAD_BLOCKS_MAX = 256,
    DYAD_BLOCK_NAME_MAX = 255,       /* bytes of UTF-8, as QEMU's */
    DYAD_RING_BYTES_MIN = 65536,
    DYAD_RING_BYTES_MAX = 1 << 29,
};

/*
 * Head of every frame. The checksum covers all that follows it, from "version" to the last byte of the payload. Magic and
 * version stay where they are in every version to come.
 */
struct dyad_frame {
    uint32_t magic;
    uint32_t crc32c;
    uint16_t version;
    uint16_t type;       /* enum dyad_frame_type */
    uint32_t length;     /* bytes of payload, a multiple of 8 */
    uint64_t generation;
    uint64_t epoch;      /* the epoch that the frame belongs to; for frames between epochs the last one begun */
    uint64_t sequence;   /* 0, 1, 2, ... in each connection's ring; 0 in the handshake */
};

enum dyad_frame_type {
    DYAD_FRAME_HELLO = 1,
    DYAD_FRAME_CHALLENGE = 2,
    DYAD_FRAME_PROOF = 3,
    DYAD_FRAME_ACCEPT = 4,
    DYAD_FRAME_REFUSE = 5,
    DYAD_FRAME_MEMORY = 16,
    DYAD_FRAME_PAGES = 17,
    DYAD_FRAME_SEAL = 18,
    DYAD_FRAME_HEARTBEAT = 19,
    DYAD_FRAME_BYE = 20,
    DYAD_FRAME_MACHINE = 21,
    /* The disk's rings: one each way. */
    DYAD_FRAME_DISK_HELLO = 64,
    DYAD_FRAME_DISK_WRITE = 65,
    DYAD_FRAME_DISK_CLEAR = 66,
    DYAD_FRAME_DISK_SEAL = 67,
    DYAD_FRAME_DISK_EXTENTS = 68,
    DYAD_FRAME_DISK_SUMS = 69,
    DYAD_FRAME_DISK_NEED = 70,
    DYAD_FRAME_DISK_READ = 71,
    DYAD_FRAME_DISK_DATA = 72,
    DYAD_FRAME_DISK_STATE = 73,
};

/* ---- handshake ---- */

enum dyad_role {
    DYAD_ROLE_PRIMARY = 1,
    DYAD_ROLE_STANDBY = 2,
};

enum dyad_channel {
    DYAD_CHANNEL_MEMORY = 0,
    DYAD_CHANNEL_DISK = 1,
    DYAD_CHANNEL_DISK_BACK = 2, /* the ring whose sender is the standby */
};

enum dyad_auth {
    DYAD_AUTH_NONE = 0, /* loopback and unix sockets only */
    DYAD_AUTH_HMAC_SHA256 = 1,
};

/* The caller says who it is and what it wants. */
struct dyad_hello {
    uint8_t nonce[32];
    uint8_t memory_digest[32]; /* SHA-256 over the MEMORY payload */
    uint64_t memory_bytes;     /* guest RAM and room for the machine state */
    uint64_t ring_bytes;       /* a power of two */
    uint32_t page_bytes;
    uint16_t role;
    uint16_t channel;
    uint16_t auth;
    uint16_t zero[3];
};

/* The listener says the same of itself. */
struct dyad_challenge {
    uint8_t nonce[32];
    uint64_t ring_bytes; /* what both sides use: at most what was asked for, a power of two */
    uint16_t role;
    uint16_t auth;
    uint32_t zero;
};

/* Of PROOF and ACCEPT: HMAC-SHA256(key, label, HELLO frame, CHALLENGE frame); the label tells the two directions apart. */
struct dyad_proof {
    uint8_t hmac[32];
};

/* Of REFUSE and BYE: why, and the two numbers that tell. */
struct dyad_reason {
    uint32_t reason; /* enum dyad_reason_code */
    uint32_t zero;
    uint64_t found;
    uint64_t needed;
};

enum dyad_reason_code {
    DYAD_REASON_NONE = 0,
    /* malformed: the bytes are not what this version sends */
    DYAD_REASON_MAGIC = 1,
    DYAD_REASON_VERSION = 2,
    DYAD_REASON_TYPE = 3,
    DYAD_REASON_LENGTH = 4,
    DYAD_REASON_CRC = 5,
    DYAD_REASON_SEQUENCE = 6,
    DYAD_REASON_ZERO_FIELD = 7,
    DYAD_REASON_FLAGS = 8,
    DYAD_REASON_RECORD_KIND = 9,
    DYAD_REASON_RECORD_LENGTH = 10,
    DYAD_REASON_DELTA = 11,
    DYAD_REASON_PAGE_OUTSIDE = 12,
    DYAD_REASON_BLOCKS = 13,
    DYAD_REASON_BLOCK_NAME = 14,
    DYAD_REASON_BLOCK_BYTES = 15,
    DYAD_REASON_TRUNCATED = 16,
    /* out of order: well-formed, but not now */
    DYAD_REASON_GENERATION = 32,
    DYAD_REASON_EPOCH = 33,
    DYAD_REASON_UNEXPECTED = 34,
    DYAD_REASON_BASELINE = 35,
    DYAD_REASON_SEAL_PAGES = 36,
    DYAD_REASON_SEAL_BYTES = 37,
    DYAD_REASON_SEAL_FRAMES = 38,
    DYAD_REASON_STATE_BYTES = 39,
    /* does not fit */
    DYAD_REASON_EPOCH_BYTES = 48,
    DYAD_REASON_RING_BYTES = 49,
    DYAD_REASON_PAGE_BYTES = 50,
    DYAD_REASON_MEMORY = 51,
    DYAD_REASON_MACHINE = 52,
    /* who are you */
    DYAD_REASON_ROLE = 64,
    DYAD_REASON_KEY_NEEDED = 65,
    DYAD_REASON_KEY_UNKNOWN = 66,
    DYAD_REASON_PROOF = 67,
    DYAD_REASON_BUSY = 68,
    DYAD_REASON_CHANNEL = 69,
    /* orderly */
    DYAD_REASON_DETACHED = 80,
    DYAD_REASON_SHUTDOWN = 81,
    DYAD_REASON_FENCED = 82,
    DYAD_REASON_GUEST_ENDED = 83,
};

/* ---- frames of the ring ---- */

/*
 * MEMORY: the flat page space. Followed by "blocks" times dyad_block, each followed by its name, padded with zero bytes to a
 * multiple of 8. The machine state is the last block of the page space and has no entry of its own.
 */
struct dyad_memory {
    uint64_t state_bytes_max;
    uint32_t blocks;
    uint32_t zero;
};

struct dyad_block {
    uint64_t bytes;
    uint32_t name_bytes;
    uint32_t zero;
};

/*
 * MACHINE: what the standby needs to build a machine like the primary's. Followed by the description, padded with zero bytes to
 * a multiple of 8; its content is the business of the hypervisor's part, "kind" tells which.
 */
struct dyad_machine {
    uint32_t kind;
    uint32_t bytes;
};

/* PAGES: page records one after the other, up to the end of the frame. */
struct dyad_pages {
    uint32_t records;
    uint32_t flags; /* enum dyad_pages_flags */
};

enum dyad_pages_flags {
    DYAD_PAGES_BASELINE = 1, /* the standby holds nothing yet: may be applied as it arrives */
};

/*
 * A page record starts with one 64-bit word: page << 28 | kind << 24 | n.
 *   ZERO   n pages from "page" on are all zero; no body
 *   SAME   n pages from "page" on are as last sent; no body
 *   RAW    n pages from "page" on; body: n * 4096 bytes
 *   DELTA  one page; body: n bytes, a multiple of 8:
 *            u64     lines   bit i: line i (64 bytes) of the page differs; never 0
 *            u8[]    words   for each such line in order, bit j: its word j (8 bytes) differs; never 0; zero bytes up to a multiple of 8
 *            u64[]   xor     for each such word in order: what it was XOR what it is
 */
enum dyad_record {
    DYAD_RECORD_PAGE_SHIFT = 28,
    DYAD_RECORD_KIND_SHIFT = 24,
    DYAD_RECORD_N_MAX = (1 << 24) - 1,
    DYAD_RECORD_ZERO = 1,
    DYAD_RECORD_SAME = 2,
    DYAD_RECORD_RAW = 3,
    DYAD_RECORD_DELTA = 4,
    DYAD_DELTA_BYTES_MAX = 3072, /* a longer one is sent RAW */
};

/* SEAL: the end of an epoch, and what must have arrived for it to be whole. */
struct dyad_seal {
    uint64_t pages;       /* over all records of the epoch; a page that was sent twice counts twice */
    uint64_t bytes;       /* of payload in the epoch's PAGES frames */
    uint64_t frames;      /* number of the epoch's PAGES frames */
    uint64_t sent_nanos;  /* the primary's monotonic clock, given back in the ACK */
    uint32_t state_bytes; /* how much of the state block is used */
    uint32_t flags;       /* enum dyad_pages_flags */
};

struct dyad_heartbeat {
    uint64_t sent_nanos; /* the primary's monotonic clock, given back in the ECHO */
};

/*
 * ---- frames of the disk's rings ----
 *
 *   primary                                          standby
 *      | <------------------------------ DISK_HELLO (mine) |
 *      | <--------------------- DISK_EXTENTS ... (if any) |   what this side may have written that the other lacks
 *      | DISK_HELLO (decision) --------------------------> |
 *      | DISK_WRITE, DISK_CLEAR ... DISK_SEAL -----------> |   epochs; while levelling with copied blocks among them
 *      | DISK_SUMS --------------------------------------> |
 *      | <--------------------------------------- DISK_NEED |
 *      | <-------------------------------------- DISK_STATE |   durable up to an epoch, or the standby's disk failed
 *      | DISK_READ --------------------------------------> |   the primary's own disk failed
 *      | <--------------------------------------- DISK_DATA |
 */
struct dyad_disk_hello {
    uint8_t set_id[16];   /* equal on both disks of a pair */
    uint64_t bytes;
    uint32_t block_bytes;
    uint32_t extent_bytes;
    uint64_t current;     /* generation identifiers: what the data is */
    uint64_t base;        /* what it was when the other side was lost; 0 while level */
    uint64_t history[4];  /* older ones, newest first */
    uint32_t flags;       /* enum dyad_disk_hello_flags */
    uint32_t decision;    /* of the primary's answer: enum dyad_disk_decision */
    uint64_t epoch_bytes_max; /* of the standby: what its write log takes for one epoch */
};

enum dyad_disk_hello_flags {
    DYAD_DISK_FRESH = 1,        /* never held anything */
    DYAD_DISK_INCONSISTENT = 2, /* levelling was not finished */
    DYAD_DISK_DISCARD_MINE = 4, /* a person decided that this side's own history is void */
};

enum dyad_disk_decision {
    DYAD_DISK_DECISION_NONE = 0,
    DYAD_DISK_SYNC_DIFFERENCES = 1, /* both sides' marked extents */
    DYAD_DISK_SYNC_ALL = 2,         /* everything, compared by checksum */
    DYAD_DISK_REFUSED_SIZE = 3,
    DYAD_DISK_REFUSED_FOREIGN = 4,
    DYAD_DISK_REFUSED_DIVERGED = 5,
    DYAD_DISK_REFUSED_BEHIND = 6,   /* the side that asks is newer than the primary */
    DYAD_DISK_REFUSED_GEOMETRY = 7,
};

/* Followed by the data, padded to a multiple of 8. */
struct dyad_disk_write {
    uint64_t offset;
    uint32_t bytes;
    uint32_t flags; /* 0 */
};

/* Zeroes; how the disk stores them is its own business. */
struct dyad_disk_clear {
    uint64_t offset;
    uint64_t bytes;
    uint32_t flags; /* enum dyad_disk_clear_flags */
    uint32_t zero;
};

enum dyad_disk_clear_flags {
    DYAD_DISK_CLEAR_KEEP = 1, /* keep the blocks allocated */
};

/* Followed by "in_flight" times dyad_disk_request: what the guest asked for and had no answer to at that instant. */
struct dyad_disk_seal {
    uint64_t frames; /* WRITE and CLEAR frames of the epoch */
    uint64_t bytes;  /* of data in them */
    uint32_t flags;  /* enum dyad_disk_seal_flags */
    uint32_t in_flight;
};

enum dyad_disk_seal_flags {
    DYAD_DISK_SEAL_FLUSHED = 1,    /* the guest flushed in this epoch */
    DYAD_DISK_SEAL_CHECKPOINT = 2, /* say when everything up to here is durable */
    DYAD_DISK_SEAL_LEVEL = 4,      /* from here on the standby's disk is whole */
};

struct dyad_disk_request {
    uint64_t tag;
    uint64_t offset;
    uint64_t bytes;
    uint32_t op;
    uint32_t flags;
};

/* Followed by "count" extent numbers (u32), padded to a multiple of 8. */
struct dyad_disk_extents {
    uint32_t count;
    uint32_t flags; /* enum dyad_disk_extents_flags */
};

enum dyad_disk_extents_flags {
    DYAD_DISK_EXTENTS_LAST = 1,
};

/* Followed by 16 bytes for each block. */
struct dyad_disk_sums {
    uint64_t offset;
    uint32_t blocks;
    uint32_t flags; /* enum dyad_disk_sums_flags */
};

enum dyad_disk_sums_flags {
    DYAD_DISK_SUMS_VERIFY = 1, /* only asked, not to be mended */
};

/* Answer to SUMS, followed by a bit for each block (u64 words): set where it differs. */
struct dyad_disk_need {
    uint64_t offset;
    uint32_t blocks;
    uint32_t flags; /* as asked */
};

struct dyad_disk_read {
    uint64_t tag;
    uint64_t offset;
    uint32_t bytes;
    uint32_t zero;
};

/* Answer to READ, followed by the data, padded to a multiple of 8; none if error is not 0. */
struct dyad_disk_data {
    uint64_t tag;
    uint32_t bytes;
    int32_t error; /* 0 or a negative errno */
};

struct dyad_disk_state {
    uint32_t kind; /* enum dyad_disk_state_kind */
    int32_t error; /* of FAILED: a negative errno */
    uint64_t epoch;
};

enum dyad_disk_state_kind {
    DYAD_DISK_STATE_DURABLE = 1, /* everything up to "epoch" survives a loss of power here */
    DYAD_DISK_STATE_FAILED = 2,  /* this side's disk takes no more */
};

/* ---- what comes back: messages of 64 bytes ---- */

enum dyad_control_type {
    DYAD_CONTROL_NONE = 0, /* never sent by itself: a position without a message */
    DYAD_CONTROL_READY = 1,
    DYAD_CONTROL_ACK = 2,
    DYAD_CONTROL_ECHO = 3,
    DYAD_CONTROL_BYE = 4,
    DYAD_CONTROL_REFUSE = 5,
};

/* The checksum covers all that follows it. */
struct dyad_control {
    uint32_t magic;
    uint32_t crc32c;
    uint16_t version;
    uint16_t type;   /* enum dyad_control_type */
    uint32_t reason; /* of BYE and REFUSE: enum dyad_reason_code */
    uint64_t generation;
    uint64_t epoch;  /* of ACK: the newest epoch that is whole; else the same for information */
    uint64_t echo_nanos;
    uint64_t found;  /* of REFUSE */
    uint64_t needed;
    uint64_t sequence; /* 0, 1, 2, ... */
};

/* tcp: what travels from the standby to the primary after the handshake, one after the other. */
struct dyad_tcp_back {
    uint64_t released;            /* the ring is free before this position */
    struct dyad_control control;  /* all zero: only the position */
};

/*
 * shm: head of the shared memory object, followed on the next page boundary (DYAD_SHM_HEAD_BYTES) by the ring. Each position has
 * one writer and a cache line of its own. Control messages: slot = count % DYAD_SHM_SLOTS.
 */
enum dyad_shm_constants {
    DYAD_SHM_MAGIC = 0x53445944, /* "DYDS" */
    DYAD_SHM_HEAD_BYTES = 8192,
    DYAD_SHM_SLOTS = 64,
};

struct dyad_shm {
    uint32_t magic;
    uint16_t version;
    uint16_t zero;
    uint64_t ring_bytes;
    uint8_t pad0[48];
    uint64_t published;      /* by the primary: bytes of the ring */
    uint8_t pad1[56];
    uint64_t released;       /* by the standby: bytes of the ring */
    uint8_t pad2[56];
    uint64_t control_sent;   /* by the standby: messages */
    uint8_t pad3[56];
    uint64_t control_taken;  /* by the primary: messages */
    uint8_t pad4[56];
    uint32_t primary_waits;  /* set by the primary before it sleeps, cleared by the standby that rings */
    uint8_t pad5[60];
    uint32_t standby_waits;
    uint8_t pad6[60];
    uint8_t control[64 * 64];
};

/*
 * rdma: after the handshake both sides send one dyad_rdma_hello and one dyad_rdma_ready over the session's socket, which then stays
 * open and silent: its end is the link's end. The primary writes the ring's bytes where they belong in the standby's ring; piece
 * after piece in the order of positions, stripe after stripe on queue pair (position / stripe_bytes) % queue_pairs. The last piece of
 * a batch on each queue pair carries the low 32 bits of the position that the batch reaches: everything before it that belongs to
 * this queue pair is in place. Messages travel on queue pair 0, both ways.
 */
enum dyad_rdma_constants {
    DYAD_RDMA_MAGIC = 0x52445944, /* "DYDR" */
    DYAD_RDMA_QUEUE_PAIRS_MAX = 8,
    DYAD_RDMA_RECEIVES_MIN = 16,
};

enum dyad_rdma_flags {
    DYAD_RDMA_TCP_WILL_DO = 1, /* if rdma cannot be used, this side is content with tcp */
    DYAD_RDMA_MANAGED = 2,     /* of the primary: the kernels' connection managers connect the queue pairs, see dyad_rdma_listening */
};

struct dyad_rdma_hello {
    uint32_t magic;
    uint16_t version;
    uint16_t flags;
    uint32_t queue_pairs;        /* 0: there is no rdma on this side */
    uint32_t mtu_bytes;
    uint8_t gid[16];
    uint64_t ring_virt;          /* of the standby: where its ring is */
    uint64_t ring_bytes;
    uint32_t ring_key;           /* of the standby: the right to write there */
    uint32_t lid;                /* InfiniBand only, else 0 */
    uint32_t receives;           /* posted on each queue pair: how much may be sent unasked */
    uint32_t stripe_bytes;       /* of the primary, a power of two */
    uint32_t queue_pair[8];
    uint32_t first_packet[8];
};

/*
 * Of the standby, after the hellos, if the primary's says DYAD_RDMA_MANAGED: the primary now connects queue pair after queue pair through
 * rdma_cm, each of its requests with a dyad_rdma_request as private data.
 */
struct dyad_rdma_listening {
    uint32_t magic;
    uint32_t port; /* rdma_cm's, at the address of the session; 0: the standby cannot listen, and the link ends here */
};

struct dyad_rdma_request {
    uint32_t magic;
    uint32_t index; /* which of the hello's queue pairs it is */
};

/* The sender can be written and sent to; or it could not connect, and the link ends here. */
struct dyad_rdma_ready {
    uint32_t magic;
    uint32_t connected; /* 1 or 0 */
};

struct dyad_rdma_message {
    uint64_t released;            /* of the standby: the ring is free before this position */
    uint32_t taken[8];            /* receives that were used and posted again since the link came up, for each queue pair */
    struct dyad_control control;  /* all zero: none */
};

#endif
