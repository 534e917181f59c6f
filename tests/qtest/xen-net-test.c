/*
 * Test of the Xen network back end, without a Xen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqos/xen-net.h"

/* The other end of the cable; -netdev socket has a length before a packet */
static void cable_cleanup(void *sockets)
{
    int *sv = sockets;

    close(sv[0]);
    close(sv[1]);
    g_free(sv);
}

static void *cable_setup(GString *cmd_line, void *arg)
{
    int *sv = g_new(int, 2);

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    /* The last test's QEMU may have been told the same number */
    qos_invalidate_command_line();
    g_string_append_printf(cmd_line, " -netdev socket,id=net0,fd=%d", sv[1]);
    g_test_queue_destroy(cable_cleanup, sv);
    return sv;
}

static void cable_read(int *cable, void *data, size_t size)
{
    uint8_t *p = data;

    while (size) {
        ssize_t len = read(cable[0], p, size);

        g_assert_cmpint(len, >, 0);
        p += len;
        size -= len;
    }
}

/* An Ethernet frame of a private type, which is all that the back end needs */
static void frame_fill(uint8_t *frame, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        frame[i] = i * 11 + 1;
    }
    memset(frame, 0xff, 6);
    stw_be_p(frame + 12, 0x88b5);
}

/* A packet from the guest, from the middle of a page that it lets be read */
static void test_tx(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenNet *net = obj;
    QXen *xen = net->dev.xen;
    uint64_t addr = qxen_page_alloc(xen, 1);
    uint32_t ref = qxen_grant(xen, addr, XEN_QTEST_GRANT_READONLY);
    uint8_t out[200], in[sizeof(out)];
    uint32_t len;

    frame_fill(out, sizeof(out));
    qtest_memwrite(xen->qts, addr + 100, out, sizeof(out));
    g_assert_cmpint(qxen_net_send(net, ref, 100, sizeof(out)), ==,
                    NETIF_RSP_OKAY);
    cable_read(data, &len, sizeof(len));
    g_assert_cmpuint(ntohl(len), ==, sizeof(out));
    cable_read(data, in, sizeof(in));
    g_assert(!memcmp(in, out, sizeof(in)));

    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
}

/* A packet to the guest waits until the guest has a page for it */
static void test_rx(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenNet *net = obj;
    QXen *xen = net->dev.xen;
    uint64_t addr = qxen_page_alloc(xen, 1);
    uint32_t ref = qxen_grant(xen, addr, 0);
    int *cable = data;
    uint8_t out[4 + 200], in[sizeof(out) - 4];
    netif_rx_response_t rsp;

    stl_be_p(out, sizeof(in));
    frame_fill(out + 4, sizeof(in));
    g_assert_cmpint(write(cable[0], out, sizeof(out)), ==, sizeof(out));
    qxen_settle(xen);
    g_assert(!qxen_ring_get(&net->rx, &rsp, sizeof(rsp)));

    qxen_net_post(net, ref);
    qxen_net_receive(net, &rsp);
    g_assert_cmpint(rsp.status, ==, sizeof(in));
    qtest_memread(xen->qts, addr + rsp.offset, in, sizeof(in));
    g_assert(!memcmp(in, out + 4, sizeof(in)));

    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
}

/* Shorter than a header, beyond its page, a page that is not granted */
static void test_errors(void *obj, void *data, QGuestAllocator *alloc)
{
    QXenNet *net = obj;
    QXen *xen = net->dev.xen;
    uint64_t addr = qxen_page_alloc(xen, 1);
    uint32_t ref = qxen_grant(xen, addr, 0);

    g_assert_cmpint(qxen_net_send(net, ref, 0, 13), ==, NETIF_RSP_ERROR);
    g_assert_cmpint(qxen_net_send(net, ref, XEN_PAGE_SIZE - 63, 64), ==,
                    NETIF_RSP_ERROR);
    g_assert_cmpint(qxen_net_send(net, ref + 1000, 0, 64), ==,
                    NETIF_RSP_ERROR);
    g_assert_cmpint(qxen_net_send(net, ref, XEN_PAGE_SIZE - 64, 64), ==,
                    NETIF_RSP_OKAY);
    qxen_grant_end(xen, ref);
    qxen_page_free(xen, addr);
}

static void register_xen_net_test(void)
{
    QOSGraphTestOptions opts = { .before = cable_setup };

    qos_add_test("tx", "xen-net-device", test_tx, &opts);
    qos_add_test("rx", "xen-net-device", test_rx, &opts);
    qos_add_test("errors", "xen-net-device", test_errors, &opts);
}

libqos_init(register_xen_net_test);
