/*
 * A guest of the Xen PV display backend that does what an input says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The fuzzer runs it within QEMU, the replay test beside QEMU.
 */

#ifndef XEN_VDISPL_GUEST_H
#define XEN_VDISPL_GUEST_H

#include "../libqtest.h"

/* The machine that the guest expects: what is allowed, and small quotas */
#define XEN_VDISPL_GUEST_ARGS \
    "-machine xen-qtest -nodefaults -display none " \
    "-global xen-vdispl.be-alloc=on -global xen-vdispl.max-mapped=5M " \
    "-global xen-vdispl.max-buffers=8"
#define XEN_VDISPL_GUEST_CONNECTORS 2

/* What a viewer of a connector's console does */
typedef enum XenVDisplView {
    XEN_VDISPL_VIEW_REFRESH,    /* looks at it now */
    XEN_VDISPL_VIEW_HOLD,       /* keeps the picture and goes on reading it */
    XEN_VDISPL_VIEW_RELEASE,    /* lets go of all that it keeps */
    XEN_VDISPL_VIEW_RESIZE,     /* would like another size */
    XEN_VDISPL_NR_VIEWS,
} XenVDisplView;

/**
 * struct XenVDisplGuestOps - what depends on where the guest runs
 * @turn: let the backend's main loop run once, and say whether it had
 *        anything to do. May be NULL: it runs by itself
 * @view: what a viewer of connector @conn does; @value is the new size. May
 *        be NULL: there is no viewer
 */
typedef struct XenVDisplGuestOps {
    bool (*turn)(void);
    void (*view)(unsigned int conn, XenVDisplView view, uint32_t value);
} XenVDisplGuestOps;

/**
 * xen_vdispl_guest_init:
 * @qts: a QEMU with XEN_VDISPL_GUEST_ARGS that has just started
 * @ops: what depends on where the guest runs
 */
void xen_vdispl_guest_init(QTestState *qts, const XenVDisplGuestOps *ops);

/**
 * xen_vdispl_guest_run:
 * @data: the input
 * @size: octets of it
 *
 * Does what the input says, then disconnects.  Aborts if the backend does not
 * come back to where it was before, with nothing of the guest's held.
 */
void xen_vdispl_guest_run(const uint8_t *data, size_t size);

#endif /* XEN_VDISPL_GUEST_H */
