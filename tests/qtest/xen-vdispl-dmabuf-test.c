/*
 * Tests of the Xen display back end with dma-bufs, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What xen-vdispl-test says of the device is true on this path, too, and is
 * tested there. Here is what only dma-bufs have: where they cannot be had,
 * others that hold on to them, and a D-Bus client that is given them.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "dbus-client.h"
#include "hw/xen/dma-buf-mmap-info.h"
#include "libqtest.h"
#include "libqos/xen-vdispl.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "standard-headers/drm/drm_fourcc.h"

#define REFRESH_NS  (NANOSECONDS_PER_SECOND / 60 + 1)
#define WIDTH       800
#define HEIGHT      600

/* A device that is none will do where there is no GPU */
#define DBUS_GL     "-display dbus,p2p=yes,gl=on,rendernode=/dev/null"

typedef struct Fixture {
    QTestState *qts;
    QXen xen;
    QVDispl d;
    QXenAlive idle;
    QXenAlive connected;
} Fixture;

static void start_with(Fixture *f, const char *args)
{
    f->qts = qtest_init(args);
    qxen_init(&f->xen, f->qts);
}

static void connect_frontend(Fixture *f)
{
    qvdispl_init(&f->d, &f->xen, 0);
    f->idle = qxen_alive_get(&f->xen);
    qvdispl_connect(&f->d);
    f->connected = qxen_alive_get(&f->xen);
}

/* QEMU with a display, and the frontend connected */
static void start(Fixture *f, const char *path, const char *args)
{
    g_autofree char *all =
        g_strdup_printf("-machine xen-qtest -nodefaults %s -device "
                        "xen-vdispl,id=vd0,connectors=%dx%d,path=%s", args,
                        WIDTH, HEIGHT, path);

    start_with(f, all);
    connect_frontend(f);
}

static void stop(Fixture *f)
{
    qvdispl_disconnect(&f->d);
    qxen_settle(&f->xen);
    qxen_assert_alive(&f->xen, &f->idle);
    qvdispl_cleanup(&f->d);
    qxen_cleanup(&f->xen);
    qtest_quit(f->qts);
}

static char *get_string(Fixture *f, const char *id, const char *property)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *rsp = qtest_qmp(f->qts, "{ 'execute': 'qom-get', 'arguments': { "
                           "'path': %s, 'property': %s } }", path, property);
    char *value = g_strdup(qdict_get_str(rsp, "return"));

    qobject_unref(rsp);
    return value;
}

static void assert_path_of(Fixture *f, const char *id, const char *expected)
{
    g_autofree char *path = get_string(f, id, "path");

    g_assert_cmpstr(path, ==, expected);
}

static void assert_path(Fixture *f, const char *expected)
{
    assert_path_of(f, "vd0", expected);
}

/* The reason that is given, which must say @what, or nothing at all */
static void assert_reason(Fixture *f, const char *id, const char *what)
{
    g_autofree char *reason = get_string(f, id, "path-reason");

    if (what) {
        g_assert_nonnull(strstr(reason, what));
    } else {
        g_assert_cmpstr(reason, ==, "");
    }
}

/* The device is there: its @property stays what it is */
static void assert_fixed(Fixture *f, const char *property, const char *value)
{
    g_autofree char *before = get_string(f, "vd0", property);
    g_autofree char *after = NULL;
    QDict *rsp = qtest_qmp(f->qts, "{ 'execute': 'qom-set', 'arguments': { "
                           "'path': 'vd0', 'property': %s, 'value': %s } }",
                           property, value);

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "class"), ==,
                    "GenericError");
    qobject_unref(rsp);
    after = get_string(f, "vd0", property);
    g_assert_cmpstr(after, ==, before);
}

static void show(Fixture *f, QVDisplBuffer *buf)
{
    qvdispl_buffer_alloc(&f->d, buf, WIDTH, HEIGHT, 32, 0);
    qvdispl_show(&f->d, 0, buf, DRM_FORMAT_XRGB8888);
}

static void hide(Fixture *f, QVDisplBuffer *buf)
{
    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    qvdispl_unfb(&f->d, buf);
}

/* All but the destruction itself, which is sent, and its answer not awaited */
static void hide_and_send_destroy(Fixture *f, QVDisplBuffer *buf)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_DBUF_DESTROY,
        .op.dbuf_destroy.dbuf_cookie = buf->req.dbuf_cookie,
    };

    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    g_assert_cmpint(qvdispl_fb_detach(&f->d, buf->fb_cookie), ==, 0);
    qvdispl_send(&f->d, 0, &req);
    qxen_settle(&f->xen);
}

static void assert_no_answer(Fixture *f)
{
    struct xendispl_resp resp;

    qxen_settle(&f->xen);
    g_assert(!qxen_ring_get(&f->d.conn[0].req, &resp, sizeof(resp)));
}

static void assert_answer(Fixture *f, int status)
{
    struct xendispl_resp resp;

    qxen_ring_wait(&f->d.conn[0].req, &resp, sizeof(resp));
    g_assert_cmpint(resp.operation, ==, XENDISPL_OP_DBUF_DESTROY);
    g_assert_cmpint(resp.status, ==, status);
}

static void step_ms(Fixture *f, unsigned int ms)
{
    qtest_clock_step(f->qts, ms * SCALE_MS);
    qxen_settle(&f->xen);
}

static bool flip_event(Fixture *f)
{
    struct xendispl_evt evt;

    qxen_settle(&f->xen);
    return qvdispl_event(&f->d, 0, &evt);
}

/* For pictures that fit in a page */
#define SMALL 32

/* Pixel 0 of X8R8G8B8 that assert_screendump_red() looks for */
static const uint8_t red[] = { 0, 0, 255, 0 };

static void assert_screendump_red(Fixture *f, const char *id)
{
    g_autofree char *name = NULL;
    g_autofree char *data = NULL;
    size_t size;
    int fd = g_file_open_tmp("xen-vdispl-XXXXXX.ppm", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    qtest_qmp_assert_success(f->qts, "{ 'execute': 'screendump', "
                             "'arguments': { 'filename': %s, "
                             "'device': %s } }", name, id);
    g_assert(g_file_get_contents(name, &data, &size, NULL));
    unlink(name);
    g_assert_cmpuint(size, ==, strlen("P6\n32 32\n255\n") +
                     SMALL * SMALL * 3);
    g_assert_cmpmem(data, 16, "P6\n32 32\n255\n\xff\0\0", 16);
}

/* Which path */

/* One dma-buf holds the buffer's pages, and nothing else does */
static void test_path_dmabuf(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;
    QXenAlive shown;

    start(&f, path, "");
    show(&f, &buf);
    assert_path(&f, path);
    assert_reason(&f, "vd0", NULL);
    shown = f.connected;
    shown.n[XEN_QTEST_GNTTAB_HANDLES] += 1;
    shown.n[XEN_QTEST_GRANTS_USED] += buf.nr_pages;
    shown.n[XEN_QTEST_DMABUFS] = 1;
    shown.n[XEN_QTEST_DMABUF_PAGES] = buf.nr_pages;
    qxen_assert_alive(&f.xen, &shown);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* The best is what is taken if nobody asks for another */
static void test_path_auto(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "");
    show(&f, &buf);
    assert_path(&f, "exported");
    assert_reason(&f, "vd0", NULL);
    hide(&f, &buf);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_MAP), ==, 0);
    stop(&f);
}

/* The dma-buf that was allocated shows what the guest draws */
static void test_placed_show(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "placed", "");
    qvdispl_buffer_alloc(&f.d, &buf, SMALL, SMALL, 32, 0);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    assert_path(&f, "placed");
    qtest_memwrite(f.qts, buf.addr, red, sizeof(red));
    assert_screendump_red(&f, "vd0");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

static void test_path_mapped(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "mapped", "");
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", NULL);
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_DMABUFS), ==, 0);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT), ==, 0);
    hide(&f, &buf);
    stop(&f);
}

/* Each buffer takes the next path that works, the next one the best again */
static void test_path_fallback(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    show(&f, &buf);
    assert_path(&f, "placed");
    assert_reason(&f, "vd0", "not exported: cannot export 469 pages: Too many "
                  "open files");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);

    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_MAP, 1, EOPNOTSUPP);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "Too many open files; not placed: cannot place "
                  "469 pages: Operation not supported");
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_DMABUFS), ==, 0);
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);

    show(&f, &buf);
    assert_path(&f, "exported");
    hide(&f, &buf);
    stop(&f);
}

/* Who asks for a path gets it or nothing */
static void test_path_forced(gconstpointer path)
{
    bool placed = !strcmp(path, "placed");
    Fixture f;
    QVDisplBuffer buf;

    start(&f, path, "");
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 32, 0);
    qxen_fault(&f.xen, placed ? XEN_QTEST_CALL_DMABUF_MAP :
               XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), <, 0);
    qxen_assert_alive(&f.xen, &f.connected);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_DMABUFS), ==, 1);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Another device, which may be refused: the message, or NULL */
static char *device_add_any(Fixture *f, QDict *arguments)
{
    QDict *rsp = qtest_qmp(f->qts, "{ 'execute': 'device_add', "
                           "'arguments': %p }", arguments);
    char *message = NULL;

    if (qdict_haskey(rsp, "error")) {
        message = g_strdup(qdict_get_str(qdict_get_qdict(rsp, "error"),
                                         "desc"));
    }
    qobject_unref(rsp);
    qxen_settle(&f->xen);
    return message;
}

/* Another display */
static char *device_add_with(Fixture *f, const char *path,
                             const char *allocator)
{
    return device_add_any(f, qdict_from_jsonf_nofail(
                              "{ 'driver': 'xen-vdispl', 'id': 'vd1', "
                              "'path': %s, 'allocator': %s }", path,
                              allocator));
}

static char *device_add(Fixture *f, const char *path)
{
    return device_add_with(f, path, "udmabuf");
}

static void device_del(Fixture *f, const char *id)
{
    qtest_qmp_device_del_send(f->qts, id);
    qtest_qmp_eventwait(f->qts, "DEVICE_DELETED");
    qxen_settle(&f->xen);
}

static void test_path_missing(void)
{
    Fixture f;
    g_autofree char *unknown = NULL;
    g_autofree char *no_export = NULL;
    g_autofree char *no_place = NULL;

    start(&f, "auto", "");
    unknown = device_add(&f, "teleported");
    g_assert_cmpstr(unknown, ==, "property 'path' is auto, exported, placed or "
                    "mapped, not 'teleported'");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE, 1, ENOTTY);
    no_export = device_add(&f, "exported");
    g_assert_cmpstr(no_export, ==, "property 'path': buffers cannot be "
                    "exported: this Xen exports nothing today: Inappropriate "
                    "ioctl for device");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE_MAP, 1, ENOTTY);
    no_place = device_add(&f, "placed");
    g_assert_cmpstr(no_place, ==, "property 'path': buffers cannot be placed: "
                    "this Xen places nothing today: Inappropriate ioctl for "
                    "device");

    /* Who leaves it to the device gets a display, and learns what it misses */
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE, 1, ENOTTY);
    g_assert_null(device_add(&f, "auto"));
    assert_reason(&f, "vd1", "not exported: this Xen exports nothing today");
    device_del(&f, "vd1");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE, 1, ENOTTY);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE_MAP, 1, ENOTTY);
    g_assert_null(device_add(&f, "auto"));
    assert_reason(&f, "vd1", "device; not placed: this Xen places nothing");
    device_del(&f, "vd1");
    stop(&f);
}

/* Who asks for blocks of the DMA API's gets them, or the next path */
static void test_dma_alloc(void)
{
    static const struct {
        const char *value;
        XenDmabufAlloc alloc;
    } values[] = {
        { "coherent", XEN_DMABUF_ALLOC_COHERENT },
        { "write-combine", XEN_DMABUF_ALLOC_WC },
        { "off", XEN_DMABUF_ALLOC_NONE },
    };

    for (int i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autofree char *global = g_strdup_printf(
            "-global xen-vdispl.dma-alloc=%s", values[i].value);
        g_autofree char *used = NULL;
        Fixture f;
        QVDisplBuffer buf;

        start(&f, "auto", global);
        used = get_string(&f, "vd0", "dma-alloc");
        g_assert_cmpstr(used, ==, values[i].value);
        show(&f, &buf);
        assert_path(&f, "exported");
        g_assert_cmpint(qxen_dmabuf_alloc(&f.xen), ==, values[i].alloc);
        hide(&f, &buf);

        /* there is no block that is large enough */
        qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, ENOMEM);
        show(&f, &buf);
        assert_path(&f, "placed");
        assert_reason(&f, "vd0", "not exported: ");
        hide(&f, &buf);
        qxen_assert_alive(&f.xen, &f.connected);
        stop(&f);
    }
}

static void test_dma_alloc_wrong(void)
{
    g_autofree char *message = NULL;
    Fixture f;

    start(&f, "auto", "");
    message = device_add_any(&f, qdict_from_jsonf_nofail(
        "{ 'driver': 'xen-vdispl', 'id': 'vd1', 'dma-alloc': 'cma' }"));
    g_assert_cmpstr(message, ==, "property 'dma-alloc' is off, coherent or "
                    "write-combine, not 'cma'");
    assert_fixed(&f, "dma-alloc", "coherent");
    stop(&f);
}

/* Whether there is a path is asked when it is needed, and told as ever */
static void test_path_asked_late(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EINVAL);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE_MAP, 1, ENOTTY);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "not placed: this Xen places nothing today: "
                  "Inappropriate ioctl for device");
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_MAP), ==, 0);
    hide(&f, &buf);
    stop(&f);
}

/* What udmabuf's buffers miss is told at the start, if the path is forced */
static void test_udmabuf_missing(void)
{
    g_autofree char *message = NULL;
    Fixture f;

    if (g_file_test("/dev/udmabuf", G_FILE_TEST_EXISTS)) {
        g_test_skip("this host has /dev/udmabuf");
        return;
    }
    start(&f, "auto", "");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_FILES, 1, ENOTSUP);
    message = device_add_with(&f, "placed", "udmabuf");
    g_assert_cmpstr(message, ==, "property 'path': buffers cannot be placed: "
                    "cannot open /dev/udmabuf, which Linux has with "
                    "CONFIG_UDMABUF: No such file or directory");
    stop(&f);
}

static void test_allocator_missing(void)
{
    Fixture f;
    g_autofree char *message = NULL;
    g_autofree char *used = NULL;

    start(&f, "auto", "");
    used = get_string(&f, "vd0", "allocator");
    g_assert_cmpstr(used, ==, "udmabuf");
    message = device_add_with(&f, "auto", "abacus");
    g_assert_nonnull(strstr(message, "this QEMU has no allocator 'abacus'"));
    g_assert_nonnull(strstr(message, "udmabuf"));
    assert_fixed(&f, "allocator", "udmabuf");
    stop(&f);
}

/*
 * Textures have dma-bufs where there is /dev/udmabuf; else the next path is
 * taken, as for pictures that are none of a texture's.
 */
static void test_allocator_virgl(void)
{
    bool udmabuf = access("/dev/udmabuf", R_OK | W_OK) == 0;
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "-global xen-vdispl.allocator=virgl");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    show(&f, &buf);
    assert_path(&f, udmabuf ? "placed" : "mapped");
    assert_reason(&f, "vd0", udmabuf ? "Too many open files" :
                  "not placed: virglrenderer's texture has no dma-buf");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);

    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 16, 0);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_RGB565);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "not placed: only a picture of 32 bits a pixel");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* Without a DRM device gbm has no buffers, which is told from the start */
static void test_allocator_gbm(void)
{
    g_autofree char *message = NULL;
    Fixture f;
    QVDisplBuffer buf;

    if (g_file_test("/dev/dri", G_FILE_TEST_EXISTS)) {
        g_test_skip("this host may have a GPU, which is used then");
        return;
    }
    start(&f, "auto", "-global xen-vdispl.allocator=gbm");
    message = device_add_with(&f, "placed", "gbm");
    g_assert_cmpstr(message, ==, "property 'path': buffers cannot be placed: "
                    "there is no render node in /dev/dri; name a DRM device "
                    "by property 'rendernode'");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "not placed: there is no render node in /dev/dri");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* Who names a device is told if it is none, even if nothing needs it yet */
static void test_rendernode_wrong(gconstpointer allocator)
{
    static const struct {
        const char *node;
        const char *message;
    } wrong[] = {
        { "/dev/dri/none", "property 'rendernode': cannot open DRM device "
          "'/dev/dri/none': No such file or directory" },
        { "/dev/null", "property 'rendernode': '/dev/null' is no DRM device: "
          "Inappropriate ioctl for device" },
    };
    Fixture f;

    start(&f, "auto", "");
    for (int i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *message = device_add_any(&f, qdict_from_jsonf_nofail(
            "{ 'driver': 'xen-vdispl', 'id': 'vd1', 'path': 'auto', "
            "'allocator': %s, 'rendernode': %s }", (const char *)allocator,
            wrong[i].node));

        g_assert_cmpstr(message, ==, wrong[i].message);
    }
    stop(&f);
}

/* A virtio-gpu with OpenGL keeps virglrenderer for itself... */
static void test_virgl_owned(void)
{
    g_autofree char *message = NULL;
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "-display egl-headless -device virtio-gpu-gl-device "
          "-global xen-vdispl.allocator=virgl");
    message = device_add_with(&f, "placed", "virgl");
    g_assert_cmpstr(message, ==, "property 'path': buffers cannot be placed: "
                    "a virtio-gpu-gl device has virglrenderer for itself");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_EXPORT, 1, EMFILE);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "not placed: a virtio-gpu-gl device has");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* ...and comes too late when the display has it */
static void test_virgl_taken(void)
{
    g_autofree char *gl = NULL;
    g_autofree char *plain = NULL;
    Fixture f;

    start(&f, "auto", "-display egl-headless");
    g_assert_null(device_add_with(&f, "placed", "virgl"));
    gl = device_add_any(&f, qdict_from_jsonf_nofail(
                            "{ 'driver': 'virtio-gpu-gl-device' }"));
    g_assert_cmpstr(gl, ==, "a xen-vdispl with allocator=virgl has "
                    "virglrenderer for itself");
    /* what is refused to others has another reason */
    plain = device_add_any(&f, qdict_from_jsonf_nofail(
                               "{ 'driver': 'virtio-gpu-device' }"));
    g_assert_nonnull(strstr(plain, "hotplugging"));
    device_del(&f, "vd1");
    stop(&f);
}

/* What is missing from the start is told with what a buffer has met */
static void test_path_reasons(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_with(&f, "-machine xen-qtest -nodefaults");
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_PROBE, 1, ENOTTY);
    g_assert_null(device_add(&f, "auto"));
    connect_frontend(&f);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_MAP, 1, EBUSY);
    show(&f, &buf);
    assert_path_of(&f, "vd1", "mapped");
    assert_reason(&f, "vd1", "nothing today: Inappropriate ioctl for device; "
                  "not placed: cannot place 469 pages: Device or resource "
                  "busy");
    hide(&f, &buf);
    show(&f, &buf);
    assert_path_of(&f, "vd1", "placed");
    hide(&f, &buf);
    stop(&f);
}

/* What is not mapped as the guest maps it is not exported */
static void test_path_caching(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "");
    qxen_dmabuf_caching(&f.xen, DMA_BUF_CACHING_WC);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "write-combined");
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_DMABUFS), ==, 0);
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);

    qxen_dmabuf_caching(&f.xen, DMA_BUF_CACHING_UNCACHED);
    show(&f, &buf);
    assert_path(&f, "mapped");
    assert_reason(&f, "vd0", "uncached");
    hide(&f, &buf);

    /* Who does not know is believed, as kernels that cannot be asked are */
    qxen_dmabuf_caching(&f.xen, DMA_BUF_CACHING_UNKNOWN);
    show(&f, &buf);
    assert_path(&f, "exported");
    hide(&f, &buf);
    stop(&f);
}

/* Attack: grants that cannot be written, so cannot be exported */
static void test_path_readonly_grants(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", "");
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 32, 0);
    qxen_grant_set(&f.xen, buf.refs[7], buf.addr / XEN_PAGE_SIZE + 7,
                   XEN_QTEST_GRANT_ACCESS | XEN_QTEST_GRANT_READONLY);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    assert_path(&f, "mapped");
    hide(&f, &buf);
    stop(&f);
}

/* Faults */

/* Whatever fails while a buffer is made, nothing of it stays */
static void test_faults_create(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;
    unsigned int nth, refused = 0;
    bool struck;
    /* The map of the directory; without a choice, the path's two as well */
    unsigned int expected = strcmp(path, "auto") ? 3 : 1;

    if (!strcmp(path, "placed")) {
        /* whether there is the path, and perhaps whether a file will do */
        expected += access("/dev/udmabuf", R_OK | W_OK) ? 2 : 1;
    }
    start(&f, path, "");
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 32, 0);
    for (nth = 1, struck = true; struck; nth++) {
        int status;

        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, nth, ENOMEM);
        status = qvdispl_dbuf_create(&f.d, &buf);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_ANY);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, 0, 0);
        if (status) {
            refused++;
        } else {
            g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie),
                            ==, 0);
        }
        step_ms(&f, 10);
        qxen_assert_alive(&f.xen, &f.connected);
    }
    g_assert_cmpuint(refused, ==, expected);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* An odd answer to the question whether a buffer is released means no */
static void test_faults_wait(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, path, "");
    show(&f, &buf);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_WAIT, 1, EIO);
    hide_and_send_destroy(&f, &buf);
    assert_no_answer(&f);
    step_ms(&f, 2);
    assert_answer(&f, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Release */

/* The guest has its answer as soon as the last user of the dma-buf has gone */
static void test_release_late(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, path, "");
    show(&f, &buf);
    qxen_dmabuf_hold(&f.xen, true);
    hide_and_send_destroy(&f, &buf);
    step_ms(&f, 2000);
    assert_no_answer(&f);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);

    qxen_dmabuf_hold(&f.xen, false);
    qxen_settle(&f.xen);
    assert_answer(&f, 0);
    qxen_assert_alive(&f.xen, &f.connected);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* The same where nobody tells */
static void test_release_asked_for(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f, path, "");
    show(&f, &buf);
    qxen_dmabuf_hold(&f.xen, true);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_NOTIFY, 1, ENOTTY);
    hide_and_send_destroy(&f, &buf);
    step_ms(&f, 2000);
    assert_no_answer(&f);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);

    /* By now it is asked once a second, at least */
    qxen_dmabuf_hold(&f.xen, false);
    assert_no_answer(&f);
    step_ms(&f, 450);
    step_ms(&f, 450);
    assert_answer(&f, 0);
    qxen_assert_alive(&f.xen, &f.connected);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* It may never come: the guest is told in time, and keeps the pages */
static void test_release_never(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;
    unsigned int waits;

    start(&f, path, "");
    show(&f, &buf);
    qxen_dmabuf_hold(&f.xen, true);
    hide_and_send_destroy(&f, &buf);
    step_ms(&f, 2499);
    assert_no_answer(&f);
    step_ms(&f, 2);
    assert_answer(&f, -XEN_EBUSY);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, -XEN_EEXIST);

    /* Asking on costs next to nothing */
    waits = qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_WAIT);
    for (int i = 0; i < 600; i++) {
        qtest_clock_step(f.qts, NANOSECONDS_PER_SECOND / 10);
    }
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_WAIT) - waits,
                     <=, 60);

    qxen_dmabuf_hold(&f.xen, false);
    step_ms(&f, 1000);
    qxen_assert_alive(&f.xen, &f.connected);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* The guest goes, and comes again, while its last buffer is still in use */
static void test_release_after_disconnect(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer old, buf;

    start(&f, path, "");
    show(&f, &old);
    qxen_dmabuf_hold(&f.xen, true);
    qvdispl_disconnect(&f.d);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &old), ==, old.nr_pages);

    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    show(&f, &buf);
    qxen_dmabuf_hold(&f.xen, false);
    step_ms(&f, 1000);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &old), ==, 0);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    qvdispl_buffer_free(&f.d, &old);
    hide(&f, &buf);
    stop(&f);
}

/*
 * Attack: a guest that connects over and over, while somebody holds on to the
 * pictures it has shown. What they hold is within its quota, two of them.
 */
static void test_release_quota(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf[4];

    start(&f, path, "-global xen-vdispl.max-mapped=5M");
    qxen_dmabuf_hold(&f.xen, true);
    for (int i = 0; i < ARRAY_SIZE(buf); i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], WIDTH, HEIGHT, 32, 0);
        g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf[i]), ==,
                        i < 2 ? 0 : -XEN_ENOMEM);
        qvdispl_disconnect(&f.d);
        qvdispl_restart(&f.d);
        qvdispl_connect(&f.d);
    }
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_DMABUFS), ==, 2);

    qxen_dmabuf_hold(&f.xen, false);
    step_ms(&f, 1000);
    qxen_assert_alive(&f.xen, &f.connected);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf[2]), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf[2].req.dbuf_cookie), ==, 0);
    for (int i = 0; i < ARRAY_SIZE(buf); i++) {
        qvdispl_buffer_free(&f.d, &buf[i]);
    }
    stop(&f);
}

static unsigned int open_files(Fixture *f)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtest_pid(f->qts));
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned int count = 0;

    while (g_dir_read_name(dir)) {
        count++;
    }
    g_dir_close(dir);
    return count;
}

/* The device goes first */
static void test_release_after_unplug(gconstpointer path)
{
    Fixture f;
    QVDisplBuffer buf;
    QXenAlive none;

    start(&f, path, "");
    show(&f, &buf);
    qxen_dmabuf_hold(&f.xen, true);
    qvdispl_disconnect(&f.d);
    device_del(&f, "vd0");
    qxen_dmabuf_hold(&f.xen, false);
    step_ms(&f, 1000);
    none = qxen_alive_get(&f.xen);
    g_assert_cmpuint(none.n[XEN_QTEST_DMABUFS], ==, 0);
    g_assert_cmpuint(none.n[XEN_QTEST_GRANTS_USED], ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_cleanup(&f.d);
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* Imported: the back end allocates, the guest imports */

/* A display of the toolstack's, vdispl0, that offers to allocate buffers */
static void start_be_alloc(Fixture *f, const char *allocator)
{
    QXenDevice dev;
    g_autofree char *args =
        g_strdup_printf("-machine xen-qtest -nodefaults "
                        "-global xen-vdispl.be-alloc=on "
                        "-global xen-vdispl.allocator=%s", allocator);

    f->qts = qtest_init(args);
    qxen_init(&f->xen, f->qts);
    qvdispl_create(&dev, &f->xen, 0, stringify(WIDTH) "x" stringify(HEIGHT),
                   true);
    qxen_device_cleanup(&dev);

    qvdispl_init(&f->d, &f->xen, 0);
    f->idle = qxen_alive_get(&f->xen);
    qvdispl_connect(&f->d);
    f->connected = qxen_alive_get(&f->xen);
}

/* A request for a buffer: of its pages only the directory matters */
static void request_alloc(Fixture *f, QVDisplBuffer *buf, unsigned int width,
                          unsigned int height)
{
    qvdispl_buffer_alloc(&f->d, buf, width, height, 32, 0);
    buf->req.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
}

/* The directory names the pages of one dma-buf in their order */
static void assert_granted(Fixture *f, QVDisplBuffer *buf)
{
    g_assert_cmpuint(qxen_alive(&f->xen, XEN_QTEST_BACKEND_GRANTS), ==,
                     buf->nr_pages);
    for (unsigned int i = 0; i < buf->nr_pages; i += 7) {
        uint32_t ref = qtest_readl(f->qts, qvdispl_dir_entry(buf, i));

        g_assert_cmpint(qxen_backend_grant(&f->xen, ref), ==, i);
    }
    g_assert_cmpuint(qvdispl_buffer_mapped(&f->d, buf), ==, 0);
}

static void test_imported_show(void)
{
    Fixture f;
    QVDisplBuffer buf;
    uint8_t *pixels;
    int fd;

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, SMALL, SMALL);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    assert_path_of(&f, "vdispl0", "imported");
    assert_granted(&f, &buf);

    /* What the guest would map by its references */
    fd = qxen_fd_get(&f.xen, access("/dev/udmabuf", R_OK | W_OK) < 0 ?
                     "/memfd:xen-vdispl (deleted)" : "/dmabuf:");
    pixels = mmap(NULL, XEN_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  0);
    g_assert(pixels != MAP_FAILED);
    close(fd);
    memcpy(pixels, red, sizeof(red));
    assert_screendump_red(&f, "vdispl0");
    munmap(pixels, XEN_PAGE_SIZE);

    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* What the allocator does not make is made of ordinary memory */
static void test_imported_allocator(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_be_alloc(&f, "gbm");
    qvdispl_buffer_alloc(&f.d, &buf, SMALL, SMALL, 16, 0);
    buf.req.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_RGB565);
    assert_path_of(&f, "vdispl0", "imported");
    assert_reason(&f, "vdispl0", "not of gbm: only a picture of 32 bits");
    assert_granted(&f, &buf);
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* What a client still has is dom0's memory: the guest does not wait for it */
static void test_imported_held(void)
{
    Fixture f;
    QVDisplBuffer buf;
    int fd;

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, SMALL, SMALL);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    fd = qxen_fd_get(&f.xen, access("/dev/udmabuf", R_OK | W_OK) < 0 ?
                     "/memfd:xen-vdispl (deleted)" : "/dmabuf:");
    hide(&f, &buf);
    qxen_assert_alive(&f.xen, &f.connected);
    close(fd);
    stop(&f);
}

/* A directory of more than one page; and a guest that goes without a word */
static void test_imported_disconnect(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, 1024, 2 * XENDISPL_DIR_ENTRIES);
    g_assert_cmpuint(buf.nr_dirs, >, 1);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    assert_granted(&f, &buf);
    qvdispl_disconnect(&f.d);
    qxen_assert_alive(&f.xen, &f.idle);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    stop(&f);
}

/* Attack: a directory that is too short for the references, or loops */
static void test_imported_bad_directory(void)
{
    Fixture f;
    QVDisplBuffer buf;
    uint32_t ends[2];

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, 1024, 2 * XENDISPL_DIR_ENTRIES);
    ends[0] = 0;
    ends[1] = buf.dir_refs[0];
    for (int i = 0; i < ARRAY_SIZE(ends); i++) {
        qtest_writel(f.qts, qvdispl_dir_next(&buf, 0), ends[i]);
        g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, -XEN_EINVAL);
        qxen_assert_alive(&f.xen, &f.connected);
    }
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Memory of ours that would be mapped otherwise than the guest maps it */
static void test_imported_caching(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, WIDTH, HEIGHT);
    qxen_dmabuf_caching(&f.xen, DMA_BUF_CACHING_WC);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, -XEN_EINVAL);
    qxen_assert_alive(&f.xen, &f.connected);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

static void test_imported_faults(void)
{
    Fixture f;
    QVDisplBuffer buf;
    unsigned int nth;
    bool struck;

    start_be_alloc(&f, "udmabuf");
    request_alloc(&f, &buf, WIDTH, HEIGHT);
    for (nth = 1, struck = true; struck; nth++) {
        int status;

        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, nth, ENOSPC);
        status = qvdispl_dbuf_create(&f.d, &buf);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_ANY);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, 0, 0);
        if (!status) {
            g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie),
                            ==, 0);
        }
        qxen_assert_alive(&f.xen, &f.connected);
    }
    /* Handle, grants, directory, the event */
    g_assert_cmpuint(nth, >=, 5);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* What all of it costs */

#define CYCLES          10000
#define WARM_UP_CYCLES  1000
/*
 * The least that malloc() gives, forgotten in each cycle, is 312 KiB each time.
 * Until malloc() has come to rest, which takes longer than the warm-up at
 * times, it may take as much without a leak.
 */
#define MAX_GROWTH_KIB  160
#define MAX_TRIES       3

/* A figure of QEMU's memory, by its name in /proc, in KiB */
static int memory_kib(Fixture *f, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(f->qts));
    g_autofree char *status = NULL;
    const char *line;

    g_assert(g_file_get_contents(path, &status, NULL, NULL));
    line = strstr(status, name);
    g_assert_nonnull(line);
    return atoi(line + strlen(name));
}

/* The next of @buf is created, shown by a flip, the one before destroyed */
static void cycle(Fixture *f, QVDisplBuffer *buf, unsigned int i)
{
    QVDisplBuffer *new = &buf[i & 1], *old = &buf[!(i & 1)];

    new->req.dbuf_cookie = qvdispl_cookie(&f->d);
    qvdispl_fb(&f->d, new, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f->d, 0, new->fb_cookie), ==, 0);
    qtest_clock_step(f->qts, REFRESH_NS);
    g_assert(flip_event(f));
    g_assert_cmpint(qvdispl_fb_detach(&f->d, old->fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f->d, old->req.dbuf_cookie), ==, 0);
}

/* A guest that makes, shows and destroys buffers all day costs QEMU nothing */
static void test_cycles(gconstpointer path)
{
    bool imported = !strcmp(path, "imported");
    unsigned int files;
    QVDisplBuffer buf[2];
    QXenAlive shown;
    int own = 0, all = 0;
    Fixture f;

    if (imported) {
        start_be_alloc(&f, "udmabuf");
    } else {
        start(&f, path, "");
    }
    qxen_share_ram(&f.xen);
    for (int i = 0; i < 2; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], 64, 64, 32, 0);
        buf[i].req.flags = imported ? XENDISPL_DBUF_FLG_REQ_ALLOC : 0;
    }
    qvdispl_show(&f.d, 0, &buf[1], DRM_FORMAT_XRGB8888);
    assert_path_of(&f, imported ? "vdispl0" : "vd0", path);
    for (int i = 0; i < WARM_UP_CYCLES; i++) {
        cycle(&f, buf, i);
    }
    shown = qxen_alive_get(&f.xen);
    files = open_files(&f);
    for (int i = 0; i < MAX_TRIES; i++) {
        own = memory_kib(&f, "RssAnon:");
        all = memory_kib(&f, "VmRSS:");
        for (int j = 0; j < CYCLES; j++) {
            cycle(&f, buf, j);
        }
        own = memory_kib(&f, "RssAnon:") - own;
        all = memory_kib(&f, "VmRSS:") - all;
        g_test_message("%d cycles: %d KiB, %d of them QEMU's own", CYCLES,
                       all, own);
        if (own < MAX_GROWTH_KIB) {
            break;
        }
    }
    g_assert_cmpint(own, <, MAX_GROWTH_KIB);
    /* Code that runs for the first time is read from its file */
    g_assert_cmpint(all - own, <, 512);
    qxen_assert_alive(&f.xen, &shown);
    g_assert_cmpuint(open_files(&f), ==, files);

    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    qvdispl_unfb(&f.d, &buf[1]);
    qvdispl_buffer_free(&f.d, &buf[0]);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

/* Surfaces are shared memory. So are the guest's pages, which nobody reads. */
static int own_kib(Fixture *f)
{
    return memory_kib(f, "RssAnon:") + memory_kib(f, "RssShmem:");
}

/* A large screen with two pictures: what QEMU needs beyond the guest's pages */
static void test_memory(gconstpointer display)
{
    g_autofree char *args =
        g_strdup_printf("-machine xen-qtest -nodefaults %s -device "
                        "xen-vdispl,id=vd0,connectors=3840x2160,path=exported",
                        (const char *)display);
    QVDisplBuffer buf[2];
    int before, after;
    Fixture f;

    start_with(&f, args);
    connect_frontend(&f);
    for (int i = 0; i < 2; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], 3840, 2160, 32, 0);
        /* Before 10.1, displays know of dma-bufs only from their beginning */
        for (int page = 0; page < buf[i].nr_pages; page++) {
            qxen_grant_set(&f.xen, buf[i].refs[page], page,
                           XEN_QTEST_GRANT_ACCESS);
        }
    }
    before = own_kib(&f);
    for (int i = 0; i < 2; i++) {
        qvdispl_fb(&f.d, &buf[i], DRM_FORMAT_XRGB8888);
    }
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf[0].fb_cookie, 0, 0, 3840,
                                       2160, 32), ==, 0);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
    qtest_clock_step(f.qts, REFRESH_NS);
    g_assert(flip_event(&f));
    after = own_kib(&f);
    g_test_message("memory in KiB: %d before, %d after", before, after);
    g_assert_cmpint(after - before, <=, 1024);

    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_unfb(&f.d, &buf[1]);
    stop(&f);
}

/* D-Bus */

/* What the client has is the guest's own memory, at @addr */
static void assert_is_guest_memory(Fixture *f, Client *c, QVDisplBuffer *buf,
                                   uint64_t addr)
{
    static const char words[] = "drawn by the guest";
    size_t size = (size_t)c->stride * c->height;
    int ram_fd = qxen_ram_fd(&f->xen);
    struct stat ram, seen;
    uint8_t *pixels;

    g_assert_cmpuint(c->width, ==, buf->req.width);
    g_assert_cmpuint(c->height, ==, buf->req.height);
    g_assert_cmpuint(c->stride, ==, buf->stride);
    if (access("/dev/udmabuf", R_OK | W_OK) < 0) {
        g_assert_cmpint(fstat(ram_fd, &ram), ==, 0);
        g_assert_cmpint(fstat(c->map_fd, &seen), ==, 0);
        g_assert_cmpuint(seen.st_dev, ==, ram.st_dev);
        g_assert_cmpuint(seen.st_ino, ==, ram.st_ino);
        g_assert_cmphex(c->offset, ==, addr);
    }
    close(ram_fd);

    /* Nothing tells QEMU that the guest draws now, so nothing can copy it */
    pixels = mmap(NULL, size, PROT_READ, MAP_SHARED, c->map_fd, c->offset);
    g_assert(pixels != MAP_FAILED);
    qtest_memwrite(f->qts, addr, words, sizeof(words));
    qtest_memwrite(f->qts, addr + size - sizeof(words), words, sizeof(words));
    g_assert_cmpmem(pixels, sizeof(words), words, sizeof(words));
    g_assert_cmpmem(pixels + size - sizeof(words), sizeof(words), words,
                    sizeof(words));
    g_assert_cmpint(munmap(pixels, size), ==, 0);
}

/* The client is given each framebuffer itself, and the flip waits for that */
static void test_dbus_map(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf[2];

    start(&f, "auto", "-display dbus,p2p=yes");
    show(&f, &buf[0]);
    client_start_with_map(&c, f.qts);
    client_wait(&c, &c.maps, 1);
    assert_is_guest_memory(&f, &c, &buf[0], buf[0].addr);

    qvdispl_buffer_alloc(&f.d, &buf[1], WIDTH, HEIGHT, 32, 0);
    qvdispl_fb(&f.d, &buf[1], DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
    g_assert(!flip_event(&f));
    g_assert_cmpuint(c.maps, ==, 1);
    qtest_clock_step(f.qts, REFRESH_NS);
    /* QEMU has had the client's answer when it goes on */
    g_assert(flip_event(&f));
    g_assert_cmpuint(c.maps, ==, 2);
    assert_is_guest_memory(&f, &c, &buf[1], buf[1].addr);
    assert_path(&f, "exported");

    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    client_let_go(&c);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_unfb(&f.d, &buf[1]);
    client_stop(&c);
    stop(&f);
}

/* The client of a part that does not begin with a page gets a copy */
static void test_dbus_unaligned(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf;

    start(&f, "auto", "-display dbus,p2p=yes");
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 32, 64);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    client_start_with_map(&c, f.qts);
    client_wait(&c, &c.copies, 1);
    g_assert_cmpuint(c.maps, ==, 0);
    client_stop(&c);
    hide(&f, &buf);
    stop(&f);
}

/*
 * Attack: the picture's last row ends with the memory, before the next row
 * would begin. The client gets the picture, not what QEMU has behind it, nor a
 * file that is too short. The same is the right half of a picture for two
 * connectors, as Linux asks for it.
 */
static void test_dbus_short_row(gconstpointer path)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf;

    start(&f, path, "-display dbus,p2p=yes");
    qvdispl_buffer_alloc(&f.d, &buf, 2048, HEIGHT, 32, 0);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf.fb_cookie, 2048 - WIDTH, 0,
                                       2048, HEIGHT, 32), ==, 0);
    qvdispl_refresh(&f.d);
    client_start_with_map(&c, f.qts);
    client_wait(&c, &c.copies, 2);
    g_mutex_lock(&c.lock);
    g_assert_cmpuint(c.octets, ==, (uint64_t)c.copies * WIDTH * HEIGHT * 4);
    g_assert_cmpuint(c.maps, ==, 0);
    g_mutex_unlock(&c.lock);
    client_stop(&c);
    hide(&f, &buf);
    stop(&f);
}

/* The viewer's size is the guest's preferred mode, whoever is there first */
static void test_dbus_viewer_size(void)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_GET_EDID,
        .op.get_edid.buffer_sz = XENDISPL_EDID_MAX_SIZE,
    };
    Fixture f;
    Client c;

    start_with(&f, "-machine xen-qtest -nodefaults "
               "-device xen-vdispl-screens,id=screens "
               "-display dbus,p2p=yes");
    client_start_with_map(&c, f.qts);
    for (int i = 0; i < 3; i++) {
        QVDisplBuffer buf;
        uint8_t edid[XENDISPL_EDID_BLOCK_SIZE];

        /* before the device, for the second nobody says it again, after it */
        if (i == 0) {
            client_set_size(&c, 1110, 770);
        }
        g_assert_null(device_add(&f, "auto"));
        if (i == 2) {
            client_set_size(&c, 1112, 772);
        }
        qvdispl_init(&f.d, &f.xen, 0);
        f.d.version = "2";
        f.idle = qxen_alive_get(&f.xen);
        qvdispl_connect(&f.d);
        qvdispl_buffer_alloc(&f.d, &buf, XENDISPL_EDID_MAX_SIZE / 4, 1, 32, 0);
        req.op.get_edid.gref_directory = buf.req.gref_directory;
        g_assert_cmpint(qvdispl_request(&f.d, 0, &req, NULL), ==, 0);
        qtest_memread(f.qts, buf.addr, edid, sizeof(edid));
        /* The first detailed timing is the preferred mode */
        g_assert_cmpuint(edid[56] | (edid[58] & 0xf0) << 4, ==,
                         i < 2 ? 1110 : 1112);
        g_assert_cmpuint(edid[59] | (edid[61] & 0xf0) << 4, ==,
                         i < 2 ? 770 : 772);
        qvdispl_buffer_free(&f.d, &buf);
        qvdispl_disconnect(&f.d);
        qvdispl_cleanup(&f.d);
        device_del(&f, "vd1");
    }
    client_stop(&c);
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/*
 * A client that still has the buffer: the guest has its pages back, and the
 * answer that says so, when it lets go. Nobody tells QEMU.
 */
static void test_dbus_holds(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf;
    void *pixels;

    start(&f, "auto", "-display dbus,p2p=yes");
    show(&f, &buf);
    client_start_with_map(&c, f.qts);
    client_wait(&c, &c.maps, 1);
    pixels = mmap(NULL, XEN_PAGE_SIZE, PROT_READ, MAP_SHARED, c.map_fd,
                  c.offset);
    g_assert(pixels != MAP_FAILED);

    hide_and_send_destroy(&f, &buf);
    step_ms(&f, 100);
    assert_no_answer(&f);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    client_let_go(&c);
    step_ms(&f, 200);
    assert_no_answer(&f);
    g_assert_cmpint(munmap(pixels, XEN_PAGE_SIZE), ==, 0);
    step_ms(&f, 1000);
    assert_answer(&f, 0);
    qxen_assert_alive(&f.xen, &f.connected);

    qvdispl_buffer_free(&f.d, &buf);
    client_stop(&c);
    stop(&f);
}

/* A wire between QEMU and the client that stops in the midst of a picture */
typedef struct Wire {
    int end[2];
    int stop[2];                /* closing one end stops it */
    int mark;                   /* the byte the picture consists of, or 0 */
    int blocked;
    GThread *thread;
} Wire;

static bool wire_sees_mark(Wire *w, const uint8_t *data, ssize_t n)
{
    uint8_t pixels[64];

    memset(pixels, g_atomic_int_get(&w->mark), sizeof(pixels));
    return pixels[0] && n >= sizeof(pixels) &&
        !memcmp(data + n - sizeof(pixels), pixels, sizeof(pixels));
}

static gpointer wire_run(gpointer opaque)
{
    Wire *w = opaque;
    g_autofree uint8_t *data = g_malloc(65536);

    for (;;) {
        struct pollfd fds[3] = {
            { .fd = w->end[0], .events = POLLIN },
            { .fd = w->end[1], .events = POLLIN },
            { .fd = w->stop[0], .events = POLLIN },
        };

        poll(fds, 3, -1);
        if (fds[2].revents) {
            return NULL;
        }
        for (int i = 0; i < 2; i++) {
            ssize_t n = fds[i].revents ? read(w->end[i], data, 65536) : 0;

            if (i == 0 && wire_sees_mark(w, data, n)) {
                g_atomic_int_set(&w->blocked, true);
                while (wire_sees_mark(w, data, n)) {
                    g_usleep(1000);
                }
            }
            for (ssize_t done = 0, sent; done < n; done += sent) {
                sent = write(w->end[!i], data + done, n - done);
                if (sent < 0) {
                    return NULL;
                }
            }
        }
    }
}

/* Lets nothing through any more once a picture of @mark has begun */
static void wire_block_at(Wire *w, uint8_t mark)
{
    g_atomic_int_set(&w->blocked, false);
    g_atomic_int_set(&w->mark, mark);
}

/* More is to come than the sockets hold: who sends it is in the midst of it */
static void wire_await_blocked(Wire *w)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;

    while (!g_atomic_int_get(&w->blocked)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void wire_unblock(Wire *w)
{
    g_atomic_int_set(&w->mark, 0);
}

/* QEMU with a display by D-Bus, and a client of it behind the wire */
static void wire_start(Fixture *f, Client *c, Wire *w, const char *path)
{
    int qemu_pair[2], client_pair[2];

    start(f, path, "-display dbus,p2p=yes");
    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, qemu_pair), ==, 0);
    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, client_pair), ==,
                    0);
    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, w->stop), ==, 0);
    w->end[0] = qemu_pair[0];
    w->end[1] = client_pair[0];
    w->thread = g_thread_new("wire", wire_run, w);
    client_start(c, f->qts, false, client_pair[1], qemu_pair[1]);
    client_wait(c, &c->copies, 1);
}

static void wire_stop(Wire *w)
{
    close(w->stop[1]);
    g_thread_join(w->thread);
    close(w->stop[0]);
    close(w->end[0]);
    close(w->end[1]);
}

/*
 * The last who lets go of a framebuffer is a thread of GDBus, when a frame is
 * on its way to a client that is slow: the device has to take that to the main
 * loop. So the wire is blocked while a frame is on it, and that frame is not
 * the console's any more when it goes on.
 */
static void test_dbus_copy_released_in_thread(gconstpointer path)
{
    Fixture f;
    Client c;
    Wire w = { };
    QVDisplBuffer buf[2];

    wire_start(&f, &c, &w, path);
    for (int i = 0; i < 2; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], WIDTH, HEIGHT, 32, 0);
        qvdispl_fb(&f.d, &buf[i], DRM_FORMAT_XRGB8888);
    }
    for (int i = 0; i < 10; i++) {
        /* Not what the picture before consisted of: some may be on its way */
        uint8_t mark = i + 1;

        qtest_memset(f.qts, buf[0].addr, mark, WIDTH * HEIGHT * 4);
        wire_block_at(&w, mark);
        g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf[0].fb_cookie, 0, 0,
                                           WIDTH, HEIGHT, 32), ==, 0);
        qvdispl_refresh(&f.d);
        wire_await_blocked(&w);
        g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
        qtest_clock_step(f.qts, REFRESH_NS);
        g_assert(!flip_event(&f));

        wire_unblock(&w);
        qvdispl_flip_wait(&f.d, 0);
    }
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    client_stop(&c);
    wire_stop(&w);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_unfb(&f.d, &buf[1]);
    stop(&f);
}

/* A client that reads nothing any more: nothing must pile up for it */
static void test_dbus_copy_stuck(void)
{
    Fixture f;
    Client c;
    Wire w = { };
    QVDisplBuffer buf;
    int before;

    wire_start(&f, &c, &w, "mapped");
    qvdispl_buffer_alloc(&f.d, &buf, WIDTH, HEIGHT, 32, 0);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    qtest_memset(f.qts, buf.addr, 1, WIDTH * HEIGHT * 4);
    wire_block_at(&w, 1);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf.fb_cookie, 0, 0, WIDTH,
                                       HEIGHT, 32), ==, 0);
    qvdispl_refresh(&f.d);
    wire_await_blocked(&w);
    before = memory_kib(&f, "RssAnon:");
    /* meanwhile QEMU's own refresh looks at it some thirty times a second */
    for (int i = 0; i < 100; i++) {
        qtest_clock_step(f.qts, REFRESH_NS);
        g_usleep(20 * 1000);
    }
    g_assert_cmpint(memory_kib(&f, "RssAnon:") - before, <,
                    4 * WIDTH * HEIGHT * 4 / 1024);
    wire_unblock(&w);
    /* and then it is told of what it has missed */
    client_wait(&c, &c.copies, 3);
    hide(&f, &buf);
    client_stop(&c);
    wire_stop(&w);
    stop(&f);
}

/* OpenGL: by Mesa's llvmpipe, which does not need a device */

/*
 * A buffer of one page, the first of the guest's RAM: before 10.1, QEMU's
 * displays know of dma-bufs only from their beginning.
 */
static void gl_buffer(Fixture *f, QVDisplBuffer *buf)
{
    qvdispl_buffer_alloc(&f->d, buf, SMALL, SMALL, 32, 0);
    g_assert_cmpuint(buf->nr_pages, ==, 1);
    qxen_grant_set(&f->xen, buf->refs[0], 0, XEN_QTEST_GRANT_ACCESS);
    qvdispl_fb(&f->d, buf, DRM_FORMAT_XRGB8888);
}

static void gl_set_config(Fixture *f, QVDisplBuffer *buf)
{
    g_assert_cmpint(qvdispl_set_config(&f->d, 0, buf->fb_cookie, 0, 0, SMALL,
                                       SMALL, 32), ==, 0);
    qvdispl_refresh(&f->d);
    qxen_settle(&f->xen);
}

/* A screendump shows what the guest draws now */
static void gl_assert_screendump(Fixture *f)
{
    qtest_memwrite(f->qts, 0, red, sizeof(red));
    assert_screendump_red(f, "vd0");
}

/* A client of a D-Bus display with OpenGL, which has been given @buf */
static void start_gl_client(Fixture *f, Client *c, QVDisplBuffer *buf,
                            const char *args)
{
    int pair[2];

    start(f, "auto", args);
    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    gl_buffer(f, buf);
    gl_set_config(f, buf);
    client_start(c, f->qts, false, pair[0], pair[1]);
    client_wait(c, &c->dmabufs, 1);
}

/* The guest has its pages back when the client has let go of them */
static void hide_from_gl_client(Fixture *f, Client *c, QVDisplBuffer *buf)
{
    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    client_let_go(c);
    client_stop(c);
    qvdispl_unfb(&f->d, buf);
}

/*
 * The client is given the dma-buf, and a page flip is complete when it has
 * answered the update
 */
static void test_gl_dbus(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf;
    unsigned int drawn;

    start_gl_client(&f, &c, &buf, DBUS_GL);
    assert_is_guest_memory(&f, &c, &buf, 0);
    assert_path(&f, "exported");
    gl_assert_screendump(&f);

    /* A flip waits until the client has finished with the frame before */
    client_hold_updates(&c, true);
    client_wait(&c, &c.holds, 1);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qtest_clock_step(f.qts, REFRESH_NS);
    g_assert(!flip_event(&f));
    g_assert_cmpuint(c.dmabufs, ==, 1);

    drawn = qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_SYNC_END);
    qxen_fault(&f.xen, XEN_QTEST_CALL_DMABUF_SYNC_END, 1, EINTR);
    client_hold_updates(&c, true);
    client_wait(&c, &c.dmabufs, 2);
    client_wait(&c, &c.holds, 2);
    /* What the guest has drawn is visible to devices; interrupted once */
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_SYNC_END), ==,
                     drawn + 2);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_DMABUF_SYNC_START), ==,
                     1);
    g_assert(!flip_event(&f));
    client_hold_updates(&c, false);
    qvdispl_flip_wait(&f.d, 0);

    hide_from_gl_client(&f, &c, &buf);
    stop(&f);
}

/*
 * Attack: mode changes as fast as it goes, for a client that is slow. Each
 * would be a descriptor that waits for it.
 */
static void test_gl_config_paced(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf;
    unsigned int files;

    start_gl_client(&f, &c, &buf, DBUS_GL);

    /* QEMU waits a second for the answer to one frame, of its own refresh */
    client_hold_updates(&c, true);
    client_wait(&c, &c.holds, 1);
    files = open_files(&f);
    for (int i = 0; i < 50; i++) {
        gl_set_config(&f, &buf);
    }
    g_assert_cmpuint(open_files(&f), ==, files);
    g_assert_cmpuint(c.dmabufs, ==, 1);
    client_hold_updates(&c, false);
    client_wait(&c, &c.dmabufs, 2);

    hide_from_gl_client(&f, &c, &buf);
    stop(&f);
}

/* A display that has not finished with one device's frame keeps the next's */
static void test_gl_taken_over(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf[2];
    QXenAlive idle;
    unsigned int before;

    start_gl_client(&f, &c, &buf[0],
                    "-device xen-vdispl-screens,id=screens " DBUS_GL);
    client_hold_updates(&c, true);
    client_wait(&c, &c.holds, 1);

    /* the client goes on to hold a dma-buf of the first */
    idle = f.idle;
    qvdispl_disconnect(&f.d);
    device_del(&f, "vd0");
    qvdispl_cleanup(&f.d);
    g_assert_null(device_add(&f, "auto"));
    connect_frontend(&f);
    f.idle = idle;
    gl_buffer(&f, &buf[1]);
    before = c.dmabufs;
    gl_set_config(&f, &buf[1]);
    g_assert_cmpuint(c.dmabufs, ==, before);
    client_hold_updates(&c, false);
    client_wait(&c, &c.dmabufs, before + 1);
    assert_path_of(&f, "vd1", "exported");

    hide_from_gl_client(&f, &c, &buf[1]);
    qvdispl_buffer_free(&f.d, &buf[0]);
    stop(&f);
}

/*
 * From a picture that does not begin where the dma-buf does, which QEMU
 * uploads, to one that the client is given: nobody reads the former any more
 */
static void test_gl_offset(void)
{
    Fixture f;
    Client c;
    QVDisplBuffer buf[2];

    start_gl_client(&f, &c, &buf[0], DBUS_GL);
    qvdispl_buffer_alloc(&f.d, &buf[1], SMALL, SMALL, 32, XEN_PAGE_SIZE);
    qvdispl_fb(&f.d, &buf[1], DRM_FORMAT_XRGB8888);
    for (unsigned int i = 1; i <= 3; i++) {
        g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
        qtest_clock_step(f.qts, REFRESH_NS);
        qvdispl_flip_wait(&f.d, 0);
        g_assert_cmpuint(c.dmabufs, ==, i);
        g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[0].fb_cookie), ==, 0);
        qtest_clock_step(f.qts, REFRESH_NS);
        qvdispl_flip_wait(&f.d, 0);
        client_wait(&c, &c.dmabufs, i + 1);
    }
    qvdispl_unfb(&f.d, &buf[1]);
    hide_from_gl_client(&f, &c, &buf[0]);
    stop(&f);
}

/* Attack: a last row that ends with the memory; clients map whole rows */
static void test_gl_short_row(void)
{
    enum { STRIDE = 240, ROWS = 18 };
    Fixture f;
    Client c;
    QVDisplBuffer buf[2];

    start_gl_client(&f, &c, &buf[0], DBUS_GL);
    QEMU_BUILD_BUG_ON(STRIDE * ROWS <= XEN_PAGE_SIZE);
    qvdispl_buffer_alloc(&f.d, &buf[1], STRIDE / 4, ROWS - 1, 32, 0);
    g_assert_cmpuint(buf[1].nr_pages, ==, 1);
    qxen_grant_set(&f.xen, buf[1].refs[0], 0, XEN_QTEST_GRANT_ACCESS);
    buf[1].fb_cookie = qvdispl_cookie(&f.d);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf[1]), ==, 0);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf[1].req.dbuf_cookie,
                                      buf[1].fb_cookie, 4, ROWS,
                                      DRM_FORMAT_XRGB8888), ==, 0);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf[1].fb_cookie, 0, 0, 4,
                                       ROWS, 32), ==, 0);
    qvdispl_refresh(&f.d);
    qxen_settle(&f.xen);
    assert_path(&f, "exported");

    /* The next one that the client is given is the one it had before */
    gl_set_config(&f, &buf[0]);
    client_wait(&c, &c.dmabufs, 2);
    g_assert_cmpuint(c.dmabufs, ==, 2);
    g_assert_cmpuint(c.height, ==, SMALL);
    qvdispl_unfb(&f.d, &buf[1]);
    hide_from_gl_client(&f, &c, &buf[0]);
    stop(&f);
}

/* The display goes, and with it OpenGL; the guest is still to be seen */
static void test_gl_gone(void)
{
    Fixture f;
    QVDisplBuffer buf;
    QDict *rsp;

    start(&f, "auto", DBUS_GL);
    gl_buffer(&f, &buf);
    gl_set_config(&f, &buf);
    gl_assert_screendump(&f);
    rsp = qtest_qmp(f.qts, "{ 'execute': 'object-del', 'arguments': { "
                    "'id': 'dbus-display' } }");
    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    gl_assert_screendump(&f);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qtest_clock_step(f.qts, REFRESH_NS);
    g_assert(flip_event(&f));
    gl_assert_screendump(&f);
    hide(&f, &buf);
    stop(&f);
}

/* VNC, as little as it takes to see the first pixel: RFB, RFC 6143 */

static void vnc_read(int fd, void *data, size_t size)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    for (size_t done = 0; done < size;) {
        ssize_t n;

        g_assert_cmpint(poll(&pfd, 1, QXEN_TIMEOUT * 1000), ==, 1);
        n = read(fd, (char *)data + done, size - done);
        g_assert_cmpint(n, >, 0);
        done += n;
    }
}

static void vnc_write(int fd, const void *data, size_t size)
{
    g_assert_cmpint(write(fd, data, size), ==, size);
}

/* A client of @f's VNC server, which sends pixels as they are */
static int vnc_connect(Fixture *f)
{
    static const uint8_t set_encodings[] = { 2, 0, 0, 1, 0, 0, 0, 0 };
    uint8_t version[12], types[2], result[4], init[24];
    g_autofree char *name = NULL;
    int pair[2];

    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    qtest_qmp_add_client(f->qts, "vnc", pair[1]);
    vnc_read(pair[0], version, sizeof(version));
    g_assert_cmpmem(version, sizeof(version), "RFB 003.008\n", 12);
    vnc_write(pair[0], version, sizeof(version));
    vnc_read(pair[0], types, sizeof(types));
    g_assert_cmpmem(types, sizeof(types), "\1\1", 2);
    vnc_write(pair[0], "\1", 1);
    vnc_read(pair[0], result, sizeof(result));
    g_assert_cmpmem(result, sizeof(result), "\0\0\0\0", 4);
    vnc_write(pair[0], "\1", 1);
    vnc_read(pair[0], init, sizeof(init));
    g_assert_cmpmem(init, 4, "\0\x20\0\x20", 4);
    name = g_malloc(ldl_be_p(&init[20]));
    vnc_read(pair[0], name, ldl_be_p(&init[20]));
    vnc_write(pair[0], set_encodings, sizeof(set_encodings));
    return pair[0];
}

/* Until the pixel in the upper left corner is @expected, but for its X8 */
static void vnc_expect_pixel(int fd, const uint8_t *expected)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;
    uint8_t request[] = { 3, 0, 0, 0, 0, 0, 0, SMALL, 0, SMALL };
    uint8_t seen[4] = { };

    do {
        uint8_t update[4];

        g_assert_cmpint(g_get_monotonic_time(), <, end);
        vnc_write(fd, request, sizeof(request));
        vnc_read(fd, update, sizeof(update));
        g_assert_cmpint(update[0], ==, 0);
        for (int i = 0; i < lduw_be_p(&update[2]); i++) {
            uint8_t rect[12], pixels[SMALL * SMALL * 4];
            size_t size;

            vnc_read(fd, rect, sizeof(rect));
            size = lduw_be_p(&rect[4]) * lduw_be_p(&rect[6]) * 4;
            g_assert_cmpuint(size, <=, sizeof(pixels));
            vnc_read(fd, pixels, size);
            if (!ldl_be_p(rect)) {
                memcpy(seen, pixels, sizeof(seen));
            }
        }
        request[1] = 1;         /* from now on, what changes */
    } while (memcmp(seen, expected, 3));
}

/* Returns: the name of a new file, for -D */
static char *trace_file(void)
{
    char *name = NULL;
    int fd = g_file_open_tmp("xen-vdispl-XXXXXX.log", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return name;
}

/*
 * Without a GPU, too, the dma-buf itself is drawn, and VNC shows the result;
 * and the display lets go of it.
 */
static void test_gl_headless(void)
{
    static const uint8_t blue[] = { 255, 0, 0, 0 };
    g_autofree char *trace = trace_file();
    g_autofree char *traced = NULL;
    g_autofree char *args = NULL;
    Fixture f;
    QVDisplBuffer buf[2];
    QXenAlive shown;
    int fd;

    if (g_file_test("/dev/dri", G_FILE_TEST_EXISTS)) {
        g_test_skip("this host may have a GPU, which is used then");
        return;
    }
    args = g_strdup_printf("-display egl-headless -vnc none "
                           "-trace xen_vdispl_gl_show -D %s", trace);
    start(&f, "auto", args);
    gl_buffer(&f, &buf[0]);
    qtest_memwrite(f.qts, 0, red, sizeof(red));
    gl_set_config(&f, &buf[0]);
    assert_path(&f, "exported");
    shown = qxen_alive_get(&f.xen);
    gl_assert_screendump(&f);
    fd = vnc_connect(&f);
    vnc_expect_pixel(fd, red);
    qtest_memwrite(f.qts, 0, blue, sizeof(blue));
    vnc_expect_pixel(fd, blue);

    /* The buffer that was shown before is not used any more after a flip */
    gl_buffer(&f, &buf[1]);
    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[!(i & 1)].fb_cookie), ==, 0);
        qtest_clock_step(f.qts, REFRESH_NS);
        g_assert(flip_event(&f));
    }
    qvdispl_unfb(&f.d, &buf[1]);
    qxen_assert_alive(&f.xen, &shown);
    gl_assert_screendump(&f);
    vnc_expect_pixel(fd, red);
    close(fd);
    hide(&f, &buf[0]);
    stop(&f);

    g_assert(g_file_get_contents(trace, &traced, NULL, NULL));
    unlink(trace);
    g_assert_nonnull(strstr(traced, "imported 1"));
    g_assert_null(strstr(traced, "imported 0"));
}

/* What displays do not import is not tried, nor held against what they do */
static void test_gl_formats(void)
{
    static const struct {
        uint32_t fourcc;
        unsigned int bpp;
        const char *path;
    } formats[] = {
        { DRM_FORMAT_RGB888, 24, "converted" },
        { DRM_FORMAT_RGB565, 16, "converted" },
        { DRM_FORMAT_XRGB8888, 32, "exported" },
    };
    Fixture f;

    if (g_file_test("/dev/dri", G_FILE_TEST_EXISTS)) {
        g_test_skip("this host may have a GPU, which is used then");
        return;
    }
    start(&f, "auto", "-display egl-headless");
    for (int i = 0; i < G_N_ELEMENTS(formats); i++) {
        QVDisplBuffer buf;

        qvdispl_buffer_alloc(&f.d, &buf, SMALL, SMALL, formats[i].bpp, 0);
        qxen_grant_set(&f.xen, buf.refs[0], 0, XEN_QTEST_GRANT_ACCESS);
        qvdispl_show(&f.d, 0, &buf, formats[i].fourcc);
        assert_path(&f, formats[i].path);
        assert_reason(&f, "vd0", NULL);
        hide(&f, &buf);
    }
    stop(&f);
}

/*
 * A display that cannot import the dma-buf shows the guest's picture as well.
 * Attack: to have it try, and say so, with each connection
 */
static void test_gl_refused(void)
{
    g_autofree char *trace = trace_file();
    g_autofree char *traced = NULL;
    g_autofree char *args = g_strdup_printf(
        "-display egl-headless,rendernode=/dev/null "
        "-trace xen_vdispl_gl_show -D %s", trace);
    const char *tried;
    Fixture f;
    QVDisplBuffer buf;

    start(&f, "auto", args);
    gl_buffer(&f, &buf);
    gl_set_config(&f, &buf);
    assert_path(&f, "exported");
    assert_reason(&f, "vd0", "the display cannot import a dma-buf");
    gl_assert_screendump(&f);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qtest_clock_step(f.qts, REFRESH_NS);
    g_assert(flip_event(&f));
    gl_assert_screendump(&f);

    hide(&f, &buf);
    qvdispl_disconnect(&f.d);
    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    gl_buffer(&f, &buf);
    gl_set_config(&f, &buf);
    assert_reason(&f, "vd0", "the display cannot import a dma-buf");
    gl_assert_screendump(&f);
    hide(&f, &buf);
    stop(&f);

    g_assert(g_file_get_contents(trace, &traced, NULL, NULL));
    unlink(trace);
    tried = strstr(traced, "imported 0");
    g_assert_nonnull(tried);
    g_assert_null(strstr(tried + 1, "imported"));
}

int main(int argc, char **argv)
{
    static const char *const paths[] = { "exported", "placed" };
    static const struct {
        const char *name;
        GTestDataFunc func;
    } both_paths[] = {
        { "alone", test_path_dmabuf },
        { "forced", test_path_forced },
        { "faults", test_faults_create },
        { "wait-faults", test_faults_wait },
        { "late", test_release_late },
        { "asked-for", test_release_asked_for },
        { "never", test_release_never },
        { "after-disconnect", test_release_after_disconnect },
        { "after-unplug", test_release_after_unplug },
        { "quota", test_release_quota },
    };

    g_test_init(&argc, &argv, NULL);

    for (int i = 0; i < ARRAY_SIZE(both_paths); i++) {
        for (int j = 0; j < 2; j++) {
            g_autofree char *name =
                g_strdup_printf("xen/vdispl/dmabuf/%s/%s", paths[j],
                                both_paths[i].name);

            qtest_add_data_func(name, paths[j], both_paths[i].func);
        }
    }
    qtest_add_func("xen/vdispl/dmabuf/path/auto", test_path_auto);
    qtest_add_func("xen/vdispl/dmabuf/path/mapped", test_path_mapped);
    qtest_add_func("xen/vdispl/dmabuf/path/fallback", test_path_fallback);
    qtest_add_func("xen/vdispl/dmabuf/path/missing", test_path_missing);
    qtest_add_func("xen/vdispl/dmabuf/path/asked-late", test_path_asked_late);
    qtest_add_func("xen/vdispl/dmabuf/allocator/udmabuf-missing",
                   test_udmabuf_missing);
    qtest_add_func("xen/vdispl/dmabuf/path/dma-alloc", test_dma_alloc);
    qtest_add_func("xen/vdispl/dmabuf/path/dma-alloc-wrong",
                   test_dma_alloc_wrong);
    qtest_add_func("xen/vdispl/dmabuf/path/caching", test_path_caching);
    qtest_add_func("xen/vdispl/dmabuf/path/reasons", test_path_reasons);
    qtest_add_func("xen/vdispl/dmabuf/path/readonly-grants",
                   test_path_readonly_grants);
    qtest_add_data_func("xen/vdispl/dmabuf/path/faults", "auto",
                        test_faults_create);
    qtest_add_func("xen/vdispl/dmabuf/placed/show", test_placed_show);
    qtest_add_func("xen/vdispl/dmabuf/allocator/missing",
                   test_allocator_missing);
    qtest_add_func("xen/vdispl/dmabuf/allocator/virgl", test_allocator_virgl);
    qtest_add_func("xen/vdispl/dmabuf/allocator/gbm", test_allocator_gbm);
    qtest_add_data_func("xen/vdispl/dmabuf/rendernode/wrong/gbm", "gbm",
                        test_rendernode_wrong);
    qtest_add_data_func("xen/vdispl/dmabuf/rendernode/wrong/virgl", "virgl",
                        test_rendernode_wrong);
    qtest_add_func("xen/vdispl/dmabuf/virgl/owned", test_virgl_owned);
    qtest_add_func("xen/vdispl/dmabuf/virgl/taken", test_virgl_taken);
    qtest_add_func("xen/vdispl/dmabuf/imported/show", test_imported_show);
    qtest_add_func("xen/vdispl/dmabuf/imported/allocator",
                   test_imported_allocator);
    qtest_add_func("xen/vdispl/dmabuf/imported/held", test_imported_held);
    qtest_add_func("xen/vdispl/dmabuf/imported/disconnect",
                   test_imported_disconnect);
    qtest_add_func("xen/vdispl/dmabuf/imported/bad-directory",
                   test_imported_bad_directory);
    qtest_add_func("xen/vdispl/dmabuf/imported/caching", test_imported_caching);
    qtest_add_func("xen/vdispl/dmabuf/imported/faults", test_imported_faults);
    qtest_add_data_func("xen/vdispl/dmabuf/cycles/mapped", "mapped",
                        test_cycles);
    qtest_add_data_func("xen/vdispl/dmabuf/cycles/exported", "exported",
                        test_cycles);
    qtest_add_data_func("xen/vdispl/dmabuf/cycles/placed", "placed",
                        test_cycles);
    qtest_add_data_func("xen/vdispl/dmabuf/cycles/imported", "imported",
                        test_cycles);
    qtest_add_data_func("xen/vdispl/dmabuf/memory/none", "", test_memory);
    qtest_add_data_func("xen/vdispl/dmabuf/memory/vnc",
                        "-display vnc=none", test_memory);
    qtest_add_data_func("xen/vdispl/dmabuf/memory/dbus",
                        "-display dbus,p2p=yes", test_memory);
    qtest_add_data_func("xen/vdispl/dmabuf/memory/dbus-gl", DBUS_GL,
                        test_memory);
    qtest_add_func("xen/vdispl/dmabuf/dbus/map", test_dbus_map);
    qtest_add_func("xen/vdispl/dmabuf/dbus/unaligned", test_dbus_unaligned);
    qtest_add_data_func("xen/vdispl/dmabuf/dbus/short-row/mapped", "mapped",
                        test_dbus_short_row);
    qtest_add_data_func("xen/vdispl/dmabuf/dbus/short-row/exported",
                        "exported", test_dbus_short_row);
    qtest_add_func("xen/vdispl/dmabuf/dbus/viewer-size",
                   test_dbus_viewer_size);
    qtest_add_func("xen/vdispl/dmabuf/dbus/holds", test_dbus_holds);
    qtest_add_data_func("xen/vdispl/dmabuf/dbus/copy-mapped", "mapped",
                        test_dbus_copy_released_in_thread);
    qtest_add_data_func("xen/vdispl/dmabuf/dbus/copy-exported", "exported",
                        test_dbus_copy_released_in_thread);
    qtest_add_func("xen/vdispl/dmabuf/dbus/copy-stuck", test_dbus_copy_stuck);
    qtest_add_func("xen/vdispl/dmabuf/gl/config-paced", test_gl_config_paced);
    qtest_add_func("xen/vdispl/dmabuf/gl/taken-over", test_gl_taken_over);
    qtest_add_func("xen/vdispl/dmabuf/gl/offset", test_gl_offset);
    qtest_add_func("xen/vdispl/dmabuf/gl/short-row", test_gl_short_row);
    qtest_add_func("xen/vdispl/dmabuf/gl/gone", test_gl_gone);
    qtest_add_func("xen/vdispl/dmabuf/gl/dbus", test_gl_dbus);
    qtest_add_func("xen/vdispl/dmabuf/gl/headless", test_gl_headless);
    qtest_add_func("xen/vdispl/dmabuf/gl/formats", test_gl_formats);
    qtest_add_func("xen/vdispl/dmabuf/gl/refused", test_gl_refused);
    return g_test_run();
}
