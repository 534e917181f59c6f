/*
 * libqos: a frontend of Xen's console
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "xen-console.h"

void qxen_console_init(QXenConsole *con, QXen *xen)
{
    qxen_device_init(&con->dev, xen, "console", "console", 1);
    qxen_device_open(&con->dev);
    con->page = qxen_page_alloc(xen, 1);
    con->ref = qxen_grant(xen, con->page, 0);
    con->port = qxen_evtchn_alloc(xen);
}

void qxen_console_cleanup(QXenConsole *con)
{
    QXen *xen = con->dev.xen;

    qxen_grant_end(xen, con->ref);
    qxen_page_free(xen, con->page);
    qxen_evtchn_close(xen, con->port);
    qxen_device_cleanup(&con->dev);
}

void qxen_console_publish(QXenConsole *con)
{
    qxen_device_fe_write(&con->dev, "ring-ref", "%u", con->ref);
    qxen_device_fe_write(&con->dev, "port", "%u", con->port);
    qxen_device_set_state(&con->dev, XenbusStateConnected);
}

/* The node of the graph */

static void xen_console_start_hw(QOSGraphObject *obj)
{
    QXenConsole *con = (QXenConsole *)obj;

    qxen_console_publish(con);
    qxen_device_wait(&con->dev, XenbusStateConnected);
}

static void xen_console_destructor(QOSGraphObject *obj)
{
    QXenConsole *con = (QXenConsole *)obj;

    qxen_device_close(&con->dev);
    qxen_device_assert_idle(&con->dev);
    qxen_console_cleanup(con);
}

static void *xen_console_create(void *bus, QGuestAllocator *alloc, void *arg)
{
    QXenConsole *con = g_new0(QXenConsole, 1);

    con->obj.start_hw = xen_console_start_hw;
    con->obj.destructor = xen_console_destructor;
    qxen_console_init(con, bus);
    return &con->obj;
}

static void xen_console_register_nodes(void)
{
    QOSGraphEdgeOptions opts = {
        .before_cmd_line = " " QXEN_CONSOLE_CHARDEV,
        .extra_device_opts = QXEN_CONSOLE_OPTS,
    };

    qos_node_create_driver("xen-console", xen_console_create);
    qos_node_consumes("xen-console", "xen-bus", &opts);
}

libqos_init(xen_console_register_nodes);
