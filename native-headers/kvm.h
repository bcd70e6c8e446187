/* Entry header of the family "kvm": /dev/kvm on x86-64. */
#include <sys/ioctl.h>
#include <linux/kvm.h>
