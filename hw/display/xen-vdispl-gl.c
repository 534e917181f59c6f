/*
 * Xen PV display backend: framebuffers for OpenGL displays
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/xen/xen-dmabuf.h"
#include "hw/xen/xen-vdispl-compat.h"
#include "ui/dbus-module.h"
#include "xen-vdispl-gl.h"
#include "trace.h"

/* A framebuffer that the display was given. */
typedef struct XenVDisplGLScanout {
    QemuDmaBuf *dmabuf;
    XenVDisplFb *fb;
    uint32_t width, height;
    QSLIST_ENTRY(XenVDisplGLScanout) next;
} XenVDisplGLScanout;

struct XenVDisplGL {
    QemuConsole *con;
    XenVDisplGLScanout *shown;
    /* What was shown before, until the display has finished an update since. */
    QSLIST_HEAD(, XenVDisplGLScanout) retired;
    bool blocked;
    bool refused;   /* the display has failed to import one */
    const XenVDisplGLOps *ops;
    void *opaque;
};

static void xen_vdispl_gl_release(XenVDisplGL *gl, XenVDisplGLScanout *scanout)
{
    dpy_gl_release_dmabuf(gl->con, scanout->dmabuf);
    qemu_dmabuf_free(scanout->dmabuf);
    xen_vdispl_fb_unref(scanout->fb);
    g_free(scanout);
}

static void xen_vdispl_gl_release_retired(XenVDisplGL *gl)
{
    XenVDisplGLScanout *scanout;

    while ((scanout = QSLIST_FIRST(&gl->retired))) {
        QSLIST_REMOVE_HEAD(&gl->retired, next);
        xen_vdispl_gl_release(gl, scanout);
    }
}

static void xen_vdispl_gl_retire(XenVDisplGL *gl)
{
    if (gl->shown) {
        QSLIST_INSERT_HEAD(&gl->retired, gl->shown, next);
        gl->shown = NULL;
    }
}

XenVDisplGL *xen_vdispl_gl_new(QemuConsole *con, const XenVDisplGLOps *ops,
                               void *opaque)
{
    XenVDisplGL *gl = g_new0(XenVDisplGL, 1);

    gl->con = con;
    /* Whoever had the console before may have left it so. */
    gl->blocked = qemu_console_is_gl_blocked(con);
    gl->ops = ops;
    gl->opaque = opaque;
    QSLIST_INIT(&gl->retired);
    return gl;
}

void xen_vdispl_gl_free(XenVDisplGL *gl)
{
    xen_vdispl_gl_release_retired(gl);
    g_free(gl);
}

bool xen_vdispl_gl_shown(const XenVDisplGL *gl)
{
    return gl->shown;
}

bool xen_vdispl_gl_busy(const XenVDisplGL *gl)
{
    return !QSLIST_EMPTY(&gl->retired);
}

bool xen_vdispl_gl_blocked(const XenVDisplGL *gl)
{
    return gl->blocked;
}

void xen_vdispl_gl_block(XenVDisplGL *gl, bool block)
{
    gl->blocked = block;
    if (!block) {
        xen_vdispl_gl_release_retired(gl);
        gl->ops->idle(gl->opaque);
    }
}

bool xen_vdispl_gl_update(XenVDisplGL *gl)
{
    if (!console_has_gl(gl->con)) {
        return false;
    }
    if (!gl->blocked) {
        xen_dmabuf_drawn(gl->shown->fb->fd);
        dpy_gl_update(gl->con, 0, 0, gl->shown->width, gl->shown->height);
    }
    return true;
}

/*
 * Displays that draw import the dma-buf when they are given it, but do not say
 * whether that worked; those that pass it on, as D-Bus, do not look at it.
 */
static bool xen_vdispl_gl_accepted(QemuDmaBuf *dmabuf)
{
    return using_dbus_display || qemu_dmabuf_get_texture(dmabuf);
}

/*
 * It is not asked again: that would fail for each frame, or a guest could have
 * it fail all day, and the display says so each time.
 */
static void xen_vdispl_gl_refuse(XenVDisplGL *gl)
{
    info_report("xen-vdispl: the display cannot import a guest's buffer as a "
                "dma-buf, so it is uploaded (reported once)");
    gl->refused = true;
    xen_vdispl_gl_hide(gl);
}

bool xen_vdispl_gl_refused(const XenVDisplGL *gl)
{
    return gl->refused;
}

/*
 * Whether displays know how to import it, or their clients: those of D-Bus are
 * told of no offset.
 */
static bool xen_vdispl_gl_takes(const XenVDisplFb *fb, size_t offset,
                                uint32_t height)
{
    uint64_t begin = fb->fd_offset + offset;

    return fb->fd >= 0 && fb->format->cpp == sizeof(uint32_t) &&
        qemu_drm_format_to_pixman(fb->format->fourcc) &&
        QEMU_IS_ALIGNED(begin, sizeof(uint32_t)) &&
        QEMU_IS_ALIGNED(fb->stride, sizeof(uint32_t)) &&
        xen_vdispl_fb_has_whole_rows(fb, offset, height) &&
        !(using_dbus_display && begin);
}

/*
 * Displays that may read pixels back need a surface for them. For others there
 * must be none that holds on to the framebuffer before.
 */
static void xen_vdispl_gl_resize(XenVDisplGL *gl, uint32_t width,
                                 uint32_t height)
{
    DisplaySurface *surface = qemu_console_surface(gl->con);

    if (!using_dbus_display || (surface && !surface_is_allocated(surface))) {
        qemu_console_resize(gl->con, width, height);
    }
}

bool xen_vdispl_gl_show(XenVDisplGL *gl, XenVDisplFb *fb, size_t offset,
                        uint32_t width, uint32_t height)
{
    XenVDisplGLScanout *scanout;
    QemuDmaBuf *dmabuf;
    bool accepted;

    if (!console_has_gl(gl->con) || gl->refused ||
        !xen_vdispl_gl_takes(fb, offset, height)) {
        return false;
    }
    dmabuf = xen_vdispl_qemu_dmabuf_new(width, height, fb->fd_offset + offset,
                                        fb->stride, fb->format->fourcc,
                                        fb->fd);
    if (!dmabuf) {
        return false;
    }

    scanout = g_new0(XenVDisplGLScanout, 1);
    scanout->dmabuf = dmabuf;
    scanout->fb = xen_vdispl_fb_ref(fb);
    scanout->width = width;
    scanout->height = height;
    xen_vdispl_gl_retire(gl);
    gl->shown = scanout;

    xen_vdispl_gl_resize(gl, width, height);
    xen_dmabuf_drawn(fb->fd);
    dpy_gl_scanout_dmabuf(gl->con, dmabuf);
    accepted = xen_vdispl_gl_accepted(dmabuf);
    trace_xen_vdispl_gl_show(fb->fb_cookie, fb->fd, width, height, accepted);
    if (!accepted) {
        xen_vdispl_gl_refuse(gl);
        return false;
    }
    dpy_gl_update(gl->con, 0, 0, width, height);
    return true;
}

void xen_vdispl_gl_hide(XenVDisplGL *gl)
{
    if (!gl->shown) {
        return;
    }
    dpy_gl_scanout_disable(gl->con);
    xen_vdispl_gl_retire(gl);
    if (!gl->blocked) {
        xen_vdispl_gl_release_retired(gl);
    }
}
