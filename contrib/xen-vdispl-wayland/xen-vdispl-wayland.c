/*
 * A console of QEMU in a Wayland window
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU's D-Bus display (ui/dbus-display1.xml) hands its clients the dma-buf or
 * the shared memory that a console shows. Here it becomes the window's buffer
 * as it is. QEMU's call is answered when the compositor has let go of the
 * buffer before: until then a guest's page flip is not complete.
 */

#include "window.h"

#include <drm_fourcc.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <gio/gunixfdmessage.h>
#include <gio/gunixsocketaddress.h>
#include <linux/magic.h>
#include <pixman.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DISPLAY1 "org.qemu.Display1"
#define ROOT     "/org/qemu/Display1"

/*
 * How long ScanoutMap may be held. QEMU stands still meanwhile, and the guest's
 * requests with it; after a second it would send copies for good.
 */
#define HOLD_MS  500

typedef struct Viewer {
    GMainLoop *loop;
    Window *window;
    char *why;              /* it ends; NULL if the user wants it to */
    GQueue held;            /* calls of QEMU that wait for their answers */
    guint limit;            /* the timer of those that do not wait longer */

    /* Of Scanout, whose pixels come with the call */
    uint8_t *copy;
    size_t copy_size;
    uint32_t copy_stride, copy_format;
} Viewer;

static void viewer_idle(void *opaque)
{
    Viewer *v = opaque;
    GDBusMethodInvocation *call;

    g_clear_handle_id(&v->limit, g_source_remove);
    while ((call = g_queue_pop_head(&v->held))) {
        g_dbus_method_invocation_return_value(call, NULL);
    }
}

/* The compositor is slow: buffers stay safe, but a flip is complete early. */
static gboolean viewer_limit(gpointer opaque)
{
    Viewer *v = opaque;

    v->limit = 0;
    viewer_idle(v);
    return G_SOURCE_REMOVE;
}

static void viewer_end(const char *why, void *opaque)
{
    Viewer *v = opaque;

    v->why = g_strdup(why);
    g_main_loop_quit(v->loop);
}

static const WindowOps window_ops = {
    .idle = viewer_idle,
    .closed = viewer_end,
};

/* What QEMU calls: the arguments are of the types that listener_xml says */

/* pixman's name for a format, to DRM's */
static uint32_t fourcc_of(uint32_t format)
{
    switch (format) {
    case PIXMAN_x8r8g8b8:
    case PIXMAN_a8r8g8b8:
        return DRM_FORMAT_XRGB8888;
    case PIXMAN_x8b8g8r8:
    case PIXMAN_a8b8g8r8:
        return DRM_FORMAT_XBGR8888;
    case PIXMAN_r8g8b8:
        return DRM_FORMAT_RGB888;
    case PIXMAN_r5g6b5:
        return DRM_FORMAT_RGB565;
    case PIXMAN_x1r5g5b5:
        return DRM_FORMAT_XRGB1555;
    default:
        return DRM_FORMAT_INVALID;
    }
}

/* What QEMU calls shared memory may be one, which a compositor can import. */
static bool is_dmabuf(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == DMA_BUF_MAGIC;
}

/* Shows @p, whose descriptor came with the call as number @handle */
static bool show_fd(Viewer *v, WindowPicture *p, GUnixFDList *fds, int handle,
                    GError **err)
{
    bool ok;

    if (!fds || handle < 0 || handle >= g_unix_fd_list_get_length(fds)) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "no file descriptor came with the call");
        return false;
    }
    p->fd = g_unix_fd_list_get(fds, handle, err);
    if (p->fd < 0) {
        return false;
    }
    p->is_dmabuf |= is_dmabuf(p->fd);
    ok = window_show(v->window, p, err);
    close(p->fd);
    return ok;
}

static bool scanout_dmabuf(Viewer *v, GVariant *args, GUnixFDList *fds,
                           GError **err)
{
    WindowPicture p = { .is_dmabuf = true };
    gboolean y0_top;
    int handle;

    g_variant_get(args, "(huuuutb)", &handle, &p.width, &p.height, &p.stride,
                  &p.fourcc, &p.modifier, &y0_top);
    /* It means OpenGL's y, which goes up. */
    p.bottom_up = y0_top;
    return show_fd(v, &p, fds, handle, err);
}

static bool scanout_map(Viewer *v, GVariant *args, GUnixFDList *fds,
                        GError **err)
{
    WindowPicture p = { .modifier = DRM_FORMAT_MOD_LINEAR };
    uint32_t format;
    int handle;

    g_variant_get(args, "(huuuuu)", &handle, &p.offset, &p.width, &p.height,
                  &p.stride, &format);
    p.fourcc = fourcc_of(format);
    return show_fd(v, &p, fds, handle, err);
}

static bool update(Viewer *v, GVariant *args, GUnixFDList *fds, GError **err)
{
    int32_t x, y, width, height;

    g_variant_get(args, "(iiii)", &x, &y, &width, &height);
    window_update(v->window, x, y, width, height);
    return true;
}

static bool disable(Viewer *v, GVariant *args, GUnixFDList *fds, GError **err)
{
    window_hide(v->window);
    return true;
}

/* Pixels on the wire: the one way on which they are copied */
static bool scanout_copy(Viewer *v, GVariant *args, GUnixFDList *fds,
                         GError **err)
{
    WindowPicture p = { .is_copy = true };
    g_autoptr(GVariant) data = NULL;
    size_t size;
    bool ok;

    g_variant_get(args, "(uuuu@ay)", &p.width, &p.height, &p.stride,
                  &v->copy_format, &data);
    size = (size_t)p.stride * p.height;
    if (g_variant_get_size(data) < size) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%ux%u, %u octets a row, in %zu octets", p.width, p.height,
                    p.stride, (size_t)g_variant_get_size(data));
        return false;
    }
    if (v->copy) {
        munmap(v->copy, v->copy_size);
        v->copy = NULL;
    }
    p.fd = memfd_create("xen-vdispl-wayland", MFD_CLOEXEC);
    ok = p.fd >= 0 && ftruncate(p.fd, size) == 0;
    if (ok) {
        v->copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0);
        ok = v->copy != MAP_FAILED;
    }
    if (!ok) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "no shared memory of %zu octets: %m", size);
        v->copy = NULL;
    } else {
        v->copy_size = size;
        v->copy_stride = p.stride;
        memcpy(v->copy, g_variant_get_data(data), size);
        p.fourcc = fourcc_of(v->copy_format);
        ok = window_show(v->window, &p, err);
    }
    if (p.fd >= 0) {
        close(p.fd);
    }
    return ok;
}

static bool update_copy(Viewer *v, GVariant *args, GUnixFDList *fds,
                        GError **err)
{
    g_autoptr(GVariant) data = NULL;
    uint32_t stride, format;
    int32_t x, y, width, height;
    size_t cpp, row;

    g_variant_get(args, "(iiiiuu@ay)", &x, &y, &width, &height, &stride,
                  &format, &data);
    cpp = PIXMAN_FORMAT_BPP(format) / 8;
    row = width * cpp;
    if (!v->copy || format != v->copy_format || x < 0 || y < 0 || width <= 0 ||
        height <= 0 || row > stride ||
        g_variant_get_size(data) < (size_t)stride * (height - 1) + row ||
        x * cpp + row > v->copy_stride ||
        ((size_t)y + height) * v->copy_stride > v->copy_size) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%dx%d at %d,%d are no part of the picture", width, height,
                    x, y);
        return false;
    }
    for (int32_t i = 0; i < height; i++) {
        memcpy(v->copy + (size_t)(y + i) * v->copy_stride + x * cpp,
               (const uint8_t *)g_variant_get_data(data) + (size_t)i * stride,
               row);
    }
    window_update(v->window, x, y, width, height);
    return true;
}

#define IN(type) "<arg type='" type "' direction='in'/>"

static const char listener_xml[] =
    "<node>"
    "<interface name='" DISPLAY1 ".Listener'>"
    "<method name='Scanout'>"
    IN("u") IN("u") IN("u") IN("u") IN("ay") "</method>"
    "<method name='Update'>"
    IN("i") IN("i") IN("i") IN("i") IN("u") IN("u") IN("ay") "</method>"
    "<method name='ScanoutDMABUF'>"
    IN("h") IN("u") IN("u") IN("u") IN("u") IN("t") IN("b") "</method>"
    "<method name='UpdateDMABUF'>" IN("i") IN("i") IN("i") IN("i") "</method>"
    "<method name='Disable'/>"
    "<property name='Interfaces' type='as' access='read'/>"
    "</interface>"
    "<interface name='" DISPLAY1 ".Listener.Unix.Map'>"
    "<method name='ScanoutMap'>"
    IN("h") IN("u") IN("u") IN("u") IN("u") IN("u") "</method>"
    "<method name='UpdateMap'>" IN("i") IN("i") IN("i") IN("i") "</method>"
    "</interface>"
    "</node>";

static const struct {
    const char *name;
    bool (*func)(Viewer *v, GVariant *args, GUnixFDList *fds, GError **err);
    bool waits;     /* its answer says that the buffer before is free */
    bool blocks;    /* QEMU until it is answered */
} methods[] = {
    { "Scanout", scanout_copy },
    { "Update", update_copy },
    { "ScanoutDMABUF", scanout_dmabuf },
    { "UpdateDMABUF", update, true },
    { "ScanoutMap", scanout_map, true, true },
    { "UpdateMap", update },
    { "Disable", disable },
};

static void listener_call(GDBusConnection *conn, const char *sender,
                          const char *path, const char *interface,
                          const char *name, GVariant *args,
                          GDBusMethodInvocation *call, gpointer opaque)
{
    GDBusMessage *message = g_dbus_method_invocation_get_message(call);
    GUnixFDList *fds = g_dbus_message_get_unix_fd_list(message);
    g_autoptr(GError) err = NULL;
    Viewer *v = opaque;
    size_t i = 0;

    /* GDBus has checked that it is one of them. */
    while (strcmp(methods[i].name, name)) {
        i++;
    }
    if (!methods[i].func(v, args, fds, &err)) {
        g_printerr("%s: %s: %s\n", g_get_prgname(), name, err->message);
        g_dbus_method_invocation_return_gerror(call, err);
    } else if (methods[i].waits && window_busy(v->window)) {
        g_queue_push_tail(&v->held, call);
        if (methods[i].blocks && !v->limit) {
            v->limit = g_timeout_add(HOLD_MS, viewer_limit, v);
        }
    } else {
        g_dbus_method_invocation_return_value(call, NULL);
    }
}

static GVariant *listener_get(GDBusConnection *conn, const char *sender,
                              const char *path, const char *interface,
                              const char *name, GError **err, gpointer opaque)
{
    static const char *const map[] = { DISPLAY1 ".Listener.Unix.Map", NULL };

    return g_variant_new_strv(map, -1);
}

static const GDBusInterfaceVTable listener_vtable = {
    .method_call = listener_call,
    .get_property = listener_get,
};

static void listener_closed(GDBusConnection *conn, gboolean vanished,
                            GError *err, gpointer opaque)
{
    viewer_end("QEMU has closed its display", opaque);
}

/* Connecting */

static GSocketConnection *connection_of(int fd, GError **err)
{
    g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, err);

    if (!socket) {
        close(fd);
        return NULL;
    }
    return g_socket_connection_factory_create_connection(socket);
}

/* D-Bus with nobody but QEMU, on a socket */
static GDBusConnection *peer_new(int fd, GError **err)
{
    g_autoptr(GSocketConnection) stream = connection_of(fd, err);

    if (!stream) {
        return NULL;
    }
    return g_dbus_connection_new_sync(
        G_IO_STREAM(stream), NULL,
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING, NULL, NULL, err);
}

/* A pair of sockets: one end is ours, the other one goes to QEMU */
static bool socket_pair(int *fds, GError **err)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "cannot make a pair of sockets: %m");
        return false;
    }
    return true;
}

/* Sends a command to QEMU's monitor, with @fd if that is not -1 */
static bool qmp(GSocketConnection *monitor, GDataInputStream *answers,
                const char *command, int fd, GError **err)
{
    GOutputVector vector = { command, strlen(command) };
    g_autoptr(GSocketControlMessage) rights = NULL;

    if (fd >= 0) {
        rights = g_unix_fd_message_new();
        if (!g_unix_fd_message_append_fd(G_UNIX_FD_MESSAGE(rights), fd, err)) {
            return false;
        }
    }
    if (g_socket_send_message(g_socket_connection_get_socket(monitor), NULL,
                              &vector, 1, rights ? &rights : NULL, !!rights,
                              0, NULL, err) < 0) {
        return false;
    }
    for (;;) {
        g_autofree char *line =
            g_data_input_stream_read_line(answers, NULL, NULL, err);

        if (!line) {
            if (err && !*err) {
                g_set_error(err, G_IO_ERROR, G_IO_ERROR_CLOSED,
                            "QEMU has closed the connection");
            }
            return false;
        }
        if (g_str_has_prefix(line, "{\"return\"")) {
            return true;
        }
        if (g_str_has_prefix(line, "{\"error\"")) {
            g_set_error(err, G_IO_ERROR, G_IO_ERROR_FAILED, "%s answers %s",
                        command, line);
            return false;
        }
    }
}

/* Asks QEMU by its monitor for a connection of our own to its D-Bus display */
static GDBusConnection *connect_by_qmp(const char *path, GError **err)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GSocketConnection) monitor = NULL;
    g_autoptr(GDataInputStream) answers = NULL;
    int fds[2];
    bool ok;

    monitor = g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address),
                                      NULL, err);
    if (!monitor || !socket_pair(fds, err)) {
        return NULL;
    }
    answers = g_data_input_stream_new(
        g_io_stream_get_input_stream(G_IO_STREAM(monitor)));
    ok = qmp(monitor, answers, "{'execute':'qmp_capabilities'}", -1, err) &&
        qmp(monitor, answers, "{'execute':'getfd',"
            "'arguments':{'fdname':'viewer'}}", fds[1], err) &&
        qmp(monitor, answers, "{'execute':'add_client','arguments':"
            "{'protocol':'@dbus-display','fdname':'viewer'}}", -1, err);
    close(fds[1]);
    if (!ok) {
        close(fds[0]);
        return NULL;
    }
    return peer_new(fds[0], err);
}

/* "Label" of the console, which shows that there is one */
static char *console_label(GDBusConnection *qemu, const char *name,
                           const char *console, GError **err)
{
    g_autoptr(GVariant) answer = NULL;
    g_autoptr(GVariant) value = NULL;

    answer = g_dbus_connection_call_sync(
        qemu, name, console, "org.freedesktop.DBus.Properties", "Get",
        g_variant_new("(ss)", DISPLAY1 ".Console", "Label"),
        G_VARIANT_TYPE("(v)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, err);
    if (!answer) {
        return NULL;
    }
    g_variant_get(answer, "(v)", &value);
    return g_variant_dup_string(value, NULL);
}

/* From now on QEMU calls us. */
static bool listen_to(Viewer *v, GDBusConnection *qemu, const char *name,
                      const char *console, GError **err)
{
    g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(listener_xml,
                                                                 NULL);
    g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
    g_autoptr(GVariant) answer = NULL;
    GDBusConnection *listener;
    int fds[2], handle;

    if (!socket_pair(fds, err)) {
        return false;
    }
    handle = g_unix_fd_list_append(list, fds[1], err);
    close(fds[1]);
    if (handle >= 0) {
        answer = g_dbus_connection_call_with_unix_fd_list_sync(
            qemu, name, console, DISPLAY1 ".Console", "RegisterListener",
            g_variant_new("(h)", handle), NULL, G_DBUS_CALL_FLAGS_NONE, -1,
            list, NULL, NULL, err);
    }
    if (!answer) {
        close(fds[0]);
        return false;
    }
    listener = peer_new(fds[0], err);
    if (!listener) {
        return false;
    }
    for (int i = 0; info->interfaces[i]; i++) {
        if (!g_dbus_connection_register_object(listener, ROOT "/Listener",
                                               info->interfaces[i],
                                               &listener_vtable, v, NULL,
                                               err)) {
            return false;
        }
    }
    g_signal_connect(listener, "closed", G_CALLBACK(listener_closed), v);
    g_dbus_connection_start_message_processing(listener);
    return true;
}

int main(int argc, char **argv)
{
    g_autofree char *monitor = NULL;
    g_autofree char *address = NULL;
    g_autofree char *console = NULL;
    g_autofree char *label = NULL;
    g_autofree char *title = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(GDBusConnection) qemu = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    const char *name = NULL;
    int number = 0;
    Viewer v = { .held = G_QUEUE_INIT };
    const GOptionEntry options[] = {
        { "console", 'c', 0, G_OPTION_ARG_INT, &number,
          "Show the N-th of QEMU's consoles, from 0, which is the default",
          "N" },
        { "qmp", 'q', 0, G_OPTION_ARG_FILENAME, &monitor,
          "Find QEMU by its monitor, for \"-display dbus,p2p=yes\"", "SOCKET" },
        { "address", 'a', 0, G_OPTION_ARG_STRING, &address,
          "Find QEMU on this D-Bus, instead of the session's", "ADDRESS" },
        { NULL }
    };

    g_option_context_set_summary(context, "Shows a console of QEMU's D-Bus "
                                 "display in a Wayland window.");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        g_printerr("%s: %s\n", g_get_prgname(), err->message);
        return 2;
    }
    if (argc > 1 || (monitor && address) || number < 0) {
        g_printerr("%s", g_option_context_get_help(context, true, NULL));
        return 2;
    }

    if (monitor) {
        qemu = connect_by_qmp(monitor, &err);
        if (qemu) {
            g_dbus_connection_start_message_processing(qemu);
        }
    } else {
        name = "org.qemu";
        qemu = address ? g_dbus_connection_new_for_address_sync(
            address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
            G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL, NULL, &err) :
            g_bus_get_sync(G_BUS_TYPE_SESSION, NULL, &err);
    }
    if (!qemu) {
        g_prefix_error(&err, "cannot connect to QEMU: ");
        goto fail;
    }
    console = g_strdup_printf(ROOT "/Console_%d", number);
    label = console_label(qemu, name, console, &err);
    if (!label) {
        g_prefix_error(&err, "QEMU has no console %d: ", number);
        goto fail;
    }

    title = g_strdup_printf("QEMU: %s", label);
    v.loop = g_main_loop_new(NULL, false);
    v.window = window_new(title, &window_ops, &v, &err);
    if (!v.window) {
        goto fail;
    }
    if (!listen_to(&v, qemu, name, console, &err)) {
        g_prefix_error(&err, "QEMU does not show console %d: ", number);
        goto fail;
    }
    g_main_loop_run(v.loop);
    if (v.why) {
        g_printerr("%s: %s\n", g_get_prgname(), v.why);
        return 1;
    }
    return 0;

fail:
    g_printerr("%s: %s\n", g_get_prgname(), err->message);
    return 1;
}
