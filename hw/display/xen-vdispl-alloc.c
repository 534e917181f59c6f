/*
 * Xen PV display backend: allocators
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <drm/drm.h>
#include <sys/ioctl.h>
#include "qemu/drm.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "xen-vdispl-alloc.h"

static GSList *allocators;

void xen_vdispl_allocator_register(const XenVDisplAllocator *allocator)
{
    allocators = g_slist_prepend(allocators, (void *)allocator);
}

const XenVDisplAllocator *xen_vdispl_allocator_find(const char *name,
                                                    Error **errp)
{
    g_autofree char *module = g_strdup_printf("xen-vdispl-%s", name);
    g_autoptr(GString) names = g_string_new(NULL);

    /* In a QEMU with modules it may be in one, or be missed here. */
    module_load("hw-display-", module, NULL);
    for (GSList *item = allocators; item; item = item->next) {
        const XenVDisplAllocator *allocator = item->data;

        if (!strcmp(allocator->name, name)) {
            return allocator;
        }
        g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                               allocator->name);
    }
    error_setg(errp, "this QEMU has no allocator '%s', only %s", name,
               names->str);
    return NULL;
}

int xen_vdispl_drm_open(const char *node, Error **errp)
{
    struct drm_version version = { 0 };
    int fd = qemu_drm_rendernode_open(node);

    if (fd < 0 && node) {
        error_setg_errno(errp, errno, "cannot open DRM device '%s'", node);
    } else if (fd < 0) {
        error_setg(errp, "there is no render node in /dev/dri; name a DRM "
                   "device by property 'rendernode'");
    } else if (ioctl(fd, DRM_IOCTL_VERSION, &version) < 0) {
        error_setg_errno(errp, errno, "'%s' is no DRM device",
                         node ?: "/dev/dri");
        close(fd);
        fd = -1;
    } else {
        /* Whoever opens a device with screens first is its master: not us. */
        ioctl(fd, DRM_IOCTL_DROP_MASTER, 0);
    }
    return fd;
}

bool xen_vdispl_shape_is_picture(const XenVDisplShape *shape, Error **errp)
{
    if (!shape->width || shape->bpp != 32) {
        error_setg(errp, "only a picture of 32 bits a pixel that begins where "
                   "its buffer does can be allocated by a GPU's driver");
        return false;
    }
    return true;
}

bool xen_vdispl_alloc_fits(const XenVDisplShape *shape, int fd,
                           uint32_t offset, uint32_t stride, Error **errp)
{
    off_t size = lseek(fd, 0, SEEK_END);

    if (offset || stride != shape->stride) {
        error_setg(errp, "the GPU's driver has the rows of %u pixels %u octets "
                   "apart, from octet %u on; the guest has %u octets, from 0 on",
                   shape->width, stride, offset, shape->stride);
        return false;
    }
    if (size < 0 || size < shape->size) {
        error_setg(errp, "the GPU's driver has %lld octets for the picture, "
                   "the guest %zu", (long long)size, shape->size);
        return false;
    }
    return true;
}
