/*
 * The dom0 kernel's dma-bufs of grants, on real Xen
 *
 * The kernel's own selftests run in dom0, against domains that they make. What
 * takes a guest that maps pages itself is done here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "nested.h"

#define PAGES 64

static NestedMachine *machine;
static NestedGuest *painter;

/* Any line of TAP or KTAP that is a result. What is skipped is run nowhere. */
static bool is_failure(const char *line)
{
    return g_str_has_prefix(line, "not ok ") || strstr(line, " # SKIP ");
}

/* Runs a command in dom0 that reports in TAP. */
static void G_GNUC_PRINTF(1, 2) run_tap(const char *fmt, ...)
{
    g_autofree char *command = NULL;
    g_autofree char *output = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned int passed = 0;
    va_list ap;
    int status;

    va_start(ap, fmt);
    command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    output = nested_exec(&machine->dom0, &status, "%s", command);
    lines = g_strsplit(output, "\n", -1);
    for (int i = 0; lines[i]; i++) {
        const char *line = g_strchug(lines[i]);

        if (is_failure(line)) {
            g_printerr("# %s\n", line);
            status = status ?: 1;
        } else if (g_str_has_prefix(line, "ok ")) {
            passed++;
        }
    }
    /* first, as it may be why others failed */
    nested_check_log(machine);
    if (status || !passed) {
        nested_fail("%s exited with %d:\n%s", command, status, output);
    }
    g_test_message("%u passed", passed);
}

/* The kernel ran these when it booted. */
static void test_kunit(void)
{
    nested_limit("reading the results of KUnit", 60);
    run_tap("cat /sys/kernel/debug/kunit/xen-gntdev-dmabuf/results");
}

static void test_gntdev_dmabuf(void)
{
    const char *rounds = g_getenv("XEN_SELFTEST_ROUNDS") ?: "1";

    /* most of it is the race of each pair of calls: up to 60 s for 45 pairs */
    nested_limit("the selftests of gntdev's dma-bufs", 900 + 90 * atoi(rounds));
    run_tap("XEN_SELFTEST_ROUNDS=%s /nested/gntdev_dmabuf", rounds);
}

static void test_leaks(void)
{
    nested_limit("10,000 exports, imports and buffers with grants", 3600);
    run_tap("XEN_SELFTEST_ROUNDS=100 /nested/gntdev_dmabuf "
            "-t map_and_release_leak_nothing "
            "-t export_and_import_leak_nothing");
}

/* What a PV domain can do, and what it refuses */
static void test_gntdev_dmabuf_pv(void)
{
    nested_limit("the selftests of gntdev's dma-bufs in a PV domain", 120);
    run_tap("/nested/gntdev_dmabuf_pv");
}

static void test_mmap_info(void)
{
    nested_limit("the selftest of DMA_BUF_IOCTL_MMAP_INFO", 60);
    run_tap("/nested/mmap_info");
}

static unsigned int dma_bufs(void)
{
    g_autofree char *count =
        nested_run(&machine->dom0, "awk '/^Total/ { print $2 }' "
                   "/sys/kernel/debug/dma_buf/bufinfo");

    return atoi(count);
}

/*
 * Waits until "grants" or "texture" in the background has said a line, and
 * returns that. It may take long, but must not end without.
 */
static char *wait_said(NestedAgent *agent, const char *log, const char *what)
{
    return nested_run(agent, "n=0; until grep -s '^%s' %s; do "
                      "if pgrep -x 'grants|texture' > /dev/null; then n=0; "
                      "else n=$((n + 1)); fi; "
                      "[ $n -lt 100 ] || { cat %s; exit 1; }; sleep 0.1; done",
                      what, log, log);
}

/*
 * dom0 takes back what it granted while the guest has it mapped. The dma-buf
 * must outlive that, even the process that made it, as long as the guest wants.
 */
static void test_import_in_use(void)
{
    NestedGuest *guest = nested_guest_create(machine, "holder", "pv", "auto",
                                             NULL, NULL);
    unsigned int before = dma_bufs();
    g_autofree char *granted = NULL;
    gint64 end;

    nested_limit("releasing grants that are in use", 120);
    nested_do(&machine->dom0, "/nested/grants import %u %u "
              "> /run/import.log 2>&1 < /dev/null &",
              nested_guest_domid(guest), PAGES);
    granted = wait_said(&machine->dom0, "/run/import.log", "granted ");
    g_assert_cmpuint(dma_bufs(), ==, before + 1);

    nested_do(&guest->agent, "modprobe xen-gntdev; "
              "grants hold %s > /run/hold.log 2>&1 < /dev/null &",
              g_strchomp(granted) + strlen("granted "));
    g_free(wait_said(&guest->agent, "/run/hold.log", "mapped"));

    nested_do(&machine->dom0, "pkill -x grants");
    g_free(wait_said(&machine->dom0, "/run/import.log", "released"));
    nested_do(&machine->dom0, "while pgrep -x grants; do sleep 0.1; done");
    for (int i = 0; i < 3; i++) {
        g_usleep(G_USEC_PER_SEC);
        g_assert_cmpuint(dma_bufs(), ==, before + 1);
    }

    nested_do(&guest->agent, "pkill -x grants");
    g_free(wait_said(&guest->agent, "/run/hold.log", "intact"));
    end = nested_deadline();
    while (dma_bufs() != before) {
        if (g_get_monotonic_time() > end) {
            nested_fail("the dma-buf stays after the guest has unmapped it");
        }
        g_usleep(G_USEC_PER_SEC / 2);
    }

    nested_do(&machine->dom0, "xl destroy holder");
    nested_guest_free(guest);
    nested_check_log(machine);
}

/*
 * The guest's picture is seen through a texture, also what it draws later, and
 * afterwards nobody has its pages any more.
 */
static void see_through_texture(const char *how)
{
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autofree char *refs = NULL;
    unsigned int domid;

    if (!painter) {
        painter = nested_guest_create(machine, "painter", "pv", "auto", NULL,
                                      NULL);
        nested_do(&painter->agent, "modprobe xen-gntdev; "
                  "modprobe xen-gntalloc");
    }
    domid = nested_guest_domid(painter);
    before = nested_run(&machine->dom0, "dom0-oracle %u", domid);

    nested_limit("reading a guest's pages through a texture", 300);
    nested_do(&painter->agent, "rm -f /run/share.log; "
              "grants share > /run/share.log 2>&1 < /dev/null &");
    refs = wait_said(&painter->agent, "/run/share.log", "shared ");
    nested_do(&machine->dom0, "rm -f /run/texture.log; "
              "texture %s %u %s > /run/texture.log 2>&1 < /dev/null &",
              how, domid, g_strchomp(refs) + strlen("shared "));
    g_free(wait_said(&machine->dom0, "/run/texture.log", "seen 0"));
    for (int i = 1; i < 4; i++) {
        g_autofree char *drawn = g_strdup_printf("drawn %d", i);
        g_autofree char *seen = g_strdup_printf("seen %d", i);

        nested_do(&painter->agent, "pkill -USR1 -x grants");
        g_free(wait_said(&painter->agent, "/run/share.log", drawn));
        nested_do(&machine->dom0, "pkill -USR1 -x texture");
        g_free(wait_said(&machine->dom0, "/run/texture.log", seen));
    }
    nested_do(&machine->dom0, "pkill -x texture");
    g_free(wait_said(&machine->dom0, "/run/texture.log", "released"));
    nested_wait(&machine->dom0, "! pgrep -x texture");
    nested_do(&painter->agent, "pkill -x grants");

    after = nested_run(&machine->dom0, "dom0-oracle %u", domid);
    g_assert_cmpstr(after, ==, before);
    nested_check_log(machine);
}

static void test_import_texture(void)
{
    see_through_texture("import");
}

static void test_place_texture(void)
{
    see_through_texture("place");
}

/* A display, too: the device maps the guest's pages where it can export none */
static void test_display(void)
{
    NestedGuest *guest = nested_guest_create(machine, "shown", "pv", "auto",
                                             "id0:800x600;id1:640x480", NULL);
    g_autoptr(QDict) path = NULL;
    g_autoptr(QDict) reason = NULL;
    int connector[2];

    nested_limit("a display of a PV dom0", 300);
    nested_load_frontend(guest);
    nested_find_connectors(guest, connector);
    nested_modetest(guest, "-s %d:800x600", connector[0]);
    nested_expect(guest, 0, nested_picture_smpte(800, 600, "XR24"), 0);

    path = nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                      "'path': 'vdispl0', 'property': 'path'}}");
    g_assert_cmpstr(qdict_get_try_str(path, "return"), ==, "mapped,none");
    reason = nested_qmp(guest, "{'execute': 'qom-get', 'arguments': {"
                        "'path': 'vdispl0', 'property': 'path-reason'}}");
    g_test_message("path-reason: %s", qdict_get_try_str(reason, "return"));
    g_assert_cmpstr(qdict_get_try_str(reason, "return"), !=, "");

    nested_client_stop(guest);
    nested_do(&machine->dom0, "xl destroy shown");
    nested_guest_free(guest);
    nested_check_log(machine);
}

/*
 * After all the others, in a kernel that has kmemleak: nothing that they had
 * was lost. Memory is suspected when nothing points to it and it has not
 * changed since the scan before, and is 5 s old.
 */
static void test_kmemleak(void)
{
    g_autofree char *leaks = NULL;

    nested_limit("looking for memory that is not freed", 600);
    leaks = nested_run(&machine->dom0, "cd /sys/kernel/debug; sleep 6; "
                       "echo scan > kmemleak; echo scan > kmemleak; "
                       "cat kmemleak");
    if (*leaks) {
        nested_fail("dom0's kernel has lost memory:\n%s", leaks);
    }
    nested_check_log(machine);
}

/* The selftest's measurement, as a table and as JSON; nothing is asserted */
static int bench(void)
{
    g_autofree char *table = NULL;

    machine = nested_boot("pvh", "kunit.enable=0 lockdep.prove_locking=0");
    nested_limit("measuring gntdev's dma-bufs", 3600);
    table = nested_run(&machine->dom0, "/nested/gntdev_dmabuf_bench "
                       "/share/gntdev-dmabuf.json");
    printf("%s", table);
    nested_shutdown(machine);
    return 0;
}

enum {
    PVH = 1,
    PV = 2,
    KASAN = 4,
};

static const struct {
    unsigned int modes;
    const char *name;
    void (*func)(void);
} cases[] = {
    { PVH, "kunit", test_kunit },
    { PVH, "gntdev-dmabuf", test_gntdev_dmabuf },
    { KASAN, "leaks", test_leaks },
    { PV, "gntdev-dmabuf", test_gntdev_dmabuf_pv },
    { PVH | PV, "mmap-info", test_mmap_info },
    { PVH | PV, "import-in-use", test_import_in_use },
    { PVH, "import-texture", test_import_texture },
    { PVH, "place-texture", test_place_texture },
    { PV, "display", test_display },
    { KASAN, "kmemleak", test_kmemleak },
};

int main(int argc, char **argv)
{
    const char *mode;
    unsigned int modes;
    int ret;

    g_test_init(&argc, &argv, NULL);
    mode = argc == 2 ? argv[1] : "";
    modes = !strcmp(mode, "pvh") ? PVH : !strcmp(mode, "pv") ? PV :
        !strcmp(mode, "kasan") ? PVH | KASAN : 0;
    if (!strcmp(mode, "bench")) {
        return bench();
    }
    if (!modes) {
        g_printerr("usage: %s pvh|pv|kasan|bench\n"
                   "pvh, pv: the tests for a dom0 of that type\n"
                   "kasan: those of pvh and more, for a kernel with kmemleak\n",
                   argv[0]);
        return 2;
    }
    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/nested/kernel/%s/%s", mode,
                                                cases[i].name);

        if (cases[i].modes & modes) {
            g_test_add_func(path, cases[i].func);
        }
    }
    /* the KUnit tests are for a PVH dom0 */
    machine = nested_boot(modes == PV ? "pv" : "pvh",
                          modes == PV ? "kunit.enable=0" : "");
    ret = g_test_run();
    if (painter) {
        nested_guest_free(painter);
    }
    nested_shutdown(machine);
    return ret;
}
