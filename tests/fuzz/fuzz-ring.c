/*
 * Fuzzer of the wire of the Xen PV display backend
 *
 * The input is a guest: it fills the two shared pages, moves their indices,
 * sends requests, and goes on doing so while its requests are being served.
 * Whatever it does, the wire must keep to the pages and to the rules below.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "xen-vdispl-ring.h"
#include "fuzz.h"

/* More than a ring has requests, so that the wire has to stop it */
#define MAX_DEFERRED 64

typedef enum Action {
    FILL_REQ_PAGE,
    FILL_EVT_PAGE,
    SEND,
    REQ_PROD,
    EVT_CONS,
    PROCESS,
    FLIP_EVENT,
    RESPOND,
    NR_ACTIONS,
} Action;

static struct {
    /* The guest */
    const uint8_t *data;
    size_t size;
    uint8_t *req_page, *evt_page;
    xen_displif_sring_t *sring;
    struct xendispl_event_page *evt;

    /* What is known of the backend */
    XenVDisplRing ring;
    struct xendispl_req deferred[MAX_DEFERRED];
    unsigned int nr_deferred;
    unsigned int handled;
    RING_IDX rsp_prod;
    uint32_t evt_prod;
    uint16_t evt_id;
    int status;
    uint32_t edid_sz;
} fuzz;

static void check(bool good, const char *rule, int line)
{
    if (!good) {
        fprintf(stderr, "fuzz-ring.c:%d: broken rule: %s\n", line, rule);
        abort();
    }
}
#define CHECK(rule) check(rule, #rule, __LINE__)

/* The next octet of the input, 0 after its end */
static uint8_t take8(void)
{
    if (!fuzz.size) {
        return 0;
    }
    fuzz.size--;
    return *fuzz.data++;
}

static uint32_t take32(void)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        value = value << 8 | take8();
    }
    return value;
}

static void fill(uint8_t *page)
{
    size_t offset = take32() % XEN_PAGE_SIZE;
    size_t len = take8();

    while (len-- && fuzz.size && offset < XEN_PAGE_SIZE) {
        page[offset++] = take8();
    }
}

/* A request as a driver would send it, with a few octets of the input */
static void send_request(void)
{
    RING_IDX prod = qatomic_read(&fuzz.sring->req_prod);
    struct xendispl_req *req =
        &fuzz.sring->ring[prod & (RING_SIZE(&fuzz.ring.req) - 1)].req;

    memset(req, 0, sizeof(*req));
    req->operation = take8();
    req->id = take8();
    req->op.pg_flip.fb_cookie = take32();
    qatomic_set(&fuzz.sring->req_prod, prod + 1);
}

/* What a guest can do at any time, also while the backend is busy */
static void guest_act(Action action)
{
    switch (action) {
    case FILL_REQ_PAGE:
        fill(fuzz.req_page);
        break;
    case FILL_EVT_PAGE:
        fill(fuzz.evt_page);
        break;
    case SEND:
        send_request();
        break;
    case REQ_PROD:
        qatomic_set(&fuzz.sring->req_prod,
                    fuzz.ring.req.req_cons + (int8_t)take8());
        break;
    case EVT_CONS:
        qatomic_set(&fuzz.evt->in_cons, fuzz.evt_prod - (int8_t)take8());
        break;
    default:
        break;
    }
}

/* A handler: the guest runs meanwhile, but the request stays as it was */
static int handle(const struct xendispl_req *req)
{
    struct xendispl_req before = *req;
    uint8_t what = take8();

    CHECK((const uint8_t *)req < fuzz.req_page ||
          (const uint8_t *)req >= fuzz.req_page + XEN_PAGE_SIZE);
    fuzz.handled++;
    for (int i = 0; i < (what & 3); i++) {
        guest_act(take8() % PROCESS);
    }
    CHECK(!memcmp(req, &before, sizeof(before)));

    if (what & 4 && fuzz.nr_deferred < MAX_DEFERRED) {
        fuzz.deferred[fuzz.nr_deferred++] = before;
        return XEN_VDISPL_DEFERRED;
    }
    fuzz.status = -(what >> 3);
    return fuzz.status;
}

#define HANDLER(name, code)                                             \
    static int name(void *opaque, const struct xendispl_req *req)       \
    {                                                                   \
        CHECK(opaque == &fuzz);                                         \
        CHECK(req->operation == code);                                  \
        return handle(req);                                             \
    }

HANDLER(dbuf_create, XENDISPL_OP_DBUF_CREATE)
HANDLER(dbuf_destroy, XENDISPL_OP_DBUF_DESTROY)
HANDLER(fb_attach, XENDISPL_OP_FB_ATTACH)
HANDLER(fb_detach, XENDISPL_OP_FB_DETACH)
HANDLER(set_config, XENDISPL_OP_SET_CONFIG)
HANDLER(pg_flip, XENDISPL_OP_PG_FLIP)

static int get_edid(void *opaque, const struct xendispl_req *req,
                    uint32_t *edid_sz)
{
    CHECK(req->operation == XENDISPL_OP_GET_EDID);
    fuzz.edid_sz = *edid_sz = take8();
    return handle(req);
}

static int unknown(void *opaque, const struct xendispl_req *req)
{
    CHECK(req->operation < XENDISPL_OP_DBUF_CREATE ||
          req->operation > XENDISPL_OP_GET_EDID);
    CHECK(!strcmp(xen_vdispl_op_name(req->operation), "unknown operation"));
    return handle(req);
}

/* The response is in its place, and nothing else of ours is in it */
static void answered(void *opaque, const struct xendispl_req *req, int status)
{
    uint32_t mask = RING_SIZE(&fuzz.ring.req) - 1;
    const struct xendispl_resp *resp =
        &fuzz.sring->ring[fuzz.rsp_prod & mask].rsp;
    struct xendispl_resp expected;

    memset(&expected, 0, sizeof(expected));
    expected.id = req->id;
    expected.operation = req->operation;
    expected.status = fuzz.status;
    if (req->operation == XENDISPL_OP_GET_EDID) {
        expected.op.get_edid.edid_sz = fuzz.edid_sz;
    }
    CHECK(status == fuzz.status);
    CHECK(!memcmp(resp, &expected, sizeof(expected)));
    CHECK(fuzz.sring->rsp_prod == ++fuzz.rsp_prod);
    CHECK(fuzz.handled);
    fuzz.handled--;
}

static void notify(void *opaque)
{
    CHECK(opaque == &fuzz);
}

static const XenVDisplRingOps ops = {
    .dbuf_create = dbuf_create,
    .dbuf_destroy = dbuf_destroy,
    .fb_attach = fb_attach,
    .fb_detach = fb_detach,
    .set_config = set_config,
    .pg_flip = pg_flip,
    .get_edid = get_edid,
    .unknown = unknown,
    .answered = answered,
    .notify = notify,
};

static void process(void)
{
    RING_IDX size = RING_SIZE(&fuzz.ring.req);
    RING_IDX cons = fuzz.ring.req.req_cons;
    RING_IDX prod = fuzz.sring->req_prod;
    RING_IDX waiting = cons - fuzz.ring.req.rsp_prod_pvt;
    bool broken = prod - cons > size - waiting;
    XenVDisplRingState state = xen_vdispl_ring_process(&fuzz.ring);

    /* A guest that never stops must not hold the backend. */
    CHECK(fuzz.ring.req.req_cons - cons <= size);
    CHECK(fuzz.ring.req.req_cons - fuzz.ring.req.rsp_prod_pvt <= size);
    if (broken) {
        CHECK(state == XEN_VDISPL_RING_BROKEN);
        CHECK(fuzz.ring.req.req_cons == cons);
    }
    if (state == XEN_VDISPL_RING_IDLE) {
        CHECK(fuzz.sring->req_event == fuzz.ring.req.req_cons + 1);
    }
}

static void respond(void)
{
    struct xendispl_req req;
    unsigned int i;

    if (!fuzz.nr_deferred) {
        return;
    }
    i = take8() % fuzz.nr_deferred;
    req = fuzz.deferred[i];
    fuzz.deferred[i] = fuzz.deferred[--fuzz.nr_deferred];
    fuzz.status = -take8();
    fuzz.edid_sz = take8();
    xen_vdispl_ring_respond(&fuzz.ring, &req, fuzz.status, fuzz.edid_sz);
}

static void flip_event(void)
{
    uint64_t cookie = take8();
    uint32_t cons = fuzz.evt->in_cons;
    bool room = fuzz.evt_prod - cons < XENDISPL_IN_RING_LEN;
    const struct xendispl_evt *evt =
        &XENDISPL_IN_RING_REF(fuzz.evt, fuzz.evt_prod);
    struct xendispl_evt expected;

    memset(&expected, 0, sizeof(expected));
    expected.id = fuzz.evt_id;
    expected.type = XENDISPL_EVT_PG_FLIP;
    expected.op.pg_flip.fb_cookie = cookie;

    CHECK(xen_vdispl_ring_flip_event(&fuzz.ring, cookie) == room);
    CHECK(fuzz.evt->in_cons == cons);
    if (room) {
        CHECK(!memcmp(evt, &expected, sizeof(expected)));
        CHECK(fuzz.evt->in_prod == ++fuzz.evt_prod);
        fuzz.evt_id++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *req_page = fuzz.req_page;
    uint8_t *evt_page = fuzz.evt_page;
    RING_IDX start;

    if (!req_page) {
        /* Apart, so that a step over the edge of one is seen */
        req_page = aligned_alloc(XEN_PAGE_SIZE, XEN_PAGE_SIZE);
        evt_page = aligned_alloc(XEN_PAGE_SIZE, XEN_PAGE_SIZE);
        CHECK(req_page && evt_page);
    }
    memset(&fuzz, 0, sizeof(fuzz));
    memset(req_page, 0, XEN_PAGE_SIZE);
    memset(evt_page, 0, XEN_PAGE_SIZE);
    fuzz.data = data;
    fuzz.size = size;
    fuzz.req_page = req_page;
    fuzz.evt_page = evt_page;
    fuzz.sring = (xen_displif_sring_t *)req_page;
    fuzz.evt = (struct xendispl_event_page *)evt_page;

    /* Rings that have been in use for a while: near their indices' ends */
    SHARED_RING_INIT(fuzz.sring);
    fuzz.evt->in_prod = fuzz.evt->in_cons = fuzz.evt_prod = take32();
    xen_vdispl_ring_init(&fuzz.ring, req_page, evt_page, &ops, &fuzz);
    start = take32();
    fuzz.sring->req_prod = fuzz.sring->rsp_prod = start;
    fuzz.ring.req.req_cons = fuzz.ring.req.rsp_prod_pvt = start;
    fuzz.rsp_prod = start;

    while (fuzz.size) {
        Action action = take8() % NR_ACTIONS;

        switch (action) {
        case PROCESS:
            process();
            break;
        case FLIP_EVENT:
            flip_event();
            break;
        case RESPOND:
            respond();
            break;
        default:
            guest_act(action);
            break;
        }
    }
    process();
    return 0;
}
