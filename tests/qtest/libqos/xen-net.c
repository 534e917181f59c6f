/*
 * libqos: a frontend of Xen's network protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "xen-net.h"

int qxen_net_send(QXenNet *net, uint32_t ref, uint16_t offset, uint16_t size)
{
    netif_tx_request_t req = {
        .gref = ref,
        .offset = offset,
        .id = net->next_id++,
        .size = size,
    };
    netif_tx_response_t rsp;

    qxen_ring_put(&net->tx, &req, sizeof(req));
    qxen_ring_push(&net->tx);
    qxen_ring_wait(&net->tx, &rsp, sizeof(rsp));
    g_assert_cmpuint(rsp.id, ==, req.id);
    return rsp.status;
}

void qxen_net_post(QXenNet *net, uint32_t ref)
{
    netif_rx_request_t req = {
        .id = net->next_id++,
        .gref = ref,
    };

    qxen_ring_put(&net->rx, &req, sizeof(req));
    qxen_ring_push(&net->rx);
}

void qxen_net_receive(QXenNet *net, netif_rx_response_t *rsp)
{
    qxen_ring_wait(&net->rx, rsp, sizeof(*rsp));
}

/* The node of the graph */

static void xen_net_start_hw(QOSGraphObject *obj)
{
    QXenNet *net = (QXenNet *)obj;
    QXen *xen = net->dev.xen;

    net->port = qxen_evtchn_alloc(xen);
    qxen_ring_init(&net->tx, xen, net->port,
                   offsetof(struct netif_tx_sring, ring),
                   sizeof(union netif_tx_sring_entry),
                   __CONST_RING_SIZE(netif_tx, XEN_PAGE_SIZE));
    qxen_ring_init(&net->rx, xen, net->port,
                   offsetof(struct netif_rx_sring, ring),
                   sizeof(union netif_rx_sring_entry),
                   __CONST_RING_SIZE(netif_rx, XEN_PAGE_SIZE));
    qxen_device_fe_write(&net->dev, "tx-ring-ref", "%u", net->tx.ref);
    qxen_device_fe_write(&net->dev, "rx-ring-ref", "%u", net->rx.ref);
    qxen_device_fe_write(&net->dev, "event-channel", "%u", net->port);
    qxen_device_fe_write(&net->dev, "request-rx-copy", "%u", 1);
    qxen_device_set_state(&net->dev, XenbusStateConnected);
    qxen_device_wait(&net->dev, XenbusStateConnected);
    qxen_settle(xen);
}

static void xen_net_destructor(QOSGraphObject *obj)
{
    QXenNet *net = (QXenNet *)obj;

    qxen_device_close(&net->dev);
    qxen_device_assert_idle(&net->dev);
    qxen_ring_cleanup(&net->tx);
    qxen_ring_cleanup(&net->rx);
    qxen_evtchn_close(net->dev.xen, net->port);
    qxen_device_cleanup(&net->dev);
}

static void *xen_net_create(void *bus, QGuestAllocator *alloc, void *arg)
{
    QXenNet *net = g_new0(QXenNet, 1);

    net->obj.start_hw = xen_net_start_hw;
    net->obj.destructor = xen_net_destructor;
    qxen_device_init(&net->dev, bus, "qnic", "vif", 0);
    qxen_device_open(&net->dev);
    return &net->obj;
}

static void xen_net_register_nodes(void)
{
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "netdev=net0,idx=0",
    };

    qos_node_create_driver("xen-net-device", xen_net_create);
    qos_node_consumes("xen-net-device", "xen-bus", &opts);
}

libqos_init(xen_net_register_nodes);
