/*
 * Xen PV display protocol (displif) as QEMU sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_XEN_DISPLIF_H
#define HW_XEN_DISPLIF_H

#include "hw/xen/xen_backend_ops.h"

/* Xen's ring.h of today has this one, the copy in QEMU's tree is older. */
#ifndef XENPV_FLEX_ARRAY_DIM
#define XENPV_FLEX_ARRAY_DIM 1
#endif

#include "hw/xen/interface/io/displif.h"

/* Status codes of the protocol: values of Xen's public errno.h. */
enum {
    XEN_ENOENT = 2,
    XEN_EIO = 5,
    XEN_ENOMEM = 12,
    XEN_EBUSY = 16,
    XEN_EEXIST = 17,
    XEN_EINVAL = 22,
    XEN_ENOSPC = 28,
    XEN_EOPNOTSUPP = 95,
};

/*
 * Entries of one page of a grant directory, after the reference to the next
 * page: struct xendispl_page_directory.
 */
#define XENDISPL_DIR_ENTRIES \
    ((XEN_PAGE_SIZE - offsetof(struct xendispl_page_directory, gref)) / \
     sizeof(grant_ref_t))

#endif /* HW_XEN_DISPLIF_H */
