/*
 * Test of the Xen block back end, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "libqos/xen-block.h"
#include "hw/xen/interface/io/blkif.h"

#define DISK_SIZE   (1024 * 1024)

static void disk_remove(void *file)
{
    unlink(file);
    g_free(file);
}

/* A disk of zeroes.  Returns: the file that it is in, for the test */
static void *disk_setup(GString *cmd_line, void *arg)
{
    char *file;
    int fd = g_file_open_tmp("xen-disk-XXXXXX", &file, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    close(fd);
    g_string_append_printf(cmd_line,
                           " -drive if=none,id=drive0,format=raw,file=%s",
                           file);
    g_test_queue_destroy(disk_remove, file);
    return file;
}

/* Write, flush and read; the file has what was written */
static void test_io(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenBlock *blk = obj;
    QXen *xen = blk->dev.xen;
    uint8_t out[XEN_PAGE_SIZE], in[XEN_PAGE_SIZE];
    g_autofree char *contents = NULL;
    uint64_t addr[2];
    uint32_t ref[2];
    gsize size;
    int i;

    for (i = 0; i < XEN_PAGE_SIZE; i++) {
        out[i] = i * 7 + i / 256;
    }
    for (i = 0; i < 2; i++) {
        addr[i] = qxen_page_alloc(xen, 1);
        /* A page to be written from need only be granted to be read */
        ref[i] = qxen_grant(xen, addr[i], i ? 0 : XEN_QTEST_GRANT_READONLY);
    }

    qtest_memwrite(xen->qts, addr[0], out, sizeof(out));
    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_WRITE, 24, ref[0]), ==,
                    BLKIF_RSP_OKAY);
    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_FLUSH_DISKCACHE, 0, 0),
                    ==, BLKIF_RSP_OKAY);
    g_assert(g_file_get_contents(data, &contents, &size, NULL));
    g_assert_cmpuint(size, ==, DISK_SIZE);
    g_assert(!memcmp(contents + 24 * 512, out, sizeof(out)));

    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_READ, 24, ref[1]), ==,
                    BLKIF_RSP_OKAY);
    qtest_memread(xen->qts, addr[1], in, sizeof(in));
    g_assert(!memcmp(in, out, sizeof(in)));

    for (i = 0; i < 2; i++) {
        qxen_grant_end(xen, ref[i]);
        qxen_page_free(xen, addr[i]);
    }
}

/* Beyond the disk's end; a page not granted, or not to be written */
static void test_errors(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenBlock *blk = obj;
    QXen *xen = blk->dev.xen;
    uint64_t addr = qxen_page_alloc(xen, 1);
    uint32_t ref = qxen_grant(xen, addr, XEN_QTEST_GRANT_READONLY);

    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_WRITE, DISK_SIZE / 512,
                                       ref), ==, BLKIF_RSP_ERROR);
    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_READ, 0, ref), ==,
                    BLKIF_RSP_ERROR);
    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_WRITE, 0, ref + 1000),
                    ==, BLKIF_RSP_ERROR);
    g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_WRITE, 0, ref), ==,
                    BLKIF_RSP_OKAY);
    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
}

/* A copy that fails is an error of that request, and of no other */
static void test_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenBlock *blk = obj;
    QXen *xen = blk->dev.xen;
    uint64_t addr = qxen_page_alloc(xen, 1);
    uint32_t ref = qxen_grant(xen, addr, 0);
    int i;

    qxen_fault(xen, XEN_QTEST_CALL_GRANT_COPY, 2, ENOMEM);
    for (i = 1; i <= 3; i++) {
        g_assert_cmpint(qxen_block_request(blk, BLKIF_OP_READ, 0, ref), ==,
                        i == 2 ? BLKIF_RSP_ERROR : BLKIF_RSP_OKAY);
    }
    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
}

static void register_xen_block_test(void)
{
    QOSGraphTestOptions opts = { .before = disk_setup };

    qos_add_test("io", "xen-disk", test_io, &opts);
    qos_add_test("errors", "xen-disk", test_errors, &opts);
    qos_add_test("faults", "xen-disk", test_faults, &opts);
}

libqos_init(register_xen_block_test);
