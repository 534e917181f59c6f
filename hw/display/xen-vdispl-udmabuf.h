/*
 * Xen PV display backend: buffers of this domain's memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_UDMABUF_H
#define HW_DISPLAY_XEN_VDISPL_UDMABUF_H

/**
 * xen_vdispl_udmabuf_new - allocate a dma-buf of ordinary memory
 * @size: octets, whole pages
 * @errp: set on failure
 *
 * Where there is no /dev/udmabuf, the memory is a plain file: Linux does not
 * grant that, the xen-qtest machine does.
 *
 * Returns: a file descriptor, zeroed and to be mapped shared, or -1.
 */
int xen_vdispl_udmabuf_new(size_t size, Error **errp);

#endif /* HW_DISPLAY_XEN_VDISPL_UDMABUF_H */
