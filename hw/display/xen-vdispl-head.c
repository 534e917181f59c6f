/*
 * Xen PV display backend: a connector's screen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/display/edid.h"
#include "hw/xen/xen-vdispl-compat.h"
#include "xen-vdispl-gl.h"
#include "xen-vdispl-head.h"
#include "xen-vdispl-screens.h"
#include "trace.h"

typedef enum XenVDisplFlip {
    FLIP_NONE,
    FLIP_QUEUED,    /* is what is shown next */
    FLIP_RELEASING, /* is shown, but someone still reads the buffer before */
    FLIP_UNSENT,    /* is complete, but the guest cannot be told yet */
} XenVDisplFlip;

/* The visible part of a framebuffer, in pixels */
typedef struct XenVDisplPart {
    uint32_t x, y, width, height;
} XenVDisplPart;

/*
 * A framebuffer on its way to the viewers without a copy. Lives as long as the
 * pixman image over the guest's memory, that is, until the last viewer has let
 * go. The head is set while it cares about that moment.
 */
typedef struct XenVDisplScanout {
    XenVDisplHead *head;
    XenVDisplFb *fb;
} XenVDisplScanout;

struct XenVDisplHead {
    QemuConsole *con;
    uint32_t index;
    /* The connector: what xenstore says, and what the last EDID promised. */
    uint32_t width, height;
    uint32_t max_width, max_height;
    /* What the viewer would like, or 0. */
    uint32_t viewer_width, viewer_height;
    uint32_t refresh_rate;

    /* By SET_CONFIG */
    bool enabled;
    XenVDisplPart config;

    /* What is shown: by gl, or scanout or shadow is set, or nothing is. */
    XenVDisplFb *fb;
    bool fb_forgotten;  /* detached: shown until the next one is, no longer */
    XenVDisplPart part;
    XenVDisplGL *gl;
    XenVDisplScanout *scanout;
    pixman_image_t *shadow;

    /* What is shown next: from a refresh on at which the display takes it. */
    XenVDisplFb *next_fb;
    bool due;           /* its time has come, but the display is not ready */

    XenVDisplFlip flip;
    uint64_t flip_cookie;
    XenVDisplScanout *releasing;
    QEMUTimer *timer;
    QEMUTimer *flip_timer;
    bool flip_warned;
    const XenVDisplHeadOps *ops;
    void *opaque;

    uint64_t flips;
    uint64_t bytes_copied;
    int64_t rate_since, last_flip;
    uint32_t rate_flips, rate;
};

/* The next of the moments that are a refresh apart. */
static void xen_vdispl_head_await_refresh(XenVDisplHead *head)
{
    int64_t period = NANOSECONDS_PER_SECOND / head->refresh_rate;
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    timer_mod(head->timer, (now / period + 1) * period);
}

static void xen_vdispl_head_count_flip(XenVDisplHead *head)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    int64_t elapsed = now - head->rate_since;

    head->flips++;
    head->rate_flips++;
    head->last_flip = now;
    if (elapsed >= NANOSECONDS_PER_SECOND) {
        /* After a pause the time before the first flip is not counted. */
        head->rate = elapsed < 2 * NANOSECONDS_PER_SECOND ?
            (head->rate_flips * NANOSECONDS_PER_SECOND + elapsed / 2) /
            elapsed : 0;
        head->rate_flips = 0;
        head->rate_since = now;
    }
}

static void xen_vdispl_head_finish_flip(XenVDisplHead *head)
{
    timer_del(head->flip_timer);
    if (head->ops->flip_done(head->opaque, head->flip_cookie)) {
        head->flip = FLIP_NONE;
        xen_vdispl_head_count_flip(head);
    } else {
        head->flip = FLIP_UNSENT;
        xen_vdispl_head_await_refresh(head);
    }
}

/* Somebody has let go of something. */
static void xen_vdispl_head_released(XenVDisplHead *head)
{
    if (head->flip == FLIP_RELEASING && !head->releasing &&
        !xen_vdispl_gl_busy(head->gl)) {
        xen_vdispl_head_finish_flip(head);
    }
}

/*
 * A viewer does not take the picture, or does not let go of the one before, for
 * longer than a guest can wait. The guest goes on, and may draw into what is
 * still read; the memory stays until it is not.
 */
static void xen_vdispl_head_flip_overdue(void *opaque)
{
    XenVDisplHead *head = opaque;

    if (!head->flip_warned) {
        head->flip_warned = true;
        warn_report("xen-vdispl: a viewer of connector %u takes longer than "
                    "the guest can wait for a page flip (reported once)",
                    head->index);
    }
    trace_xen_vdispl_flip_overdue(head->index, head->flip_cookie);
    if (head->releasing) {
        head->releasing->head = NULL;
        head->releasing = NULL;
    }
    xen_vdispl_head_finish_flip(head);
}

static void xen_vdispl_scanout_done(void *opaque)
{
    XenVDisplScanout *scanout = opaque;
    XenVDisplHead *head = scanout->head;

    if (head && head->releasing == scanout) {
        head->releasing = NULL;
        xen_vdispl_head_released(head);
    }
    xen_vdispl_fb_unref(scanout->fb);
    g_free(scanout);
}

/* The last viewer has let go; D-Bus does so in a thread of its own. */
static void xen_vdispl_scanout_released(pixman_image_t *image, void *opaque)
{
    if (bql_locked()) {
        xen_vdispl_scanout_done(opaque);
    } else {
        aio_bh_schedule_oneshot(qemu_get_aio_context(),
                                xen_vdispl_scanout_done, opaque);
    }
}

/* Of the visible part's first pixel, from that of the framebuffer. */
static size_t xen_vdispl_head_offset(const XenVDisplHead *head,
                                     const XenVDisplFb *fb)
{
    return (size_t)head->part.y * fb->stride +
        (size_t)head->part.x * fb->format->cpp;
}

/*
 * Converts what no display surface can carry, row by row through a line that
 * is aligned as pixman wants it.
 */
static void xen_vdispl_head_convert(XenVDisplHead *head)
{
    const XenVDisplFb *fb = head->fb;
    uint32_t width = head->part.width;
    size_t row = (size_t)width * fb->format->cpp;
    size_t stride = ROUND_UP(row, sizeof(uint32_t));
    const uint8_t *data = fb->data + xen_vdispl_head_offset(head, fb);
    g_autofree uint32_t *line = g_malloc0(stride);
    pixman_image_t *src = pixman_image_create_bits(fb->format->pixman, width,
                                                   1, line, stride);

    for (uint32_t y = 0; y < head->part.height; y++) {
        memcpy(line, data + (size_t)y * fb->stride, row);
        pixman_image_composite(PIXMAN_OP_SRC, src, NULL, head->shadow,
                               0, 0, 0, 0, 0, y, width, 1);
    }
    pixman_image_unref(src);
    head->bytes_copied += (uint64_t)width * head->part.height *
        sizeof(uint32_t);
}

/*
 * The visible part of the framebuffer as it is, or NULL when it cannot be.
 * @waiter cares about the moment when its last reader lets go, if not NULL.
 */
static pixman_image_t *xen_vdispl_head_image(XenVDisplHead *head,
                                             XenVDisplFb *fb,
                                             XenVDisplScanout **waiter)
{
    const uint8_t *data = fb->data + xen_vdispl_head_offset(head, fb);
    XenVDisplScanout *scanout;
    pixman_image_t *image;

    if (!QEMU_PTR_IS_ALIGNED(data, sizeof(uint32_t)) ||
        !QEMU_IS_ALIGNED(fb->stride, sizeof(uint32_t))) {
        return NULL;
    }

    /* Viewers only read, and the memory is mapped read-only. */
    image = pixman_image_create_bits_no_clear(fb->format->pixman,
                                              head->part.width,
                                              head->part.height,
                                              (uint32_t *)data, fb->stride);
    if (!image) {
        return NULL;
    }
    scanout = g_new0(XenVDisplScanout, 1);
    scanout->fb = xen_vdispl_fb_ref(fb);
    pixman_image_set_destroy_function(image, xen_vdispl_scanout_released,
                                      scanout);
    if (waiter) {
        scanout->head = head;
        *waiter = scanout;
    }
    return image;
}

/* The same for a display surface, which takes fewer formats. */
static pixman_image_t *xen_vdispl_head_wrap(XenVDisplHead *head,
                                            XenVDisplFb *fb)
{
    /* Without a viewer dpy_gfx_check_format() agrees to everything. */
    if (!qemu_pixman_check_format(NULL, fb->format->pixman) ||
        !dpy_gfx_check_format(head->con, fb->format->pixman)) {
        return NULL;
    }
    return xen_vdispl_head_image(head, fb, &head->scanout);
}

/*
 * Lets displays pass on the framebuffer's dma-buf in place of its pixels. They
 * do so by an offset of 32 bits, and their clients map it as it is.
 */
static void xen_vdispl_head_share(XenVDisplHead *head, DisplaySurface *surface)
{
    const XenVDisplFb *fb = head->fb;
    uint64_t offset = fb->fd_offset + xen_vdispl_head_offset(head, fb);

    if (fb->fd >= 0 && offset <= UINT32_MAX &&
        QEMU_IS_ALIGNED(offset, qemu_real_host_page_size()) &&
        xen_vdispl_fb_has_whole_rows(fb, xen_vdispl_head_offset(head, fb),
                                     head->part.height)) {
        qemu_displaysurface_set_share_handle(surface, fb->fd, offset);
    }
}

static void xen_vdispl_head_show_shadow(XenVDisplHead *head)
{
    DisplaySurface *surface;

    if (head->shadow &&
        pixman_image_get_width(head->shadow) == head->part.width &&
        pixman_image_get_height(head->shadow) == head->part.height) {
        return;
    }
    g_clear_pointer(&head->shadow, qemu_pixman_image_unref);
    surface = qemu_create_displaysurface(head->part.width,
                                         head->part.height);
    head->shadow = pixman_image_ref(surface->image);
    dpy_gfx_replace_surface(head->con, surface);
}

static const char *xen_vdispl_head_path(const XenVDisplHead *head)
{
    if (!head->fb) {
        return "none";
    }
    if (head->shadow) {
        return "converted";
    }
    return xen_vdispl_path_names[head->fb->path];
}

/* Hands the framebuffer's memory to the console, if that can be. */
static bool xen_vdispl_head_show_memory(XenVDisplHead *head)
{
    pixman_image_t *image;
    DisplaySurface *surface;

    if (xen_vdispl_gl_show(head->gl, head->fb,
                           xen_vdispl_head_offset(head, head->fb),
                           head->part.width, head->part.height)) {
        return true;
    }
    xen_vdispl_gl_hide(head->gl);

    image = xen_vdispl_head_wrap(head, head->fb);
    if (!image) {
        return false;
    }
    surface = qemu_create_displaysurface_pixman(image);
    qemu_pixman_image_unref(image);
    xen_vdispl_head_share(head, surface);
    dpy_gfx_replace_surface(head->con, surface);
    dpy_gfx_update_full(head->con);
    return true;
}

/*
 * Puts @part of @fb on the console, or nothing, in place of what was to be
 * next. A queued page flip ends with this: it is complete when the framebuffer
 * before is no longer read.
 */
static void xen_vdispl_head_show(XenVDisplHead *head, XenVDisplFb *fb,
                                 const XenVDisplPart *part)
{
    XenVDisplScanout *old = g_steal_pointer(&head->scanout);
    XenVDisplFb *old_fb = head->fb;
    XenVDisplFb *next_fb = g_steal_pointer(&head->next_fb);
    bool flipping = head->flip == FLIP_QUEUED;

    if (flipping) {
        head->releasing = old;
    } else if (old) {
        old->head = NULL;
    }

    head->fb = fb ? xen_vdispl_fb_ref(fb) : NULL;
    head->fb_forgotten = false;
    head->part = *part;
    head->due = false;
    if (!fb) {
        g_clear_pointer(&head->shadow, qemu_pixman_image_unref);
        xen_vdispl_gl_hide(head->gl);
        dpy_gfx_replace_surface(head->con, NULL);
    } else if (xen_vdispl_head_show_memory(head)) {
        g_clear_pointer(&head->shadow, qemu_pixman_image_unref);
    } else {
        xen_vdispl_head_show_shadow(head);
        xen_vdispl_head_convert(head);
        dpy_gfx_update_full(head->con);
    }
    if (old_fb) {
        xen_vdispl_fb_unref(old_fb);
    }
    if (next_fb) {
        xen_vdispl_fb_unref(next_fb);
    }
    trace_xen_vdispl_show(head->index, fb ? fb->fb_cookie : 0,
                          fb ? head->part.width : 0,
                          fb ? head->part.height : 0,
                          xen_vdispl_head_path(head));

    if (flipping) {
        head->flip = FLIP_RELEASING;
        xen_vdispl_head_released(head);
    }
}

/*
 * Shows what is next, unless the display has not finished with the frame
 * before: more would only pile up there.
 */
static void xen_vdispl_head_show_next(XenVDisplHead *head)
{
    if (xen_vdispl_gl_blocked(head->gl)) {
        head->due = true;
    } else {
        xen_vdispl_head_show(head, head->next_fb, &head->config);
    }
}

static void xen_vdispl_head_refresh(void *opaque)
{
    XenVDisplHead *head = opaque;

    if (head->flip == FLIP_UNSENT) {
        xen_vdispl_head_finish_flip(head);
    }
    if (head->next_fb) {
        xen_vdispl_head_show_next(head);
    }
}

/* The display has finished with a frame. */
static void xen_vdispl_head_gl_idle(void *opaque)
{
    XenVDisplHead *head = opaque;

    xen_vdispl_head_released(head);
    if (head->due) {
        xen_vdispl_head_show_next(head);
    }
}

static const XenVDisplGLOps xen_vdispl_gl_ops = {
    .idle = xen_vdispl_head_gl_idle,
};

/*
 * One picture a refresh, however fast the guest is: the last one. Nor does the
 * guest's request wait for a display that takes its time to draw.
 */
static void xen_vdispl_head_queue(XenVDisplHead *head, XenVDisplFb *fb)
{
    if (head->next_fb) {
        xen_vdispl_fb_unref(head->next_fb);
    }
    head->next_fb = xen_vdispl_fb_ref(fb);
    xen_vdispl_head_await_refresh(head);
}

/* What was to be next will not be. A page flip to it is over. */
static void xen_vdispl_head_drop_next(XenVDisplHead *head)
{
    g_clear_pointer(&head->next_fb, xen_vdispl_fb_unref);
    head->due = false;
    if (head->flip == FLIP_QUEUED) {
        xen_vdispl_head_finish_flip(head);
    }
}

/* True when the visible part lies within the framebuffer. */
static bool xen_vdispl_head_fits(const XenVDisplHead *head,
                                 const XenVDisplFb *fb)
{
    const XenVDisplPart *part = &head->config;

    return part->x + (uint64_t)part->width <= fb->width &&
           part->y + (uint64_t)part->height <= fb->height;
}

int xen_vdispl_head_set_config(XenVDisplHead *head,
                               const struct xendispl_set_config_req *req,
                               XenVDisplFb *fb, Error **errp)
{
    if (!fb) {
        head->enabled = false;
        if (head->fb) {
            xen_vdispl_head_show(head, NULL, &head->part);
        } else if (head->next_fb) {
            xen_vdispl_head_drop_next(head);
        }
        return 0;
    }

    /*
     * The protocol bounds the four by the connector, the Linux frontend sends
     * the framebuffer's size: two connectors may show parts of a larger one.
     * So they are bound by the framebuffer, and what of it can be seen by the
     * connector.
     */
    if (!req->width || req->width > fb->width || req->x >= req->width ||
        !req->height || req->height > fb->height || req->y >= req->height) {
        error_setg(errp, "%ux%u at %u,%u is not within the framebuffer of "
                   "%ux%u", req->width, req->height, req->x, req->y,
                   fb->width, fb->height);
        return -XEN_EINVAL;
    }
    if (req->bpp != fb->format->cpp * 8) {
        error_setg(errp, "%u bits a pixel, but the framebuffer has %u",
                   req->bpp, fb->format->cpp * 8);
        return -XEN_EINVAL;
    }

    head->enabled = true;
    head->config = (XenVDisplPart) {
        .x = req->x,
        .y = req->y,
        .width = MIN(req->width - req->x, head->max_width),
        .height = MIN(req->height - req->y, head->max_height),
    };
    xen_vdispl_head_queue(head, fb);
    return 0;
}

int xen_vdispl_head_page_flip(XenVDisplHead *head, XenVDisplFb *fb,
                              Error **errp)
{
    if (!head->enabled) {
        error_setg(errp, "page flip on a connector that is not configured");
        return -XEN_EINVAL;
    }
    if (!xen_vdispl_head_fits(head, fb)) {
        error_setg(errp, "%ux%u at %u,%u is not within the framebuffer of "
                   "%ux%u", head->config.width, head->config.height,
                   head->config.x, head->config.y, fb->width, fb->height);
        return -XEN_EINVAL;
    }
    if (head->flip != FLIP_NONE) {
        error_setg(errp, "the page flip before is not complete");
        return -XEN_EBUSY;
    }

    head->flip = FLIP_QUEUED;
    head->flip_cookie = fb->fb_cookie;
    timer_mod(head->flip_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
              XEN_VDISPL_PATIENCE_NS);
    xen_vdispl_head_queue(head, fb);
    return 0;
}

void xen_vdispl_head_forget_fb(XenVDisplHead *head, const XenVDisplFb *fb)
{
    if (head->next_fb == fb) {
        xen_vdispl_head_drop_next(head);
    }
    if (head->fb == fb) {
        head->fb_forgotten = true;
    }
    if (head->fb_forgotten && !head->next_fb) {
        xen_vdispl_head_show(head, NULL, &head->part);
    }
}

void xen_vdispl_head_reset(XenVDisplHead *head)
{
    timer_del(head->timer);
    timer_del(head->flip_timer);
    g_clear_pointer(&head->next_fb, xen_vdispl_fb_unref);
    head->due = false;
    head->flip = FLIP_NONE;
    if (head->releasing) {
        head->releasing->head = NULL;
        head->releasing = NULL;
    }
    if (head->fb) {
        xen_vdispl_head_show(head, NULL, &head->part);
    }
    head->enabled = false;
    head->max_width = head->width;
    head->max_height = head->height;
}

size_t xen_vdispl_head_edid(XenVDisplHead *head, uint8_t *edid, size_t size)
{
    qemu_edid_info info = {
        .name = "Xen vdispl",
        .prefx = head->viewer_width ?: head->width,
        .prefy = head->viewer_height ?: head->height,
        .refresh_rate = head->refresh_rate * 1000,
    };

    qemu_edid_generate(edid, size, &info);
    head->max_width = MAX(head->max_width, info.prefx);
    head->max_height = MAX(head->max_height, info.prefy);
    return qemu_edid_size(edid);
}

void xen_vdispl_head_stats(XenVDisplHead *head, XenVDisplHeadStats *stats)
{
    int64_t idle = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) - head->last_flip;

    stats->flips = head->flips;
    stats->flips_per_second = idle < 2 * NANOSECONDS_PER_SECOND ?
        head->rate : 0;
    stats->bytes_copied = head->bytes_copied;
    stats->path = xen_vdispl_head_path(head);
    stats->refused = xen_vdispl_gl_refused(head->gl);
}

/* The display has taken its OpenGL with it: there are surfaces for others. */
static void xen_vdispl_head_gl_gone(XenVDisplHead *head)
{
    if (head->next_fb) {
        xen_vdispl_head_show(head, head->next_fb, &head->config);
    } else {
        xen_vdispl_head_show(head, head->fb, &head->part);
    }
}

/*
 * A guest may draw into the framebuffer that is shown and tell nobody, so the
 * console's own refresh looks at all of it.
 */
static void xen_vdispl_head_gfx_update(void *opaque)
{
    XenVDisplHead *head = opaque;

    if (!head->fb) {
        return;
    }
    if (xen_vdispl_gl_shown(head->gl)) {
        if (!xen_vdispl_gl_update(head->gl)) {
            xen_vdispl_head_gl_gone(head);
        }
        return;
    }
    if (head->shadow) {
        xen_vdispl_head_convert(head);
    }
    dpy_gfx_update_full(head->con);
}

static void xen_vdispl_head_gl_block(void *opaque, bool block)
{
    XenVDisplHead *head = opaque;

    xen_vdispl_gl_block(head->gl, block);
}

static void xen_vdispl_head_set_viewer(XenVDisplHead *head,
                                       const QemuUIInfo *info)
{
    trace_xen_vdispl_ui_info(head->index, info->width, info->height);
    if (info->width <= XEN_VDISPL_MAX_DIM &&
        info->height <= XEN_VDISPL_MAX_DIM) {
        head->viewer_width = info->width;
        head->viewer_height = info->height;
    }
}

static void xen_vdispl_head_ui_info(void *opaque, uint32_t idx,
                                    QemuUIInfo *info)
{
    xen_vdispl_head_set_viewer(opaque, info);
}

static pixman_image_t *xen_vdispl_head_gl_image(void *opaque)
{
    XenVDisplHead *head = opaque;

    return head->fb ? xen_vdispl_head_image(head, head->fb, NULL) : NULL;
}

static const GraphicHwOps xen_vdispl_console_ops = {
    .gfx_update = xen_vdispl_head_gfx_update,
    .ui_info = xen_vdispl_head_ui_info,
    .gl_block = xen_vdispl_head_gl_block,
    .gl_image = xen_vdispl_head_gl_image,
};

XenVDisplHead *xen_vdispl_head_new(DeviceState *dev, uint32_t index,
                                   const char *label, uint32_t width,
                                   uint32_t height, uint32_t refresh_rate,
                                   const XenVDisplHeadOps *ops, void *opaque)
{
    XenVDisplHead *head = g_new0(XenVDisplHead, 1);

    head->index = index;
    head->width = head->max_width = width;
    head->height = head->max_height = height;
    head->refresh_rate = refresh_rate;
    head->ops = ops;
    head->opaque = opaque;
    head->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, xen_vdispl_head_refresh,
                               head);
    head->flip_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL,
                                    xen_vdispl_head_flip_overdue, head);
    head->con = xen_vdispl_screens_take(&xen_vdispl_console_ops, head) ?:
        graphic_console_init(dev, index, &xen_vdispl_console_ops, head);
    graphic_console_set_label(head->con, label);
    head->gl = xen_vdispl_gl_new(head->con, &xen_vdispl_gl_ops, head);
    /* What the viewer has said already it does not say again. */
    xen_vdispl_head_set_viewer(head, dpy_get_ui_info(head->con));
    return head;
}

void xen_vdispl_head_free(XenVDisplHead *head)
{
    if (!head) {
        return;
    }
    xen_vdispl_head_reset(head);
    graphic_console_set_label(head->con, NULL);
    if (!xen_vdispl_screens_give(head->con)) {
        graphic_console_close(head->con);
    }
    xen_vdispl_gl_free(head->gl);
    timer_free(head->flip_timer);
    timer_free(head->timer);
    g_free(head);
}
