/*
 * From the Xen display back end's guest to a Wayland compositor, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The viewer of contrib/xen-vdispl-wayland is run as a user does, with a Weston
 * that has no screen and draws by Mesa's software OpenGL. XEN_VDISPL_WAYLAND
 * names the viewer.
 */

#include "qemu/osdep.h"
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <png.h>
#include <poll.h>
#include <sys/prctl.h>
#include "libqtest.h"
#include "libqos/xen-vdispl.h"
#include "qemu/timer.h"
#include "standard-headers/drm/drm_fourcc.h"

#define REFRESH_NS  (NANOSECONDS_PER_SECOND / 60 + 1)

/* Of one page: before 10.1, QEMU knows of dma-bufs only from their beginning */
#define SIZE        32

#define RED         0xff0000
#define GREEN       0x00ff00

typedef struct Fixture {
    QTestState *qts;
    QXen xen;
    QVDispl d;
    QVDisplBuffer buf;
    QXenAlive idle;
    QXenAlive connected;
    char *dir;                  /* for sockets and pictures */
    const char *where;          /* the viewer finds QEMU */
    GSubprocess *weston;
    GSubprocess *viewer;
    GString *said;              /* by the viewer */
} Fixture;

/* Whatever becomes of the test, it leaves no process behind */
static void end_with_parent(gpointer opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static GSubprocess *run(Fixture *f, const char *const *argv, const char *output)
{
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(output ? G_SUBPROCESS_FLAGS_STDERR_MERGE :
                                  G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                  G_SUBPROCESS_FLAGS_STDERR_MERGE);
    g_autoptr(GError) err = NULL;
    GSubprocess *process;

    g_subprocess_launcher_setenv(launcher, "XDG_RUNTIME_DIR", f->dir, true);
    g_subprocess_launcher_setenv(launcher, "WAYLAND_DISPLAY", "wayland", true);
    g_subprocess_launcher_set_cwd(launcher, f->dir);
    g_subprocess_launcher_set_child_setup(launcher, end_with_parent, NULL,
                                          NULL);
    if (output) {
        g_autofree char *path = g_build_filename(f->dir, output, NULL);

        g_subprocess_launcher_set_stdout_file_path(launcher, path);
    }
    process = g_subprocess_launcher_spawnv(launcher, argv, &err);
    g_assert_no_error(err);
    return process;
}

static void weston_start(Fixture *f, const char *renderer)
{
    g_autofree char *option = g_strdup_printf("--renderer=%s", renderer);
    const char *const argv[] = {
        "weston", "--backend=headless", option, "--no-config",
        "--shell=kiosk-shell.so", "--width=" stringify(SIZE),
        "--height=" stringify(SIZE), "--idle-time=0", "--socket=wayland",
        /* lets pictures be taken */
        "--debug", NULL
    };

    g_autofree char *socket = g_build_filename(f->dir, "wayland", NULL);

    unlink(socket);
    f->weston = run(f, argv, "weston.log");
    for (int i = 0; access(socket, F_OK) < 0; i++) {
        g_assert_cmpint(i, <, QXEN_TIMEOUT * 100);
        g_usleep(10000);
    }
}

static void process_stop(GSubprocess **process, int sig)
{
    g_subprocess_send_signal(*process, sig);
    g_subprocess_wait(*process, NULL, NULL);
    g_clear_object(process);
}

/* Waits until the viewer says @what */
static void viewer_expect(Fixture *f, const char *what)
{
    GInputStream *out = g_subprocess_get_stdout_pipe(f->viewer);
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;

    while (!strstr(f->said->str, what)) {
        char text[256];
        ssize_t n = 0;

        if (g_pollable_input_stream_is_readable(
                G_POLLABLE_INPUT_STREAM(out))) {
            n = g_input_stream_read(out, text, sizeof(text), NULL, NULL);
            g_string_append_len(f->said, text, n);
        }
        if (!n && g_get_monotonic_time() > end) {
            g_error("the viewer says '%s' instead of '%s'", f->said->str, what);
        }
        g_usleep(n ? 0 : 10000);
    }
}

/* A viewer of console @number */
static void viewer_start(Fixture *f, const char *number)
{
    const char *argv[] = {
        getenv("XEN_VDISPL_WAYLAND"), f->where, "--console", number, NULL
    };

    g_assert_nonnull(argv[0]);
    f->said = g_string_new(NULL);
    f->viewer = run(f, argv, NULL);
}

static void viewer_stop(Fixture *f)
{
    process_stop(&f->viewer, SIGTERM);
    g_string_free(f->said, true);
}

/* It ends by itself with @status, and says @why */
static void viewer_expect_end(Fixture *f, const char *why, int status)
{
    viewer_expect(f, why);
    g_subprocess_wait(f->viewer, NULL, NULL);
    g_assert_cmpint(g_subprocess_get_exit_status(f->viewer), ==, status);
    g_clear_object(&f->viewer);
    g_string_free(f->said, true);
}

static void viewer_expect_error(Fixture *f, const char *why)
{
    viewer_expect_end(f, why, 1);
}

/*
 * QEMU with @display and its device's @path, the guest's only buffer, and a
 * Weston that draws by @renderer
 */
static void start(Fixture *f, const char *display, const char *path,
                  const char *renderer)
{
    g_autoptr(GError) err = NULL;

    f->dir = g_dir_make_tmp("xen-vdispl-wayland-XXXXXX", &err);
    g_assert_no_error(err);
    f->where = "--qmp=qmp";
    f->qts = qtest_initf("-machine xen-qtest -nodefaults -display %s "
                         "-qmp unix:%s/qmp,server=on,wait=off -device "
                         "xen-vdispl,id=vd0,connectors=%dx%d,path=%s",
                         display, f->dir, SIZE, SIZE, path);
    qxen_init(&f->xen, f->qts);
    qvdispl_init(&f->d, &f->xen, 0);
    f->idle = qxen_alive_get(&f->xen);
    qvdispl_connect(&f->d);
    f->connected = qxen_alive_get(&f->xen);

    /* The first page of the guest's RAM, so that its dma-buf begins there */
    qvdispl_buffer_alloc(&f->d, &f->buf, SIZE, SIZE, 32, 0);
    g_assert_cmpuint(f->buf.nr_pages, ==, 1);
    qxen_grant_set(&f->xen, f->buf.refs[0], 0, XEN_QTEST_GRANT_ACCESS);
    weston_start(f, renderer);
}

static void stop_qemu(Fixture *f)
{
    qvdispl_buffer_free(&f->d, &f->buf);
    qvdispl_disconnect(&f->d);
    qxen_settle(&f->xen);
    qxen_assert_alive(&f->xen, &f->idle);
    qvdispl_cleanup(&f->d);
    qxen_cleanup(&f->xen);
    qtest_quit(f->qts);
}

static void stop_weston(Fixture *f)
{
    const char *const argv[] = { "rm", "-r", f->dir, NULL };

    process_stop(&f->weston, SIGTERM);
    g_assert(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                          NULL, NULL, NULL, NULL, NULL));
    g_free(f->dir);
}

static void stop(Fixture *f)
{
    viewer_stop(f);
    stop_qemu(f);
    stop_weston(f);
}

/* The guest draws */
static void draw(Fixture *f, uint32_t rgb)
{
    for (unsigned int i = 0; i < SIZE * SIZE; i++) {
        qtest_writel(f->qts, i * 4, rgb);
    }
}

static void show(Fixture *f)
{
    qvdispl_show(&f->d, 0, &f->buf, DRM_FORMAT_XRGB8888);
    qxen_settle(&f->xen);
}

static bool flip_event(Fixture *f)
{
    struct xendispl_evt evt;

    qxen_settle(&f->xen);
    return qvdispl_event(&f->d, 0, &evt);
}

/* Sends a page flip, and lets its time come */
static void flip(Fixture *f)
{
    g_assert_cmpint(qvdispl_flip(&f->d, 0, f->buf.fb_cookie), ==, 0);
    qtest_clock_step(f->qts, REFRESH_NS);
}

/* Takes a picture of the compositor's screen. Returns: its file */
static char *screen_shoot(Fixture *f)
{
    static const char *const argv[] = { "weston-screenshooter", NULL };
    g_autoptr(GSubprocess) shooter = run(f, argv, "screenshooter.log");
    g_autoptr(GDir) dir = NULL;
    const char *name;

    g_assert(g_subprocess_wait_check(shooter, NULL, NULL));
    dir = g_dir_open(f->dir, 0, NULL);
    do {
        name = g_dir_read_name(dir);
        g_assert_nonnull(name);
    } while (!g_str_has_suffix(name, ".png"));
    return g_build_filename(f->dir, name, NULL);
}

/* The colour that all of the compositor's screen has, or -1 */
static int screen_colour(Fixture *f)
{
    g_autofree char *path = screen_shoot(f);
    png_image image = { .version = PNG_IMAGE_VERSION };
    uint8_t rgb[SIZE * SIZE * 3];

    g_assert(png_image_begin_read_from_file(&image, path));
    image.format = PNG_FORMAT_RGB;
    g_assert_cmpuint(PNG_IMAGE_SIZE(image), ==, sizeof(rgb));
    g_assert(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    unlink(path);
    for (unsigned int i = 3; i < sizeof(rgb); i++) {
        if (rgb[i] != rgb[i % 3]) {
            return -1;
        }
    }
    return rgb[0] << 16 | rgb[1] << 8 | rgb[2];
}

static void assert_screen(Fixture *f, int colour)
{
    for (int i = 0; screen_colour(f) != colour; i++) {
        g_assert_cmpint(i, <, 20);
    }
}

/* The compositor reads the guest's memory itself: it is mapped there */
static void assert_compositor_maps_guest(Fixture *f)
{
    g_autofree char *path =
        g_strdup_printf("/proc/%s/maps",
                        g_subprocess_get_identifier(f->weston));
    g_autofree char *maps = NULL;
    g_autofree char *inode = NULL;
    struct stat ram;
    int ram_fd = qxen_ram_fd(&f->xen);

    g_assert_cmpint(fstat(ram_fd, &ram), ==, 0);
    close(ram_fd);
    inode = g_strdup_printf(" %ju ", (uintmax_t)ram.st_ino);
    g_assert(g_file_get_contents(path, &maps, NULL, NULL));
    g_assert(strstr(maps, access("/dev/udmabuf", R_OK | W_OK) < 0 ?
                    inode : "/dmabuf:"));
}

/* The guest destroys a buffer that is not shown. The answer is not awaited. */
static void send_destroy(Fixture *f, QVDisplBuffer *buf)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_DBUF_DESTROY,
        .op.dbuf_destroy.dbuf_cookie = buf->req.dbuf_cookie,
    };

    g_assert_cmpint(qvdispl_fb_detach(&f->d, buf->fb_cookie), ==, 0);
    qvdispl_send(&f->d, 0, &req);
    qxen_settle(&f->xen);
}

static void hide_and_send_destroy(Fixture *f)
{
    g_assert_cmpint(qvdispl_disable(&f->d, 0), ==, 0);
    send_destroy(f, &f->buf);
}

static bool destroy_answered(Fixture *f, int *status)
{
    struct xendispl_resp resp;

    qxen_settle(&f->xen);
    if (!qxen_ring_get(&f->d.conn[0].req, &resp, sizeof(resp))) {
        return false;
    }
    *status = resp.status;
    return true;
}

/* It is answered because viewer and compositor let go of the guest's pages */
static void await_destroy(Fixture *f)
{
    int status;

    for (int i = 0; !destroy_answered(f, &status); i++) {
        g_assert_cmpint(i, <, 2000);
        /* The device has a limit in its own time, so that goes slowly */
        g_usleep(10000);
        qtest_clock_step(f->qts, SCALE_MS);
    }
    g_assert_cmpint(status, ==, 0);
}

static void take_back(Fixture *f)
{
    hide_and_send_destroy(f);
    await_destroy(f);
    qxen_assert_alive(&f->xen, &f->connected);
}

static void test_show(Fixture *f, const char *by)
{
    draw(f, RED);
    show(f);
    viewer_start(f, "0");
    viewer_expect(f, by);
    assert_screen(f, RED);
    draw(f, GREEN);
    flip(f);
    qvdispl_flip_wait(&f->d, 0);
    assert_screen(f, GREEN);
}

#define GL "dbus,p2p=yes,gl=on,rendernode=/dev/null"

static void test_dmabuf(void)
{
    Fixture f;

    start(&f, GL, "exported", "gl");
    test_show(&f, "32x32, a dma-buf");
    assert_compositor_maps_guest(&f);
    take_back(&f);
    assert_screen(&f, 0);
    draw(&f, RED);
    show(&f);
    assert_screen(&f, RED);
    take_back(&f);
    stop(&f);
}

/* Without OpenGL in QEMU. A host without udmabuf has no dma-bufs */
static void test_shared(void)
{
    Fixture f;

    start(&f, "dbus,p2p=yes", "exported", "gl");
    test_show(&f, access("/dev/udmabuf", R_OK | W_OK) < 0 ?
              "32x32, shared memory" : "32x32, a dma-buf");
    assert_compositor_maps_guest(&f);
    take_back(&f);
    stop(&f);
}

/* A compositor without OpenGL takes no dma-bufs */
static void test_no_gl(void)
{
    Fixture f;

    start(&f, GL, "exported", "pixman");
    test_show(&f, "32x32, shared memory");
    take_back(&f);
    stop(&f);
}

/* By a bus, which is QEMU's session's and named to the viewer */
static void test_bus(void)
{
    GTestDBus *bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_autofree char *where = NULL;
    Fixture f;

    g_test_dbus_up(bus);
    where = g_strdup_printf("--address=%s", g_test_dbus_get_bus_address(bus));
    start(&f, "dbus,gl=on,rendernode=/dev/null", "exported", "gl");
    f.where = where;
    test_show(&f, "32x32, a dma-buf");
    take_back(&f);
    stop(&f);
    g_test_dbus_down(bus);
    g_object_unref(bus);
}

static void test_copy(void)
{
    Fixture f;

    start(&f, "dbus,p2p=yes", "mapped", "gl");
    test_show(&f, "32x32, a copy");
    take_back(&f);
    stop(&f);
}

/* A flip is not complete while the compositor has not let go of the picture */
static void test_busy(void)
{
    Fixture f;

    start(&f, GL, "exported", "gl");
    test_show(&f, "32x32, a dma-buf");
    g_subprocess_send_signal(f.weston, SIGSTOP);
    flip(&f);
    for (int i = 0; i < 30; i++) {
        g_assert(!flip_event(&f));
        g_usleep(10000);
    }
    g_subprocess_send_signal(f.weston, SIGCONT);
    qvdispl_flip_wait(&f.d, 0);
    take_back(&f);
    stop(&f);
}

/*
 * Without OpenGL, QEMU stands still until the viewer answers: it does so before
 * QEMU gives up, and goes on with shared memory. Weston without OpenGL keeps
 * every buffer while it shows it.
 */
static void test_slow(void)
{
    QVDisplBuffer other;
    Fixture f;

    start(&f, "dbus,p2p=yes", "exported", "pixman");
    test_show(&f, "32x32, ");
    qvdispl_buffer_alloc(&f.d, &other, SIZE, SIZE, 32, 0);
    qtest_memset(f.qts, other.addr, 0, XEN_PAGE_SIZE);
    qvdispl_fb(&f.d, &other, DRM_FORMAT_XRGB8888);
    g_subprocess_send_signal(f.weston, SIGSTOP);
    g_assert_cmpint(qvdispl_flip(&f.d, 0, other.fb_cookie), ==, 0);
    qtest_clock_step(f.qts, REFRESH_NS);
    qvdispl_flip_wait(&f.d, 0);
    g_subprocess_send_signal(f.weston, SIGCONT);
    assert_screen(&f, 0);
    flip(&f);
    qvdispl_flip_wait(&f.d, 0);
    assert_screen(&f, GREEN);
    assert_compositor_maps_guest(&f);

    send_destroy(&f, &other);
    await_destroy(&f);
    qvdispl_buffer_free(&f.d, &other);
    take_back(&f);
    stop(&f);
}

/* A compositor that does not let go: the guest is told, and keeps its pages */
static void test_stuck(void)
{
    Fixture f;
    int status;

    start(&f, GL, "exported", "gl");
    test_show(&f, "32x32, a dma-buf");
    g_subprocess_send_signal(f.weston, SIGSTOP);
    hide_and_send_destroy(&f);
    qtest_clock_step(f.qts, 2499ULL * SCALE_MS);
    g_assert(!destroy_answered(&f, &status));
    qtest_clock_step(f.qts, 2 * SCALE_MS);
    g_assert(destroy_answered(&f, &status));
    g_assert_cmpint(status, ==, -XEN_EBUSY);
    g_assert_cmpuint(qvdispl_buffer_mapped(&f.d, &f.buf), ==, 1);

    g_subprocess_send_signal(f.weston, SIGCONT);
    for (int i = 0; qvdispl_buffer_mapped(&f.d, &f.buf); i++) {
        g_assert_cmpint(i, <, QXEN_TIMEOUT * 100);
        g_usleep(10000);
    }
    /* The device asks once a second */
    qtest_clock_step(f.qts, NANOSECONDS_PER_SECOND);
    qxen_assert_alive(&f.xen, &f.connected);
    stop(&f);
}

static unsigned int qemu_files(Fixture *f)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtest_pid(f->qts));
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned int n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/* Viewers come and go, and QEMU does not keep what it had open for them */
static void test_again(void)
{
    unsigned int files;
    Fixture f;

    start(&f, "dbus,p2p=yes", "exported", "gl");
    show(&f);
    viewer_start(&f, "0");
    viewer_expect(&f, "32x32, ");
    files = qemu_files(&f);
    for (int i = 0; i < 3; i++) {
        viewer_stop(&f);
        viewer_start(&f, "0");
        viewer_expect(&f, "32x32, ");
    }
    for (int i = 0; qemu_files(&f) > files; i++) {
        g_assert_cmpint(i, <, QXEN_TIMEOUT * 100);
        g_usleep(10000);
    }
    take_back(&f);
    stop(&f);
}

/* Whoever goes, the viewer says so; and the guest goes on without it */
static void test_errors(void)
{
    Fixture f;

    start(&f, GL, "exported", "gl");
    viewer_start(&f, "-1");
    viewer_expect_end(&f, "Usage:", 2);
    viewer_start(&f, "first");
    viewer_expect_end(&f, "Cannot parse", 2);
    viewer_start(&f, "7");
    viewer_expect_error(&f, "QEMU has no console 7");

    test_show(&f, "32x32, a dma-buf");
    process_stop(&f.weston, SIGKILL);
    viewer_expect_error(&f, "the compositor has gone");
    flip(&f);
    qvdispl_flip_wait(&f.d, 0);

    viewer_start(&f, "0");
    viewer_expect_error(&f, "cannot connect to a Wayland compositor");
    weston_start(&f, "gl");
    viewer_start(&f, "0");
    viewer_expect(&f, "32x32, a dma-buf");
    take_back(&f);
    stop_qemu(&f);
    viewer_expect_error(&f, "QEMU has closed its display");
    stop_weston(&f);
}

/* In QEMU's place: a console on a bus of its own */
typedef struct FakeQemu {
    GTestDBus *bus;
    GDBusConnection *conn;
    char *where;
    int fd;                     /* the viewer's listener, or -1 */
    GDBusConnection *listener;
} FakeQemu;

static const char console_xml[] =
    "<node><interface name='org.qemu.Display1.Console'>"
    "<method name='RegisterListener'><arg type='h' direction='in'/></method>"
    "<property name='Label' type='s' access='read'/>"
    "</interface></node>";

static void console_call(GDBusConnection *conn, const char *sender,
                         const char *path, const char *interface,
                         const char *name, GVariant *args,
                         GDBusMethodInvocation *call, gpointer opaque)
{
    FakeQemu *q = opaque;
    GUnixFDList *fds = g_dbus_message_get_unix_fd_list(
        g_dbus_method_invocation_get_message(call));

    q->fd = g_unix_fd_list_get(fds, 0, NULL);
    g_dbus_method_invocation_return_value(call, NULL);
}

static GVariant *console_label(GDBusConnection *conn, const char *sender,
                               const char *path, const char *interface,
                               const char *name, GError **err, gpointer opaque)
{
    return g_variant_new_string("none");
}

static const GDBusInterfaceVTable console_vtable = {
    .method_call = console_call,
    .get_property = console_label,
};

/* The viewer looks at it, not at the true QEMU, which is there as well */
static void fake_start(FakeQemu *q, Fixture *f)
{
    g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(console_xml,
                                                                 NULL);
    g_autoptr(GSocketConnection) stream = NULL;
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *guid = g_dbus_generate_guid();

    start(f, GL, "exported", "gl");
    q->bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_test_dbus_up(q->bus);
    q->where = g_strdup_printf("--address=%s",
                               g_test_dbus_get_bus_address(q->bus));
    f->where = q->where;
    q->fd = -1;
    q->conn = g_bus_get_sync(G_BUS_TYPE_SESSION, NULL, &err);
    g_assert_no_error(err);
    g_assert(g_dbus_connection_register_object(
        q->conn, "/org/qemu/Display1/Console_0", info->interfaces[0],
        &console_vtable, q, NULL, NULL));
    g_bus_own_name_on_connection(q->conn, "org.qemu",
                                 G_BUS_NAME_OWNER_FLAGS_NONE, NULL, NULL, NULL,
                                 NULL);
    viewer_start(f, "0");
    while (q->fd < 0) {
        g_main_context_iteration(NULL, true);
    }
    socket = g_socket_new_from_fd(q->fd, &err);
    g_assert_no_error(err);
    stream = g_socket_connection_factory_create_connection(socket);
    q->listener = g_dbus_connection_new_sync(
        G_IO_STREAM(stream), guid,
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER, NULL, NULL, &err);
    g_assert_no_error(err);
}

static void fake_stop(FakeQemu *q, Fixture *f)
{
    g_dbus_connection_close_sync(q->listener, NULL, NULL);
    viewer_expect_error(f, "QEMU has closed its display");
    g_clear_object(&q->listener);
    g_clear_object(&q->conn);
    g_test_dbus_down(q->bus);
    g_object_unref(q->bus);
    g_free(q->where);
    stop_qemu(f);
    stop_weston(f);
}

/* Hands over @fd, if that is not -1, as the one of number @handle */
static void fake_scanout_dmabuf(FakeQemu *q, int fd, int handle, GError **err)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    g_autoptr(GVariant) answer = NULL;

    if (fd >= 0) {
        g_assert_cmpint(g_unix_fd_list_append(fds, fd, NULL), ==, 0);
    }
    answer = g_dbus_connection_call_with_unix_fd_list_sync(
        q->listener, NULL, "/org/qemu/Display1/Listener",
        "org.qemu.Display1.Listener", "ScanoutDMABUF",
        g_variant_new("(huuuutb)", handle, SIZE, SIZE, SIZE * 4,
                      DRM_FORMAT_XRGB8888, (guint64)0, false), NULL,
        G_DBUS_CALL_FLAGS_NONE, QXEN_TIMEOUT * 1000, fds, NULL, NULL, err);
}

/* Attack: a QEMU in the hands of its guest hands over what it does not have */
static void test_bad_handles(void)
{
    static const int handles[] = { 1, INT_MAX, -1, INT_MIN };
    g_autoptr(GError) err = NULL;
    FakeQemu q;
    Fixture f;

    fake_start(&q, &f);
    fake_scanout_dmabuf(&q, -1, 0, &err);
    g_assert_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < ARRAY_SIZE(handles); i++) {
        g_clear_error(&err);
        fake_scanout_dmabuf(&q, STDIN_FILENO, handles[i], &err);
        g_assert_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
    }
    fake_stop(&q, &f);
}

static void fake_answered(GObject *source, GAsyncResult *result,
                          gpointer opaque)
{
    g_autoptr(GVariant) answer = g_dbus_connection_call_finish(
        G_DBUS_CONNECTION(source), result, NULL);

    *(bool *)opaque = answer;
}

static void fake_call(FakeQemu *q, const char *name, GVariant *args,
                      bool *answered)
{
    *answered = false;
    g_dbus_connection_call(q->listener, NULL, "/org/qemu/Display1/Listener",
                           "org.qemu.Display1.Listener", name, args, NULL,
                           G_DBUS_CALL_FLAGS_NONE, -1, NULL, fake_answered,
                           answered);
}

static void fake_wait(bool *answered, unsigned int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (!*answered && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, false);
        g_usleep(1000);
    }
}

/* What waits for a picture is answered when that is not to be shown any more */
static void test_hide_imported(void)
{
    bool updated, disabled;
    FakeQemu q;
    Fixture f;
    int ram_fd;

    fake_start(&q, &f);
    ram_fd = qxen_ram_fd(&f.xen);
    g_subprocess_send_signal(f.weston, SIGSTOP);
    fake_scanout_dmabuf(&q, ram_fd, 0, NULL);
    close(ram_fd);
    fake_call(&q, "UpdateDMABUF", g_variant_new("(iiii)", 0, 0, SIZE, SIZE),
              &updated);
    fake_wait(&updated, 200);
    g_assert_false(updated);
    fake_call(&q, "Disable", NULL, &disabled);
    fake_wait(&disabled, QXEN_TIMEOUT * 1000);
    g_assert_true(disabled);
    fake_wait(&updated, 1000);
    g_assert_true(updated);
    g_subprocess_send_signal(f.weston, SIGCONT);
    fake_stop(&q, &f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("xen/vdispl/wayland/dmabuf", test_dmabuf);
    qtest_add_func("xen/vdispl/wayland/shared", test_shared);
    qtest_add_func("xen/vdispl/wayland/no-gl", test_no_gl);
    qtest_add_func("xen/vdispl/wayland/bus", test_bus);
    qtest_add_func("xen/vdispl/wayland/copy", test_copy);
    qtest_add_func("xen/vdispl/wayland/busy", test_busy);
    qtest_add_func("xen/vdispl/wayland/slow", test_slow);
    qtest_add_func("xen/vdispl/wayland/stuck", test_stuck);
    qtest_add_func("xen/vdispl/wayland/again", test_again);
    qtest_add_func("xen/vdispl/wayland/errors", test_errors);
    qtest_add_func("xen/vdispl/wayland/bad-handles", test_bad_handles);
    qtest_add_func("xen/vdispl/wayland/hide-imported", test_hide_imported);
    return g_test_run();
}
