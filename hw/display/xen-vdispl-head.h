/*
 * Xen PV display backend: a connector's screen
 *
 * One QemuConsole and what it shows: the framebuffer that is scanned out, the
 * page flip that is under way, and their pace.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_HEAD_H
#define HW_DISPLAY_XEN_VDISPL_HEAD_H

#include "ui/console.h"
#include "xen-vdispl-buffer.h"

typedef struct XenVDisplHead XenVDisplHead;

/* For whom a guest waits: the Linux frontend gives up after 3 s. */
#define XEN_VDISPL_PATIENCE_NS (5 * NANOSECONDS_PER_SECOND / 2)

/**
 * struct XenVDisplHeadOps - what a head has to say
 * @flip_done: a page flip to the framebuffer @fb_cookie is complete: nobody
 *             reads the framebuffer before any more, or somebody does so for
 *             longer than XEN_VDISPL_PATIENCE_NS. Returns false when the guest
 *             cannot be told yet; the head asks again at the next refresh
 *
 * Each is given @opaque of xen_vdispl_head_new().
 */
typedef struct XenVDisplHeadOps {
    bool (*flip_done)(void *opaque, uint64_t fb_cookie);
} XenVDisplHeadOps;

/**
 * struct XenVDisplHeadStats - what a head has done so far
 * @flips: completed page flips
 * @flips_per_second: their rate in the last full second of flipping
 * @bytes_copied: octets converted because no display surface could carry the
 *                guest's pixels as they are
 * @path: how pixels reach the console, or "none"
 * @refused: the display has failed to import a framebuffer's dma-buf, and
 *           uploads the pixels
 */
typedef struct XenVDisplHeadStats {
    uint64_t flips;
    uint32_t flips_per_second;
    uint64_t bytes_copied;
    const char *path;
    bool refused;
} XenVDisplHeadStats;

/**
 * xen_vdispl_head_new - open a connector's console
 * @dev: the display device
 * @index: the connector's index
 * @label: the console's label, or NULL
 * @width: the connector's resolution in pixels
 * @height: the connector's resolution in pixels
 * @refresh_rate: page flips a second, at most
 * @ops: called when something has happened
 * @opaque: passed to @ops
 *
 * The console is one of a xen-vdispl-screens device if there is a free one.
 */
XenVDisplHead *xen_vdispl_head_new(DeviceState *dev, uint32_t index,
                                   const char *label, uint32_t width,
                                   uint32_t height, uint32_t refresh_rate,
                                   const XenVDisplHeadOps *ops, void *opaque);

/**
 * xen_vdispl_head_free - close the console
 * @head: the head, or NULL
 */
void xen_vdispl_head_free(XenVDisplHead *head);

/**
 * xen_vdispl_head_reset - forget the guest
 * @head: the head
 *
 * Shows nothing, drops a pending page flip without an event.
 */
void xen_vdispl_head_reset(XenVDisplHead *head);

/**
 * xen_vdispl_head_set_config - XENDISPL_OP_SET_CONFIG
 * @head: the head
 * @req: private copy of the request
 * @fb: the framebuffer it names, or NULL to disable the head
 * @errp: set on failure
 *
 * The framebuffer is shown from the next refresh on.
 *
 * Returns: 0 or -XEN_Exx.
 */
int xen_vdispl_head_set_config(XenVDisplHead *head,
                               const struct xendispl_set_config_req *req,
                               XenVDisplFb *fb, Error **errp);

/**
 * xen_vdispl_head_page_flip - XENDISPL_OP_PG_FLIP
 * @head: the head
 * @fb: the framebuffer to show from the next refresh on
 * @errp: set on failure
 *
 * Returns: 0 or -XEN_Exx.
 */
int xen_vdispl_head_page_flip(XenVDisplHead *head, XenVDisplFb *fb,
                              Error **errp);

/**
 * xen_vdispl_head_forget_fb - a framebuffer is being detached
 * @head: the head
 * @fb: the framebuffer
 *
 * If the head shows it, it shows nothing from now on, or goes on until the next
 * refresh if another one follows then; a page flip to it completes.
 */
void xen_vdispl_head_forget_fb(XenVDisplHead *head, const XenVDisplFb *fb);

/**
 * xen_vdispl_head_edid - describe the connector
 * @head: the head
 * @edid: where the EDID goes
 * @size: octets there
 *
 * The preferred mode is the viewer's size where the display gives one, else
 * the connector's resolution. Modes up to it may be configured afterwards.
 *
 * Returns: the size of the EDID in octets.
 */
size_t xen_vdispl_head_edid(XenVDisplHead *head, uint8_t *edid, size_t size);

/**
 * xen_vdispl_head_stats - what the head has done so far
 * @head: the head
 * @stats: filled in
 */
void xen_vdispl_head_stats(XenVDisplHead *head, XenVDisplHeadStats *stats);

#endif /* HW_DISPLAY_XEN_VDISPL_HEAD_H */
