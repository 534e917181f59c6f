/*
 * Fuzzer of the Xen PV display backend
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest that does what the input says (xen_vdispl_guest.c), and a viewer of
 * its consoles.  QEMU is not started anew for an input: the guest closes the
 * connection, and what the backend then holds is what it held before.
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "ui/console.h"
#include "ui/qemu-pixman.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"
#include "xen_vdispl_guest.h"

#define MAX_HELD 4

static pixman_image_t *held[MAX_HELD];
static unsigned int nr_held;

/*
 * Not main_loop_wait(): of the main loop's sources the backend only uses these
 * three, and they tell whether there was anything.
 */
static bool fuzz_turn(void)
{
    bool timers = qemu_clock_run_timers(QEMU_CLOCK_REALTIME);
    bool events = aio_poll(iohandler_get_aio_context(), false);

    return aio_poll(qemu_get_aio_context(), false) || events || timers;
}

/* Reads of each picture what is first and last: if unmapped, a crash */
static void read_held(void)
{
    for (unsigned int i = 0; i < nr_held; i++) {
        /* volatile: nobody wants the values, but they are to be read */
        const volatile uint8_t *data =
            (uint8_t *)pixman_image_get_data(held[i]);
        int stride = pixman_image_get_stride(held[i]);
        int last = pixman_image_get_height(held[i]) - 1;

        (void)data[0];
        (void)data[(size_t)last * stride];
    }
}

static void fuzz_view(unsigned int conn, XenVDisplView view, uint32_t value)
{
    QemuConsole *con = qemu_console_lookup_by_index(conn);
    DisplaySurface *surface = qemu_console_surface(con);
    QemuUIInfo info = { .width = value * 16, .height = value * 8 };

    read_held();
    switch (view) {
    case XEN_VDISPL_VIEW_REFRESH:
        graphic_hw_update(con);
        break;
    case XEN_VDISPL_VIEW_HOLD:
        if (surface && nr_held < MAX_HELD) {
            held[nr_held++] = pixman_image_ref(surface->image);
        }
        break;
    case XEN_VDISPL_VIEW_RELEASE:
        while (nr_held) {
            qemu_pixman_image_unref(held[--nr_held]);
        }
        break;
    case XEN_VDISPL_VIEW_RESIZE:
        dpy_set_ui_info(con, &info, false);
        break;
    default:
        g_assert_not_reached();
    }
}

static const XenVDisplGuestOps fuzz_ops = {
    .turn = fuzz_turn,
    .view = fuzz_view,
};

static GString *xen_vdispl_args(FuzzTarget *target)
{
    return g_string_new(TARGET_NAME " -accel qtest -m 16 "
                        XEN_VDISPL_GUEST_ARGS);
}

/* g_error() ends by a signal that libFuzzer does not wait for */
static void finding(int sig)
{
    abort();
}

static void xen_vdispl_pre_fuzz(QTestState *qts)
{
    struct sigaction act = { .sa_handler = finding };

    sigaction(SIGTRAP, &act, NULL);
    xen_vdispl_guest_init(qts, &fuzz_ops);
}

static void xen_vdispl_fuzz(QTestState *qts, const unsigned char *data,
                            size_t size)
{
    xen_vdispl_guest_run(data, size);
}

static void register_xen_vdispl_fuzz_target(void)
{
    fuzz_add_target(&(FuzzTarget){
        .name = "xen-vdispl",
        .description = "Fuzz xen-vdispl as a guest: xenstore, rings, grant "
                       "directories and requests",
        .get_init_cmdline = xen_vdispl_args,
        .pre_fuzz = xen_vdispl_pre_fuzz,
        .fuzz = xen_vdispl_fuzz,
    });
}

fuzz_target_init(register_xen_vdispl_fuzz_target);
