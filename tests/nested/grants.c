/*
 * Memory that dom0 and a guest grant each other
 *
 *   grants import DOMID COUNT   in dom0: grants the COUNT pages of a dma-buf
 *                               to the guest and prints the references
 *   grants hold REF...          in the guest: maps what dom0 granted
 *   grants share                in the guest: grants the picture of texture.h
 *                               to dom0 and prints the references
 *
 * They say what they have done and go on until they are sent SIGTERM. With
 * "import" and "hold" each page holds its number; the one in dom0 then releases
 * the grants, whether the guest still has them mapped or not, and the one in
 * the guest checks that the pages hold what it wrote. "share" draws the next
 * picture when it is sent SIGUSR1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/dma-heap.h>
#include "texture.h"
#include "tool.h"

/* The kernel's header expects these to be known */
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntalloc.h>
#include <xen/gntdev.h>

#define MAX_COUNT 1024

static int gntdev;

static void wait_for_term(void)
{
    while (!tool_wait()) {
        /* the next picture is none of its business */
    }
}

static void fill(uint32_t *pages, unsigned int count, uint32_t first)
{
    for (unsigned int i = 0; i < count * PAGE / sizeof(*pages); i++) {
        pages[i] = first + i / (PAGE / sizeof(*pages));
    }
}

static void check(const uint32_t *pages, unsigned int count, uint32_t first)
{
    for (unsigned int i = 0; i < count * PAGE / sizeof(*pages); i++) {
        uint32_t expected = first + i / (PAGE / sizeof(*pages));

        if (pages[i] != expected) {
            errx(1, "word %u holds 0x%x, and not 0x%x", i, pages[i], expected);
        }
    }
}

static void import(unsigned int domid, unsigned int count)
{
    struct dma_heap_allocation_data buffer = {
        .len = count * PAGE,
        .fd_flags = O_RDWR | O_CLOEXEC,
    };
    struct ioctl_gntdev_dmabuf_imp_release release = { 0 };
    struct ioctl_gntdev_dmabuf_imp_to_refs *to_refs;
    uint32_t *pages;
    int heap;

    heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    if (heap < 0) {
        err(1, "/dev/dma_heap/system");
    }
    if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &buffer)) {
        err(1, "cannot allocate a dma-buf of %u pages", count);
    }
    pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                 buffer.fd, 0);
    if (pages == MAP_FAILED) {
        err(1, "cannot map the dma-buf");
    }
    fill(pages, count, 0);

    to_refs = calloc(1, sizeof(*to_refs) + count * sizeof(to_refs->refs[0]));
    to_refs->fd = buffer.fd;
    to_refs->count = count;
    to_refs->domid = domid;
    if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_IMP_TO_REFS, to_refs)) {
        err(1, "cannot grant the dma-buf to domain %u", domid);
    }
    printf("granted");
    for (unsigned int i = 0; i < count; i++) {
        printf(" %u", to_refs->refs[i]);
    }
    printf("\n");

    wait_for_term();
    release.fd = buffer.fd;
    if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_IMP_RELEASE, &release)) {
        err(1, "cannot release the dma-buf");
    }
    printf("released\n");
}

static void hold(unsigned int count, char **refs)
{
    struct ioctl_gntdev_map_grant_ref *map;
    uint32_t *pages;

    map = calloc(1, sizeof(*map) + count * sizeof(map->refs[0]));
    map->count = count;
    for (unsigned int i = 0; i < count; i++) {
        map->refs[i].domid = 0;
        map->refs[i].ref = strtoul(refs[i], NULL, 10);
    }
    if (ioctl(gntdev, IOCTL_GNTDEV_MAP_GRANT_REF, map)) {
        err(1, "gntdev does not take %u references", count);
    }
    pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                 gntdev, map->index);
    if (pages == MAP_FAILED) {
        err(1, "cannot map %u grants of domain 0", count);
    }
    check(pages, count, 0);
    fill(pages, count, 0x1000);
    printf("mapped\n");

    wait_for_term();
    check(pages, count, 0x1000);
    printf("intact\n");
}

static void share(void)
{
    struct ioctl_gntalloc_alloc_gref *alloc;
    int gntalloc = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    uint32_t *pixels;
    uint32_t seed = 0;

    if (gntalloc < 0) {
        err(1, "/dev/xen/gntalloc");
    }
    alloc = calloc(1, sizeof(*alloc) + PAGES * sizeof(alloc->gref_ids[0]));
    alloc->flags = GNTALLOC_FLAG_WRITABLE;
    alloc->count = PAGES;
    if (ioctl(gntalloc, IOCTL_GNTALLOC_ALLOC_GREF, alloc)) {
        err(1, "cannot grant %u pages", PAGES);
    }
    pixels = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  gntalloc, alloc->index);
    if (pixels == MAP_FAILED) {
        err(1, "cannot map what is granted");
    }
    do {
        for (unsigned int i = 0; i < WIDTH * HEIGHT; i++) {
            pixels[i] = texture_pixel(i % WIDTH, i / WIDTH, seed);
        }
        if (seed) {
            printf("drawn %u\n", seed);
        } else {
            printf("shared");
            for (unsigned int i = 0; i < PAGES; i++) {
                printf(" %u", alloc->gref_ids[i]);
            }
            printf("\n");
        }
        seed++;
    } while (!tool_wait());
}

int main(int argc, char **argv)
{
    gntdev = tool_init();
    if (argc == 4 && !strcmp(argv[1], "import")) {
        unsigned long count = strtoul(argv[3], NULL, 10);

        if (count == 0 || count > MAX_COUNT) {
            errx(2, "COUNT is 1 to %u", MAX_COUNT);
        }
        import(strtoul(argv[2], NULL, 10), count);
    } else if (argc > 2 && argc <= MAX_COUNT && !strcmp(argv[1], "hold")) {
        hold(argc - 2, argv + 2);
    } else if (argc == 2 && !strcmp(argv[1], "share")) {
        share();
    } else {
        errx(2, "usage: %s import DOMID COUNT | hold REF... | share", argv[0]);
    }
    return 0;
}
