/*
 * Inputs that the fuzzer of the Xen PV display backend has found
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each file of fuzz/xen-vdispl-corpus is run in turn against one QEMU,
 * as the fuzzer does, but from outside and without a viewer.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "fuzz/xen_vdispl_guest.h"

static void test_replay(const void *opaque)
{
    static const XenVDisplGuestOps ops;
    const char *path = opaque;
    g_autoptr(GError) err = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &err);
    QTestState *qts = qtest_init(XEN_VDISPL_GUEST_ARGS);
    unsigned int count = 0;
    const char *name;

    g_assert_no_error(err);
    xen_vdispl_guest_init(qts, &ops);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        g_autofree char *data = NULL;
        size_t size;

        g_file_get_contents(file, &data, &size, &err);
        g_assert_no_error(err);
        g_test_message("%s", name);
        xen_vdispl_guest_run((uint8_t *)data, size);
        count++;
    }
    g_assert_cmpuint(count, >, 0);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = NULL;

    g_test_init(&argc, &argv, NULL);
    dir = g_test_build_filename(G_TEST_DIST, "../qtest/fuzz/xen-vdispl-corpus",
                                NULL);
    qtest_add_data_func("/xen/vdispl/fuzz/device", dir, test_replay);
    return g_test_run();
}
