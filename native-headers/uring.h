/*
 * Entry header of the family "uring": io_uring's kernel interface. liburing's inline functions are not
 * reachable from Java; only its ring structures and the kernel's layouts and constants are taken.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <liburing.h>
#include <sys/syscall.h>
#include "newer.h"
