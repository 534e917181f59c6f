/*
 * xen-qtest: a Xen inside QEMU, to test back ends without a hypervisor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine implements the operations that back ends call (see
 * hw/xen/xen_backend_ops.h) in the process itself: a xenstore, event
 * channels, grants, their dma-bufs and foreign memory of one guest, which is
 * the test.
 * include/hw/xen/xen-qtest.h describes how the test drives it.
 *
 * It is stricter than Xen where that finds bugs: what is unmapped is gone at
 * once, what a back end holds is counted, and it does not clean up after a
 * back end that closes a handle with something still open.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/memfd.h"
#include "qemu/queue.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "cpu.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/xen/xen.h"
#include "hw/xen/xen-bus.h"
#include "hw/xen/dma-buf-mmap-info.h"
#include "hw/xen/xen-dmabuf.h"
#include "hw/xen/xen-qtest.h"
#include "hw/xen/xen-vdispl-compat.h"
#include "hw/xen/xen_backend_ops.h"
#include "net/net.h"
#include "standard-headers/linux/udmabuf.h"
#include "system/qtest.h"
#include "system/system.h"
#include "../i386/kvm/xenstore_impl.h"
#include "trace.h"

/* As many pages as gntdev maps in one go by default */
#define MAX_PAGES_PER_MAP   (64 * KiB)

/* Local port numbers differ from the guest's, as they do on Xen */
#define LOCAL_PORT(port)    (0x10000u | (port))

#define TYPE_XEN_QTEST_VIRTIO_BUS "xen-qtest-virtio-bus"

typedef struct XenQtestGrant {
    uint32_t gfn;
    uint32_t flags;
    uint32_t mapped;
} XenQtestGrant;

typedef struct XenQtestMap {
    uint32_t count;
    uint32_t refs[];
} XenQtestMap;

/*
 * A dma-buf's grants are in use for as long as anybody has it open, in any
 * process: query tells.
 */
typedef struct XenQtestDmabuf {
    struct xengntdev_handle *xgt;
    uint32_t fd;                /* its number; it may be closed by now */
    bool placed;                /* into another's buffer, not exported */
    bool held;                  /* until map_release */
    uint64_t id;
    int query;                  /* a udmabuf, or -1 for the guest's memory */
    int event;                  /* signalled when it is released, or -1 */
    XenQtestMap *map;
    QLIST_ENTRY(XenQtestDmabuf) next;
} XenQtestDmabuf;

/* Pages of a dma-buf, which domain 0 grants: references follow each other */
typedef struct XenQtestBackendGrants {
    struct xengntdev_handle *xgt;
    uint32_t fd;
    uint32_t first;
    uint32_t count;
    QLIST_ENTRY(XenQtestBackendGrants) next;
} XenQtestBackendGrants;

typedef struct XenQtestPort {
    bool allocated;
    struct xenevtchn_handle *bound;
    uint32_t pending;           /* at the guest's end */
} XenQtestPort;

typedef struct XenQtest {
    MemoryRegion ram;
    MemoryRegion window;
    MemoryRegion regs;
    MemoryRegion doorbells;
    MemoryRegion data;
    int ram_fd;
    uint32_t ram_pages;

    uint32_t arg[XEN_QTEST_NR_ARGS];
    uint32_t status;
    uint32_t length;

    XenstoreImplState *xs;
    QTAILQ_HEAD(, qemu_xs_handle) xs_handles;
    uint64_t next_token;
    bool xs_hold;

    XenQtestGrant *grants;
    GHashTable *maps;           /* address -> XenQtestMap */
    GHashTable *foreign_maps;   /* address -> number of pages */
    QLIST_HEAD(, XenQtestDmabuf) dmabufs;
    QLIST_HEAD(, XenQtestBackendGrants) backend_grants;
    uint32_t next_backend_ref;
    uint64_t next_dmabuf;
    bool dmabuf_hold;
    uint32_t dmabuf_caching;
    XenDmabufAlloc dmabuf_alloc;
    XenQtestPort *ports;
    uint32_t ports_end;         /* none from here on has been used yet */

    uint32_t alive[XEN_QTEST_NR_ALIVE];
    uint32_t calls[XEN_QTEST_NR_CALLS];
    uint32_t fault[XEN_QTEST_NR_CALLS];
    int fault_errno[XEN_QTEST_NR_CALLS];
} XenQtest;

/* There is one Xen, as the tables of operations are global too */
static XenQtest *xen_qtest;

static bool fault_due(XenQtest *s, XenQtestCall call)
{
    s->calls[call]++;
    if (!s->fault[call] || --s->fault[call]) {
        return false;
    }
    trace_xen_qtest_fault(call, s->fault_errno[call]);
    errno = s->fault_errno[call];
    return true;
}

/* Counts a call of a back end; true, with errno set, if it shall fail */
static bool call_fails(XenQtest *s, XenQtestCall call)
{
    bool any = fault_due(s, XEN_QTEST_CALL_ANY);

    return fault_due(s, call) || any;
}

/* Guest memory */

static bool guest_mmap(XenQtest *s, void *addr, uint32_t gfn, size_t count,
                       int prot)
{
    return mmap(addr, count << XEN_PAGE_SHIFT, prot, MAP_SHARED | MAP_FIXED,
                s->ram_fd, (off_t)gfn << XEN_PAGE_SHIFT) != MAP_FAILED;
}

/* An address range in which guest pages are then placed */
static void *reserve_pages(size_t count)
{
    void *addr = mmap(NULL, count << XEN_PAGE_SHIFT, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return addr == MAP_FAILED ? NULL : addr;
}

static void unmap_pages(void *addr, size_t count)
{
    int ret = munmap(addr, count << XEN_PAGE_SHIFT);

    g_assert(ret == 0);
}

/* Grants */

struct xengntdev_handle {
    XenQtest *xen;
};

static struct xengntdev_handle *gnttab_open(void)
{
    struct xengntdev_handle *xgt;

    if (call_fails(xen_qtest, XEN_QTEST_CALL_GNTTAB_OPEN)) {
        return NULL;
    }
    xgt = g_new0(struct xengntdev_handle, 1);
    xgt->xen = xen_qtest;
    xen_qtest->alive[XEN_QTEST_GNTTAB_HANDLES]++;
    return xgt;
}

/* As on Linux, mappings outlive the handle: they are leaked, and counted */
static int gnttab_close(struct xengntdev_handle *xgt)
{
    xgt->xen->alive[XEN_QTEST_GNTTAB_HANDLES]--;
    g_free(xgt);
    return 0;
}

static int gnttab_set_max_grants(struct xengntdev_handle *xgt, uint32_t count)
{
    return 0;
}

static XenQtestGrant *grant_get(XenQtest *s, uint32_t domid, uint32_t ref,
                                int prot)
{
    XenQtestGrant *grant;

    if (domid != XEN_QTEST_GUEST_DOMID || ref >= XEN_QTEST_MAX_GRANTS) {
        return NULL;
    }
    grant = &s->grants[ref];
    if (!(grant->flags & XEN_QTEST_GRANT_ACCESS) ||
        ((prot & PROT_WRITE) && (grant->flags & XEN_QTEST_GRANT_READONLY)) ||
        grant->gfn >= s->ram_pages) {
        return NULL;
    }
    return grant;
}

/* Grants that something of domain 0 uses from now on */
static XenQtestMap *grants_use(XenQtest *s, const uint32_t *refs,
                               uint32_t count)
{
    XenQtestMap *map = g_malloc(sizeof(*map) + count * sizeof(map->refs[0]));

    map->count = count;
    for (uint32_t i = 0; i < count; i++) {
        map->refs[i] = refs[i];
        if (!s->grants[refs[i]].mapped++) {
            s->alive[XEN_QTEST_GRANTS_USED]++;
        }
    }
    return map;
}

static void grants_unuse(XenQtest *s, XenQtestMap *map)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (!--s->grants[map->refs[i]].mapped) {
            s->alive[XEN_QTEST_GRANTS_USED]--;
        }
    }
}

static void *gnttab_map_refs(struct xengntdev_handle *xgt, uint32_t count,
                             uint32_t domid, uint32_t *refs, int prot)
{
    XenQtest *s = xgt->xen;
    uint8_t *addr;
    uint32_t i, run;

    if (call_fails(s, XEN_QTEST_CALL_GRANT_MAP)) {
        return NULL;
    }
    if (!count || count > MAX_PAGES_PER_MAP) {
        errno = EINVAL;
        return NULL;
    }

    for (i = 0; i < count; i++) {
        if (!grant_get(s, domid, refs[i], prot)) {
            errno = EINVAL;
            return NULL;
        }
    }

    addr = reserve_pages(count);
    if (!addr) {
        return NULL;
    }
    /* Frames that follow each other go in one step, which takes the time */
    for (i = 0; i < count; i += run) {
        uint32_t gfn = s->grants[refs[i]].gfn;

        run = 1;
        while (i + run < count && s->grants[refs[i + run]].gfn == gfn + run) {
            run++;
        }
        if (!guest_mmap(s, addr + i * XEN_PAGE_SIZE, gfn, run, prot)) {
            int err = errno;

            unmap_pages(addr, count);
            errno = err;
            return NULL;
        }
    }

    g_hash_table_insert(s->maps, addr, grants_use(s, refs, count));
    s->alive[XEN_QTEST_GRANT_MAPS]++;
    s->alive[XEN_QTEST_GRANT_PAGES] += count;
    trace_xen_qtest_grant_map(addr, count, refs[0], prot);
    return addr;
}

static int gnttab_unmap(struct xengntdev_handle *xgt, void *addr,
                        uint32_t *refs, uint32_t count)
{
    XenQtest *s = xgt->xen;
    XenQtestMap *map = g_hash_table_lookup(s->maps, addr);

    if (!map || map->count != count) {
        errno = EINVAL;
        return -1;
    }

    unmap_pages(addr, count);
    grants_unuse(s, map);
    s->alive[XEN_QTEST_GRANT_MAPS]--;
    s->alive[XEN_QTEST_GRANT_PAGES] -= count;
    g_hash_table_remove(s->maps, addr);
    trace_xen_qtest_grant_unmap(addr, count);
    return 0;
}

static int gnttab_copy(struct xengntdev_handle *xgt, bool to_domain,
                       uint32_t domid, XenGrantCopySegment *segs,
                       uint32_t nr_segs, Error **errp)
{
    XenQtest *s = xgt->xen;
    uint32_t i;

    if (call_fails(s, XEN_QTEST_CALL_GRANT_COPY)) {
        int err = errno;

        error_setg_errno(errp, err, "grant copy of %u segments failed",
                         nr_segs);
        return -err;
    }

    for (i = 0; i < nr_segs; i++) {
        XenGrantCopySegment *seg = &segs[i];
        uint32_t ref = to_domain ? seg->dest.foreign.ref
                                 : seg->source.foreign.ref;
        off_t offset = to_domain ? seg->dest.foreign.offset
                                 : seg->source.foreign.offset;
        XenQtestGrant *grant = grant_get(s, domid, ref,
                                         to_domain ? PROT_WRITE : PROT_READ);
        uint8_t *page;

        /* Xen's hypercall stays within one page of the guest */
        if (!grant || offset < 0 || seg->len > XEN_PAGE_SIZE ||
            offset > XEN_PAGE_SIZE - seg->len) {
            error_setg(errp, "grant copy: bad segment %u, ref %u", i, ref);
            return -EIO;
        }
        page = memory_region_get_ram_ptr(&s->ram);
        page += ((size_t)grant->gfn << XEN_PAGE_SHIFT) + offset;
        if (to_domain) {
            memcpy(page, seg->source.virt, seg->len);
        } else {
            memcpy(seg->dest.virt, page, seg->len);
        }
    }
    return 0;
}

static struct gnttab_backend_ops xen_qtest_gnttab_ops = {
    .features = XEN_GNTTAB_OP_FEATURE_MAP_MULTIPLE,
    .open = gnttab_open,
    .close = gnttab_close,
    .grant_copy = gnttab_copy,
    .set_max_grants = gnttab_set_max_grants,
    .map_refs = gnttab_map_refs,
    .unmap = gnttab_unmap,
};

/* Dma-bufs */

static bool dmabuf_probe_export(Error **errp)
{
    if (call_fails(xen_qtest, XEN_QTEST_CALL_DMABUF_PROBE)) {
        error_setg_errno(errp, errno, "this Xen exports nothing today");
        return false;
    }
    return true;
}

static bool dmabuf_probe_map(Error **errp)
{
    if (call_fails(xen_qtest, XEN_QTEST_CALL_DMABUF_PROBE_MAP)) {
        error_setg_errno(errp, errno, "this Xen places nothing today");
        return false;
    }
    return true;
}

/* One file of the pages in any order, where the host has what makes it */
static int dmabuf_create_udmabuf(XenQtest *s, const uint32_t *refs,
                                 uint32_t count)
{
    g_autofree struct udmabuf_create_list *list =
        g_malloc0(sizeof(*list) + count * sizeof(list->list[0]));
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    int fd;

    if (device < 0) {
        return -1;
    }
    list->flags = UDMABUF_FLAGS_CLOEXEC;
    for (uint32_t i = 0; i < count; i++) {
        struct udmabuf_create_item *item = &list->list[list->count];
        uint64_t offset = (uint64_t)s->grants[refs[i]].gfn << XEN_PAGE_SHIFT;

        if (list->count && item[-1].offset + item[-1].size == offset) {
            item[-1].size += XEN_PAGE_SIZE;
        } else {
            item->memfd = s->ram_fd;
            item->offset = offset;
            item->size = XEN_PAGE_SIZE;
            list->count++;
        }
    }
    fd = ioctl(device, UDMABUF_CREATE_LIST, list);
    close(device);
    return fd;
}

/*
 * The guest's memory itself, for pages that follow each other in it. The file
 * is opened anew, so that a lock on it, which the kernel drops when the last
 * user goes, tells whether there is one.
 */
static int dmabuf_open_ram(XenQtest *s, const uint32_t *refs, uint32_t count,
                           uint64_t id, uint64_t *offset, Error **errp)
{
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = id, .l_len = 1,
    };
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", s->ram_fd);
    uint32_t gfn = s->grants[refs[0]].gfn;
    int fd;

    for (uint32_t i = 1; i < count; i++) {
        if (s->grants[refs[i]].gfn != gfn + i) {
            error_setg(errp, "pages that do not follow each other become a "
                       "dma-buf only where there is /dev/udmabuf");
            return -1;
        }
    }
    fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        error_setg_errno(errp, errno, "cannot open and lock %s", name);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *offset = (uint64_t)gfn << XEN_PAGE_SHIFT;
    return fd;
}

/* A file of granted pages, which begin at @offset; or NULL, with an error */
static XenQtestDmabuf *dmabuf_new(struct xengntdev_handle *xgt, uint32_t domid,
                                  uint32_t count, const uint32_t *refs,
                                  uint64_t *offset, Error **errp)
{
    XenQtest *s = xgt->xen;
    XenQtestDmabuf *buf;
    int query = -1;
    int fd;

    if (!count || count > MAX_PAGES_PER_MAP) {
        error_setg(errp, "no dma-buf can have %u pages", count);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!grant_get(s, domid, refs[i], PROT_READ | PROT_WRITE)) {
            error_setg(errp, "cannot map reference %u", refs[i]);
            return NULL;
        }
    }
    fd = dmabuf_create_udmabuf(s, refs, count);
    if (fd >= 0) {
        *offset = 0;
        query = qemu_dup(fd);
    } else {
        fd = dmabuf_open_ram(s, refs, count, s->next_dmabuf, offset, errp);
    }
    if (fd < 0) {
        return NULL;
    }

    buf = g_new0(XenQtestDmabuf, 1);
    buf->xgt = xgt;
    buf->fd = fd;
    buf->id = s->next_dmabuf++;
    buf->query = query;
    buf->event = -1;
    buf->map = grants_use(s, refs, count);
    QLIST_INSERT_HEAD(&s->dmabufs, buf, next);
    s->alive[XEN_QTEST_DMABUFS]++;
    s->alive[XEN_QTEST_DMABUF_PAGES] += count;
    return buf;
}

static int dmabuf_exp_from_refs(struct xengntdev_handle *xgt, uint32_t domid,
                                XenDmabufAlloc alloc, uint32_t count,
                                const uint32_t *refs, uint32_t *number,
                                uint64_t *offset, Error **errp)
{
    XenQtestDmabuf *buf;

    if (call_fails(xgt->xen, XEN_QTEST_CALL_DMABUF_EXPORT)) {
        error_setg_errno(errp, errno, "cannot export %u pages", count);
        return -1;
    }
    buf = dmabuf_new(xgt, domid, count, refs, offset, errp);
    if (!buf) {
        return -1;
    }
    trace_xen_qtest_dmabuf_export(buf->fd, count, refs[0]);
    xgt->xen->dmabuf_alloc = alloc;
    *number = buf->fd;
    return 0;
}

/* Whether anybody but this file has it open */
static bool dmabuf_in_use(XenQtest *s, XenQtestDmabuf *buf)
{
    g_autofree char *name = NULL;
    g_autofree char *info = NULL;
    const char *count;

    if (s->dmabuf_hold || buf->held) {
        return true;
    }
    if (buf->query < 0) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = buf->id,
            .l_len = 1,
        };
        int ret = fcntl(s->ram_fd, F_OFD_GETLK, &lock);

        g_assert(ret == 0);
        return lock.l_type != F_UNLCK;
    }

    /* The kernel counts references to a dma-buf's file, query among them */
    name = g_strdup_printf("/proc/self/fdinfo/%d", buf->query);
    g_assert(g_file_get_contents(name, &info, NULL, NULL));
    count = strstr(info, "\ncount:");
    g_assert(count);
    return atoi(count + strlen("\ncount:")) > 1;
}

/*
 * Xen's kernel unmaps the grants when the last user goes; so does this, when
 * somebody looks.  Returns how many of those who wait for that were told.
 */
static uint32_t dmabufs_reap(XenQtest *s)
{
    XenQtestDmabuf *buf, *next;
    uint32_t told = 0;

    QLIST_FOREACH_SAFE(buf, &s->dmabufs, next, next) {
        if (dmabuf_in_use(s, buf)) {
            continue;
        }
        trace_xen_qtest_dmabuf_released(buf->fd);
        QLIST_REMOVE(buf, next);
        s->alive[XEN_QTEST_DMABUFS]--;
        s->alive[XEN_QTEST_DMABUF_PAGES] -= buf->map->count;
        grants_unuse(s, buf->map);
        if (buf->query >= 0) {
            close(buf->query);
        }
        if (buf->event >= 0) {
            eventfd_write(buf->event, 1);
            close(buf->event);
            told++;
        }
        g_free(buf->map);
        g_free(buf);
    }
    return told;
}

static XenQtestDmabuf *dmabuf_find(struct xengntdev_handle *xgt, uint32_t fd)
{
    XenQtestDmabuf *buf;

    QLIST_FOREACH(buf, &xgt->xen->dmabufs, next) {
        if (buf->xgt == xgt && buf->fd == fd) {
            return buf;
        }
    }
    errno = ENOENT;
    return NULL;
}

static int dmabuf_wait_released(struct xengntdev_handle *xgt, uint32_t fd,
                                uint32_t wait_to_ms, bool placed)
{
    XenQtestDmabuf *buf;

    if (call_fails(xgt->xen, XEN_QTEST_CALL_DMABUF_WAIT)) {
        return -1;
    }
    g_assert(!wait_to_ms);      /* the main loop must not be held up */
    dmabufs_reap(xgt->xen);
    buf = dmabuf_find(xgt, fd);
    /* As of libxengnttab: a buffer that is not known has been released */
    if (!buf || buf->placed != placed) {
        return 0;
    }
    errno = ETIMEDOUT;
    return -1;
}

static int dmabuf_exp_wait_released(struct xengntdev_handle *xgt, uint32_t fd,
                                    uint32_t wait_to_ms)
{
    return dmabuf_wait_released(xgt, fd, wait_to_ms, false);
}

/*
 * Nothing can change the memory of a file that exists, so the descriptor gets
 * another file: what is mapped from now on is the guest's.  For as long as that
 * is held, or open, so are the grants.
 */
static int dmabuf_map_refs_to_buf(struct xengntdev_handle *xgt, uint32_t domid,
                                  uint32_t count, const uint32_t *refs,
                                  uint32_t fd, uint64_t *offset, Error **errp)
{
    XenQtestDmabuf *buf;
    int ret;

    if (call_fails(xgt->xen, XEN_QTEST_CALL_DMABUF_MAP)) {
        error_setg_errno(errp, errno, "cannot place %u pages", count);
        return -1;
    }
    if (lseek(fd, 0, SEEK_END) < (off_t)count * XEN_PAGE_SIZE) {
        error_setg(errp, "cannot place %u pages in a smaller dma-buf", count);
        return -1;
    }
    buf = dmabuf_new(xgt, domid, count, refs, offset, errp);
    if (!buf) {
        return -1;
    }
    ret = dup3(buf->fd, fd, O_CLOEXEC);
    g_assert(ret == fd);
    close(buf->fd);
    buf->fd = fd;
    buf->placed = true;
    buf->held = true;
    trace_xen_qtest_dmabuf_place(fd, count, refs[0]);
    return 0;
}

static int dmabuf_map_release(struct xengntdev_handle *xgt, uint32_t fd)
{
    XenQtestDmabuf *buf = dmabuf_find(xgt, fd);

    if (!buf || !buf->held) {
        errno = ENOENT;
        return -1;
    }
    buf->held = false;
    return 0;
}

static int dmabuf_map_wait_released(struct xengntdev_handle *xgt, uint32_t fd,
                                    uint32_t wait_to_ms)
{
    return dmabuf_wait_released(xgt, fd, wait_to_ms, true);
}

static int dmabuf_notify_released(struct xengntdev_handle *xgt, uint32_t fd,
                                  int event)
{
    XenQtestDmabuf *buf;

    if (call_fails(xgt->xen, XEN_QTEST_CALL_DMABUF_NOTIFY)) {
        return -1;
    }
    dmabufs_reap(xgt->xen);
    buf = dmabuf_find(xgt, fd);
    if (!buf) {
        return -1;
    }
    g_assert(buf->event < 0);
    buf->event = qemu_dup(event);
    return 0;
}

static int dmabuf_imp_to_refs(struct xengntdev_handle *xgt, uint32_t domid,
                              uint32_t fd, uint32_t count, uint32_t *refs)
{
    XenQtest *s = xgt->xen;
    XenQtestBackendGrants *grants;
    off_t size = lseek(fd, 0, SEEK_END);

    if (call_fails(s, XEN_QTEST_CALL_DMABUF_GRANT)) {
        return -1;
    }
    if (domid != XEN_QTEST_GUEST_DOMID || !count ||
        count > MAX_PAGES_PER_MAP || size != (off_t)count * XEN_PAGE_SIZE) {
        errno = EINVAL;
        return -1;
    }
    grants = g_new0(XenQtestBackendGrants, 1);
    grants->xgt = xgt;
    grants->fd = fd;
    grants->first = s->next_backend_ref;
    grants->count = count;
    for (uint32_t i = 0; i < count; i++) {
        refs[i] = s->next_backend_ref++;
    }
    QLIST_INSERT_HEAD(&s->backend_grants, grants, next);
    s->alive[XEN_QTEST_BACKEND_GRANTS] += count;
    trace_xen_qtest_dmabuf_grant(fd, count, grants->first);
    return 0;
}

static int dmabuf_imp_release(struct xengntdev_handle *xgt, uint32_t fd)
{
    XenQtest *s = xgt->xen;
    XenQtestBackendGrants *grants;

    QLIST_FOREACH(grants, &s->backend_grants, next) {
        if (grants->xgt == xgt && grants->fd == fd) {
            trace_xen_qtest_dmabuf_grant_end(fd);
            QLIST_REMOVE(grants, next);
            s->alive[XEN_QTEST_BACKEND_GRANTS] -= grants->count;
            g_free(grants);
            return 0;
        }
    }
    errno = ENOENT;
    return -1;
}

/* What the test says, whatever the host's dma-bufs are */
static uint32_t dmabuf_caching(int fd)
{
    return xen_qtest->dmabuf_caching;
}

/* Guest and devices share the host's caches. */
static int dmabuf_sync(int fd, uint64_t flags)
{
    return call_fails(xen_qtest, flags & DMA_BUF_SYNC_END ?
                      XEN_QTEST_CALL_DMABUF_SYNC_END :
                      XEN_QTEST_CALL_DMABUF_SYNC_START) ? -1 : 0;
}

static bool dmabuf_takes_files(void)
{
    return !call_fails(xen_qtest, XEN_QTEST_CALL_DMABUF_FILES);
}

static const struct dmabuf_backend_ops xen_qtest_dmabuf_ops = {
    .probe_export = dmabuf_probe_export,
    .probe_map = dmabuf_probe_map,
    .exp_from_refs = dmabuf_exp_from_refs,
    .exp_wait_released = dmabuf_exp_wait_released,
    .map_refs_to_buf = dmabuf_map_refs_to_buf,
    .map_release = dmabuf_map_release,
    .map_wait_released = dmabuf_map_wait_released,
    .notify_released = dmabuf_notify_released,
    .imp_to_refs = dmabuf_imp_to_refs,
    .imp_release = dmabuf_imp_release,
    .caching = dmabuf_caching,
    .sync = dmabuf_sync,
    .takes_files = dmabuf_takes_files,
};

/* Foreign memory */

static void *foreignmem_map(uint32_t domid, void *addr, int prot,
                            size_t pages, xen_pfn_t *pfns, int *errs)
{
    XenQtest *s = xen_qtest;
    uint8_t *map;
    size_t i;

    if (call_fails(s, XEN_QTEST_CALL_FOREIGN_MAP)) {
        return NULL;
    }
    if (domid != XEN_QTEST_GUEST_DOMID || !pages || addr) {
        errno = EINVAL;
        return NULL;
    }

    map = reserve_pages(pages);
    if (!map) {
        return NULL;
    }
    for (i = 0; i < pages; i++) {
        bool ok = pfns[i] < s->ram_pages &&
            guest_mmap(s, map + i * XEN_PAGE_SIZE, pfns[i], 1, prot);

        if (errs) {
            errs[i] = ok ? 0 : -EINVAL;
        } else if (!ok) {
            unmap_pages(map, pages);
            errno = EINVAL;
            return NULL;
        }
    }
    g_hash_table_insert(s->foreign_maps, map, GSIZE_TO_POINTER(pages));
    s->alive[XEN_QTEST_FOREIGN_MAPS]++;
    s->alive[XEN_QTEST_FOREIGN_PAGES] += pages;
    return map;
}

static int foreignmem_unmap(void *addr, size_t pages)
{
    XenQtest *s = xen_qtest;

    if (!pages ||
        GPOINTER_TO_SIZE(g_hash_table_lookup(s->foreign_maps,
                                             addr)) != pages) {
        errno = EINVAL;
        return -1;
    }
    unmap_pages(addr, pages);
    g_hash_table_remove(s->foreign_maps, addr);
    s->alive[XEN_QTEST_FOREIGN_MAPS]--;
    s->alive[XEN_QTEST_FOREIGN_PAGES] -= pages;
    return 0;
}

static struct foreignmem_backend_ops xen_qtest_foreignmem_ops = {
    .map = foreignmem_map,
    .unmap = foreignmem_unmap,
};

/* Event channels */

struct xenevtchn_handle {
    XenQtest *xen;
    EventNotifier event;
    uint32_t guest_port;        /* 0: not bound */
};

static struct xenevtchn_handle *evtchn_open(void)
{
    struct xenevtchn_handle *xc;
    int ret;

    if (call_fails(xen_qtest, XEN_QTEST_CALL_EVTCHN_OPEN)) {
        return NULL;
    }
    xc = g_new0(struct xenevtchn_handle, 1);
    ret = event_notifier_init(&xc->event, false);
    if (ret < 0) {
        g_free(xc);
        errno = -ret;
        return NULL;
    }
    xc->xen = xen_qtest;
    xen_qtest->alive[XEN_QTEST_EVTCHN_HANDLES]++;
    return xc;
}

static int evtchn_bind_interdomain(struct xenevtchn_handle *xc,
                                   uint32_t domid, evtchn_port_t port)
{
    XenQtest *s = xc->xen;

    if (call_fails(s, XEN_QTEST_CALL_EVTCHN_BIND)) {
        return -1;
    }
    if (domid != XEN_QTEST_GUEST_DOMID || xc->guest_port || !port ||
        port >= XEN_QTEST_MAX_PORTS || !s->ports[port].allocated ||
        s->ports[port].bound) {
        errno = EINVAL;
        return -1;
    }
    xc->guest_port = port;
    s->ports[port].bound = xc;
    s->alive[XEN_QTEST_EVTCHN_BOUND]++;
    trace_xen_qtest_evtchn_bind(port, LOCAL_PORT(port));

    /* Xen makes up for a notification that came before the binding */
    event_notifier_set(&xc->event);
    return LOCAL_PORT(port);
}

static int evtchn_unbind(struct xenevtchn_handle *xc, evtchn_port_t port)
{
    if (!xc->guest_port || port != LOCAL_PORT(xc->guest_port)) {
        errno = EINVAL;
        return -1;
    }
    trace_xen_qtest_evtchn_unbind(xc->guest_port);
    xc->xen->ports[xc->guest_port].bound = NULL;
    xc->xen->alive[XEN_QTEST_EVTCHN_BOUND]--;
    xc->guest_port = 0;
    event_notifier_test_and_clear(&xc->event);
    return 0;
}

static int evtchn_close(struct xenevtchn_handle *xc)
{
    /* Closing the file is enough on Linux: the kernel unbinds */
    if (xc->guest_port) {
        evtchn_unbind(xc, LOCAL_PORT(xc->guest_port));
    }
    event_notifier_cleanup(&xc->event);
    xc->xen->alive[XEN_QTEST_EVTCHN_HANDLES]--;
    g_free(xc);
    return 0;
}

static int evtchn_get_fd(struct xenevtchn_handle *xc)
{
    return event_notifier_get_fd(&xc->event);
}

static int evtchn_notify(struct xenevtchn_handle *xc, evtchn_port_t port)
{
    XenQtest *s = xc->xen;

    if (call_fails(s, XEN_QTEST_CALL_EVTCHN_NOTIFY)) {
        return -1;
    }
    if (!xc->guest_port || port != LOCAL_PORT(xc->guest_port)) {
        errno = EINVAL;
        return -1;
    }
    /* It is no error when the guest has closed its end meanwhile */
    if (s->ports[xc->guest_port].allocated) {
        s->ports[xc->guest_port].pending++;
        trace_xen_qtest_evtchn_to_guest(xc->guest_port);
    }
    return 0;
}

static int evtchn_unmask(struct xenevtchn_handle *xc, evtchn_port_t port)
{
    if (!xc->guest_port || port != LOCAL_PORT(xc->guest_port)) {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

static int evtchn_pending(struct xenevtchn_handle *xc)
{
    if (!event_notifier_test_and_clear(&xc->event) || !xc->guest_port) {
        errno = EAGAIN;
        return -1;
    }
    return LOCAL_PORT(xc->guest_port);
}

static struct evtchn_backend_ops xen_qtest_evtchn_ops = {
    .open = evtchn_open,
    .bind_interdomain = evtchn_bind_interdomain,
    .unbind = evtchn_unbind,
    .close = evtchn_close,
    .get_fd = evtchn_get_fd,
    .notify = evtchn_notify,
    .unmask = evtchn_unmask,
    .pending = evtchn_pending,
};

/* True if an event for a back end has not been taken by it yet */
static bool evtchn_busy(struct xenevtchn_handle *xc)
{
    GPollFD pfd = {
        .fd = event_notifier_get_fd(&xc->event),
        .events = G_IO_IN,
    };

    return g_poll(&pfd, 1, 0) > 0;
}

static uint32_t evtchn_alloc(XenQtest *s)
{
    uint32_t port;

    for (port = 1; port < XEN_QTEST_MAX_PORTS; port++) {
        if (!s->ports[port].allocated && !s->ports[port].bound) {
            s->ports[port].allocated = true;
            s->ports[port].pending = 0;
            s->ports_end = MAX(s->ports_end, port + 1);
            return port;
        }
    }
    return 0;
}

static void evtchn_to_backend(XenQtest *s, uint32_t port)
{
    if (s->ports[port].allocated && s->ports[port].bound) {
        trace_xen_qtest_evtchn_to_backend(port);
        event_notifier_set(&s->ports[port].bound->event);
    }
}

/* xenstore */

typedef struct XenQtestWatchEvent {
    struct qemu_xs_watch *watch;
    char *path;
    QSIMPLEQ_ENTRY(XenQtestWatchEvent) next;
} XenQtestWatchEvent;

struct qemu_xs_watch {
    struct qemu_xs_handle *h;
    char *path;
    char *token;
    xs_watch_fn fn;
    void *opaque;
};

struct qemu_xs_handle {
    XenQtest *xen;
    QEMUBH *bh;
    QSIMPLEQ_HEAD(, XenQtestWatchEvent) events;
    unsigned int nr_watches;
    bool delivering;
    bool closed;
    QTAILQ_ENTRY(qemu_xs_handle) next;
};

/* The xenstore core answers positive error numbers */
static bool xs_ok(int err)
{
    errno = err;
    return !err;
}

static void watch_event_free(XenQtestWatchEvent *ev)
{
    g_free(ev->path);
    g_free(ev);
}

/*
 * A watch may remove itself or others and close the handle, so nothing is
 * kept across its call.
 */
static void xs_deliver(void *opaque)
{
    struct qemu_xs_handle *h = opaque;
    XenQtestWatchEvent *ev;

    h->delivering = true;
    while (!h->xen->xs_hold && (ev = QSIMPLEQ_FIRST(&h->events))) {
        struct qemu_xs_watch *w = ev->watch;

        QSIMPLEQ_REMOVE_HEAD(&h->events, next);
        trace_xen_qtest_watch(ev->path);
        w->fn(w->opaque, ev->path);
        watch_event_free(ev);
    }
    h->delivering = false;
    if (h->closed) {
        g_free(h);
    }
}

static struct qemu_xs_handle *xs_open(void)
{
    XenQtest *s = xen_qtest;
    struct qemu_xs_handle *h;

    if (call_fails(s, XEN_QTEST_CALL_XS_OPEN)) {
        return NULL;
    }
    h = g_new0(struct qemu_xs_handle, 1);
    h->xen = s;
    h->bh = aio_bh_new_guarded(qemu_get_aio_context(), xs_deliver, h, NULL);
    QSIMPLEQ_INIT(&h->events);
    QTAILQ_INSERT_TAIL(&s->xs_handles, h, next);
    s->alive[XEN_QTEST_XS_HANDLES]++;
    return h;
}

static void xs_close(struct qemu_xs_handle *h)
{
    g_assert(!h->nr_watches);   /* as with the real libxenstore */
    qemu_bh_delete(h->bh);
    QTAILQ_REMOVE(&h->xen->xs_handles, h, next);
    h->xen->alive[XEN_QTEST_XS_HANDLES]--;
    h->closed = true;
    if (!h->delivering) {
        g_free(h);
    }
}

static char *xs_get_domain_path(struct qemu_xs_handle *h, unsigned int domid)
{
    return g_strdup_printf("/local/domain/%u", domid);
}

/* One allocation for pointers and strings, as callers know to free it */
static char **xs_directory(struct qemu_xs_handle *h, xs_transaction_t t,
                           const char *path, unsigned int *num)
{
    GList *items = NULL, *l;
    size_t size = 0;
    char **names, *p;

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_READ) ||
        !xs_ok(xs_impl_directory(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t,
                                 path, NULL, &items))) {
        return NULL;
    }

    *num = 0;
    for (l = items; l; l = l->next) {
        size += sizeof(char *) + strlen(l->data) + 1;
    }
    names = g_malloc0(size + sizeof(char *));
    p = (char *)(names + g_list_length(items) + 1);
    for (l = items; l; l = l->next) {
        names[(*num)++] = p;
        p = stpcpy(p, l->data) + 1;
    }
    g_list_free_full(items, g_free);
    return names;
}

static void *xs_read(struct qemu_xs_handle *h, xs_transaction_t t,
                     const char *path, unsigned int *len)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_READ) ||
        !xs_ok(xs_impl_read(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path,
                            data))) {
        return NULL;
    }
    if (len) {
        *len = data->len;
    }
    /* Callers count on the NUL that libxenstore adds */
    g_byte_array_append(data, (const uint8_t *)"", 1);
    return g_byte_array_free(g_steal_pointer(&data), false);
}

static bool xs_write(struct qemu_xs_handle *h, xs_transaction_t t,
                     const char *path, const void *value, unsigned int len)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_WRITE)) {
        return false;
    }
    g_byte_array_append(data, value, len);
    return xs_ok(xs_impl_write(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path,
                               data));
}

static bool xs_create(struct qemu_xs_handle *h, xs_transaction_t t,
                      unsigned int owner, unsigned int domid,
                      unsigned int perms, const char *path)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    GList *list = NULL;
    int err;

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_WRITE)) {
        return false;
    }

    /* Like MKDIR, leave the value of a node that exists */
    err = xs_impl_read(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path, data);
    if (err == ENOENT) {
        err = xs_impl_write(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path,
                            data);
    }
    if (!xs_ok(err)) {
        return false;
    }

    list = g_list_append(list, xs_perm_as_string(XS_PERM_NONE, owner));
    list = g_list_append(list, xs_perm_as_string(perms, domid));
    err = xs_impl_set_perms(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path,
                            list);
    g_list_free_full(list, g_free);
    return xs_ok(err);
}

static bool xs_destroy(struct qemu_xs_handle *h, xs_transaction_t t,
                       const char *path)
{
    return !call_fails(h->xen, XEN_QTEST_CALL_XS_WRITE) &&
        xs_ok(xs_impl_rm(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t, path));
}

static void xs_watch_fired(void *opaque, const char *path, const char *token)
{
    struct qemu_xs_watch *w = opaque;
    XenQtestWatchEvent *ev = g_new0(XenQtestWatchEvent, 1);

    ev->watch = w;
    ev->path = g_strdup(path);
    QSIMPLEQ_INSERT_TAIL(&w->h->events, ev, next);
    qemu_bh_schedule(w->h->bh);
}

static void xs_watch_free(struct qemu_xs_watch *w)
{
    XenQtestWatchEvent *ev, *next;

    QSIMPLEQ_FOREACH_SAFE(ev, &w->h->events, next, next) {
        if (ev->watch == w) {
            QSIMPLEQ_REMOVE(&w->h->events, ev, XenQtestWatchEvent, next);
            watch_event_free(ev);
        }
    }
    g_free(w->path);
    g_free(w->token);
    g_free(w);
}

static struct qemu_xs_watch *xs_watch(struct qemu_xs_handle *h,
                                      const char *path, xs_watch_fn fn,
                                      void *opaque)
{
    struct qemu_xs_watch *w;
    int err;

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_WATCH)) {
        return NULL;
    }
    w = g_new0(struct qemu_xs_watch, 1);
    w->h = h;
    w->path = g_strdup(path);
    w->token = g_strdup_printf("%" PRIu64, h->xen->next_token++);
    w->fn = fn;
    w->opaque = opaque;

    err = xs_impl_watch(h->xen->xs, XEN_QTEST_BACKEND_DOMID, path, w->token,
                        xs_watch_fired, w);
    if (!xs_ok(err)) {
        xs_watch_free(w);
        errno = err;
        return NULL;
    }
    h->nr_watches++;
    h->xen->alive[XEN_QTEST_XS_WATCHES]++;
    return w;
}

static void xs_unwatch(struct qemu_xs_handle *h, struct qemu_xs_watch *w)
{
    XenstoreImplState *xs = h->xen->xs;
    int err;

    err = xs_impl_unwatch(xs, XEN_QTEST_BACKEND_DOMID, w->path, w->token,
                          xs_watch_fired, w);
    if (err == ENOENT) {
        /*
         * Of several watches on one path, xs_impl_unwatch() finds all but
         * the first only by an opaque pointer that differs.  The token is
         * unique, so this cannot remove another's.
         */
        err = xs_impl_unwatch(xs, XEN_QTEST_BACKEND_DOMID, w->path,
                              w->token, xs_watch_fired, NULL);
    }
    g_assert(!err);
    xs_watch_free(w);
    h->nr_watches--;
    h->xen->alive[XEN_QTEST_XS_WATCHES]--;
}

static xs_transaction_t xs_transaction_start(struct qemu_xs_handle *h)
{
    xs_transaction_t t = XBT_NULL;

    if (call_fails(h->xen, XEN_QTEST_CALL_XS_TRANSACTION) ||
        !xs_ok(xs_impl_transaction_start(h->xen->xs, XEN_QTEST_BACKEND_DOMID,
                                         &t))) {
        return XBT_NULL;
    }
    h->xen->alive[XEN_QTEST_XS_TRANSACTIONS]++;
    return t;
}

static bool xs_transaction_end(struct qemu_xs_handle *h, xs_transaction_t t,
                               bool abort)
{
    int err = xs_impl_transaction_end(h->xen->xs, XEN_QTEST_BACKEND_DOMID, t,
                                      !abort);

    if (err != ENOENT) {
        h->xen->alive[XEN_QTEST_XS_TRANSACTIONS]--;
    }
    return xs_ok(err);
}

static struct xenstore_backend_ops xen_qtest_xenstore_ops = {
    .open = xs_open,
    .close = xs_close,
    .get_domain_path = xs_get_domain_path,
    .directory = xs_directory,
    .read = xs_read,
    .write = xs_write,
    .create = xs_create,
    .destroy = xs_destroy,
    .watch = xs_watch,
    .unwatch = xs_unwatch,
    .transaction_start = xs_transaction_start,
    .transaction_end = xs_transaction_end,
};

static void xs_release(XenQtest *s)
{
    struct qemu_xs_handle *h;

    QTAILQ_FOREACH(h, &s->xs_handles, next) {
        qemu_bh_schedule(h->bh);
    }
}

/* A node of the domain, as the toolstack makes it when it builds one */
static void xs_make_node(XenQtest *s, const char *path, const char *value,
                         unsigned int owner)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    GList *perms = NULL;
    int err;

    g_byte_array_append(data, (const uint8_t *)value, strlen(value));
    err = xs_impl_write(s->xs, XEN_QTEST_BACKEND_DOMID, XBT_NULL, path,
                        data);
    g_assert(!err);
    perms = g_list_append(perms, xs_perm_as_string(XS_PERM_NONE, owner));
    perms = g_list_append(perms, xs_perm_as_string(XS_PERM_READ,
                                                   XEN_QTEST_GUEST_DOMID));
    err = xs_impl_set_perms(s->xs, XEN_QTEST_BACKEND_DOMID, XBT_NULL, path,
                            perms);
    g_assert(!err);
    g_list_free_full(perms, g_free);
}

/*
 * A framebuffer for QEMU's xenfb, as the toolstack makes it: that is one of the
 * back ends that only take devices which are there from the start.
 */
static void make_vfb(XenQtest *s)
{
    static const char fe[] = "/local/domain/1/device/vfb/0";
    static const char be[] = "/local/domain/0/backend/vfb/1/0";
    static const struct {
        const char *dir, *key, *value;
        unsigned int owner;
    } nodes[] = {
        { fe, "backend", be, XEN_QTEST_BACKEND_DOMID },
        { fe, "backend-id", "0", XEN_QTEST_BACKEND_DOMID },
        { fe, "state", "1", XEN_QTEST_GUEST_DOMID },
        { be, "frontend", fe, XEN_QTEST_BACKEND_DOMID },
        { be, "frontend-id", "1", XEN_QTEST_BACKEND_DOMID },
        { be, "online", "1", XEN_QTEST_BACKEND_DOMID },
        { be, "state", "1", XEN_QTEST_BACKEND_DOMID },
    };

    xs_make_node(s, fe, "", XEN_QTEST_GUEST_DOMID);
    for (int i = 0; i < ARRAY_SIZE(nodes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", nodes[i].dir,
                                                nodes[i].key);

        xs_make_node(s, path, nodes[i].value, nodes[i].owner);
    }
}

/* Commands; they return 0 or a negative errno */

static int command_xenstore(XenQtest *s, XenQtestCommand command)
{
    uint8_t *data = memory_region_get_ram_ptr(&s->data);
    uint32_t domid = s->arg[0];
    uint32_t len = s->arg[1];
    g_autoptr(GByteArray) value = g_byte_array_new();
    g_autofree char *path = NULL;
    GList *list = NULL, *l;
    uint8_t *nul, *end;
    int err;

    nul = len <= XEN_QTEST_DATA_SIZE ? memchr(data, '\0', len) : NULL;
    if (!nul) {
        return -EINVAL;
    }
    path = g_strdup((char *)data);
    end = data + len;

    switch (command) {
    case XEN_QTEST_XS_READ:
        err = xs_impl_read(s->xs, domid, XBT_NULL, path, value);
        break;
    case XEN_QTEST_XS_WRITE:
        g_byte_array_append(value, nul + 1, end - (nul + 1));
        return -xs_impl_write(s->xs, domid, XBT_NULL, path, value);
    case XEN_QTEST_XS_RM:
        return -xs_impl_rm(s->xs, domid, XBT_NULL, path);
    case XEN_QTEST_XS_LIST:
        err = xs_impl_directory(s->xs, domid, XBT_NULL, path, NULL, &list);
        for (l = list; l; l = l->next) {
            g_byte_array_append(value, l->data, strlen(l->data) + 1);
        }
        g_list_free_full(list, g_free);
        break;
    case XEN_QTEST_XS_SET_PERMS:
        while (++nul < end) {
            uint8_t *perm = nul;

            nul = memchr(perm, '\0', end - perm);
            if (!nul) {
                g_list_free_full(list, g_free);
                return -EINVAL;
            }
            list = g_list_append(list, g_strdup((char *)perm));
        }
        err = xs_impl_set_perms(s->xs, domid, XBT_NULL, path, list);
        g_list_free_full(list, g_free);
        return -err;
    default:
        g_assert_not_reached();
    }

    if (!err && value->len > XEN_QTEST_DATA_SIZE) {
        return -E2BIG;
    }
    if (!err && value->len) {
        memcpy(data, value->data, value->len);
        s->length = value->len;
    }
    return -err;
}

static int command_grant(XenQtest *s, XenQtestCommand command)
{
    XenQtestGrant *grant;

    if (s->arg[0] >= XEN_QTEST_MAX_GRANTS) {
        return -EINVAL;
    }
    grant = &s->grants[s->arg[0]];
    dmabufs_reap(s);

    switch (command) {
    case XEN_QTEST_GRANT_SET:
        grant->gfn = s->arg[1];
        grant->flags = s->arg[2];
        return 0;
    case XEN_QTEST_GRANT_END:
        if (grant->mapped) {
            return -EBUSY;
        }
        grant->flags = 0;
        return 0;
    case XEN_QTEST_GRANT_MAPPED:
        s->length = grant->mapped;
        return 0;
    default:
        g_assert_not_reached();
    }
}

static int command_backend_grant(XenQtest *s)
{
    XenQtestBackendGrants *grants;

    QLIST_FOREACH(grants, &s->backend_grants, next) {
        if (s->arg[0] - grants->first < grants->count) {
            s->length = s->arg[0] - grants->first;
            return 0;
        }
    }
    return -ENOENT;
}

static int command_run(XenQtest *s, uint32_t command)
{
    switch (command) {
    case XEN_QTEST_XS_READ:
    case XEN_QTEST_XS_WRITE:
    case XEN_QTEST_XS_RM:
    case XEN_QTEST_XS_LIST:
    case XEN_QTEST_XS_SET_PERMS:
        return command_xenstore(s, command);
    case XEN_QTEST_GRANT_SET:
    case XEN_QTEST_GRANT_END:
    case XEN_QTEST_GRANT_MAPPED:
        return command_grant(s, command);
    case XEN_QTEST_BACKEND_GRANT:
        return command_backend_grant(s);
    case XEN_QTEST_EVTCHN_ALLOC:
        s->length = evtchn_alloc(s);
        return s->length ? 0 : -ENOSPC;
    case XEN_QTEST_EVTCHN_CLOSE:
        if (s->arg[0] >= XEN_QTEST_MAX_PORTS ||
            !s->ports[s->arg[0]].allocated) {
            return -EINVAL;
        }
        s->ports[s->arg[0]].allocated = false;
        return 0;
    case XEN_QTEST_FAULT:
        if (s->arg[0] >= XEN_QTEST_NR_CALLS || (s->arg[1] && !s->arg[2])) {
            return -EINVAL;
        }
        s->fault[s->arg[0]] = s->arg[1];
        s->fault_errno[s->arg[0]] = s->arg[2];
        return 0;
    default:
        return -ENOSYS;
    }
}

/* What is on its way to a back end, and will be there after a while */
static uint32_t busy(XenQtest *s)
{
    struct qemu_xs_handle *h;
    uint32_t n = dmabufs_reap(s);
    uint32_t port;

    QTAILQ_FOREACH(h, &s->xs_handles, next) {
        n += !QSIMPLEQ_EMPTY(&h->events);
    }
    for (port = 1; port < s->ports_end; port++) {
        n += s->ports[port].bound && evtchn_busy(s->ports[port].bound);
    }
    return n;
}

static uint64_t regs_read(void *opaque, hwaddr addr, unsigned size)
{
    XenQtest *s = opaque;

    switch (addr) {
    case XEN_QTEST_REG_ID:
        return XEN_QTEST_ID;
    case XEN_QTEST_REG_STATUS:
        return s->status;
    case XEN_QTEST_REG_LENGTH:
        return s->length;
    case XEN_QTEST_REG_BUSY:
        return busy(s);
    case XEN_QTEST_REG_XS_HOLD:
        return s->xs_hold;
    case XEN_QTEST_REG_DMABUF_HOLD:
        return s->dmabuf_hold;
    case XEN_QTEST_REG_DMABUF_CACHING:
        return s->dmabuf_caching;
    case XEN_QTEST_REG_DMABUF_ALLOC:
        return s->dmabuf_alloc;
    case XEN_QTEST_REG_ARG(0) ... XEN_QTEST_REG_ARG(XEN_QTEST_NR_ARGS) - 1:
        return s->arg[(addr - XEN_QTEST_REG_ARG(0)) / 4];
    case XEN_QTEST_REG_ALIVE(0) ... XEN_QTEST_REG_ALIVE(XEN_QTEST_NR_ALIVE) - 1:
        dmabufs_reap(s);
        return s->alive[(addr - XEN_QTEST_REG_ALIVE(0)) / 4];
    case XEN_QTEST_REG_FAULT(0) ... XEN_QTEST_REG_FAULT(XEN_QTEST_NR_CALLS) - 1:
        return s->fault[(addr - XEN_QTEST_REG_FAULT(0)) / 4];
    case XEN_QTEST_REG_CALLS(0) ... XEN_QTEST_REG_CALLS(XEN_QTEST_NR_CALLS) - 1:
        return s->calls[(addr - XEN_QTEST_REG_CALLS(0)) / 4];
    default:
        return 0;
    }
}

static void regs_write(void *opaque, hwaddr addr, uint64_t value,
                       unsigned size)
{
    XenQtest *s = opaque;

    switch (addr) {
    case XEN_QTEST_REG_COMMAND:
        s->length = 0;
        s->status = -command_run(s, value);
        trace_xen_qtest_command(value, s->arg[0], s->arg[1], s->arg[2],
                                s->status);
        break;
    case XEN_QTEST_REG_XS_HOLD:
        s->xs_hold = value;
        xs_release(s);
        break;
    case XEN_QTEST_REG_DMABUF_HOLD:
        s->dmabuf_hold = value;
        break;
    case XEN_QTEST_REG_DMABUF_CACHING:
        s->dmabuf_caching = value;
        break;
    case XEN_QTEST_REG_ARG(0) ... XEN_QTEST_REG_ARG(XEN_QTEST_NR_ARGS) - 1:
        s->arg[(addr - XEN_QTEST_REG_ARG(0)) / 4] = value;
        break;
    }
}

static const MemoryRegionOps regs_ops = {
    .read = regs_read,
    .write = regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

static uint64_t doorbells_read(void *opaque, hwaddr addr, unsigned size)
{
    XenQtest *s = opaque;
    uint32_t pending = s->ports[addr / 4].pending;

    s->ports[addr / 4].pending = 0;
    return pending;
}

static void doorbells_write(void *opaque, hwaddr addr, uint64_t value,
                            unsigned size)
{
    evtchn_to_backend(opaque, addr / 4);
}

static const MemoryRegionOps doorbells_ops = {
    .read = doorbells_read,
    .write = doorbells_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

/* The machine */

static void init_memory(XenQtest *s, MachineState *machine)
{
    MemoryRegion *sysmem = get_system_memory();

    if (machine->ram_size > XEN_QTEST_BASE) {
        error_report("xen-qtest: memory must not reach beyond 0x%x, "
                     "use a smaller -m", XEN_QTEST_BASE);
        exit(EXIT_FAILURE);
    }
    s->ram_pages = machine->ram_size >> XEN_PAGE_SHIFT;

    /*
     * Shared and with a file: that is how pages are mapped once more. The seal
     * is for udmabuf, which wants to be sure of its pages.
     */
    s->ram_fd = qemu_memfd_create("xen-qtest", machine->ram_size, false, 0,
                                  F_SEAL_SHRINK, &error_fatal);
    memory_region_init_ram_from_fd(&s->ram, NULL, "xen-qtest.ram",
                                   machine->ram_size, RAM_SHARED, s->ram_fd,
                                   0, &error_fatal);
    memory_region_add_subregion(sysmem, 0, &s->ram);

    memory_region_init(&s->window, NULL, "xen-qtest.window",
                       XEN_QTEST_DATA + XEN_QTEST_DATA_SIZE);
    memory_region_init_io(&s->regs, NULL, &regs_ops, s, "xen-qtest.regs",
                          XEN_QTEST_DOORBELLS);
    memory_region_add_subregion(&s->window, 0, &s->regs);
    memory_region_init_io(&s->doorbells, NULL, &doorbells_ops, s,
                          "xen-qtest.doorbells", XEN_QTEST_MAX_PORTS * 4);
    memory_region_add_subregion(&s->window, XEN_QTEST_DOORBELLS,
                                &s->doorbells);
    memory_region_init_ram(&s->data, NULL, "xen-qtest.data",
                           XEN_QTEST_DATA_SIZE, &error_fatal);
    memory_region_add_subregion(&s->window, XEN_QTEST_DATA, &s->data);
    memory_region_add_subregion(sysmem, XEN_QTEST_BASE, &s->window);
}

static void init_xenstore(XenQtest *s)
{
    s->xs = xs_impl_create(XEN_QTEST_GUEST_DOMID);
    QTAILQ_INIT(&s->xs_handles);

    xs_make_node(s, "/local/domain/0/domid", "0", XEN_QTEST_BACKEND_DOMID);
    xs_make_node(s, "/local/domain/1", "", XEN_QTEST_BACKEND_DOMID);
    xs_make_node(s, "/local/domain/1/domid", "1", XEN_QTEST_BACKEND_DOMID);
    xs_make_node(s, "/local/domain/1/device", "", XEN_QTEST_BACKEND_DOMID);
    xs_make_node(s, "/local/domain/1/data", "", XEN_QTEST_GUEST_DOMID);
}

static void init_virtio_bus(void)
{
    BusState *xen_bus = BUS(object_resolve_path_type("", TYPE_XEN_BUS, NULL));
    BusState *bus = qbus_new(TYPE_XEN_QTEST_VIRTIO_BUS, xen_bus->parent, NULL);

    qbus_realize(bus, &error_fatal);
}

static void xen_qtest_init(MachineState *machine)
{
    XenQtest *s;
    NICInfo *nic;
    Object *cpu;

    if (!qtest_enabled()) {
        error_report("xen-qtest: this machine has no processor that runs; it "
                     "serves tests, with -accel qtest. For a guest of Xen "
                     "use -machine xenpv or xenfv with -accel xen");
        exit(EXIT_FAILURE);
    }

    s = g_new0(XenQtest, 1);
    xen_qtest = s;
    s->grants = g_new0(XenQtestGrant, XEN_QTEST_MAX_GRANTS);
    s->ports = g_new0(XenQtestPort, XEN_QTEST_MAX_PORTS);
    s->maps = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    s->foreign_maps = g_hash_table_new(NULL, NULL);
    QLIST_INIT(&s->dmabufs);
    s->dmabuf_caching = DMA_BUF_CACHING_CACHED;
    QLIST_INIT(&s->backend_grants);
    s->next_backend_ref = 1;

    /* qtest reads and writes memory as the first processor sees it */
    cpu = object_new(machine->cpu_type);
    object_property_set_uint(cpu, "apic-id", 0, &error_fatal);
    qdev_realize(DEVICE(cpu), NULL, &error_fatal);

    init_memory(s, machine);
    init_xenstore(s);
    if (vga_interface_type == VGA_XENFB) {
        make_vfb(s);
        vga_interface_created = true;
    }

    xen_domid = XEN_QTEST_GUEST_DOMID;
    xen_mode = XEN_EMULATE;
    xen_evtchn_ops = &xen_qtest_evtchn_ops;
    xen_gnttab_ops = &xen_qtest_gnttab_ops;
    xen_foreignmem_ops = &xen_qtest_foreignmem_ops;
    xen_dmabuf_ops = &xen_qtest_dmabuf_ops;
    xen_xenstore_ops = &xen_qtest_xenstore_ops;

    /*
     * Take the default network card away from xen_bus_init(): QEMU frees
     * its peer before the card's own exit handler runs.
     */
    while ((nic = qemu_find_nic_info("none", true, NULL))) {
        nic->instantiated = true;
    }
    xen_bus_init();
    init_virtio_bus();
}

static const TypeInfo xen_qtest_virtio_bus_info = {
    .name = TYPE_XEN_QTEST_VIRTIO_BUS,
    .parent = TYPE_VIRTIO_BUS,
};

static void xen_qtest_register_types(void)
{
    type_register_static(&xen_qtest_virtio_bus_info);
}

type_init(xen_qtest_register_types)

static void xen_qtest_machine_init(MachineClass *mc)
{
    mc->desc = "Xen back ends without Xen, for tests";
    mc->init = xen_qtest_init;
    mc->max_cpus = 1;
    mc->default_cpu_type = X86_CPU_TYPE_NAME("486");
    mc->default_ram_size = 256 * MiB;
    mc->no_serial = 1;
    mc->no_parallel = 1;
    mc->no_floppy = 1;
    mc->no_cdrom = 1;
}

DEFINE_MACHINE(TYPE_XEN_QTEST_MACHINE, xen_qtest_machine_init)
