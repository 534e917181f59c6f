/*
 * Xen PV display backend: buffers of this domain's memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/memfd.h"
#include "qapi/error.h"
#include "standard-headers/linux/udmabuf.h"
#include "xen-vdispl-udmabuf.h"

int xen_vdispl_udmabuf_new(size_t size, Error **errp)
{
    /* udmabuf wants to be sure that its pages stay. */
    int memfd = qemu_memfd_create("xen-vdispl", size, false, 0, F_SEAL_SHRINK,
                                  errp);
    struct udmabuf_create create = {
        .memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = size,
    };
    int device, fd;

    if (memfd < 0) {
        return -1;
    }
    device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        return memfd;
    }
    fd = ioctl(device, UDMABUF_CREATE, &create);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot make a dma-buf of %zu octets "
                         "(udmabuf's parameter size_limit_mb?)", size);
    }
    close(device);
    close(memfd);
    return fd;
}
