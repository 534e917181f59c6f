/*
 * xen-vdispl end to end: a stock guest kernel's xen-drm-front on real Xen
 *
 * The cases are run with a PV and with a PVH guest, and some with an HVM guest,
 * each of which has a machine of its own; cases share the guest as long as it
 * lives. After each case everything that the device model holds for the guest
 * has to be what it was before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "nested.h"
#include "nested-viewer.h"

#define W0 1024
#define H0 768
#define W1 800
#define H1 600
#define CONNECTORS "id0:1024x768;id1:800x600"

/* Where each pixel is drawn by dom0's emulated processor */
#define W_DRAWN 320
#define H_DRAWN 240
#define CONNECTORS_DRAWN "id0:320x240;id1:320x240"

#define DBUS "dbus,p2p=yes"

/* The environment of Wayland's programs in dom0 */
#define WAYLAND "XDG_RUNTIME_DIR=/run/wayland WAYLAND_DISPLAY=wayland"

static NestedMachine *machine;
static NestedGuest *guest;
static const char *guest_type;
static const char *guest_path;
static const char *guest_display;
static char *baseline;
static int connector_id[2];

/* What is held for the guest */
static char *oracle(void)
{
    return nested_run(&machine->dom0, "dom0-oracle %u",
                      nested_guest_domid(guest));
}

/* Neither kernel has anything to complain about */
static void check_logs(void)
{
    nested_check_log(machine);
    if (guest && guest->agent.fd >= 0) {
        /*
         * What is not the back end's fault: Linux 6.12's frontend shuts its
         * device down after the last reference to it is gone.
         */
        g_autofree char *complaints =
            nested_run(&guest->agent,
                       "dmesg | grep -v refcount_warn_saturate | "
                       "grep -E 'BUG:|WARNING:|Oops|[Uu]nexpected|timed.out|"
                       "Failed to|\\[drm:.*ERROR' || true");

        if (*complaints) {
            nested_fail("the guest's kernel complains: %s", complaints);
        }
    }
}

/* Its device model ends, too, and nothing is left of either */
static void destroy_guest(void)
{
    unsigned int domid = nested_guest_domid(guest);
    g_autofree char *nodes = NULL;

    nested_guest_disconnect(guest);
    nested_do(&machine->dom0, "xl destroy %s", guest->name);
    /* a domain that cannot die stays behind, without a name, as (null) */
    nested_wait(&machine->dom0, "! xl list | grep -E '\\(null\\)|^%s '",
                guest->name);
    nested_wait(&machine->dom0, "! pgrep -f '[x]en-domid %u '", domid);
    nodes = nested_run(&machine->dom0, "xenstore-ls backend/vdispl/%u 2> "
                       "/dev/null || true", domid);
    g_assert_cmpstr(nodes, ==, "");
    nested_wait(&machine->dom0, "grep '^Total 0 objects' "
                "/sys/kernel/debug/dma_buf/bufinfo");
    check_logs();
    nested_guest_free(guest);
    guest = NULL;
}

static void find_device(void)
{
    nested_load_frontend(guest);
    nested_find_connectors(guest, connector_id);
}

static void need_machine(void)
{
    if (!machine) {
        machine = nested_boot("pvh", "kunit.enable=0");
    }
}

/* One whose device model has @display beside VNC, if that is not NULL */
static void need_guest_on(const char *display)
{
    need_machine();
    if (guest && g_strcmp0(display, guest_display)) {
        destroy_guest();
    }
    if (!guest) {
        guest_display = display;
        guest = nested_guest_create(machine, guest_type, guest_type, guest_path,
                                    display ? CONNECTORS_DRAWN : CONNECTORS,
                                    display);
        nested_limit("loading the frontend", 180);
        find_device();
        g_free(baseline);
        baseline = oracle();
    }
    nested_do(&guest->agent, "dmesg -C");
}

static void need_guest(void)
{
    need_guest_on(NULL);
}

/* All clients are gone: nothing more is held than before the case */
static void check_clean(void)
{
    gint64 end = nested_deadline();
    g_autofree char *now = NULL;

    check_logs();
    do {
        g_free(now);
        now = oracle();
        if (!strcmp(now, baseline)) {
            return;
        }
        g_usleep(250 * 1000);
    } while (g_get_monotonic_time() < end);
    nested_fail("more is held than before. Before:\n%sAfter:\n%s", baseline,
                now);
}

static void wait_stat(const char *property, uint64_t value)
{
    gint64 end = nested_deadline();
    uint64_t now;

    do {
        now = nested_stat(guest, property);
        if (now == value) {
            return;
        }
        g_usleep(100 * 1000);
    } while (g_get_monotonic_time() < end);
    nested_fail("%s is %" PRIu64 " instead of %" PRIu64, property, now, value);
}

/* modetest makes one framebuffer for both connectors, side by side */
static void show_both(void)
{
    nested_modetest(guest, "-s %d:%dx%d@XR24 -s %d:%dx%d@XR24", connector_id[0],
                   W0, H0, connector_id[1], W1, H1);
}

static void expect_both(void)
{
    g_autoptr(NestedPicture) whole = nested_picture_smpte(W0 + W1, H0, "XR24");

    nested_expect(guest, 0, nested_picture_crop(whole, 0, W0, H0), 0);
    nested_expect(guest, 1, nested_picture_crop(whole, W0, W1, H1), 0);
}

/* How both came there */
static void expect_path(const char *path)
{
    g_autofree char *paths = g_strdup_printf("%s,%s", path, path);
    g_autoptr(QDict) answer =
        nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                   "'path': 'vdispl0', 'property': 'path'}}");

    g_assert_cmpstr(qdict_get_try_str(answer, "return"), ==, paths);
}

/* Why some buffer did not come by a better way */
static char *path_reason(void)
{
    g_autoptr(QDict) answer =
        nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                   "'path': 'vdispl0', 'property': 'path-reason'}}");

    return g_strdup(qdict_get_try_str(answer, "return"));
}

/* Who allocates is the one who is asked to, and not udmabuf in his place */
static void expect_allocator(void)
{
    g_autofree char *reason = path_reason();

    if (strstr(reason, "not of")) {
        nested_fail("the buffers come from another allocator: %s", reason);
    }
}

static void test_first_light(void)
{
    need_guest();
    nested_limit("first light", 300);
    show_both();
    expect_both();
    expect_path(nested_path_shown(guest_path));
    nested_client_stop(guest);
    check_clean();
}

static void test_formats(void)
{
    static const char *const formats[] = {
        "XR24", "AR24", "RG24", "RG16", "XR15", "AR15", "XR12", "AR12", "YUYV",
    };

    need_guest();
    nested_limit("formats", 600);
    for (int i = 0; i < G_N_ELEMENTS(formats); i++) {
        bool yuv = !strcmp(formats[i], "YUYV");

        g_test_message("format %s", formats[i]);
        nested_modetest(guest, "-s %d:%dx%d@%s", connector_id[1],
                        W1, H1, formats[i]);
        nested_expect(guest, 1, nested_picture_smpte(W1, H1, formats[i]),
                      yuv ? 3 : 0);
        nested_client_stop(guest);
    }
    check_clean();
}

/* Run the flipping program until it says that it is done */
static void flip(const char *args)
{
    g_autofree char *output = NULL;

    nested_do(&guest->agent, "flips %s > /run/client.log 2>&1 < /dev/null &",
              args);
    output = nested_run(&guest->agent,
                        "until grep -q done /run/client.log; do "
                        "pgrep -x flips > /dev/null || exit 1; sleep 0.2; "
                        "done; cat /run/client.log");
    g_test_message("%s", output);
}

/* The colour of a frame of the flipping program */
static uint32_t flips_colour(unsigned int connector, unsigned int number)
{
    return (number & 0xff) << 16 | number >> 8 << 8 | (connector + 1) * 0x10;
}

static void test_flips(void)
{
    uint64_t before;

    need_guest();
    nested_limit("300 flips", 300);
    before = nested_stat(guest, "connector0-flips");
    flip("300:0");
    nested_expect(guest, 0,
                  nested_picture_solid(W0, H0, flips_colour(0, 300)), 0);
    g_assert_cmpuint(nested_stat(guest, "connector0-flips") - before, ==,
                     300);
    nested_client_stop(guest);
    check_clean();
}

static void test_rates(void)
{
    uint64_t before[2];

    need_guest();
    nested_limit("two rates", 300);
    before[0] = nested_stat(guest, "connector0-flips");
    before[1] = nested_stat(guest, "connector1-flips");
    flip("100:0 20:250");
    nested_expect(guest, 0,
                  nested_picture_solid(W0, H0, flips_colour(0, 100)), 0);
    nested_expect(guest, 1,
                  nested_picture_solid(W1, H1, flips_colour(1, 20)), 0);
    g_assert_cmpuint(nested_stat(guest, "connector0-flips") - before[0], ==,
                     100);
    g_assert_cmpuint(nested_stat(guest, "connector1-flips") - before[1], ==,
                     20);
    nested_client_stop(guest);
    check_clean();
}

/* A person's view: a viewer on the host that was there before the guest drew */
static void test_viewer(void)
{
    g_autoptr(NestedPicture) whole = nested_picture_smpte(W0 + W1, H0, "XR24");
    NestedViewer *viewer[2];

    need_guest();
    nested_limit("VNC viewers", 300);
    for (int i = 0; i < 2; i++) {
        viewer[i] = nested_viewer_new(machine, i);
    }
    show_both();
    nested_viewer_expect(viewer[0], nested_picture_crop(whole, 0, W0, H0));
    nested_viewer_expect(viewer[1], nested_picture_crop(whole, W0, W1, H1));
    nested_client_stop(guest);

    flip("20:0 10:50");
    nested_viewer_expect(viewer[0],
                         nested_picture_solid(W0, H0, flips_colour(0, 20)));
    nested_viewer_expect(viewer[1],
                         nested_picture_solid(W1, H1, flips_colour(1, 10)));
    nested_client_stop(guest);
    for (int i = 0; i < 2; i++) {
        nested_viewer_free(viewer[i]);
    }
    check_clean();
}

static void test_disable(void)
{
    need_guest();
    nested_limit("mode disable and enable", 300);
    for (int i = 0; i < 3; i++) {
        show_both();
        expect_both();
        g_assert_cmpuint(nested_stat(guest, "bytes-mapped"), >=,
                         4 * (W0 + W1) * H0);
        /* the last client's end disables the connectors */
        nested_client_stop(guest);
        wait_stat("bytes-mapped", 0);
    }
    check_clean();
}

static void unload_frontend(void)
{
    /* a bound device holds the module */
    nested_do(&guest->agent,
              "echo vdispl-0 > /sys/bus/xen/drivers/vdispl/unbind && "
              "rmmod drm_xen_front");
}

static void test_reload(void)
{
    need_guest();
    nested_limit("module reload", 600);
    for (int i = 0; i < 10; i++) {
        unload_frontend();
        nested_load_frontend(guest);
    }
    nested_find_connectors(guest, connector_id);
    show_both();
    expect_both();
    nested_client_stop(guest);
    check_clean();
}

/*
 * A device that goes removes its nodes once more, after the toolstack: one that
 * is attached before that would lose its own.
 */
static void wait_device_gone(void)
{
    gint64 end = nested_deadline();

    do {
        g_autoptr(QDict) answer =
            nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                       "'path': 'vdispl0', 'property': 'flips'}}");

        if (qdict_haskey(answer, "error")) {
            return;
        }
        g_usleep(100 * 1000);
    } while (g_get_monotonic_time() < end);
    nested_fail("the device model still has vdispl0");
}

static void wait_detached(void)
{
    g_autofree char *left = NULL;

    nested_wait(&guest->agent, "[ ! -e " NESTED_CARD " ]");
    left = nested_run(&machine->dom0, "xenstore-ls backend/vdispl "
                      "2> /dev/null | grep online || true");
    g_assert_cmpstr(left, ==, "");
    wait_device_gone();
    /*
     * Linux' xenbus takes a device that is back before it has noticed that it
     * was gone for the old one, which then waits for ever; and the old one's
     * driver says at its end, in the new one's node, that it is closed.
     */
    nested_wait(&guest->agent, "[ ! -e /sys/devices/vdispl-0 ]");
    /* where the frontend says that its back end has gone */
    nested_do(&guest->agent, "dmesg -C");
}

static void detach(void)
{
    nested_do(&machine->dom0, "xl vdispl-detach %s 0", guest->name);
    wait_detached();
}

/* By the path that is tested, the guest wants dom0's buffers */
static bool imported(void)
{
    return !strcmp(guest_path, "imported");
}

static void attach(bool be_alloc)
{
    nested_do(&machine->dom0, "xl vdispl-attach %s "
              "backend=0 be-alloc=%d 'connectors=" CONNECTORS "'",
              guest->name, be_alloc);
    find_device();
}

static void test_hotplug(void)
{
    need_guest();
    nested_limit("detach and attach", 300);
    detach();
    attach(imported());
    show_both();
    expect_both();
    expect_path(nested_path_shown(guest_path));
    nested_client_stop(guest);
    check_clean();
}

/* QEMU's own device, which no toolstack knows of */
static void device_add(const char *dma_alloc)
{
    detach();
    nested_qmp_do(guest, "{'execute': 'device_add', 'arguments': {"
                  "'driver': 'xen-vdispl', 'id': 'vdispl0', 'dma-alloc': %s, "
                  "'connectors': '" CONNECTORS "'}}", dma_alloc);
    find_device();
}

static void device_del(void)
{
    nested_qmp_do(guest, "{'execute': 'device_del', 'arguments': {"
                  "'id': 'vdispl0'}}");
    wait_detached();
    attach(imported());
}

static void test_device(void)
{
    need_guest();
    nested_limit("device_add and device_del", 300);
    device_add("off");
    show_both();
    expect_both();
    expect_path(nested_path_shown(guest_path));
    nested_client_stop(guest);
    device_del();
    check_clean();
}

/* Blocks of the DMA API's, which without CMA are of 4 MiB at most */
static void test_dma_alloc(void)
{
    g_autofree char *reason = NULL;

    need_guest();
    nested_limit("blocks of the DMA API's", 300);
    device_add("coherent");
    nested_modetest(guest, "-s %d:%dx%d@XR24", connector_id[0], W0, H0);
    nested_expect(guest, 0, nested_picture_smpte(W0, H0, "XR24"), 0);
    nested_client_stop(guest);
    flip("20:0");
    nested_expect(guest, 0, nested_picture_solid(W0, H0, flips_colour(0, 20)),
                  0);
    reason = path_reason();
    g_assert_cmpstr(reason, ==, "");
    nested_client_stop(guest);
    device_del();
    check_clean();
}

/*
 * Buffers of dom0's memory, which the guest maps. The stock frontend of a PV
 * guest cannot; one that can has path "imported" in all cases.
 */
static void test_be_alloc(void)
{
    need_guest();
    nested_limit("be-alloc", 600);
    detach();
    attach(true);
    show_both();
    expect_both();
    expect_path("imported");
    expect_allocator();
    nested_client_stop(guest);
    detach();
    attach(false);
    show_both();
    expect_both();
    expect_path(nested_path_shown(guest_path));
    nested_client_stop(guest);
    check_clean();
}

/* How much the device model and its libraries have said */
static int dm_log_lines(void)
{
    g_autofree char *n = nested_run(&machine->dom0,
                                    "wc -l < /share/qemu-dm-%s.log",
                                    guest->name);

    return atoi(n);
}

/*
 * Attack: rings that were not granted, again and again, to fill the disk with
 * what there is to say of that (as in XSA-180)
 */
static void test_bad_rings(void)
{
    unsigned int domid;
    int lines;

    need_guest();
    nested_limit("rings that are not granted", 300);
    domid = nested_guest_domid(guest);
    unload_frontend();
    lines = dm_log_lines();
    for (int i = 0; i < 5; i++) {
        nested_do(&machine->dom0, "fe=/local/domain/%u/device/vdispl/0; "
                  "be=/local/domain/0/backend/vdispl/%u/0; "
                  "becomes() { i=0; until [ \"$(xenstore-read $be/state)\" "
                  "= $1 ]; do [ $((i += 1)) -lt 300 ] || exit 1; sleep 0.1; "
                  "done; }; "
                  "xenstore-write $fe/state 1; becomes 2; "
                  "xenstore-write $fe/0/req-ring-ref 4000 "
                  "$fe/0/req-event-channel 1 $fe/0/evt-ring-ref 4001 "
                  "$fe/0/evt-event-channel 2 $fe/state 3; becomes 6",
                  domid, domid);
    }
    g_assert_cmpint(dm_log_lines(), ==, lines + 1);

    find_device();
    show_both();
    expect_both();
    nested_client_stop(guest);
    check_clean();
}

/* The guest shows something, starts again by @command, and shows it again */
static void start_again(const char *command)
{
    show_both();
    expect_both();
    /* ends the agent, too: there is no answer to wait for */
    nested_do(&guest->agent, "(sleep 1; %s) > /dev/null 2>&1 &", command);
    nested_guest_disconnect(guest);
    nested_guest_connect(guest);
    find_device();
    show_both();
    expect_both();
    nested_client_stop(guest);
    check_clean();
}

static void test_reboot(void)
{
    need_guest();
    nested_limit("guest reboot", 600);
    start_again("busybox reboot -f");
}

/* What Linux asks Xen for then, libxl 4.20 does for HVM guests only */
static void test_kexec(void)
{
    need_guest();
    nested_limit("guest kexec", 600);
    nested_do(&guest->agent, "kexec -l /boot/vmlinuz-* --initrd=/boot/initrd "
              "--reuse-cmdline");
    start_again("kexec -e");
}

static void test_destroy(void)
{
    need_guest();
    nested_limit("destroy", 300);
    nested_do(&guest->agent,
              "flips 100000:0 100000:0 > /run/client.log 2>&1 < /dev/null &");
    while (nested_stat(guest, "connector1-flips") < 5) {
        g_usleep(100 * 1000);
    }
    destroy_guest();
}

static void test_kill(void)
{
    unsigned int domid;

    need_guest();
    nested_limit("device model killed", 600);
    domid = nested_guest_domid(guest);
    /*
     * The guest's disk and agent die with the device model, so that all that
     * the guest needs has to be in its memory: the second run is from there.
     */
    nested_do(&guest->agent,
              "(while :; do sleep 5 | " NESTED_MODETEST
              " -s %d:%dx%d@XR24 -s %d:%dx%d@XR24; done) "
              "> /dev/null 2>&1 < /dev/null &",
              connector_id[0], W0, H0, connector_id[1], W1, H1);
    expect_both();
    nested_do(&guest->agent, "sleep 6");
    expect_both();

    nested_do(&machine->dom0,
              "pid=$(xenstore-read /local/domain/%u/image/device-model-pid); "
              "cp /proc/$pid/cmdline /run/cmdline; kill -9 $pid; "
              "while [ -e /proc/$pid ]; do sleep 0.1; done", domid);
    nested_guest_disconnect(guest);
    nested_do(&machine->dom0,
              "rm -f /run/nested/%s.qmp; "
              "xargs -0 -a /run/cmdline env > /share/qemu-dm-restarted.log "
              "2>&1 < /dev/null & "
              "until [ -e /run/nested/%s.qmp ]; do sleep 0.1; done; "
              "xenstore-write /local/domain/%u/image/device-model-pid "
              "$(pgrep -of '[x]en-domid %u ')",
              guest->name, guest->name, domid, domid);
    nested_guest_connect_qmp(guest);
    expect_both();
    destroy_guest();
}

/*
 * Mesa's llvmpipe maps dma-bufs by dom0's DRM devices, which are there for the
 * kernel's tests; Linux does not let it map those of others so. What starts
 * while they are hidden does without.
 */
static void hide_dri(void)
{
    nested_do(&machine->dom0, "mount -t tmpfs none /dev/dri");
}

static void unhide_dri(void)
{
    nested_do(&machine->dom0, "umount /dev/dri");
}

static void show_drawn(void)
{
    nested_modetest(guest, "-s %d:%dx%d@XR24", connector_id[0], W_DRAWN,
                    H_DRAWN);
}

/* QEMU draws with OpenGL, as it would on a GPU, and reads that for VNC */
static void test_gl(void)
{
    g_autofree char *log = NULL;
    g_autofree char *text = NULL;
    NestedViewer *viewer[2];
    uint64_t copied;

    need_machine();
    hide_dri();
    need_guest_on("egl-headless");
    unhide_dri();
    nested_limit("OpenGL", 600);
    nested_qmp_do(guest, "{'execute': 'trace-event-set-state', 'arguments': {"
                  "'name': 'xen_vdispl_gl_show', 'enable': true}}");
    copied = nested_stat(guest, "bytes-copied");
    for (int i = 0; i < 2; i++) {
        viewer[i] = nested_viewer_new(machine, i);
    }
    show_drawn();
    nested_viewer_expect(viewer[0],
                         nested_picture_smpte(W_DRAWN, H_DRAWN, "XR24"));
    nested_expect(guest, 0, nested_picture_smpte(W_DRAWN, H_DRAWN, "XR24"), 0);
    nested_client_stop(guest);

    flip("20:0 10:50");
    nested_viewer_expect(viewer[0], nested_picture_solid(W_DRAWN, H_DRAWN,
                                                         flips_colour(0, 20)));
    nested_viewer_expect(viewer[1], nested_picture_solid(W_DRAWN, H_DRAWN,
                                                         flips_colour(1, 10)));
    expect_path(nested_path_shown(guest_path));
    nested_client_stop(guest);
    g_assert_cmpuint(nested_stat(guest, "bytes-copied"), ==, copied);
    log = g_strdup_printf("%s/qemu-dm-%s.log", machine->dir, guest->name);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, " imported 1"));
    g_assert_null(strstr(text, " imported 0"));

    for (int i = 0; i < 2; i++) {
        nested_viewer_free(viewer[i]);
    }
    check_clean();
}

/* What the compositor in dom0 shows */
static void weston_expect(NestedPicture *picture)
{
    g_autoptr(NestedPicture) expected = picture;
    g_autofree char *file = g_strdup_printf("%s/weston.png", machine->dir);
    g_autofree char *difference = NULL;
    gint64 end = nested_deadline();

    do {
        g_autoptr(NestedPicture) seen = NULL;

        nested_do(&machine->dom0, "cd /run/wayland; rm -f *.png; " WAYLAND
                  " weston-screenshooter && mv *.png /share/weston.png");
        seen = nested_picture_read(file);
        g_free(difference);
        difference = nested_picture_difference(seen, expected, 0);
        if (!difference) {
            return;
        }
    } while (g_get_monotonic_time() < end);
    nested_fail("Weston in dom0: %s; see %s", difference, file);
}

/*
 * The last step to a screen: a compositor in dom0 reads the guest's memory
 * itself, which a viewer has handed to it. Its LLVM keeps the only processor
 * busy for seconds, so the others go first.
 */
static void test_wayland(void)
{
    uint64_t copied;

    need_guest_on(DBUS);
    nested_limit("Wayland", 600);
    copied = nested_stat(guest, "bytes-copied");
    /* GDBus keeps a thread and a connection from the first client on */
    nested_do(&machine->dom0, "! xen-vdispl-wayland --console=99 "
              "--qmp=/run/nested/%s.monitor > /share/viewer.log 2>&1",
              guest->name);
    g_free(baseline);
    baseline = oracle();
    hide_dri();
    nested_do(&machine->dom0, "mkdir -p -m 700 /run/wayland; " WAYLAND
              " nice -n 19 weston --backend=headless --renderer=gl --no-config "
              "--shell=kiosk-shell.so --width=%d --height=%d --idle-time=0 "
              "--socket=wayland --debug > /share/weston.log 2>&1 < /dev/null &",
              W_DRAWN, H_DRAWN);
    nested_wait(&machine->dom0, "[ -e /run/wayland/wayland ]");
    unhide_dri();
    nested_do(&machine->dom0, WAYLAND " xen-vdispl-wayland "
              "--qmp=/run/nested/%s.monitor > /share/viewer.log 2>&1 "
              "< /dev/null &", guest->name);

    show_drawn();
    nested_wait(&machine->dom0, "grep '%dx%d, a dma-buf' /share/viewer.log",
                W_DRAWN, H_DRAWN);
    weston_expect(nested_picture_smpte(W_DRAWN, H_DRAWN, "XR24"));
    /* it has the dma-buf mapped that is made of the guest's pages */
    nested_do(&machine->dom0, "ino=$(awk '/\\/dmabuf:/ { print $5; exit }' "
              "/proc/$(pidof weston)/maps); awk -v ino=$ino "
              "'$5 == \"%s\" && $6 + 0 == ino { found = 1 } "
              "END { exit !found }' /sys/kernel/debug/dma_buf/bufinfo",
              strcmp(guest_path, "exported") ? "udmabuf" : "xen_gntdev");
    g_assert_cmpuint(nested_stat(guest, "bytes-copied"), ==, copied);
    nested_do(&machine->dom0, "! grep copy /share/viewer.log");

    nested_do(&machine->dom0, "pkill xen-vdispl-wayl; pkill weston; "
              "while pidof weston; do sleep 0.1; done");
    nested_client_stop(guest);
    wait_stat("bytes-mapped", 0);
    check_clean();
}

/* Memory of the device model's own */
static int device_model_kib(void)
{
    g_autofree char *kib =
        nested_run(&machine->dom0, "pid=$(xenstore-read "
                   "/local/domain/%u/image/device-model-pid) && "
                   "awk '/^RssAnon/ { print $2 }' /proc/$pid/status",
                   nested_guest_domid(guest));

    return atoi(kib);
}

/* A buffer for each frame: created, shown by a flip, and destroyed */
static void test_cycles(void)
{
    int before, after;

    need_guest_on(DBUS);
    nested_limit("buffers that are created, shown and destroyed", 900);
    flip("-n 20:0 20:0");
    nested_client_stop(guest);
    before = device_model_kib();
    flip("-n 150:0 150:0");
    nested_client_stop(guest);
    after = device_model_kib();
    g_test_message("the device model has %d KiB, after %d KiB", after, before);
    if (after > before + 256) {
        nested_fail("300 buffers have cost the device model %d KiB",
                    after - before);
    }
    check_clean();
}

/* Whether @word is one of @words, which may be NULL */
static bool among(const char *words, const char *word)
{
    g_auto(GStrv) list = g_strsplit(words ?: "", " ", 0);

    return g_strv_contains((const char **)list, word);
}

/* @path names the tests if it is not the type's own */
static void add_tests(const char *type, const char *path)
{
    static const struct {
        const char *name;
        void (*func)(void);
        const char *types;
        const char *slow;   /* of these, those that it needs -m slow for */
        const char *but;    /* paths that it is not for */
    } cases[] = {
        { "first-light", test_first_light, "pv pvh hvm" },
        { "formats", test_formats, "pv pvh", "pvh", "virgl gbm" },
        { "flips", test_flips, "pv pvh" },
        { "rates", test_rates, "pv pvh", "pvh" },
        { "viewer", test_viewer, "pv pvh", "pvh" },
        { "disable", test_disable, "pv pvh", "pvh" },
        { "reload", test_reload, "pv pvh" },
        { "bad-rings", test_bad_rings, "pv pvh", "pvh" },
        { "hotplug", test_hotplug, "pv pvh" },
        { "device", test_device, "pv pvh", "pvh", "imported" },
        { "dma-alloc", test_dma_alloc, "pv pvh", "pv pvh",
          "mapped placed virgl gbm imported" },
        { "be-alloc", test_be_alloc, "pvh", NULL, "imported" },
        { "reboot", test_reboot, "pv pvh" },
        { "kexec", test_kexec, "hvm" },
        { "destroy", test_destroy, "pv pvh hvm" },
        { "kill", test_kill, "pv pvh", "pvh" },
        { "gl", test_gl, "pv pvh", "pv pvh", "mapped gbm" },
        { "wayland", test_wayland, "pv pvh", "pv pvh", "mapped virgl gbm" },
        { "cycles", test_cycles, "pv pvh", "pv pvh" },
    };

    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf("/nested/%s/%s%s%s", type,
                                                path ?: "", path ? "/" : "",
                                                cases[i].name);

        if (among(cases[i].types, type) && !among(cases[i].but, guest_path) &&
            (g_test_slow() || !among(cases[i].slow, type))) {
            g_test_add_func(name, cases[i].func);
        }
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (argc < 2 || argc > 3 ||
        (strcmp(argv[1], "pv") && strcmp(argv[1], "pvh") &&
         strcmp(argv[1], "hvm"))) {
        g_printerr("usage: %s pv|pvh|hvm [PATH]\n", argv[0]);
        return 2;
    }
    guest_type = argv[1];
    /* unless told, each type shows one of those that every guest can take */
    guest_path = argc > 2 ? argv[2] :
        !strcmp(guest_type, "pv") ? "mapped" : "exported";
    add_tests(guest_type, argc > 2 ? guest_path : NULL);
    ret = g_test_run();
    if (machine) {
        nested_shutdown(machine);
    }
    return ret;
}
