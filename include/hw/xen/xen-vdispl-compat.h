/*
 * What changed in QEMU's interfaces since 10.0, for the overlay's sources
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_XEN_VDISPL_COMPAT_H
#define HW_XEN_VDISPL_COMPAT_H

#define XEN_VDISPL_QEMU_VERSION \
    (QEMU_VERSION_MAJOR * 100 + QEMU_VERSION_MINOR)

/* TypeInfo.class_init takes a const void * from 10.1 on. */
#if XEN_VDISPL_QEMU_VERSION >= 1001
#define CLASS_INIT_CONST const
#else
#define CLASS_INIT_CONST
#endif

/* The memory interfaces moved from exec/ to system/ in 10.1. */
#if XEN_VDISPL_QEMU_VERSION >= 1001
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"
#endif

#include "ui/dmabuf.h"

/*
 * A dma-buf that displays may scan out, of linear pixels that begin @offset
 * octets into @fd; the caller keeps @fd. Who draws it may say by a fence when
 * it has been read. NULL when this QEMU cannot say so:
 * offsets came in 10.1, with several planes.
 */
static inline QemuDmaBuf *
xen_vdispl_qemu_dmabuf_new(uint32_t width, uint32_t height, uint64_t offset,
                           uint32_t stride, uint32_t fourcc, int fd)
{
#ifdef DMABUF_MAX_PLANES
    uint32_t offset32 = offset;

    if (offset != offset32) {
        return NULL;
    }
    return qemu_dmabuf_new(width, height, &offset32, &stride, 0, 0, width,
                           height, fourcc, 0, &fd, 1, true, false);
#else
    if (offset) {
        return NULL;
    }
    return qemu_dmabuf_new(width, height, stride, 0, 0, width, height, fourcc,
                           0, fd, true, false);
#endif
}

#endif /* HW_XEN_VDISPL_COMPAT_H */
