/*
 * libqos: a frontend of Xen's block protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "xen-block.h"
#include "hw/xen/interface/io/blkif.h"
#include "hw/xen/interface/io/protocols.h"

/* What xenstore calls the disk "xvda": major 202, minor 0 */
#define DISK_XVDA       51712

int qxen_block_request(QXenBlock *blk, uint8_t operation, uint64_t sector,
                       uint32_t ref)
{
    blkif_request_t req = {
        .operation = operation,
        .nr_segments = operation != BLKIF_OP_FLUSH_DISKCACHE,
        .id = blk->next_id++,
        .sector_number = sector,
        .seg[0] = {
            .gref = ref,
            .first_sect = 0,
            .last_sect = XEN_PAGE_SIZE / 512 - 1,
        },
    };
    blkif_response_t rsp;

    qxen_ring_put(&blk->ring, &req, sizeof(req));
    qxen_ring_push(&blk->ring);
    qxen_ring_wait(&blk->ring, &rsp, sizeof(rsp));
    g_assert_cmpuint(rsp.id, ==, req.id);
    g_assert_cmpuint(rsp.operation, ==, operation);
    return rsp.status;
}

/* The node of the graph */

static void xen_block_start_hw(QOSGraphObject *obj)
{
    QXenBlock *blk = (QXenBlock *)obj;
    QXen *xen = blk->dev.xen;

    qxen_ring_init(&blk->ring, xen, qxen_evtchn_alloc(xen),
                   offsetof(struct blkif_sring, ring),
                   sizeof(union blkif_sring_entry),
                   __CONST_RING_SIZE(blkif, XEN_PAGE_SIZE));
    qxen_device_fe_write(&blk->dev, "ring-ref", "%u", blk->ring.ref);
    qxen_device_fe_write(&blk->dev, "event-channel", "%u", blk->ring.port);
    qxen_device_fe_write(&blk->dev, "protocol", "%s",
                         XEN_IO_PROTO_ABI_X86_64);
    qxen_device_set_state(&blk->dev, XenbusStateInitialised);
    qxen_device_wait(&blk->dev, XenbusStateConnected);
    qxen_device_set_state(&blk->dev, XenbusStateConnected);
    qxen_settle(xen);
}

static void xen_block_destructor(QOSGraphObject *obj)
{
    QXenBlock *blk = (QXenBlock *)obj;

    qxen_device_close(&blk->dev);
    qxen_device_assert_idle(&blk->dev);
    qxen_ring_cleanup(&blk->ring);
    qxen_evtchn_close(blk->dev.xen, blk->ring.port);
    qxen_device_cleanup(&blk->dev);
}

static void *xen_block_create(void *bus, QGuestAllocator *alloc, void *arg)
{
    QXenBlock *blk = g_new0(QXenBlock, 1);

    blk->obj.start_hw = xen_block_start_hw;
    blk->obj.destructor = xen_block_destructor;
    qxen_device_init(&blk->dev, bus, "qdisk", "vbd", DISK_XVDA);
    qxen_device_open(&blk->dev);
    return &blk->obj;
}

static void xen_block_register_nodes(void)
{
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "drive=drive0,vdev=xvda",
    };

    qos_node_create_driver("xen-disk", xen_block_create);
    qos_node_consumes("xen-disk", "xen-bus", &opts);
}

libqos_init(xen_block_register_nodes);
