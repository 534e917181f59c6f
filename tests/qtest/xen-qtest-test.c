/*
 * Tests of the xen-qtest machine, and of QEMU's own back ends on it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/xen.h"
#include "qobject/qdict.h"
#include "qobject/qstring.h"
#include "hw/xen/interface/io/blkif.h"
#include "hw/xen/interface/io/console.h"
#include "hw/xen/interface/io/protocols.h"

typedef struct Fixture {
    QTestState *qts;
    QXen xen;
} Fixture;

static void start(Fixture *f, const char *args)
{
    f->qts = qtest_initf("-machine xen-qtest -nodefaults %s", args);
    qxen_init(&f->xen, f->qts);
}

static void stop(Fixture *f)
{
    qxen_cleanup(&f->xen);
    qtest_quit(f->qts);
}

/* xenstore */

static void test_xenstore_values(void)
{
    Fixture f;
    g_autofree char *value = NULL;
    g_autofree char *gone = NULL;
    char **names;
    char **empty;

    start(&f, "");
    qxen_xs_write(&f.xen, QXEN_TOOLSTACK, "/tool/a", "%s", "one");
    qxen_xs_write(&f.xen, QXEN_TOOLSTACK, "/tool/a", "%s", "two");
    value = qxen_xs_read(&f.xen, QXEN_TOOLSTACK, "/tool/a");
    g_assert_cmpstr(value, ==, "two");

    names = qxen_xs_list(&f.xen, QXEN_TOOLSTACK, "/tool");
    g_assert_cmpuint(g_strv_length(names), ==, 1);
    g_assert_cmpstr(names[0], ==, "a");
    g_strfreev(names);

    g_assert_cmpint(qxen_xs_rm(&f.xen, QXEN_TOOLSTACK, "/tool/a"), ==, 0);
    gone = qxen_xs_read(&f.xen, QXEN_TOOLSTACK, "/tool/a");
    g_assert_null(gone);
    empty = qxen_xs_list(&f.xen, QXEN_TOOLSTACK, "/tool");
    g_assert_null(empty);
    stop(&f);
}

/* What belongs to domain 0 the guest cannot change, as on Xen */
static void test_xenstore_permissions(void)
{
    static const char *const foreign[] = {
        "/local/domain/0/backend/vbd/1/0/state",
        "/local/domain/1/device/vbd/0/backend",
        "/local/domain/1/domid",
        "/anywhere",
    };
    Fixture f;
    QXenDevice dev;
    g_autofree char *value = NULL;
    int i;

    start(&f, "");
    qxen_device_init(&dev, &f.xen, "vbd", "vbd", 0);
    qxen_device_create(&dev);
    for (i = 0; i < ARRAY_SIZE(foreign); i++) {
        g_assert_cmpint(qxen_xs_try_write(&f.xen, QXEN_GUEST, foreign[i], "x"),
                        ==, EACCES);
    }

    qxen_device_fe_write(&dev, "own", "%u", 7);
    value = qxen_xs_read(&f.xen, QXEN_TOOLSTACK,
                         "/local/domain/1/device/vbd/0/own");
    g_assert_cmpstr(value, ==, "7");
    qxen_device_cleanup(&dev);
    stop(&f);
}

/* Commands that make no sense are answered, and have no effect */
static void test_bad_commands(void)
{
    Fixture f;
    QXenAlive before;
    uint32_t base = XEN_QTEST_BASE;
    int i;

    start(&f, "");
    before = qxen_alive_get(&f.xen);
    for (i = 0; i < XEN_QTEST_NR_ARGS; i++) {
        qtest_writel(f.qts, base + XEN_QTEST_REG_ARG(i), UINT32_MAX);
    }
    for (i = 0; i < 64; i++) {
        qtest_writel(f.qts, base + XEN_QTEST_REG_COMMAND, i);
        if (i != XEN_QTEST_EVTCHN_ALLOC) {
            g_assert_cmpuint(qtest_readl(f.qts,
                                         base + XEN_QTEST_REG_STATUS), !=, 0);
        }
    }
    qtest_writel(f.qts, base + XEN_QTEST_DOORBELL(0), 1);
    qtest_writel(f.qts, base + XEN_QTEST_DOORBELL(XEN_QTEST_MAX_PORTS - 1), 1);
    qxen_assert_alive(&f.xen, &before);
    stop(&f);
}

/* The console: one page, one event channel */

typedef struct Console {
    QXenDevice dev;
    QXen *xen;
    uint64_t page;
    uint32_t ref;
    uint32_t port;
} Console;

static void console_init(Console *con, QXen *xen)
{
    con->xen = xen;
    qxen_device_init(&con->dev, xen, "console", "console", 1);
    qxen_device_wait(&con->dev, XenbusStateInitWait);
    qxen_settle(xen);
    con->page = qxen_page_alloc(xen, 1);
    con->ref = qxen_grant(xen, con->page, 0);
    con->port = qxen_evtchn_alloc(xen);
}

static void console_publish(Console *con)
{
    qxen_device_fe_write(&con->dev, "ring-ref", "%u", con->ref);
    qxen_device_fe_write(&con->dev, "port", "%u", con->port);
    qxen_device_set_state(&con->dev, XenbusStateConnected);
}

static void console_cleanup(Console *con)
{
    qxen_grant_end(con->xen, con->ref);
    qxen_page_free(con->xen, con->page);
    qxen_evtchn_close(con->xen, con->port);
    qxen_device_cleanup(&con->dev);
}

#define CONSOLE_ARGS \
    "-chardev ringbuf,id=c0 -device xen-console,idx=1,chardev=c0"
#define CONS(field) (con.page + offsetof(struct xencons_interface, field))

static char *ringbuf_read(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'ringbuf-read', 'arguments': "
                           "{ 'device': 'c0', 'size': 100 } }");
    char *text = g_strdup(qdict_get_str(rsp, "return"));

    qobject_unref(rsp);
    return text;
}

/* What the guest writes comes out; after the end nothing is held any more */
static void test_console_io(void)
{
    Fixture f;
    Console con;
    QXenAlive idle;
    g_autofree char *text = NULL;

    start(&f, CONSOLE_ARGS);
    console_init(&con, &f.xen);
    idle = qxen_alive_get(&f.xen);
    console_publish(&con);
    qxen_device_wait(&con.dev, XenbusStateConnected);
    g_assert_cmpuint(qxen_grant_mapped(&f.xen, con.ref), ==, 1);

    qtest_memwrite(f.qts, CONS(out), "hello", 5);
    qtest_writel(f.qts, CONS(out_prod), 5);
    qxen_evtchn_notify(&f.xen, con.port);
    qxen_settle(&f.xen);
    text = ringbuf_read(f.qts);
    g_assert_cmpstr(text, ==, "hello");
    g_assert_cmpuint(qtest_readl(f.qts, CONS(out_cons)), ==, 5);
    g_assert_cmpuint(qxen_evtchn_take(&f.xen, con.port), >, 0);

    qxen_device_set_state(&con.dev, XenbusStateClosed);
    qxen_device_wait(&con.dev, XenbusStateClosed);
    qxen_assert_alive(&f.xen, &idle);
    console_cleanup(&con);
    stop(&f);
}

/* A reference that the guest has not granted, or only to be read */
static void test_console_bad_grant(void)
{
    static const struct {
        uint64_t gfn;
        uint32_t flags;
    } bad[] = {
        { 1, 0 },
        { 1, XEN_QTEST_GRANT_ACCESS | XEN_QTEST_GRANT_READONLY },
        { UINT32_MAX, XEN_QTEST_GRANT_ACCESS },
    };
    Fixture f;
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        Console con;
        QXenAlive idle;

        start(&f, CONSOLE_ARGS);
        console_init(&con, &f.xen);
        idle = qxen_alive_get(&f.xen);
        qxen_grant_set(&f.xen, con.ref, bad[i].gfn, bad[i].flags);
        console_publish(&con);
        qxen_device_wait(&con.dev, XenbusStateClosing);
        qxen_device_set_state(&con.dev, XenbusStateClosed);
        qxen_device_wait(&con.dev, XenbusStateClosed);
        qxen_assert_alive(&f.xen, &idle);
        console_cleanup(&con);
        stop(&f);
    }
}

/* Whichever call fails while it connects, the back end lets go of the rest */
static void test_console_faults(void)
{
    unsigned int nth;
    bool struck = true;

    for (nth = 1; struck; nth++) {
        Fixture f;
        Console con;

        start(&f, CONSOLE_ARGS);
        console_init(&con, &f.xen);
        qxen_device_fe_write(&con.dev, "ring-ref", "%u", con.ref);
        qxen_device_fe_write(&con.dev, "port", "%u", con.port);
        qxen_settle(&f.xen);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, nth, EIO);
        qxen_device_set_state(&con.dev, XenbusStateConnected);
        qxen_settle(&f.xen);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_ANY);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, 0, 0);

        /* It may be gone: the bus takes a state it cannot read for an end */
        qxen_device_set_state(&con.dev, XenbusStateClosed);
        qxen_settle(&f.xen);
        qxen_assert_nothing_shared(&f.xen);
        console_cleanup(&con);
        stop(&f);
    }
    g_assert_cmpuint(nth, >, 4);
}

/* While watches are held back the state of the guest is not seen */
static void test_xenstore_hold(void)
{
    Fixture f;
    Console con;

    start(&f, CONSOLE_ARGS);
    console_init(&con, &f.xen);
    qxen_xs_hold(&f.xen, true);
    console_publish(&con);
    g_assert_cmpint(qxen_device_state(&con.dev), ==, XenbusStateInitWait);
    g_assert_cmpuint(qtest_readl(f.qts, XEN_QTEST_BASE +
                                 XEN_QTEST_REG_BUSY), >, 0);
    qxen_xs_hold(&f.xen, false);
    qxen_device_wait(&con.dev, XenbusStateConnected);
    qxen_device_set_state(&con.dev, XenbusStateClosed);
    qxen_device_wait(&con.dev, XenbusStateClosed);
    console_cleanup(&con);
    stop(&f);
}

/* The disk */

#define DISK_XVDA       51712
#define DISK_SIZE       (1024 * 1024)
#define SECTORS_A_PAGE  (XEN_PAGE_SIZE / 512)

typedef struct Disk {
    Fixture f;
    QXenDevice dev;
    QXenRing ring;
    QXenAlive idle;
    char *file;
} Disk;

static void disk_start(Disk *disk)
{
    g_autofree char *args = NULL;
    QXen *xen = &disk->f.xen;
    int fd = g_file_open_tmp("xen-disk-XXXXXX", &disk->file, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    close(fd);
    args = g_strdup_printf("-drive if=none,id=d0,format=raw,file=%s "
                           "-device xen-disk,drive=d0,vdev=xvda",
                           disk->file);
    start(&disk->f, args);

    qxen_device_init(&disk->dev, xen, "qdisk", "vbd", DISK_XVDA);
    qxen_device_wait(&disk->dev, XenbusStateInitWait);
    qxen_settle(xen);
    disk->idle = qxen_alive_get(xen);

    qxen_ring_init(&disk->ring, xen, offsetof(struct blkif_sring, ring),
                   sizeof(union blkif_sring_entry),
                   __CONST_RING_SIZE(blkif, XEN_PAGE_SIZE));
    qxen_device_fe_write(&disk->dev, "ring-ref", "%u", disk->ring.ref);
    qxen_device_fe_write(&disk->dev, "event-channel", "%u", disk->ring.port);
    qxen_device_fe_write(&disk->dev, "protocol", "%s",
                         XEN_IO_PROTO_ABI_X86_64);
    qxen_device_set_state(&disk->dev, XenbusStateInitialised);
    qxen_device_wait(&disk->dev, XenbusStateConnected);
    qxen_device_set_state(&disk->dev, XenbusStateConnected);
    qxen_settle(xen);
}

static void disk_stop(Disk *disk)
{
    qxen_device_set_state(&disk->dev, XenbusStateClosed);
    qxen_device_wait(&disk->dev, XenbusStateClosed);
    qxen_settle(&disk->f.xen);
    qxen_assert_alive(&disk->f.xen, &disk->idle);
    qxen_ring_cleanup(&disk->ring);
    qxen_device_cleanup(&disk->dev);
    stop(&disk->f);
    unlink(disk->file);
    g_free(disk->file);
}

/* One page at @sector, or no page for an operation without data */
static int disk_request(Disk *disk, uint8_t operation, uint64_t sector,
                        uint32_t ref)
{
    static uint64_t id;
    blkif_request_t req = {
        .operation = operation,
        .nr_segments = operation != BLKIF_OP_FLUSH_DISKCACHE,
        .id = ++id,
        .sector_number = sector,
        .seg[0] = {
            .gref = ref,
            .first_sect = 0,
            .last_sect = SECTORS_A_PAGE - 1,
        },
    };
    blkif_response_t rsp;

    qxen_ring_put(&disk->ring, &req, sizeof(req));
    qxen_ring_push(&disk->ring);
    qxen_ring_wait(&disk->ring, &rsp, sizeof(rsp));
    g_assert_cmpuint(rsp.id, ==, id);
    return rsp.status;
}

static void test_block_io(void)
{
    Disk disk;
    QXen *xen = &disk.f.xen;
    uint8_t out[XEN_PAGE_SIZE], in[XEN_PAGE_SIZE];
    g_autofree char *contents = NULL;
    uint64_t addr[2];
    uint32_t ref[2];
    gsize size;
    int i;

    disk_start(&disk);
    for (i = 0; i < XEN_PAGE_SIZE; i++) {
        out[i] = i * 7 + i / 256;
    }
    for (i = 0; i < 2; i++) {
        addr[i] = qxen_page_alloc(xen, 1);
        /* A page to be written from need only be granted to be read */
        ref[i] = qxen_grant(xen, addr[i], i ? 0 : XEN_QTEST_GRANT_READONLY);
    }

    qtest_memwrite(disk.f.qts, addr[0], out, sizeof(out));
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_WRITE, 24, ref[0]), ==,
                    BLKIF_RSP_OKAY);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_FLUSH_DISKCACHE, 0, 0), ==,
                    BLKIF_RSP_OKAY);
    g_assert(g_file_get_contents(disk.file, &contents, &size, NULL));
    g_assert_cmpuint(size, ==, DISK_SIZE);
    g_assert(!memcmp(contents + 24 * 512, out, sizeof(out)));

    g_assert_cmpint(disk_request(&disk, BLKIF_OP_READ, 24, ref[1]), ==,
                    BLKIF_RSP_OKAY);
    qtest_memread(disk.f.qts, addr[1], in, sizeof(in));
    g_assert(!memcmp(in, out, sizeof(in)));

    for (i = 0; i < 2; i++) {
        qxen_grant_end(xen, ref[i]);
        qxen_page_free(xen, addr[i]);
    }
    disk_stop(&disk);
}

/* Beyond the disk's end; a page not granted, or not to be written */
static void test_block_errors(void)
{
    Disk disk;
    QXen *xen = &disk.f.xen;
    uint64_t addr;
    uint32_t ref;

    disk_start(&disk);
    addr = qxen_page_alloc(xen, 1);
    ref = qxen_grant(xen, addr, XEN_QTEST_GRANT_READONLY);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_WRITE, DISK_SIZE / 512, ref),
                    ==, BLKIF_RSP_ERROR);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_READ, 0, ref), ==,
                    BLKIF_RSP_ERROR);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_WRITE, 0, ref + 1000), ==,
                    BLKIF_RSP_ERROR);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_WRITE, 0, ref), ==,
                    BLKIF_RSP_OKAY);
    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
    disk_stop(&disk);
}

/* A copy that fails is an error of that request, and of no other */
static void test_block_faults(void)
{
    Disk disk;
    QXen *xen = &disk.f.xen;
    uint64_t addr;
    uint32_t ref;

    disk_start(&disk);
    addr = qxen_page_alloc(xen, 1);
    ref = qxen_grant(xen, addr, 0);
    qxen_fault(xen, XEN_QTEST_CALL_GRANT_COPY, 2, ENOMEM);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_READ, 0, ref), ==,
                    BLKIF_RSP_OKAY);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_READ, 0, ref), ==,
                    BLKIF_RSP_ERROR);
    g_assert_cmpint(disk_request(&disk, BLKIF_OP_READ, 0, ref), ==,
                    BLKIF_RSP_OKAY);
    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
    disk_stop(&disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/xen/qtest/xenstore/values", test_xenstore_values);
    qtest_add_func("/xen/qtest/xenstore/permissions",
                   test_xenstore_permissions);
    qtest_add_func("/xen/qtest/xenstore/hold", test_xenstore_hold);
    qtest_add_func("/xen/qtest/bad-commands", test_bad_commands);
    if (qtest_has_device("xen-console")) {
        qtest_add_func("/xen/console/io", test_console_io);
        qtest_add_func("/xen/console/bad-grant", test_console_bad_grant);
        qtest_add_func("/xen/console/faults", test_console_faults);
    }
    if (qtest_has_device("xen-disk")) {
        qtest_add_func("/xen/block/io", test_block_io);
        qtest_add_func("/xen/block/errors", test_block_errors);
        qtest_add_func("/xen/block/faults", test_block_faults);
    }
    return g_test_run();
}
