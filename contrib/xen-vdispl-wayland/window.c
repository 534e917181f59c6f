/*
 * A Wayland window that shows memory of others as it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "window.h"

#include <drm_fourcc.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wayland-client.h>
#include "linux-dmabuf-unstable-v1-client-protocol.h"
#include "xdg-shell-client-protocol.h"

/* A picture, on its way to the compositor or there */
typedef struct Buffer {
    Window *window;
    WindowPicture picture;  /* with a descriptor of our own, or -1 */
    struct wl_buffer *wl;   /* NULL while it is being imported */
    bool imported;
    bool read;              /* the compositor has not let go of it */
} Buffer;

typedef struct Format {
    uint32_t fourcc;
    uint64_t modifier;
} Format;

struct Window {
    const WindowOps *ops;
    void *opaque;

    struct wl_display *display;
    struct wl_compositor *compositor;
    struct wl_shm *shm;
    struct xdg_wm_base *wm_base;
    struct zwp_linux_dmabuf_v1 *dmabuf;     /* NULL: it takes none */
    GArray *dmabuf_formats;
    GArray *shm_formats;

    struct wl_surface *surface;
    struct xdg_surface *xdg_surface;
    struct xdg_toplevel *toplevel;
    bool configured;        /* may have a picture */

    Buffer *next;           /* being imported, to be shown then */
    Buffer *shown;
    unsigned int retired;   /* shown before, and still read */
    char *last_message;
};

static void buffer_free(Buffer *b)
{
    if (b->wl) {
        wl_buffer_destroy(b->wl);
    }
    if (b->picture.fd >= 0) {
        close(b->picture.fd);
    }
    g_free(b);
}

bool window_busy(const Window *w)
{
    return w->next || w->retired;
}

static void window_check_idle(Window *w)
{
    if (!window_busy(w)) {
        w->ops->idle(w->opaque);
    }
}

/* The compositor has done with what it was given. */
static void buffer_release(void *data, struct wl_buffer *wl)
{
    Buffer *b = data;
    Window *w = b->window;

    b->read = false;
    if (b != w->shown) {
        buffer_free(b);
        w->retired--;
        window_check_idle(w);
    }
}

static const struct wl_buffer_listener buffer_listener = {
    .release = buffer_release,
};

static void window_retire(Window *w)
{
    Buffer *b = g_steal_pointer(&w->shown);

    if (!b) {
        return;
    }
    if (b->read) {
        w->retired++;
    } else {
        buffer_free(b);
    }
}

static void window_commit(Window *w, int32_t x, int32_t y, int32_t width,
                          int32_t height)
{
    if (!w->configured || !w->shown) {
        return;
    }
    wl_surface_attach(w->surface, w->shown->wl, 0, 0);
    wl_surface_damage_buffer(w->surface, x, y, width, height);
    wl_surface_commit(w->surface);
    w->shown->read = true;
}

/* A person can see by which way the pixels come, when that changes. */
static void window_say(Window *w, const Buffer *b)
{
    const WindowPicture *p = &b->picture;
    char *message = g_strdup_printf("%ux%u, %s", p->width, p->height,
                                    b->imported ? "a dma-buf" :
                                    p->is_copy ? "a copy" :
                                    p->is_black ? "off" : "shared memory");

    if (g_strcmp0(message, w->last_message)) {
        g_print("%s: %s\n", g_get_prgname(), message);
        g_free(w->last_message);
        w->last_message = message;
    } else {
        g_free(message);
    }
}

/* @b has its wl_buffer. */
static void window_put(Window *w, Buffer *b)
{
    const WindowPicture *p = &b->picture;

    wl_buffer_add_listener(b->wl, &buffer_listener, b);
    if (p->fd >= 0) {
        close(p->fd);
        b->picture.fd = -1;
    }
    window_say(w, b);
    xdg_toplevel_set_min_size(w->toplevel, p->width, p->height);
    xdg_toplevel_set_max_size(w->toplevel, p->width, p->height);
    window_retire(w);
    w->shown = b;
    window_commit(w, 0, 0, p->width, p->height);
}

/* By shared memory, which every compositor takes */
static bool window_show_shm(Window *w, Buffer *b, GError **err)
{
    const WindowPicture *p = &b->picture;
    uint64_t size = p->offset + (uint64_t)p->stride * p->height;
    off_t have = lseek(p->fd, 0, SEEK_END);
    struct wl_shm_pool *pool;
    uint32_t format = p->fourcc;
    bool known = false;

    /* All but these two are called as DRM does. */
    if (format == DRM_FORMAT_XRGB8888) {
        format = WL_SHM_FORMAT_XRGB8888;
    } else if (format == DRM_FORMAT_ARGB8888) {
        format = WL_SHM_FORMAT_ARGB8888;
    }
    for (guint i = 0; i < w->shm_formats->len; i++) {
        known |= g_array_index(w->shm_formats, uint32_t, i) == format;
    }
    if (!known || p->bottom_up ||
        (p->is_dmabuf && p->modifier != DRM_FORMAT_MOD_LINEAR)) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "the compositor shows no pixels of format %.4s, modifier "
                    "0x%" PRIx64, (const char *)&p->fourcc, p->modifier);
        return false;
    }
    if (have < 0 || size > (uint64_t)have || size > INT32_MAX) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%ux%u at %u, %u octets a row, are not in %jd octets",
                    p->width, p->height, p->offset, p->stride, (intmax_t)have);
        return false;
    }
    pool = wl_shm_create_pool(w->shm, p->fd, size);
    b->wl = wl_shm_pool_create_buffer(pool, p->offset, p->width, p->height,
                                      p->stride, format);
    wl_shm_pool_destroy(pool);
    window_put(w, b);
    return true;
}

/* By which modifier the compositor imports it, if it does */
static Format *window_find_format(Window *w, uint32_t fourcc, uint64_t modifier)
{
    for (guint i = 0; i < w->dmabuf_formats->len; i++) {
        Format *f = &g_array_index(w->dmabuf_formats, Format, i);

        if (f->fourcc == fourcc && f->modifier == modifier) {
            return f;
        }
    }
    /* A compositor without modifiers takes what its driver thinks it is. */
    if (modifier == DRM_FORMAT_MOD_LINEAR) {
        return window_find_format(w, fourcc, DRM_FORMAT_MOD_INVALID);
    }
    return NULL;
}

static void params_done(Buffer *b, struct zwp_linux_buffer_params_v1 *params,
                        struct wl_buffer *wl)
{
    Window *w = b->window;
    g_autoptr(GError) err = NULL;

    zwp_linux_buffer_params_v1_destroy(params);
    b->wl = wl;
    if (b != w->next) {
        buffer_free(b);
        return;
    }
    w->next = NULL;
    if (wl) {
        b->imported = true;
        window_put(w, b);
    } else {
        Format *f = window_find_format(w, b->picture.fourcc,
                                       b->picture.modifier);

        g_printerr("%s: the compositor cannot import a dma-buf of format %.4s, "
                   "modifier 0x%" PRIx64 ": trying shared memory\n",
                   g_get_prgname(), (const char *)&f->fourcc, f->modifier);
        /* Some do not turn pictures over, but take those that stand upright. */
        if (!b->picture.bottom_up) {
            f->fourcc = DRM_FORMAT_INVALID;
        }
        if (!window_show_shm(w, b, &err)) {
            g_printerr("%s: %s\n", g_get_prgname(), err->message);
            buffer_free(b);
        }
    }
    window_check_idle(w);
}

static void params_created(void *data,
                           struct zwp_linux_buffer_params_v1 *params,
                           struct wl_buffer *wl)
{
    params_done(data, params, wl);
}

static void params_failed(void *data,
                          struct zwp_linux_buffer_params_v1 *params)
{
    params_done(data, params, NULL);
}

static const struct zwp_linux_buffer_params_v1_listener params_listener = {
    .created = params_created,
    .failed = params_failed,
};

static void window_import(Window *w, Buffer *b, uint64_t modifier)
{
    const WindowPicture *p = &b->picture;
    struct zwp_linux_buffer_params_v1 *params =
        zwp_linux_dmabuf_v1_create_params(w->dmabuf);

    zwp_linux_buffer_params_v1_add_listener(params, &params_listener, b);
    zwp_linux_buffer_params_v1_add(params, p->fd, 0, p->offset, p->stride,
                                   modifier >> 32, modifier);
    zwp_linux_buffer_params_v1_create(
        params, p->width, p->height, p->fourcc,
        p->bottom_up ? ZWP_LINUX_BUFFER_PARAMS_V1_FLAGS_Y_INVERT : 0);
    w->next = b;
}

/* There is nothing behind a display that its pixels could let through. */
static uint32_t opaque_format(uint32_t fourcc)
{
    switch (fourcc) {
    case DRM_FORMAT_ARGB8888:
        return DRM_FORMAT_XRGB8888;
    case DRM_FORMAT_ABGR8888:
        return DRM_FORMAT_XBGR8888;
    case DRM_FORMAT_ARGB1555:
        return DRM_FORMAT_XRGB1555;
    default:
        return fourcc;
    }
}

bool window_show(Window *w, const WindowPicture *p, GError **err)
{
    Buffer *b = g_new0(Buffer, 1);
    Format *f = NULL;
    bool ok = true;

    b->window = w;
    b->picture = *p;
    b->picture.fourcc = opaque_format(p->fourcc);
    b->picture.fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
    if (b->picture.fd < 0) {
        g_set_error(err, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot duplicate a file descriptor: %s",
                    g_strerror(errno));
        g_free(b);
        return false;
    }
    /* One that is being imported goes when it has been. */
    w->next = NULL;
    if (p->is_dmabuf && w->dmabuf) {
        f = window_find_format(w, b->picture.fourcc, p->modifier);
    }
    if (f) {
        window_import(w, b, f->modifier);
    } else if (!window_show_shm(w, b, err)) {
        buffer_free(b);
        ok = false;
    }
    window_check_idle(w);
    wl_display_flush(w->display);
    return ok;
}

void window_update(Window *w, int32_t x, int32_t y, int32_t width,
                   int32_t height)
{
    /* What is being imported will be shown whole. */
    if (!w->next) {
        window_commit(w, x, y, width, height);
        wl_display_flush(w->display);
    }
}

void window_hide(Window *w)
{
    WindowPicture p = { .fourcc = DRM_FORMAT_XRGB8888, .is_black = true };
    g_autoptr(GError) err = NULL;
    Buffer *b = w->next ?: w->shown;

    if (!b) {
        return;
    }
    /* A window without a picture would end, and keep the last one meanwhile. */
    p.width = b->picture.width;
    p.height = b->picture.height;
    p.stride = p.width * 4;
    p.fd = memfd_create("black", MFD_CLOEXEC);
    if (p.fd < 0 || ftruncate(p.fd, (off_t)p.stride * p.height) < 0) {
        g_printerr("%s: no memory to be black: %m\n", g_get_prgname());
    } else if (!window_show(w, &p, &err)) {
        g_printerr("%s: %s\n", g_get_prgname(), err->message);
    }
    if (p.fd >= 0) {
        close(p.fd);
    }
}

static void xdg_surface_configure(void *data, struct xdg_surface *surface,
                                  uint32_t serial)
{
    Window *w = data;

    xdg_surface_ack_configure(surface, serial);
    if (!w->configured) {
        w->configured = true;
        window_commit(w, 0, 0, INT32_MAX, INT32_MAX);
    }
}

static const struct xdg_surface_listener xdg_surface_listener = {
    .configure = xdg_surface_configure,
};

/* A display has its own size. */
static void toplevel_configure(void *data, struct xdg_toplevel *toplevel,
                               int32_t width, int32_t height,
                               struct wl_array *states)
{
}

static void toplevel_close(void *data, struct xdg_toplevel *toplevel)
{
    Window *w = data;

    w->ops->closed(NULL, w->opaque);
}

static const struct xdg_toplevel_listener toplevel_listener = {
    .configure = toplevel_configure,
    .close = toplevel_close,
};

static void wm_base_ping(void *data, struct xdg_wm_base *wm_base,
                         uint32_t serial)
{
    xdg_wm_base_pong(wm_base, serial);
}

static const struct xdg_wm_base_listener wm_base_listener = {
    .ping = wm_base_ping,
};

static void shm_format(void *data, struct wl_shm *shm, uint32_t format)
{
    Window *w = data;

    g_array_append_val(w->shm_formats, format);
}

static const struct wl_shm_listener shm_listener = {
    .format = shm_format,
};

/* Said again, with its modifiers, by dmabuf_modifier() */
static void dmabuf_format(void *data, struct zwp_linux_dmabuf_v1 *dmabuf,
                          uint32_t fourcc)
{
}

static void dmabuf_modifier(void *data, struct zwp_linux_dmabuf_v1 *dmabuf,
                            uint32_t fourcc, uint32_t hi, uint32_t lo)
{
    Window *w = data;
    Format f = { fourcc, (uint64_t)hi << 32 | lo };

    g_array_append_val(w->dmabuf_formats, f);
}

static const struct zwp_linux_dmabuf_v1_listener dmabuf_listener = {
    .format = dmabuf_format,
    .modifier = dmabuf_modifier,
};

static void registry_global(void *data, struct wl_registry *registry,
                            uint32_t name, const char *interface,
                            uint32_t version)
{
    Window *w = data;

    /* damage_buffer came with version 4, modifiers with 3 of theirs. */
    if (!strcmp(interface, wl_compositor_interface.name) && version >= 4) {
        w->compositor = wl_registry_bind(registry, name,
                                         &wl_compositor_interface, 4);
    } else if (!strcmp(interface, wl_shm_interface.name)) {
        w->shm = wl_registry_bind(registry, name, &wl_shm_interface, 1);
        wl_shm_add_listener(w->shm, &shm_listener, w);
    } else if (!strcmp(interface, xdg_wm_base_interface.name)) {
        w->wm_base = wl_registry_bind(registry, name, &xdg_wm_base_interface,
                                      1);
        xdg_wm_base_add_listener(w->wm_base, &wm_base_listener, w);
    } else if (!strcmp(interface, zwp_linux_dmabuf_v1_interface.name) &&
               version >= 3) {
        w->dmabuf = wl_registry_bind(registry, name,
                                     &zwp_linux_dmabuf_v1_interface, 3);
        zwp_linux_dmabuf_v1_add_listener(w->dmabuf, &dmabuf_listener, w);
    }
}

static void registry_global_remove(void *data, struct wl_registry *registry,
                                   uint32_t name)
{
}

static const struct wl_registry_listener registry_listener = {
    .global = registry_global,
    .global_remove = registry_global_remove,
};

/* Why the connection to the compositor is of no use any more */
static char *window_error(Window *w)
{
    const struct wl_interface *interface = NULL;
    int error = wl_display_get_error(w->display);
    uint32_t id, code;

    if (error == EPROTO) {
        code = wl_display_get_protocol_error(w->display, &interface, &id);
        return g_strdup_printf("the compositor refused a request of %s, "
                               "error %u",
                               interface ? interface->name : "an object", code);
    }
    return g_strdup_printf("the compositor has gone: %s",
                           g_strerror(error ?: EPIPE));
}

static gboolean window_dispatch(gint fd, GIOCondition condition,
                                gpointer opaque)
{
    Window *w = opaque;

    /* Not wl_display_dispatch(), which waits until there is an event for us. */
    if ((wl_display_prepare_read(w->display) == 0 &&
         wl_display_read_events(w->display) < 0) ||
        wl_display_dispatch_pending(w->display) < 0) {
        g_autofree char *why = window_error(w);

        w->ops->closed(why, w->opaque);
        return G_SOURCE_REMOVE;
    }
    wl_display_flush(w->display);
    return G_SOURCE_CONTINUE;
}

Window *window_new(const char *title, const WindowOps *ops, void *opaque,
                   GError **err)
{
    Window *w = g_new0(Window, 1);

    w->ops = ops;
    w->opaque = opaque;
    w->dmabuf_formats = g_array_new(false, false, sizeof(Format));
    w->shm_formats = g_array_new(false, false, sizeof(uint32_t));
    w->display = wl_display_connect(NULL);
    if (!w->display) {
        g_set_error(err, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot connect to a Wayland compositor: %s (is "
                    "WAYLAND_DISPLAY right, and XDG_RUNTIME_DIR?)",
                    g_strerror(errno));
        return NULL;
    }
    wl_registry_add_listener(wl_display_get_registry(w->display),
                             &registry_listener, w);
    /* What there is, and then which formats */
    if (wl_display_roundtrip(w->display) < 0 ||
        wl_display_roundtrip(w->display) < 0) {
        g_autofree char *why = window_error(w);

        g_set_error(err, G_IO_ERROR, G_IO_ERROR_FAILED, "%s", why);
        return NULL;
    }
    if (!w->compositor || !w->shm || !w->wm_base) {
        g_set_error(err, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "the compositor lacks wl_compositor 4, wl_shm or "
                    "xdg_wm_base");
        return NULL;
    }

    w->surface = wl_compositor_create_surface(w->compositor);
    w->xdg_surface = xdg_wm_base_get_xdg_surface(w->wm_base, w->surface);
    xdg_surface_add_listener(w->xdg_surface, &xdg_surface_listener, w);
    w->toplevel = xdg_surface_get_toplevel(w->xdg_surface);
    xdg_toplevel_add_listener(w->toplevel, &toplevel_listener, w);
    xdg_toplevel_set_title(w->toplevel, title);
    xdg_toplevel_set_app_id(w->toplevel, g_get_prgname());
    wl_surface_commit(w->surface);
    wl_display_flush(w->display);
    g_unix_fd_add(wl_display_get_fd(w->display), G_IO_IN | G_IO_HUP | G_IO_ERR,
                  window_dispatch, w);
    return w;
}
