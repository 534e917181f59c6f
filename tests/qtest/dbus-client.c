/*
 * A client of -display dbus, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <gio/gunixfdlist.h>
#include "dbus-client.h"
#include "qemu/dbus.h"
#include "qemu/sockets.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "ui/dbus-display1.h"

#define X8R8G8B8    0x20020888  /* as pixman says it */

/* Seconds until QEMU has certainly called, or will not */
#define PATIENCE    10

static void client_take_fd(Client *c, GUnixFDList *fds, GVariant *handle,
                           uint32_t width, uint32_t height, uint32_t stride)
{
    int fd = g_unix_fd_list_get(fds, g_variant_get_handle(handle), NULL);

    g_assert_cmpint(fd, >=, 0);
    if (c->map_fd >= 0) {
        close(c->map_fd);
    }
    c->map_fd = fd;
    c->width = width;
    c->height = height;
    c->stride = stride;
    c->offset = 0;
}

/* QEMU has called with the pixels of @data, if that is not NULL */
static void client_count(Client *c, unsigned int *counter, GVariant *data)
{
    g_mutex_lock(&c->lock);
    (*counter)++;
    if (data) {
        c->octets += g_variant_get_size(data);
    }
    g_cond_signal(&c->called);
    g_mutex_unlock(&c->lock);
}

static gboolean client_scanout_map(QemuDBusDisplay1ListenerUnixMap *object,
                                   GDBusMethodInvocation *invocation,
                                   GUnixFDList *fds, GVariant *handle,
                                   guint offset, guint width, guint height,
                                   guint stride, guint format, Client *c)
{
    g_assert_cmphex(format, ==, X8R8G8B8);
    g_mutex_lock(&c->lock);
    client_take_fd(c, fds, handle, width, height, stride);
    c->offset = offset;
    c->maps++;
    g_cond_signal(&c->called);
    g_mutex_unlock(&c->lock);
    qemu_dbus_display1_listener_unix_map_complete_scanout_map(object,
                                                              invocation,
                                                              NULL);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

static gboolean client_scanout(QemuDBusDisplay1Listener *object,
                               GDBusMethodInvocation *invocation,
                               guint width, guint height, guint stride,
                               guint format, GVariant *data, Client *c)
{
    g_assert_cmpuint(g_variant_get_size(data), ==, stride * height);
    client_count(c, &c->copies, data);
    qemu_dbus_display1_listener_complete_scanout(object, invocation);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

static gboolean client_update(QemuDBusDisplay1Listener *object,
                              GDBusMethodInvocation *invocation,
                              gint x, gint y, gint width, gint height,
                              guint stride, guint format, GVariant *data,
                              Client *c)
{
    client_count(c, &c->updates, data);
    qemu_dbus_display1_listener_complete_update(object, invocation);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

static gboolean client_update_map(QemuDBusDisplay1ListenerUnixMap *object,
                                  GDBusMethodInvocation *invocation,
                                  gint x, gint y, gint width, gint height,
                                  Client *c)
{
    client_count(c, &c->updates, NULL);
    qemu_dbus_display1_listener_unix_map_complete_update_map(object,
                                                             invocation);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

static gboolean client_scanout_dmabuf(QemuDBusDisplay1Listener *object,
                                      GDBusMethodInvocation *invocation,
                                      GUnixFDList *fds, GVariant *handle,
                                      guint width, guint height, guint stride,
                                      guint fourcc, guint64 modifier,
                                      gboolean y0_top, Client *c)
{
    g_mutex_lock(&c->lock);
    /* Mesa's own, of surfaces before the guest's, have another format */
    if (fourcc == DRM_FORMAT_XRGB8888 && !modifier) {
        client_take_fd(c, fds, handle, width, height, stride);
        c->dmabufs++;
        g_cond_signal(&c->called);
    }
    g_mutex_unlock(&c->lock);
    qemu_dbus_display1_listener_complete_scanout_dmabuf(object, invocation,
                                                        NULL);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

static gboolean client_update_dmabuf(QemuDBusDisplay1Listener *object,
                                     GDBusMethodInvocation *invocation,
                                     gint x, gint y, gint width, gint height,
                                     Client *c)
{
    g_mutex_lock(&c->lock);
    if (c->hold_updates && !c->held) {
        c->held = invocation;
        c->holds++;
    } else {
        qemu_dbus_display1_listener_complete_update_dmabuf(object, invocation);
    }
    c->updates++;
    g_cond_signal(&c->called);
    g_mutex_unlock(&c->lock);
    return DBUS_METHOD_INVOCATION_HANDLED;
}

void client_hold_updates(Client *c, bool hold)
{
    g_mutex_lock(&c->lock);
    c->hold_updates = hold;
    if (c->held) {
        g_dbus_method_invocation_return_value(c->held, NULL);
        c->held = NULL;
    }
    g_mutex_unlock(&c->lock);
}

static GDBusConnection *dbus_connect(int fd)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, &err);
    g_autoptr(GSocketConnection) stream = NULL;
    GDBusConnection *conn;

    g_assert_no_error(err);
    stream = g_socket_connection_factory_create_connection(socket);
    conn = g_dbus_connection_new_sync(
        G_IO_STREAM(stream), NULL,
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING, NULL, NULL, &err);
    g_assert_no_error(err);
    return conn;
}

static gpointer client_run(gpointer opaque)
{
    static const char *const map_interface[] = {
        "org.qemu.Display1.Listener.Unix.Map", NULL
    };
    Client *c = opaque;
    g_autoptr(GDBusObjectManagerServer) server = NULL;
    g_autoptr(GDBusObjectSkeleton) object = NULL;
    QemuDBusDisplay1Listener *listener =
        qemu_dbus_display1_listener_skeleton_new();
    QemuDBusDisplay1ListenerUnixMap *map =
        qemu_dbus_display1_listener_unix_map_skeleton_new();
    g_autoptr(GDBusConnection) conn = NULL;

    g_main_context_push_thread_default(c->context);
    conn = dbus_connect(c->fd);
    server = g_dbus_object_manager_server_new(DBUS_DISPLAY1_ROOT);
    object = g_dbus_object_skeleton_new(DBUS_DISPLAY1_ROOT "/Listener");
    g_signal_connect(listener, "handle-scanout", G_CALLBACK(client_scanout), c);
    g_signal_connect(listener, "handle-update", G_CALLBACK(client_update), c);
    g_signal_connect(listener, "handle-scanout-dmabuf",
                     G_CALLBACK(client_scanout_dmabuf), c);
    g_signal_connect(listener, "handle-update-dmabuf",
                     G_CALLBACK(client_update_dmabuf), c);
    g_signal_connect(map, "handle-scanout-map", G_CALLBACK(client_scanout_map),
                     c);
    g_signal_connect(map, "handle-update-map", G_CALLBACK(client_update_map),
                     c);
    g_dbus_object_skeleton_add_interface(object,
                                         G_DBUS_INTERFACE_SKELETON(listener));
    if (c->wants_map) {
        g_dbus_object_skeleton_add_interface(object,
                                             G_DBUS_INTERFACE_SKELETON(map));
        qemu_dbus_display1_listener_set_interfaces(listener, map_interface);
    }
    g_dbus_object_manager_server_export(server, object);
    g_dbus_object_manager_server_set_connection(server, conn);
    g_dbus_connection_start_message_processing(conn);

    g_main_loop_run(c->loop);

    g_dbus_object_manager_server_set_connection(server, NULL);
    g_dbus_connection_close_sync(conn, NULL, NULL);
    g_object_unref(listener);
    g_object_unref(map);
    g_main_context_pop_thread_default(c->context);
    return NULL;
}

static QemuDBusDisplay1Console *client_console(Client *c)
{
    g_autoptr(GError) err = NULL;
    QemuDBusDisplay1Console *console =
        qemu_dbus_display1_console_proxy_new_sync(
            c->conn, G_DBUS_PROXY_FLAGS_NONE, NULL,
            DBUS_DISPLAY1_ROOT "/Console_0", NULL, &err);

    g_assert_no_error(err);
    return console;
}

void client_set_size(Client *c, uint32_t width, uint32_t height)
{
    QemuDBusDisplay1Console *console = client_console(c);
    g_autoptr(GError) err = NULL;

    qemu_dbus_display1_console_call_set_uiinfo_sync(
        console, 0, 0, 0, 0, width, height, G_DBUS_CALL_FLAGS_NONE, -1, NULL,
        &err);
    g_assert_no_error(err);
    g_object_unref(console);
}

void client_start(Client *c, QTestState *qts, bool wants_map, int client_fd,
                  int qemu_fd)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    QemuDBusDisplay1Console *console;
    g_autoptr(GError) err = NULL;
    int pair[2];

    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    qtest_qmp_add_client(qts, "@dbus-display", pair[1]);
    *c = (Client) { .wants_map = wants_map, .fd = client_fd, .map_fd = -1 };
    c->conn = dbus_connect(pair[0]);
    g_dbus_connection_start_message_processing(c->conn);

    g_mutex_init(&c->lock);
    g_cond_init(&c->called);
    c->context = g_main_context_new();
    c->loop = g_main_loop_new(c->context, false);
    c->thread = g_thread_new("client", client_run, c);

    console = client_console(c);
    g_unix_fd_list_append(fds, qemu_fd, &err);
    g_assert_no_error(err);
    close(qemu_fd);
    qemu_dbus_display1_console_call_register_listener_sync(
        console, g_variant_new_handle(0), G_DBUS_CALL_FLAGS_NONE, -1, fds,
        NULL, NULL, &err);
    g_assert_no_error(err);
    g_object_unref(console);
}

void client_wait(Client *c, unsigned int *counter, unsigned int count)
{
    gint64 end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    g_mutex_lock(&c->lock);
    while (*counter < count) {
        if (!g_cond_wait_until(&c->called, &c->lock, end)) {
            g_error("a client was given %u maps, %u copies, %u dma-bufs and "
                    "%u updates", c->maps, c->copies, c->dmabufs, c->updates);
        }
    }
    g_mutex_unlock(&c->lock);
}

void client_let_go(Client *c)
{
    close(c->map_fd);
    c->map_fd = -1;
}

void client_stop(Client *c)
{
    g_main_loop_quit(c->loop);
    g_thread_join(c->thread);
    if (c->map_fd >= 0) {
        client_let_go(c);
    }
    g_dbus_connection_close_sync(c->conn, NULL, NULL);
    g_clear_object(&c->conn);
    g_main_loop_unref(c->loop);
    g_main_context_unref(c->context);
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->called);
}

void client_start_with_map(Client *c, QTestState *qts)
{
    int pair[2];

    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    client_start(c, qts, true, pair[0], pair[1]);
}
