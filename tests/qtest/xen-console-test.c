/*
 * Test of the Xen console's back end, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "libqos/xen-console.h"
#include "qobject/qdict.h"
#include "hw/xen/interface/io/console.h"

#define FIELD(con, name) \
    ((con)->page + offsetof(struct xencons_interface, name))

static char *output(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'ringbuf-read', 'arguments': "
                           "{ 'device': 'xencons0', 'size': 100 } }");
    char *text = g_strdup(qdict_get_str(rsp, "return"));

    qobject_unref(rsp);
    return text;
}

/* What the guest writes comes out */
static void test_io(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenConsole *con = obj;
    QXen *xen = con->dev.xen;
    g_autofree char *text = NULL;

    g_assert_cmpuint(qxen_grant_mapped(xen, con->ref), ==, 1);
    qtest_memwrite(xen->qts, FIELD(con, out), "hello", 5);
    qtest_writel(xen->qts, FIELD(con, out_prod), 5);
    qxen_evtchn_notify(xen, con->port);
    qxen_settle(xen);
    text = output(xen->qts);
    g_assert_cmpstr(text, ==, "hello");
    g_assert_cmpuint(qtest_readl(xen->qts, FIELD(con, out_cons)), ==, 5);
    g_assert_cmpuint(qxen_evtchn_take(xen, con->port), >, 0);
}

/* A page that the guest has not granted, or only to be read, or no page */
static void test_bad_grant(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenConsole *con = obj;
    QXen *xen = con->dev.xen;
    uint64_t gfn = con->page >> XEN_PAGE_SHIFT;
    const struct {
        uint64_t gfn;
        uint32_t flags;
    } bad[] = {
        { gfn, 0 },
        { gfn, XEN_QTEST_GRANT_ACCESS | XEN_QTEST_GRANT_READONLY },
        { UINT32_MAX, XEN_QTEST_GRANT_ACCESS },
    };
    int i;

    qxen_device_close(&con->dev);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        qxen_device_open(&con->dev);
        qxen_grant_set(xen, con->ref, bad[i].gfn, bad[i].flags);
        qxen_console_publish(con);
        qxen_device_wait(&con->dev, XenbusStateClosing);
        qxen_device_close(&con->dev);
        qxen_device_assert_idle(&con->dev);
    }

    qxen_device_open(&con->dev);
    qxen_grant_set(xen, con->ref, gfn, XEN_QTEST_GRANT_ACCESS);
    qxen_console_publish(con);
    qxen_device_wait(&con->dev, XenbusStateConnected);
    test_io(obj, data, alloc);
}

static void register_xen_console_test(void)
{
    qos_add_test("io", "xen-console", test_io, NULL);
    qos_add_test("bad-grant", "xen-console", test_bad_grant, NULL);
}

libqos_init(register_xen_console_test);
