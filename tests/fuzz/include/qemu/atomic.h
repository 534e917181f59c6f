/*
 * What the wire of xen-vdispl takes from QEMU, so that it compiles alone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_QEMU_ATOMIC_H
#define FUZZ_QEMU_ATOMIC_H

#define qatomic_read(ptr)       __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define qatomic_set(ptr, value) __atomic_store_n(ptr, value, __ATOMIC_RELAXED)

#endif /* FUZZ_QEMU_ATOMIC_H */
