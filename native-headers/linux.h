/*
 * Entry header of the family "linux": memory, userfaultfd, pagemap, ptrace, pidfd, sockets, TAP, event
 * descriptors, threads and signals. Constants and layouts only: calls go through syscall(2) by number.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h> /* before userfaultfd.h, or jextract sees no UFFDIO_* */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <net/if.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/memfd.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include "newer.h"

/* Macros that jextract does not evaluate to a number. */
enum dyad_linux_constants {
    DYAD_MAP_FAILED = -1,
    DYAD_KERNEL_SIGSET_BYTES = 8, /* sigsetsize of the raw signal system calls; glibc's sigset_t has 128 */
    DYAD_IOV_MAX = __IOV_MAX,
    DYAD_SIGRTMIN_KERNEL = __SIGRTMIN, /* glibc keeps 32 and 33 */
};
