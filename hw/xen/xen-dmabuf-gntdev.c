/*
 * Dma-bufs of granted pages: operations for true Xen, by libxengnttab and, for
 * what that does not have, by system calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/xen/dma-buf-mmap-info.h"
#include "hw/xen/xen-dmabuf.h"
#include "system/xen.h"

#include <sys/ioctl.h>
#include <xengnttab.h>

#define GUEST_TYPE "/sys/hypervisor/guest_type"

/*
 * Of this project's Linux: see docs/specs/gntdev-dmabuf.rst. Headers of others
 * do not have them.
 */
struct gntdev_map_refs_to_buf {
    uint32_t flags;
    uint32_t count;
    uint32_t data_ofs;
    uint32_t fd;
    uint32_t domid;
    uint32_t refs[];
};

struct gntdev_map_release {
    uint32_t fd;
    uint32_t reserved;
};

struct gntdev_map_wait_released {
    uint32_t fd;
    uint32_t wait_to_ms;
};

struct gntdev_notify_released {
    uint32_t fd;
    uint32_t eventfd;
};

/* The first has the size of a structure with one reference */
#define GNTDEV_MAP_REFS_TO_BUF                                          \
    _IOC(_IOC_NONE, 'G', 15,                                            \
         sizeof(struct gntdev_map_refs_to_buf) + sizeof(uint32_t))
#define GNTDEV_MAP_RELEASE                                              \
    _IOC(_IOC_NONE, 'G', 16, sizeof(struct gntdev_map_release))
#define GNTDEV_MAP_WAIT_RELEASED                                        \
    _IOC(_IOC_NONE, 'G', 17, sizeof(struct gntdev_map_wait_released))
#define GNTDEV_NOTIFY_RELEASED                                          \
    _IOC(_IOC_NONE, 'G', 18, sizeof(struct gntdev_notify_released))

/* No buffer has this number: it counts as released, where the call exists */
#define NO_BUFFER UINT32_MAX

static int gntdev_map_wait_released(xengnttab_handle *xgt, uint32_t fd,
                                    uint32_t wait_to_ms)
{
    struct gntdev_map_wait_released wait = {
        .fd = fd, .wait_to_ms = wait_to_ms,
    };
    int ret = ioctl(xengnttab_fd(xgt), GNTDEV_MAP_WAIT_RELEASED, &wait);

    return ret < 0 && errno == ENOENT ? 0 : ret;
}

static bool gntdev_is_pv(void)
{
    g_autofree char *type = NULL;

    return g_file_get_contents(GUEST_TYPE, &type, NULL, NULL) &&
        !strcmp(g_strchomp(type), "PV");
}

/* Whether Linux does @what: then it knows the call that @wait_released makes */
static bool gntdev_probe(const char *what,
                         int (*wait_released)(xengnttab_handle *xgt,
                                              uint32_t fd,
                                              uint32_t wait_to_ms),
                         const char *needs, Error **errp)
{
    xengnttab_handle *xgt;
    int ret, err;

    if (gntdev_is_pv()) {
        error_setg(errp, "Linux does not %s in a PV domain; boot Xen with "
                   "dom0=pvh", what);
        return false;
    }
    xgt = qemu_xen_gnttab_open();
    if (!xgt) {
        error_setg_errno(errp, errno, "cannot open /dev/xen/gntdev");
        return false;
    }
    ret = wait_released(xgt, NO_BUFFER, 0);
    err = errno;
    qemu_xen_gnttab_close(xgt);
    if (ret < 0) {
        error_setg_errno(errp, err, "to %s, Linux needs to be %s with "
                         "CONFIG_XEN_GNTDEV_DMABUF", what, needs);
    }
    return ret == 0;
}

static bool gntdev_probe_export(Error **errp)
{
    return gntdev_probe("export grants", xengnttab_dmabuf_exp_wait_released,
                        "4.19 or later", errp);
}

static bool gntdev_probe_map(Error **errp)
{
    return gntdev_probe("put grants into dma-bufs", gntdev_map_wait_released,
                        "patched as docs/devel/kernel.rst says, and built",
                        errp);
}

static int gntdev_exp_from_refs(xengnttab_handle *xgt, uint32_t domid,
                                XenDmabufAlloc alloc, uint32_t count,
                                const uint32_t *refs, uint32_t *fd,
                                uint64_t *offset, Error **errp)
{
    int ret = xengnttab_dmabuf_exp_from_refs(xgt, domid, alloc, count, refs,
                                             fd);

    QEMU_BUILD_BUG_ON(XEN_DMABUF_ALLOC_WC != GNTDEV_DMA_FLAG_WC);
    QEMU_BUILD_BUG_ON(XEN_DMABUF_ALLOC_COHERENT != GNTDEV_DMA_FLAG_COHERENT);

    if (ret < 0 && errno == ENOMEM && alloc) {
        error_setg(errp, "Linux has no block of %u pages that follow each "
                   "other (property dma-alloc)", count);
    } else if (ret < 0) {
        error_setg_errno(errp, errno, "Linux cannot export %u granted pages "
                         "(on x86 it has to have been taught: see docs/devel/"
                         "kernel.rst)", count);
    }
    *offset = 0;
    return ret;
}

static int gntdev_map_refs_to_buf(xengnttab_handle *xgt, uint32_t domid,
                                  uint32_t count, const uint32_t *refs,
                                  uint32_t fd, uint64_t *offset, Error **errp)
{
    size_t size = count * sizeof(*refs);
    g_autofree struct gntdev_map_refs_to_buf *map =
        g_malloc0(sizeof(*map) + size);
    const char *hint = "";

    map->count = count;
    map->fd = fd;
    map->domid = domid;
    memcpy(map->refs, refs, size);
    *offset = 0;
    if (ioctl(xengnttab_fd(xgt), GNTDEV_MAP_REFS_TO_BUF, map) == 0) {
        return 0;
    }
    switch (errno) {
    case EINVAL:
        hint = " (it is smaller, or not one: is there /dev/udmabuf?)";
        break;
    case EOPNOTSUPP:
        hint = " (its exporter does not take part: see docs/specs/"
            "gntdev-dmabuf.rst)";
        break;
    case EBUSY:
        hint = " (it is in use already)";
        break;
    }
    error_setg_errno(errp, errno, "Linux cannot put %u granted pages into a "
                     "dma-buf%s", count, hint);
    return -1;
}

static int gntdev_map_release(xengnttab_handle *xgt, uint32_t fd)
{
    struct gntdev_map_release release = { .fd = fd };

    return ioctl(xengnttab_fd(xgt), GNTDEV_MAP_RELEASE, &release);
}

static int gntdev_notify_released(xengnttab_handle *xgt, uint32_t fd,
                                  int event)
{
    struct gntdev_notify_released notify = { .fd = fd, .eventfd = event };

    return ioctl(xengnttab_fd(xgt), GNTDEV_NOTIFY_RELEASED, &notify);
}

static uint32_t gntdev_caching(int fd)
{
    struct dma_buf_mmap_info info = { 0 };

    /* Stock kernels do not have the ioctl. */
    return ioctl(fd, DMA_BUF_IOCTL_MMAP_INFO, &info) < 0 ?
        DMA_BUF_CACHING_UNKNOWN : info.caching;
}

static int gntdev_sync(int fd, uint64_t flags)
{
    struct dma_buf_sync sync = { .flags = flags };

    return ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
}

static const struct dmabuf_backend_ops gntdev_dmabuf_ops = {
    .probe_export = gntdev_probe_export,
    .probe_map = gntdev_probe_map,
    .exp_from_refs = gntdev_exp_from_refs,
    .exp_wait_released = xengnttab_dmabuf_exp_wait_released,
    .map_refs_to_buf = gntdev_map_refs_to_buf,
    .map_release = gntdev_map_release,
    .map_wait_released = gntdev_map_wait_released,
    .notify_released = gntdev_notify_released,
    .imp_to_refs = xengnttab_dmabuf_imp_to_refs,
    .imp_release = xengnttab_dmabuf_imp_release,
    .caching = gntdev_caching,
    .sync = gntdev_sync,
};

static void gntdev_register(void)
{
    if (xen_enabled()) {
        xen_dmabuf_ops = &gntdev_dmabuf_ops;
    }
}

xen_backend_init(gntdev_register);
