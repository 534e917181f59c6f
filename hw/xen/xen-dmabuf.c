/*
 * Dma-bufs of granted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/xen/dma-buf-mmap-info.h"
#include "hw/xen/xen-dmabuf.h"
#include "trace.h"

/*
 * How long until the question is repeated whether a buffer is released, if the
 * kernel does not tell. A viewer that keeps up lets go within a frame, so the
 * first are soon.
 */
#define FIRST_POLL_NS (NANOSECONDS_PER_SECOND / 1000)
#define LAST_POLL_NS  NANOSECONDS_PER_SECOND

struct XenDmabuf {
    xengnttab_handle *xgt;
    int fd;
    uint64_t offset;
    void *data;
    size_t size;
    bool placed;

    /* Once freed */
    EventNotifier event;
    bool watched;
    QEMUTimer *timer;
    int64_t delay;
    XenDmabufReleased *released;
    void *opaque;
};

struct XenDmabufGrants {
    xengnttab_handle *xgt;
    int fd;
};

const struct dmabuf_backend_ops *xen_dmabuf_ops;

static bool xen_dmabuf_has_ops(Error **errp)
{
    if (!xen_dmabuf_ops) {
        error_setg(errp, "there is no Xen here, or QEMU was built without "
                   "Xen's libraries");
    }
    return xen_dmabuf_ops;
}

bool xen_dmabuf_can_export(Error **errp)
{
    return xen_dmabuf_has_ops(errp) && xen_dmabuf_ops->probe_export(errp);
}

bool xen_dmabuf_can_place(Error **errp)
{
    return xen_dmabuf_has_ops(errp) && xen_dmabuf_ops->probe_map(errp);
}

/* A signal may interrupt it, and so may who else wants the buffer's lock. */
static void xen_dmabuf_sync(int fd, uint64_t flags)
{
    int ret;

    do {
        ret = xen_dmabuf_ops->sync(fd, flags);
    } while (ret < 0 && (errno == EINTR || errno == EAGAIN));
    if (ret < 0) {
        trace_xen_dmabuf_sync_failed(fd, flags, errno);
    }
}

void *xen_dmabuf_map(int fd, uint64_t offset, size_t size, Error **errp)
{
    uint32_t caching;
    void *data;

    if (!xen_dmabuf_has_ops(errp)) {
        return NULL;
    }
    caching = xen_dmabuf_ops->caching(fd);
    trace_xen_dmabuf_map(fd, size, caching);
    if (caching == DMA_BUF_CACHING_WC || caching == DMA_BUF_CACHING_UNCACHED) {
        error_setg(errp, "the dma-buf would be mapped %s, and the guest has "
                   "its memory mapped cached: they might not see the same",
                   caching == DMA_BUF_CACHING_WC ? "write-combined" :
                   "uncached");
        return NULL;
    }
    data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, offset);
    if (data == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map %zu octets of a dma-buf",
                         size);
        return NULL;
    }
    /* The guest may draw until the end; nobody else has the dma-buf yet. */
    xen_dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
    return data;
}

void xen_dmabuf_drawn(int fd)
{
    xen_dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
}

bool xen_dmabuf_takes_files(void)
{
    return xen_dmabuf_ops && xen_dmabuf_ops->takes_files &&
        xen_dmabuf_ops->takes_files();
}

static xengnttab_handle *xen_dmabuf_open(Error **errp)
{
    xengnttab_handle *xgt = qemu_xen_gnttab_open();

    if (!xgt) {
        error_setg_errno(errp, errno, "cannot open the grant table");
    }
    return xgt;
}

/* A buffer of @count granted pages, which the CPU can read */
static XenDmabuf *xen_dmabuf_new(xengnttab_handle *xgt, int fd,
                                 uint64_t offset, uint32_t count, Error **errp)
{
    size_t size = (size_t)count * XEN_PAGE_SIZE;
    void *data = xen_dmabuf_map(fd, offset, size, errp);
    XenDmabuf *buf;

    if (!data) {
        return NULL;
    }
    buf = g_new0(XenDmabuf, 1);
    buf->xgt = xgt;
    buf->fd = fd;
    buf->offset = offset;
    buf->data = data;
    buf->size = size;
    return buf;
}

XenDmabuf *xen_dmabuf_export(uint32_t domid, XenDmabufAlloc alloc,
                             const uint32_t *refs, uint32_t count,
                             Error **errp)
{
    xengnttab_handle *xgt = xen_dmabuf_open(errp);
    XenDmabuf *buf;
    uint64_t offset;
    uint32_t fd;

    if (!xgt) {
        return NULL;
    }
    if (xen_dmabuf_ops->exp_from_refs(xgt, domid, alloc, count, refs, &fd,
                                      &offset, errp) < 0) {
        qemu_xen_gnttab_close(xgt);
        return NULL;
    }
    buf = xen_dmabuf_new(xgt, fd, offset, count, errp);
    if (!buf) {
        close(fd);
        qemu_xen_gnttab_close(xgt);
        return NULL;
    }
    trace_xen_dmabuf_export(domid, fd, count, alloc);
    return buf;
}

XenDmabuf *xen_dmabuf_place(int fd, uint32_t domid, const uint32_t *refs,
                            uint32_t count, Error **errp)
{
    xengnttab_handle *xgt = xen_dmabuf_open(errp);
    XenDmabuf *buf;
    uint64_t offset;

    if (!xgt) {
        close(fd);
        return NULL;
    }
    if (xen_dmabuf_ops->map_refs_to_buf(xgt, domid, count, refs, fd, &offset,
                                        errp) < 0) {
        close(fd);
        qemu_xen_gnttab_close(xgt);
        return NULL;
    }
    buf = xen_dmabuf_new(xgt, fd, offset, count, errp);
    if (!buf) {
        xen_dmabuf_ops->map_release(xgt, fd);
        close(fd);
        qemu_xen_gnttab_close(xgt);
        return NULL;
    }
    buf->placed = true;
    trace_xen_dmabuf_place(domid, fd, count);
    return buf;
}

int xen_dmabuf_fd(const XenDmabuf *buf)
{
    return buf->fd;
}

uint64_t xen_dmabuf_offset(const XenDmabuf *buf)
{
    return buf->offset;
}

const void *xen_dmabuf_data(const XenDmabuf *buf)
{
    return buf->data;
}

static bool xen_dmabuf_is_released(XenDmabuf *buf)
{
    int ret = buf->placed ?
        xen_dmabuf_ops->map_wait_released(buf->xgt, buf->fd, 0) :
        xen_dmabuf_ops->exp_wait_released(buf->xgt, buf->fd, 0);

    return ret == 0;
}

/*
 * Whatever the answer is but yes, the guest's pages may still be in use. The
 * kernel answers at once: waiting is what it does only for a time-out.
 */
static void xen_dmabuf_poll(void *opaque)
{
    XenDmabuf *buf = opaque;

    if (!xen_dmabuf_is_released(buf)) {
        trace_xen_dmabuf_busy(buf->fd, errno);
        timer_mod(buf->timer,
                  qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + buf->delay);
        buf->delay = MIN(2 * buf->delay, LAST_POLL_NS);
        return;
    }

    trace_xen_dmabuf_released(buf->fd);
    qemu_xen_gnttab_close(buf->xgt);
    timer_free(buf->timer);
    if (buf->watched) {
        event_notifier_set_handler(&buf->event, NULL);
        event_notifier_cleanup(&buf->event);
    }
    buf->released(buf->opaque);
    g_free(buf);
}

static void xen_dmabuf_event(EventNotifier *event)
{
    event_notifier_test_and_clear(event);
    xen_dmabuf_poll(container_of(event, XenDmabuf, event));
}

/* Has the kernel tell when the buffer is released, if it can. */
static void xen_dmabuf_watch(XenDmabuf *buf)
{
    if (event_notifier_init(&buf->event, false) < 0) {
        return;
    }
    if (xen_dmabuf_ops->notify_released(buf->xgt, buf->fd,
                                        event_notifier_get_fd(&buf->event))) {
        event_notifier_cleanup(&buf->event);
        return;
    }
    event_notifier_set_handler(&buf->event, xen_dmabuf_event);
    buf->watched = true;
}

void xen_dmabuf_free(XenDmabuf *buf, XenDmabufReleased *released,
                     void *opaque)
{
    munmap(buf->data, buf->size);
    if (buf->placed) {
        /* By an open descriptor: the number alone may be another's by now. */
        xen_dmabuf_ops->map_release(buf->xgt, buf->fd);
    }
    close(buf->fd);

    buf->released = released;
    buf->opaque = opaque;
    buf->delay = FIRST_POLL_NS;
    buf->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, xen_dmabuf_poll, buf);
    xen_dmabuf_watch(buf);
    xen_dmabuf_poll(buf);
}

XenDmabufGrants *xen_dmabuf_grant(uint32_t domid, int fd, uint32_t *refs,
                                  uint32_t count, Error **errp)
{
    XenDmabufGrants *grants;
    xengnttab_handle *xgt;

    if (!xen_dmabuf_has_ops(errp)) {
        return NULL;
    }
    xgt = xen_dmabuf_open(errp);
    if (!xgt) {
        return NULL;
    }
    if (xen_dmabuf_ops->imp_to_refs(xgt, domid, fd, count, refs) < 0) {
        error_setg_errno(errp, errno, "cannot grant %u pages of a dma-buf",
                         count);
        qemu_xen_gnttab_close(xgt);
        return NULL;
    }

    grants = g_new0(XenDmabufGrants, 1);
    grants->xgt = xgt;
    grants->fd = fd;
    trace_xen_dmabuf_grant(domid, fd, count);
    return grants;
}

void xen_dmabuf_grant_end(XenDmabufGrants *grants)
{
    trace_xen_dmabuf_grant_end(grants->fd);
    xen_dmabuf_ops->imp_release(grants->xgt, grants->fd);
    qemu_xen_gnttab_close(grants->xgt);
    g_free(grants);
}
