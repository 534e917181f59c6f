/*
 * Show a Xen guest on the nested machine
 *
 *   xen-nested-demo [--stay] [--gl=virgl|gbm] [pv|pvh]
 *
 * Boots the machine and a guest with two displays, of each type unless one is
 * named; shows modetest's pattern, checks it pixel for pixel and keeps it as
 * pattern-TYPE-NAME.png. On the last guest it starts a Weston desktop and keeps
 * that as screen-NAME.png. On a terminal, or with --stay, that guest stays for
 * VNC viewers until Ctrl-C. With --gl=virgl the guest's pages are placed in
 * textures of virglrenderer's, with --gl=gbm in buffers of a DRM device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "nested.h"

#define DESKTOP_SECONDS 240

/* The desktop, as weston_ini says; a window is larger than a cursor */
#define PANEL_HEIGHT 40
#define WINDOW_PIXELS (100 * 100)

static const struct {
    const char *name;
    int width;
    int height;
} screens[2] = {
    { "left", 1024, 768 },
    { "right", 800, 600 },
};

static const uint8_t background[3] = { 0x20, 0x50, 0x80 };

static const char weston_ini[] =
    "[core]\n"
    "require-input=false\n"
    "idle-time=0\n"
    "[shell]\n"
    "background-color=0xff205080\n"
    "clock-format=none\n"
    "animation=none\n"
    "[autolaunch]\n"
    "path=/usr/bin/weston-terminal\n";

static void say(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

static void say(const char *fmt, ...)
{
    static gint64 start;
    g_autofree char *text = NULL;
    va_list ap;

    if (!start) {
        start = g_get_monotonic_time();
    }
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    printf("%4d s  %s\n",
           (int)((g_get_monotonic_time() - start) / G_USEC_PER_SEC), text);
    fflush(stdout);
}

static void quiet(const char *message)
{
}

static void keep(NestedGuest *guest, const char *what)
{
    for (int i = 0; i < G_N_ELEMENTS(screens); i++) {
        g_autoptr(NestedPicture) picture = nested_screendump(guest, i);
        g_autofree char *file = g_strdup_printf("%s/%s-%s.png",
                                                guest->machine->dir, what,
                                                screens[i].name);

        if (!picture) {
            nested_fail("%s has no picture", screens[i].name);
        }
        nested_picture_write(picture, file);
        say("%s", file);
    }
}

static void show_pattern(NestedGuest *guest, const char *type)
{
    g_autofree char *what = g_strdup_printf("pattern-%s", type);
    g_autoptr(NestedPicture) whole =
        nested_picture_smpte(screens[0].width + screens[1].width,
                             screens[0].height, "XR24");
    int ids[2];

    nested_find_connectors(guest, ids);
    nested_modetest(guest, "-s %d:%dx%d@XR24 -s %d:%dx%d@XR24",
                    ids[0], screens[0].width, screens[0].height,
                    ids[1], screens[1].width, screens[1].height);
    nested_expect(guest, 0,
                  nested_picture_crop(whole, 0, screens[0].width,
                                      screens[0].height), 0);
    nested_expect(guest, 1,
                  nested_picture_crop(whole, screens[0].width,
                                      screens[1].width, screens[1].height), 0);
    keep(guest, what);
    nested_client_stop(guest);
}

/*
 * How many pixels below the panel are not the desktop's background, or -1 when
 * there is no desktop yet. A window may be anywhere, but is not that large.
 */
static int pixels_of_windows(NestedGuest *guest, unsigned int head)
{
    g_autoptr(NestedPicture) seen = nested_screendump(guest, head);
    size_t first, pixels;
    int count = 0;

    if (!seen) {
        return -1;
    }
    first = PANEL_HEIGHT * (size_t)seen->width;
    pixels = (size_t)seen->width * seen->height;
    for (size_t i = first; i < pixels; i++) {
        count += !!memcmp(seen->rgb + 3 * i, background, 3);
    }
    return count < (pixels - first) * 3 / 4 ? count : -1;
}

/* A desktop on both displays, and a window on one of them */
static bool desktop_is_up(NestedGuest *guest)
{
    int windows[2] = {
        pixels_of_windows(guest, 0), pixels_of_windows(guest, 1),
    };

    return windows[0] >= 0 && windows[1] >= 0 &&
        windows[0] + windows[1] >= WINDOW_PIXELS;
}

/* Weston draws on both displays, its client on one of them */
static void show_desktop(NestedGuest *guest)
{
    nested_do(&guest->agent, "cat > /run/weston.ini << 'END'\n%sEND\n"
              "/usr/lib/systemd/systemd-udevd --daemon && "
              "udevadm trigger --subsystem-match=drm && udevadm settle && "
              "export XDG_RUNTIME_DIR=/run SEATD_VTBOUND=0 && "
              "{ seatd -l error > /run/seatd.log 2>&1 < /dev/null & } && "
              "until [ -e /run/seatd.sock ]; do sleep 0.1; done && "
              "{ LIBSEAT_BACKEND=seatd weston --backend=drm --renderer=pixman "
              "-c /run/weston.ini --log=/run/weston.log > /run/weston.out "
              "2>&1 < /dev/null & }", weston_ini);
    while (!desktop_is_up(guest)) {
        int status;
        g_autofree char *gone =
            nested_exec(&guest->agent, &status,
                        "pgrep -x weston || tail /run/weston.*");

        if (status || !g_ascii_isdigit(*gone)) {
            nested_fail("weston has ended: %s", gone);
        }
        g_usleep(G_USEC_PER_SEC);
    }
    /* the window has only begun to be drawn */
    g_usleep(3 * G_USEC_PER_SEC);
    keep(guest, "screen");
}

static void tell(NestedGuest *guest)
{
    g_autoptr(QDict) answer =
        nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                   "'path': 'vdispl0', 'property': 'path'}}");

    say("shown by: %s; %" PRIu64 " flips, %" PRIu64 " octets mapped, %" PRIu64
        " copied", qdict_get_try_str(answer, "return"),
        nested_stat(guest, "flips"), nested_stat(guest, "bytes-mapped"),
        nested_stat(guest, "bytes-copied"));
    for (int i = 0; i < G_N_ELEMENTS(screens); i++) {
        say("VNC of %s: 127.0.0.1::%d", screens[i].name,
            guest->machine->vnc_port[i]);
    }
}

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    interrupted = 1;
}

/* A guest whose pattern has been seen */
static NestedGuest *start_guest(NestedMachine *machine, const char *type,
                                const char *path)
{
    g_autofree char *connectors =
        g_strdup_printf("%s:%dx%d;%s:%dx%d",
                        screens[0].name, screens[0].width, screens[0].height,
                        screens[1].name, screens[1].width, screens[1].height);
    NestedGuest *guest;

    say("starting a %s guest, %s", type, connectors);
    guest = nested_guest_create(machine, type, type, path, connectors,
                                NULL);
    nested_limit("showing the pattern", DESKTOP_SECONDS);
    say("loading xen-drm-front in the guest");
    nested_load_frontend(guest);
    say("showing modetest's pattern");
    show_pattern(guest, type);
    say("the pattern of the %s guest is right, pixel for pixel", type);
    return guest;
}

static void stay_until_interrupted(NestedMachine *machine)
{
    const struct sigaction action = { .sa_handler = interrupt };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    say("stays until Ctrl-C");
    while (!interrupted && qtest_probe_child(machine->qts)) {
        g_usleep(200 * 1000);
    }
}

int main(int argc, char **argv)
{
    bool stay = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    const char *type = NULL;
    const char *path = "auto";
    NestedMachine *machine;
    NestedGuest *guest;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--stay")) {
            stay = true;
        } else if (!strcmp(argv[i], "--gl=virgl") ||
                   !strcmp(argv[i], "--gl=gbm")) {
            path = argv[i] + strlen("--gl=");
        } else if (!strcmp(argv[i], "pv") || !strcmp(argv[i], "pvh")) {
            type = argv[i];
        } else {
            fprintf(stderr, "usage: %s [--stay] [--gl=virgl|gbm] [pv|pvh]\n",
                    argv[0]);
            return 2;
        }
    }
    g_set_print_handler(quiet);

    say("booting Xen and dom0");
    machine = nested_boot("pvh", "kunit.enable=0 lockdep.prove_locking=0");
    if (!type) {
        guest = start_guest(machine, "pv", path);
        nested_guest_disconnect(guest);
        nested_do(&machine->dom0, "xl destroy %s", guest->name);
        nested_guest_free(guest);
        type = "pvh";
    }
    guest = start_guest(machine, type, path);
    nested_limit("showing the desktop", DESKTOP_SECONDS);
    say("starting Weston");
    show_desktop(guest);
    nested_limit("nothing", 0);
    tell(guest);

    if (stay) {
        stay_until_interrupted(machine);
    }
    nested_guest_free(guest);
    nested_shutdown(machine);
    return 0;
}
