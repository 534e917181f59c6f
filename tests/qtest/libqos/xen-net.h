/*
 * libqos: a frontend of Xen's network protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Two rings of one page each, with one event channel.  In the graph the node
 * xen-net-device, for which a test adds "-netdev TYPE,id=net0,...".
 */

#ifndef LIBQOS_XEN_NET_H
#define LIBQOS_XEN_NET_H

#include "qgraph.h"
#include "xen.h"
#include "hw/xen/interface/io/netif.h"

/**
 * QXenNet - the frontend
 * @obj: in the graph
 * @dev: xenstore directories
 * @port: event channel of both rings
 * @tx: ring of packets from the guest
 * @rx: ring of pages for packets to the guest
 * @next_id: of a request
 */
typedef struct QXenNet {
    QOSGraphObject obj;
    QXenDevice dev;
    uint32_t port;
    QXenRing tx;
    QXenRing rx;
    uint16_t next_id;
} QXenNet;

/**
 * qxen_net_send:
 * @net: the frontend
 * @ref: grant of the page that the packet is in
 * @offset: where it begins
 * @size: octets of it
 *
 * Returns: the status of the response, NETIF_RSP_...
 */
int qxen_net_send(QXenNet *net, uint32_t ref, uint16_t offset, uint16_t size);

/**
 * qxen_net_post:
 * @net: the frontend
 * @ref: grant of a page for the next packet that comes
 */
void qxen_net_post(QXenNet *net, uint32_t ref);

/**
 * qxen_net_receive:
 * @net: the frontend
 * @rsp: how a page of qxen_net_post() comes back: with a packet
 *
 * Fails the test if there is none after a while.
 */
void qxen_net_receive(QXenNet *net, netif_rx_response_t *rsp);

#endif /* LIBQOS_XEN_NET_H */
