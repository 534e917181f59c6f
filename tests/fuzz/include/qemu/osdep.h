/*
 * What the wire of xen-vdispl takes from QEMU, so that it compiles alone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_QEMU_OSDEP_H
#define FUZZ_QEMU_OSDEP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#endif /* FUZZ_QEMU_OSDEP_H */
