/*
 * Xen PV display backend: allocators
 *
 * Who makes buffers of this domain's memory: to be granted to the guest, or to
 * have the guest's pages put into them. Each is a file of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_ALLOC_H
#define HW_DISPLAY_XEN_VDISPL_ALLOC_H

/**
 * struct XenVDisplShape - what is to be allocated
 * @size: octets, whole pages
 * @width: in pixels, or 0: just memory, nobody knows of what form
 * @height: in pixels
 * @bpp: bits a pixel
 * @stride: octets from row to row. The first begins where the buffer does
 */
typedef struct XenVDisplShape {
    size_t size;
    uint32_t width;
    uint32_t height;
    uint32_t bpp;
    uint32_t stride;
} XenVDisplShape;

/**
 * struct XenVDisplAlloc - an allocated buffer
 * @fd: its dma-buf, which is for the caller to close, before or after @free of
 *      the allocator
 * @handle: the allocator's own
 */
typedef struct XenVDisplAlloc {
    int fd;
    void *handle;
} XenVDisplAlloc;

/**
 * struct XenVDisplAllocator - a way to allocate buffers
 * @name: of the property's value that chooses it
 * @alloc: fills in @alloc with a buffer of @shape. Returns false, with an
 *         error, if there is none
 * @free: drops all of @alloc but its descriptor; NULL: there is nothing else
 */
typedef struct XenVDisplAllocator {
    const char *name;
    bool (*alloc)(const XenVDisplShape *shape, XenVDisplAlloc *alloc,
                  Error **errp);
    void (*free)(XenVDisplAlloc *alloc);
} XenVDisplAllocator;

/**
 * xen_vdispl_udmabuf - ordinary memory
 *
 * Where there is no /dev/udmabuf, it is a plain file: Linux neither grants that
 * nor puts grants into it, the xen-qtest machine does.
 */
extern const XenVDisplAllocator xen_vdispl_udmabuf;

#endif /* HW_DISPLAY_XEN_VDISPL_ALLOC_H */
