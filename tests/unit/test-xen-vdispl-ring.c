/*
 * The wire of the Xen PV display backend
 *
 * The test is the guest: it owns the two pages and may write anything there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"
#include "hw/display/xen-vdispl-ring.h"

typedef struct Guest {
    void *req_page;
    void *evt_page;
    xen_displif_front_ring_t front;
    struct xendispl_event_page *evt;
    uint32_t evt_cons;
    XenVDisplRing ring;

    /* What the backend was seen to do */
    unsigned int handled[256];
    unsigned int unknown;
    unsigned int notified;
    unsigned int answered;
    struct xendispl_req last;

    /* What its handlers do */
    int status;
    void (*misbehave)(struct Guest *guest);
} Guest;

static int handle(void *opaque, const struct xendispl_req *req)
{
    Guest *guest = opaque;

    guest->handled[req->operation]++;
    if (guest->misbehave) {
        guest->misbehave(guest);
    }
    /* Only now: the request must not have changed under the handler. */
    guest->last = *req;
    return guest->status;
}

static int handle_edid(void *opaque, const struct xendispl_req *req,
                       uint32_t *edid_sz)
{
    *edid_sz = 256;
    return handle(opaque, req);
}

static int handle_unknown(void *opaque, const struct xendispl_req *req)
{
    Guest *guest = opaque;

    guest->unknown++;
    return -XEN_EOPNOTSUPP;
}

static void count_answer(void *opaque, const struct xendispl_req *req,
                         int status)
{
    Guest *guest = opaque;

    guest->answered++;
}

static void count_notify(void *opaque)
{
    Guest *guest = opaque;

    guest->notified++;
}

static const XenVDisplRingOps ops = {
    .dbuf_create = handle,
    .dbuf_destroy = handle,
    .fb_attach = handle,
    .fb_detach = handle,
    .set_config = handle,
    .pg_flip = handle,
    .get_edid = handle_edid,
    .unknown = handle_unknown,
    .answered = count_answer,
    .notify = count_notify,
};

static Guest *guest_new(void)
{
    Guest *guest = g_new0(Guest, 1);
    xen_displif_sring_t *sring;

    guest->req_page = qemu_memalign(XEN_PAGE_SIZE, XEN_PAGE_SIZE);
    guest->evt_page = qemu_memalign(XEN_PAGE_SIZE, XEN_PAGE_SIZE);
    memset(guest->req_page, 0, XEN_PAGE_SIZE);
    memset(guest->evt_page, 0, XEN_PAGE_SIZE);
    guest->evt = guest->evt_page;

    sring = guest->req_page;
    SHARED_RING_INIT(sring);
    FRONT_RING_INIT(&guest->front, sring, XEN_PAGE_SIZE);
    xen_vdispl_ring_init(&guest->ring, guest->req_page, guest->evt_page,
                         &ops, guest);
    return guest;
}

static void guest_free(Guest *guest)
{
    qemu_vfree(guest->req_page);
    qemu_vfree(guest->evt_page);
    g_free(guest);
}

static void guest_send(Guest *guest, uint8_t operation, uint16_t id)
{
    struct xendispl_req *req = RING_GET_REQUEST(&guest->front,
                                                guest->front.req_prod_pvt);

    memset(req, 0, sizeof(*req));
    req->id = id;
    req->operation = operation;
    guest->front.req_prod_pvt++;
    RING_PUSH_REQUESTS(&guest->front);
}

static void guest_expect(Guest *guest, uint8_t operation, uint16_t id,
                         int status)
{
    struct xendispl_resp *resp;

    g_assert_cmpuint(guest->front.rsp_cons, !=,
                     guest->front.sring->rsp_prod);
    resp = RING_GET_RESPONSE(&guest->front, guest->front.rsp_cons);
    g_assert_cmpuint(resp->operation, ==, operation);
    g_assert_cmpuint(resp->id, ==, id);
    g_assert_cmpint(resp->status, ==, status);
    guest->front.rsp_cons++;
}

static void guest_expect_event(Guest *guest, uint16_t id, uint64_t cookie)
{
    struct xendispl_evt *evt;

    g_assert_cmpuint(guest->evt_cons, !=, guest->evt->in_prod);
    evt = &XENDISPL_IN_RING_REF(guest->evt, guest->evt_cons);
    g_assert_cmpuint(evt->type, ==, XENDISPL_EVT_PG_FLIP);
    g_assert_cmpuint(evt->id, ==, id);
    g_assert_cmpuint(evt->op.pg_flip.fb_cookie, ==, cookie);
    guest->evt_cons++;
    guest->evt->in_cons = guest->evt_cons;
}

/* Each operation reaches its handler, and is answered with its id. */
static void test_dispatch(void)
{
    Guest *guest = guest_new();

    for (uint8_t op = XENDISPL_OP_DBUF_CREATE;
         op <= XENDISPL_OP_GET_EDID; op++) {
        guest->status = -op;
        guest_send(guest, op, 0xab00 | op);
        g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                        XEN_VDISPL_RING_IDLE);
        g_assert_cmpuint(guest->handled[op], ==, 1);
        guest_expect(guest, op, 0xab00 | op, -op);
        g_assert_cmpstr(xen_vdispl_op_name(op), !=,
                        xen_vdispl_op_name(0));
    }
    g_assert_cmpuint(guest->unknown, ==, 0);
    guest_free(guest);
}

/* Attack: codes that the protocol reserves or does not know. */
static void test_unknown(void)
{
    Guest *guest = guest_new();
    unsigned int count = 0;

    for (int op = 0; op < 256; op++) {
        if (op >= XENDISPL_OP_DBUF_CREATE && op <= XENDISPL_OP_GET_EDID) {
            continue;
        }
        guest_send(guest, op, op);
        g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                        XEN_VDISPL_RING_IDLE);
        guest_expect(guest, op, op, -XEN_EOPNOTSUPP);
        g_assert_cmpuint(guest->unknown, ==, ++count);
    }
    guest_free(guest);
}

static void test_edid_size(void)
{
    Guest *guest = guest_new();
    struct xendispl_resp *resp;

    guest_send(guest, XENDISPL_OP_GET_EDID, 1);
    xen_vdispl_ring_process(&guest->ring);
    resp = RING_GET_RESPONSE(&guest->front, 0);
    g_assert_cmpuint(resp->op.get_edid.edid_sz, ==, 256);
    guest_free(guest);
}

/* The indices wrap around the ring, and around 32 bits. */
static void test_wrap(void)
{
    Guest *guest = guest_new();
    RING_IDX start = UINT32_MAX - 2;

    guest->front.sring->req_prod = start;
    guest->front.sring->rsp_prod = start;
    guest->front.sring->req_event = start + 1;
    guest->front.sring->rsp_event = start + 1;
    guest->front.req_prod_pvt = start;
    guest->front.rsp_cons = start;
    guest->ring.req.req_cons = start;
    guest->ring.req.rsp_prod_pvt = start;

    for (int i = 0; i < 100; i++) {
        guest_send(guest, XENDISPL_OP_PG_FLIP, i);
        g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                        XEN_VDISPL_RING_IDLE);
        guest_expect(guest, XENDISPL_OP_PG_FLIP, i, 0);
    }
    g_assert_cmpuint(guest->handled[XENDISPL_OP_PG_FLIP], ==, 100);
    guest_free(guest);
}

/* A full ring is served whole, in order. */
static void test_full(void)
{
    Guest *guest = guest_new();
    unsigned int size = RING_SIZE(&guest->front);

    for (unsigned int i = 0; i < size; i++) {
        guest_send(guest, XENDISPL_OP_SET_CONFIG, i);
    }
    g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                    XEN_VDISPL_RING_IDLE);
    for (unsigned int i = 0; i < size; i++) {
        guest_expect(guest, XENDISPL_OP_SET_CONFIG, i, 0);
    }
    guest_free(guest);
}

/* Attack: more requests than the ring has, to have garbage served forever. */
static void test_overrun(void)
{
    static const RING_IDX ahead[] = { 33, 34, 1000, INT32_MAX, UINT32_MAX };

    for (int i = 0; i < ARRAY_SIZE(ahead); i++) {
        Guest *guest = guest_new();

        guest->front.sring->req_prod = ahead[i];
        g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                        XEN_VDISPL_RING_BROKEN);
        g_assert_cmpuint(guest->answered, ==, 0);
        guest_free(guest);
    }
}

static void send_one_more(Guest *guest)
{
    guest->front.rsp_cons = guest->front.sring->rsp_prod;
    guest_send(guest, XENDISPL_OP_PG_FLIP, 0);
}

/* Attack: each request that is served is followed by another one. */
static void test_flood(void)
{
    Guest *guest = guest_new();

    guest->misbehave = send_one_more;
    guest_send(guest, XENDISPL_OP_PG_FLIP, 0);
    g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                    XEN_VDISPL_RING_MORE);
    g_assert_cmpuint(guest->answered, ==, RING_SIZE(&guest->front));

    guest->misbehave = NULL;
    g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                    XEN_VDISPL_RING_IDLE);
    guest_free(guest);
}

static void scribble(Guest *guest)
{
    struct xendispl_req *req = RING_GET_REQUEST(&guest->front, 0);

    memset(req, 0xff, sizeof(*req));
}

/* Attack (XSA-155): the request changes after it was checked. */
static void test_double_fetch(void)
{
    Guest *guest = guest_new();

    guest->misbehave = scribble;
    guest_send(guest, XENDISPL_OP_FB_DETACH, 7);
    xen_vdispl_ring_process(&guest->ring);
    g_assert_cmpuint(guest->last.operation, ==, XENDISPL_OP_FB_DETACH);
    g_assert_cmpuint(guest->last.id, ==, 7);
    g_assert_cmpuint(guest->last.op.fb_detach.fb_cookie, ==, 0);
    guest_expect(guest, XENDISPL_OP_FB_DETACH, 7, 0);
    guest_free(guest);
}

/* An answer that comes later does not hold up the requests behind it. */
static void test_deferred(void)
{
    Guest *guest = guest_new();
    struct xendispl_req destroy;

    guest->status = XEN_VDISPL_DEFERRED;
    guest_send(guest, XENDISPL_OP_DBUF_DESTROY, 1);
    xen_vdispl_ring_process(&guest->ring);
    destroy = guest->last;
    g_assert_cmpuint(guest->answered, ==, 0);

    guest->status = 0;
    guest_send(guest, XENDISPL_OP_DBUF_CREATE, 2);
    xen_vdispl_ring_process(&guest->ring);
    guest_expect(guest, XENDISPL_OP_DBUF_CREATE, 2, 0);

    xen_vdispl_ring_respond(&guest->ring, &destroy, -XEN_EBUSY, 0);
    guest_expect(guest, XENDISPL_OP_DBUF_DESTROY, 1, -XEN_EBUSY);
    guest_free(guest);
}

/*
 * Attack: while an answer is awaited the producer index goes back, between it
 * and the requests that are being served, to have old slots served again.
 */
static void test_back(void)
{
    Guest *guest = guest_new();

    guest->status = XEN_VDISPL_DEFERRED;
    for (int i = 0; i < 3; i++) {
        guest_send(guest, XENDISPL_OP_DBUF_DESTROY, i);
    }
    xen_vdispl_ring_process(&guest->ring);
    g_assert_cmpuint(guest->handled[XENDISPL_OP_DBUF_DESTROY], ==, 3);

    guest->front.sring->req_prod = 1;
    g_assert_cmpint(xen_vdispl_ring_process(&guest->ring), ==,
                    XEN_VDISPL_RING_BROKEN);
    g_assert_cmpuint(guest->handled[XENDISPL_OP_DBUF_DESTROY], ==, 3);
    guest_free(guest);
}

/* The guest is notified when, and only when, it asked to be. */
static void test_notify(void)
{
    Guest *guest = guest_new();

    guest_send(guest, XENDISPL_OP_PG_FLIP, 0);
    xen_vdispl_ring_process(&guest->ring);
    g_assert_cmpuint(guest->notified, ==, 1);

    guest->front.sring->rsp_event = guest->front.sring->rsp_prod + 2;
    guest_send(guest, XENDISPL_OP_PG_FLIP, 1);
    xen_vdispl_ring_process(&guest->ring);
    g_assert_cmpuint(guest->notified, ==, 1);
    guest_send(guest, XENDISPL_OP_PG_FLIP, 2);
    xen_vdispl_ring_process(&guest->ring);
    g_assert_cmpuint(guest->notified, ==, 2);
    guest_free(guest);
}

/* Event ids run on from 0, through 16 bits; the slots are used in turn. */
static void test_events(void)
{
    Guest *guest = guest_new();

    for (uint32_t i = 0; i < 0x10000 + 100; i++) {
        g_assert_true(xen_vdispl_ring_flip_event(&guest->ring, i));
        guest_expect_event(guest, i, i);
    }
    guest_free(guest);
}

/* A guest that does not consume events loses none and blocks nobody. */
static void test_events_full(void)
{
    Guest *guest = guest_new();

    for (uint32_t i = 0; i < XENDISPL_IN_RING_LEN; i++) {
        g_assert_true(xen_vdispl_ring_flip_event(&guest->ring, i));
    }
    g_assert_false(xen_vdispl_ring_flip_event(&guest->ring, 1000));

    guest_expect_event(guest, 0, 0);
    g_assert_true(xen_vdispl_ring_flip_event(&guest->ring, 1000));
    g_assert_false(xen_vdispl_ring_flip_event(&guest->ring, 1001));
    for (uint32_t i = 1; i < XENDISPL_IN_RING_LEN; i++) {
        guest_expect_event(guest, i, i);
    }
    guest_expect_event(guest, XENDISPL_IN_RING_LEN, 1000);
    guest_free(guest);
}

/* Attack: indices from nowhere, to have an event written out of the page. */
static void test_events_garbage(void)
{
    static const uint32_t garbage[] = { 1, 64, INT32_MAX, UINT32_MAX };

    for (int i = 0; i < ARRAY_SIZE(garbage); i++) {
        Guest *guest = guest_new();

        /* ahead of the producer, or further behind than the page is long */
        guest->evt->in_cons = garbage[i] == UINT32_MAX ?
            -(uint32_t)XENDISPL_IN_RING_LEN : garbage[i];
        g_assert_false(xen_vdispl_ring_flip_event(&guest->ring, 1));
        g_assert_cmpuint(guest->evt->in_prod, ==, 0);

        /* the producer index is the backend's own, whatever the page says */
        guest->evt->in_cons = 0;
        guest->evt->in_prod = garbage[i];
        g_assert_true(xen_vdispl_ring_flip_event(&guest->ring, 2));
        g_assert_cmpuint(guest->evt->in_prod, ==, 1);
        guest_expect_event(guest, 0, 2);
        guest_free(guest);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/xen/vdispl/ring/dispatch", test_dispatch);
    g_test_add_func("/xen/vdispl/ring/unknown", test_unknown);
    g_test_add_func("/xen/vdispl/ring/edid-size", test_edid_size);
    g_test_add_func("/xen/vdispl/ring/wrap", test_wrap);
    g_test_add_func("/xen/vdispl/ring/full", test_full);
    g_test_add_func("/xen/vdispl/ring/overrun", test_overrun);
    g_test_add_func("/xen/vdispl/ring/flood", test_flood);
    g_test_add_func("/xen/vdispl/ring/double-fetch", test_double_fetch);
    g_test_add_func("/xen/vdispl/ring/deferred", test_deferred);
    g_test_add_func("/xen/vdispl/ring/back", test_back);
    g_test_add_func("/xen/vdispl/ring/notify", test_notify);
    g_test_add_func("/xen/vdispl/events/sequence", test_events);
    g_test_add_func("/xen/vdispl/events/full", test_events_full);
    g_test_add_func("/xen/vdispl/events/garbage", test_events_garbage);

    return g_test_run();
}
