/*
 * Xen PV display backend: buffers of a DRM device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <drm/drm.h>
#include <gbm.h>
#include <sys/ioctl.h>
#include "qemu/module.h"
#include "qapi/error.h"
#include "xen-vdispl-alloc.h"

/* Those in use, by their files; opened once, for that loads their drivers */
static GHashTable *devices;

static struct gbm_device *xen_vdispl_gbm_device(const char *node, Error **errp)
{
    struct gbm_device *device = g_hash_table_lookup(devices, node ?: "");
    int fd;

    if (device) {
        return device;
    }
    fd = xen_vdispl_drm_open(node, errp);
    if (fd < 0) {
        return NULL;
    }
    device = gbm_create_device(fd);
    if (!device) {
        error_setg(errp, "gbm has no driver for %s", node ?: "/dev/dri");
        close(fd);
        return NULL;
    }
    g_hash_table_insert(devices, g_strdup(node ?: ""), device);
    return device;
}

static bool xen_vdispl_gbm_probe(const char *node, Error **errp)
{
    return xen_vdispl_gbm_device(node, errp);
}

/* Returns: a dma-buf, or -1 */
static int xen_vdispl_gbm_create(struct gbm_device *device, uint32_t use,
                                 const XenVDisplShape *shape, Error **errp)
{
    struct drm_prime_handle prime = { .flags = DRM_CLOEXEC | DRM_RDWR };
    struct gbm_bo *bo = gbm_bo_create(device, shape->width, shape->height,
                                      GBM_FORMAT_XRGB8888, use);
    int fd = -1;

    if (!bo) {
        error_setg_errno(errp, errno, "gbm cannot allocate %ux%u pixels",
                         shape->width, shape->height);
        return -1;
    }
    /* Of a dumb buffer gbm_bo_get_fd() knows none. */
    prime.handle = gbm_bo_get_handle(bo).u32;
    if (ioctl(gbm_device_get_fd(device), DRM_IOCTL_PRIME_HANDLE_TO_FD,
              &prime) < 0) {
        error_setg_errno(errp, errno, "the buffer of %ux%u pixels that gbm has "
                         "allocated has no dma-buf", shape->width,
                         shape->height);
    } else if (xen_vdispl_alloc_fits(shape, prime.fd, gbm_bo_get_offset(bo, 0),
                                     gbm_bo_get_stride(bo), errp)) {
        fd = prime.fd;
    } else {
        close(prime.fd);
    }
    /* The dma-buf keeps the memory. */
    gbm_bo_destroy(bo);
    return fd;
}

static bool xen_vdispl_gbm_alloc(const char *node, const XenVDisplShape *shape,
                                 XenVDisplAlloc *alloc, Error **errp)
{
    struct gbm_device *device;

    if (!xen_vdispl_shape_is_picture(shape, errp)) {
        return false;
    }
    device = xen_vdispl_gbm_device(node, errp);
    if (!device) {
        return false;
    }
    /*
     * A dumb buffer, which nearly always has its rows where the guest has them;
     * but a render node has none.
     */
    alloc->fd = xen_vdispl_gbm_create(device,
                                      GBM_BO_USE_SCANOUT | GBM_BO_USE_WRITE,
                                      shape, NULL);
    if (alloc->fd < 0) {
        alloc->fd = xen_vdispl_gbm_create(device, GBM_BO_USE_LINEAR, shape,
                                          errp);
    }
    return alloc->fd >= 0;
}

static const XenVDisplAllocator xen_vdispl_gbm = {
    .name = "gbm",
    .probe = xen_vdispl_gbm_probe,
    .alloc = xen_vdispl_gbm_alloc,
};

static void xen_vdispl_gbm_register(void)
{
    devices = g_hash_table_new(g_str_hash, g_str_equal);
    xen_vdispl_allocator_register(&xen_vdispl_gbm);
}

type_init(xen_vdispl_gbm_register)
