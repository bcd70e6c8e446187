/*
 * The yardstick: the epoch loop of an attached QEMU in plain C, without shipping and held output.
 *
 *   qemu_epoch QMP_SOCKET PID PERIOD_MICROS SECONDS WARMUP_SECONDS
 *
 * Attaches (one injected userfaultfd), and each period: one xen-save-devices-state into a gated pipe, PAGEMAP_SCAN,
 * process_vm_readv of the written pages, the state to its end, QEMU's answer. The same kernel calls in the same order as the
 * engine's, so that the difference between the two is what Java adds. Prints one line of JSON; the times are microseconds: pause is
 * QEMU's STOP to its RESUME by QEMU's own clock, cut is command to answer, and the others are the cut's parts.
 *
 * Knows one RAM block: that at guest address 0, with the size that QEMU reports (a q35 without memory devices). x86-64, Linux 6.7.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/types.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

/* Newer than the headers of Debian 12. */
#define FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12)
#define FEATURE_WP_UNPOPULATED (1ull << 13) /* Linux 6.4 */
#define FEATURE_WP_ASYNC (1ull << 15)       /* Linux 6.7 */
#define IS_WRITTEN (1ull << 1)
#define WP_MATCHING (1ull << 0)
#define CHECK_WPASYNC (1ull << 1)

struct region { /* struct page_region, Linux 6.7 */
  uint64_t start, end, categories;
};

struct scan { /* struct pm_scan_arg, Linux 6.7 */
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan)

enum {
  PAGE = 4096,
  GATE_BYTES = PAGE,
  OPEN_BYTES = 1 << 20,
  REGIONS_MAX = 1 << 14,
  RANGES_MAX = 1024,
  COPY_BYTES_MAX = 256 << 20,
  STATE_BYTES_MAX = 4 << 20,
  EPOCHS_MAX = 1 << 20,
  LINE_BYTES_MAX = 1 << 20,
};

static const char ASKED_LIVE[] =
    "{\"execute\":\"xen-save-devices-state\",\"arguments\":{\"filename\":\"/proc/self/fd/%d\",\"live\":true}}\n";

static void die(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  fputs("qemu_epoch: ", stderr);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, " (%s)\n", strerror(error));
  exit(69);
}

static long check(long result, const char *call) {
  if (result < 0)
    die("%s", call);
  return result;
}

static int64_t now_nanos(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* ---- QMP */

static int qmp;
static char line[LINE_BYTES_MAX];
static size_t filled;
static int answered;
static int64_t stopped_micros, resumed_micros; /* by QEMU's clock */

static int64_t number_after(const char *text, const char *end, const char *word) {
  const char *at = memmem(text, (size_t)(end - text), word, strlen(word));
  return at ? atoll(at + strlen(word)) : 0;
}

static int64_t timestamp(const char *text, const char *end) {
  return number_after(text, end, "\"seconds\": ") * 1000000 + number_after(text, end, "\"microseconds\": ");
}

/* Looks at the complete lines that have arrived; one that is an answer is kept in answer. */
static void take_lines(char *answer, size_t answer_max) {
  char *end;
  while ((end = memchr(line, '\n', filled)) != NULL) {
    size_t bytes = (size_t)(end - line) + 1;
    if (!strncmp(line, "{\"return\"", 9) || !strncmp(line, "{\"error\"", 8)) {
      answered = 1;
      if (!strncmp(line, "{\"error\"", 8))
        errno = 0, die("QEMU refused: %.*s", (int)bytes - 1, line);
      if (answer)
        snprintf(answer, answer_max, "%.*s", (int)bytes, line);
    } else if (memmem(line, bytes, "\"event\": \"STOP\"", 15)) {
      stopped_micros = timestamp(line, end);
    } else if (memmem(line, bytes, "\"event\": \"RESUME\"", 17)) {
      resumed_micros = timestamp(line, end);
    }
    memmove(line, line + bytes, filled - bytes);
    filled -= bytes;
  }
}

static void receive(int flags, char *answer, size_t answer_max) {
  ssize_t got = recv(qmp, line + filled, sizeof line - filled, flags);
  if (got < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (got <= 0)
    die("QEMU is gone");
  filled += (size_t)got;
  take_lines(answer, answer_max);
}

static void execute(const char *command, char *answer, size_t answer_max) {
  answered = 0;
  check(send(qmp, command, strlen(command), 0), "send");
  while (!answered)
    receive(0, answer, answer_max);
}

static void connect_qmp(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path)
    errno = ENAMETOOLONG, die("%s", path);
  strcpy(address.sun_path, path);
  qmp = (int)check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  check(connect(qmp, (struct sockaddr *)&address, sizeof address), path);
  execute("{\"execute\":\"qmp_capabilities\"}\n", NULL, 0);
}

static int send_descriptor(int fd) {
  char space = ' ', answer[256] = "", control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec byte = {&space, 1};
  struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  check(sendmsg(qmp, &message, 0), "sendmsg");
  execute("{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":25455}}\n", answer, sizeof answer);
  char *number = strstr(answer, "\"fd\": ");
  if (!number)
    errno = 0, die("add-fd answered %s", answer);
  return atoi(number + 6);
}

static uint64_t ram_address(void) {
  char answer[512] = "";
  execute("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"gpa2hva 0\"}}\n", answer, sizeof answer);
  char *hex = strstr(answer, "is 0x");
  if (!hex)
    errno = 0, die("gpa2hva answered %s", answer);
  return strtoull(hex + 5, NULL, 16);
}

static uint64_t ram_bytes(void) {
  char answer[512] = "";
  execute("{\"execute\":\"query-memory-size-summary\"}\n", answer, sizeof answer);
  char *number = strstr(answer, "\"base-memory\": ");
  if (!number)
    errno = 0, die("query-memory-size-summary answered %s", answer);
  return strtoull(number + 15, NULL, 10);
}

/* ---- userfaultfd of another process */

/* Address of a syscall instruction: the vDSO of x86-64 has one. */
static uint64_t syscall_instruction(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "re");
  if (!maps)
    die("%s", path);
  uint64_t found = 0;
  while (!found && fgets(text, sizeof text, maps)) {
    uint64_t start, end;
    if (!strstr(text, "[vdso]") || sscanf(text, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
      continue;
    static unsigned char code[16 * PAGE];
    size_t bytes = end - start < sizeof code ? end - start : sizeof code;
    struct iovec local = {code, bytes}, remote = {(void *)start, bytes};
    check(process_vm_readv(pid, &local, 1, &remote, 1, 0), "process_vm_readv of the vDSO");
    for (size_t i = 0; i + 1 < bytes && !found; i++)
      if (code[i] == 0x0f && code[i + 1] == 0x05)
        found = start + i;
  }
  fclose(maps);
  if (!found)
    errno = 0, die("no syscall instruction in the vDSO of %d", pid);
  return found;
}

static long inject(pid_t pid, struct user_regs_struct *saved, uint64_t instruction, long number, long argument) {
  struct user_regs_struct call = *saved;
  int status;
  call.rip = instruction;
  call.orig_rax = (unsigned long long)-1;
  call.rax = (unsigned long long)number;
  call.rdi = (unsigned long long)argument;
  check(ptrace(PTRACE_SETREGS, pid, 0, &call), "PTRACE_SETREGS");
  check(ptrace(PTRACE_SINGLESTEP, pid, 0, 0), "PTRACE_SINGLESTEP");
  check(waitpid(pid, &status, __WALL), "waitpid");
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
    errno = 0, die("the injected call did not return (status %x)", (unsigned)status);
  check(ptrace(PTRACE_GETREGS, pid, 0, &call), "PTRACE_GETREGS");
  return (long)call.rax;
}

static int take_userfaultfd(pid_t pid) {
  uint64_t instruction = syscall_instruction(pid);
  struct user_regs_struct saved;
  int status;
  check(ptrace(PTRACE_SEIZE, pid, 0, 0), "PTRACE_SEIZE");
  check(ptrace(PTRACE_INTERRUPT, pid, 0, 0), "PTRACE_INTERRUPT");
  check(waitpid(pid, &status, __WALL), "waitpid");
  check(ptrace(PTRACE_GETREGS, pid, 0, &saved), "PTRACE_GETREGS");
  long remote = inject(pid, &saved, instruction, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (remote == -EPERM) /* without privilege the kernel asks for the flag; asynchronous tracking has no handler to restrict */
    remote = inject(pid, &saved, instruction, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  int process = (int)check(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
  int here = remote < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, (int)remote, 0);
  if (remote >= 0)
    inject(pid, &saved, instruction, SYS_close, remote);
  check(ptrace(PTRACE_SETREGS, pid, 0, &saved), "PTRACE_SETREGS");
  check(ptrace(PTRACE_DETACH, pid, 0, 0), "PTRACE_DETACH");
  close(process);
  errno = remote < 0 ? (int)-remote : errno;
  return (int)check(here, "userfaultfd");
}

static void track(int fd, uint64_t address, uint64_t bytes) {
  struct uffdio_api api = {.api = UFFD_API, .features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | FEATURE_WP_HUGETLBFS_SHMEM};
  struct uffdio_register range = {.range = {address, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
  struct uffdio_writeprotect protect = {.range = {address, bytes}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  check(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API with WP_ASYNC");
  check(ioctl(fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
  check(ioctl(fd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT");
}

/* ---- the epoch */

static pid_t guest;
static int pagemap, reading, writing, openings;
static uint64_t ram, ram_end;
static char command[256];
static char *copies, *state;
static struct region regions[REGIONS_MAX];

static uint32_t opened_or_closed(void) {
  _Alignas(struct inotify_event) char events[4096];
  uint32_t seen = 0;
  ssize_t bytes = read(openings, events, sizeof events);
  for (ssize_t at = 0; at < bytes;) {
    struct inotify_event *event = (struct inotify_event *)(events + at);
    seen |= event->mask;
    at += (ssize_t)(sizeof *event + event->len);
  }
  return seen;
}

static void stop_guest(void) {
  static char gate[GATE_BYTES];
  struct pollfd waits[2] = {{openings, POLLIN, 0}, {qmp, POLLIN, 0}};
  opened_or_closed();
  check(fcntl(writing, F_SETPIPE_SZ, GATE_BYTES), "F_SETPIPE_SZ");
  check(write(writing, gate, sizeof gate), "write to the gate");
  answered = 0;
  check(send(qmp, command, strlen(command), 0), "send");
  while (!(opened_or_closed() & IN_OPEN)) {
    poll(waits, 2, 100);
    receive(MSG_DONTWAIT, NULL, 0);
    if (answered)
      errno = 0, die("QEMU did not stop");
  }
}

static uint64_t copy_regions(int count, uint64_t copied) {
  static struct iovec local[RANGES_MAX], remote[RANGES_MAX];
  for (int done = 0; done < count;) {
    int ranges = 0;
    uint64_t bytes = 0;
    for (; done < count && ranges < RANGES_MAX; done++, ranges++) {
      uint64_t size = regions[done].end - regions[done].start;
      if (copied + bytes + size > COPY_BYTES_MAX)
        errno = 0, die("more than %d bytes written in one epoch", COPY_BYTES_MAX);
      local[ranges] = (struct iovec){copies + copied + bytes, size};
      remote[ranges] = (struct iovec){(void *)regions[done].start, size};
      bytes += size;
    }
    if (check(process_vm_readv(guest, local, (unsigned long)ranges, remote, (unsigned long)ranges, 0), "process_vm_readv") != (long)bytes)
      errno = 0, die("short process_vm_readv");
    copied += bytes;
  }
  return copied;
}

/* Scan and copy; the nanoseconds of each are added up, since a long list of regions takes several turns. */
static uint64_t copy_written(int64_t *scan_nanos, int64_t *copy_nanos) {
  uint64_t copied = 0;
  for (uint64_t at = ram; at < ram_end;) {
    struct scan scan = {.size = sizeof scan, .flags = WP_MATCHING | CHECK_WPASYNC, .start = at, .end = ram_end,
        .vec = (uint64_t)(uintptr_t)regions, .vec_len = REGIONS_MAX, .category_mask = IS_WRITTEN, .return_mask = IS_WRITTEN};
    int64_t start = now_nanos();
    int count = (int)check(ioctl(pagemap, SCAN, &scan), "PAGEMAP_SCAN");
    int64_t scanned = now_nanos();
    copied = copy_regions(count, copied);
    *scan_nanos += scanned - start;
    *copy_nanos += now_nanos() - scanned;
    at = scan.walk_end;
  }
  return copied / PAGE;
}

static size_t read_state(void) {
  struct pollfd waits[3] = {{openings, POLLIN, 0}, {qmp, POLLIN, 0}, {reading, POLLIN, 0}};
  check(fcntl(writing, F_SETPIPE_SZ, OPEN_BYTES), "F_SETPIPE_SZ");
  for (ssize_t gate = GATE_BYTES; gate > 0;)
    gate -= check(read(reading, state, (size_t)gate), "read of the gate");
  size_t bytes = 0;
  int ended = 0;
  for (;;) {
    /* Asked before the read: what QEMU wrote before it closed is then in the pipe. */
    ended |= (opened_or_closed() & IN_CLOSE_WRITE) != 0;
    ssize_t got = read(reading, state + bytes, STATE_BYTES_MAX - bytes);
    if (got > 0) {
      bytes += (size_t)got;
      if (bytes == STATE_BYTES_MAX)
        errno = 0, die("the state is larger than %d bytes", STATE_BYTES_MAX);
    } else if (errno != EAGAIN && errno != EINTR) {
      die("read of the state");
    } else if (ended || answered) {
      return bytes;
    } else {
      poll(waits, 3, -1);
      receive(MSG_DONTWAIT, NULL, 0);
    }
  }
}

static void open_pipe(void) {
  int ends[2];
  char name[64];
  check(pipe2(ends, O_CLOEXEC), "pipe2");
  reading = ends[0];
  writing = ends[1];
  check(fcntl(reading, F_SETFL, O_NONBLOCK), "F_SETFL");
  check(fchmod(writing, 0622), "fchmod");
  openings = (int)check(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify_init1");
  snprintf(name, sizeof name, "/proc/self/fd/%d", writing);
  check(inotify_add_watch(openings, name, IN_OPEN | IN_CLOSE_WRITE), "inotify_add_watch");
  snprintf(command, sizeof command, ASKED_LIVE, send_descriptor(writing));
}

/* ---- figures */

static int64_t *pauses, *cuts, *stops, *scans, *copyings, *states, *resumes, *pages;

static int ascending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void print(const char *name, int64_t *values, size_t count, double unit, const char *after) {
  qsort(values, count, sizeof *values, ascending);
  const double quantiles[] = {0.50, 0.95, 0.99};
  const char *names[] = {"p50", "p95", "p99"};
  printf("\"%s\":{", name);
  for (int i = 0; i < 3; i++) /* the smallest value that at least this part of all values does not exceed, as HdrHistogram */
    printf("\"%s\":%.1f,", names[i], count ? (double)values[(size_t)(quantiles[i] * (double)(count - 1) + 0.5)] / unit : 0.0);
  printf("\"max\":%.1f}%s", count ? (double)values[count - 1] / unit : 0.0, after);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fputs("usage: qemu_epoch QMP_SOCKET PID PERIOD_MICROS SECONDS WARMUP_SECONDS\n", stderr);
    return 64;
  }
  guest = atoi(argv[2]);
  int64_t period = atoll(argv[3]) * 1000;
  double seconds = atof(argv[4]), warmup = atof(argv[5]);

  connect_qmp(argv[1]);
  ram = ram_address();
  ram_end = ram + ram_bytes();
  open_pipe();
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/pagemap", guest);
  pagemap = (int)check(open(path, O_RDONLY | O_CLOEXEC), path);
  copies = mmap(NULL, COPY_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  state = mmap(NULL, STATE_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  int64_t **all[] = {&pauses, &cuts, &stops, &scans, &copyings, &states, &resumes, &pages};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    *all[i] = malloc(EPOCHS_MAX * sizeof(int64_t));
  if (copies == MAP_FAILED || state == MAP_FAILED || !pages)
    die("memory");
  int tracker = take_userfaultfd(guest);
  track(tracker, ram, ram_end - ram);

  int64_t begin = now_nanos(), from = begin + (int64_t)(warmup * 1e9), until = from + (int64_t)(seconds * 1e9), next = begin;
  size_t epochs = 0, state_bytes = 0;
  while (epochs < EPOCHS_MAX) {
    next += period;
    struct timespec wake = {next / 1000000000, next % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
    int64_t start = now_nanos(), scan = 0, copy = 0;
    if (start >= until)
      break;
    stop_guest();
    int64_t stopped = now_nanos();
    uint64_t written = copy_written(&scan, &copy);
    int64_t copied = now_nanos();
    state_bytes = read_state();
    int64_t saved = now_nanos();
    while (!answered)
      receive(0, NULL, 0);
    int64_t end = now_nanos();
    next = end; /* the guest runs for a period between two pauses, as the engine lets it */
    if (start < from)
      continue;
    pauses[epochs] = (resumed_micros - stopped_micros) * 1000;
    cuts[epochs] = end - start;
    stops[epochs] = stopped - start;
    scans[epochs] = scan;
    copyings[epochs] = copy;
    states[epochs] = saved - copied;
    resumes[epochs] = end - saved;
    pages[epochs++] = (int64_t)written;
  }
  close(tracker);

  printf("{\"epochs\":%zu,\"stateBytes\":%zu,", epochs, state_bytes);
  print("pauseMicros", pauses, epochs, 1000, ",");
  print("cutMicros", cuts, epochs, 1000, ",");
  print("dirtyPages", pages, epochs, 1, ",");
  print("stopMicros", stops, epochs, 1000, ",");
  print("scanMicros", scans, epochs, 1000, ",");
  print("copyMicros", copyings, epochs, 1000, ",");
  print("stateMicros", states, epochs, 1000, ",");
  print("resumeMicros", resumes, epochs, 1000, "}\n");
  return 0;
}
