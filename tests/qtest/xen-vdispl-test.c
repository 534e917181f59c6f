/*
 * Tests of the Xen display back end, xen-vdispl, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One QEMU a test, on the machine xen-qtest; the test is the guest.  Whatever
 * a test does, when it is over the back end must hold nothing of the guest:
 * stop() compares with what it held before the frontend connected.
 *
 * Tests that stand for an attack say which one.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/xen-vdispl.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "qobject/qdict.h"
#include "standard-headers/drm/drm_fourcc.h"

/*
 * Status codes.  The protocol says -XEN_Exx, and leaves open which.
 */
enum {
    BAD_VALUE = -XEN_EINVAL,        /* sizes, geometry, formats, directories */
    NO_SUCH_COOKIE = -XEN_ENOENT,
    COOKIE_EXISTS = -XEN_EEXIST,
    IN_USE = -XEN_EBUSY,
    OVER_QUOTA = -XEN_ENOMEM,
    NOT_SUPPORTED = -XEN_EOPNOTSUPP,
};

#define REFRESH_NS  (NANOSECONDS_PER_SECOND / 60 + 1)
#define EVENTS      ((unsigned int)XENDISPL_IN_RING_LEN)

typedef struct Fixture {
    QTestState *qts;
    QXen xen;
    QVDispl d;
    QXenAlive idle;
} Fixture;

/*
 * How buffers get to the device: the same is true of each path, so all tests
 * are run on each.
 */
static const char *buffer_path(void)
{
    return g_getenv("XEN_VDISPL_PATH") ?: "auto";
}

/* QEMU with a display; the frontend has not connected yet */
static void start_device(Fixture *f, const char *props)
{
    f->qts = qtest_initf("-machine xen-qtest -nodefaults "
                         "-global xen-vdispl.path=%s "
                         "-device 'xen-vdispl,id=vd0,%s'", buffer_path(),
                         props);
    qxen_init(&f->xen, f->qts);
    qvdispl_init(&f->d, &f->xen, 0);
    f->idle = qxen_alive_get(&f->xen);
}

/* The same with one connector, and the frontend connected */
static void start(Fixture *f)
{
    start_device(f, "connectors=800x600");
    qvdispl_connect(&f->d);
}

/* The end for a frontend that is not connected any more */
static void stop_device(Fixture *f)
{
    qxen_settle(&f->xen);
    qxen_assert_alive(&f->xen, &f->idle);
    qvdispl_cleanup(&f->d);
    qxen_cleanup(&f->xen);
    qtest_quit(f->qts);
}

static void stop(Fixture *f)
{
    qvdispl_disconnect(&f->d);
    stop_device(f);
}

/* Connected, and @buf is made and on the screen */
static void start_shown(Fixture *f, QVDisplBuffer *buf, unsigned int width,
                        unsigned int height)
{
    start(f);
    qvdispl_buffer_alloc(&f->d, buf, width, height, 32, 0);
    qvdispl_show(&f->d, 0, buf, DRM_FORMAT_XRGB8888);
}

static void stop_shown(Fixture *f, QVDisplBuffer *buf)
{
    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    qvdispl_unfb(&f->d, buf);
    stop(f);
}

/* After something hostile: the guest still can use its display */
static void assert_works(Fixture *f)
{
    QVDisplBuffer buf;

    qvdispl_buffer_alloc(&f->d, &buf, 64, 64, 32, 0);
    qvdispl_show(&f->d, 0, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    qvdispl_unfb(&f->d, &buf);
}

static uint64_t get_property(Fixture *f, const char *name)
{
    QDict *rsp = qtest_qmp(f->qts, "{ 'execute': 'qom-get', 'arguments': { "
                           "'path': '/machine/peripheral/vd0', "
                           "'property': %s } }", name);
    uint64_t value;

    g_assert(qdict_haskey(rsp, "return"));
    value = qdict_get_int(rsp, "return");
    qobject_unref(rsp);
    return value;
}

/* Pictures */

typedef struct Picture {
    unsigned int width;
    unsigned int height;
    uint8_t *rgb;
} Picture;

static void screendump(Fixture *f, const char *id, unsigned int head,
                       Picture *pic)
{
    g_autofree char *name = NULL;
    g_autofree char *data = NULL;
    size_t size, row, stride;
    unsigned int y;
    int len;
    int fd;

    fd = g_file_open_tmp("xen-vdispl-XXXXXX.ppm", &name, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    qtest_qmp_assert_success(f->qts, "{ 'execute': 'screendump', "
                             "'arguments': { 'filename': %s, 'device': %s, "
                             "'head': %u } }", name, id, head);
    g_assert(g_file_get_contents(name, &data, &size, NULL));
    unlink(name);

    g_assert_cmpint(sscanf(data, "P6\n%u %u\n255\n%n", &pic->width,
                           &pic->height, &len), ==, 2);
    /* QEMU 10.0 pads the rows of a PPM, which it should not */
    row = pic->width * 3;
    stride = (size - len) / pic->height;
    g_assert_cmpuint(stride, >=, row);
    g_assert_cmpuint(stride, <, row + 4);
    g_assert_cmpuint(size - len, ==, stride * pic->height);
    pic->rgb = g_malloc(row * pic->height);
    for (y = 0; y < pic->height; y++) {
        memcpy(pic->rgb + y * row, data + len + y * stride, row);
    }
}

/* Bytes in which every bit is set somewhere; the same in every run */
static uint8_t *noise(size_t size)
{
    uint8_t *data = g_malloc(size);
    uint32_t x = 0x2545f491;
    size_t i;

    for (i = 0; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        data[i] = x >> 8;
    }
    return data;
}

static uint8_t clamp(double v)
{
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

static void decode_pixel(uint32_t fourcc, const uint8_t *row, unsigned int x,
                         uint8_t *rgb)
{
    unsigned int p = lduw_le_p(row + 2 * x);

    switch (fourcc) {
    case DRM_FORMAT_XRGB8888:
    case DRM_FORMAT_ARGB8888:
        rgb[0] = row[4 * x + 2];
        rgb[1] = row[4 * x + 1];
        rgb[2] = row[4 * x];
        break;
    case DRM_FORMAT_RGB888:
        rgb[0] = row[3 * x + 2];
        rgb[1] = row[3 * x + 1];
        rgb[2] = row[3 * x];
        break;
    case DRM_FORMAT_RGB565:
        rgb[0] = (p >> 11) << 3 | (p >> 11) >> 2;
        rgb[1] = (p >> 5 & 63) << 2 | (p >> 5 & 63) >> 4;
        rgb[2] = (p & 31) << 3 | (p & 31) >> 2;
        break;
    case DRM_FORMAT_XRGB1555:
    case DRM_FORMAT_ARGB1555:
        rgb[0] = (p >> 10 & 31) << 3 | (p >> 10 & 31) >> 2;
        rgb[1] = (p >> 5 & 31) << 3 | (p >> 5 & 31) >> 2;
        rgb[2] = (p & 31) << 3 | (p & 31) >> 2;
        break;
    case DRM_FORMAT_XRGB4444:
    case DRM_FORMAT_ARGB4444:
        rgb[0] = (p >> 8 & 15) * 17;
        rgb[1] = (p >> 4 & 15) * 17;
        rgb[2] = (p & 15) * 17;
        break;
    case DRM_FORMAT_YUYV: {
        const uint8_t *pair = row + x / 2 * 4;
        double y = 1.164 * (row[2 * x] - 16);
        int u = pair[1] - 128;
        int v = pair[3] - 128;

        rgb[0] = clamp(y + 1.596 * v);
        rgb[1] = clamp(y - 0.813 * v - 0.391 * u);
        rgb[2] = clamp(y + 2.018 * u);
        break;
    }
    default:
        g_assert_not_reached();
    }
}

/* The screen shows @data: exactly, but for YUV's fractions */
static void assert_picture(const Picture *pic, uint32_t fourcc,
                           const uint8_t *data, unsigned int width,
                           unsigned int height, unsigned int stride)
{
    int tolerance = fourcc == DRM_FORMAT_YUYV;
    unsigned int x, y, i;

    g_assert_cmpuint(pic->width, ==, width);
    g_assert_cmpuint(pic->height, ==, height);
    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            const uint8_t *got = pic->rgb + (y * width + x) * 3;
            uint8_t want[3];

            decode_pixel(fourcc, data + y * stride, x, want);
            for (i = 0; i < 3; i++) {
                if (abs(got[i] - want[i]) > tolerance) {
                    g_error("%.4s %ux%u: pixel %u,%u is %02x%02x%02x, not "
                            "%02x%02x%02x", (const char *)&fourcc, width,
                            height, x, y, got[0], got[1], got[2], want[0],
                            want[1], want[2]);
                }
            }
        }
    }
}

/* Fills the buffer with noise.  Returns: what it is filled with */
static uint8_t *draw(Fixture *f, QVDisplBuffer *buf)
{
    size_t size = buf->stride * buf->req.height;
    uint8_t *data = noise(size);

    qtest_bufwrite(f->qts, buf->addr + buf->req.data_ofs, data, size);
    return data;
}

static void assert_shown(Fixture *f, unsigned int conn, QVDisplBuffer *buf,
                         uint32_t fourcc, const uint8_t *data)
{
    Picture pic;

    screendump(f, "vd0", conn, &pic);
    assert_picture(&pic, fourcc, data, buf->req.width, buf->req.height,
                   buf->stride);
    g_free(pic.rgb);
}

/*
 * A reader that takes its time: a screendump into a FIFO that is full.  It
 * holds on to the surface that was shown when it began.
 */
typedef struct SlowReader {
    char *dir;
    char *name;
    int fd;
} SlowReader;

static void slow_reader_start(Fixture *f, SlowReader *r)
{
    g_autofree char *chunk = g_malloc(65536);
    size_t size = 0;
    int fd;

    r->dir = g_dir_make_tmp("xen-vdispl-XXXXXX", NULL);
    r->name = g_strdup_printf("%s/screen", r->dir);
    g_assert_cmpint(mkfifo(r->name, 0600), ==, 0);
    r->fd = open(r->name, O_RDONLY | O_NONBLOCK);
    g_assert_cmpint(r->fd, >=, 0);
    qtest_qmp_send(f->qts, "{ 'execute': 'screendump', 'arguments': { "
                   "'filename': %s, 'device': 'vd0' } }", r->name);

    /*
     * QEMU writes until the FIFO is full, and stands still in there.  Have it
     * come back instead: it notices after it has been read a bit.
     */
    while (size < 65536) {
        ssize_t n = read(r->fd, chunk, 65536);

        if (n <= 0) {
            g_usleep(1000);
            continue;
        }
        if (!size) {
            fd = qxen_fd_get(&f->xen, r->name);
            g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
            close(fd);
        }
        size += n;
    }
    qxen_settle(&f->xen);
}

static void slow_reader_finish(Fixture *f, SlowReader *r)
{
    g_autofree char *chunk = g_malloc(65536);
    QDict *rsp;

    /* QEMU writes when its main loop turns; it closes when all is written */
    while (read(r->fd, chunk, 65536) != 0) {
        qtest_readl(f->qts, XEN_QTEST_BASE);
    }
    close(r->fd);
    unlink(r->name);
    rmdir(r->dir);
    g_free(r->name);
    g_free(r->dir);
    rsp = qtest_qmp_receive(f->qts);
    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    qxen_settle(&f->xen);
}

/* Life cycle */

static void test_life_connect(void)
{
    Fixture f;

    start(&f);
    g_assert_cmpint(qxen_device_state(&f.d.dev), ==, XenbusStateConnected);
    g_assert_cmpuint(qxen_grant_mapped(&f.xen, f.d.conn[0].req.ref), ==, 1);
    g_assert_cmpuint(qxen_grant_mapped(&f.xen, f.d.conn[0].evt_ref), ==, 1);
    stop(&f);
}

static void test_life_versions(void)
{
    Fixture f;
    g_autofree char *versions = NULL;

    start_device(&f, "connectors=800x600");
    versions = qxen_device_be_read(&f.d.dev, XENDISPL_FIELD_BE_VERSIONS);
    g_assert_cmpstr(versions, ==, "1,2");
    stop_device(&f);
}

static void test_life_reconnect(void)
{
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < 10; i++) {
        assert_works(&f);
        qvdispl_disconnect(&f.d);
        qxen_assert_alive(&f.xen, &f.idle);
        qvdispl_restart(&f.d);
        qvdispl_connect(&f.d);
    }
    stop(&f);
}

/* The guest was reset: its driver starts without having closed */
static void test_life_restart_connected(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_shown(&f, &buf, 800, 600);
    qvdispl_restart(&f.d);
    qxen_assert_alive(&f.xen, &f.idle);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_rings_free(&f.d);

    qvdispl_connect(&f.d);
    assert_works(&f);
    stop(&f);
}

/* Linux' rmmod: Closing, and then it waits for InitWait */
static void test_life_closing(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_shown(&f, &buf, 800, 600);
    qxen_device_set_state(&f.d.dev, XenbusStateClosing);
    qxen_device_wait(&f.d.dev, XenbusStateClosing);
    qxen_settle(&f.xen);
    qxen_assert_alive(&f.xen, &f.idle);
    qtest_clock_step(f.qts, NANOSECONDS_PER_SECOND);
    qxen_device_wait(&f.d.dev, XenbusStateInitWait);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_rings_free(&f.d);

    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    assert_works(&f);
    stop(&f);
}

/* A frontend that closes need not take down what it made */
static void test_life_close_with_buffers(void)
{
    Fixture f;
    QVDisplBuffer shown, made;

    start_shown(&f, &shown, 800, 600);
    qvdispl_buffer_alloc(&f.d, &made, 64, 64, 32, 0);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &made), ==, 0);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, shown.fb_cookie), ==, 0);
    qvdispl_disconnect(&f.d);
    qvdispl_buffer_free(&f.d, &shown);
    qvdispl_buffer_free(&f.d, &made);
    stop_device(&f);
}

/* The toolstack destroys the guest: the frontend's nodes are gone */
static void test_life_guest_destroyed(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_shown(&f, &buf, 800, 600);
    g_assert_cmpint(qxen_xs_rm(&f.xen, QXEN_TOOLSTACK, f.d.dev.fe), ==, 0);
    qxen_settle(&f.xen);
    qxen_assert_alive(&f.xen, &f.idle);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_rings_free(&f.d);
    stop_device(&f);
}

/* QEMU ends while all is in use */
static void test_life_quit(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_shown(&f, &buf, 800, 600);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qtest_quit(f.qts);
}

/* A frontend that cannot let go of its display yet, and then starts again */
static void test_life_reconfiguring(void)
{
    Fixture f;

    start(&f);
    qxen_device_set_state(&f.d.dev, XenbusStateReconfiguring);
    qxen_device_wait(&f.d.dev, XenbusStateInitWait);
    qxen_settle(&f.xen);
    qxen_assert_alive(&f.xen, &f.idle);
    qvdispl_rings_free(&f.d);
    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    assert_works(&f);
    stop(&f);
}

/*
 * Attack: states in an order, or of a kind, that no driver writes, to catch
 * the back end half connected.
 */
static void test_life_illegal_states(void)
{
    static const char *const states[] = {
        "0", "2", "7", "8", "9", "4294967295", "-1", "", "x", "4x", "  4",
    };
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    for (i = 0; i < ARRAY_SIZE(states); i++) {
        qxen_device_fe_write(&f.d.dev, "state", "%s", states[i]);
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &f.idle);
    }

    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    for (i = 0; i < ARRAY_SIZE(states); i++) {
        qxen_device_fe_write(&f.d.dev, "state", "%s", states[i]);
        qxen_settle(&f.xen);
    }
    qvdispl_disconnect(&f.d);
    qxen_assert_alive(&f.xen, &f.idle);

    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    assert_works(&f);
    stop(&f);
}

/* Attack: Initialised again and again, to have the rings mapped twice */
static void test_life_initialised_twice(void)
{
    Fixture f;
    QXenAlive connected;
    int i;

    start(&f);
    connected = qxen_alive_get(&f.xen);
    for (i = 0; i < 3; i++) {
        qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &connected);
    }
    assert_works(&f);
    stop(&f);
}

/* Closed without ever having connected */
static void test_life_close_unconnected(void)
{
    Fixture f;

    start_device(&f, "connectors=800x600");
    qxen_device_set_state(&f.d.dev, XenbusStateClosed);
    qxen_device_wait(&f.d.dev, XenbusStateClosed);
    stop_device(&f);
}

/* The guest closes, but xenstore is slow: until then it is served */
static void test_life_slow_close(void)
{
    Fixture f;

    start(&f);
    qxen_xs_hold(&f.xen, true);
    qxen_device_set_state(&f.d.dev, XenbusStateClosed);
    assert_works(&f);
    g_assert_cmpint(qxen_device_state(&f.d.dev), ==, XenbusStateConnected);
    qxen_xs_hold(&f.xen, false);
    qxen_device_wait(&f.d.dev, XenbusStateClosed);
    qvdispl_rings_free(&f.d);
    stop_device(&f);
}

/*
 * A guest that tries again before xenstore has told of its first attempt:
 * what connects are the rings that are there now, and only those.
 */
static void test_life_slow_connect(void)
{
    Fixture f;
    uint32_t maps;

    start_device(&f, "connectors=800x600");
    maps = qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP);
    qxen_xs_hold(&f.xen, true);
    qvdispl_rings_alloc(&f.d);
    qvdispl_publish(&f.d);
    qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
    qxen_device_set_state(&f.d.dev, XenbusStateClosed);
    qxen_device_set_state(&f.d.dev, XenbusStateInitialising);
    qvdispl_rings_free(&f.d);
    qvdispl_rings_alloc(&f.d);
    qvdispl_publish(&f.d);
    qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
    g_assert_cmpint(qxen_device_state(&f.d.dev), ==, XenbusStateInitWait);
    g_assert(qxen_busy(&f.xen));

    qxen_xs_hold(&f.xen, false);
    qxen_device_wait(&f.d.dev, XenbusStateConnected);
    qxen_settle(&f.xen);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP), ==,
                     maps + 2);
    g_assert_cmpuint(qxen_grant_mapped(&f.xen, f.d.conn[0].req.ref), ==, 1);
    assert_works(&f);
    stop(&f);
}

/* Nodes */

static const char *const transport_nodes[] = {
    "0/" XENDISPL_FIELD_REQ_RING_REF, "0/" XENDISPL_FIELD_REQ_CHANNEL,
    "0/" XENDISPL_FIELD_EVT_RING_REF, "0/" XENDISPL_FIELD_EVT_CHANNEL,
};

/* What is written to xenstore does not make a connection, and does no harm */
static void refuse_and_recover(Fixture *f)
{
    qxen_device_set_state(&f->d.dev, XenbusStateInitialised);
    qxen_device_wait(&f->d.dev, XenbusStateClosed);
    qxen_settle(&f->xen);
    qxen_assert_alive(&f->xen, &f->idle);
    qvdispl_restart(&f->d);
}

/* Attack: nodes that are not there */
static void test_nodes_missing(void)
{
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    for (i = 0; i < ARRAY_SIZE(transport_nodes); i++) {
        qvdispl_publish(&f.d);
        qxen_device_fe_rm(&f.d.dev, transport_nodes[i]);
        refuse_and_recover(&f);
    }
    qvdispl_rings_free(&f.d);
    qvdispl_connect(&f.d);
    stop(&f);
}

/* Attack: values that overflow, do not end, or are something else */
static void test_nodes_malformed(void)
{
    static const char *const values[] = {
        "", "x", "-1", "0x10 ", "12x", "4294967296", "4294967295",
        "18446744073709551617", "99999999999999999999999999999999", "1 2",
        "\n", "%n%n%s",
    };
    Fixture f;
    g_autofree char *longest = g_strnfill(2000, '1');
    int i, j;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    for (i = 0; i < ARRAY_SIZE(transport_nodes); i++) {
        for (j = 0; j <= ARRAY_SIZE(values); j++) {
            qvdispl_publish(&f.d);
            qxen_device_fe_write(&f.d.dev, transport_nodes[i], "%s",
                                 j < ARRAY_SIZE(values) ? values[j] : longest);
            refuse_and_recover(&f);
        }
    }
    qvdispl_rings_free(&f.d);
    qvdispl_connect(&f.d);
    stop(&f);
}

/* Attack: bytes that are no text at all */
static void test_nodes_binary(void)
{
    static const char value[] = "\xff\xfe\0" "12";
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    for (i = 0; i < ARRAY_SIZE(transport_nodes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", f.d.dev.fe,
                                                transport_nodes[i]);

        qvdispl_publish(&f.d);
        g_assert_cmpint(qxen_xs_try_write(&f.xen, QXEN_GUEST, path, value,
                                          sizeof(value)), ==, 0);
        refuse_and_recover(&f);
    }
    qvdispl_rings_free(&f.d);
    stop_device(&f);
}

/* Attack: rings that are not granted, not to be written, or no memory */
static void test_nodes_bad_grants(void)
{
    Fixture f;
    QVDisplConnector *conn = &f.d.conn[0];
    int i;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    qvdispl_publish(&f.d);
    for (i = 0; i < 2; i++) {
        uint32_t ref = i ? conn->evt_ref : conn->req.ref;
        uint64_t gfn = (i ? conn->evt_page : conn->req.addr) >> XEN_PAGE_SHIFT;

        qxen_grant_set(&f.xen, ref, gfn, 0);
        refuse_and_recover(&f);
        qxen_grant_set(&f.xen, ref, gfn, XEN_QTEST_GRANT_ACCESS |
                       XEN_QTEST_GRANT_READONLY);
        refuse_and_recover(&f);
        qxen_grant_set(&f.xen, ref, UINT32_MAX, XEN_QTEST_GRANT_ACCESS);
        refuse_and_recover(&f);
        qxen_grant_set(&f.xen, ref, gfn, XEN_QTEST_GRANT_ACCESS);
    }
    qvdispl_rings_free(&f.d);
    qvdispl_connect(&f.d);
    stop(&f);
}

/* Attack: ports that do not exist, or one port for both channels */
static void test_nodes_bad_ports(void)
{
    Fixture f;
    static const uint32_t ports[] = { 0, 1000, 1023, 1024, UINT32_MAX };
    int i;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    for (i = 0; i < ARRAY_SIZE(ports); i++) {
        qvdispl_publish(&f.d);
        qxen_device_fe_write(&f.d.dev, transport_nodes[1], "%u", ports[i]);
        refuse_and_recover(&f);
        qvdispl_publish(&f.d);
        qxen_device_fe_write(&f.d.dev, transport_nodes[3], "%u", ports[i]);
        refuse_and_recover(&f);
    }
    qvdispl_publish(&f.d);
    qxen_device_fe_write(&f.d.dev, transport_nodes[3], "%u",
                         f.d.conn[0].req.port);
    refuse_and_recover(&f);
    qvdispl_rings_free(&f.d);
    qvdispl_connect(&f.d);
    stop(&f);
}

/* Attack: one page as request ring and event page, each spoiling the other */
static void test_nodes_shared_page(void)
{
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    qvdispl_rings_alloc(&f.d);
    qvdispl_publish(&f.d);
    qxen_device_fe_write(&f.d.dev, transport_nodes[2], "%u",
                         f.d.conn[0].req.ref);
    qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
    qxen_settle(&f.xen);
    for (i = 0; i < 8; i++) {
        struct xendispl_req req = { .operation = XENDISPL_OP_PG_FLIP };

        qvdispl_send(&f.d, 0, &req);
        qtest_clock_step(f.qts, REFRESH_NS);
    }
    qxen_settle(&f.xen);
    qvdispl_disconnect(&f.d);
    stop_device(&f);
}

static void test_nodes_version(void)
{
    static const struct {
        const char *version;
        bool good;
    } versions[] = {
        { "1", true }, { "2", true }, { "3", false }, { "0", false },
        { "", false }, { "1,2", false }, { "x", false }, { "-1", false },
        { "4294967297", false },
    };
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    for (i = 0; i < ARRAY_SIZE(versions); i++) {
        f.d.version = versions[i].version;
        if (versions[i].good) {
            qvdispl_connect(&f.d);
            qvdispl_disconnect(&f.d);
            qvdispl_restart(&f.d);
        } else {
            qvdispl_rings_alloc(&f.d);
            qvdispl_publish(&f.d);
            refuse_and_recover(&f);
            qvdispl_rings_free(&f.d);
        }
    }
    stop_device(&f);
}

/* Attack: the guest gives itself a larger screen, or another name */
static void test_nodes_read_only(void)
{
    static const char *const nodes[] = {
        "0/" XENDISPL_FIELD_RESOLUTION, "0/" XENDISPL_FIELD_UNIQUE_ID,
    };
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    for (i = 0; i < ARRAY_SIZE(nodes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", f.d.dev.fe,
                                                nodes[i]);

        g_assert_cmpint(qxen_xs_try_write(&f.xen, QXEN_GUEST, path, "9x9", 3),
                        ==, EACCES);
    }
    stop_device(&f);
}

/* A frontend that serves fewer connectors than it was given */
static void test_nodes_fewer_connectors(void)
{
    Fixture f;

    start_device(&f, "connectors=800x600;640x480");
    f.d.nr_conn = 1;
    qvdispl_connect(&f.d);
    assert_works(&f);
    stop(&f);
}

/* Rings */

/* A request that is refused is the cheapest one */
static int poke(Fixture *f, unsigned int conn)
{
    return qvdispl_flip(&f->d, conn, 0xdead);
}

static void test_rings_wrap(void)
{
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < 200; i++) {
        g_assert_cmpint(poke(&f, 0), ==, NO_SUCH_COOKIE);
    }
    stop(&f);
}

/* A full ring is served whole, in order, and more than once */
static void test_rings_full(void)
{
    Fixture f;
    QXenRing *ring = &f.d.conn[0].req;
    struct xendispl_resp resp;
    unsigned int i, round;

    start(&f);
    for (round = 0; round < 4; round++) {
        for (i = 0; i < ring->nr; i++) {
            struct xendispl_req req = {
                .id = i,
                .operation = XENDISPL_OP_PG_FLIP,
                .op.pg_flip.fb_cookie = 1,
            };

            qxen_ring_put(ring, &req, sizeof(req));
        }
        qxen_ring_push(ring);
        for (i = 0; i < ring->nr; i++) {
            qxen_ring_wait(ring, &resp, sizeof(resp));
            g_assert_cmpuint(resp.id, ==, i);
            g_assert_cmpuint(resp.operation, ==, XENDISPL_OP_PG_FLIP);
            g_assert_cmpint(resp.status, ==, NO_SUCH_COOKIE);
        }
    }
    stop(&f);
}

/* The back end rings for a response only if it is asked to */
static void test_rings_notify(void)
{
    Fixture f;
    QXenRing *ring = &f.d.conn[0].req;
    struct xendispl_req req = { .operation = XENDISPL_OP_PG_FLIP };
    struct xendispl_resp resp;

    start(&f);
    qxen_evtchn_take(&f.xen, ring->port);
    poke(&f, 0);
    g_assert_cmpuint(qxen_evtchn_take(&f.xen, ring->port), ==, 1);

    qtest_writel(f.qts, ring->addr + QXEN_RING_RSP_EVENT,
                 ring->rsp_cons + 100);
    qvdispl_send(&f.d, 0, &req);
    qxen_ring_wait(ring, &resp, sizeof(resp));
    g_assert_cmpuint(qxen_evtchn_take(&f.xen, ring->port), ==, 0);
    stop(&f);
}

/*
 * Attack: a producer index that runs ahead, so that the back end serves a
 * ring full of old requests for ever, or answers over unread requests.
 */
static void test_rings_overrun(void)
{
    static const uint32_t ahead[] = { 33, 64, 0x7fffffff, 0x80000000, -1 };
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    for (i = 0; i < ARRAY_SIZE(ahead); i++) {
        QXenRing *ring = &f.d.conn[0].req;

        qvdispl_connect(&f.d);
        assert_works(&f);
        qtest_writel(f.qts, ring->addr + QXEN_RING_REQ_PROD,
                     ring->req_prod + ahead[i]);
        qxen_evtchn_notify(&f.xen, ring->port);
        qxen_device_wait(&f.d.dev, XenbusStateClosed);
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &f.idle);
        qvdispl_rings_free(&f.d);
        qvdispl_restart(&f.d);
    }
    stop_device(&f);
}

/* Attack: indices that belong to the back end are not read back */
static void test_rings_foreign_indices(void)
{
    Fixture f;
    QXenRing *ring = &f.d.conn[0].req;
    struct xendispl_req req = { .operation = XENDISPL_OP_PG_FLIP };
    struct xendispl_resp resp;

    start(&f);
    poke(&f, 0);
    qtest_writel(f.qts, ring->addr + QXEN_RING_RSP_PROD, 0x12345678);
    qtest_writel(f.qts, ring->addr + QXEN_RING_REQ_EVENT, 0x12345678);
    req.id = 77;
    qxen_ring_put(ring, &req, sizeof(req));
    qtest_writel(f.qts, ring->addr + QXEN_RING_REQ_PROD, ring->req_prod);
    qxen_evtchn_notify(&f.xen, ring->port);
    qxen_settle(&f.xen);
    g_assert_cmpuint(qtest_readl(f.qts, ring->addr + QXEN_RING_RSP_PROD),
                     ==, ring->rsp_cons + 1);
    g_assert(qxen_ring_get(ring, &resp, sizeof(resp)));
    g_assert_cmpuint(resp.id, ==, 77);
    stop(&f);
}

/* Attack: operations that do not exist */
static void test_rings_garbage_opcodes(void)
{
    Fixture f;
    int op;

    start(&f);
    for (op = 0; op < 256; op++) {
        struct xendispl_req req = { .operation = op };

        memset(&req.op, 0xa5, sizeof(req.op));
        if (op >= XENDISPL_OP_DBUF_CREATE && op <= XENDISPL_OP_GET_EDID) {
            g_assert_cmpint(qvdispl_request(&f.d, 0, &req, NULL), <, 0);
        } else {
            g_assert_cmpint(qvdispl_request(&f.d, 0, &req, NULL), ==,
                            NOT_SUPPORTED);
        }
    }
    g_assert_cmpuint(get_property(&f, "errors"), >=, 256);
    assert_works(&f);
    stop(&f);
}

/* Attack: notifications without requests, to keep the back end busy */
static void test_rings_spurious_notify(void)
{
    Fixture f;
    struct xendispl_resp resp;
    int i;

    start(&f);
    for (i = 0; i < 1000; i++) {
        qxen_evtchn_notify(&f.xen, f.d.conn[0].req.port);
        qxen_evtchn_notify(&f.xen, f.d.conn[0].evt_port);
    }
    qxen_settle(&f.xen);
    g_assert(!qxen_ring_get(&f.d.conn[0].req, &resp, sizeof(resp)));
    assert_works(&f);
    stop(&f);
}

/* Requests that the protocol has on connector 0 only */
static void test_rings_wrong_connector(void)
{
    static const uint8_t ops[] = {
        XENDISPL_OP_DBUF_CREATE, XENDISPL_OP_DBUF_DESTROY,
        XENDISPL_OP_FB_ATTACH, XENDISPL_OP_FB_DETACH,
    };
    Fixture f;
    QVDisplBuffer buf;
    int i;

    start_device(&f, "connectors=800x600;640x480");
    qvdispl_connect(&f.d);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    for (i = 0; i < ARRAY_SIZE(ops); i++) {
        struct xendispl_req req = {
            .operation = ops[i],
            .op.dbuf_create = buf.req,
        };

        g_assert_cmpint(qvdispl_request(&f.d, 1, &req, NULL), ==, BAD_VALUE);
    }
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* A guest processor that changes a shared word all the time */

typedef struct Hammer {
    GThread *thread;
    uint8_t *ram;
    uint32_t *word;
    uint32_t values[2];
    bool stop;
} Hammer;

static void *hammer_run(void *opaque)
{
    Hammer *h = opaque;
    unsigned int i = 0;

    while (!qatomic_read(&h->stop)) {
        qatomic_set(h->word, h->values[i++ % 2]);
    }
    qatomic_set(h->word, h->values[0]);
    return NULL;
}

static void hammer_start(Fixture *f, Hammer *h, uint64_t addr, uint32_t good,
                         uint32_t bad)
{
    h->ram = qxen_ram_map(&f->xen);
    h->word = (uint32_t *)(h->ram + addr);
    h->values[0] = good;
    h->values[1] = bad;
    h->stop = false;
    h->thread = g_thread_new("hammer", hammer_run, h);
}

static void hammer_stop(Fixture *f, Hammer *h)
{
    qatomic_set(&h->stop, true);
    g_thread_join(h->thread);
    qxen_ram_unmap(&f->xen, h->ram);
}

/* Sends @req while the word at @offset in it changes; the answer is lost */
static void send_hammered(Fixture *f, const struct xendispl_req *req,
                          size_t offset, uint32_t bad)
{
    QXenRing *ring = &f->d.conn[0].req;
    uint64_t slot = ring->addr + ring->offset +
        ring->req_prod % ring->nr * ring->entry_size;
    struct xendispl_resp resp;
    uint32_t good;
    Hammer h;

    memcpy(&good, (const uint8_t *)req + offset, sizeof(good));
    qxen_ring_put(ring, req, sizeof(*req));
    hammer_start(f, &h, slot + offset, good, bad);
    qxen_ring_push(ring);
    qxen_settle(&f->xen);
    hammer_stop(f, &h);
    /* The response was in the same slot, and may have been hit as well */
    g_assert(qxen_ring_get(ring, &resp, sizeof(resp)));
}

#define HAMMER_TIMES    50

/*
 * Attack: a field of a request changes between its check and its use
 * (XSA-155): between a value for which the other fields are right, and one for
 * which they are not.
 */
static void test_rings_double_fetch_dbuf(void)
{
    static const struct {
        size_t offset;
        uint32_t bad;
    } fields[] = {
        { offsetof(struct xendispl_dbuf_create_req, width), 0x4000 },
        { offsetof(struct xendispl_dbuf_create_req, height), 0x4000 },
        { offsetof(struct xendispl_dbuf_create_req, bpp), 64 },
        { offsetof(struct xendispl_dbuf_create_req, buffer_sz), 0x1000 },
        { offsetof(struct xendispl_dbuf_create_req, buffer_sz), 0x8000000 },
        { offsetof(struct xendispl_dbuf_create_req, data_ofs), 0x3fff },
        { offsetof(struct xendispl_dbuf_create_req, gref_directory), 0 },
    };
    Fixture f;
    QVDisplBuffer buf;
    int i, n;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    for (i = 0; i < ARRAY_SIZE(fields); i++) {
        for (n = 0; n < HAMMER_TIMES; n++) {
            struct xendispl_req req = {
                .operation = XENDISPL_OP_DBUF_CREATE,
                .op.dbuf_create = buf.req,
            };

            send_hammered(&f, &req, offsetof(struct xendispl_req,
                                             op.dbuf_create) +
                          fields[i].offset, fields[i].bad);
            if (get_property(&f, "bytes-mapped")) {
                g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==,
                                 buf.nr_pages);
                g_assert_cmpint(qvdispl_dbuf_destroy(
                    &f.d, buf.req.dbuf_cookie), ==, 0);
            }
            g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
        }
    }
    qvdispl_buffer_free(&f.d, &buf);
    assert_works(&f);
    stop(&f);
}

/* The same: a framebuffer grows after it has been found to fit */
static void test_rings_double_fetch_fb(void)
{
    static const size_t offsets[] = {
        offsetof(struct xendispl_req, op.fb_attach.width),
        offsetof(struct xendispl_req, op.fb_attach.height),
        offsetof(struct xendispl_req, op.fb_attach.fb_cookie),
    };
    Fixture f;
    QVDisplBuffer buf;
    int i, n;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    for (i = 0; i < ARRAY_SIZE(offsets); i++) {
        for (n = 0; n < HAMMER_TIMES; n++) {
            struct xendispl_req req = {
                .operation = XENDISPL_OP_FB_ATTACH,
                .op.fb_attach = {
                    .dbuf_cookie = buf.req.dbuf_cookie,
                    .fb_cookie = 0x51,
                    .width = 64,
                    .height = 64,
                    .pixel_format = DRM_FORMAT_XRGB8888,
                },
            };
            int wider, higher;

            send_hammered(&f, &req, offsets[i], 0x400);
            wider = qvdispl_set_config(&f.d, 0, 0x51, 0, 0, 65, 64, 32);
            g_assert(wider == BAD_VALUE || wider == NO_SUCH_COOKIE);
            higher = qvdispl_set_config(&f.d, 0, 0x51, 0, 0, 64, 65, 32);
            g_assert_cmpint(higher, ==, wider);
            qvdispl_fb_detach(&f.d, 0x51);
            qvdispl_fb_detach(&f.d, 0x400);
        }
    }
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* The same: the visible part moves after it has been found to fit */
static void test_rings_double_fetch_config(void)
{
    static const size_t offsets[] = {
        offsetof(struct xendispl_req, op.set_config.x),
        offsetof(struct xendispl_req, op.set_config.y),
        offsetof(struct xendispl_req, op.set_config.width),
        offsetof(struct xendispl_req, op.set_config.height),
    };
    Fixture f;
    QVDisplBuffer buf;
    int i, n;

    start_shown(&f, &buf, 64, 64);
    for (i = 0; i < ARRAY_SIZE(offsets); i++) {
        for (n = 0; n < HAMMER_TIMES; n++) {
            struct xendispl_req req = {
                .operation = XENDISPL_OP_SET_CONFIG,
                .op.set_config = {
                    .fb_cookie = buf.fb_cookie,
                    .width = 64,
                    .height = 64,
                    .bpp = 32,
                },
            };
            Picture pic;

            send_hammered(&f, &req, offsets[i], 600);
            qvdispl_refresh(&f.d);
            screendump(&f, "vd0", 0, &pic);
            g_assert_cmpuint(pic.width, ==, 64);
            g_assert_cmpuint(pic.height, ==, 64);
            g_free(pic.rgb);
        }
    }
    stop_shown(&f, &buf);
}

/*
 * Attack: the producer index changes all the time, so that there is always
 * more to do; the back end must come back to its other work.
 */
static void test_rings_racing_producer(void)
{
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600");
    for (i = 0; i < 20; i++) {
        QXenRing *ring = &f.d.conn[0].req;
        Hammer h;
        int n;

        qvdispl_connect(&f.d);
        hammer_start(&f, &h, ring->addr + QXEN_RING_REQ_PROD, ring->nr,
                     2 * ring->nr);
        qxen_evtchn_notify(&f.xen, ring->port);
        for (n = 0; n < 100; n++) {
            qxen_alive(&f.xen, XEN_QTEST_GRANT_MAPS);
        }
        hammer_stop(&f, &h);
        qvdispl_disconnect(&f.d);
        qxen_assert_alive(&f.xen, &f.idle);
        qvdispl_restart(&f.d);
    }
    stop_device(&f);
}

/* Directories */

/* One entry less than a page of the directory, as many, and one more */
static void test_directory_lengths(void)
{
    unsigned int n = XENDISPL_DIR_ENTRIES;
    unsigned int pages[] = { 1, 2, n - 1, n, n + 1, 2 * n, 2 * n + 1 };
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < ARRAY_SIZE(pages); i++) {
        QVDisplBuffer buf;

        qvdispl_buffer_alloc(&f.d, &buf, 1024, pages[i], 32, 0);
        g_assert_cmpuint(buf.nr_pages, ==, pages[i]);
        qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
        g_assert_cmpuint(get_property(&f, "bytes-mapped"), ==,
                         pages[i] * XEN_PAGE_SIZE);
        g_assert_cmpuint(qxen_grant_mapped(&f.xen, buf.refs[pages[i] - 1]),
                         ==, 1);
        g_assert_cmpuint(qxen_grant_mapped(&f.xen, buf.dir_refs[0]), ==, 0);
        qvdispl_unfb(&f.d, &buf);
    }
    stop(&f);
}

/*
 * Sends a buffer of 1024 x @pages whose directory the callback has spoilt:
 * it must be refused, with nothing mapped.
 */
static void refuse_buffer(Fixture *f, unsigned int pages,
                          void (*spoil)(Fixture *f, QVDisplBuffer *buf))
{
    QVDisplBuffer buf;

    qvdispl_buffer_alloc(&f->d, &buf, 1024, pages, 32, 0);
    spoil(f, &buf);
    g_assert_cmpint(qvdispl_dbuf_create(&f->d, &buf), ==, BAD_VALUE);
    g_assert_cmpuint(get_property(f, "bytes-mapped"), ==, 0);
    /* Its cookie is not taken */
    g_assert_cmpint(qvdispl_dbuf_destroy(&f->d, buf.req.dbuf_cookie), ==,
                    NO_SUCH_COOKIE);
    qvdispl_buffer_free(&f->d, &buf);
    assert_works(f);
}

static void spoil_loop_self(Fixture *f, QVDisplBuffer *buf)
{
    qtest_writel(f->qts, qvdispl_dir_next(buf, 0), buf->dir_refs[0]);
}

static void spoil_loop_back(Fixture *f, QVDisplBuffer *buf)
{
    qtest_writel(f->qts, qvdispl_dir_next(buf, 1), buf->dir_refs[0]);
}

/* Attack: a directory that never ends */
static void test_directory_loop(void)
{
    Fixture f;

    start(&f);
    refuse_buffer(&f, 2 * XENDISPL_DIR_ENTRIES, spoil_loop_self);
    refuse_buffer(&f, 3 * XENDISPL_DIR_ENTRIES, spoil_loop_back);
    stop(&f);
}

static void spoil_no_next(Fixture *f, QVDisplBuffer *buf)
{
    qtest_writel(f->qts, qvdispl_dir_next(buf, 0), 0);
}

static void spoil_no_first(Fixture *f, QVDisplBuffer *buf)
{
    buf->req.gref_directory = 0;
}

/* Attack: a directory that ends before the buffer does */
static void test_directory_short(void)
{
    Fixture f;

    start(&f);
    refuse_buffer(&f, XENDISPL_DIR_ENTRIES + 1, spoil_no_next);
    refuse_buffer(&f, 1, spoil_no_first);
    stop(&f);
}

static void spoil_dir_ungranted(Fixture *f, QVDisplBuffer *buf)
{
    unsigned int last = buf->nr_dirs - 1;

    qxen_grant_set(&f->xen, buf->dir_refs[last],
                   (buf->dir >> XEN_PAGE_SHIFT) + last, 0);
}

static void spoil_dir_no_memory(Fixture *f, QVDisplBuffer *buf)
{
    qxen_grant_set(&f->xen, buf->dir_refs[buf->nr_dirs - 1], UINT32_MAX,
                   XEN_QTEST_GRANT_ACCESS);
}

static void spoil_dir_reference(Fixture *f, QVDisplBuffer *buf)
{
    buf->req.gref_directory = UINT32_MAX;
}

/* Attack: directory pages that are not granted, or are no memory */
static void test_directory_ungranted(void)
{
    Fixture f;

    start(&f);
    refuse_buffer(&f, 1, spoil_dir_ungranted);
    refuse_buffer(&f, XENDISPL_DIR_ENTRIES + 1, spoil_dir_ungranted);
    refuse_buffer(&f, 1, spoil_dir_no_memory);
    refuse_buffer(&f, XENDISPL_DIR_ENTRIES + 1, spoil_dir_no_memory);
    refuse_buffer(&f, 1, spoil_dir_reference);
    stop(&f);
}

static unsigned int spoilt_entry;
static uint32_t spoilt_ref;

static void spoil_entry(Fixture *f, QVDisplBuffer *buf)
{
    qtest_writel(f->qts, qvdispl_dir_entry(buf, spoilt_entry), spoilt_ref);
}

/*
 * Attack: one reference among many that the guest has not granted, at
 * the start, in the middle and at the end (CVE-2021-26932: one failure in a
 * batch that goes unnoticed).
 */
static void test_directory_bad_entries(void)
{
    static const uint32_t refs[] = {
        0, 7, XEN_QTEST_MAX_GRANTS - 1, XEN_QTEST_MAX_GRANTS, UINT32_MAX,
    };
    static const unsigned int entries[] = { 0, 1, 17, 38, 39 };
    Fixture f;
    int i, j;

    start(&f);
    for (i = 0; i < ARRAY_SIZE(refs); i++) {
        for (j = 0; j < ARRAY_SIZE(entries); j++) {
            spoilt_entry = entries[j];
            spoilt_ref = refs[i];
            refuse_buffer(&f, 40, spoil_entry);
        }
    }
    stop(&f);
}

/* Attack: entries and links change while the directory is read */
static void test_directory_double_fetch(void)
{
    Fixture f;
    QVDisplBuffer buf;
    uint64_t words[3];
    int i, n;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 1024, XENDISPL_DIR_ENTRIES + 5, 32, 0);
    words[0] = qvdispl_dir_next(&buf, 0);
    words[1] = qvdispl_dir_entry(&buf, 0);
    words[2] = qvdispl_dir_entry(&buf, buf.nr_pages - 1);
    for (i = 0; i < ARRAY_SIZE(words); i++) {
        for (n = 0; n < 50; n++) {
            uint32_t good = qtest_readl(f.qts, words[i]);
            Hammer h;
            int status;

            hammer_start(&f, &h, words[i], good, n % 2 ? 0 : UINT32_MAX);
            status = qvdispl_dbuf_create(&f.d, &buf);
            hammer_stop(&f, &h);
            g_assert(status == 0 || status == BAD_VALUE);
            if (!status) {
                g_assert_cmpint(qvdispl_dbuf_destroy(
                    &f.d, buf.req.dbuf_cookie), ==, 0);
            }
            g_assert_cmpuint(get_property(&f, "bytes-mapped"), ==, 0);
        }
    }
    qvdispl_buffer_free(&f.d, &buf);
    assert_works(&f);
    stop(&f);
}

/* The same page more than once is the guest's own business */
static void test_directory_repeated_entry(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 1024, 4, 32, 0);
    qtest_writel(f.qts, qvdispl_dir_entry(&buf, 3), buf.refs[0]);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpuint(qxen_grant_mapped(&f.xen, buf.refs[0]), ==, 2);
    qvdispl_unfb(&f.d, &buf);
    stop(&f);
}

/* The back end only reads, so a guest may grant no more than that */
static void test_directory_read_only(void)
{
    Fixture f;
    QVDisplBuffer buf;
    unsigned int i;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    for (i = 0; i < buf.nr_pages; i++) {
        qxen_grant_set(&f.xen, buf.refs[i],
                       (buf.addr >> XEN_PAGE_SHIFT) + i,
                       XEN_QTEST_GRANT_ACCESS | XEN_QTEST_GRANT_READONLY);
    }
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    stop_shown(&f, &buf);
}

/* Sizes */

/*
 * Attack: geometry that is empty, enormous, overflows 32 bit when multiplied,
 * or needs more than the buffer has.
 */
static void test_sizes_dbuf(void)
{
    static const struct {
        const char *what;
        uint32_t width, height, bpp, size, ofs;
        int status;
    } bad[] = {
        { "no width", 0, 64, 32, 16384, 0, BAD_VALUE },
        { "no height", 64, 0, 32, 16384, 0, BAD_VALUE },
        { "no bpp", 64, 64, 0, 16384, 0, BAD_VALUE },
        { "no size", 64, 64, 32, 0, 0, BAD_VALUE },
        { "one page short", 64, 64, 32, 12288, 0, BAD_VALUE },
        { "offset too far", 64, 64, 32, 16384, 1, BAD_VALUE },
        { "offset beyond", 64, 64, 32, 16384, 16384, BAD_VALUE },
        { "offset wraps", 64, 64, 32, 16384, UINT32_MAX, BAD_VALUE },
        { "offset wraps to 0", 64, 64, 32, 16384, -16384, BAD_VALUE },
        { "stride wraps to 0", 0x40000000, 1, 32, 16384, 0, BAD_VALUE },
        { "wraps to 64 x 64", 0x40000040, 64, 32, 16384, 0, BAD_VALUE },
        { "area wraps to 0", 65536, 65536, 32, 16384, 0, BAD_VALUE },
        { "enormous", UINT32_MAX, UINT32_MAX, 32, UINT32_MAX, 0, BAD_VALUE },
        { "wide", UINT32_MAX, 1, 32, 16384, 0, BAD_VALUE },
        { "high", 1, UINT32_MAX, 32, 16384, 0, BAD_VALUE },
        { "deep", 1, 1, UINT32_MAX, 16384, 0, BAD_VALUE },
        { "deep, wraps", 64, 64, 0x80000020, 16384, 0, BAD_VALUE },
        { "more than mapped at once", 64, 64, 32, UINT32_MAX, 0, OVER_QUOTA },
        { "4 GiB - 1 page", 64, 64, 32, 0xfffff000, 0, OVER_QUOTA },
    };
    Fixture f;
    QVDisplBuffer buf;
    int i;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        struct xendispl_req req = {
            .operation = XENDISPL_OP_DBUF_CREATE,
            .op.dbuf_create = buf.req,
        };
        int status;

        req.op.dbuf_create.width = bad[i].width;
        req.op.dbuf_create.height = bad[i].height;
        req.op.dbuf_create.bpp = bad[i].bpp;
        req.op.dbuf_create.buffer_sz = bad[i].size;
        req.op.dbuf_create.data_ofs = bad[i].ofs;
        status = qvdispl_request(&f.d, 0, &req, NULL);
        if (status != bad[i].status) {
            g_error("%s: status %d, not %d", bad[i].what, status,
                    bad[i].status);
        }
        g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    }
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Attack: a framebuffer that reaches beyond its display buffer */
static void test_sizes_fb(void)
{
    static const struct {
        uint32_t width, height, fourcc;
    } bad[] = {
        { 0, 64, DRM_FORMAT_XRGB8888 },
        { 64, 0, DRM_FORMAT_XRGB8888 },
        { 65, 64, DRM_FORMAT_XRGB8888 },
        { 64, 65, DRM_FORMAT_XRGB8888 },
        /* Fits in the memory, but not in the rows */
        { 65, 1, DRM_FORMAT_XRGB8888 },
        { 128, 2, DRM_FORMAT_XRGB8888 },
        { 64, UINT32_MAX, DRM_FORMAT_XRGB8888 },
        { UINT32_MAX, 64, DRM_FORMAT_XRGB8888 },
        { 0x40000040, 64, DRM_FORMAT_XRGB8888 },
        { 64, 0x01000000, DRM_FORMAT_XRGB8888 },
        { 64, 0x01000001, DRM_FORMAT_XRGB8888 },
        { 129, 64, DRM_FORMAT_RGB565 },
        { 86, 64, DRM_FORMAT_RGB888 },
        { 64, 64, 0 },
        { 64, 64, UINT32_MAX },
        { 64, 64, DRM_FORMAT_NV12 },
        { 64, 64, DRM_FORMAT_XBGR16161616F },
        { 64, 64, DRM_FORMAT_XRGB8888 | DRM_FORMAT_BIG_ENDIAN },
    };
    Fixture f;
    QVDisplBuffer buf;
    int i;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        int status = qvdispl_fb_attach(&f.d, buf.req.dbuf_cookie, 1,
                                       bad[i].width, bad[i].height,
                                       bad[i].fourcc);

        if (status != BAD_VALUE) {
            g_error("%ux%u, format 0x%x: status %d, not %d", bad[i].width,
                    bad[i].height, bad[i].fourcc, status, BAD_VALUE);
        }
    }
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* A framebuffer may be a part of its display buffer */
static void test_sizes_fb_smaller(void)
{
    Fixture f;
    QVDisplBuffer buf;
    g_autofree uint8_t *data = NULL;
    uint64_t fb;
    Picture pic;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    data = draw(&f, &buf);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    fb = qvdispl_cookie(&f.d);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf.req.dbuf_cookie, fb, 40, 30,
                                      DRM_FORMAT_XRGB8888), ==, 0);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, fb, 0, 0, 40, 30, 32), ==, 0);
    qvdispl_refresh(&f.d);
    screendump(&f, "vd0", 0, &pic);
    assert_picture(&pic, DRM_FORMAT_XRGB8888, data, 40, 30, buf.stride);
    g_free(pic.rgb);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    buf.fb_cookie = fb;
    qvdispl_unfb(&f.d, &buf);
    stop(&f);
}

/* Attack: a visible part that is not within the framebuffer */
static void test_sizes_config(void)
{
    static const struct {
        uint32_t x, y, width, height, bpp;
    } bad[] = {
        { 0, 0, 0, 64, 32 },
        { 0, 0, 64, 0, 32 },
        { 0, 0, 65, 64, 32 },
        { 0, 0, 64, 65, 32 },
        { 64, 0, 64, 64, 32 },
        { 0, 64, 64, 64, 32 },
        { UINT32_MAX, 0, 64, 64, 32 },
        { 0, UINT32_MAX, 64, 64, 32 },
        { UINT32_MAX - 63, 0, 64, 64, 32 },
        { 0, 0, UINT32_MAX, UINT32_MAX, 32 },
        { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 32 },
        { 0, 0, 64, 64, 0 },
        { 0, 0, 64, 64, 16 },
        { 0, 0, 64, 64, UINT32_MAX },
    };
    Fixture f;
    QVDisplBuffer buf;
    int i;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        int status = qvdispl_set_config(&f.d, 0, buf.fb_cookie, bad[i].x,
                                        bad[i].y, bad[i].width, bad[i].height,
                                        bad[i].bpp);

        if (status != BAD_VALUE) {
            g_error("%ux%u at %u,%u, %u bpp: status %d, not %d",
                    bad[i].width, bad[i].height, bad[i].x, bad[i].y,
                    bad[i].bpp, status, BAD_VALUE);
        }
    }
    qvdispl_unfb(&f.d, &buf);
    stop(&f);
}

/*
 * Linux' driver leaves in the flags what the request before had there, so they
 * count only where be-alloc was offered.
 */
static void test_sizes_flags(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    buf.req.flags = UINT32_MAX;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* A buffer that the guest's driver imported comes without its geometry */
static void test_sizes_imported(void)
{
    Fixture f;
    QVDisplBuffer buf;
    g_autofree uint8_t *data = NULL;
    Picture pic;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    data = draw(&f, &buf);
    buf.req.width = buf.req.height = buf.req.bpp = 0;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);

    buf.fb_cookie = qvdispl_cookie(&f.d);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf.req.dbuf_cookie,
                                      buf.fb_cookie, 64, 65,
                                      DRM_FORMAT_XRGB8888), ==, BAD_VALUE);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf.req.dbuf_cookie,
                                      buf.fb_cookie, 64, 64,
                                      DRM_FORMAT_XRGB8888), ==, 0);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf.fb_cookie, 0, 0, 64, 64,
                                       32), ==, 0);
    qvdispl_refresh(&f.d);
    screendump(&f, "vd0", 0, &pic);
    assert_picture(&pic, DRM_FORMAT_XRGB8888, data, 64, 64, buf.stride);
    g_free(pic.rgb);
    stop_shown(&f, &buf);
}

/* Attack: more than the connector can show, to get a surface of any size */
static void test_sizes_beyond_connector(void)
{
    Fixture f;
    QVDisplBuffer buf;
    g_autofree uint8_t *data = NULL;
    Picture pic;

    start_device(&f, "connectors=320x200");
    qvdispl_connect(&f.d);
    qvdispl_buffer_alloc(&f.d, &buf, 1000, 900, 32, 0);
    data = draw(&f, &buf);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    screendump(&f, "vd0", 0, &pic);
    assert_picture(&pic, DRM_FORMAT_XRGB8888, data, 320, 200, buf.stride);
    g_free(pic.rgb);
    stop_shown(&f, &buf);
}

/* Cookies */

static void test_cookies_zero(void)
{
    Fixture f;
    QVDisplBuffer buf;
    uint64_t cookie;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    cookie = buf.req.dbuf_cookie;
    buf.req.dbuf_cookie = 0;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, BAD_VALUE);
    buf.req.dbuf_cookie = cookie;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, cookie, 0, 64, 64,
                                      DRM_FORMAT_XRGB8888), ==, BAD_VALUE);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Attack: the second of a cookie takes the place of the first, which leaks */
static void test_cookies_duplicate(void)
{
    Fixture f;
    QVDisplBuffer one, two;
    uint64_t cookie;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &one, 64, 64, 32, 0);
    qvdispl_buffer_alloc(&f.d, &two, 64, 64, 32, 0);
    qvdispl_fb(&f.d, &one, DRM_FORMAT_XRGB8888);

    cookie = two.req.dbuf_cookie;
    two.req.dbuf_cookie = one.req.dbuf_cookie;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &two), ==, COOKIE_EXISTS);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &two), ==, 0);
    two.req.dbuf_cookie = cookie;

    g_assert_cmpint(qvdispl_fb_attach(&f.d, one.req.dbuf_cookie,
                                      one.fb_cookie, 64, 64,
                                      DRM_FORMAT_XRGB8888), ==,
                    COOKIE_EXISTS);
    qvdispl_unfb(&f.d, &one);
    qvdispl_buffer_free(&f.d, &two);
    stop(&f);
}

static void test_cookies_unknown(void)
{
    Fixture f;
    uint64_t bad = 0xdeadbeefcafe;

    start(&f);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, bad), ==, NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, bad, 1, 64, 64,
                                      DRM_FORMAT_XRGB8888), ==,
                    NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, bad), ==, NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, bad, 0, 0, 64, 64, 32), ==,
                    NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, bad), ==, NO_SUCH_COOKIE);
    stop(&f);
}

/* Attack: cookies that differ in the upper half only */
static void test_cookies_64_bit(void)
{
    Fixture f;
    QVDisplBuffer one, two;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &one, 64, 64, 32, 0);
    qvdispl_buffer_alloc(&f.d, &two, 64, 64, 32, 0);
    one.req.dbuf_cookie = 0x1234;
    two.req.dbuf_cookie = 0x8000000000001234;
    qvdispl_fb(&f.d, &one, DRM_FORMAT_XRGB8888);
    qvdispl_fb(&f.d, &two, DRM_FORMAT_XRGB8888);
    qvdispl_unfb(&f.d, &one);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &two), ==, two.nr_pages);
    qvdispl_unfb(&f.d, &two);
    stop(&f);
}

/* A cookie is free again when its object is gone */
static void test_cookies_reuse(void)
{
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < 5; i++) {
        QVDisplBuffer buf;

        qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
        buf.req.dbuf_cookie = 0x55;
        qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
        g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
        qvdispl_unfb(&f.d, &buf);
        g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, 0x55), ==,
                        NO_SUCH_COOKIE);
    }
    stop(&f);
}

/* Attack: destroying a display buffer below its framebuffer */
static void test_cookies_in_use(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_shown(&f, &buf, 64, 64);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==,
                    IN_USE);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    stop_shown(&f, &buf);
}

/* Attack: detaching what is on the screen, and reading on after it */
static void test_cookies_detach_shown(void)
{
    Fixture f;
    QVDisplBuffer buf;
    Picture pic;

    start_shown(&f, &buf, 64, 64);
    qvdispl_unfb(&f.d, &buf);
    screendump(&f, "vd0", 0, &pic);
    g_free(pic.rgb);
    g_assert_cmpuint(qxen_alive(&f.xen, XEN_QTEST_GRANT_PAGES), ==, 2);
    stop(&f);
}

/* Formats: what the guest drew is what is seen, at any size */

static void test_formats(const void *opaque)
{
    static const struct {
        unsigned int width, height;
    } sizes[] = {
        { 2, 1 }, { 4, 3 }, { 18, 13 }, { 64, 64 }, { 334, 251 },
        /* No pixels come in pairs */
        { 1, 1 }, { 3, 5 }, { 17, 13 }, { 333, 251 }, { 799, 3 },
    };
    uint32_t fourcc = GPOINTER_TO_UINT(opaque);
    unsigned int bpp = 16;
    Fixture f;
    int i;

    if (fourcc == DRM_FORMAT_RGB888) {
        bpp = 24;
    } else if (fourcc == DRM_FORMAT_XRGB8888 ||
               fourcc == DRM_FORMAT_ARGB8888) {
        bpp = 32;
    }

    start(&f);
    for (i = 0; i < (fourcc == DRM_FORMAT_YUYV ? 5 : ARRAY_SIZE(sizes));
         i++) {
        QVDisplBuffer buf;
        g_autofree uint8_t *data = NULL;

        qvdispl_buffer_alloc(&f.d, &buf, sizes[i].width, sizes[i].height,
                             bpp, 0);
        data = draw(&f, &buf);
        qvdispl_show(&f.d, 0, &buf, fourcc);
        assert_shown(&f, 0, &buf, fourcc, data);
        g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
        qvdispl_unfb(&f.d, &buf);
    }
    stop(&f);
}

/* The picture does not begin where the buffer does */
static void test_formats_offset(void)
{
    static const unsigned int offsets[] = { 4, 64, 4096, 4100, 3 };
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < ARRAY_SIZE(offsets); i++) {
        QVDisplBuffer buf;
        g_autofree uint8_t *data = NULL;

        qvdispl_buffer_alloc(&f.d, &buf, 100, 50, 32, offsets[i]);
        data = draw(&f, &buf);
        qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
        assert_shown(&f, 0, &buf, DRM_FORMAT_XRGB8888, data);
        g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
        qvdispl_unfb(&f.d, &buf);
    }
    stop(&f);
}

/* No pixel is copied where the console can show the format as it is */
static void test_formats_no_copy(void)
{
    Fixture f;
    QVDisplBuffer buf;
    g_autofree uint8_t *data = NULL;
    uint32_t maps;

    start_shown(&f, &buf, 800, 600);
    maps = qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP);

    /* Drawn to the buffer that is shown, and the guest says nothing */
    data = draw(&f, &buf);
    assert_shown(&f, 0, &buf, DRM_FORMAT_XRGB8888, data);
    g_assert_cmpuint(get_property(&f, "bytes-copied"), ==, 0);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP), ==, maps);
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_COPY), ==, 0);
    stop_shown(&f, &buf);
}

/* Only a part of the framebuffer is visible */
static void test_formats_visible_part(void)
{
    static const uint32_t fourccs[] = {
        DRM_FORMAT_XRGB8888, DRM_FORMAT_RGB565,
    };
    Fixture f;
    int i;

    start(&f);
    for (i = 0; i < ARRAY_SIZE(fourccs); i++) {
        unsigned int bpp = i ? 16 : 32;
        QVDisplBuffer buf;
        g_autofree uint8_t *data = NULL;
        Picture pic;

        qvdispl_buffer_alloc(&f.d, &buf, 200, 100, bpp, 0);
        data = draw(&f, &buf);
        qvdispl_fb(&f.d, &buf, fourccs[i]);
        g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf.fb_cookie, 20, 10,
                                           200, 100, bpp), ==, 0);
        qvdispl_refresh(&f.d);
        screendump(&f, "vd0", 0, &pic);
        assert_picture(&pic, fourccs[i],
                       data + 10 * buf.stride + 20 * bpp / 8, 180, 90,
                       buf.stride);
        g_free(pic.rgb);
        g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
        qvdispl_unfb(&f.d, &buf);
    }
    stop(&f);
}

/* Connectors */

static void test_connectors_two(void)
{
    Fixture f;
    QVDisplBuffer buf[2];
    g_autofree uint8_t *data[2] = { NULL, NULL };
    int i;

    start_device(&f, "connectors=800x600;320x200");
    g_assert_cmpuint(f.d.nr_conn, ==, 2);
    g_assert_cmpuint(f.d.conn[1].width, ==, 320);
    qvdispl_connect(&f.d);
    for (i = 0; i < 2; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], f.d.conn[i].width,
                             f.d.conn[i].height, i ? 16 : 32, 0);
        data[i] = draw(&f, &buf[i]);
        qvdispl_show(&f.d, i, &buf[i],
                     i ? DRM_FORMAT_RGB565 : DRM_FORMAT_XRGB8888);
    }
    assert_shown(&f, 0, &buf[0], DRM_FORMAT_XRGB8888, data[0]);
    assert_shown(&f, 1, &buf[1], DRM_FORMAT_RGB565, data[1]);

    /* Disabling one leaves the other */
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    assert_shown(&f, 1, &buf[1], DRM_FORMAT_RGB565, data[1]);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_unfb(&f.d, &buf[1]);
    g_free(g_steal_pointer(&data[1]));
    stop(&f);
}

/* One framebuffer on two connectors, and gone from both at once */
static void test_connectors_clone(void)
{
    Fixture f;
    QVDisplBuffer buf;
    g_autofree uint8_t *data = NULL;

    start_device(&f, "connectors=800x600;800x600");
    qvdispl_connect(&f.d);
    qvdispl_buffer_alloc(&f.d, &buf, 800, 600, 32, 0);
    data = draw(&f, &buf);
    qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_set_config(&f.d, 1, buf.fb_cookie, 0, 0, 800, 600,
                                       32), ==, 0);
    qvdispl_refresh(&f.d);
    assert_shown(&f, 0, &buf, DRM_FORMAT_XRGB8888, data);
    assert_shown(&f, 1, &buf, DRM_FORMAT_XRGB8888, data);
    qvdispl_unfb(&f.d, &buf);
    stop(&f);
}

static void test_connectors_names(void)
{
    Fixture f;
    g_autofree char *one = NULL;
    g_autofree char *two = NULL;

    start_device(&f, "connectors=left:800x600;right:640x480");
    one = qxen_device_fe_read(&f.d.dev, "0/" XENDISPL_FIELD_UNIQUE_ID);
    two = qxen_device_fe_read(&f.d.dev, "1/" XENDISPL_FIELD_UNIQUE_ID);
    g_assert_cmpstr(one, ==, "left");
    g_assert_cmpstr(two, ==, "right");
    stop_device(&f);
}

/* Two devices of one guest */
static void test_connectors_two_devices(void)
{
    Fixture f;
    QVDispl other;
    QVDisplBuffer buf[2];
    g_autofree uint8_t *one = NULL;
    g_autofree uint8_t *two = NULL;
    Picture pic;

    start_device(&f, "connectors=800x600' "
                 "-device 'xen-vdispl,id=vd1,connectors=320x200");
    qvdispl_init(&other, &f.xen, 1);
    qvdispl_connect(&f.d);
    qvdispl_connect(&other);
    qvdispl_buffer_alloc(&f.d, &buf[0], 800, 600, 32, 0);
    qvdispl_buffer_alloc(&other, &buf[1], 320, 200, 32, 0);
    /* Cookies are a device's own */
    g_assert_cmphex(buf[0].req.dbuf_cookie, ==, buf[1].req.dbuf_cookie);
    one = draw(&f, &buf[0]);
    two = draw(&f, &buf[1]);
    qvdispl_show(&f.d, 0, &buf[0], DRM_FORMAT_XRGB8888);
    qvdispl_show(&other, 0, &buf[1], DRM_FORMAT_XRGB8888);
    assert_shown(&f, 0, &buf[0], DRM_FORMAT_XRGB8888, one);
    screendump(&f, "vd1", 0, &pic);
    assert_picture(&pic, DRM_FORMAT_XRGB8888, two, 320, 200, buf[1].stride);
    g_free(pic.rgb);

    qvdispl_disconnect(&other);
    qvdispl_buffer_free(&other, &buf[1]);
    assert_shown(&f, 0, &buf[0], DRM_FORMAT_XRGB8888, one);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_cleanup(&other);
    stop(&f);
}

/* Properties */

/* What an administrator gets wrong is refused, and leaves nothing behind */
static void test_properties_refused(void)
{
    static const char *const bad[] = {
        "'connectors': ''", "'connectors': 'x'", "'connectors': '640'",
        "'connectors': '640x480;'", "'connectors': ';640x480'",
        "'connectors': '0x480'", "'connectors': '99999x480'",
        "'connectors': '1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;1x1;"
        "1x1;1x1;1x1;1x1'",
        "'connectors': '640x480', 'refresh-rate': 0",
        "'refresh-rate': 1001", "'frontend-id': 32752",
    };
    QTestState *qts = qtest_init("-machine xen-qtest -nodefaults");
    QXen xen;
    QXenAlive idle;
    int i;

    qxen_init(&xen, qts);
    idle = qxen_alive_get(&xen);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *command = g_strdup_printf(
            "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'xen-vdispl', 'id': 'vd0', %s } }", bad[i]);
        g_autofree char *left = NULL;
        QDict *rsp;

        qtest_qmp_send_raw(qts, "%s", command);
        rsp = qtest_qmp_receive(qts);
        if (!qdict_haskey(rsp, "error")) {
            g_error("accepted: %s", bad[i]);
        }
        qobject_unref(rsp);
        qxen_settle(&xen);
        qxen_assert_alive(&xen, &idle);
        /* Nor does the next one find what this one has written */
        left = qxen_xs_read(&xen, 0, "/local/domain/"
                            stringify(XEN_QTEST_GUEST_DOMID)
                            "/device/vdispl/0/0/resolution");
        g_assert_null(left);
    }
    qxen_cleanup(&xen);
    qtest_quit(qts);
}

static char *get_path(Fixture *f)
{
    QDict *rsp = qtest_qmp(f->qts, "{ 'execute': 'qom-get', 'arguments': { "
                           "'path': '/machine/peripheral/vd0', "
                           "'property': 'path' } }");
    char *path = g_strdup(qdict_get_str(rsp, "return"));

    qobject_unref(rsp);
    return path;
}

static void test_properties_counters(void)
{
    Fixture f;
    QVDisplBuffer buf[2];
    g_autofree char *none = NULL;
    g_autofree char *shown = NULL;
    g_autofree char *converted = NULL;

    start(&f);
    none = get_path(&f);
    g_assert_cmpstr(none, ==, "none");
    g_assert_cmpuint(get_property(&f, "errors"), ==, 0);
    g_assert_cmpuint(get_property(&f, "bytes-mapped"), ==, 0);

    qvdispl_buffer_alloc(&f.d, &buf[0], 800, 600, 32, 0);
    qvdispl_show(&f.d, 0, &buf[0], DRM_FORMAT_XRGB8888);
    shown = get_path(&f);
    g_assert_cmpstr(shown, ==, strcmp(buffer_path(), "auto") ? buffer_path() :
                    "exported");
    g_assert_cmpuint(get_property(&f, "bytes-mapped"), ==,
                     buf[0].nr_pages * XEN_PAGE_SIZE);
    g_assert_cmpuint(get_property(&f, "bytes-copied"), ==, 0);

    /* What has to be converted is said to be */
    qvdispl_buffer_alloc(&f.d, &buf[1], 800, 600, 16, 0);
    qvdispl_show(&f.d, 0, &buf[1], DRM_FORMAT_YUYV);
    converted = get_path(&f);
    g_assert_cmpstr(converted, ==, "converted");
    g_assert_cmpuint(get_property(&f, "bytes-copied"), >=, 800 * 600 * 4);

    g_assert_cmpint(poke(&f, 0), ==, NO_SUCH_COOKIE);
    g_assert_cmpuint(get_property(&f, "errors"), ==, 1);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_unfb(&f.d, &buf[1]);
    g_assert_cmpuint(get_property(&f, "bytes-mapped"), ==, 0);
    stop(&f);
}

/* Flips */

typedef struct Flipper {
    QVDisplBuffer buf[2];
    uint16_t id;
} Flipper;

static void flipper_start(Fixture *f, Flipper *fl, unsigned int conn)
{
    QVDisplConnector *c = &f->d.conn[conn];

    memset(fl, 0, sizeof(*fl));
    qvdispl_buffer_alloc(&f->d, &fl->buf[0], c->width, c->height, 32, 0);
    qvdispl_buffer_alloc(&f->d, &fl->buf[1], c->width, c->height, 32, 0);
    qvdispl_show(&f->d, conn, &fl->buf[0], DRM_FORMAT_XRGB8888);
    qvdispl_fb(&f->d, &fl->buf[1], DRM_FORMAT_XRGB8888);
}

static void flipper_stop(Fixture *f, Flipper *fl, unsigned int conn)
{
    g_assert_cmpint(qvdispl_disable(&f->d, conn), ==, 0);
    qvdispl_unfb(&f->d, &fl->buf[0]);
    qvdispl_unfb(&f->d, &fl->buf[1]);
}

static void start_flips(Fixture *f, Flipper *fl)
{
    start(f);
    flipper_start(f, fl, 0);
}

static void stop_flips(Fixture *f, Flipper *fl)
{
    flipper_stop(f, fl, 0);
    stop(f);
}

static void refresh(Fixture *f)
{
    qtest_clock_step(f->qts, REFRESH_NS);
    qxen_settle(&f->xen);
}

static void assert_no_event(Fixture *f, unsigned int conn)
{
    struct xendispl_evt evt;

    qxen_settle(&f->xen);
    g_assert(!qvdispl_event(&f->d, conn, &evt));
}

static void assert_flip_event(Fixture *f, unsigned int conn, uint16_t id,
                              uint64_t fb_cookie)
{
    struct xendispl_evt evt;

    g_assert(qvdispl_event(&f->d, conn, &evt));
    g_assert_cmpuint(evt.type, ==, XENDISPL_EVT_PG_FLIP);
    g_assert_cmpuint(evt.id, ==, id);
    g_assert_cmphex(evt.op.pg_flip.fb_cookie, ==, fb_cookie);
}

/* Many flips: in order, none lost, one event and one notification each */
static void test_flips_order(void)
{
    Fixture f;
    Flipper fl;
    uint32_t maps;
    int i;

    start_flips(&f, &fl);
    maps = qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP);
    qxen_evtchn_take(&f.xen, f.d.conn[0].evt_port);
    for (i = 0; i < 300; i++) {
        uint64_t cookie = fl.buf[(i + 1) % 2].fb_cookie;

        g_assert_cmpint(qvdispl_flip(&f.d, 0, cookie), ==, 0);
        refresh(&f);
        assert_flip_event(&f, 0, i, cookie);
        g_assert_cmpuint(qxen_evtchn_take(&f.xen, f.d.conn[0].evt_port), ==,
                         1);
        assert_no_event(&f, 0);
    }
    g_assert_cmpuint(get_property(&f, "flips"), ==, 300);
    g_assert_cmpuint(get_property(&f, "flips-per-second"), >=, 59);
    g_assert_cmpuint(get_property(&f, "flips-per-second"), <=, 60);
    /* Mapped once a buffer, never once a flip */
    g_assert_cmpuint(qxen_calls(&f.xen, XEN_QTEST_CALL_GRANT_MAP), ==, maps);
    g_assert_cmpuint(get_property(&f, "bytes-copied"), ==, 0);
    stop_flips(&f, &fl);
}

/*
 * A flip is done when the buffer before is not read any more: until then the
 * guest must not draw into it.
 */
static void test_flips_last_reader(void)
{
    Fixture f;
    Flipper fl;
    SlowReader reader;

    start_flips(&f, &fl);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    refresh(&f);
    refresh(&f);
    assert_no_event(&f, 0);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, IN_USE);
    slow_reader_finish(&f, &reader);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    stop_flips(&f, &fl);
}

/*
 * A display buffer is destroyed when it is not read any more: until then the
 * guest must not have its pages back.
 */
static void test_cookies_destroy_read(void)
{
    Fixture f;
    QVDisplBuffer buf;
    SlowReader reader;
    struct xendispl_resp resp;
    struct xendispl_req req = { .operation = XENDISPL_OP_DBUF_DESTROY };
    uint16_t id;

    start_shown(&f, &buf, 800, 600);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, buf.fb_cookie), ==, 0);

    req.op.dbuf_destroy.dbuf_cookie = buf.req.dbuf_cookie;
    id = qvdispl_send(&f.d, 0, &req);
    qxen_settle(&f.xen);
    g_assert(!qxen_ring_get(&f.d.conn[0].req, &resp, sizeof(resp)));
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    /* Meanwhile the connector works, and the cookie is taken */
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, COOKIE_EXISTS);

    slow_reader_finish(&f, &reader);
    qxen_ring_wait(&f.d.conn[0].req, &resp, sizeof(resp));
    g_assert_cmpuint(resp.id, ==, id);
    g_assert_cmpint(resp.status, ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/*
 * Attack: destroying what is being destroyed, and going away before it is
 * done: the answer has nowhere to go.
 */
static void test_cookies_destroy_twice(void)
{
    Fixture f;
    QVDisplBuffer buf;
    SlowReader reader;
    struct xendispl_resp resp;
    struct xendispl_req req = { .operation = XENDISPL_OP_DBUF_DESTROY };

    start_shown(&f, &buf, 800, 600);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, buf.fb_cookie), ==, 0);
    req.op.dbuf_destroy.dbuf_cookie = buf.req.dbuf_cookie;
    qvdispl_send(&f.d, 0, &req);
    qxen_settle(&f.xen);
    g_assert(!qxen_ring_get(&f.d.conn[0].req, &resp, sizeof(resp)));
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==,
                    NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf.req.dbuf_cookie, 0x99, 64, 64,
                                      DRM_FORMAT_XRGB8888), ==,
                    NO_SUCH_COOKIE);
    qvdispl_disconnect(&f.d);
    qtest_clock_step(f.qts, 10 * NANOSECONDS_PER_SECOND);
    slow_reader_finish(&f, &reader);
    qvdispl_buffer_free(&f.d, &buf);
    stop_device(&f);
}

/* The guest is not kept waiting for ever by a viewer */
static void test_cookies_destroy_overdue(void)
{
    Fixture f;
    QVDisplBuffer buf;
    SlowReader reader;
    struct xendispl_resp resp;
    struct xendispl_req req = { .operation = XENDISPL_OP_DBUF_DESTROY };

    start_shown(&f, &buf, 800, 600);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, buf.fb_cookie), ==, 0);
    req.op.dbuf_destroy.dbuf_cookie = buf.req.dbuf_cookie;
    qvdispl_send(&f.d, 0, &req);
    qtest_clock_step(f.qts, 3 * NANOSECONDS_PER_SECOND);
    qxen_ring_wait(&f.d.conn[0].req, &resp, sizeof(resp));
    g_assert_cmpint(resp.status, ==, IN_USE);

    /* It happens all the same, as soon as it can */
    slow_reader_finish(&f, &reader);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==,
                    NO_SUCH_COOKIE);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* The guest disconnects under a reader */
static void test_life_close_while_read(void)
{
    Fixture f;
    QVDisplBuffer buf;
    SlowReader reader;

    start_shown(&f, &buf, 800, 600);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qvdispl_disconnect(&f.d);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);

    /* The next connection is not bothered by the last one's buffer */
    qvdispl_restart(&f.d);
    qvdispl_connect(&f.d);
    assert_works(&f);
    slow_reader_finish(&f, &reader);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Not before the refresh, and at the refresh */
static void test_flips_pace(void)
{
    static const unsigned int rates[] = { 1, 30, 60, 144 };
    int i;

    for (i = 0; i < ARRAY_SIZE(rates); i++) {
        g_autofree char *props = g_strdup_printf(
            "connectors=800x600,refresh-rate=%u", rates[i]);
        int64_t period = NANOSECONDS_PER_SECOND / rates[i];
        Fixture f;
        Flipper fl;

        start_device(&f, props);
        qvdispl_connect(&f.d);
        flipper_start(&f, &fl, 0);

        /* From one refresh to the next */
        qtest_clock_step(f.qts, period - REFRESH_NS % period);
        g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
        qtest_clock_step(f.qts, period + 1);
        qxen_settle(&f.xen);
        assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);

        g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, 0);
        assert_no_event(&f, 0);
        qtest_clock_step(f.qts, period / 2);
        assert_no_event(&f, 0);
        qtest_clock_step(f.qts, period / 2 + 1);
        qxen_settle(&f.xen);
        assert_flip_event(&f, 0, 1, fl.buf[0].fb_cookie);
        flipper_stop(&f, &fl, 0);
        stop(&f);
    }
}

/* What is seen changes with the refresh, and not with the request */
static void test_flips_shown(void)
{
    Fixture f;
    Flipper fl;
    g_autofree uint8_t *data = NULL;
    g_autofree uint8_t *black = NULL;

    start_flips(&f, &fl);
    data = draw(&f, &fl.buf[1]);
    black = g_malloc0(fl.buf[0].stride * fl.buf[0].req.height);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    assert_shown(&f, 0, &fl.buf[0], DRM_FORMAT_XRGB8888, black);
    refresh(&f);
    assert_shown(&f, 0, &fl.buf[1], DRM_FORMAT_XRGB8888, data);
    stop_flips(&f, &fl);
}

/* A second flip before the first is done */
static void test_flips_busy(void)
{
    Fixture f;
    Flipper fl;

    start_flips(&f, &fl);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, IN_USE);
    refresh(&f);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    assert_no_event(&f, 0);
    stop_flips(&f, &fl);
}

static void test_flips_unconfigured(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start(&f);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, BAD_VALUE);
    refresh(&f);
    assert_no_event(&f, 0);
    qvdispl_unfb(&f.d, &buf);
    stop(&f);
}

/* Attack: flipping to what is not attached any more, or too small */
static void test_flips_unattached(void)
{
    Fixture f;
    Flipper fl;
    QVDisplBuffer small, gone;

    start_flips(&f, &fl);
    qvdispl_buffer_alloc(&f.d, &gone, 800, 600, 32, 0);
    qvdispl_fb(&f.d, &gone, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, gone.fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, gone.fb_cookie), ==,
                    NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, gone.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &gone);

    qvdispl_buffer_alloc(&f.d, &small, 64, 64, 32, 0);
    qvdispl_fb(&f.d, &small, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, small.fb_cookie), ==, BAD_VALUE);
    qvdispl_unfb(&f.d, &small);
    refresh(&f);
    assert_no_event(&f, 0);
    stop_flips(&f, &fl);
}

/*
 * Attack: the target of a flip that is queued is detached and destroyed, so
 * that the refresh shows memory that is gone.
 */
static void test_flips_detach_queued(void)
{
    Fixture f;
    Flipper fl;
    QVDisplBuffer buf;

    start_flips(&f, &fl);
    qvdispl_buffer_alloc(&f.d, &buf, 800, 600, 32, 0);
    qvdispl_fb(&f.d, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf.fb_cookie), ==, 0);
    qvdispl_unfb(&f.d, &buf);
    refresh(&f);
    /* The flip ends all the same: a guest that waits must not hang */
    assert_flip_event(&f, 0, 0, buf.fb_cookie);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 1, fl.buf[1].fb_cookie);
    stop_flips(&f, &fl);
}

/* What is shown is detached while another one is to follow it: that is shown */
static void test_flips_detach_shown(void)
{
    Fixture f;
    QVDisplBuffer buf[2];
    g_autofree uint8_t *data = NULL;

    start(&f);
    for (int i = 0; i < 2; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], 800, 600, 32, 0);
    }
    data = draw(&f, &buf[1]);
    qvdispl_show(&f.d, 0, &buf[0], DRM_FORMAT_XRGB8888);
    qvdispl_fb(&f.d, &buf[1], DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, buf[0].fb_cookie), ==, 0);
    assert_no_event(&f, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 0, buf[1].fb_cookie);
    assert_shown(&f, 0, &buf[1], DRM_FORMAT_XRGB8888, data);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf[0].req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf[0]);
    stop_shown(&f, &buf[1]);
}

/* The one that was to follow it is detached, too: then nothing is shown */
static void test_flips_detach_both(void)
{
    Fixture f;
    QVDisplBuffer buf[2];

    start_shown(&f, &buf[0], 800, 600);
    qvdispl_buffer_alloc(&f.d, &buf[1], 800, 600, 32, 0);
    qvdispl_fb(&f.d, &buf[1], DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[1].fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_fb_detach(&f.d, buf[0].fb_cookie), ==, 0);
    qvdispl_unfb(&f.d, &buf[1]);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf[0].req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf[0]);
    stop(&f);
}

/* A viewer that never lets go: the guest goes on, and nothing of it is lost */
static void test_flips_overdue(void)
{
    Fixture f;
    Flipper fl;
    SlowReader reader;

    start_flips(&f, &fl);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    refresh(&f);
    qtest_clock_step(f.qts, 2400ULL * SCALE_MS);
    assert_no_event(&f, 0);
    qtest_clock_step(f.qts, 100ULL * SCALE_MS);
    qxen_settle(&f.xen);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);

    /* Of what it does not read it is no hindrance */
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 1, fl.buf[0].fb_cookie);
    slow_reader_finish(&f, &reader);
    assert_no_event(&f, 0);
    stop_flips(&f, &fl);
}

/* How often the log in @file has something new for a console */
static unsigned int count_shown(const char *file)
{
    g_autofree char *log = NULL;
    unsigned int n = 0;

    g_assert(g_file_get_contents(file, &log, NULL, NULL));
    for (const char *line = log; (line = strstr(line, "xen_vdispl_show"));
         line++) {
        n++;
    }
    return n;
}

/*
 * Attack: mode changes, on and off, and framebuffers that go while they are
 * shown, faster than anybody can look. All of it takes a refresh.
 */
static void test_flips_show_paced(void)
{
    g_autofree char *log = NULL;
    g_autofree char *props = NULL;
    unsigned int before;
    Fixture f;
    Flipper fl;
    int fd = g_file_open_tmp("xen-vdispl-XXXXXX.log", &log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    props = g_strdup_printf("connectors=800x600' -trace xen_vdispl_show -D '%s",
                            log);
    start_device(&f, props);
    qvdispl_connect(&f.d);
    flipper_start(&f, &fl, 0);
    before = count_shown(log);
    for (unsigned int i = 0; i < 50; i++) {
        QVDisplBuffer *buf = &fl.buf[i & 1], *other = &fl.buf[!(i & 1)];

        g_assert_cmpint(qvdispl_set_config(&f.d, 0, other->fb_cookie, 0, 0,
                                           800, 600, 32), ==, 0);
        g_assert_cmpint(qvdispl_fb_detach(&f.d, buf->fb_cookie), ==, 0);
        g_assert_cmpint(qvdispl_fb_attach(&f.d, buf->req.dbuf_cookie,
                                          buf->fb_cookie, 800, 600,
                                          DRM_FORMAT_XRGB8888), ==, 0);
    }
    g_assert_cmpuint(count_shown(log), ==, before);
    for (int i = 0; i < 50; i++) {
        g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
        g_assert_cmpint(qvdispl_set_config(&f.d, 0, fl.buf[0].fb_cookie, 0, 0,
                                           800, 600, 32), ==, 0);
    }
    /* Only the first has turned something off */
    g_assert_cmpuint(count_shown(log), ==, before + 1);
    refresh(&f);
    g_assert_cmpuint(count_shown(log), ==, before + 2);
    flipper_stop(&f, &fl, 0);
    stop(&f);
    unlink(log);
}

/* A mode change that is not shown yet is what page flips are of */
static void test_flips_config_paced(void)
{
    Fixture f;
    Flipper fl;
    Picture pic;

    start_flips(&f, &fl);
    for (unsigned int i = 1; i <= 100; i++) {
        g_assert_cmpint(qvdispl_set_config(&f.d, 0, fl.buf[i & 1].fb_cookie,
                                           i, 0, 800, 600, 32), ==, 0);
    }
    screendump(&f, "vd0", 0, &pic);
    g_assert_cmpuint(pic.width, ==, 800);
    g_free(pic.rgb);

    /* A flip is of that part, even while it is not shown yet */
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    screendump(&f, "vd0", 0, &pic);
    g_assert_cmpuint(pic.width, ==, 700);
    g_free(pic.rgb);

    /* What was to be next may go before its time */
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, fl.buf[0].fb_cookie, 1, 0,
                                       800, 600, 32), ==, 0);
    qvdispl_unfb(&f.d, &fl.buf[0]);
    refresh(&f);
    screendump(&f, "vd0", 0, &pic);
    g_assert_cmpuint(pic.width, ==, 700);
    g_free(pic.rgb);
    stop_shown(&f, &fl.buf[1]);
}

/* A mode change with a flip on its way */
static void test_flips_config_queued(void)
{
    Fixture f;
    Flipper fl;

    start_flips(&f, &fl);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    assert_no_event(&f, 0);
    stop_flips(&f, &fl);
}

/* A mode change while the buffer before the flip is still read */
static void test_flips_config_while_read(void)
{
    Fixture f;
    Flipper fl;
    SlowReader reader;

    start_flips(&f, &fl);
    slow_reader_start(&f, &reader);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    refresh(&f);
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, fl.buf[1].fb_cookie, 0, 0,
                                       800, 600, 32), ==, 0);
    refresh(&f);
    assert_no_event(&f, 0);
    slow_reader_finish(&f, &reader);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    assert_no_event(&f, 0);

    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, 0);
    refresh(&f);
    assert_flip_event(&f, 0, 1, fl.buf[0].fb_cookie);
    stop_flips(&f, &fl);
}

/* Flipping to what is shown already */
static void test_flips_same(void)
{
    Fixture f;
    Flipper fl;
    int i;

    start_flips(&f, &fl);
    for (i = 0; i < 3; i++) {
        g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, 0);
        refresh(&f);
        assert_flip_event(&f, 0, i, fl.buf[0].fb_cookie);
    }
    stop_flips(&f, &fl);
}

/* Between buffers of different formats, one of which has to be converted */
static void test_flips_formats(void)
{
    static const uint32_t fourccs[] = {
        DRM_FORMAT_XRGB8888, DRM_FORMAT_YUYV, DRM_FORMAT_RGB565,
        DRM_FORMAT_XRGB8888,
    };
    Fixture f;
    QVDisplBuffer buf[ARRAY_SIZE(fourccs)];
    int i;

    start(&f);
    for (i = 0; i < ARRAY_SIZE(fourccs); i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], 800, 600,
                             fourccs[i] == DRM_FORMAT_XRGB8888 ? 32 : 16, 0);
        g_free(draw(&f, &buf[i]));
        qvdispl_fb(&f.d, &buf[i], fourccs[i]);
    }
    g_assert_cmpint(qvdispl_set_config(&f.d, 0, buf[0].fb_cookie, 0, 0, 800,
                                       600, 32), ==, 0);
    for (i = 1; i < ARRAY_SIZE(fourccs); i++) {
        g_autofree uint8_t *data = noise(buf[i].stride * 600);

        g_assert_cmpint(qvdispl_flip(&f.d, 0, buf[i].fb_cookie), ==, 0);
        refresh(&f);
        assert_flip_event(&f, 0, i - 1, buf[i].fb_cookie);
        assert_shown(&f, 0, &buf[i], fourccs[i], data);
    }
    g_assert_cmpint(qvdispl_disable(&f.d, 0), ==, 0);
    for (i = 0; i < ARRAY_SIZE(fourccs); i++) {
        qvdispl_unfb(&f.d, &buf[i]);
    }
    stop(&f);
}

/*
 * Attack: a frontend that never consumes events must not make the back end
 * write over them; nothing is lost once it does.
 */
static void test_flips_event_ring_full(void)
{
    Fixture f;
    Flipper fl;
    unsigned int i;

    start_flips(&f, &fl);
    for (i = 0; i <= EVENTS; i++) {
        g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[(i + 1) % 2].fb_cookie),
                        ==, 0);
        refresh(&f);
    }
    g_assert_cmpuint(qtest_readl(f.qts, f.d.conn[0].evt_page +
                                 offsetof(struct xendispl_event_page,
                                          in_prod)), ==, EVENTS);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[0].fb_cookie), ==, IN_USE);

    for (i = 0; i < EVENTS; i++) {
        assert_flip_event(&f, 0, i, fl.buf[(i + 1) % 2].fb_cookie);
    }
    refresh(&f);
    assert_flip_event(&f, 0, EVENTS, fl.buf[(EVENTS + 1) % 2].fb_cookie);
    assert_no_event(&f, 0);
    stop_flips(&f, &fl);
}

/* Attack: indices of the event page from nowhere */
static void test_flips_event_indices(void)
{
    static const uint32_t bad[] = {
        1, 63, 64, 0x7fffffff, 0x80000000, UINT32_MAX,
    };
    Fixture f;
    Flipper fl;
    uint64_t page;
    int i;

    start_flips(&f, &fl);
    page = f.d.conn[0].evt_page;
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        uint32_t cons = qtest_readl(f.qts, page);
        uint32_t prod = qtest_readl(f.qts, page + 4);
        uint64_t cookie = fl.buf[(i + 1) % 2].fb_cookie;

        g_assert_cmpint(qvdispl_flip(&f.d, 0, cookie), ==, 0);
        qtest_writel(f.qts, page, cons + bad[i]);
        qtest_writel(f.qts, page + 4, 0x12345678);
        refresh(&f);
        /* Back to what is true; the event comes, and where it belongs */
        qtest_writel(f.qts, page, cons);
        refresh(&f);
        g_assert_cmpuint(qtest_readl(f.qts, page + 4), ==, prod + 1);
        assert_flip_event(&f, 0, i, cookie);
    }
    stop_flips(&f, &fl);
}

/*
 * More flips than an event's id has values, in one connection.  The frontend
 * works in the guest's memory, as a message for each of its accesses would
 * take too long.  Still it takes some seconds, so it is run on one path only.
 */
static void test_flips_event_id_wrap(void)
{
    Fixture f;
    QVDisplConnector *conn = &f.d.conn[0];
    QVDisplBuffer buf;
    struct xendispl_event_page *events;
    xen_displif_sring_t *sring;
    uint8_t *ram;
    uint32_t i;

    start_shown(&f, &buf, 64, 64);

    ram = qxen_ram_map(&f.xen);
    sring = (xen_displif_sring_t *)(ram + conn->req.addr);
    events = (struct xendispl_event_page *)(ram + conn->evt_page);
    for (i = 0; i < UINT16_MAX + 3; i++) {
        union xen_displif_sring_entry *slot =
            &sring->ring[conn->req.req_prod++ % conn->req.nr];
        const struct xendispl_evt *evt = &XENDISPL_IN_RING_REF(events, i);
        int refreshes = 0;

        slot->req = (struct xendispl_req) {
            .id = i,
            .operation = XENDISPL_OP_PG_FLIP,
            .op.pg_flip.fb_cookie = buf.fb_cookie,
        };
        qatomic_store_release(&sring->req_prod, conn->req.req_prod);
        qxen_evtchn_notify(&f.xen, conn->req.port);
        /* The clock may be faster than the notification, once or twice */
        while (qatomic_load_acquire(&events->in_prod) == i) {
            g_assert_cmpint(refreshes++, <, 100);
            qtest_clock_step(f.qts, REFRESH_NS);
        }
        g_assert_cmpuint(events->in_prod, ==, i + 1);
        g_assert_cmpuint(evt->id, ==, (uint16_t)i);
        g_assert_cmphex(evt->op.pg_flip.fb_cookie, ==, buf.fb_cookie);
        g_assert_cmpuint(slot->rsp.id, ==, (uint16_t)i);
        g_assert_cmpint(slot->rsp.status, ==, 0);
        qatomic_set(&events->in_cons, i + 1);
    }
    conn->req.rsp_cons = conn->req.req_prod;
    qxen_ram_unmap(&f.xen, ram);

    stop_shown(&f, &buf);
}

/* Each connector has its own events, numbered by itself */
static void test_flips_two_connectors(void)
{
    Fixture f;
    Flipper fl[2];
    int i, c;

    start_device(&f, "connectors=320x200;160x100");
    qvdispl_connect(&f.d);
    flipper_start(&f, &fl[0], 0);
    flipper_start(&f, &fl[1], 1);
    for (i = 0; i < 10; i++) {
        for (c = 0; c < 2; c++) {
            if (i % (c + 1) == 0) {
                Flipper *p = &fl[c];

                g_assert_cmpint(qvdispl_flip(
                    &f.d, c, p->buf[(p->id + 1) % 2].fb_cookie), ==, 0);
            }
        }
        refresh(&f);
        for (c = 0; c < 2; c++) {
            if (i % (c + 1) == 0) {
                Flipper *p = &fl[c];

                assert_flip_event(&f, c, p->id,
                                  p->buf[(p->id + 1) % 2].fb_cookie);
                p->id++;
            }
            assert_no_event(&f, c);
        }
    }
    g_assert_cmpuint(get_property(&f, "connector0-flips"), ==, 10);
    g_assert_cmpuint(get_property(&f, "connector1-flips"), ==, 5);
    flipper_stop(&f, &fl[0], 0);
    flipper_stop(&f, &fl[1], 1);
    stop(&f);
}

/* EDID */

static int get_edid(Fixture *f, QVDisplBuffer *buf, uint32_t size,
                    uint32_t *edid_sz)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_GET_EDID,
        .op.get_edid = {
            .buffer_sz = size,
            .gref_directory = buf->req.gref_directory,
        },
    };
    struct xendispl_resp resp;
    int status = qvdispl_request(&f->d, 0, &req, &resp);

    *edid_sz = resp.op.get_edid.edid_sz;
    return status;
}

static void edid_start(Fixture *f, QVDisplBuffer *buf, const char *version)
{
    start_device(f, "connectors=1366x768");
    f->d.version = version;
    qvdispl_connect(&f->d);
    qvdispl_buffer_alloc(&f->d, buf, XENDISPL_EDID_MAX_SIZE / 4, 1, 32, 0);
}

static void test_edid_read(void)
{
    static const uint8_t header[8] = { 0, 255, 255, 255, 255, 255, 255, 0 };
    Fixture f;
    QVDisplBuffer buf;
    uint8_t edid[XENDISPL_EDID_MAX_SIZE];
    uint32_t size;
    uint8_t sum;
    uint32_t i;

    edid_start(&f, &buf, "2");
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size), ==, 0);
    g_assert_cmpuint(size, >=, XENDISPL_EDID_BLOCK_SIZE);
    g_assert_cmpuint(size % XENDISPL_EDID_BLOCK_SIZE, ==, 0);
    qtest_memread(f.qts, buf.addr, edid, size);
    g_assert(!memcmp(edid, header, sizeof(header)));
    g_assert_cmpuint(size, ==, (edid[126] + 1) * XENDISPL_EDID_BLOCK_SIZE);
    for (i = 0, sum = 0; i < size; i++) {
        sum += edid[i];
        if (i % XENDISPL_EDID_BLOCK_SIZE == XENDISPL_EDID_BLOCK_SIZE - 1) {
            g_assert_cmpuint(sum, ==, 0);
        }
    }
    /* The first detailed timing is the preferred mode */
    g_assert_cmpuint(edid[56] | (edid[58] & 0xf0) << 4, ==, 1366);
    g_assert_cmpuint(edid[59] | (edid[61] & 0xf0) << 4, ==, 768);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Attack: less room than the protocol asks for, or none at all */
static void test_edid_bad_buffer(void)
{
    Fixture f;
    QVDisplBuffer buf;
    uint32_t size;

    edid_start(&f, &buf, "2");
    g_assert_cmpint(get_edid(&f, &buf, 0, &size), ==, BAD_VALUE);
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE - 1, &size),
                    ==, BAD_VALUE);
    qxen_grant_set(&f.xen, buf.refs[0], buf.addr >> XEN_PAGE_SHIFT,
                   XEN_QTEST_GRANT_ACCESS | XEN_QTEST_GRANT_READONLY);
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size), ==,
                    BAD_VALUE);
    qtest_writel(f.qts, qvdispl_dir_entry(&buf, 0), 0);
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size), ==,
                    BAD_VALUE);
    buf.req.gref_directory = 0;
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size), ==,
                    BAD_VALUE);
    buf.req.gref_directory = buf.dir_refs[0];
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* Attack: room or directory change after they have been found to be good */
static void test_edid_double_fetch(void)
{
    static const struct {
        size_t offset;
        uint32_t bad;
    } fields[] = {
        { offsetof(struct xendispl_req, op.get_edid.buffer_sz), 1 },
        { offsetof(struct xendispl_req, op.get_edid.buffer_sz), UINT32_MAX },
        { offsetof(struct xendispl_req, op.get_edid.gref_directory), 0 },
    };
    Fixture f;
    QVDisplBuffer buf;
    uint32_t size;
    int i, n;

    edid_start(&f, &buf, "2");
    for (i = 0; i < ARRAY_SIZE(fields); i++) {
        for (n = 0; n < HAMMER_TIMES; n++) {
            struct xendispl_req req = {
                .operation = XENDISPL_OP_GET_EDID,
                .op.get_edid = {
                    .buffer_sz = XENDISPL_EDID_MAX_SIZE,
                    .gref_directory = buf.req.gref_directory,
                },
            };

            send_hammered(&f, &req, fields[i].offset, fields[i].bad);
            g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
        }
    }
    g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* The request is not in version 1 */
static void test_edid_version_1(void)
{
    static const char *const versions[] = { "1", NULL };
    int i;

    for (i = 0; i < ARRAY_SIZE(versions); i++) {
        Fixture f;
        QVDisplBuffer buf;
        uint32_t size;

        edid_start(&f, &buf, versions[i]);
        g_assert_cmpint(get_edid(&f, &buf, XENDISPL_EDID_MAX_SIZE, &size),
                        ==, NOT_SUPPORTED);
        qvdispl_buffer_free(&f.d, &buf);
        stop(&f);
    }
}

/* Hot plug */

static void start_empty(Fixture *f, const char *args)
{
    f->qts = qtest_initf("-machine xen-qtest -nodefaults "
                         "-global xen-vdispl.path=%s %s", buffer_path(), args);
    qxen_init(&f->xen, f->qts);
    f->idle = qxen_alive_get(&f->xen);
}

/* xl vdispl-attach and vdispl-detach, seen on the console named @id */
static void attach_and_detach(const char *args, const char *id)
{
    Fixture f;
    int i;

    start_empty(&f, args);
    for (i = 0; i < 3; i++) {
        QXenDevice dev;
        QVDisplBuffer buf;
        g_autofree uint8_t *data = NULL;
        g_autofree char *state = NULL;
        Picture pic;

        qvdispl_create(&dev, &f.xen, 0, "640x480", false);
        qxen_device_cleanup(&dev);
        qvdispl_init(&f.d, &f.xen, 0);
        qvdispl_connect(&f.d);
        qvdispl_buffer_alloc(&f.d, &buf, 640, 480, 32, 0);
        data = draw(&f, &buf);
        qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
        screendump(&f, id, 0, &pic);
        assert_picture(&pic, DRM_FORMAT_XRGB8888, data, 640, 480, buf.stride);
        g_free(pic.rgb);

        /* xl vdispl-detach, and the driver does not even answer */
        qxen_device_remove(&f.d.dev);
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &f.idle);
        state = qxen_xs_read(&f.xen, QXEN_TOOLSTACK, f.d.dev.be);
        g_assert_null(state);
        qvdispl_buffer_free(&f.d, &buf);
        qvdispl_rings_free(&f.d);
        qvdispl_cleanup(&f.d);
    }
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

static void test_hotplug_toolstack(void)
{
    attach_and_detach("", "vdispl0");
}

/* The same on consoles that exist before the device does */
static void test_hotplug_screens(void)
{
    attach_and_detach("-device xen-vdispl-screens,id=screens,count=2",
                      "screens");
}

/* More displays than screens: the others have consoles of their own */
static void test_hotplug_screens_taken(void)
{
    static const unsigned int heights[2] = { 480, 240 };
    static const char *const ids[2] = { "screens", "vdispl1" };
    Fixture f;
    QVDispl d[2];
    QVDisplBuffer buf[2];
    Picture pic;
    unsigned int i;

    start_empty(&f, "-device xen-vdispl-screens,id=screens,count=1");
    for (i = 0; i < 2; i++) {
        QXenDevice dev;

        qvdispl_create(&dev, &f.xen, i, "640x480", false);
        qxen_device_cleanup(&dev);
        qvdispl_init(&d[i], &f.xen, i);
        qvdispl_connect(&d[i]);
        qvdispl_buffer_alloc(&d[i], &buf[i], 640, heights[i], 32, 0);
    }
    for (i = 0; i < 2; i++) {
        g_autofree uint8_t *data = draw(&f, &buf[i]);

        qvdispl_show(&d[i], 0, &buf[i], DRM_FORMAT_XRGB8888);
        screendump(&f, ids[i], 0, &pic);
        assert_picture(&pic, DRM_FORMAT_XRGB8888, data, 640, heights[i],
                       buf[i].stride);
        g_free(pic.rgb);
    }

    for (i = 0; i < 2; i++) {
        qxen_device_remove(&d[i].dev);
        qxen_settle(&f.xen);
        qvdispl_buffer_free(&d[i], &buf[i]);
        qvdispl_rings_free(&d[i]);
        qvdispl_cleanup(&d[i]);
    }
    qxen_assert_alive(&f.xen, &f.idle);
    /* The screen remains, but not what the guest had on it */
    screendump(&f, "screens", 0, &pic);
    for (i = 0; i < pic.width * 3; i++) {
        g_assert_cmpuint(pic.rgb[i], ==, 0);
    }
    g_free(pic.rgb);
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* What an administrator gets wrong about screens ends QEMU, with the reason */
static void test_hotplug_screens_refused(void)
{
    static const struct {
        const char *args;
        const char *reason;
    } bad[] = {
        { "-device xen-vdispl-screens,count=0", "must be 1 to" },
        { "-device xen-vdispl-screens,count=17", "not 17" },
        { "-device xen-vdispl-screens -device xen-vdispl-screens",
          "only one xen-vdispl-screens" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *err = NULL;
        g_autofree char *cmd = g_strdup_printf(
            "%s -machine xen-qtest -accel qtest -nodefaults -display none %s",
            g_getenv("QTEST_QEMU_BINARY"), bad[i].args);
        int status;

        g_assert(g_spawn_command_line_sync(cmd, NULL, &err, &status, NULL));
        g_assert(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_assert_nonnull(strstr(err, bad[i].reason));
    }
}

/* A toolstack promises buffers of the back end's */
static void start_be_alloc(Fixture *f, const char *args)
{
    QXenDevice dev;

    start_empty(f, args);
    qvdispl_create(&dev, &f->xen, 0, "640x480", true);
    qxen_device_cleanup(&dev);

    qvdispl_init(&f->d, &f->xen, 0);
    qvdispl_connect(&f->d);
}

/* Only a request for one gets one, see xen-vdispl-dmabuf-test.c */
static void test_hotplug_be_alloc(void)
{
    Fixture f;
    QVDisplBuffer buf;

    start_be_alloc(&f, "-global xen-vdispl.be-alloc=on");
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    buf.req.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, 0);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &buf), ==, buf.nr_pages);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    qvdispl_disconnect(&f.d);
    qvdispl_cleanup(&f.d);
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* Attack: a guest writes be-alloc into its own nodes, to keep dom0's memory */
static void test_hotplug_be_alloc_off(void)
{
    Fixture f;
    QVDisplBuffer buf;
    QXenAlive before;

    start_be_alloc(&f, "");
    before = qxen_alive_get(&f.xen);
    qvdispl_buffer_alloc(&f.d, &buf, 64, 64, 32, 0);
    buf.req.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf), ==, -XEN_EOPNOTSUPP);
    qvdispl_buffer_free(&f.d, &buf);
    qxen_assert_alive(&f.xen, &before);
    qvdispl_disconnect(&f.d);
    qvdispl_cleanup(&f.d);
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* Nodes of a toolstack, or who got hold of them, that make no sense */
static void test_hotplug_bad_nodes(void)
{
    static const char *const resolutions[] = {
        NULL, "", "x", "640", "640x", "x480", "640x480x", "0x480", "640x0",
        "-1x480", "4294967296x480", "99999x99999", "640X480", "640 x 480",
    };
    Fixture f;
    int i;

    start_empty(&f, "");
    for (i = 0; i < ARRAY_SIZE(resolutions); i++) {
        QXenDevice dev;

        /* One number each: QEMU's core tries a number once */
        qvdispl_create(&dev, &f.xen, i, resolutions[i], false);
        if (resolutions[i]) {
            g_assert_cmpint(qxen_device_state(&dev), !=, XenbusStateInitWait);
            qxen_assert_alive(&f.xen, &f.idle);
        }
        qxen_device_remove(&dev);
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &f.idle);
        qxen_device_cleanup(&dev);
    }
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

static void test_hotplug_device_add(void)
{
    Fixture f;
    int i;

    start_empty(&f, "");
    for (i = 0; i < 3; i++) {
        QVDisplBuffer buf;

        qtest_qmp_assert_success(f.qts, "{ 'execute': 'device_add', "
                                 "'arguments': { 'driver': 'xen-vdispl', "
                                 "'id': 'vd0', "
                                 "'connectors': '640x480' } }");
        qvdispl_init(&f.d, &f.xen, 0);
        qvdispl_connect(&f.d);
        qvdispl_buffer_alloc(&f.d, &buf, 640, 480, 32, 0);
        qvdispl_show(&f.d, 0, &buf, DRM_FORMAT_XRGB8888);
        qtest_qmp_assert_success(f.qts, "{ 'execute': 'device_del', "
                                 "'arguments': { 'id': 'vd0' } }");
        qtest_qmp_eventwait(f.qts, "DEVICE_DELETED");
        qxen_settle(&f.xen);
        qxen_assert_alive(&f.xen, &f.idle);
        qvdispl_buffer_free(&f.d, &buf);
        qvdispl_rings_free(&f.d);
        qvdispl_cleanup(&f.d);
    }
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* Quota */

/* Attack: a guest that maps until the host has no memory left */
static void test_quota_bytes(void)
{
    Fixture f;
    QVDisplBuffer one, two;

    start_device(&f, "connectors=800x600,max-mapped=64k");
    qvdispl_connect(&f.d);
    qvdispl_buffer_alloc(&f.d, &one, 64, 192, 32, 0);
    qvdispl_buffer_alloc(&f.d, &two, 64, 65, 32, 0);
    qvdispl_fb(&f.d, &one, DRM_FORMAT_XRGB8888);
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &two), ==, OVER_QUOTA);
    qvdispl_unfb(&f.d, &one);
    qvdispl_fb(&f.d, &two, DRM_FORMAT_XRGB8888);
    qvdispl_unfb(&f.d, &two);

    /* The limit itself is within it */
    qvdispl_buffer_alloc(&f.d, &one, 64, 256, 32, 0);
    qvdispl_fb(&f.d, &one, DRM_FORMAT_XRGB8888);
    qvdispl_unfb(&f.d, &one);
    stop(&f);
}

/* Attack: any number of buffers, each of one page, or of framebuffers */
static void test_quota_buffers(void)
{
    Fixture f;
    QVDisplBuffer buf[4];
    int i;

    start_device(&f, "connectors=800x600,max-buffers=3");
    qvdispl_connect(&f.d);
    for (i = 0; i < 4; i++) {
        qvdispl_buffer_alloc(&f.d, &buf[i], 16, 16, 32, 0);
    }
    for (i = 0; i < 3; i++) {
        qvdispl_fb(&f.d, &buf[i], DRM_FORMAT_XRGB8888);
    }
    g_assert_cmpint(qvdispl_dbuf_create(&f.d, &buf[3]), ==, OVER_QUOTA);
    g_assert_cmpint(qvdispl_fb_attach(&f.d, buf[0].req.dbuf_cookie, 0x77, 16,
                                      16, DRM_FORMAT_XRGB8888), ==,
                    OVER_QUOTA);
    qvdispl_unfb(&f.d, &buf[0]);
    qvdispl_fb(&f.d, &buf[3], DRM_FORMAT_XRGB8888);
    for (i = 1; i < 4; i++) {
        qvdispl_unfb(&f.d, &buf[i]);
    }
    stop(&f);
}

/* Faults: every call that can fail does so once */

static void test_faults_connect(void)
{
    unsigned int nth;
    bool struck = true;

    for (nth = 1; struck; nth++) {
        Fixture f;

        start_device(&f, "connectors=800x600;640x480");
        qvdispl_rings_alloc(&f.d);
        qvdispl_publish(&f.d);
        qxen_settle(&f.xen);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, nth, EIO);
        qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
        qxen_settle(&f.xen);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_ANY);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, 0, 0);

        /* It may be gone: the bus takes a state it cannot read for an end */
        qxen_device_set_state(&f.d.dev, XenbusStateClosed);
        qxen_settle(&f.xen);
        qxen_assert_nothing_shared(&f.xen);
        qvdispl_rings_free(&f.d);
        qvdispl_cleanup(&f.d);
        qxen_cleanup(&f.xen);
        qtest_quit(f.qts);
    }
    /* Two connectors: four nodes, two maps and four calls for ports each */
    g_assert_cmpuint(nth, >, 20);
}

/* A device that cannot have what it needs is refused, and leaves nothing */
static void test_faults_realize(void)
{
    static const XenQtestCall calls[] = {
        XEN_QTEST_CALL_GNTTAB_OPEN, XEN_QTEST_CALL_XS_WATCH,
    };
    Fixture f;

    start_empty(&f, "");
    for (int i = 0; i < ARRAY_SIZE(calls); i++) {
        bool struck = true;
        unsigned int nth;

        for (nth = 1; struck; nth++) {
            QDict *rsp;

            qxen_fault(&f.xen, calls[i], nth, ENOMEM);
            rsp = qtest_qmp(f.qts, "{ 'execute': 'device_add', 'arguments': { "
                            "'driver': 'xen-vdispl', 'id': 'vd0' } }");
            struck = !qxen_fault_pending(&f.xen, calls[i]);
            g_assert(qdict_haskey(rsp, "error") == struck);
            qobject_unref(rsp);
            qxen_fault(&f.xen, calls[i], 0, 0);
            if (!struck) {
                qtest_qmp_device_del(f.qts, "vd0");
            }
            qxen_settle(&f.xen);
            qxen_assert_alive(&f.xen, &f.idle);
        }
        g_assert_cmpuint(nth, >, 3);
    }
    qxen_cleanup(&f.xen);
    qtest_quit(f.qts);
}

/* After a fault the same frontend can connect */
static void test_faults_recover(void)
{
    static const XenQtestCall calls[] = {
        XEN_QTEST_CALL_GRANT_MAP, XEN_QTEST_CALL_EVTCHN_OPEN,
        XEN_QTEST_CALL_EVTCHN_BIND,
    };
    Fixture f;
    int i;

    start_device(&f, "connectors=800x600;640x480");
    for (i = 0; i < ARRAY_SIZE(calls); i++) {
        unsigned int nth;

        for (nth = 1; ; nth++) {
            bool struck;

            qvdispl_rings_alloc(&f.d);
            qvdispl_publish(&f.d);
            qxen_fault(&f.xen, calls[i], nth, ENOMEM);
            qxen_device_set_state(&f.d.dev, XenbusStateInitialised);
            qxen_settle(&f.xen);
            struck = !qxen_fault_pending(&f.xen, calls[i]);
            qxen_fault(&f.xen, calls[i], 0, 0);
            g_assert_cmpint(qxen_device_state(&f.d.dev), ==,
                            struck ? XenbusStateClosed : XenbusStateConnected);
            if (struck) {
                qxen_assert_alive(&f.xen, &f.idle);
                qvdispl_rings_free(&f.d);
            } else {
                qvdispl_disconnect(&f.d);
            }
            qvdispl_restart(&f.d);
            if (!struck) {
                break;
            }
        }
        g_assert_cmpuint(nth, >, 1);
    }
    stop_device(&f);
}

static void test_faults_buffer(void)
{
    Fixture f;
    QVDisplBuffer buf;
    QXenAlive connected;
    unsigned int nth;

    start(&f);
    connected = qxen_alive_get(&f.xen);
    qvdispl_buffer_alloc(&f.d, &buf, 1024, 2 * XENDISPL_DIR_ENTRIES, 32, 0);
    for (nth = 1; ; nth++) {
        bool struck;
        int status;

        qxen_fault(&f.xen, XEN_QTEST_CALL_GRANT_MAP, nth, ENOMEM);
        status = qvdispl_dbuf_create(&f.d, &buf);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_GRANT_MAP);
        qxen_fault(&f.xen, XEN_QTEST_CALL_GRANT_MAP, 0, 0);
        if (!struck) {
            g_assert_cmpint(status, ==, 0);
            break;
        }
        g_assert_cmpint(status, <, 0);
        qxen_assert_alive(&f.xen, &connected);
    }
    /* Two pages of directory and, if it is mapped, the buffer at once */
    g_assert_cmpuint(nth, ==, strcmp(buffer_path(), "mapped") ? 3 : 4);
    g_assert_cmpint(qvdispl_dbuf_destroy(&f.d, buf.req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(&f.d, &buf);
    stop(&f);
}

/* A notification that cannot be sent is lost, but nothing else is */
static void test_faults_notify(void)
{
    Fixture f;
    Flipper fl;

    start_flips(&f, &fl);
    qxen_fault(&f.xen, XEN_QTEST_CALL_EVTCHN_NOTIFY, 1, EIO);
    g_assert_cmpint(poke(&f, 0), ==, NO_SUCH_COOKIE);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, fl.buf[1].fb_cookie), ==, 0);
    qxen_fault(&f.xen, XEN_QTEST_CALL_EVTCHN_NOTIFY, 1, EIO);
    refresh(&f);
    assert_flip_event(&f, 0, 0, fl.buf[1].fb_cookie);
    stop_flips(&f, &fl);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t fourcc;
    } formats[] = {
        { "rgb565", DRM_FORMAT_RGB565 },
        { "rgb888", DRM_FORMAT_RGB888 },
        { "xrgb8888", DRM_FORMAT_XRGB8888 },
        { "argb8888", DRM_FORMAT_ARGB8888 },
        { "xrgb4444", DRM_FORMAT_XRGB4444 },
        { "argb4444", DRM_FORMAT_ARGB4444 },
        { "xrgb1555", DRM_FORMAT_XRGB1555 },
        { "argb1555", DRM_FORMAT_ARGB1555 },
        { "yuyv", DRM_FORMAT_YUYV },
    };
    int i;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_machine("xen-qtest") || !qtest_has_device("xen-vdispl")) {
        g_test_skip("QEMU was built without xen-qtest or xen-vdispl");
        return 0;
    }

#define ADD(area, name, fn) \
    qtest_add_func("/xen/vdispl/" area "/" name, fn)

    ADD("life", "connect", test_life_connect);
    ADD("life", "versions", test_life_versions);
    ADD("life", "reconnect", test_life_reconnect);
    ADD("life", "restart-connected", test_life_restart_connected);
    ADD("life", "closing", test_life_closing);
    ADD("life", "close-with-buffers", test_life_close_with_buffers);
    ADD("life", "close-unconnected", test_life_close_unconnected);
    ADD("life", "close-while-read", test_life_close_while_read);
    ADD("life", "guest-destroyed", test_life_guest_destroyed);
    ADD("life", "quit", test_life_quit);
    ADD("life", "reconfiguring", test_life_reconfiguring);
    ADD("life", "illegal-states", test_life_illegal_states);
    ADD("life", "initialised-twice", test_life_initialised_twice);
    ADD("life", "slow-close", test_life_slow_close);
    ADD("life", "slow-connect", test_life_slow_connect);

    ADD("nodes", "missing", test_nodes_missing);
    ADD("nodes", "malformed", test_nodes_malformed);
    ADD("nodes", "binary", test_nodes_binary);
    ADD("nodes", "bad-grants", test_nodes_bad_grants);
    ADD("nodes", "bad-ports", test_nodes_bad_ports);
    ADD("nodes", "shared-page", test_nodes_shared_page);
    ADD("nodes", "version", test_nodes_version);
    ADD("nodes", "read-only", test_nodes_read_only);
    ADD("nodes", "fewer-connectors", test_nodes_fewer_connectors);

    ADD("rings", "wrap", test_rings_wrap);
    ADD("rings", "full", test_rings_full);
    ADD("rings", "notify", test_rings_notify);
    ADD("rings", "overrun", test_rings_overrun);
    ADD("rings", "foreign-indices", test_rings_foreign_indices);
    ADD("rings", "garbage-opcodes", test_rings_garbage_opcodes);
    ADD("rings", "spurious-notify", test_rings_spurious_notify);
    ADD("rings", "double-fetch-dbuf", test_rings_double_fetch_dbuf);
    ADD("rings", "double-fetch-fb", test_rings_double_fetch_fb);
    ADD("rings", "double-fetch-config", test_rings_double_fetch_config);
    ADD("rings", "racing-producer", test_rings_racing_producer);
    ADD("rings", "wrong-connector", test_rings_wrong_connector);

    ADD("directory", "lengths", test_directory_lengths);
    ADD("directory", "loop", test_directory_loop);
    ADD("directory", "short", test_directory_short);
    ADD("directory", "ungranted", test_directory_ungranted);
    ADD("directory", "bad-entries", test_directory_bad_entries);
    ADD("directory", "double-fetch", test_directory_double_fetch);
    /* Not every dma-buf can hold such grants, and they may only be mapped */
    if (strcmp(buffer_path(), "placed")) {
        ADD("directory", "repeated-entry", test_directory_repeated_entry);
        ADD("directory", "read-only", test_directory_read_only);
    }

    ADD("sizes", "dbuf", test_sizes_dbuf);
    ADD("sizes", "fb", test_sizes_fb);
    ADD("sizes", "fb-smaller", test_sizes_fb_smaller);
    ADD("sizes", "config", test_sizes_config);
    ADD("sizes", "flags", test_sizes_flags);
    ADD("sizes", "imported", test_sizes_imported);
    ADD("sizes", "beyond-connector", test_sizes_beyond_connector);

    ADD("cookies", "zero", test_cookies_zero);
    ADD("cookies", "duplicate", test_cookies_duplicate);
    ADD("cookies", "unknown", test_cookies_unknown);
    ADD("cookies", "64-bit", test_cookies_64_bit);
    ADD("cookies", "reuse", test_cookies_reuse);
    ADD("cookies", "in-use", test_cookies_in_use);
    ADD("cookies", "destroy-read", test_cookies_destroy_read);
    ADD("cookies", "destroy-twice", test_cookies_destroy_twice);
    ADD("cookies", "destroy-overdue", test_cookies_destroy_overdue);
    ADD("cookies", "detach-shown", test_cookies_detach_shown);

    for (i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autofree char *path = g_strdup_printf("/xen/vdispl/formats/%s",
                                                formats[i].name);

        qtest_add_data_func(path, GUINT_TO_POINTER(formats[i].fourcc),
                            test_formats);
    }
    ADD("formats", "offset", test_formats_offset);
    ADD("formats", "no-copy", test_formats_no_copy);
    ADD("formats", "visible-part", test_formats_visible_part);

    ADD("connectors", "two", test_connectors_two);
    ADD("connectors", "clone", test_connectors_clone);
    ADD("connectors", "names", test_connectors_names);

    ADD("connectors", "two-devices", test_connectors_two_devices);

    ADD("properties", "refused", test_properties_refused);
    ADD("properties", "counters", test_properties_counters);

    ADD("flips", "order", test_flips_order);
    ADD("flips", "last-reader", test_flips_last_reader);
    ADD("flips", "pace", test_flips_pace);
    ADD("flips", "shown", test_flips_shown);
    ADD("flips", "busy", test_flips_busy);
    ADD("flips", "unconfigured", test_flips_unconfigured);
    ADD("flips", "unattached", test_flips_unattached);
    ADD("flips", "detach-queued", test_flips_detach_queued);
    ADD("flips", "detach-shown", test_flips_detach_shown);
    ADD("flips", "detach-both", test_flips_detach_both);
    ADD("flips", "overdue", test_flips_overdue);
    ADD("flips", "config-paced", test_flips_config_paced);
    ADD("flips", "show-paced", test_flips_show_paced);
    ADD("flips", "config-queued", test_flips_config_queued);
    ADD("flips", "config-while-read", test_flips_config_while_read);
    ADD("flips", "same", test_flips_same);
    ADD("flips", "formats", test_flips_formats);
    ADD("flips", "event-ring-full", test_flips_event_ring_full);
    ADD("flips", "event-indices", test_flips_event_indices);
    if (!g_strcmp0(buffer_path(), "auto")) {
        ADD("flips", "event-id-wrap", test_flips_event_id_wrap);
    }
    ADD("flips", "two-connectors", test_flips_two_connectors);

    ADD("edid", "read", test_edid_read);
    ADD("edid", "bad-buffer", test_edid_bad_buffer);
    ADD("edid", "double-fetch", test_edid_double_fetch);
    ADD("edid", "version-1", test_edid_version_1);

    ADD("hotplug", "toolstack", test_hotplug_toolstack);
    ADD("hotplug", "screens", test_hotplug_screens);
    ADD("hotplug", "screens-taken", test_hotplug_screens_taken);
    ADD("hotplug", "screens-refused", test_hotplug_screens_refused);
    ADD("hotplug", "be-alloc", test_hotplug_be_alloc);
    ADD("hotplug", "be-alloc-off", test_hotplug_be_alloc_off);
    ADD("hotplug", "bad-nodes", test_hotplug_bad_nodes);
    ADD("hotplug", "device-add", test_hotplug_device_add);

    ADD("quota", "bytes", test_quota_bytes);
    ADD("quota", "buffers", test_quota_buffers);

    ADD("faults", "connect", test_faults_connect);
    ADD("faults", "realize", test_faults_realize);
    ADD("faults", "recover", test_faults_recover);
    ADD("faults", "buffer", test_faults_buffer);
    ADD("faults", "notify", test_faults_notify);
    return g_test_run();
}
