/*
 * Consoles for Xen displays that do not exist yet
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_SCREENS_H
#define HW_DISPLAY_XEN_VDISPL_SCREENS_H

#include "ui/console.h"

#define TYPE_XEN_VDISPL_SCREENS "xen-vdispl-screens"

/**
 * xen_vdispl_screens_take - take a free console of a xen-vdispl-screens device
 * @ops: what serves the console from now on
 * @opaque: passed to @ops
 *
 * Returns: the console, or NULL when none is free.
 */
QemuConsole *xen_vdispl_screens_take(const GraphicHwOps *ops, void *opaque);

/**
 * xen_vdispl_screens_give - give a console back
 * @con: the console
 *
 * Returns: false when @con is not of a xen-vdispl-screens device.
 */
bool xen_vdispl_screens_give(QemuConsole *con);

/**
 * xen_vdispl_screens_reserve - reserve anonymous consoles
 * @count: how many
 *
 * Any device may take them. To be called before the displays are initialised.
 */
void xen_vdispl_screens_reserve(unsigned int count);

/**
 * xen_vdispl_screens_exist - is there a xen-vdispl-screens device?
 */
bool xen_vdispl_screens_exist(void);

#endif /* HW_DISPLAY_XEN_VDISPL_SCREENS_H */
