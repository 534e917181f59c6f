/*
 * Tests of the xen-qtest machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/xen-console.h"

typedef struct Fixture {
    QTestState *qts;
    QXen xen;
} Fixture;

static void start(Fixture *f, const char *args)
{
    f->qts = qtest_initf("-machine xen-qtest -nodefaults %s", args);
    qxen_init(&f->xen, f->qts);
}

static void stop(Fixture *f)
{
    qxen_cleanup(&f->xen);
    qtest_quit(f->qts);
}

/* xenstore */

static void test_xenstore_values(void)
{
    Fixture f;
    g_autofree char *value = NULL;
    g_autofree char *gone = NULL;
    char **names;
    char **empty;

    start(&f, "");
    qxen_xs_write(&f.xen, QXEN_TOOLSTACK, "/tool/a", "%s", "one");
    qxen_xs_write(&f.xen, QXEN_TOOLSTACK, "/tool/a", "%s", "two");
    value = qxen_xs_read(&f.xen, QXEN_TOOLSTACK, "/tool/a");
    g_assert_cmpstr(value, ==, "two");

    names = qxen_xs_list(&f.xen, QXEN_TOOLSTACK, "/tool");
    g_assert_cmpuint(g_strv_length(names), ==, 1);
    g_assert_cmpstr(names[0], ==, "a");
    g_strfreev(names);

    g_assert_cmpint(qxen_xs_rm(&f.xen, QXEN_TOOLSTACK, "/tool/a"), ==, 0);
    gone = qxen_xs_read(&f.xen, QXEN_TOOLSTACK, "/tool/a");
    g_assert_null(gone);
    empty = qxen_xs_list(&f.xen, QXEN_TOOLSTACK, "/tool");
    g_assert_null(empty);
    stop(&f);
}

/* What belongs to domain 0 the guest cannot change, as on Xen */
static void test_xenstore_permissions(void)
{
    static const char *const foreign[] = {
        "/local/domain/0/backend/vbd/1/0/state",
        "/local/domain/1/device/vbd/0/backend",
        "/local/domain/1/domid",
        "/anywhere",
    };
    Fixture f;
    QXenDevice dev;
    g_autofree char *value = NULL;
    int i;

    start(&f, "");
    qxen_device_init(&dev, &f.xen, "vbd", "vbd", 0);
    qxen_device_create(&dev);
    for (i = 0; i < ARRAY_SIZE(foreign); i++) {
        g_assert_cmpint(qxen_xs_try_write(&f.xen, QXEN_GUEST, foreign[i],
                                          "x", 1), ==, EACCES);
    }

    qxen_device_fe_write(&dev, "own", "%u", 7);
    value = qxen_xs_read(&f.xen, QXEN_TOOLSTACK,
                         "/local/domain/1/device/vbd/0/own");
    g_assert_cmpstr(value, ==, "7");
    qxen_device_cleanup(&dev);
    stop(&f);
}

/* Commands that make no sense are answered, and have no effect */
static void test_bad_commands(void)
{
    Fixture f;
    QXenAlive before;
    uint32_t base = XEN_QTEST_BASE;
    int i;

    start(&f, "");
    before = qxen_alive_get(&f.xen);
    for (i = 0; i < XEN_QTEST_NR_ARGS; i++) {
        qtest_writel(f.qts, base + XEN_QTEST_REG_ARG(i), UINT32_MAX);
    }
    for (i = 0; i < 64; i++) {
        qtest_writel(f.qts, base + XEN_QTEST_REG_COMMAND, i);
        if (i != XEN_QTEST_EVTCHN_ALLOC) {
            g_assert_cmpuint(qtest_readl(f.qts,
                                         base + XEN_QTEST_REG_STATUS), !=, 0);
        }
    }
    qtest_writel(f.qts, base + XEN_QTEST_DOORBELL(0), 1);
    qtest_writel(f.qts, base + XEN_QTEST_DOORBELL(XEN_QTEST_MAX_PORTS - 1), 1);
    qxen_assert_alive(&f.xen, &before);
    stop(&f);
}

/* The machine's faults and held-back watches, as a console meets them */

#define CONSOLE_ARGS \
    QXEN_CONSOLE_CHARDEV " -device xen-console," QXEN_CONSOLE_OPTS

/* Whichever call fails while it connects, the back end lets go of the rest */
static void test_faults(void)
{
    unsigned int nth;
    bool struck = true;

    for (nth = 1; struck; nth++) {
        Fixture f;
        QXenConsole con;

        start(&f, CONSOLE_ARGS);
        qxen_console_init(&con, &f.xen);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, nth, EIO);
        qxen_console_publish(&con);
        qxen_settle(&f.xen);
        struck = !qxen_fault_pending(&f.xen, XEN_QTEST_CALL_ANY);
        qxen_fault(&f.xen, XEN_QTEST_CALL_ANY, 0, 0);

        /* It may be gone: the bus takes a state it cannot read for an end */
        qxen_device_set_state(&con.dev, XenbusStateClosed);
        qxen_settle(&f.xen);
        qxen_assert_nothing_shared(&f.xen);
        qxen_console_cleanup(&con);
        stop(&f);
    }
    g_assert_cmpuint(nth, >, 4);
}

/* While watches are held back the state of the guest is not seen */
static void test_xenstore_hold(void)
{
    Fixture f;
    QXenConsole con;

    start(&f, CONSOLE_ARGS);
    qxen_console_init(&con, &f.xen);
    qxen_xs_hold(&f.xen, true);
    qxen_console_publish(&con);
    g_assert_cmpint(qxen_device_state(&con.dev), ==, XenbusStateInitWait);
    g_assert(qxen_busy(&f.xen));
    qxen_xs_hold(&f.xen, false);
    qxen_device_wait(&con.dev, XenbusStateConnected);
    qxen_device_close(&con.dev);
    qxen_console_cleanup(&con);
    stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/xen/qtest/xenstore/values", test_xenstore_values);
    qtest_add_func("/xen/qtest/xenstore/permissions",
                   test_xenstore_permissions);
    qtest_add_func("/xen/qtest/bad-commands", test_bad_commands);
    if (qtest_has_device("xen-console")) {
        qtest_add_func("/xen/qtest/faults", test_faults);
        qtest_add_func("/xen/qtest/xenstore/hold", test_xenstore_hold);
    }
    return g_test_run();
}
