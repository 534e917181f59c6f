/*
 * Test of the node xen-vdispl of the qos graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests of the device itself are in xen-vdispl-test.c, each with a QEMU
 * of its own.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "libqos/xen-vdispl.h"
#include "standard-headers/drm/drm_fourcc.h"

/* A picture is shown; a flip to it is done when the next refresh is over */
static void test_flip(void *obj, void *data, QGuestAllocator *alloc)
{
    QVDispl *d = obj;
    QVDisplBuffer buf;
    struct xendispl_evt evt;

    g_assert_cmpuint(d->conn[0].width, ==, 800);
    g_assert_cmpuint(d->conn[0].height, ==, 600);
    qvdispl_buffer_alloc(d, &buf, 800, 600, 32, 0);
    qvdispl_show(d, 0, &buf, DRM_FORMAT_XRGB8888);
    g_assert_cmpuint(qvdispl_buffer_mapped(d, &buf), ==, buf.nr_pages);

    g_assert_cmpint(qvdispl_flip(d, 0, buf.fb_cookie), ==, 0);
    g_assert(!qvdispl_event(d, 0, &evt));
    qtest_clock_step(d->xen->qts, NANOSECONDS_PER_SECOND);
    g_assert(qvdispl_event(d, 0, &evt));
    g_assert_cmpuint(evt.op.pg_flip.fb_cookie, ==, buf.fb_cookie);

    g_assert_cmpint(qvdispl_disable(d, 0), ==, 0);
    qvdispl_unfb(d, &buf);
}

/* The frontend goes and comes again, on the same QEMU */
static void test_reconnect(void *obj, void *data, QGuestAllocator *alloc)
{
    QVDispl *d = obj;

    qvdispl_disconnect(d);
    qxen_device_assert_idle(&d->dev);
    qxen_device_open(&d->dev);
    qvdispl_connect(d);
    test_flip(obj, data, alloc);
}

static void register_xen_vdispl_test(void)
{
    qos_add_test("flip", "xen-vdispl", test_flip, NULL);
    qos_add_test("reconnect", "xen-vdispl", test_reconnect, NULL);
}

libqos_init(register_xen_vdispl_test);
