/*
 * The nested machine: QEMU (TCG) -> Xen -> dom0 with our QEMU -> guests
 *
 * The machine itself is made of tests/nested/. Everything in dom0 and in the
 * guests is done by QEMU's guest agent: dom0's is on a virtio-serial port of
 * the outer machine. The sockets of dom0 (a device model's QMP, a guest's
 * agent on a PV channel) are reached over the user network, by the script
 * dom0-join. Files come and go by the directory that dom0 sees as /share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <math.h>
#include <netinet/in.h>
#include <png.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "libqmp.h"
#include "nested.h"

/*
 * No XSAVE: TCG under Xen would lose vector registers. No RDTSCP: TCG reports
 * its intercept as RDTSC's and Xen kills a PVH dom0 for it.
 */
#define OUTER_CPU "qemu64,+svm,+npt,-rdtscp"
#define VIRTIO_OPTS "iommu_platform=on,disable-legacy=on"
#define CONSOLE_LINES 30
#define BOOT_SECONDS 180
#define GUEST_SECONDS 300

static char *console_dir;
static const char *limit_what = "nothing";

/* Called when the program aborts: no allocation, no stdio */
static void show_tail(const char *name)
{
    static char buf[64 * 1024];
    char path[PATH_MAX];
    ssize_t len;
    off_t size;
    int fd, lines = 0;
    char *from;

    snprintf(path, sizeof(path), "%s/%s", console_dir, name);
    fd = open(path, O_RDONLY);
    if (fd < 0) {
        return;
    }
    size = lseek(fd, 0, SEEK_END);
    lseek(fd, MAX(size - (off_t)sizeof(buf), 0), SEEK_SET);
    len = read(fd, buf, sizeof(buf));
    close(fd);
    if (len <= 0) {
        return;
    }
    for (from = buf + len - 1; from > buf; from--) {
        if (from[-1] == '\n' && ++lines > CONSOLE_LINES) {
            break;
        }
    }
    dprintf(STDERR_FILENO, "# ---- the end of %s:\n", path);
    len = write(STDERR_FILENO, from, buf + len - from);
    dprintf(STDERR_FILENO, "# ----\n");
}

static void show_consoles(void *unused)
{
    DIR *dir = opendir(console_dir);
    struct dirent *entry;

    if (!dir) {
        return;
    }
    while ((entry = readdir(dir))) {
        if (!strcmp(entry->d_name, "console.log") ||
            (g_str_has_prefix(entry->d_name, "guest-") &&
             g_str_has_suffix(entry->d_name, ".log")) ||
            (g_str_has_prefix(entry->d_name, "qemu-dm-") &&
             g_str_has_suffix(entry->d_name, ".log"))) {
            show_tail(entry->d_name);
        }
    }
    closedir(dir);
}

static void limit_passed(int sig)
{
    dprintf(STDERR_FILENO, "# %s took too long\n", limit_what);
    abort();
}

static unsigned int slowness(void)
{
    const char *factor = g_getenv("XEN_NESTED_SLOWNESS");

    return factor ? atoi(factor) : 1;
}

void nested_limit(const char *what, unsigned int seconds)
{
    const struct sigaction action = { .sa_handler = limit_passed };

    limit_what = what;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds * slowness());
}

gint64 nested_deadline(void)
{
    return g_get_monotonic_time() +
        NESTED_PATIENCE * slowness() * G_USEC_PER_SEC;
}

void nested_fail(const char *fmt, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, fmt);
    message = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_printerr("# FAILED: %s\n", message);
    abort();
}

static const char *need_env(const char *name, const char *what)
{
    const char *value = g_getenv(name);

    if (!value) {
        g_printerr("# Environment variable %s required: %s\n", name, what);
        exit(1);
    }
    return value;
}

static bool file_contains(const char *dir, const char *name, const char *what,
                          unsigned int times)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
    g_autofree char *text = NULL;
    char *p;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    for (p = text; (p = strstr(p, what)); p += strlen(what)) {
        if (--times == 0) {
            return true;
        }
    }
    return false;
}

static void wait_for_line(NestedMachine *m, const char *name, const char *what,
                          unsigned int times)
{
    while (!file_contains(m->dir, name, what, times)) {
        /* fails, and thereby ends the wait, when QEMU is gone */
        g_assert_true(qtest_probe_child(m->qts));
        g_usleep(100 * 1000);
    }
}

/* The next answer, without the events before it */
static QDict *receive(int fd)
{
    for (;;) {
        QDict *answer = qmp_fd_receive(fd);

        if (qdict_haskey(answer, "return") || qdict_haskey(answer, "error")) {
            return answer;
        }
        qobject_unref(answer);
    }
}

static QDict *receive_return(int fd)
{
    QDict *answer = receive(fd);

    if (!qdict_haskey(answer, "return")) {
        QDict *error = qdict_get_qdict(answer, "error");

        nested_fail("command failed: %s",
                    error ? qdict_get_try_str(error, "desc") : "no reason");
    }
    return answer;
}

static bool readable(int fd, int milliseconds)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, milliseconds) == 1;
}

/* An agent may have answers to somebody else's questions in its pipe */
static void agent_sync(NestedAgent *agent)
{
    static int64_t id = 1000;

    for (;;) {
        qmp_fd_send(agent->fd,
                    "{'execute': 'guest-sync', 'arguments': {'id': %" PRId64
                    "}}", ++id);
        while (readable(agent->fd, 3000)) {
            g_autoptr(QDict) answer = qmp_fd_receive(agent->fd);

            if (qdict_get_try_int(answer, "return", -1) == id) {
                return;
            }
        }
    }
}

static int connect_to(const void *addr, socklen_t len)
{
    const struct sockaddr *sa = addr;
    int fd = socket(sa->sa_family, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(connect(fd, sa, len), ==, 0);
    return fd;
}

static int join(NestedMachine *m, const char *name, const char *suffix)
{
    g_autofree char *line = g_strdup_printf("%s.%s\n", name, suffix);
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_port = htons(m->join_port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = connect_to(&addr, sizeof(addr));

    g_assert_cmpint(write(fd, line, strlen(line)), ==, strlen(line));
    return fd;
}

/* The host's port that is forwarded to a port of dom0 */
static int forwarded_port(const char *usernet, int port)
{
    g_autofree char *pattern =
        g_strdup_printf("127\\.0\\.0\\.1 +(\\d+) +[0-9.]+ +%d ", port);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *number = NULL;

    g_assert_true(g_regex_match(regex, usernet, 0, &match));
    number = g_match_info_fetch(match, 1);
    return atoi(number);
}

/*
 * What waits in the machine (a guest 3 s for its back end, xl 10 s for a device
 * model) cannot be told of slowness, but its clock can.
 */
static void slow_clock(void)
{
    g_autofree char *rate = g_strdup_printf("+0 x%.3f", 1.0 / slowness());

    if (slowness() > 1) {
        g_setenv("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1", true);
        g_setenv("FAKETIME", rate, true);
    }
}

static void own_clock(void)
{
    g_unsetenv("LD_PRELOAD");
    g_unsetenv("FAKETIME");
}

NestedMachine *nested_boot(const char *dom0_type, const char *dom0_options)
{
    const char *images = need_env("XEN_NESTED_IMAGES",
                                  "the directory of the nested machine");
    const char *kernel = need_env("XEN_NESTED_KERNEL", "dom0's kernel");
    const char *out = need_env("XEN_NESTED_OUT", "a directory for logs");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_autofree char *console = NULL;
    g_autofree char *usernet = NULL;
    NestedMachine *m = g_new0(NestedMachine, 1);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/nested-%d.sock",
             g_get_tmp_dir(), getpid());
    g_assert_cmpint(g_mkdir_with_parents(out, 0755), ==, 0);
    m->dir = realpath(out, NULL);
    g_assert_nonnull(m->dir);
    g_free(console_dir);
    console_dir = g_strdup(m->dir);
    console = g_strdup_printf("%s/console.log", m->dir);
    unlink(console);

    nested_limit("booting dom0", BOOT_SECONDS);
    qtest_add_abrt_handler(show_consoles, m);
    slow_clock();
    m->qts = qtest_initf(
        "-nodefaults -no-user-config -no-reboot "
        "-L /usr/share/seabios -L /usr/share/qemu "
        "-accel tcg -machine q35 -cpu " OUTER_CPU " "
        /* with two, TCG's emulation of SVM stops or breaks dom0 now and then */
        "-smp 1 -m 3G -device amd-iommu "
        "-kernel '%s/xen' "
        "-append 'dom0=%s dom0_mem=1280M dom0_max_vcpus=1 console=com1 "
        "noreboot conring_size=1M loglvl=warning guest_loglvl=warning' "
        "-initrd '%s console=hvc0 panic=-1 loglevel=6 %s,%s/dom0-initrd.img' "
        "-chardev file,id=console,path='%s' -serial chardev:console "
        "-drive if=none,id=dom0,file='%s/dom0.img',format=raw,readonly=on "
        "-device virtio-blk-pci,drive=dom0," VIRTIO_OPTS " "
        /* not read-only: xen-block fails to open a read-only image */
        "-drive if=none,id=guest,file='%s/guest.img',format=raw,snapshot=on "
        "-device virtio-blk-pci,drive=guest," VIRTIO_OPTS " "
        "-drive if=none,id=payload,file='%s/payload.img',format=raw,"
        "readonly=on "
        "-device virtio-blk-pci,drive=payload," VIRTIO_OPTS " "
        "-fsdev local,id=share,path='%s',security_model=none "
        "-device virtio-9p-pci,fsdev=share,mount_tag=share," VIRTIO_OPTS " "
        "-chardev socket,id=agent,path='%s',server=on,wait=off "
        "-device virtio-serial-pci," VIRTIO_OPTS " "
        "-device virtserialport,chardev=agent,name=dom0.agent "
        "-netdev user,id=net,hostfwd=tcp:127.0.0.1:0-:7000,"
        "hostfwd=tcp:127.0.0.1:0-:5901,hostfwd=tcp:127.0.0.1:0-:5902 "
        "-device virtio-net-pci,netdev=net,romfile=," VIRTIO_OPTS " "
        "-device virtio-rng-pci," VIRTIO_OPTS,
        images, dom0_type, kernel, dom0_options, images, console, images,
        images, images, m->dir, addr.sun_path);
    own_clock();

    usernet = qtest_hmp(m->qts, "info usernet");
    m->join_port = forwarded_port(usernet, 7000);
    m->vnc_port[0] = forwarded_port(usernet, 5901);
    m->vnc_port[1] = forwarded_port(usernet, 5902);

    wait_for_line(m, "console.log", "dom0: ready", 1);
    m->dom0.name = g_strdup("dom0");
    m->dom0.fd = connect_to(&addr, sizeof(addr));
    unlink(addr.sun_path);
    agent_sync(&m->dom0);
    nested_limit("nothing", 0);
    return m;
}

void nested_shutdown(NestedMachine *m)
{
    close(m->dom0.fd);
    qtest_quit(m->qts);
    qtest_remove_abrt_handler(m);
    g_free(m->dom0.name);
    free(m->dir);
    g_free(m);
}

void nested_check_log(NestedMachine *m)
{
    g_autofree char *path = g_strdup_printf("%s/console.log", m->dir);
    g_autofree char *text = NULL;
    /* with some of what follows: the task, its stack */
    g_autoptr(GRegex) bad =
        g_regex_new("^.*(BUG:|WARNING:|Oops|INFO: task|possible circular|"
                    "inconsistent lock|Bad page|domain_crash|"
                    "kmemleak: .*(suspected|Cannot|disabled|empty))"
                    ".*(\n.*){0,30}", G_REGEX_MULTILINE, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    if (g_regex_match(bad, text, 0, &match)) {
        g_autofree char *complaint = g_match_info_fetch(match, 0);

        nested_fail("dom0 or Xen complains:\n%s", complaint);
    }
}

static char *agent_exec(NestedAgent *agent, int *status, const char *command)
{
    g_autoptr(QDict) started = NULL;
    int64_t pid;
    unsigned int wait = 20;

    qmp_fd_send(agent->fd,
                "{'execute': 'guest-exec', 'arguments': {"
                "'path': '/bin/sh', 'arg': ['-c', %s], "
                "'capture-output': 'merged'}}", command);
    started = receive_return(agent->fd);
    pid = qdict_get_int(qdict_get_qdict(started, "return"), "pid");

    for (;;) {
        g_autoptr(QDict) answer = NULL;
        QDict *state;

        g_usleep(wait * 1000);
        wait = MIN(wait * 2, 250);
        qmp_fd_send(agent->fd, "{'execute': 'guest-exec-status', "
                    "'arguments': {'pid': %" PRId64 "}}", pid);
        answer = receive_return(agent->fd);
        state = qdict_get_qdict(answer, "return");
        if (qdict_get_bool(state, "exited")) {
            const char *data = qdict_get_try_str(state, "out-data");
            g_autofree guchar *raw = NULL;
            gsize len = 0;

            /* a process that a signal ended has no exit code */
            *status = qdict_get_try_int(state, "exitcode", 255);
            raw = data ? g_base64_decode(data, &len) : NULL;
            return g_strndup(raw ? (char *)raw : "", len);
        }
    }
}

char *nested_exec(NestedAgent *agent, int *status, const char *fmt, ...)
{
    g_autofree char *command = NULL;
    va_list ap;

    va_start(ap, fmt);
    command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return agent_exec(agent, status, command);
}

static char *agent_vrun(NestedAgent *agent, const char *fmt, va_list ap)
{
    g_autofree char *command = g_strdup_vprintf(fmt, ap);
    char *output;
    int status;

    output = agent_exec(agent, &status, command);
    if (status) {
        nested_fail("%s: '%s' exited with %d: %s", agent->name, command,
                    status, output);
    }
    return output;
}

char *nested_run(NestedAgent *agent, const char *fmt, ...)
{
    char *output;
    va_list ap;

    va_start(ap, fmt);
    output = agent_vrun(agent, fmt, ap);
    va_end(ap);
    return output;
}

void nested_do(NestedAgent *agent, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(agent_vrun(agent, fmt, ap));
    va_end(ap);
}

void nested_wait(NestedAgent *agent, const char *fmt, ...)
{
    g_autofree char *condition = NULL;
    va_list ap;

    va_start(ap, fmt);
    condition = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    nested_do(agent, "end=$(($(date +%%s) + %d)); until %s; do "
              "[ $(date +%%s) -lt $end ] || exit 1; sleep 0.1; done",
              NESTED_PATIENCE, condition);
}

void nested_guest_disconnect(NestedGuest *g)
{
    if (g->agent.fd >= 0) {
        close(g->agent.fd);
    }
    if (g->qmp_fd >= 0) {
        close(g->qmp_fd);
    }
    g->agent.fd = g->qmp_fd = -1;
}

void nested_guest_connect_qmp(NestedGuest *g)
{
    g->qmp_fd = join(g->machine, g->name, "qmp");
    qobject_unref(qmp_fd_receive(g->qmp_fd));   /* the greeting */
    qmp_fd_send(g->qmp_fd, "{'execute': 'qmp_capabilities'}");
    qobject_unref(receive_return(g->qmp_fd));
}

void nested_guest_connect(NestedGuest *g)
{
    g_autofree char *log = g_strdup_printf("guest-%s.log", g->name);

    wait_for_line(g->machine, log, "guest: ready", ++g->boots);
    g->agent.fd = join(g->machine, g->name, "agent");
    agent_sync(&g->agent);
    nested_guest_connect_qmp(g);
}

/* The device model's arguments for @path */
static char *path_args(NestedMachine *m, const char *path)
{
    g_autofree char *card = NULL;

    if (!strcmp(path, "virgl")) {
        return g_strdup("'-global', 'xen-vdispl.path=placed',\n"
                        "    '-global', 'xen-vdispl.allocator=virgl',\n");
    }
    if (!strcmp(path, "gbm")) {
        card = nested_run(&m->dom0,
                          "basename /sys/devices/platform/vkms/drm/card?");
        return g_strdup_printf(
            "'-global', 'xen-vdispl.path=placed',\n"
            "    '-global', 'xen-vdispl.allocator=gbm',\n"
            "    '-global', 'xen-vdispl.rendernode=/dev/dri/%s',\n",
            g_strchomp(card));
    }
    return g_strdup_printf("'-global', 'xen-vdispl.path=%s',\n",
                           strcmp(path, "imported") ? path : "auto");
}

const char *nested_path_shown(const char *path)
{
    return !strcmp(path, "virgl") || !strcmp(path, "gbm") ? "placed" : path;
}

NestedGuest *nested_guest_create(NestedMachine *m, const char *name,
                                 const char *type, const char *path,
                                 const char *connectors, const char *display)
{
    NestedGuest *g = g_new0(NestedGuest, 1);
    g_autofree char *file = g_strdup_printf("%s/%s.cfg", m->dir, name);
    g_autofree char *log = g_strdup_printf("%s/guest-%s.log", m->dir, name);
    g_autofree char *args = path_args(m, path);
    /*
     * Debian's Linux cannot map dom0's buffers into a PV guest's programs: Xen
     * refuses the page table entries, and a client dies of SIGBUS
     */
    bool own_kernel = !strcmp(type, "pv") && !strcmp(path, "imported");
    g_autofree char *vdispl = connectors ?
        g_strdup_printf("vdispl = ['backend=0,be-alloc=%d,connectors=%s']\n",
                        !strcmp(path, "imported"), connectors) : g_strdup("");
    g_autofree char *config = g_strdup_printf(
        "name = '%s'\n"
        "type = '%s'\n"
        "memory = 384\n"
        "vcpus = 1\n"
        "kernel = '/nested/%s'\n"
        "ramdisk = '/nested/%s'\n"
        "extra = 'console=hvc0 loglevel=6%s'\n"
        "disk = ['format=raw,vdev=xvda,backendtype=qdisk,target=/dev/vdb']\n"
        "channel = ['name=agent,connection=socket,"
        "path=/run/nested/%s.agent']\n"
        "device_model_version = 'qemu-xen'\n"
        "device_model_override = '/nested/qemu-system-x86_64'\n"
        "device_model_args = ['-L', '/usr/share/qemu',\n"
        "    '-qmp', 'unix:/run/nested/%s.qmp,server=on,wait=off',\n"
        "    '-qmp', 'unix:/run/nested/%s.monitor,server=on,wait=off',\n"
        "    '-display', '%s',\n"
        "    %s"
        "    '-global', 'xen-vdispl.be-alloc=on',\n"
        "    '-device', 'xen-vdispl-screens,id=screens,count=2',\n"
        "    '-vnc', ':1,display=screens,head=0',\n"
        "    '-vnc', ':2,display=screens,head=1']\n"
        /* an HVM guest has these otherwise */
        "vga = 'none'\n"
        "vnc = 0\n"
        "on_poweroff = 'destroy'\n"
        "on_reboot = 'restart'\n"
        "on_crash = 'destroy'\n"
        "%s", name, type, own_kernel ? "vmlinuz" : "guest-vmlinuz",
        own_kernel ? "own-guest-initrd.img" : "guest-initrd.img",
        /* no tests at boot, no cards but the frontend's; lockdep takes time */
        own_kernel ? " kunit.enable=0 initcall_blacklist=vgem_init,vkms_init "
                     "lockdep.prove_locking=0" : "",
        name, name, name, display ?: "none", args, vdispl);

    g->machine = m;
    g->name = g_strdup(name);
    g->agent.name = g_strdup(name);
    g->agent.fd = g->qmp_fd = -1;

    unlink(log);
    g_assert_true(g_file_set_contents(file, config, -1, NULL));
    nested_limit("creating a guest", 3 * GUEST_SECONDS);
    /* xl gives a device model 10 s to answer, too little on a busy machine */
    nested_do(&m->dom0, "for try in 1 2 3; do xl create /share/%s.cfg && "
              "exit; sleep 5; done; exit 1", name);
    nested_guest_connect(g);
    nested_limit("nothing", 0);
    return g;
}

void nested_guest_free(NestedGuest *g)
{
    nested_guest_disconnect(g);
    g_free(g->agent.name);
    g_free(g->name);
    g_free(g);
}

unsigned int nested_guest_domid(NestedGuest *g)
{
    g_autofree char *id = nested_run(&g->machine->dom0, "xl domid %s",
                                     g->name);

    return atoi(id);
}

QDict *nested_qmp(NestedGuest *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    qmp_fd_vsend(g->qmp_fd, fmt, ap);
    va_end(ap);
    return receive(g->qmp_fd);
}

void nested_qmp_do(NestedGuest *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    qmp_fd_vsend(g->qmp_fd, fmt, ap);
    va_end(ap);
    qobject_unref(receive_return(g->qmp_fd));
}

NestedPicture *nested_picture_new(unsigned int width, unsigned int height)
{
    NestedPicture *picture = g_new0(NestedPicture, 1);

    picture->width = width;
    picture->height = height;
    picture->rgb = g_malloc0(3 * (size_t)width * height);
    return picture;
}

void nested_picture_free(NestedPicture *picture)
{
    if (picture) {
        g_free(picture->rgb);
        g_free(picture);
    }
}

void nested_picture_write(const NestedPicture *picture, const char *file)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = picture->width,
        .height = picture->height,
        .format = PNG_FORMAT_RGB,
    };

    if (!png_image_write_to_file(&image, file, false, picture->rgb, 0, NULL)) {
        nested_fail("%s: %s", file, image.message);
    }
}

NestedPicture *nested_picture_read(const char *file)
{
    png_image image = { .version = PNG_IMAGE_VERSION };
    NestedPicture *picture;

    if (!png_image_begin_read_from_file(&image, file)) {
        nested_fail("%s: %s", file, image.message);
    }
    image.format = PNG_FORMAT_RGB;
    picture = nested_picture_new(image.width, image.height);
    if (!png_image_finish_read(&image, NULL, picture->rgb, 0, NULL)) {
        nested_fail("%s: %s", file, image.message);
    }
    return picture;
}

static NestedPicture *ppm_read(const char *file)
{
    NestedPicture *picture;
    unsigned int width, height;
    FILE *f = fopen(file, "r");
    size_t size;

    g_assert_nonnull(f);
    /* as QEMU writes it: no comments */
    g_assert_cmpint(fscanf(f, "P6 %u %u 255", &width, &height), ==, 2);
    g_assert_cmpint(fgetc(f), ==, '\n');
    picture = nested_picture_new(width, height);
    size = 3 * (size_t)width * height;
    g_assert_cmpuint(fread(picture->rgb, 1, size, f), ==, size);
    fclose(f);
    return picture;
}

NestedPicture *nested_screendump(NestedGuest *g, unsigned int head)
{
    g_autofree char *name = g_strdup_printf("screen-%s-%u.ppm", g->name, head);
    g_autofree char *inside = g_strdup_printf("/tmp/%s", name);
    g_autofree char *outside = g_strdup_printf("%s/%s", g->machine->dir, name);
    NestedPicture *picture;
    g_autoptr(QDict) answer =
        nested_qmp(g, "{'execute': 'screendump', 'arguments': {"
                   "'filename': %s, 'device': 'screens', 'head': %u}}",
                   inside, head);

    if (!qdict_haskey(answer, "return")) {
        g_test_message("screendump: %s",
                       qdict_get_str(qdict_get_qdict(answer, "error"),
                                     "desc"));
        return NULL;
    }
    /* not by the device model, which serves nobody while it writes there */
    nested_do(&g->machine->dom0, "mv %s /share", inside);
    picture = ppm_read(outside);
    unlink(outside);
    return picture;
}

void nested_load_frontend(NestedGuest *g)
{
    nested_do(&g->agent, "modprobe drm_xen_front");
    nested_wait(&g->agent, "[ -e " NESTED_CARD " ]");
}

void nested_find_connectors(NestedGuest *g, int *ids)
{
    g_autofree char *list =
        nested_run(&g->agent, NESTED_MODETEST " -c 2>/dev/null | "
                   "awk '$3 == \"connected\" { print $1 }'");

    if (sscanf(list, "%d %d", &ids[0], &ids[1]) != 2) {
        nested_fail("modetest finds no two connectors, but '%s'", list);
    }
}

void nested_modetest(NestedGuest *g, const char *fmt, ...)
{
    g_autofree char *args = NULL;
    va_list ap;

    va_start(ap, fmt);
    args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    /* it goes on until its standard input has something */
    nested_do(&g->agent, "sleep 1000 < /dev/null 2> /dev/null | "
              NESTED_MODETEST " %s > /run/client.log 2>&1 &", args);
}

void nested_client_stop(NestedGuest *g)
{
    nested_do(&g->agent,
              "pkill -x sleep; pkill -x 'modetest|flips'; "
              "while pgrep -x 'modetest|flips' > /dev/null; "
              "do sleep 0.05; done");
}

uint64_t nested_stat(NestedGuest *g, const char *property)
{
    g_autoptr(QDict) answer =
        nested_qmp(g, "{'execute': 'qom-get', 'arguments': {"
                   "'path': 'vdispl0', 'property': %s}}", property);

    if (!qdict_haskey(answer, "return")) {
        nested_fail("qom-get %s: %s", property,
                    qdict_get_str(qdict_get_qdict(answer, "error"), "desc"));
    }
    return qdict_get_int(answer, "return");
}

/*
 * The colour bars, as facts: the top two thirds are seven bars; the next ninth
 * is the blue ones of them reversed; the rest is, over five sevenths, in-phase,
 * white, quadrature, black, then three near-blacks over one seventh, and black.
 */
static uint32_t smpte_colour(unsigned int x, unsigned int y,
                             unsigned int width, unsigned int height)
{
    static const uint32_t top[] = {
        0xc0c0c0, 0xc0c000, 0x00c0c0, 0x00c000, 0xc000c0, 0xc00000, 0x0000c0,
    };
    static const uint32_t middle[] = {
        0x0000c0, 0x131313, 0xc000c0, 0x131313, 0x00c0c0, 0x131313, 0xc0c0c0,
    };
    static const uint32_t wide[] = { 0x00214c, 0xffffff, 0x32006a, 0x131313 };
    static const uint32_t narrow[] = { 0x090909, 0x131313, 0x1d1d1d, 0x131313 };
    unsigned int five = width * 5 / 7;

    if (y < height * 6 / 9) {
        return top[x * 7 / width];
    }
    if (y < height * 7 / 9) {
        return middle[x * 7 / width];
    }
    if (x < five) {
        return wide[x * 4 / five];
    }
    if (x < width * 6 / 7) {
        return narrow[(x - five) * 3 / (width / 7)];
    }
    return 0x131313;
}

/* What is left of an 8-bit value in a format that has fewer bits for it */
static uint8_t fewer_bits(uint8_t value, unsigned int bits)
{
    unsigned int kept = value >> (8 - bits);
    unsigned int back = kept << (8 - bits);

    for (unsigned int n = bits; n < 8; n += bits) {
        back |= back >> n;
    }
    return back;
}

static double limited(double value)
{
    return MIN(MAX(value, 0), 255);
}

/* BT.601, studio range, with @chroma's colour difference and @luma's luma */
static void by_yuv(uint8_t *rgb, uint32_t luma, uint32_t chroma)
{
    double r = luma >> 16, g = luma >> 8 & 255, b = luma & 255;
    double cr = chroma >> 16, cg = chroma >> 8 & 255, cb = chroma & 255;
    double y = round(16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256) - 16;
    double u = round((-37.945 * cr - 74.494 * cg + 112.439 * cb) / 256);
    double v = round((112.439 * cr - 94.154 * cg - 18.285 * cb) / 256);

    rgb[0] = limited(1.164 * y + 1.596 * v);
    rgb[1] = limited(1.164 * y - 0.392 * u - 0.813 * v);
    rgb[2] = limited(1.164 * y + 2.017 * u);
}

NestedPicture *nested_picture_smpte(unsigned int width, unsigned int height,
                                    const char *fourcc)
{
    static const struct {
        const char *fourcc;
        uint8_t bits[3];
    } formats[] = {
        { "XR24", { 8, 8, 8 } }, { "AR24", { 8, 8, 8 } },
        { "RG24", { 8, 8, 8 } }, { "RG16", { 5, 6, 5 } },
        { "XR15", { 5, 5, 5 } }, { "AR15", { 5, 5, 5 } },
        { "XR12", { 4, 4, 4 } }, { "AR12", { 4, 4, 4 } },
        { "YUYV", { 0, 0, 0 } },
    };
    NestedPicture *picture = nested_picture_new(width, height);
    uint8_t *rgb = picture->rgb;
    const uint8_t *bits = NULL;

    for (unsigned int i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (!strcmp(formats[i].fourcc, fourcc)) {
            bits = formats[i].bits;
        }
    }
    g_assert_nonnull(bits);

    for (unsigned int y = 0; y < height; y++) {
        for (unsigned int x = 0; x < width; x++, rgb += 3) {
            uint32_t colour = smpte_colour(x, y, width, height);

            if (!bits[0]) {
                by_yuv(rgb, colour, smpte_colour(x & ~1, y, width, height));
                continue;
            }
            for (unsigned int i = 0; i < 3; i++) {
                rgb[i] = fewer_bits(colour >> (16 - 8 * i), bits[i]);
            }
        }
    }
    return picture;
}

NestedPicture *nested_picture_crop(const NestedPicture *from, unsigned int x,
                                   unsigned int width, unsigned int height)
{
    NestedPicture *picture = nested_picture_new(width, height);

    g_assert_cmpuint(x + width, <=, from->width);
    g_assert_cmpuint(height, <=, from->height);
    for (unsigned int y = 0; y < height; y++) {
        memcpy(picture->rgb + 3 * (size_t)width * y,
               from->rgb + 3 * ((size_t)from->width * y + x),
               3 * (size_t)width);
    }
    return picture;
}

NestedPicture *nested_picture_solid(unsigned int width, unsigned int height,
                                    uint32_t rgb)
{
    NestedPicture *picture = nested_picture_new(width, height);

    for (size_t i = 0; i < (size_t)width * height; i++) {
        picture->rgb[3 * i] = rgb >> 16;
        picture->rgb[3 * i + 1] = rgb >> 8;
        picture->rgb[3 * i + 2] = rgb;
    }
    return picture;
}

char *nested_picture_difference(const NestedPicture *seen,
                                const NestedPicture *expected,
                                unsigned int tolerance)
{
    if (!seen) {
        return g_strdup("there is no picture");
    }
    if (seen->width != expected->width || seen->height != expected->height) {
        return g_strdup_printf("the size is %ux%u instead of %ux%u",
                               seen->width, seen->height,
                               expected->width, expected->height);
    }
    for (size_t i = 0; i < 3 * (size_t)seen->width * seen->height; i++) {
        if (abs(seen->rgb[i] - expected->rgb[i]) > tolerance) {
            const uint8_t *s = seen->rgb + i / 3 * 3;
            const uint8_t *e = expected->rgb + i / 3 * 3;

            return g_strdup_printf("pixel %zu,%zu is %02x%02x%02x instead of "
                                   "%02x%02x%02x", i / 3 % seen->width,
                                   i / 3 / seen->width, s[0], s[1], s[2],
                                   e[0], e[1], e[2]);
        }
    }
    return NULL;
}

void nested_expect(NestedGuest *g, unsigned int head, NestedPicture *expected,
                   unsigned int tolerance)
{
    gint64 end = nested_deadline();

    for (;;) {
        g_autoptr(NestedPicture) seen = nested_screendump(g, head);
        g_autofree char *how = nested_picture_difference(seen, expected,
                                                         tolerance);

        if (!how) {
            break;
        }
        if (g_get_monotonic_time() > end) {
            g_autofree char *file =
                g_strdup_printf("%s/expected-%s-%u.png", g->machine->dir,
                                g->name, head);

            nested_picture_write(expected, file);
            if (seen) {
                g_autofree char *shown =
                    g_strdup_printf("%s/shown-%s-%u.png", g->machine->dir,
                                    g->name, head);

                nested_picture_write(seen, shown);
            }
            if (g->agent.fd >= 0) {
                int status;
                g_autofree char *log =
                    nested_exec(&g->agent, &status,
                                "tail -n 5 /run/client.log; dmesg | tail");

                g_printerr("# the guest's client and kernel say: %s\n", log);
            }
            nested_fail("%s, connector %u: %s; see %s and shown-%s-%u.png",
                        g->name, head, how, file, g->name, head);
        }
        g_usleep(200 * 1000);
    }
    nested_picture_free(expected);
}
