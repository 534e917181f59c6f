/*
 * Xen PV display backend: buffers of ordinary memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/memfd.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/xen/xen-dmabuf.h"
#include "standard-headers/linux/udmabuf.h"
#include "xen-vdispl-alloc.h"

static int xen_vdispl_udmabuf_open(Error **errp)
{
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);

    if (device < 0) {
        error_setg_errno(errp, errno, "cannot open /dev/udmabuf, which Linux "
                         "has with CONFIG_UDMABUF");
    }
    return device;
}

static bool xen_vdispl_udmabuf_probe(const char *node, Error **errp)
{
    int device;

    if (xen_dmabuf_takes_files()) {
        return true;
    }
    device = xen_vdispl_udmabuf_open(errp);
    if (device < 0) {
        return false;
    }
    close(device);
    return true;
}

static bool xen_vdispl_udmabuf_alloc(const char *node,
                                     const XenVDisplShape *shape,
                                     XenVDisplAlloc *alloc, Error **errp)
{
    /* udmabuf wants to be sure that its pages stay. */
    int memfd = qemu_memfd_create("xen-vdispl", shape->size, false, 0,
                                  F_SEAL_SHRINK, errp);
    struct udmabuf_create create = {
        .memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = shape->size,
    };
    Error *err = NULL;
    int device;

    if (memfd < 0) {
        return false;
    }
    device = xen_vdispl_udmabuf_open(&err);
    if (device < 0 && xen_dmabuf_takes_files()) {
        error_free(err);
        alloc->fd = memfd;
        return true;
    } else if (device < 0) {
        error_propagate(errp, err);
        close(memfd);
        return false;
    }
    alloc->fd = ioctl(device, UDMABUF_CREATE, &create);
    if (alloc->fd < 0) {
        error_setg_errno(errp, errno, "cannot make a dma-buf of %zu octets "
                         "(udmabuf's parameter size_limit_mb?)", shape->size);
    }
    close(device);
    close(memfd);
    return alloc->fd >= 0;
}

const XenVDisplAllocator xen_vdispl_udmabuf = {
    .name = "udmabuf",
    .probe = xen_vdispl_udmabuf_probe,
    .alloc = xen_vdispl_udmabuf_alloc,
};

static void xen_vdispl_udmabuf_register(void)
{
    xen_vdispl_allocator_register(&xen_vdispl_udmabuf);
}

type_init(xen_vdispl_udmabuf_register)
