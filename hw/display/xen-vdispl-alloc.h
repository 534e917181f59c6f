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
 * @fd: its dma-buf, which is for the caller to close
 * @handle: the allocator's own
 */
typedef struct XenVDisplAlloc {
    int fd;
    void *handle;
} XenVDisplAlloc;

/**
 * struct XenVDisplAllocator - a way to allocate buffers
 * @name: the value of the property 'allocator' that chooses it
 * @probe: whether there may be buffers here; the error says what they need.
 *         NULL: there always may
 * @alloc: fills in @alloc with a buffer of @shape. Returns false, with an
 *         error, if there is none
 * @free: drops all of @alloc but its descriptor; NULL: there is nothing else
 *
 * @node is the file of the DRM device that allocates, or NULL: the allocator
 * chooses. All are called in the main thread.
 */
typedef struct XenVDisplAllocator {
    const char *name;
    bool (*probe)(const char *node, Error **errp);
    bool (*alloc)(const char *node, const XenVDisplShape *shape,
                  XenVDisplAlloc *alloc, Error **errp);
    void (*free)(XenVDisplAlloc *alloc);
} XenVDisplAllocator;

/**
 * xen_vdispl_udmabuf - ordinary memory
 *
 * Where there is no /dev/udmabuf, it is a plain file, if
 * xen_dmabuf_takes_files().
 */
extern const XenVDisplAllocator xen_vdispl_udmabuf;

/**
 * xen_vdispl_allocator_register - make an allocator known
 * @allocator: for the life of the program
 */
void xen_vdispl_allocator_register(const XenVDisplAllocator *allocator);

/**
 * xen_vdispl_allocator_find - find an allocator that is in this QEMU
 * @name: its name
 * @errp: set if there is none, to those that there are
 */
const XenVDisplAllocator *xen_vdispl_allocator_find(const char *name,
                                                    Error **errp);

/**
 * xen_vdispl_drm_open - open a DRM device
 * @node: its file, or NULL: the first render node of /dev/dri
 * @errp: set if there is none
 *
 * It does not become the device's master: others can drive its screens.
 *
 * Returns: a descriptor, which is for the caller to close, or -1.
 */
int xen_vdispl_drm_open(const char *node, Error **errp);

/*
 * For allocators of pictures. They have one pixel format, which is that of all
 * buffers of 32 bits a pixel: DRM_FORMAT_XRGB8888.
 */

/**
 * xen_vdispl_shape_is_picture - whether it can be allocated as a picture
 * @shape: what is to be allocated
 * @errp: set if not
 */
bool xen_vdispl_shape_is_picture(const XenVDisplShape *shape, Error **errp);

/**
 * xen_vdispl_alloc_fits - whether the GPU's pixels are where the guest's are
 * @shape: what was asked for
 * @fd: the picture's dma-buf
 * @offset: where the picture begins there, in octets
 * @stride: octets from row to row
 * @errp: set if not
 */
bool xen_vdispl_alloc_fits(const XenVDisplShape *shape, int fd,
                           uint32_t offset, uint32_t stride, Error **errp);

#endif /* HW_DISPLAY_XEN_VDISPL_ALLOC_H */
