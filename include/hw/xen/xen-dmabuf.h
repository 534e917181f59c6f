/*
 * Dma-bufs of granted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A back end can have the pages that a guest granted as a dma-buf, which
 * displays take as it is.  What does the work is a table of operations, as
 * for grants themselves (hw/xen/xen_backend_ops.h): libxengnttab's where
 * there is Xen, the xen-qtest machine's in tests.
 */

#ifndef HW_XEN_DMABUF_H
#define HW_XEN_DMABUF_H

#include "hw/xen/xen_backend_ops.h"

/**
 * XenDmabufAlloc - what granted pages are mapped on when they are exported
 * @XEN_DMABUF_ALLOC_NONE: page frames without memory of their own, anywhere
 * @XEN_DMABUF_ALLOC_WC: one block that Linux' DMA API has allocated for
 *                       write-combining, whose memory Xen has meanwhile
 * @XEN_DMABUF_ALLOC_COHERENT: the same, coherent
 *
 * The values are those of GNTDEV_DMA_FLAG_xxx.
 */
typedef enum XenDmabufAlloc {
    XEN_DMABUF_ALLOC_NONE = 0,
    XEN_DMABUF_ALLOC_WC = 1 << 0,
    XEN_DMABUF_ALLOC_COHERENT = 1 << 1,
} XenDmabufAlloc;

/**
 * struct dmabuf_backend_ops - how a Xen makes dma-bufs of grants
 * @probe_export: whether exports are possible here; the error says what they
 *                need
 * @probe_map: the same for @map_refs_to_buf
 * @exp_from_refs: makes a dma-buf of @count references of domain @domid, for
 *                 reading and writing, on what @alloc says.  It begins @offset
 *                 octets into @fd, which is 0 but for xen-qtest.  Returns -1,
 *                 with an error, if any of the references cannot be had
 * @exp_wait_released: waits at most @wait_to_ms until nobody uses the buffer
 *                     of number @fd, which is closed by then, any more, and
 *                     the grants are unmapped.  Returns 0 when that is so,
 *                     else -1 and errno, which is ETIMEDOUT when it is not
 *
 * @map_refs_to_buf: makes @count references of domain @domid the memory of the
 *                   first pages of the dma-buf @fd.  It is held until
 *                   @map_release, and has this memory until it is released.
 *                   The pages begin at @offset, as for @exp_from_refs.
 *                   Returns 0, or -1 with an error, and all is as before
 * @map_release: does not hold the dma-buf @fd, which is open still, any more
 * @map_wait_released: as @exp_wait_released, for @map_refs_to_buf
 *
 * @notify_released: has the eventfd @event signalled when the buffer of number
 *                   @fd, of either kind, is released.  Returns 0, or -1 when
 *                   that will not be: it is released, or Linux does not do this
 *
 * @imp_to_refs: grants the @count pages of the dma-buf @fd to domain @domid,
 *               and fills in @refs. Returns -1 and errno, and none, or 0
 * @imp_release: takes them back from the buffer of number @fd. Pages that the
 *               domain has mapped stay its own until it unmaps them
 * @caching: how mmap() maps any dma-buf, one of DMA_BUF_CACHING_*; unknown,
 *           too, where nobody can tell
 * @sync: DMA_BUF_IOCTL_SYNC with @flags on any dma-buf. Returns -1 and errno,
 *        or 0
 *
 * @takes_files: whether plain files do for dma-bufs here, as they do for
 *               xen-qtest; NULL: they do not
 *
 * The handles are of qemu_xen_gnttab_open().  Buffers are known by the number
 * of their file descriptor, and by the handle: so each has one of its own.
 * They may outlive that.
 *
 * docs/specs/gntdev-dmabuf.rst has the system calls that are below.
 */
struct dmabuf_backend_ops {
    bool (*probe_export)(Error **errp);
    bool (*probe_map)(Error **errp);
    int (*exp_from_refs)(xengnttab_handle *xgt, uint32_t domid,
                         XenDmabufAlloc alloc, uint32_t count,
                         const uint32_t *refs, uint32_t *fd, uint64_t *offset,
                         Error **errp);
    int (*exp_wait_released)(xengnttab_handle *xgt, uint32_t fd,
                             uint32_t wait_to_ms);
    int (*map_refs_to_buf)(xengnttab_handle *xgt, uint32_t domid,
                           uint32_t count, const uint32_t *refs, uint32_t fd,
                           uint64_t *offset, Error **errp);
    int (*map_release)(xengnttab_handle *xgt, uint32_t fd);
    int (*map_wait_released)(xengnttab_handle *xgt, uint32_t fd,
                             uint32_t wait_to_ms);
    int (*notify_released)(xengnttab_handle *xgt, uint32_t fd, int event);
    int (*imp_to_refs)(xengnttab_handle *xgt, uint32_t domid, uint32_t fd,
                       uint32_t count, uint32_t *refs);
    int (*imp_release)(xengnttab_handle *xgt, uint32_t fd);
    uint32_t (*caching)(int fd);
    int (*sync)(int fd, uint64_t flags);
    bool (*takes_files)(void);
};

/* NULL without Xen, or with a QEMU that was built without its libraries */
extern const struct dmabuf_backend_ops *xen_dmabuf_ops;

typedef struct XenDmabuf XenDmabuf;

/**
 * XenDmabufReleased - a buffer's last user has gone
 * @opaque: as given to xen_dmabuf_free()
 *
 * The guest may have its pages back.
 */
typedef void XenDmabufReleased(void *opaque);

/**
 * xen_dmabuf_can_export - whether granted pages can become dma-bufs here
 * @errp: set to what is missing
 *
 * Some kernels say so and then fail, which only an export can tell.
 */
bool xen_dmabuf_can_export(Error **errp);

/**
 * xen_dmabuf_export - make a dma-buf of granted pages
 * @domid: who granted them
 * @alloc: what they are mapped on
 * @refs: the references, in the order of the pages
 * @count: how many
 * @errp: set on failure; nothing is held then
 *
 * To be called only where xen_dmabuf_can_export().  The CPU can read the
 * buffer, too: it is a failure if the kernel's dma-bufs cannot be mapped.
 *
 * Returns: the buffer, to be given to xen_dmabuf_free(), or NULL.
 */
XenDmabuf *xen_dmabuf_export(uint32_t domid, XenDmabufAlloc alloc,
                             const uint32_t *refs, uint32_t count,
                             Error **errp);

/**
 * xen_dmabuf_can_place - whether granted pages can be put into dma-bufs here
 * @errp: set to what is missing
 *
 * Whether the buffer's exporter takes part, only an attempt can tell.
 */
bool xen_dmabuf_can_place(Error **errp);

/**
 * xen_dmabuf_place - make granted pages the memory of a dma-buf
 * @fd: the dma-buf, which belongs to the buffer from now on. On failure it is
 *      closed
 * @domid: who granted them
 * @refs: the references, in the order of the pages, of which the dma-buf has at
 *        least as many
 * @count: how many
 * @errp: set on failure; nothing is held then
 *
 * To be called only where xen_dmabuf_can_place(), and before anybody uses the
 * dma-buf. All who have the same memory by another name, such as a texture,
 * see the guest's pages until the last of them has let go.
 *
 * Returns: the buffer, to be given to xen_dmabuf_free(), or NULL.
 */
XenDmabuf *xen_dmabuf_place(int fd, uint32_t domid, const uint32_t *refs,
                            uint32_t count, Error **errp);

/** xen_dmabuf_fd - its file descriptor, which stays the buffer's */
int xen_dmabuf_fd(const XenDmabuf *buf);

/** xen_dmabuf_offset - where in the descriptor the buffer begins, in octets */
uint64_t xen_dmabuf_offset(const XenDmabuf *buf);

/** xen_dmabuf_data - the buffer's pages, mapped to be read */
const void *xen_dmabuf_data(const XenDmabuf *buf);

/**
 * xen_dmabuf_free - let go of a buffer
 * @buf: the buffer
 * @released: called when nobody else uses it either, from the main loop or
 *            before this function returns
 * @opaque: passed to @released
 *
 * To whom the descriptor was passed, another process even, may use the buffer
 * for as long as it likes, and until then the guest's pages stay mapped.
 * This never waits for that: the kernel tells it, or where it cannot do that,
 * is asked from a timer of the virtual clock, soon at first and then once a
 * second, for as long as it takes.  Whoever owes somebody an answer has to have
 * a limit of its own.
 */
void xen_dmabuf_free(XenDmabuf *buf, XenDmabufReleased *released,
                     void *opaque);

/**
 * xen_dmabuf_map - map a dma-buf of memory that a guest draws into, to be read
 * @fd: the dma-buf
 * @offset: where in it to begin, in octets
 * @size: how much, in octets
 * @errp: set on failure
 *
 * Guests map such memory cached, as displif says. Who maps the same memory with
 * other attributes may see something else, on Arm for one; so a dma-buf that is
 * mapped write-combined or uncached is refused. Where the kernel cannot tell,
 * the mapping is taken as it is.
 *
 * Returns: the mapping, to be unmapped by munmap(), or NULL.
 */
void *xen_dmabuf_map(int fd, uint64_t offset, size_t size, Error **errp);

/**
 * xen_dmabuf_drawn - the guest has drawn into a dma-buf
 * @fd: one that xen_dmabuf_map() has mapped
 *
 * Devices that do not snoop the CPU's caches, a GPU say, see from now on what
 * the guest has drawn until now. To be called for each frame, before the
 * dma-buf is handed to who may use a device. It does not wait for devices. For
 * a CPU, which reads through its caches, nothing has to be done.
 */
void xen_dmabuf_drawn(int fd);

/** xen_dmabuf_takes_files - whether plain files do for dma-bufs here */
bool xen_dmabuf_takes_files(void);

typedef struct XenDmabufGrants XenDmabufGrants;

/**
 * xen_dmabuf_grant - grant the pages of a dma-buf
 * @domid: who may map them, to read and to write
 * @fd: the dma-buf
 * @refs: filled with the references, in the order of the pages
 * @count: how many pages it has
 * @errp: set on failure; nothing is granted then
 *
 * Works in PV domains, too.
 *
 * Returns: the grants, to be given to xen_dmabuf_grant_end(), or NULL.
 */
XenDmabufGrants *xen_dmabuf_grant(uint32_t domid, int fd, uint32_t *refs,
                                  uint32_t count, Error **errp);

/**
 * xen_dmabuf_grant_end - take the grants back
 * @grants: from xen_dmabuf_grant()
 *
 * The domain can map none of them any more. What it has mapped it may go on
 * using: the kernel keeps the dma-buf's memory for as long as that, if it has
 * this project's patches.
 */
void xen_dmabuf_grant_end(XenDmabufGrants *grants);

#endif /* HW_XEN_DMABUF_H */
