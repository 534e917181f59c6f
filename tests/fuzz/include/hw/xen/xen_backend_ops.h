/*
 * What the wire of xen-vdispl takes from QEMU, so that it compiles alone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_HW_XEN_BACKEND_OPS_H
#define FUZZ_HW_XEN_BACKEND_OPS_H

/* The version whose ring.h has the layout of the copy in QEMU's tree */
#define __XEN_INTERFACE_VERSION__ 0x00040e00
#include <xen/xen.h>
#include <xen/grant_table.h>

#define XEN_PAGE_SHIFT  12
#define XEN_PAGE_SIZE   (1UL << XEN_PAGE_SHIFT)

#define xen_mb()        __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb()       __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb()       __atomic_thread_fence(__ATOMIC_RELEASE)

#endif /* FUZZ_HW_XEN_BACKEND_OPS_H */
