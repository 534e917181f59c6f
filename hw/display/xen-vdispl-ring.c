/*
 * Xen PV display backend: the wire
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "xen-vdispl-ring.h"

const char *xen_vdispl_op_name(uint8_t operation)
{
    switch (operation) {
    case XENDISPL_OP_DBUF_CREATE:
        return "DBUF_CREATE";
    case XENDISPL_OP_DBUF_DESTROY:
        return "DBUF_DESTROY";
    case XENDISPL_OP_FB_ATTACH:
        return "FB_ATTACH";
    case XENDISPL_OP_FB_DETACH:
        return "FB_DETACH";
    case XENDISPL_OP_SET_CONFIG:
        return "SET_CONFIG";
    case XENDISPL_OP_PG_FLIP:
        return "PG_FLIP";
    case XENDISPL_OP_GET_EDID:
        return "GET_EDID";
    default:
        return "unknown operation";
    }
}

void xen_vdispl_ring_init(XenVDisplRing *ring, void *req_page, void *evt_page,
                          const XenVDisplRingOps *ops, void *opaque)
{
    xen_displif_sring_t *sring = req_page;

    BACK_RING_INIT(&ring->req, sring, XEN_PAGE_SIZE);
    ring->evt = evt_page;
    ring->evt_prod = qatomic_read(&ring->evt->in_prod);
    ring->evt_id = 0;
    ring->ops = ops;
    ring->opaque = opaque;
}

void xen_vdispl_ring_respond(XenVDisplRing *ring,
                             const struct xendispl_req *req, int status,
                             uint32_t edid_sz)
{
    struct xendispl_resp resp = {
        .id = req->id,
        .operation = req->operation,
        .status = status,
    };
    bool notify;

    if (req->operation == XENDISPL_OP_GET_EDID) {
        resp.op.get_edid.edid_sz = edid_sz;
    }

    *RING_GET_RESPONSE(&ring->req, ring->req.rsp_prod_pvt) = resp;
    ring->req.rsp_prod_pvt++;
    RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&ring->req, notify);

    ring->ops->answered(ring->opaque, req, status);
    if (notify) {
        ring->ops->notify(ring->opaque);
    }
}

static void xen_vdispl_ring_dispatch(XenVDisplRing *ring,
                                     const struct xendispl_req *req)
{
    const XenVDisplRingOps *ops = ring->ops;
    uint32_t edid_sz = 0;
    int status;

    switch (req->operation) {
    case XENDISPL_OP_DBUF_CREATE:
        status = ops->dbuf_create(ring->opaque, req);
        break;
    case XENDISPL_OP_DBUF_DESTROY:
        status = ops->dbuf_destroy(ring->opaque, req);
        break;
    case XENDISPL_OP_FB_ATTACH:
        status = ops->fb_attach(ring->opaque, req);
        break;
    case XENDISPL_OP_FB_DETACH:
        status = ops->fb_detach(ring->opaque, req);
        break;
    case XENDISPL_OP_SET_CONFIG:
        status = ops->set_config(ring->opaque, req);
        break;
    case XENDISPL_OP_PG_FLIP:
        status = ops->pg_flip(ring->opaque, req);
        break;
    case XENDISPL_OP_GET_EDID:
        status = ops->get_edid(ring->opaque, req, &edid_sz);
        break;
    default:
        status = ops->unknown(ring->opaque, req);
        break;
    }

    if (status != XEN_VDISPL_DEFERRED) {
        xen_vdispl_ring_respond(ring, req, status, edid_sz);
    }
}

XenVDisplRingState xen_vdispl_ring_process(XenVDisplRing *ring)
{
    unsigned int budget = RING_SIZE(&ring->req);
    bool more;

    do {
        RING_IDX prod = qatomic_read(&ring->req.sring->req_prod);
        RING_IDX waiting = ring->req.req_cons - ring->req.rsp_prod_pvt;

        xen_rmb(); /* requests up to prod are visible */

        /*
         * A request keeps its slot until it is answered. An index that has
         * gone back is as far ahead as one can be, so this sees it, too.
         */
        if (prod - ring->req.req_cons > RING_SIZE(&ring->req) - waiting) {
            return XEN_VDISPL_RING_BROKEN;
        }

        while (ring->req.req_cons != prod) {
            struct xendispl_req req;

            if (!budget--) {
                return XEN_VDISPL_RING_MORE;
            }
            RING_COPY_REQUEST(&ring->req, ring->req.req_cons, &req);
            ring->req.req_cons++;
            xen_vdispl_ring_dispatch(ring, &req);
        }

        RING_FINAL_CHECK_FOR_REQUESTS(&ring->req, more);
    } while (more);

    return XEN_VDISPL_RING_IDLE;
}

bool xen_vdispl_ring_flip_event(XenVDisplRing *ring, uint64_t fb_cookie)
{
    struct xendispl_evt evt = {
        .id = ring->evt_id,
        .type = XENDISPL_EVT_PG_FLIP,
        .op.pg_flip.fb_cookie = fb_cookie,
    };
    uint32_t cons = qatomic_read(&ring->evt->in_cons);

    /* A consumer index from nowhere counts as full, too. */
    if (ring->evt_prod - cons >= XENDISPL_IN_RING_LEN) {
        return false;
    }

    xen_mb(); /* the guest is done with the slot before it is written */
    XENDISPL_IN_RING_REF(ring->evt, ring->evt_prod) = evt;
    xen_wmb(); /* the event is visible before the index */

    ring->evt_id++;
    ring->evt_prod++;
    qatomic_set(&ring->evt->in_prod, ring->evt_prod);
    return true;
}
