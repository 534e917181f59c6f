/*
 * Xen PV display backend: memory
 *
 * Display buffers, framebuffers, their cookies and the guest's grants under
 * them. A buffer is exported or mapped once, when it is created; its memory
 * stays until the last reader lets go of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_BUFFER_H
#define HW_DISPLAY_XEN_VDISPL_BUFFER_H

#include "hw/xen/displif.h"
#include "hw/xen/xen-dmabuf.h"
#include "ui/qemu-pixman.h"
#include "xen-vdispl-alloc.h"

/* What pixman can describe, and well beyond any mode of today. */
#define XEN_VDISPL_MAX_DIM 16384

/**
 * XenVDisplPath - how the guest's pages get here
 * @XEN_VDISPL_PATH_AUTO: by the first of the next three that works
 * @XEN_VDISPL_PATH_EXPORTED: they become a dma-buf, which displays can pass on
 * @XEN_VDISPL_PATH_PLACED: they become the memory of a dma-buf that was
 *                          allocated before
 * @XEN_VDISPL_PATH_MAPPED: they are mapped, which works wherever there is Xen
 * @XEN_VDISPL_PATH_IMPORTED: they are this domain's, and the guest imports them
 *                            because it has asked for that
 */
typedef enum XenVDisplPath {
    XEN_VDISPL_PATH_AUTO,
    XEN_VDISPL_PATH_EXPORTED,
    XEN_VDISPL_PATH_PLACED,
    XEN_VDISPL_PATH_MAPPED,
    XEN_VDISPL_PATH_IMPORTED,
} XenVDisplPath;

/* Their names: "auto", "exported" ... */
extern const char *const xen_vdispl_path_names[];

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
 * @size: octets from @data to the end of the memory: @height rows, but the last
 *        one may end before @stride
 * @path: how its memory got here
 * @fd: the dma-buf that @data maps, or -1 if there is none
 * @fd_offset: of the first pixel in @fd, if there is one, in octets
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
    size_t size;
    XenVDisplPath path;
    int fd;
    uint64_t fd_offset;
    /* private */
    XenVDisplMemory *mem;
    unsigned int refs;
} XenVDisplFb;

/**
 * struct XenVDisplBuffersOps - what a store of buffers has to say
 * @unmapped: a display buffer whose destruction had been deferred is gone: the
 *            guest may have its pages back
 * @fell_back: a display buffer takes @path, and why not a better one
 *
 * Each is given @opaque of xen_vdispl_buffers_new(), and the buffer's cookie.
 */
typedef struct XenVDisplBuffersOps {
    void (*unmapped)(void *opaque, uint64_t dbuf_cookie);
    void (*fell_back)(void *opaque, uint64_t dbuf_cookie, XenVDisplPath path,
                      const char *why);
} XenVDisplBuffersOps;

/**
 * struct XenVDisplBuffersConfig - what a store of buffers may do
 * @domid: the guest that grants them
 * @best: the path that is tried first, and after it those that follow, up to
 * @last: which may be the same one. XEN_VDISPL_PATH_EXPORTED needs
 *        xen_dmabuf_can_export(), XEN_VDISPL_PATH_PLACED xen_dmabuf_can_place()
 * @dma_alloc: what the pages of XEN_VDISPL_PATH_EXPORTED are mapped on
 * @allocator: for XEN_VDISPL_PATH_PLACED and XEN_VDISPL_PATH_IMPORTED
 * @rendernode: the DRM device's file for @allocator, or NULL; not copied
 * @max_mapped: how many octets may be mapped at once
 * @max_buffers: how many display buffers, and how many framebuffers, at once
 */
typedef struct XenVDisplBuffersConfig {
    domid_t domid;
    XenVDisplPath best;
    XenVDisplPath last;
    XenDmabufAlloc dma_alloc;
    const XenVDisplAllocator *allocator;
    const char *rendernode;
    uint64_t max_mapped;
    uint32_t max_buffers;
} XenVDisplBuffersConfig;

/**
 * xen_vdispl_buffers_new - make an empty store of buffers
 * @config: copied
 * @ops: called when something has happened
 * @opaque: passed to @ops
 * @errp: set on failure
 *
 * Returns: the store, or NULL when there is no access to the grant table.
 */
XenVDisplBuffers *xen_vdispl_buffers_new(const XenVDisplBuffersConfig *config,
                                         const XenVDisplBuffersOps *ops,
                                         void *opaque, Error **errp);

/**
 * xen_vdispl_buffers_clear - forget all cookies, as the guest has
 * @bufs: the store
 *
 * Memory that someone still reads is unmapped when they let go, and counts
 * against @max_mapped until then: a guest cannot get around that by connecting
 * anew. The store's operations are not called for what was in it.
 */
void xen_vdispl_buffers_clear(XenVDisplBuffers *bufs);

/**
 * xen_vdispl_buffers_free - free a store, as if cleared first
 * @bufs: the store
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
 * @alloc: allocate the buffer here and grant it to the guest, by references
 *         that go into the guest's directory
 * @errp: set on failure
 */
int xen_vdispl_dbuf_create(XenVDisplBuffers *bufs,
                           const struct xendispl_dbuf_create_req *req,
                           bool alloc, Error **errp);

/**
 * xen_vdispl_dbuf_destroy - XENDISPL_OP_DBUF_DESTROY
 * @bufs: the store
 * @dbuf_cookie: the display buffer
 * @errp: set on failure
 *
 * Returns: 0 when the memory is unmapped, a positive value when someone still
 * reads it (@unmapped of the store follows; the cookie stays taken until
 * then), else -XEN_Exx.
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

/**
 * xen_vdispl_fb_has_whole_rows - whether the last row is as long as the others
 * @fb: the framebuffer
 * @offset: where a picture begins in it, from the first pixel, in octets
 * @height: rows of the picture
 *
 * Others take it for granted that all of a row is there, from the first pixel
 * to that of the next row, and may map or read so much. It need not be so: of
 * two pictures side by side the right one begins within a row, and its last row
 * would end after the memory does.
 */
bool xen_vdispl_fb_has_whole_rows(const XenVDisplFb *fb, size_t offset,
                                  uint32_t height);

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
