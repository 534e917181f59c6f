/*
 * Page flips on several connectors at once, each at a rate of its own
 *
 * Runs in a guest, on libdrm. Connector I of the first card is flipped between
 * two buffers COUNT times, at least INTERVAL milliseconds apart; the frame with
 * number N is of one colour that only it has. Each flip has to be the one that
 * was asked for, and no other one may be pending. At the end the program says
 * so, a line per connector, and keeps the last frames shown until it is killed.
 *
 *   flips [-n] COUNT:INTERVAL...
 *
 * With -n each frame has a new buffer, and the one before last is destroyed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#define MAX_CONNECTORS 4

struct frame {
    uint32_t fb;
    uint32_t handle;
    uint32_t *pixels;
    size_t size;
};

struct connector {
    unsigned int index;
    uint32_t crtc;
    uint32_t width;
    uint32_t height;
    struct frame frame[2];
    unsigned int count;
    unsigned int interval;
    unsigned int asked;
    unsigned int done;
    int64_t next;
    int64_t started;
    int64_t ended;
};

static int card;
static bool new_buffers;

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* The colour that a test expects of frame @number of connector @index */
static void paint(struct connector *c, unsigned int number)
{
    struct frame *f = &c->frame[number & 1];
    uint32_t colour = (number & 0xff) << 16 | number >> 8 << 8 |
                      (c->index + 1) * 0x10;

    for (size_t i = 0; i < f->size / 4; i++) {
        f->pixels[i] = colour;
    }
}

static void make_frame(struct frame *f, uint32_t width, uint32_t height)
{
    uint32_t pitch;
    uint64_t size, offset;

    if (drmModeCreateDumbBuffer(card, width, height, 32, 0, &f->handle,
                                &pitch, &size) ||
        drmModeMapDumbBuffer(card, f->handle, &offset) ||
        drmModeAddFB(card, width, height, 24, 32, pitch, f->handle,
                     &f->fb)) {
        err(1, "%ux%u buffer", width, height);
    }
    f->size = size;
    f->pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, card,
                     offset);
    if (f->pixels == MAP_FAILED) {
        err(1, "mmap");
    }
}

static void drop_frame(struct frame *f)
{
    munmap(f->pixels, f->size);
    if (drmModeRmFB(card, f->fb) || drmModeDestroyDumbBuffer(card, f->handle)) {
        err(1, "cannot destroy a buffer");
    }
}

static void set_up(struct connector *c, drmModeRes *res, unsigned int index)
{
    drmModeConnector *conn = drmModeGetConnector(card, res->connectors[index]);
    drmModeModeInfo *mode;

    if (!conn || !conn->count_modes) {
        errx(1, "connector %u has no mode", index);
    }
    mode = &conn->modes[0];
    c->index = index;
    c->crtc = res->crtcs[index];
    c->width = mode->hdisplay;
    c->height = mode->vdisplay;
    make_frame(&c->frame[0], c->width, c->height);
    make_frame(&c->frame[1], c->width, c->height);
    paint(c, 0);
    if (drmModeSetCrtc(card, c->crtc, c->frame[0].fb, 0, 0,
                       &conn->connector_id, 1, mode)) {
        err(1, "connector %u: mode %s", index, mode->name);
    }
    drmModeFreeConnector(conn);
    c->started = c->next = now_ms();
}

static void flip(struct connector *c)
{
    c->asked++;
    if (new_buffers) {
        drop_frame(&c->frame[c->asked & 1]);
        make_frame(&c->frame[c->asked & 1], c->width, c->height);
    }
    paint(c, c->asked);
    if (drmModePageFlip(card, c->crtc, c->frame[c->asked & 1].fb,
                        DRM_MODE_PAGE_FLIP_EVENT, c)) {
        err(1, "connector %u: flip %u", c->index, c->asked);
    }
    c->next += c->interval;
}

static void flipped(int fd, unsigned int sequence, unsigned int sec,
                    unsigned int usec, void *data)
{
    struct connector *c = data;

    c->done++;
    if (c->done != c->asked) {
        errx(1, "connector %u: flip %u done, %u asked for", c->index, c->done,
             c->asked);
    }
    c->ended = now_ms();
}

int main(int argc, char **argv)
{
    static struct connector connectors[MAX_CONNECTORS];
    drmEventContext events = { .version = 2, .page_flip_handler = flipped };
    unsigned int n, running;
    drmModeRes *res;

    if (argc > 1 && !strcmp(argv[1], "-n")) {
        new_buffers = true;
        argv++;
        argc--;
    }
    n = argc - 1;
    card = drmOpen("xendrm-du", NULL);
    if (card < 0) {
        err(1, "no card of xen-drm-front");
    }
    res = drmModeGetResources(card);
    if (!res || n < 1 || n > MAX_CONNECTORS || res->count_connectors < n ||
        res->count_crtcs < n) {
        errx(1, "%u connectors wanted, %d are there", n,
             res ? res->count_connectors : 0);
    }
    for (unsigned int i = 0; i < n; i++) {
        struct connector *c = &connectors[i];

        if (sscanf(argv[i + 1], "%u:%u", &c->count, &c->interval) != 2) {
            errx(1, "usage: flips [-n] COUNT:INTERVAL...");
        }
        set_up(c, res, i);
    }

    do {
        struct pollfd pfd = { .fd = card, .events = POLLIN };
        int64_t now = now_ms(), wake = now + 5000;

        running = 0;
        for (unsigned int i = 0; i < n; i++) {
            struct connector *c = &connectors[i];

            if (c->asked == c->done && c->asked < c->count && c->next <= now) {
                flip(c);
            }
            if (c->done < c->count) {
                running++;
                if (c->asked == c->done && c->next < wake) {
                    wake = c->next;
                }
            }
        }
        if (running && poll(&pfd, 1, wake > now ? wake - now : 0) == 1) {
            drmHandleEvent(card, &events);
        } else if (running && now_ms() - now >= 5000) {
            errx(1, "a flip was not done for 5 s");
        }
    } while (running);

    for (unsigned int i = 0; i < n; i++) {
        struct connector *c = &connectors[i];

        printf("connector %u: %u flips in %lld ms\n", i, c->done,
               (long long)(c->ended - c->started));
    }
    printf("done\n");
    fflush(stdout);
    pause();
    return 0;
}
