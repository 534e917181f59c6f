/*
 * What a page flip costs QEMU, by path and resolution, and what xenfb costs
 *
 *   xen-vdispl-bench [-m perf] OUT.json
 *
 * Without "-m perf" each is measured once only, to see that it can be.
 *
 * The guest is this program, on the machine xen-qtest, and a client of the
 * D-Bus display looks on. Guest and client share memory with QEMU, so that a
 * flip takes only two commands of the test's: the guest's notification, and
 * the step of the clock that is in place of the wait for the next refresh. What
 * these two cost QEMU when they have no effect is subtracted from its time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "dbus-client.h"
#include "libqtest.h"
#include "libqos/xen-vdispl.h"
#include "hw/xen/interface/io/fbif.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "standard-headers/drm/drm_fourcc.h"

/* So many rounds, each of so many flips and so much time, after some more */
#define ROUNDS          31
#define MIN_FLIPS       3
#define ROUND_US        80000
#define WARM_UP_US      20000

#define REFRESH_HZ      1000
#define REFRESH_NS      (NANOSECONDS_PER_SECOND / REFRESH_HZ)

/* A port that no test allocates: nothing happens when it is notified */
#define UNUSED_PORT     (XEN_QTEST_MAX_PORTS - 1)

/* The ways a guest's pixels can take, one a line */
static const struct {
    const char *name;
    const char *property;       /* of the device: "path" */
    uint32_t flags;             /* of the guest's requests for buffers */
} paths[] = {
    { "mapped", "mapped", 0 },
    { "exported", "exported", 0 },
    { "placed", "placed", 0 },
    { "imported", "auto", XENDISPL_DBUF_FLG_REQ_ALLOC },
};

static const struct {
    unsigned int width, height;
} sizes[] = {
    { 640, 480 }, { 1920, 1080 }, { 3840, 2160 },
};

typedef struct Bench Bench;

/* From the guest's request until it, or the client, is told that it is done */
typedef void Flip(Bench *b);

struct Bench {
    QTestState *qts;
    QXen xen;
    Client client;
    unsigned int width, height;

    /* xen-vdispl */
    QVDispl d;
    QVDisplBuffer buf[2];
    unsigned int shown;

    /* xenfb */
    QXenDevice vfb;
    uint32_t port;
    struct xenfb_page *page;
    uint64_t addr[3];           /* of that page, its directory, the pixels */

    Flip *flip;
    unsigned int grants;        /* held for the pictures */
    GArray *cpu, *test_cpu, *rate, *latency, *sent;     /* of double */
};

static int64_t now_us(void)
{
    return g_get_monotonic_time();
}

/* CPU time that QEMU has used, all its threads, in ns */
static int64_t cpu_ns(Bench *b)
{
    struct timespec ts;
    clockid_t clock;

    g_assert_cmpint(clock_getcpuclockid(qtest_pid(b->qts), &clock), ==, 0);
    g_assert_cmpint(clock_gettime(clock, &ts), ==, 0);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

static int compare(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(GArray *values)
{
    g_array_sort(values, compare);
    return g_array_index(values, double, values->len / 2);
}

static void start(Bench *b, unsigned int width, unsigned int height,
                  const char *args)
{
    *b = (Bench) {
        .width = width,
        .height = height,
        .cpu = g_array_new(false, false, sizeof(double)),
        .test_cpu = g_array_new(false, false, sizeof(double)),
        .rate = g_array_new(false, false, sizeof(double)),
        .latency = g_array_new(false, false, sizeof(double)),
        .sent = g_array_new(false, false, sizeof(double)),
    };
    b->qts = qtest_initf("-machine xen-qtest -nodefaults "
                         "-display dbus,p2p=yes %s", args);
    qxen_init(&b->xen, b->qts);
    qxen_share_ram(&b->xen);
}

static void stop(Bench *b)
{
    client_stop(&b->client);
    qxen_cleanup(&b->xen);
    qtest_quit(b->qts);
    g_array_unref(b->cpu);
    g_array_unref(b->test_cpu);
    g_array_unref(b->rate);
    g_array_unref(b->latency);
    g_array_unref(b->sent);
}

/* xen-vdispl */

static void vdispl_flip(Bench *b)
{
    int64_t end = now_us() + QXEN_TIMEOUT * G_USEC_PER_SEC;
    struct xendispl_evt evt;

    b->shown = !b->shown;
    g_assert_cmpint(qvdispl_flip(&b->d, 0, b->buf[b->shown].fb_cookie), ==, 0);
    qtest_clock_step(b->qts, REFRESH_NS);
    while (!qvdispl_event(&b->d, 0, &evt)) {
        g_assert_cmpint(now_us(), <, end);
        g_thread_yield();
    }
}

static uint64_t bytes_copied(Bench *b)
{
    QDict *rsp = qtest_qmp(b->qts, "{ 'execute': 'qom-get', 'arguments': { "
                           "'path': '/machine/peripheral/vdispl0', "
                           "'property': 'bytes-copied' } }");
    uint64_t value = qdict_get_int(rsp, "return");

    qobject_unref(rsp);
    return value;
}

static void assert_path(Bench *b, const char *expected)
{
    QDict *rsp = qtest_qmp(b->qts, "{ 'execute': 'qom-get', 'arguments': { "
                           "'path': '/machine/peripheral/vdispl0', "
                           "'property': 'path' } }");

    g_assert_cmpstr(qdict_get_str(rsp, "return"), ==, expected);
    qobject_unref(rsp);
}

/* Grants either way */
static unsigned int grants(Bench *b)
{
    return qxen_alive(&b->xen, XEN_QTEST_GRANTS_USED) +
        qxen_alive(&b->xen, XEN_QTEST_BACKEND_GRANTS);
}

/* A device that the toolstack makes, the frontend, two pictures, the client */
static void vdispl_start(Bench *b, unsigned int width, unsigned int height,
                         int path)
{
    g_autofree char *args = g_strdup_printf(
        "-device xen-vdispl-screens,count=1 "
        "-global xen-vdispl.path=%s -global xen-vdispl.be-alloc=on "
        "-global xen-vdispl.refresh-rate=%d", paths[path].property, REFRESH_HZ);
    g_autofree char *resolution = g_strdup_printf("%ux%u", width, height);
    QXenDevice dev;

    start(b, width, height, args);
    b->flip = vdispl_flip;
    qvdispl_create(&dev, &b->xen, 0, resolution, true);
    qxen_device_cleanup(&dev);
    qvdispl_init(&b->d, &b->xen, 0);
    qvdispl_connect(&b->d);

    b->grants = grants(b);
    for (int i = 0; i < ARRAY_SIZE(b->buf); i++) {
        qvdispl_buffer_alloc(&b->d, &b->buf[i], width, height, 32, 0);
        b->buf[i].req.flags = paths[path].flags;
        qvdispl_fb(&b->d, &b->buf[i], DRM_FORMAT_XRGB8888);
    }
    b->grants = grants(b) - b->grants;
    g_assert_cmpint(qvdispl_set_config(&b->d, 0, b->buf[0].fb_cookie, 0, 0,
                                       width, height, 32), ==, 0);
    qtest_clock_step(b->qts, REFRESH_NS);
    assert_path(b, paths[path].name);
    client_start_with_map(&b->client, b->qts);
}

static void vdispl_stop(Bench *b)
{
    g_assert_cmpint(qvdispl_disable(&b->d, 0), ==, 0);
    client_let_go(&b->client);
    for (int i = 0; i < 2; i++) {
        qvdispl_unfb(&b->d, &b->buf[i]);
    }
    qvdispl_disconnect(&b->d);
    qvdispl_cleanup(&b->d);
    stop(b);
}

/* xenfb */

/* An update of the whole screen, of which it has only one */
static void vfb_flip(Bench *b)
{
    union xenfb_out_event *event =
        &XENFB_OUT_RING_REF(b->page, b->page->out_prod);
    unsigned int copies = b->client.copies;

    event->update = (struct xenfb_update) {
        .type = XENFB_TYPE_UPDATE,
        .width = b->width,
        .height = b->height,
    };
    qatomic_store_release(&b->page->out_prod, b->page->out_prod + 1);
    qxen_evtchn_notify(&b->xen, b->port);
    client_wait(&b->client, &b->client.copies, copies + 1);
}

/* Addresses of pages, as xenfb wants to know them */
static void vfb_put_frames(uint64_t *frames, uint64_t addr, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        frames[i] = (addr >> XEN_PAGE_SHIFT) + i;
    }
}

static void vfb_start(Bench *b, unsigned int width, unsigned int height)
{
    unsigned int per_page = XEN_PAGE_SIZE / sizeof(uint64_t);
    unsigned int nr_pages = DIV_ROUND_UP(width * height * 4, XEN_PAGE_SIZE);
    unsigned int nr_dirs = DIV_ROUND_UP(nr_pages, per_page);

    /* The D-Bus display wants a console from the start; xenfb takes it over */
    start(b, width, height, "-vga xenfb -device xen-vdispl,id=vd0");
    b->flip = vfb_flip;
    qtest_qmp_device_del_send(b->qts, "vd0");
    qtest_qmp_eventwait(b->qts, "DEVICE_DELETED");
    qxen_settle(&b->xen);

    b->addr[0] = qxen_page_alloc(&b->xen, 1);
    b->addr[1] = qxen_page_alloc(&b->xen, nr_dirs);
    b->addr[2] = qxen_page_alloc(&b->xen, nr_pages);
    b->port = qxen_evtchn_alloc(&b->xen);
    b->page = (void *)(b->xen.ram + b->addr[0]);
    b->page->width = width;
    b->page->height = height;
    b->page->line_length = width * 4;
    b->page->mem_length = width * height * 4;
    b->page->depth = 32;
    vfb_put_frames((uint64_t *)b->page->pd, b->addr[1], nr_dirs);
    vfb_put_frames((uint64_t *)(b->xen.ram + b->addr[1]), b->addr[2], nr_pages);

    qxen_device_init(&b->vfb, &b->xen, "vfb", "vfb", 0);
    qxen_device_open(&b->vfb);
    qxen_device_fe_write(&b->vfb, "page-ref", "%" PRIu64,
                         b->addr[0] >> XEN_PAGE_SHIFT);
    qxen_device_fe_write(&b->vfb, "event-channel", "%u", b->port);
    qxen_device_fe_write(&b->vfb, "protocol", "x86_64-abi");
    qxen_device_fe_write(&b->vfb, "feature-update", "1");
    qxen_device_set_state(&b->vfb, XenbusStateInitialised);
    qxen_device_wait(&b->vfb, XenbusStateConnected);
    qxen_device_set_state(&b->vfb, XenbusStateConnected);
    qxen_settle(&b->xen);
    client_start_with_map(&b->client, b->qts);
    client_wait(&b->client, &b->client.copies, 1);
}

static void vfb_stop(Bench *b)
{
    qxen_device_close(&b->vfb);
    qxen_device_cleanup(&b->vfb);
    qxen_evtchn_close(&b->xen, b->port);
    for (int i = 0; i < ARRAY_SIZE(b->addr); i++) {
        qxen_page_free(&b->xen, b->addr[i]);
    }
    stop(b);
}

/* Measuring */

/* QEMU's time for the commands of a flip by themselves, in us */
static double test_cost(Bench *b)
{
    int64_t cpu = cpu_ns(b);
    int i;

    for (i = 0; i < 50; i++) {
        qxen_evtchn_notify(&b->xen, UNUSED_PORT);
        if (b->flip == vdispl_flip) {
            qtest_clock_step(b->qts, REFRESH_NS);
        }
    }
    return (cpu_ns(b) - cpu) / 1e3 / i;
}

/* Of several QEMUs one runs at a time */
static void let_run(Bench *b, bool run)
{
    g_assert_cmpint(kill(qtest_pid(b->qts), run ? SIGCONT : SIGSTOP), ==, 0);
}

static void measure_round(Bench *b)
{
    int64_t cpu, began, t;
    uint64_t octets;
    double value;
    int n;

    began = now_us();
    do {
        b->flip(b);
    } while (now_us() - began < WARM_UP_US);
    value = test_cost(b);
    g_array_append_val(b->test_cpu, value);

    cpu = cpu_ns(b);
    octets = b->client.octets;
    began = t = now_us();
    for (n = 0; n < MIN_FLIPS || t - began < ROUND_US; n++) {
        int64_t asked = t;

        b->flip(b);
        t = now_us();
        value = t - asked;
        g_array_append_val(b->latency, value);
    }
    value = (cpu_ns(b) - cpu) / 1e3 / n;
    g_array_append_val(b->cpu, value);
    value = n * 1e6 / (t - began);
    g_array_append_val(b->rate, value);
    value = (double)(b->client.octets - octets) / n;
    g_array_append_val(b->sent, value);
}

static QDict *result(Bench *b, const char *path)
{
    QDict *result = qdict_new();
    double own = median(b->test_cpu);
    QList *rounds = qlist_new();

    qdict_put_str(result, "path", path);
    qdict_put_int(result, "width", b->width);
    qdict_put_int(result, "height", b->height);
    qdict_put_int(result, "flips", b->latency->len);
    qdict_put_int(result, "grants", b->grants);
    /* Before the median is taken, which puts them in another order */
    for (int i = 0; i < b->cpu->len; i++) {
        qlist_append(rounds, qnum_from_double(
                         g_array_index(b->cpu, double, i) - own));
    }
    qdict_put(result, "cpu-us-rounds", rounds);
    qdict_put(result, "cpu-us", qnum_from_double(median(b->cpu) - own));
    qdict_put(result, "test-cpu-us", qnum_from_double(own));
    qdict_put(result, "latency-us", qnum_from_double(median(b->latency)));
    qdict_put(result, "flips-per-second", qnum_from_double(median(b->rate)));
    qdict_put(result, "sent-bytes", qnum_from_double(median(b->sent)));
    return result;
}

/* xenfb comes after the paths */
#define XENFB   ARRAY_SIZE(paths)

static void bench_start(Bench *b, int path, int size)
{
    if (path == XENFB) {
        vfb_start(b, sizes[size].width, sizes[size].height);
    } else {
        vdispl_start(b, sizes[size].width, sizes[size].height, path);
    }
    let_run(b, false);
}

static QDict *bench_stop(Bench *b, int path)
{
    QDict *r = result(b, path == XENFB ? "xenfb" : paths[path].name);

    let_run(b, true);
    if (path == XENFB) {
        vfb_stop(b);
    } else {
        /* xenfb does not count its own */
        qdict_put_int(r, "copied-bytes",
                      bytes_copied(b) / qdict_get_int(r, "flips"));
        vdispl_stop(b);
    }
    return r;
}

int main(int argc, char **argv)
{
    static Bench b[(XENFB + 1) * ARRAY_SIZE(sizes)];
    int rounds;
    QList *results = qlist_new();
    g_autoptr(GString) json = NULL;
    g_autoptr(GError) err = NULL;

    g_test_init(&argc, &argv, NULL);
    if (argc != 2) {
        fprintf(stderr, "usage: %s [-m perf] OUT.json\n", argv[0]);
        return 2;
    }
    rounds = g_test_perf() ? ROUNDS : 1;
    for (int i = 0; i < ARRAY_SIZE(b); i++) {
        bench_start(&b[i], i / ARRAY_SIZE(sizes), i % ARRAY_SIZE(sizes));
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < ARRAY_SIZE(b); i++) {
            let_run(&b[i], true);
            measure_round(&b[i]);
            let_run(&b[i], false);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(b); i++) {
        qlist_append(results, bench_stop(&b[i], i / ARRAY_SIZE(sizes)));
    }

    json = qobject_to_json_pretty(QOBJECT(results), true);
    g_string_append_c(json, '\n');
    if (!g_file_set_contents(argv[1], json->str, json->len, &err)) {
        fprintf(stderr, "%s\n", err->message);
        return 1;
    }
    qobject_unref(results);
    return 0;
}
