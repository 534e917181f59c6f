/*
 * Xen PV display backend: the wire
 *
 * One connector's request ring and event page. Everything the guest can
 * write is copied out once, checked, and only then handed on. This file knows
 * nothing of grants, consoles or xenstore.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_RING_H
#define HW_DISPLAY_XEN_VDISPL_RING_H

#include "hw/xen/displif.h"

/* A handler's answer: there will be one, by xen_vdispl_ring_respond(). */
#define XEN_VDISPL_DEFERRED 1

/**
 * struct XenVDisplRingOps - what a connector does with its requests
 *
 * The handlers are called with a private copy of the request. They return
 * the protocol's status, 0 or -XEN_Exx, or XEN_VDISPL_DEFERRED.
 *
 * @dbuf_create: XENDISPL_OP_DBUF_CREATE
 * @dbuf_destroy: XENDISPL_OP_DBUF_DESTROY; may defer its answer
 * @fb_attach: XENDISPL_OP_FB_ATTACH
 * @fb_detach: XENDISPL_OP_FB_DETACH
 * @set_config: XENDISPL_OP_SET_CONFIG
 * @pg_flip: XENDISPL_OP_PG_FLIP
 * @get_edid: XENDISPL_OP_GET_EDID; stores the size of the EDID, in octets
 * @unknown: a request that is none of the above
 * @answered: a response is on the ring
 * @notify: the guest asked to be told of new responses
 */
typedef struct XenVDisplRingOps {
    int (*dbuf_create)(void *opaque, const struct xendispl_req *req);
    int (*dbuf_destroy)(void *opaque, const struct xendispl_req *req);
    int (*fb_attach)(void *opaque, const struct xendispl_req *req);
    int (*fb_detach)(void *opaque, const struct xendispl_req *req);
    int (*set_config)(void *opaque, const struct xendispl_req *req);
    int (*pg_flip)(void *opaque, const struct xendispl_req *req);
    int (*get_edid)(void *opaque, const struct xendispl_req *req,
                    uint32_t *edid_sz);
    int (*unknown)(void *opaque, const struct xendispl_req *req);
    void (*answered)(void *opaque, const struct xendispl_req *req,
                     int status);
    void (*notify)(void *opaque);
} XenVDisplRingOps;

typedef struct XenVDisplRing {
    xen_displif_back_ring_t req;
    struct xendispl_event_page *evt;
    uint32_t evt_prod;
    uint16_t evt_id;
    const XenVDisplRingOps *ops;
    void *opaque;
} XenVDisplRing;

typedef enum XenVDisplRingState {
    XEN_VDISPL_RING_IDLE,
    XEN_VDISPL_RING_MORE,
    XEN_VDISPL_RING_BROKEN,
} XenVDisplRingState;

/**
 * xen_vdispl_ring_init - start to serve a connector's shared pages
 * @ring: the ring to set up
 * @req_page: the request page, XEN_PAGE_SIZE octets
 * @evt_page: the event page, XENDISPL_EVENT_PAGE_SIZE octets
 * @ops: the handlers
 * @opaque: passed to the handlers
 *
 * The pages stay the caller's and must outlive the ring.
 */
void xen_vdispl_ring_init(XenVDisplRing *ring, void *req_page, void *evt_page,
                          const XenVDisplRingOps *ops, void *opaque);

/**
 * xen_vdispl_ring_process - serve the requests that are on the ring
 * @ring: the ring
 *
 * Serves at most one ring full, so that a guest that never stops asking
 * cannot hold the caller.
 *
 * Returns: XEN_VDISPL_RING_IDLE when nothing is left and the guest will
 * notify; XEN_VDISPL_RING_MORE when the caller should come back soon;
 * XEN_VDISPL_RING_BROKEN when the guest's producer index makes no sense and
 * the connection must be given up.
 */
XenVDisplRingState xen_vdispl_ring_process(XenVDisplRing *ring);

/**
 * xen_vdispl_ring_respond - put a response on the ring
 * @ring: the ring
 * @req: the private copy of the request that is answered
 * @status: 0 or -XEN_Exx
 * @edid_sz: the size of the EDID in octets, for XENDISPL_OP_GET_EDID
 */
void xen_vdispl_ring_respond(XenVDisplRing *ring,
                             const struct xendispl_req *req, int status,
                             uint32_t edid_sz);

/**
 * xen_vdispl_ring_flip_event - tell the guest that a page flip is done
 * @ring: the ring
 * @fb_cookie: the framebuffer that is shown now
 *
 * Returns: false when the event page is full: the guest has not consumed
 * earlier events. The caller tries again later; event ids stay in sequence.
 */
bool xen_vdispl_ring_flip_event(XenVDisplRing *ring, uint64_t fb_cookie);

/**
 * xen_vdispl_op_name - the protocol's name of an operation, for messages
 * @operation: XENDISPL_OP_xxx, or anything
 */
const char *xen_vdispl_op_name(uint8_t operation);

#endif /* HW_DISPLAY_XEN_VDISPL_RING_H */
