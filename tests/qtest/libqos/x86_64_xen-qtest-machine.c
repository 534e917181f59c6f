/*
 * libqos: the machine xen-qtest, on which Xen back ends are tested
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "qgraph.h"
#include "xen.h"

typedef struct QXenQtestMachine {
    QOSGraphObject obj;
    QXen xen;
} QXenQtestMachine;

static void *xen_qtest_get_driver(void *object, const char *interface)
{
    QXenQtestMachine *machine = object;

    if (!g_strcmp0(interface, "memory")) {
        return &machine->xen.alloc;
    }
    if (!g_strcmp0(interface, "xen-bus")) {
        return &machine->xen;
    }
    g_printerr("%s not present in x86_64/xen-qtest\n", interface);
    g_assert_not_reached();
}

static void xen_qtest_destructor(QOSGraphObject *obj)
{
    QXenQtestMachine *machine = (QXenQtestMachine *)obj;

    qxen_cleanup(&machine->xen);
}

static void *xen_qtest_create(QTestState *qts)
{
    QXenQtestMachine *machine = g_new0(QXenQtestMachine, 1);

    machine->obj.get_driver = xen_qtest_get_driver;
    machine->obj.destructor = xen_qtest_destructor;
    qxen_init(&machine->xen, qts);
    return &machine->obj;
}

static void xen_qtest_register_nodes(void)
{
    qos_node_create_machine("x86_64/xen-qtest", xen_qtest_create);
    qos_node_produces("x86_64/xen-qtest", "xen-bus");
}

libqos_init(xen_qtest_register_nodes);
