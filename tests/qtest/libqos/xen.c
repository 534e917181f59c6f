/*
 * libqos: the guest's side of Xen, on the xen-qtest machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "../libqtest.h"
#include "xen.h"

/* The default RAM, without its first page: 0 is no address */
#define RAM_START   XEN_PAGE_SIZE
#define RAM_END     (256 * MiB)

/* References that Linux gives out start at 8 as well */
#define FIRST_REF   8

static uint32_t reg_read(QXen *xen, uint32_t reg)
{
    return qtest_readl(xen->qts, XEN_QTEST_BASE + reg);
}

static void reg_write(QXen *xen, uint32_t reg, uint32_t value)
{
    qtest_writel(xen->qts, XEN_QTEST_BASE + reg, value);
}

static int command(QXen *xen, XenQtestCommand cmd, uint32_t arg0,
                   uint32_t arg1, uint32_t arg2)
{
    /* One message instead of four: most of a test's time goes there */
    uint32_t regs[XEN_QTEST_NR_ARGS + 1] = {
        cpu_to_le32(arg0), cpu_to_le32(arg1), cpu_to_le32(arg2),
        [XEN_QTEST_NR_ARGS] = cpu_to_le32(cmd),
    };

    qtest_memwrite(xen->qts, XEN_QTEST_BASE + XEN_QTEST_REG_ARG(0), regs,
                   sizeof(regs));
    return reg_read(xen, XEN_QTEST_REG_STATUS);
}

static void command_ok(QXen *xen, XenQtestCommand cmd, uint32_t arg0,
                       uint32_t arg1, uint32_t arg2)
{
    int err = command(xen, cmd, arg0, arg1, arg2);

    if (err) {
        g_error("xen-qtest command %d (0x%x, 0x%x, 0x%x): %s", cmd, arg0,
                arg1, arg2, strerror(err));
    }
}

void qxen_init(QXen *xen, QTestState *qts)
{
    unsigned int i;

    xen->qts = qts;
    xen->ram = NULL;
    g_assert_cmphex(reg_read(xen, XEN_QTEST_REG_ID), ==, XEN_QTEST_ID);
    alloc_init(&xen->alloc, ALLOC_LEAK_ASSERT, RAM_START, RAM_END,
               XEN_PAGE_SIZE);
    xen->nr_free_refs = XEN_QTEST_MAX_GRANTS - FIRST_REF;
    xen->free_refs = g_new(uint32_t, xen->nr_free_refs);
    for (i = 0; i < xen->nr_free_refs; i++) {
        xen->free_refs[i] = XEN_QTEST_MAX_GRANTS - 1 - i;
    }
}

void qxen_cleanup(QXen *xen)
{
    if (xen->ram) {
        qxen_ram_unmap(xen, xen->ram);
    }
    alloc_destroy(&xen->alloc);
    g_assert_cmpuint(xen->nr_free_refs, ==, XEN_QTEST_MAX_GRANTS - FIRST_REF);
    g_free(xen->free_refs);
}

void qxen_share_ram(QXen *xen)
{
    xen->ram = qxen_ram_map(xen);
}

bool qxen_busy(QXen *xen)
{
    return reg_read(xen, XEN_QTEST_REG_BUSY);
}

void qxen_settle(QXen *xen)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;
    unsigned int quiet = 0;

    /*
     * Every read is a turn of QEMU's main loop.  What a bottom half
     * schedules takes another one, so once is not enough.
     */
    while (quiet < 4) {
        quiet = qxen_busy(xen) ? 0 : quiet + 1;
        if (g_get_monotonic_time() > end) {
            g_error("back ends do not come to rest in %d s", QXEN_TIMEOUT);
        }
    }
}

uint32_t qxen_alive(QXen *xen, XenQtestAlive what)
{
    return reg_read(xen, XEN_QTEST_REG_ALIVE(what));
}

uint32_t qxen_calls(QXen *xen, XenQtestCall call)
{
    return reg_read(xen, XEN_QTEST_REG_CALLS(call));
}

QXenAlive qxen_alive_get(QXen *xen)
{
    QXenAlive alive;
    int i;

    qtest_memread(xen->qts, XEN_QTEST_BASE + XEN_QTEST_REG_ALIVE(0), alive.n,
                  sizeof(alive.n));
    for (i = 0; i < XEN_QTEST_NR_ALIVE; i++) {
        le32_to_cpus(&alive.n[i]);
    }
    return alive;
}

void qxen_assert_alive(QXen *xen, const QXenAlive *expected)
{
    static const char *const names[XEN_QTEST_NR_ALIVE] = {
        [XEN_QTEST_XS_HANDLES] = "xenstore handles",
        [XEN_QTEST_XS_WATCHES] = "xenstore watches",
        [XEN_QTEST_XS_TRANSACTIONS] = "xenstore transactions",
        [XEN_QTEST_GNTTAB_HANDLES] = "grant table handles",
        [XEN_QTEST_GRANT_MAPS] = "grant mappings",
        [XEN_QTEST_GRANT_PAGES] = "mapped pages",
        [XEN_QTEST_GRANTS_USED] = "grants in use",
        [XEN_QTEST_EVTCHN_HANDLES] = "event channel handles",
        [XEN_QTEST_EVTCHN_BOUND] = "bound event channels",
        [XEN_QTEST_FOREIGN_MAPS] = "foreign mappings",
        [XEN_QTEST_FOREIGN_PAGES] = "foreign pages",
        [XEN_QTEST_DMABUFS] = "dma-bufs",
        [XEN_QTEST_DMABUF_PAGES] = "pages in dma-bufs",
        [XEN_QTEST_BACKEND_GRANTS] = "pages granted to the guest",
    };
    QXenAlive now = qxen_alive_get(xen);
    g_autoptr(GString) wrong = g_string_new(NULL);
    int i;

    for (i = 0; i < XEN_QTEST_NR_ALIVE; i++) {
        if (now.n[i] != expected->n[i]) {
            g_string_append_printf(wrong, "; %u %s instead of %u", now.n[i],
                                   names[i], expected->n[i]);
        }
    }
    if (wrong->len) {
        g_error("the back end holds more, or less, than it should%s",
                wrong->str);
    }
}

void qxen_assert_nothing_shared(QXen *xen)
{
    QXenAlive expected = qxen_alive_get(xen);

    expected.n[XEN_QTEST_GRANT_MAPS] = 0;
    expected.n[XEN_QTEST_GRANT_PAGES] = 0;
    expected.n[XEN_QTEST_GRANTS_USED] = 0;
    expected.n[XEN_QTEST_EVTCHN_HANDLES] = 0;
    expected.n[XEN_QTEST_EVTCHN_BOUND] = 0;
    expected.n[XEN_QTEST_FOREIGN_MAPS] = 0;
    expected.n[XEN_QTEST_FOREIGN_PAGES] = 0;
    expected.n[XEN_QTEST_DMABUFS] = 0;
    expected.n[XEN_QTEST_DMABUF_PAGES] = 0;
    expected.n[XEN_QTEST_BACKEND_GRANTS] = 0;
    qxen_assert_alive(xen, &expected);
}

void qxen_fault(QXen *xen, XenQtestCall call, unsigned int nth, int err)
{
    command_ok(xen, XEN_QTEST_FAULT, call, nth, err);
}

bool qxen_fault_pending(QXen *xen, XenQtestCall call)
{
    return reg_read(xen, XEN_QTEST_REG_FAULT(call)) != 0;
}

/* Shared pages */

uint32_t qxen_readl(QXen *xen, uint64_t addr)
{
    if (xen->ram) {
        return le32_to_cpu(qatomic_load_acquire((uint32_t *)&xen->ram[addr]));
    }
    return qtest_readl(xen->qts, addr);
}

void qxen_writel(QXen *xen, uint64_t addr, uint32_t value)
{
    if (xen->ram) {
        qatomic_store_release((uint32_t *)&xen->ram[addr], cpu_to_le32(value));
    } else {
        qtest_writel(xen->qts, addr, value);
    }
}

void qxen_memread(QXen *xen, uint64_t addr, void *data, size_t size)
{
    if (xen->ram) {
        memcpy(data, &xen->ram[addr], size);
    } else {
        qtest_memread(xen->qts, addr, data, size);
    }
}

void qxen_memwrite(QXen *xen, uint64_t addr, const void *data, size_t size)
{
    if (xen->ram) {
        memcpy(&xen->ram[addr], data, size);
    } else {
        qtest_memwrite(xen->qts, addr, data, size);
    }
}

/* xenstore */

static void data_write(QXen *xen, const void *data, size_t len)
{
    g_assert_cmpuint(len, <=, XEN_QTEST_DATA_SIZE);
    qtest_memwrite(xen->qts, XEN_QTEST_BASE + XEN_QTEST_DATA, data, len);
}

/* Result of a command, with a NUL added */
static char *data_read(QXen *xen, size_t *len)
{
    char *data;

    *len = reg_read(xen, XEN_QTEST_REG_LENGTH);
    data = g_malloc0(*len + 1);
    if (*len) {
        qtest_memread(xen->qts, XEN_QTEST_BASE + XEN_QTEST_DATA, data, *len);
    }
    return data;
}

static int xs_command(QXen *xen, XenQtestCommand cmd, unsigned int domid,
                      const char *path, const void *value, size_t len)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    g_byte_array_append(data, (const uint8_t *)path, strlen(path) + 1);
    if (len) {
        g_byte_array_append(data, value, len);
    }
    data_write(xen, data->data, data->len);
    return command(xen, cmd, domid, data->len, 0);
}

char *qxen_xs_read(QXen *xen, unsigned int domid, const char *path)
{
    size_t len;

    if (xs_command(xen, XEN_QTEST_XS_READ, domid, path, NULL, 0)) {
        return NULL;
    }
    return data_read(xen, &len);
}

int qxen_xs_try_write(QXen *xen, unsigned int domid, const char *path,
                      const void *value, size_t len)
{
    return xs_command(xen, XEN_QTEST_XS_WRITE, domid, path, value, len);
}

void qxen_xs_write(QXen *xen, unsigned int domid, const char *path,
                   const char *fmt, ...)
{
    g_autofree char *value = NULL;
    va_list ap;
    int err;

    va_start(ap, fmt);
    value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    err = qxen_xs_try_write(xen, domid, path, value, strlen(value));
    if (err) {
        g_error("domain %u cannot write %s: %s", domid, path, strerror(err));
    }
}

int qxen_xs_rm(QXen *xen, unsigned int domid, const char *path)
{
    return xs_command(xen, XEN_QTEST_XS_RM, domid, path, NULL, 0);
}

char **qxen_xs_list(QXen *xen, unsigned int domid, const char *path)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *data = NULL;
    size_t len;
    char *p;

    if (xs_command(xen, XEN_QTEST_XS_LIST, domid, path, NULL, 0)) {
        return NULL;
    }
    data = data_read(xen, &len);
    for (p = data; p < data + len; p += strlen(p) + 1) {
        g_ptr_array_add(names, g_strdup(p));
    }
    if (!names->len) {
        return NULL;
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), false);
}

void qxen_xs_set_owner(QXen *xen, const char *path, unsigned int owner,
                       unsigned int reader)
{
    g_autofree char *perms = g_strdup_printf("n%u%cr%u", owner, '\0', reader);
    size_t len = strlen(perms) + 1;
    int err;

    len += strlen(perms + len) + 1;
    err = xs_command(xen, XEN_QTEST_XS_SET_PERMS, QXEN_TOOLSTACK, path, perms,
                     len);
    g_assert_cmpint(err, ==, 0);
}

void qxen_xs_hold(QXen *xen, bool hold)
{
    reg_write(xen, XEN_QTEST_REG_XS_HOLD, hold);
}

/* Grants */

void qxen_grant_set(QXen *xen, uint32_t ref, uint64_t gfn, uint32_t flags)
{
    command_ok(xen, XEN_QTEST_GRANT_SET, ref, gfn, flags);
}

uint32_t qxen_grant(QXen *xen, uint64_t addr, uint32_t flags)
{
    uint32_t ref;

    g_assert_cmpuint(addr % XEN_PAGE_SIZE, ==, 0);
    g_assert_cmpuint(xen->nr_free_refs, >, 0);
    ref = xen->free_refs[--xen->nr_free_refs];
    qxen_grant_set(xen, ref, addr >> XEN_PAGE_SHIFT,
                   flags | XEN_QTEST_GRANT_ACCESS);
    return ref;
}

unsigned int qxen_grant_mapped(QXen *xen, uint32_t ref)
{
    command_ok(xen, XEN_QTEST_GRANT_MAPPED, ref, 0, 0);
    return reg_read(xen, XEN_QTEST_REG_LENGTH);
}

void qxen_grant_end(QXen *xen, uint32_t ref)
{
    command_ok(xen, XEN_QTEST_GRANT_END, ref, 0, 0);
    xen->free_refs[xen->nr_free_refs++] = ref;
}

uint64_t qxen_page_alloc(QXen *xen, unsigned int count)
{
    uint64_t addr = guest_alloc(&xen->alloc, count * XEN_PAGE_SIZE);

    qtest_memset(xen->qts, addr, 0, count * XEN_PAGE_SIZE);
    return addr;
}

void qxen_page_free(QXen *xen, uint64_t addr)
{
    guest_free(&xen->alloc, addr);
}

int qxen_fd_get(QXen *xen, const char *name)
{
    pid_t pid = qtest_pid(xen->qts);
    g_autofree char *fds = g_strdup_printf("/proc/%d/fd", pid);
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    GDir *dir = g_dir_open(fds, 0, NULL);
    const char *entry;
    int fd = -1;

    g_assert(dir);
    while (fd < 0 && (entry = g_dir_read_name(dir))) {
        g_autofree char *file = g_strdup_printf("%s/%s", fds, entry);
        g_autofree char *target = g_file_read_link(file, NULL);

        if (target && !strcmp(target, name)) {
            fd = syscall(SYS_pidfd_getfd, pidfd, atoi(entry), 0);
        }
    }
    g_dir_close(dir);
    close(pidfd);
    if (fd < 0) {
        g_error("cannot get at QEMU's open file %s: %s", name,
                strerror(errno));
    }
    return fd;
}

int qxen_ram_fd(QXen *xen)
{
    return qxen_fd_get(xen, "/memfd:xen-qtest (deleted)");
}

void *qxen_ram_map(QXen *xen)
{
    int fd = qxen_ram_fd(xen);
    void *ram = mmap(NULL, RAM_END, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     0);

    g_assert(ram != MAP_FAILED);
    close(fd);
    return ram;
}

void qxen_ram_unmap(QXen *xen, void *ram)
{
    munmap(ram, RAM_END);
}

int qxen_backend_grant(QXen *xen, uint32_t ref)
{
    if (command(xen, XEN_QTEST_BACKEND_GRANT, ref, 0, 0)) {
        return -1;
    }
    return reg_read(xen, XEN_QTEST_REG_LENGTH);
}

void qxen_dmabuf_hold(QXen *xen, bool hold)
{
    reg_write(xen, XEN_QTEST_REG_DMABUF_HOLD, hold);
}

void qxen_dmabuf_caching(QXen *xen, uint32_t caching)
{
    reg_write(xen, XEN_QTEST_REG_DMABUF_CACHING, caching);
}

XenDmabufAlloc qxen_dmabuf_alloc(QXen *xen)
{
    return reg_read(xen, XEN_QTEST_REG_DMABUF_ALLOC);
}

/* Event channels */

uint32_t qxen_evtchn_alloc(QXen *xen)
{
    command_ok(xen, XEN_QTEST_EVTCHN_ALLOC, 0, 0, 0);
    return reg_read(xen, XEN_QTEST_REG_LENGTH);
}

void qxen_evtchn_close(QXen *xen, uint32_t port)
{
    command_ok(xen, XEN_QTEST_EVTCHN_CLOSE, port, 0, 0);
}

void qxen_evtchn_notify(QXen *xen, uint32_t port)
{
    reg_write(xen, XEN_QTEST_DOORBELL(port), 1);
}

unsigned int qxen_evtchn_take(QXen *xen, uint32_t port)
{
    return reg_read(xen, XEN_QTEST_DOORBELL(port));
}

/* Rings */

void qxen_ring_init(QXenRing *ring, QXen *xen, uint32_t port, size_t offset,
                    size_t entry_size, unsigned int nr)
{
    *ring = (QXenRing) {
        .xen = xen,
        .addr = qxen_page_alloc(xen, 1),
        .offset = offset,
        .entry_size = entry_size,
        .nr = nr,
        .port = port,
    };
    qtest_writel(xen->qts, ring->addr + QXEN_RING_REQ_EVENT, 1);
    qtest_writel(xen->qts, ring->addr + QXEN_RING_RSP_EVENT, 1);
    ring->ref = qxen_grant(xen, ring->addr, 0);
}

void qxen_ring_cleanup(QXenRing *ring)
{
    qxen_grant_end(ring->xen, ring->ref);
    qxen_page_free(ring->xen, ring->addr);
}

static uint64_t ring_entry(QXenRing *ring, uint32_t index)
{
    return ring->addr + ring->offset +
        (index % ring->nr) * ring->entry_size;
}

void qxen_ring_put(QXenRing *ring, const void *req, size_t size)
{
    g_assert_cmpuint(size, <=, ring->entry_size);
    qxen_memwrite(ring->xen, ring_entry(ring, ring->req_prod), req, size);
    ring->req_prod++;
}

void qxen_ring_push(QXenRing *ring)
{
    QXen *xen = ring->xen;
    uint32_t old = qxen_readl(xen, ring->addr + QXEN_RING_REQ_PROD);
    uint32_t event;

    qxen_writel(xen, ring->addr + QXEN_RING_REQ_PROD, ring->req_prod);
    smp_mb(); /* the index is written before the back end's wish is read */
    event = qxen_readl(xen, ring->addr + QXEN_RING_REQ_EVENT);
    if (ring->req_prod - event < ring->req_prod - old) {
        qxen_evtchn_notify(xen, ring->port);
    }
}

bool qxen_ring_get(QXenRing *ring, void *rsp, size_t size)
{
    QXen *xen = ring->xen;

    if (qxen_readl(xen, ring->addr + QXEN_RING_RSP_PROD) == ring->rsp_cons) {
        return false;
    }
    qxen_memread(xen, ring_entry(ring, ring->rsp_cons), rsp, size);
    ring->rsp_cons++;
    qxen_writel(xen, ring->addr + QXEN_RING_RSP_EVENT, ring->rsp_cons + 1);
    return true;
}

void qxen_ring_wait(QXenRing *ring, void *rsp, size_t size)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;

    while (!qxen_ring_get(ring, rsp, size)) {
        if (g_get_monotonic_time() > end) {
            g_error("no response on the ring of port %u in %d s", ring->port,
                    QXEN_TIMEOUT);
        }
        g_thread_yield();
    }
}

/* Devices */

void qxen_device_init(QXenDevice *dev, QXen *xen, const char *backend,
                      const char *device, unsigned int id)
{
    dev->xen = xen;
    dev->fe = g_strdup_printf("/local/domain/%u/device/%s/%u", QXEN_GUEST,
                              device, id);
    dev->be = g_strdup_printf("/local/domain/%u/backend/%s/%u/%u",
                              QXEN_TOOLSTACK, backend, QXEN_GUEST, id);
}

void qxen_device_cleanup(QXenDevice *dev)
{
    g_free(dev->fe);
    g_free(dev->be);
}

static char *path(const char *dir, const char *key)
{
    return g_strdup_printf("%s/%s", dir, key);
}

static void be_write(QXenDevice *dev, const char *key, const char *value)
{
    g_autofree char *p = path(dev->be, key);

    qxen_xs_write(dev->xen, QXEN_TOOLSTACK, p, "%s", value);
}

/* A node that the guest may read but not write, or both */
static void fe_create(QXenDevice *dev, const char *key, const char *value,
                      unsigned int owner)
{
    g_autofree char *p = path(dev->fe, key);

    qxen_xs_write(dev->xen, QXEN_TOOLSTACK, p, "%s", value);
    qxen_xs_set_owner(dev->xen, p, owner,
                      owner == QXEN_GUEST ? QXEN_TOOLSTACK : QXEN_GUEST);
}

void qxen_device_create(QXenDevice *dev)
{
    g_autofree char *domid = g_strdup_printf("%u", QXEN_GUEST);

    qxen_xs_write(dev->xen, QXEN_TOOLSTACK, dev->fe, "%s", "");
    qxen_xs_set_owner(dev->xen, dev->fe, QXEN_GUEST, QXEN_TOOLSTACK);
    fe_create(dev, "backend", dev->be, QXEN_TOOLSTACK);
    fe_create(dev, "backend-id", "0", QXEN_TOOLSTACK);
    fe_create(dev, "state", "1", QXEN_GUEST);

    qxen_xs_write(dev->xen, QXEN_TOOLSTACK, dev->be, "%s", "");
    qxen_xs_set_owner(dev->xen, dev->be, QXEN_TOOLSTACK, QXEN_GUEST);
    be_write(dev, "frontend", dev->fe);
    be_write(dev, "frontend-id", domid);
}

void qxen_device_start(QXenDevice *dev)
{
    be_write(dev, "online", "1");
    be_write(dev, "state", "1");
}

void qxen_device_remove(QXenDevice *dev)
{
    be_write(dev, "online", "0");
    be_write(dev, "state", "5");
}

void qxen_device_fe_write(QXenDevice *dev, const char *key,
                          const char *fmt, ...)
{
    g_autofree char *p = path(dev->fe, key);
    g_autofree char *value = NULL;
    va_list ap;

    va_start(ap, fmt);
    value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qxen_xs_write(dev->xen, QXEN_GUEST, p, "%s", value);
}

char *qxen_device_fe_read(QXenDevice *dev, const char *key)
{
    g_autofree char *p = path(dev->fe, key);

    return qxen_xs_read(dev->xen, QXEN_GUEST, p);
}

char *qxen_device_be_read(QXenDevice *dev, const char *key)
{
    g_autofree char *p = path(dev->be, key);

    return qxen_xs_read(dev->xen, QXEN_GUEST, p);
}

void qxen_device_fe_rm(QXenDevice *dev, const char *key)
{
    g_autofree char *p = path(dev->fe, key);
    int err = qxen_xs_rm(dev->xen, QXEN_GUEST, p);

    g_assert_cmpint(err, ==, 0);
}

void qxen_device_set_state(QXenDevice *dev, enum xenbus_state state)
{
    qxen_device_fe_write(dev, "state", "%u", state);
}

enum xenbus_state qxen_device_state(QXenDevice *dev)
{
    g_autofree char *value = qxen_device_be_read(dev, "state");

    return value ? g_ascii_strtoull(value, NULL, 10) : XenbusStateUnknown;
}

void qxen_device_wait(QXenDevice *dev, enum xenbus_state state)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;

    while (qxen_device_state(dev) != state) {
        if (g_get_monotonic_time() > end) {
            g_error("%s is in state %u, and not in %u after %d s", dev->be,
                    qxen_device_state(dev), state, QXEN_TIMEOUT);
        }
    }
}

void qxen_device_open(QXenDevice *dev)
{
    if (qxen_device_state(dev) == XenbusStateClosed) {
        qxen_device_set_state(dev, XenbusStateInitialising);
    }
    qxen_device_wait(dev, XenbusStateInitWait);
    qxen_settle(dev->xen);
    dev->idle = qxen_alive_get(dev->xen);
}

void qxen_device_close(QXenDevice *dev)
{
    qxen_device_set_state(dev, XenbusStateClosed);
    qxen_device_wait(dev, XenbusStateClosed);
    qxen_settle(dev->xen);
}

void qxen_device_assert_idle(QXenDevice *dev)
{
    qxen_assert_alive(dev->xen, &dev->idle);
}
