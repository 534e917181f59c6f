/*
 * What changed in QEMU's interfaces since 10.0, for the overlay's sources
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_XEN_VDISPL_COMPAT_H
#define HW_XEN_VDISPL_COMPAT_H

#define XEN_VDISPL_QEMU_VERSION \
    (QEMU_VERSION_MAJOR * 100 + QEMU_VERSION_MINOR)

/* TypeInfo.class_init takes a const void * from 10.1 on. */
#if XEN_VDISPL_QEMU_VERSION >= 1001
#define CLASS_INIT_CONST const
#else
#define CLASS_INIT_CONST
#endif

/* The memory interfaces moved from exec/ to system/ in 10.1. */
#if XEN_VDISPL_QEMU_VERSION >= 1001
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"
#endif

#endif /* HW_XEN_VDISPL_COMPAT_H */
