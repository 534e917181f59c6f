/*
 * A VNC viewer on the host of the nested machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <gvnc.h>
#include "nested-viewer.h"

struct NestedViewer {
    NestedMachine *machine;
    unsigned int head;
    VncConnection *connection;
    uint8_t *pixels;        /* 0x00RRGGBB of the host's byte order */
};

/* Told by the server, at the start and when the guest sets another mode */
static void on_size(NestedViewer *viewer)
{
    static const VncPixelFormat ours = {
        .bits_per_pixel = 32,
        .depth = 24,
        .byte_order = G_BYTE_ORDER,
        .true_color_flag = 1,
        .red_max = 255,
        .green_max = 255,
        .blue_max = 255,
        .red_shift = 16,
        .green_shift = 8,
        .blue_shift = 0,
    };
    int width = vnc_connection_get_width(viewer->connection);
    int height = vnc_connection_get_height(viewer->connection);
    g_autofree uint8_t *old = viewer->pixels;
    g_autoptr(VncBaseFramebuffer) fb = NULL;

    viewer->pixels = g_malloc0(4 * (size_t)width * height);
    fb = vnc_base_framebuffer_new(
        viewer->pixels, width, height, 4 * width, &ours,
        vnc_connection_get_pixel_format(viewer->connection));
    vnc_connection_set_framebuffer(viewer->connection, VNC_FRAMEBUFFER(fb));
    vnc_connection_framebuffer_update_request(viewer->connection, FALSE, 0, 0,
                                              width, height);
}

static void on_initialized(VncConnection *connection, NestedViewer *viewer)
{
    gint32 encodings[] = {
        VNC_CONNECTION_ENCODING_DESKTOP_RESIZE, VNC_CONNECTION_ENCODING_RAW,
    };

    vnc_connection_set_encodings(connection, G_N_ELEMENTS(encodings),
                                 encodings);
    on_size(viewer);
}

static void on_resize(VncConnection *connection, unsigned int width,
                      unsigned int height, NestedViewer *viewer)
{
    on_size(viewer);
}

static void on_update(VncConnection *connection, unsigned int x,
                      unsigned int y, unsigned int width, unsigned int height,
                      NestedViewer *viewer)
{
    vnc_connection_framebuffer_update_request(
        connection, TRUE, 0, 0, vnc_connection_get_width(connection),
        vnc_connection_get_height(connection));
}

static void on_error(VncConnection *connection, const char *why,
                     NestedViewer *viewer)
{
    nested_fail("VNC viewer of connector %u: %s", viewer->head, why);
}

/* Let the connection work until there is nothing to do or @end has come */
static void run_until(gint64 end)
{
    while (g_get_monotonic_time() < end &&
           g_main_context_iteration(NULL, FALSE)) {
        /* it has done some of its work */
    }
}

NestedViewer *nested_viewer_new(NestedMachine *machine, unsigned int head)
{
    g_autofree char *port = g_strdup_printf("%d", machine->vnc_port[head]);
    gint64 end = nested_deadline();
    NestedViewer *viewer = g_new0(NestedViewer, 1);

    viewer->machine = machine;
    viewer->head = head;
    viewer->connection = vnc_connection_new();
    g_object_connect(viewer->connection,
                     "signal::vnc-initialized", on_initialized, viewer,
                     "signal::vnc-desktop-resize", on_resize, viewer,
                     "signal::vnc-framebuffer-update", on_update, viewer,
                     "signal::vnc-auth-failure", on_error, viewer,
                     "signal::vnc-error", on_error, viewer,
                     NULL);
    vnc_connection_set_auth_type(viewer->connection, VNC_CONNECTION_AUTH_NONE);
    g_assert_true(vnc_connection_open_host(viewer->connection, "127.0.0.1",
                                           port));
    while (!vnc_connection_is_initialized(viewer->connection)) {
        if (g_get_monotonic_time() > end) {
            on_error(viewer->connection, "no answer", viewer);
        }
        run_until(end);
        g_usleep(10 * 1000);
    }
    return viewer;
}

static NestedPicture *picture(NestedViewer *viewer)
{
    NestedPicture *picture =
        nested_picture_new(vnc_connection_get_width(viewer->connection),
                           vnc_connection_get_height(viewer->connection));
    size_t count = (size_t)picture->width * picture->height;

    for (size_t i = 0; i < count; i++) {
        uint32_t pixel = ((uint32_t *)viewer->pixels)[i];

        picture->rgb[3 * i] = pixel >> 16;
        picture->rgb[3 * i + 1] = pixel >> 8;
        picture->rgb[3 * i + 2] = pixel;
    }
    return picture;
}

void nested_viewer_expect(NestedViewer *viewer, NestedPicture *expected)
{
    gint64 end = nested_deadline();

    for (;;) {
        g_autoptr(NestedPicture) seen = NULL;
        g_autofree char *how = NULL;

        run_until(end);
        seen = picture(viewer);
        how = nested_picture_difference(seen, expected, 0);
        if (!how) {
            break;
        }
        if (g_get_monotonic_time() > end) {
            g_autofree char *file =
                g_strdup_printf("%s/viewer-%u.png", viewer->machine->dir,
                                viewer->head);

            nested_picture_write(seen, file);
            nested_fail("VNC viewer of connector %u: %s; see %s", viewer->head,
                        how, file);
        }
        g_usleep(50 * 1000);
    }
    nested_picture_free(expected);
}

void nested_viewer_free(NestedViewer *viewer)
{
    g_signal_handlers_disconnect_by_data(viewer->connection, viewer);
    vnc_connection_shutdown(viewer->connection);
    g_object_unref(viewer->connection);
    /* its coroutine ends in the main loop */
    run_until(g_get_monotonic_time() + G_USEC_PER_SEC);
    g_free(viewer->pixels);
    g_free(viewer);
}
