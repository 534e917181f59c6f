/*
 * Xen PV display backend: memory
 *
 * Display buffers, framebuffers, their cookies and the guest's grants under
 * them. A buffer is mapped once, when it is created; its memory stays until
 * the last reader lets go of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_BUFFER_H
#define HW_DISPLAY_XEN_VDISPL_BUFFER_H

#include "hw/xen/displif.h"
#include "ui/qemu-pixman.h"

/* What pixman can describe, and well beyond any mode of today. */
#define XEN_VDISPL_MAX_DIM 16384

typedef struct XenVDisplBuffers XenVDisplBuffers;
typedef struct XenVDisplMemory XenVDisplMemory;

/**
 * struct XenVDisplFormat - a pixel format of the protocol
 * @fourcc: DRM_FORMAT_xxx
 * @pixman: the same for pixman; alpha is ignored, as nothing is behind a
 *          display
 * @cpp: octets a pixel
 */
typedef struct XenVDisplFormat {
    uint32_t fourcc;
    pixman_format_code_t pixman;
    uint8_t cpp;
} XenVDisplFormat;

/**
 * struct XenVDisplFb - a framebuffer, a view of a display buffer
 * @fb_cookie: the guest's name for it
 * @dbuf_cookie: the display buffer it is attached to
 * @width: in pixels
 * @height: in pixels
 * @stride: octets from row to row
 * @format: how to read the pixels
 * @data: the first pixel
 *
 * Holds a reference on the memory below @data. Its fields do not change.
 */
typedef struct XenVDisplFb {
    uint64_t fb_cookie;
    uint64_t dbuf_cookie;
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    const XenVDisplFormat *format;
    const uint8_t *data;
    /* private */
    XenVDisplMemory *mem;
    unsigned int refs;
} XenVDisplFb;

/**
 * XenVDisplUnmapped - a display buffer's memory has left QEMU
 * @opaque: as given to xen_vdispl_buffers_new()
 * @dbuf_cookie: a display buffer whose destruction had been deferred
 */
typedef void XenVDisplUnmapped(void *opaque, uint64_t dbuf_cookie);

/**
 * xen_vdispl_buffers_new - make an empty store of buffers
 * @domid: the guest that grants them
 * @max_mapped: how many octets may be mapped at once
 * @max_buffers: how many display buffers, and how many framebuffers, at once
 * @unmapped: called when a deferred destruction is over
 * @opaque: passed to @unmapped
 * @errp: set on failure
 *
 * Returns: the store, or NULL when there is no access to the grant table.
 */
XenVDisplBuffers *xen_vdispl_buffers_new(domid_t domid, uint64_t max_mapped,
                                         uint32_t max_buffers,
                                         XenVDisplUnmapped *unmapped,
                                         void *opaque, Error **errp);

/**
 * xen_vdispl_buffers_free - forget all cookies
 * @bufs: the store, or NULL
 *
 * Memory that someone still reads is unmapped when they let go. The callback
 * is not called any more.
 */
void xen_vdispl_buffers_free(XenVDisplBuffers *bufs);

/**
 * xen_vdispl_buffers_mapped - octets of guest memory that are mapped now
 * @bufs: the store, or NULL
 */
uint64_t xen_vdispl_buffers_mapped(const XenVDisplBuffers *bufs);

/*
 * The four operations on buffers. Each returns the protocol's status, 0 or
 * -XEN_Exx, and says why in errp.
 */

/**
 * xen_vdispl_dbuf_create - XENDISPL_OP_DBUF_CREATE
 * @bufs: the store
 * @req: private copy of the request
 * @errp: set on failure
 */
int xen_vdispl_dbuf_create(XenVDisplBuffers *bufs,
                           const struct xendispl_dbuf_create_req *req,
                           Error **errp);

/**
 * xen_vdispl_dbuf_destroy - XENDISPL_OP_DBUF_DESTROY
 * @bufs: the store
 * @dbuf_cookie: the display buffer
 * @errp: set on failure
 *
 * Returns: 0 when the memory is unmapped, a positive value when someone still
 * reads it (the store's callback follows; the cookie stays taken until then),
 * else -XEN_Exx.
 */
int xen_vdispl_dbuf_destroy(XenVDisplBuffers *bufs, uint64_t dbuf_cookie,
                            Error **errp);

/**
 * xen_vdispl_fb_attach - XENDISPL_OP_FB_ATTACH
 * @bufs: the store
 * @req: private copy of the request
 * @errp: set on failure
 */
int xen_vdispl_fb_attach(XenVDisplBuffers *bufs,
                         const struct xendispl_fb_attach_req *req,
                         Error **errp);

/**
 * xen_vdispl_fb_detach - XENDISPL_OP_FB_DETACH
 * @bufs: the store
 * @fb_cookie: the framebuffer
 * @errp: set on failure
 */
int xen_vdispl_fb_detach(XenVDisplBuffers *bufs, uint64_t fb_cookie,
                         Error **errp);

/**
 * xen_vdispl_fb_lookup - find an attached framebuffer
 * @bufs: the store
 * @fb_cookie: its name
 *
 * Returns: the framebuffer without a reference of its own, or NULL.
 */
XenVDisplFb *xen_vdispl_fb_lookup(XenVDisplBuffers *bufs, uint64_t fb_cookie);

XenVDisplFb *xen_vdispl_fb_ref(XenVDisplFb *fb);
void xen_vdispl_fb_unref(XenVDisplFb *fb);

/**
 * xen_vdispl_buffers_write - write into a buffer that the guest shares
 * @bufs: the store
 * @gref_directory: the buffer's grant directory
 * @buffer_sz: the buffer's size in octets, as the guest says
 * @data: what to write at its start
 * @len: octets of @data, at most @buffer_sz
 * @errp: set on failure
 *
 * Nothing stays mapped. Returns: 0 or -XEN_Exx.
 */
int xen_vdispl_buffers_write(XenVDisplBuffers *bufs,
                             grant_ref_t gref_directory, uint32_t buffer_sz,
                             const void *data, size_t len, Error **errp);

#endif /* HW_DISPLAY_XEN_VDISPL_BUFFER_H */
