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

static bool xen_vdispl_udmabuf_probe(const char *node, Error **errp)
{
    if (!xen_dmabuf_takes_files() && access("/dev/udmabuf", R_OK | W_OK) < 0) {
        error_setg_errno(errp, errno, "cannot use /dev/udmabuf, which Linux "
                         "has with CONFIG_UDMABUF");
        return false;
    }
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
    int device;

    if (memfd < 0) {
        return false;
    }
    device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    if (device < 0 && xen_vdispl_udmabuf_probe(node, errp)) {
        alloc->fd = memfd;
        return true;
    } else if (device < 0) {
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
