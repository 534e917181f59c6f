/*
 * Consoles for Xen displays that do not exist yet
 *
 * A toolstack makes its devices in xenstore when QEMU is already running, but
 * most of QEMU's displays look for consoles only once, when they start. This
 * device owns consoles from the start; the connectors of later devices take
 * them in order, and give them back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "hw/xen/xen-vdispl-compat.h"
#include "xen-vdispl-screens.h"

#define MAX_SCREENS 16

OBJECT_DECLARE_SIMPLE_TYPE(XenVDisplScreens, XEN_VDISPL_SCREENS)

struct XenVDisplScreens {
    DeviceState parent_obj;

    uint32_t count;
    QemuConsole *con[MAX_SCREENS];
    bool taken[MAX_SCREENS];
};

/* There is one list of consoles, so one device to own them is enough. */
static XenVDisplScreens *screens;

static void xen_vdispl_screens_ui_info(void *opaque, uint32_t head,
                                       QemuUIInfo *info)
{
    /* Nobody to tell; whoever takes the console hears of the next change. */
}

static const GraphicHwOps xen_vdispl_screens_ops = {
    .ui_info = xen_vdispl_screens_ui_info,
};

static void xen_vdispl_screens_blank(QemuConsole *con)
{
    int width = qemu_console_get_width(con, 640);
    int height = qemu_console_get_height(con, 480);

    dpy_gfx_replace_surface(con,
        qemu_create_placeholder_surface(width, height,
                                        "No Xen display is connected."));
}

bool xen_vdispl_screens_exist(void)
{
    return screens;
}

QemuConsole *xen_vdispl_screens_take(const GraphicHwOps *ops, void *opaque)
{
    if (!screens) {
        return NULL;
    }
    for (uint32_t i = 0; i < screens->count; i++) {
        if (!screens->taken[i]) {
            screens->taken[i] = true;
            graphic_console_set_hwops(screens->con[i], ops, opaque);
            return screens->con[i];
        }
    }
    return NULL;
}

bool xen_vdispl_screens_give(QemuConsole *con)
{
    if (!screens) {
        return false;
    }
    for (uint32_t i = 0; i < screens->count; i++) {
        if (screens->con[i] == con) {
            screens->taken[i] = false;
            graphic_console_set_hwops(con, &xen_vdispl_screens_ops, NULL);
            xen_vdispl_screens_blank(con);
            return true;
        }
    }
    return false;
}

void xen_vdispl_screens_reserve(unsigned int count)
{
    g_autofree QemuConsole **con = g_new(QemuConsole *, count);

    /* All are made before any is closed, else one would be reused. */
    for (unsigned int i = 0; i < count; i++) {
        con[i] = graphic_console_init(NULL, 0, &xen_vdispl_screens_ops, NULL);
    }
    for (unsigned int i = 0; i < count; i++) {
        graphic_console_close(con[i]);
        xen_vdispl_screens_blank(con[i]);
    }
}

static void xen_vdispl_screens_realize(DeviceState *dev, Error **errp)
{
    XenVDisplScreens *s = XEN_VDISPL_SCREENS(dev);

    if (screens) {
        error_setg(errp, "only one " TYPE_XEN_VDISPL_SCREENS
                   " device is possible");
        return;
    }
    if (!s->count || s->count > MAX_SCREENS) {
        error_setg(errp, "property 'count' must be 1 to %d, not %u",
                   MAX_SCREENS, s->count);
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        s->con[i] = graphic_console_init(dev, i, &xen_vdispl_screens_ops, NULL);
        xen_vdispl_screens_blank(s->con[i]);
    }
    screens = s;
}

static const Property xen_vdispl_screens_properties[] = {
    DEFINE_PROP_UINT32("count", XenVDisplScreens, count, 1),
};

static void xen_vdispl_screens_class_init(ObjectClass *klass,
                                          CLASS_INIT_CONST void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Consoles for Xen displays that appear later";
    dc->realize = xen_vdispl_screens_realize;
    dc->user_creatable = true;
    /* Displays would not find a console that comes after them. */
    dc->hotpluggable = false;
    set_bit(DEVICE_CATEGORY_DISPLAY, dc->categories);
    device_class_set_props(dc, xen_vdispl_screens_properties);
}

static const TypeInfo xen_vdispl_screens_info = {
    .name = TYPE_XEN_VDISPL_SCREENS,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(XenVDisplScreens),
    .class_init = xen_vdispl_screens_class_init,
};

static void xen_vdispl_screens_register_types(void)
{
    type_register_static(&xen_vdispl_screens_info);
}

type_init(xen_vdispl_screens_register_types)
