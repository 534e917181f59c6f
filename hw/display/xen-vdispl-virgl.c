/*
 * Xen PV display backend: buffers of virglrenderer
 *
 * They are textures that virglrenderer has allocated as it would for a guest's
 * screen. There is one virglrenderer in a process; a virtio-gpu with OpenGL
 * resets it together with its guest, so it cannot be shared with one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "hw/qdev-core.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "standard-headers/linux/virtio_gpu.h"
#include "xen-vdispl-alloc.h"

#include <epoxy/egl.h>
#include <virglrenderer.h>

#define TYPE_VIRTIO_GPU_GL  "virtio-gpu-gl-device"

/* Of the protocol of virtio-gpu's 3D commands, as is the format */
#define TARGET_2D           2
#define BIND_RENDER_TARGET  (1u << 1)
#define BIND_SAMPLER_VIEW   (1u << 3)
#define BIND_SCANOUT        (1u << 18)
#define BIND_SHARED         (1u << 20)

/* What a display of QEMU's has current, which it expects to find again */
typedef struct XenVDisplCurrent {
    EGLDisplay display;
    EGLContext context;
    EGLSurface draw, read;
} XenVDisplCurrent;

static bool started;
static char *started_node;
static int started_fd = -1;
static uint32_t last_resource;

static void xen_vdispl_current_save(XenVDisplCurrent *current)
{
    current->display = eglGetCurrentDisplay();
    current->context = eglGetCurrentContext();
    current->draw = eglGetCurrentSurface(EGL_DRAW);
    current->read = eglGetCurrentSurface(EGL_READ);
}

static void xen_vdispl_current_restore(const XenVDisplCurrent *current)
{
    if (current->display != EGL_NO_DISPLAY) {
        eglMakeCurrent(current->display, current->draw, current->read,
                       current->context);
    } else if (eglGetCurrentDisplay() != EGL_NO_DISPLAY) {
        eglMakeCurrent(eglGetCurrentDisplay(), EGL_NO_SURFACE, EGL_NO_SURFACE,
                       EGL_NO_CONTEXT);
    }
}

/* Only commands of guests have fences, and there are none. */
static void xen_vdispl_virgl_write_fence(void *opaque, uint32_t fence)
{
}

/* For virglrenderer to close, when it ends or does not start */
static int xen_vdispl_virgl_get_drm_fd(void *opaque)
{
    return started_fd;
}

static struct virgl_renderer_callbacks xen_vdispl_virgl_callbacks = {
    .version = 2,
    .write_fence = xen_vdispl_virgl_write_fence,
    .get_drm_fd = xen_vdispl_virgl_get_drm_fd,
};

/*
 * A virtio-gpu-gl that is made later would find virglrenderer taken when its
 * guest starts, and leave that waiting.
 */
static bool xen_vdispl_virgl_device_add(DeviceListener *listener,
                                        const QDict *opts, bool from_json,
                                        Error **errp)
{
    const char *driver = qdict_get_try_str(opts, "driver");

    if (g_str_has_prefix(driver, "virtio-gpu-gl") ||
        g_str_has_prefix(driver, "virtio-vga-gl")) {
        error_setg(errp, "a xen-vdispl with allocator=virgl has virglrenderer "
                   "for itself");
    }
    return false;
}

static DeviceListener xen_vdispl_virgl_listener = {
    .hide_device = xen_vdispl_virgl_device_add,
};

static bool xen_vdispl_virgl_start(const char *node, Error **errp)
{
    int flags = VIRGL_RENDERER_USE_EGL;
    bool several = false;
    int ret;

    if (started) {
        if (node && g_strcmp0(node, started_node)) {
            error_setg(errp, "QEMU has one virglrenderer, which uses %s "
                       "already", started_node ?: "a DRM device of its choice");
            return false;
        }
        return true;
    }
    /* One that is there but has not started virglrenderer yet would fail. */
    if (object_resolve_path_type("", TYPE_VIRTIO_GPU_GL, &several) || several) {
        error_setg(errp, "a virtio-gpu-gl device has virglrenderer for itself");
        return false;
    }
    if (node) {
        started_fd = xen_vdispl_drm_open(node, errp);
        if (started_fd < 0) {
            return false;
        }
    } else {
        flags |= VIRGL_RENDERER_USE_SURFACELESS;
    }
    ret = virgl_renderer_init(&started, flags, &xen_vdispl_virgl_callbacks);
    started_fd = -1;
    if (ret && node) {
        error_setg(errp, "virglrenderer does not start on %s", node);
        return false;
    } else if (ret) {
        error_setg_errno(errp, abs(ret), "cannot start virglrenderer (without "
                         "a GPU it needs Mesa's llvmpipe)");
        return false;
    }
    device_listener_register(&xen_vdispl_virgl_listener);
    started_node = g_strdup(node);
    started = true;
    return true;
}

static bool xen_vdispl_virgl_probe(const char *node, Error **errp)
{
    XenVDisplCurrent current;
    bool ok;

    xen_vdispl_current_save(&current);
    ok = xen_vdispl_virgl_start(node, errp);
    xen_vdispl_current_restore(&current);
    return ok;
}

/* The dma-buf of a texture */
static bool xen_vdispl_virgl_export(const XenVDisplShape *shape,
                                    uint32_t resource, int *fd, Error **errp)
{
    struct virgl_renderer_resource_info_ext info = { 0 };
    int stride, offset;
    int ret = virgl_renderer_resource_get_info_ext(resource, &info);

    if (!ret) {
        ret = virgl_renderer_get_fd_for_texture2(info.base.tex_id, fd, &stride,
                                                 &offset);
    }
    if (ret) {
        error_setg(errp, "virglrenderer's texture has no dma-buf (Mesa's "
                   "llvmpipe needs /dev/udmabuf for it)");
        return false;
    }
    /* Mesa's llvmpipe, which knows rows only, has none. */
    if (info.modifiers != DRM_FORMAT_MOD_LINEAR &&
        info.modifiers != DRM_FORMAT_MOD_INVALID) {
        error_setg(errp, "virglrenderer's texture is not made of rows: "
                   "modifier 0x%" PRIx64, info.modifiers);
        close(*fd);
        return false;
    }
    if (!xen_vdispl_alloc_fits(shape, *fd, offset, stride, errp)) {
        close(*fd);
        return false;
    }
    return true;
}

static bool xen_vdispl_virgl_create(const XenVDisplShape *shape,
                                    XenVDisplAlloc *alloc, Error **errp)
{
    /*
     * Its pixels may be in another order than the guest's: it is used for its
     * memory, which displays are given with the guest's format.
     */
    struct virgl_renderer_resource_create_args args = {
        .handle = last_resource + 1,
        .target = TARGET_2D,
        .format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
        .bind = BIND_RENDER_TARGET | BIND_SAMPLER_VIEW | BIND_SCANOUT |
            BIND_SHARED,
        .width = shape->width,
        .height = shape->height,
        .depth = 1,
        .array_size = 1,
    };
    int ret;

    virgl_renderer_force_ctx_0();
    ret = virgl_renderer_resource_create(&args, NULL, 0);
    if (ret) {
        error_setg_errno(errp, abs(ret), "virglrenderer cannot make a texture "
                         "of %ux%u pixels", shape->width, shape->height);
        return false;
    }
    if (!xen_vdispl_virgl_export(shape, args.handle, &alloc->fd, errp)) {
        virgl_renderer_resource_unref(args.handle);
        return false;
    }
    last_resource = args.handle;
    alloc->handle = GUINT_TO_POINTER(args.handle);
    return true;
}

static bool xen_vdispl_virgl_alloc(const char *node,
                                   const XenVDisplShape *shape,
                                   XenVDisplAlloc *alloc, Error **errp)
{
    XenVDisplCurrent current;
    bool ok;

    if (!xen_vdispl_shape_is_picture(shape, errp)) {
        return false;
    }
    xen_vdispl_current_save(&current);
    ok = xen_vdispl_virgl_start(node, errp) &&
        xen_vdispl_virgl_create(shape, alloc, errp);
    xen_vdispl_current_restore(&current);
    return ok;
}

static void xen_vdispl_virgl_free(XenVDisplAlloc *alloc)
{
    XenVDisplCurrent current;

    xen_vdispl_current_save(&current);
    virgl_renderer_force_ctx_0();
    virgl_renderer_resource_unref(GPOINTER_TO_UINT(alloc->handle));
    xen_vdispl_current_restore(&current);
}

static const XenVDisplAllocator xen_vdispl_virgl = {
    .name = "virgl",
    .probe = xen_vdispl_virgl_probe,
    .alloc = xen_vdispl_virgl_alloc,
    .free = xen_vdispl_virgl_free,
};

static void xen_vdispl_virgl_register(void)
{
    xen_vdispl_allocator_register(&xen_vdispl_virgl);
}

type_init(xen_vdispl_virgl_register)
