/*
 * DMA_BUF_IOCTL_MMAP_INFO: how mmap() maps a dma-buf
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Linux' <linux/dma-buf.h> has this only with the patches of linux-patches/;
 * docs/specs/gntdev-dmabuf.rst says what it means.
 */

#ifndef HW_XEN_DMA_BUF_MMAP_INFO_H
#define HW_XEN_DMA_BUF_MMAP_INFO_H

#include <linux/dma-buf.h>

#ifndef DMA_BUF_IOCTL_MMAP_INFO
#define DMA_BUF_CACHING_UNKNOWN     0
#define DMA_BUF_CACHING_CACHED      1
#define DMA_BUF_CACHING_WC          2
#define DMA_BUF_CACHING_UNCACHED    3

struct dma_buf_mmap_info {
    uint32_t flags;     /* 0 */
    uint32_t caching;   /* returned */
};

#define DMA_BUF_IOCTL_MMAP_INFO _IOWR(DMA_BUF_BASE, 4, struct dma_buf_mmap_info)
#endif

#endif /* HW_XEN_DMA_BUF_MMAP_INFO_H */
