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

static void check_kernel_log(void)
{
    g_autofree char *complaints =
        nested_run(&machine->dom0, "dmesg | grep -E "
                   "'BUG:|WARNING:|Oops|INFO: task|possible circular|"
                   "inconsistent lock|Bad page' || true");

    if (*complaints) {
        nested_fail("dom0's kernel complains: %s", complaints);
    }
}

/* Any line of TAP or KTAP that is a result. What is skipped is run nowhere. */
static bool is_failure(const char *line)
{
    return g_str_has_prefix(line, "not ok ") || strstr(line, " # SKIP ");
}

/* Runs a command in dom0 that reports in TAP. */
static void run_tap(const char *command)
{
    g_autofree char *output = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned int passed = 0;
    int status;

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
    if (status || !passed) {
        nested_fail("%s exited with %d:\n%s", command, status, output);
    }
    g_test_message("%u passed", passed);
    check_kernel_log();
}

/* The kernel ran these when it booted. */
static void test_kunit(void)
{
    nested_limit("reading the results of KUnit", 60);
    run_tap("cat /sys/kernel/debug/kunit/xen-gntdev-dmabuf/results");
}

static void test_gntdev_dmabuf(void)
{
    nested_limit("the selftests of gntdev's dma-bufs", 900);
    run_tap("/nested/gntdev_dmabuf");
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

/* Waits until a program in the background has said a line, and returns that */
static char *wait_said(NestedAgent *agent, const char *log, const char *what)
{
    return nested_run(agent, "n=0; until grep '^%s' %s; do n=$((n + 1)); "
                      "[ $n -lt 300 ] || { cat %s; exit 1; }; sleep 0.1; done",
                      what, log, log);
}

/*
 * dom0 takes back what it granted while the guest has it mapped. The dma-buf
 * must outlive that, even the process that made it, as long as the guest wants.
 */
static void test_import_in_use(void)
{
    NestedGuest *guest = nested_guest_create(machine, "holder", "pv", "auto",
                                             NULL);
    unsigned int before = dma_bufs();
    g_autofree char *granted = NULL;

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
    for (int i = 0; dma_bufs() != before; i++) {
        if (i == 20) {
            nested_fail("the dma-buf stays after the guest has unmapped it");
        }
        g_usleep(G_USEC_PER_SEC / 2);
    }

    nested_do(&machine->dom0, "xl destroy holder");
    nested_guest_free(guest);
    check_kernel_log();
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nested/kernel/kunit", test_kunit);
    g_test_add_func("/nested/kernel/gntdev-dmabuf", test_gntdev_dmabuf);
    g_test_add_func("/nested/kernel/mmap-info", test_mmap_info);
    g_test_add_func("/nested/kernel/import-in-use", test_import_in_use);
    machine = nested_boot("");
    ret = g_test_run();
    nested_shutdown(machine);
    return ret;
}
