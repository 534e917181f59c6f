/*
 * Dma-bufs of granted pages: operations for true Xen, by libxengnttab
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/xen/dma-buf-mmap-info.h"
#include "hw/xen/xen-dmabuf.h"
#include "system/xen.h"
#include "trace.h"

#include <sys/ioctl.h>
#include <xengnttab.h>
#include <xentoollog.h>

#define GUEST_TYPE "/sys/hypervisor/guest_type"

/*
 * libxengnttab prints a message for each time-out, too. What matters is
 * reported here, so its messages are traced only.
 */
static void G_GNUC_PRINTF(5, 0)
gntdev_message(struct xentoollog_logger *logger, xentoollog_level level,
               int errnoval, const char *context, const char *format,
               va_list ap)
{
    g_autofree char *message = g_strdup_vprintf(format, ap);

    trace_xen_dmabuf_message(message, errnoval);
}

static void gntdev_progress(struct xentoollog_logger *logger,
                            const char *context, const char *doing_what,
                            int percent, unsigned long done,
                            unsigned long total)
{
}

static xentoollog_logger logger = {
    .vmessage = gntdev_message,
    .progress = gntdev_progress,
};

static xengnttab_handle *gntdev_open(void)
{
    return xengnttab_open(&logger, 0);
}

static void gntdev_close(xengnttab_handle *xgt)
{
    xengnttab_close(xgt);
}

static bool gntdev_probe(Error **errp)
{
    g_autofree char *type = NULL;
    xengnttab_handle *xgt;
    int ret, err;

    if (g_file_get_contents(GUEST_TYPE, &type, NULL, NULL) &&
        !strcmp(g_strchomp(type), "PV")) {
        error_setg(errp, "Linux does not export grants in a PV domain; boot "
                   "Xen with dom0=pvh");
        return false;
    }
    xgt = gntdev_open();
    if (!xgt) {
        error_setg_errno(errp, errno, "cannot open /dev/xen/gntdev");
        return false;
    }
    /* No buffer has this number, so the answer is that it is released. */
    ret = xengnttab_dmabuf_exp_wait_released(xgt, UINT32_MAX, 0);
    err = errno;
    gntdev_close(xgt);
    if (ret < 0) {
        error_setg_errno(errp, err, "exports need Linux 4.19 or later with "
                         "CONFIG_XEN_GNTDEV_DMABUF");
    }
    return ret == 0;
}

static int gntdev_exp_from_refs(xengnttab_handle *xgt, uint32_t domid,
                                uint32_t count, const uint32_t *refs,
                                uint32_t *fd, uint64_t *offset, Error **errp)
{
    int ret = xengnttab_dmabuf_exp_from_refs(xgt, domid, 0, count, refs, fd);

    if (ret < 0) {
        error_setg_errno(errp, errno, "Linux cannot export %u granted pages "
                         "(on x86 it has to have been taught: see docs/devel/"
                         "kernel.rst)", count);
    }
    *offset = 0;
    return ret;
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
    .probe = gntdev_probe,
    .open = gntdev_open,
    .close = gntdev_close,
    .exp_from_refs = gntdev_exp_from_refs,
    .exp_wait_released = xengnttab_dmabuf_exp_wait_released,
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
