/*
 * The nested machine: QEMU (TCG) -> Xen -> dom0 with our QEMU -> guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_NESTED_H
#define TESTS_QTEST_NESTED_H

#include "libqtest.h"

/* The guest's display device, and the client that draws on it */
#define NESTED_CARD "/dev/dri/card0"
#define NESTED_MODETEST "modetest -M xendrm-du"

/*
 * Seconds to wait for what is expected to happen at once: two emulated levels
 * on a busy machine are slow
 */
#define NESTED_PATIENCE 90

/**
 * NestedAgent - a QEMU guest agent, in dom0 or in a guest
 * @name: for messages
 * @fd: a connection to it, or -1
 */
typedef struct NestedAgent {
    char *name;
    int fd;
} NestedAgent;

/**
 * NestedMachine - a booted outer machine
 * @qts: the outer QEMU
 * @dir: where its logs and screendumps are; dom0 sees it as /share
 * @join_port: host port on which dom0 joins us with one of its sockets
 * @vnc_port: host port of dom0's VNC display :1; :2 is on the next element
 * @dom0: dom0's agent
 */
typedef struct NestedMachine {
    QTestState *qts;
    char *dir;
    int join_port;
    int vnc_port[2];
    NestedAgent dom0;
} NestedMachine;

/**
 * NestedGuest - a guest
 * @machine: where it runs
 * @name: as xl knows it
 * @agent: its agent
 * @qmp_fd: a QMP connection to its device model, or -1
 * @boots: how often it has come up
 */
typedef struct NestedGuest {
    NestedMachine *machine;
    char *name;
    NestedAgent agent;
    int qmp_fd;
    unsigned int boots;
} NestedGuest;

/**
 * NestedPicture - an RGB picture
 * @width: in pixels
 * @height: in pixels
 * @rgb: three bytes a pixel, no padding
 */
typedef struct NestedPicture {
    unsigned int width;
    unsigned int height;
    uint8_t *rgb;
} NestedPicture;

/**
 * nested_limit - end the program when it takes too long
 * @what: what is being done; must stay valid
 * @seconds: how long it may take from now on; 0 for no limit
 *
 * When the time is up, says so, shows the consoles' last lines and aborts. The
 * environment's XEN_NESTED_SLOWNESS is a factor for this and NESTED_PATIENCE,
 * and the machine's clock goes slower by it.
 */
void nested_limit(const char *what, unsigned int seconds);

/**
 * nested_deadline - until when to wait for what should be there at once
 *
 * Returns: the time NESTED_PATIENCE from now, in us of g_get_monotonic_time()
 */
gint64 nested_deadline(void);

/**
 * nested_fail - say why a test fails, show the consoles, and abort
 * @fmt: the reason
 */
G_NORETURN void nested_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/**
 * nested_boot - boot the nested machine as far as dom0's agent
 * @dom0_type: "pvh" or "pv"
 * @dom0_options: for the command line of dom0's kernel
 *
 * The environment says what to boot: QTEST_QEMU_BINARY, XEN_NESTED_KERNEL
 * (dom0's kernel), XEN_NESTED_IMAGES (the directory of the images) and
 * XEN_NESTED_OUT (a directory for logs, made when it does not exist).
 *
 * Returns: the machine
 */
NestedMachine *nested_boot(const char *dom0_type, const char *dom0_options);

/**
 * nested_shutdown - end the machine
 * @machine: from nested_boot()
 */
void nested_shutdown(NestedMachine *machine);

/**
 * nested_check_log - see that neither Xen nor dom0's kernel has complained
 * @machine: from nested_boot()
 *
 * The test fails with the first complaint in the console's log: warnings, what
 * lockdep, KASAN and kmemleak have found, domains that Xen has crashed.
 */
void nested_check_log(NestedMachine *machine);

/**
 * nested_exec - run a shell command
 * @agent: where
 * @status: set to its exit status
 * @fmt: the command
 *
 * Background processes that it leaves must have their output redirected.
 *
 * Returns: what it wrote to its standard output and error
 */
char *nested_exec(NestedAgent *agent, int *status, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/**
 * nested_run - run a shell command that must succeed
 * @agent: where
 * @fmt: the command
 *
 * Returns: what it wrote to its standard output and error
 */
char *nested_run(NestedAgent *agent, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/**
 * nested_do - nested_run() for a command whose output does not matter
 * @agent: where
 * @fmt: the command
 */
void nested_do(NestedAgent *agent, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/**
 * nested_wait - wait until a shell command succeeds
 * @agent: where
 * @fmt: the command
 *
 * When it does not within NESTED_PATIENCE, the test fails with what it said.
 */
void nested_wait(NestedAgent *agent, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/**
 * nested_guest_create - create a guest and wait for its agent
 * @machine: where
 * @name: its name
 * @type: "pv", "pvh" or "hvm"
 * @path: the device's property of that name; "imported"; or an allocator,
 *        "virgl" or "gbm", which is "placed" with it: gbm on dom0's vkms. A PV
 *        guest for "imported" runs the kernel that is built here, since
 *        Debian's cannot map such buffers
 * @connectors: as in xl's vdispl option, "id0:1024x768;id1:800x600", or NULL
 * @display: QEMU's option of that name, or NULL: VNC is there anyway
 *
 * Its device model has a monitor at /run/nested/NAME.monitor, for whom a test
 * runs in dom0.
 *
 * Returns: the guest
 */
NestedGuest *nested_guest_create(NestedMachine *machine, const char *name,
                                 const char *type, const char *path,
                                 const char *connectors, const char *display);

/**
 * nested_path_shown - what the device's property "path" then says
 * @path: as given to nested_guest_create()
 */
const char *nested_path_shown(const char *path);

/**
 * nested_guest_disconnect - close what is open to a guest
 * @guest: the guest, which may be gone already
 */
void nested_guest_disconnect(NestedGuest *guest);

/**
 * nested_guest_connect - connect to a guest that boots or reboots
 * @guest: the guest
 */
void nested_guest_connect(NestedGuest *guest);

/**
 * nested_guest_connect_qmp - connect to a guest's device model
 * @guest: the guest
 */
void nested_guest_connect_qmp(NestedGuest *guest);

/**
 * nested_guest_free - forget a guest
 * @guest: the guest
 */
void nested_guest_free(NestedGuest *guest);

/**
 * nested_guest_domid - a guest's domain number, which a reboot changes
 * @guest: the guest
 */
unsigned int nested_guest_domid(NestedGuest *guest);

/**
 * nested_qmp - run a QMP command in a guest's device model
 * @guest: the guest
 * @fmt: the command, as for qtest_qmp()
 *
 * Returns: the answer, which may be an error
 */
QDict *nested_qmp(NestedGuest *guest, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/**
 * nested_qmp_do - run a QMP command that has to succeed
 * @guest: the guest
 * @fmt: the command, as for qtest_qmp()
 */
void nested_qmp_do(NestedGuest *guest, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/**
 * nested_screendump - see what a connector shows
 * @guest: the guest
 * @head: the connector's index
 *
 * Returns: the picture, or NULL when there is none
 */
NestedPicture *nested_screendump(NestedGuest *guest, unsigned int head);

/**
 * nested_load_frontend - load xen-drm-front and wait for its device
 * @guest: the guest
 */
void nested_load_frontend(NestedGuest *guest);

/**
 * nested_find_connectors - modetest's numbers of the guest's two connectors
 * @guest: the guest
 * @ids: set to the numbers
 */
void nested_find_connectors(NestedGuest *guest, int *ids);

/**
 * nested_modetest - start modetest in the guest
 * @guest: the guest
 * @fmt: its arguments
 */
void nested_modetest(NestedGuest *guest, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/**
 * nested_client_stop - end modetest or flips in the guest
 * @guest: the guest
 */
void nested_client_stop(NestedGuest *guest);

/**
 * nested_stat - read a number from the display device
 * @guest: the guest
 * @property: a property of the guest's xen-vdispl
 */
uint64_t nested_stat(NestedGuest *guest, const char *property);

/**
 * nested_picture_new - a black picture
 * @width: in pixels
 * @height: in pixels
 */
NestedPicture *nested_picture_new(unsigned int width, unsigned int height);

/**
 * nested_picture_free - free a picture
 * @picture: the picture, or NULL
 */
void nested_picture_free(NestedPicture *picture);

/**
 * nested_picture_write - write a picture as a PNG file
 * @picture: the picture
 * @file: the file's name
 */
void nested_picture_write(const NestedPicture *picture, const char *file);

/**
 * nested_picture_read - read a PNG file
 * @file: the file's name
 *
 * Returns: the picture
 */
NestedPicture *nested_picture_read(const char *file);

/**
 * nested_picture_smpte - the picture that modetest's pattern "smpte" makes
 * @width: the framebuffer's width
 * @height: the framebuffer's height
 * @fourcc: the framebuffer's format as modetest names it, "XR24"
 */
NestedPicture *nested_picture_smpte(unsigned int width, unsigned int height,
                                    const char *fourcc);

/**
 * nested_picture_crop - a part of a picture
 * @picture: the picture
 * @x: left edge
 * @width: of the part
 * @height: of the part, from the top
 */
NestedPicture *nested_picture_crop(const NestedPicture *picture, unsigned int x,
                                   unsigned int width, unsigned int height);

/**
 * nested_picture_solid - a picture of one colour
 * @width: in pixels
 * @height: in pixels
 * @rgb: 0xRRGGBB
 */
NestedPicture *nested_picture_solid(unsigned int width, unsigned int height,
                                    uint32_t rgb);

/**
 * nested_picture_difference - compare two pictures
 * @seen: a picture, or NULL when there is none
 * @expected: what it should be
 * @tolerance: by how much a colour value may differ
 *
 * Returns: how they differ, by size or in the first such pixel; NULL when they
 * do not
 */
char *nested_picture_difference(const NestedPicture *seen,
                                const NestedPicture *expected,
                                unsigned int tolerance);

/**
 * nested_expect - wait until a connector shows a picture
 * @guest: the guest
 * @head: the connector's index
 * @expected: the picture, which is freed
 * @tolerance: by how much a colour value may differ
 *
 * When it does not within NESTED_PATIENCE, both pictures are written to the
 * machine's directory, and the test fails with the first pixel that differs.
 */
void nested_expect(NestedGuest *guest, unsigned int head,
                   NestedPicture *expected, unsigned int tolerance);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(NestedPicture, nested_picture_free)

#endif /* TESTS_QTEST_NESTED_H */
