/*
 * Xen PV display backend
 *
 * The other end of a guest's xen-drm-front: Xen's displif protocol, shown on
 * QEMU's consoles. Protocol: xen/include/public/io/displif.h.
 *
 * Requests come up from the wire (xen-vdispl-ring.c); they go to the memory
 * (xen-vdispl-buffer.c) or to a connector's screen (xen-vdispl-head.c). This
 * file owns the device's life, xenstore and the grants of the rings.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qobject/qdict.h"
#include "hw/boards.h"
#include "hw/qdev-properties.h"
#include "hw/xen/xen-backend.h"
#include "hw/xen/xen-bus.h"
#include "hw/xen/xen-bus-helper.h"
#include "hw/xen/xen-vdispl-compat.h"
#include "monitor/qdev.h"
#include "system/system.h"
#include "xen-vdispl-buffer.h"
#include "xen-vdispl-head.h"
#include "xen-vdispl-ring.h"
#include "xen-vdispl-screens.h"
#include "trace.h"

#define TYPE_XEN_VDISPL "xen-vdispl"
OBJECT_DECLARE_SIMPLE_TYPE(XenVDispl, XEN_VDISPL)

/* Linux takes up to 4; more is for others. */
#define MAX_CONNECTORS 16

#define DEFAULT_CONNECTORS "1024x768"

/*
 * 4K at 32 bpp, three times, is 95 MiB. A domain's default of 64 grant frames
 * can grant 128 MiB, of which other devices need some.
 */
#define DEFAULT_MAX_MAPPED (96 * MiB)
#define DEFAULT_MAX_BUFFERS 64

/*
 * A frontend that is closing waits for one of two things. Linux' xenbus, when
 * it resets a device after kexec, wants to see Closing; xen-drm-front, when it
 * is unloaded, polls for InitWait for a second. So show both, in this order.
 */
#define CLOSING_NS (NANOSECONDS_PER_SECOND / 10)

typedef struct XenVDisplConnector {
    XenVDispl *vdispl;
    uint32_t index;
    char *unique_id;
    uint32_t width, height;
    XenVDisplHead *head;

    /* The connection; the pages are NULL without one. */
    XenVDisplRing ring;
    uint32_t req_ref, evt_ref;
    void *req_page, *evt_page;
    XenEventChannel *req_channel, *evt_channel;
    QEMUBH *bh;
} XenVDisplConnector;

/* A DBUF_DESTROY whose answer waits for the buffer's last reader. */
typedef struct XenVDisplDestroy {
    XenVDisplConnector *conn;
    struct xendispl_req req;
    QEMUTimer *timer;
    QLIST_ENTRY(XenVDisplDestroy) next;
} XenVDisplDestroy;

struct XenVDispl {
    XenDevice xendev;

    /* properties */
    int32_t idx;
    char *connectors_prop;
    uint32_t refresh_rate;
    uint64_t max_mapped;
    uint32_t max_buffers;
    XenVDisplPath path;
    XenDmabufAlloc dma_alloc;
    const XenVDisplAllocator *allocator;
    char *rendernode;
    bool may_alloc;

    bool be_alloc;              /* what the guest's configuration says */
    XenVDisplBuffers *bufs;     /* empty without a connection */
    XenVDisplConnector conn[MAX_CONNECTORS];
    uint32_t nr_connectors;
    struct qemu_xs_watch *backend_watch;

    /* The connection */
    uint32_t version;
    QLIST_HEAD(, XenVDisplDestroy) destroys;

    QEMUBH *broken_bh;
    QEMUTimer *closing_timer;
    uint64_t errors;
    bool warned;
    bool overdue_warned;
    uint32_t paths_told;        /* bits, by XenVDisplPath */
    char *paths_missing;        /* why those before are not, or NULL */
    char *path_reason;          /* why it was not the best; NULL: it was */
};

/* ------------------------------------------------------------------ */
/* Guest errors */

static void G_GNUC_PRINTF(2, 3)
xen_vdispl_guest_error(XenVDisplConnector *conn, const char *fmt, ...)
{
    XenVDispl *vdispl = conn->vdispl;
    const char *name = vdispl->xendev.name;
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    vdispl->errors++;
    trace_xen_vdispl_guest_error(name, conn->index, what);
    qemu_log_mask(LOG_GUEST_ERROR, TYPE_XEN_VDISPL " %s connector %u: %s\n",
                  name, conn->index, what);
}

/* For a handler: the status as it is, its reason to the log. */
static int xen_vdispl_status(XenVDisplConnector *conn,
                             const struct xendispl_req *req, int status,
                             Error *err)
{
    if (err) {
        xen_vdispl_guest_error(conn, "%s: %s",
                               xen_vdispl_op_name(req->operation),
                               error_get_pretty(err));
        error_free(err);
    }
    return status;
}

/* ------------------------------------------------------------------ */
/* Requests */

/*
 * Buffers are common to all connectors, so the protocol has their operations
 * on the ring of connector 0.
 */
static bool xen_vdispl_is_control(XenVDisplConnector *conn, Error **errp)
{
    if (conn->index) {
        error_setg(errp, "must be sent to connector 0");
        return false;
    }
    return true;
}

static int xen_vdispl_op_dbuf_create(void *opaque,
                                     const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    XenVDispl *vdispl = conn->vdispl;
    Error *err = NULL;
    bool alloc;
    int status = -XEN_EINVAL;

    if (!xen_vdispl_is_control(conn, &err)) {
        return xen_vdispl_status(conn, req, status, err);
    }
    /*
     * Linux' frontend leaves garbage in the flags, where the request before
     * had another field. Only when be-alloc was offered do they mean anything.
     */
    alloc = vdispl->be_alloc &&
        (req->op.dbuf_create.flags & XENDISPL_DBUF_FLG_REQ_ALLOC);
    if (alloc && !vdispl->may_alloc) {
        error_setg(&err, "buffers are not allocated here (property be-alloc)");
        return xen_vdispl_status(conn, req, -XEN_EOPNOTSUPP, err);
    }
    status = xen_vdispl_dbuf_create(vdispl->bufs, &req->op.dbuf_create, alloc,
                                    &err);
    return xen_vdispl_status(conn, req, status, err);
}

static void xen_vdispl_destroy_free(XenVDisplDestroy *destroy)
{
    QLIST_REMOVE(destroy, next);
    timer_free(destroy->timer);
    g_free(destroy);
}

/* The buffer is unmapped: an answer that waited for that can go. */
static void xen_vdispl_dbuf_unmapped(void *opaque, uint64_t dbuf_cookie)
{
    XenVDispl *vdispl = opaque;
    XenVDisplDestroy *destroy;

    QLIST_FOREACH(destroy, &vdispl->destroys, next) {
        if (destroy->req.op.dbuf_destroy.dbuf_cookie == dbuf_cookie) {
            xen_vdispl_ring_respond(&destroy->conn->ring, &destroy->req, 0, 0);
            xen_vdispl_destroy_free(destroy);
            return;
        }
    }
}

/*
 * Buffers go on a lesser path than they could. It is for the administrator to
 * do something about it, but a guest can have a part in it: said once a path.
 */
static void xen_vdispl_lesser_path(XenVDispl *vdispl, XenVDisplPath path,
                                   const char *why)
{
    if (!(vdispl->paths_told & (1u << path))) {
        vdispl->paths_told |= 1u << path;
        info_report(TYPE_XEN_VDISPL " %s: buffers are %s, %s",
                    vdispl->xendev.name, xen_vdispl_path_names[path], why);
    }
    g_free(vdispl->path_reason);
    vdispl->path_reason = g_strdup(why);
}

static void xen_vdispl_dbuf_fell_back(void *opaque, uint64_t dbuf_cookie,
                                      XenVDisplPath path, const char *why)
{
    XenVDispl *vdispl = opaque;
    g_autofree char *all = vdispl->paths_missing ?
        g_strdup_printf("%s; %s", vdispl->paths_missing, why) : g_strdup(why);

    trace_xen_vdispl_fell_back(vdispl->xendev.name, dbuf_cookie, why);
    xen_vdispl_lesser_path(vdispl, path, all);
}

static const XenVDisplBuffersOps xen_vdispl_buffers_ops = {
    .unmapped = xen_vdispl_dbuf_unmapped,
    .fell_back = xen_vdispl_dbuf_fell_back,
};

/*
 * A viewer reads the buffer for longer than a guest can wait. The guest is
 * told so and keeps its pages; they are unmapped when the viewer lets go, and
 * the cookie is free from then on.
 */
static void xen_vdispl_destroy_overdue(void *opaque)
{
    XenVDisplDestroy *destroy = opaque;
    XenVDisplConnector *conn = destroy->conn;
    XenVDispl *vdispl = conn->vdispl;

    trace_xen_vdispl_overdue(vdispl->xendev.name,
                             destroy->req.op.dbuf_destroy.dbuf_cookie);
    if (!vdispl->overdue_warned) {
        vdispl->overdue_warned = true;
        warn_report(TYPE_XEN_VDISPL " %s: a viewer has not released display "
                    "buffer 0x%" PRIx64 " in time (reported once)",
                    vdispl->xendev.name,
                    (uint64_t)destroy->req.op.dbuf_destroy.dbuf_cookie);
    }
    xen_vdispl_ring_respond(&conn->ring, &destroy->req, -XEN_EBUSY, 0);
    xen_vdispl_destroy_free(destroy);
}

static int xen_vdispl_op_dbuf_destroy(void *opaque,
                                      const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    XenVDispl *vdispl = conn->vdispl;
    uint64_t cookie = req->op.dbuf_destroy.dbuf_cookie;
    XenVDisplDestroy *destroy;
    Error *err = NULL;
    int status = -XEN_EINVAL;

    if (!xen_vdispl_is_control(conn, &err)) {
        return xen_vdispl_status(conn, req, status, err);
    }
    status = xen_vdispl_dbuf_destroy(vdispl->bufs, cookie, &err);
    if (status <= 0) {
        return xen_vdispl_status(conn, req, status, err);
    }

    trace_xen_vdispl_deferred(vdispl->xendev.name, conn->index, req->id,
                              cookie);
    destroy = g_new0(XenVDisplDestroy, 1);
    destroy->conn = conn;
    destroy->req = *req;
    destroy->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL,
                                  xen_vdispl_destroy_overdue, destroy);
    timer_mod(destroy->timer,
              qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
              XEN_VDISPL_PATIENCE_NS);
    QLIST_INSERT_HEAD(&vdispl->destroys, destroy, next);
    return XEN_VDISPL_DEFERRED;
}

static int xen_vdispl_op_fb_attach(void *opaque,
                                   const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    Error *err = NULL;
    int status = -XEN_EINVAL;

    if (xen_vdispl_is_control(conn, &err)) {
        status = xen_vdispl_fb_attach(conn->vdispl->bufs, &req->op.fb_attach,
                                      &err);
    }
    return xen_vdispl_status(conn, req, status, err);
}

static int xen_vdispl_op_fb_detach(void *opaque,
                                   const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    XenVDispl *vdispl = conn->vdispl;
    uint64_t cookie = req->op.fb_detach.fb_cookie;
    XenVDisplFb *fb = xen_vdispl_fb_lookup(vdispl->bufs, cookie);
    Error *err = NULL;
    int status = -XEN_EINVAL;

    if (xen_vdispl_is_control(conn, &err)) {
        for (uint32_t i = 0; fb && i < vdispl->nr_connectors; i++) {
            xen_vdispl_head_forget_fb(vdispl->conn[i].head, fb);
        }
        status = xen_vdispl_fb_detach(vdispl->bufs, cookie, &err);
    }
    return xen_vdispl_status(conn, req, status, err);
}

static int xen_vdispl_op_set_config(void *opaque,
                                    const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    const struct xendispl_set_config_req *config = &req->op.set_config;
    bool disable = !config->fb_cookie && !config->x && !config->y &&
        !config->width && !config->height && !config->bpp;
    XenVDisplFb *fb = NULL;
    Error *err = NULL;
    int status;

    if (!disable) {
        fb = xen_vdispl_fb_lookup(conn->vdispl->bufs, config->fb_cookie);
        if (!fb) {
            error_setg(&err, "no framebuffer 0x%" PRIx64,
                       (uint64_t)config->fb_cookie);
            return xen_vdispl_status(conn, req, -XEN_ENOENT, err);
        }
    }
    status = xen_vdispl_head_set_config(conn->head, config, fb, &err);
    return xen_vdispl_status(conn, req, status, err);
}

static int xen_vdispl_op_pg_flip(void *opaque, const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    uint64_t cookie = req->op.pg_flip.fb_cookie;
    XenVDisplFb *fb = xen_vdispl_fb_lookup(conn->vdispl->bufs, cookie);
    Error *err = NULL;
    int status;

    if (!fb) {
        error_setg(&err, "no framebuffer 0x%" PRIx64, cookie);
        return xen_vdispl_status(conn, req, -XEN_ENOENT, err);
    }
    status = xen_vdispl_head_page_flip(conn->head, fb, &err);
    return xen_vdispl_status(conn, req, status, err);
}

static int xen_vdispl_op_unknown(void *opaque, const struct xendispl_req *req)
{
    XenVDisplConnector *conn = opaque;
    Error *err = NULL;

    error_setg(&err, "0x%02x is not in protocol version %u", req->operation,
               conn->vdispl->version);
    return xen_vdispl_status(conn, req, -XEN_EOPNOTSUPP, err);
}

static int xen_vdispl_op_get_edid(void *opaque,
                                  const struct xendispl_req *req,
                                  uint32_t *edid_sz)
{
    XenVDisplConnector *conn = opaque;
    const struct xendispl_get_edid_req *get_edid = &req->op.get_edid;
    uint8_t edid[2 * XENDISPL_EDID_BLOCK_SIZE];
    Error *err = NULL;
    size_t size;
    int status;

    if (conn->vdispl->version < 2) {
        return xen_vdispl_op_unknown(opaque, req);
    }
    if (get_edid->buffer_sz < XENDISPL_EDID_MAX_SIZE) {
        error_setg(&err, "a buffer of %u octets is less than %u",
                   get_edid->buffer_sz, XENDISPL_EDID_MAX_SIZE);
        return xen_vdispl_status(conn, req, -XEN_EINVAL, err);
    }
    size = xen_vdispl_head_edid(conn->head, edid, sizeof(edid));
    status = xen_vdispl_buffers_write(conn->vdispl->bufs,
                                      get_edid->gref_directory,
                                      get_edid->buffer_sz, edid, size, &err);
    if (!status) {
        *edid_sz = size;
    }
    return xen_vdispl_status(conn, req, status, err);
}

static void xen_vdispl_answered(void *opaque, const struct xendispl_req *req,
                                int status)
{
    XenVDisplConnector *conn = opaque;

    trace_xen_vdispl_request(conn->vdispl->xendev.name, conn->index, req->id,
                             xen_vdispl_op_name(req->operation), status);
}

static void xen_vdispl_notify(void *opaque)
{
    XenVDisplConnector *conn = opaque;

    xen_device_notify_event_channel(&conn->vdispl->xendev, conn->req_channel,
                                    NULL);
}

static const XenVDisplRingOps xen_vdispl_ring_ops = {
    .dbuf_create = xen_vdispl_op_dbuf_create,
    .dbuf_destroy = xen_vdispl_op_dbuf_destroy,
    .fb_attach = xen_vdispl_op_fb_attach,
    .fb_detach = xen_vdispl_op_fb_detach,
    .set_config = xen_vdispl_op_set_config,
    .pg_flip = xen_vdispl_op_pg_flip,
    .get_edid = xen_vdispl_op_get_edid,
    .unknown = xen_vdispl_op_unknown,
    .answered = xen_vdispl_answered,
    .notify = xen_vdispl_notify,
};

/* ------------------------------------------------------------------ */
/* Rings */

static void xen_vdispl_serve(void *opaque)
{
    XenVDisplConnector *conn = opaque;

    switch (xen_vdispl_ring_process(&conn->ring)) {
    case XEN_VDISPL_RING_IDLE:
        break;
    case XEN_VDISPL_RING_MORE:
        qemu_bh_schedule(conn->bh);
        break;
    case XEN_VDISPL_RING_BROKEN:
        xen_vdispl_guest_error(conn, "the request ring's producer index is "
                               "out of bounds, disconnecting");
        /* Not here: the event channel is in use. */
        qemu_bh_schedule(conn->vdispl->broken_bh);
        break;
    }
}

static bool xen_vdispl_req_event(void *opaque)
{
    xen_vdispl_serve(opaque);
    return true;
}

/* The frontend need not say that it has consumed events. */
static bool xen_vdispl_evt_event(void *opaque)
{
    return false;
}

static bool xen_vdispl_flip_done(void *opaque, uint64_t fb_cookie)
{
    XenVDisplConnector *conn = opaque;
    bool sent;

    GLOBAL_STATE_CODE();
    sent = xen_vdispl_ring_flip_event(&conn->ring, fb_cookie);
    trace_xen_vdispl_flip_done(conn->vdispl->xendev.name, conn->index,
                               fb_cookie, sent);
    if (sent) {
        xen_device_notify_event_channel(&conn->vdispl->xendev,
                                        conn->evt_channel, NULL);
    }
    return sent;
}

static const XenVDisplHeadOps xen_vdispl_head_ops = {
    .flip_done = xen_vdispl_flip_done,
};

static bool xen_vdispl_frontend_uint(XenDevice *xendev, uint32_t index,
                                     const char *node, uint32_t *value,
                                     Error **errp)
{
    g_autofree char *key = g_strdup_printf("%u/%s", index, node);
    char *str = xen_device_frontend_read(xendev, key);
    unsigned int v;

    if (!str) {
        error_setg(errp, "the frontend has no '%s'", key);
        return false;
    }
    if (qemu_strtoui(str, NULL, 10, &v) < 0) {
        error_setg(errp, "the frontend's '%s' is not a number", key);
        free(str);
        return false;
    }
    free(str);
    *value = v;
    return true;
}

static bool xen_vdispl_frontend_has(XenDevice *xendev, uint32_t index,
                                    const char *node)
{
    g_autofree char *key = g_strdup_printf("%u/%s", index, node);
    char *str = xen_device_frontend_read(xendev, key);

    free(str);
    return str;
}

static void xen_vdispl_connector_disconnect(XenVDisplConnector *conn)
{
    XenDevice *xendev = &conn->vdispl->xendev;

    xen_vdispl_head_reset(conn->head);
    if (conn->bh) {
        qemu_bh_delete(conn->bh);
        conn->bh = NULL;
    }
    if (conn->req_channel) {
        xen_device_unbind_event_channel(xendev, conn->req_channel, NULL);
        conn->req_channel = NULL;
    }
    if (conn->evt_channel) {
        xen_device_unbind_event_channel(xendev, conn->evt_channel, NULL);
        conn->evt_channel = NULL;
    }
    if (conn->req_page) {
        xen_device_unmap_grant_refs(xendev, conn->req_page, &conn->req_ref, 1,
                                    NULL);
        conn->req_page = NULL;
    }
    if (conn->evt_page) {
        xen_device_unmap_grant_refs(xendev, conn->evt_page, &conn->evt_ref, 1,
                                    NULL);
        conn->evt_page = NULL;
    }
}

static bool xen_vdispl_connector_connect(XenVDisplConnector *conn,
                                         Error **errp)
{
    XenVDispl *vdispl = conn->vdispl;
    XenDevice *xendev = &vdispl->xendev;
    uint32_t req_port, evt_port;

    if (!xen_vdispl_frontend_uint(xendev, conn->index,
                                  XENDISPL_FIELD_REQ_RING_REF,
                                  &conn->req_ref, errp) ||
        !xen_vdispl_frontend_uint(xendev, conn->index,
                                  XENDISPL_FIELD_REQ_CHANNEL, &req_port,
                                  errp) ||
        !xen_vdispl_frontend_uint(xendev, conn->index,
                                  XENDISPL_FIELD_EVT_RING_REF,
                                  &conn->evt_ref, errp) ||
        !xen_vdispl_frontend_uint(xendev, conn->index,
                                  XENDISPL_FIELD_EVT_CHANNEL, &evt_port,
                                  errp)) {
        return false;
    }

    conn->req_page = xen_device_map_grant_refs(xendev, &conn->req_ref, 1,
                                               PROT_READ | PROT_WRITE, errp);
    if (!conn->req_page) {
        error_prepend(errp, "request ring, reference %u: ", conn->req_ref);
        return false;
    }
    conn->evt_page = xen_device_map_grant_refs(xendev, &conn->evt_ref, 1,
                                               PROT_READ | PROT_WRITE, errp);
    if (!conn->evt_page) {
        error_prepend(errp, "event page, reference %u: ", conn->evt_ref);
        return false;
    }

    xen_vdispl_ring_init(&conn->ring, conn->req_page, conn->evt_page,
                         &xen_vdispl_ring_ops, conn);
    conn->bh = qemu_bh_new(xen_vdispl_serve, conn);

    conn->req_channel = xen_device_bind_event_channel(xendev, req_port,
                                                      xen_vdispl_req_event,
                                                      conn, errp);
    if (!conn->req_channel) {
        error_prepend(errp, "request channel, port %u: ", req_port);
        return false;
    }
    conn->evt_channel = xen_device_bind_event_channel(xendev, evt_port,
                                                      xen_vdispl_evt_event,
                                                      conn, errp);
    if (!conn->evt_channel) {
        error_prepend(errp, "event channel, port %u: ", evt_port);
        return false;
    }
    return true;
}

/* ------------------------------------------------------------------ */
/* Connection */

static void xen_vdispl_disconnect(XenVDispl *vdispl)
{
    XenVDisplDestroy *destroy, *next;

    timer_del(vdispl->closing_timer);
    qemu_bh_cancel(vdispl->broken_bh);
    if (!vdispl->conn[0].req_page) {
        return;
    }
    trace_xen_vdispl_disconnect(vdispl->xendev.name);

    QLIST_FOREACH_SAFE(destroy, &vdispl->destroys, next, next) {
        xen_vdispl_destroy_free(destroy);
    }
    for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
        xen_vdispl_connector_disconnect(&vdispl->conn[i]);
    }
    xen_vdispl_buffers_clear(vdispl->bufs);
}

static bool xen_vdispl_connect(XenVDispl *vdispl, Error **errp)
{
    ERRP_GUARD();
    XenDevice *xendev = &vdispl->xendev;
    char *version = xen_device_frontend_read(xendev,
                                             XENDISPL_FIELD_FE_VERSION);
    uint32_t connected = 0;

    /* Frontends that know of one version only do not always say so. */
    if (!version || !strcmp(version, "1")) {
        vdispl->version = 1;
    } else if (!strcmp(version, "2")) {
        vdispl->version = 2;
    } else {
        error_setg(errp, "the frontend's '" XENDISPL_FIELD_FE_VERSION
                   "' is not one of the backend's");
        free(version);
        return false;
    }
    free(version);

    for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
        /* A frontend may support fewer connectors than it was given. */
        if (i && !xen_vdispl_frontend_has(xendev, i,
                                          XENDISPL_FIELD_REQ_RING_REF)) {
            break;
        }
        if (!xen_vdispl_connector_connect(&vdispl->conn[i], errp)) {
            error_prepend(errp, "connector %u: ", i);
            return false;
        }
        connected++;
    }

    trace_xen_vdispl_connect(xendev->name, connected, vdispl->version);
    for (uint32_t i = 0; i < connected; i++) {
        qemu_bh_schedule(vdispl->conn[i].bh);
    }
    return true;
}

/* Anything wrong here is of the guest's making, which may do it all day. */
static void xen_vdispl_try_connect(XenVDispl *vdispl)
{
    XenDevice *xendev = &vdispl->xendev;
    Error *err = NULL;

    xen_vdispl_disconnect(vdispl);
    if (xen_vdispl_connect(vdispl, &err)) {
        xen_device_backend_set_state(xendev, XenbusStateConnected);
        return;
    }

    xen_vdispl_guest_error(&vdispl->conn[0], "cannot connect: %s",
                           error_get_pretty(err));
    if (!vdispl->warned) {
        vdispl->warned = true;
        warn_reportf_err(err, TYPE_XEN_VDISPL " %s: cannot connect (reported "
                         "once, see -d guest_errors): ", xendev->name);
    } else {
        error_free(err);
    }
    xen_vdispl_disconnect(vdispl);
    xen_device_backend_set_state(xendev, XenbusStateClosed);
}

/*
 * The protocol: the backend handles a frontend that is beyond recovery as one
 * that has closed. A frontend that is alive starts anew.
 */
static void xen_vdispl_broken(void *opaque)
{
    XenVDispl *vdispl = opaque;

    xen_vdispl_disconnect(vdispl);
    xen_device_backend_set_state(&vdispl->xendev, XenbusStateClosed);
}

static void xen_vdispl_closing(void *opaque)
{
    XenVDispl *vdispl = opaque;
    XenDevice *xendev = &vdispl->xendev;

    xen_device_backend_set_state(xendev, xendev->backend_online ?
                                 XenbusStateInitWait : XenbusStateClosed);
}

static void xen_vdispl_frontend_changed(XenDevice *xendev,
                                        enum xenbus_state frontend_state,
                                        Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(xendev);
    enum xenbus_state backend_state = xen_device_backend_get_state(xendev);

    trace_xen_vdispl_frontend_changed(xendev->name,
                                      xs_strstate(frontend_state),
                                      xs_strstate(backend_state));

    switch (frontend_state) {
    case XenbusStateInitialising:
        /*
         * A guest that has restarted, or a frontend that has recovered and
         * missed InitWait while it was Reconfiguring: it waits for the node
         * to be written, so that is done even if it says so already.
         */
        xen_vdispl_disconnect(vdispl);
        if (!xendev->backend_online) {
            break;
        }
        xen_device_backend_set_state(xendev, XenbusStateInitWait);
        xen_device_backend_printf(xendev, "state", "%u", XenbusStateInitWait);
        break;

    case XenbusStateInitialised:
        if (backend_state == XenbusStateInitWait) {
            xen_vdispl_try_connect(vdispl);
        }
        break;

    case XenbusStateReconfiguring:
        if (backend_state == XenbusStateConnected) {
            xen_vdispl_disconnect(vdispl);
            xen_device_backend_set_state(xendev, XenbusStateInitWait);
        }
        break;

    case XenbusStateClosing:
        xen_vdispl_disconnect(vdispl);
        xen_device_backend_set_state(xendev, XenbusStateClosing);
        timer_mod(vdispl->closing_timer,
                  qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + CLOSING_NS);
        break;

    case XenbusStateClosed:
    case XenbusStateUnknown:
        xen_vdispl_disconnect(vdispl);
        xen_device_backend_set_state(xendev, XenbusStateClosed);
        break;

    default:
        break;
    }
}

/*
 * The toolstack, or an unplug request, wants the device gone. Linux' frontend
 * waits for the backend to be Closed, so there is nobody else to wait for.
 */
static void xen_vdispl_backend_changed(void *opaque, const char *path)
{
    XenVDispl *vdispl = opaque;
    XenDevice *xendev = &vdispl->xendev;

    if (!xendev->backend_online &&
        xen_device_backend_get_state(xendev) == XenbusStateClosing) {
        xen_vdispl_disconnect(vdispl);
        xen_device_backend_set_state(xendev, XenbusStateClosed);
    }
}

/* ------------------------------------------------------------------ */
/* Device */

static bool xen_vdispl_parse_size(const char *str, uint32_t *width,
                                  uint32_t *height, Error **errp)
{
    unsigned int w, h;
    const char *end;

    if (qemu_strtoui(str, &end, 10, &w) < 0 ||
        *end != XENDISPL_RESOLUTION_SEPARATOR[0] ||
        qemu_strtoui(end + 1, NULL, 10, &h) < 0 ||
        !w || w > XEN_VDISPL_MAX_DIM || !h || h > XEN_VDISPL_MAX_DIM) {
        error_setg(errp, "'%s' is not a resolution: WIDTHxHEIGHT, each 1 to "
                   "%d", str, XEN_VDISPL_MAX_DIM);
        return false;
    }
    *width = w;
    *height = h;
    return true;
}

/*
 * Writes a connector's nodes so that the guest can read them and add its own
 * beside them, but not change them.
 */
static bool xen_vdispl_publish_connector(XenDevice *xendev,
                                         const char *frontend, uint32_t i,
                                         const char *unique_id,
                                         const char *resolution, Error **errp)
{
    ERRP_GUARD();
    XenBus *xenbus = XEN_BUS(qdev_get_parent_bus(DEVICE(xendev)));
    g_autofree char *dir = g_strdup_printf("%s/%u", frontend, i);
    const char *nodes[][2] = {
        { XENDISPL_FIELD_RESOLUTION, resolution },
        { XENDISPL_FIELD_UNIQUE_ID, unique_id },
    };

    xs_node_create(xenbus->xsh, XBT_NULL, dir, xendev->frontend_id,
                   xenbus->backend_id, XS_PERM_READ | XS_PERM_WRITE, errp);
    for (int n = 0; !*errp && n < ARRAY_SIZE(nodes); n++) {
        g_autofree char *node = g_strdup_printf("%s/%s", dir, nodes[n][0]);

        xs_node_create(xenbus->xsh, XBT_NULL, node, xenbus->backend_id,
                       xendev->frontend_id, XS_PERM_READ, errp);
        if (!*errp) {
            xs_node_printf(xenbus->xsh, XBT_NULL, dir, nodes[n][0], errp,
                           "%s", nodes[n][1]);
        }
    }
    return !*errp;
}

/*
 * Connectors on the command line: "[ID:]WIDTHxHEIGHT;...", as xl has them.
 */
static const char *xen_vdispl_resolution(const char *connector)
{
    const char *colon = strrchr(connector, ':');

    return colon ? colon + 1 : connector;
}

static bool xen_vdispl_check_connectors(const char *connectors, Error **errp)
{
    ERRP_GUARD();
    g_auto(GStrv) list = g_strsplit(connectors, ";", -1);

    if (g_strv_length(list) > MAX_CONNECTORS) {
        error_setg(errp, "property 'connectors' has more than %d",
                   MAX_CONNECTORS);
        return false;
    }
    for (uint32_t i = 0; list[i]; i++) {
        uint32_t width, height;

        if (!xen_vdispl_parse_size(xen_vdispl_resolution(list[i]), &width,
                                   &height, errp)) {
            error_prepend(errp, "property 'connectors': ");
            return false;
        }
    }
    return true;
}

static bool xen_vdispl_publish_connectors(XenVDispl *vdispl,
                                          const char *frontend, Error **errp)
{
    ERRP_GUARD();
    XenDevice *xendev = &vdispl->xendev;
    XenBus *xenbus = XEN_BUS(qdev_get_parent_bus(DEVICE(xendev)));
    g_auto(GStrv) list = g_strsplit(vdispl->connectors_prop, ";", -1);

    xs_node_create(xenbus->xsh, XBT_NULL, frontend, xendev->frontend_id,
                   xenbus->backend_id, XS_PERM_READ | XS_PERM_WRITE, errp);
    if (*errp) {
        return false;
    }
    for (uint32_t i = 0; list[i]; i++) {
        const char *resolution = xen_vdispl_resolution(list[i]);
        g_autofree char *unique_id = resolution > list[i] ?
            g_strndup(list[i], resolution - 1 - list[i]) :
            g_strdup_printf("%u.%u", vdispl->idx, i);

        if (!xen_vdispl_publish_connector(xendev, frontend, i, unique_id,
                                          resolution, errp)) {
            return false;
        }
    }
    return true;
}

/* Does another device than @self, which may be NULL, have the number? */
static bool xen_vdispl_idx_used(XenBus *xenbus, int32_t idx, XenVDispl *self)
{
    BusChild *kid;

    QTAILQ_FOREACH(kid, &BUS(xenbus)->children, sibling) {
        Object *obj = object_dynamic_cast(OBJECT(kid->child), TYPE_XEN_VDISPL);

        if (obj && obj != OBJECT(self) && XEN_VDISPL(obj)->idx == idx) {
            return true;
        }
    }
    return false;
}

/*
 * The guest looks at the nodes when it sees InitWait, which XenDevice writes
 * before the class' realize is called. This hook comes early enough.
 */
static char *xen_vdispl_get_name(XenDevice *xendev, Error **errp)
{
    ERRP_GUARD();
    XenVDispl *vdispl = XEN_VDISPL(xendev);
    XenBus *xenbus = XEN_BUS(qdev_get_parent_bus(DEVICE(xendev)));
    g_autofree char *frontend = NULL;
    g_autofree char *backend = NULL;
    char *resolution;

    /* Nothing is written before it is known to be right. */
    if (vdispl->connectors_prop &&
        !xen_vdispl_check_connectors(vdispl->connectors_prop, errp)) {
        return NULL;
    }

    if (vdispl->idx < 0) {
        int32_t idx = 0;

        while (xen_vdispl_idx_used(xenbus, idx, vdispl)) {
            idx++;
        }
        vdispl->idx = idx;
    } else if (xen_vdispl_idx_used(xenbus, vdispl->idx, vdispl)) {
        error_setg(errp, "property 'idx': there is a " TYPE_XEN_VDISPL
                   " %d already", vdispl->idx);
        return NULL;
    }

    backend = g_strdup_printf("/local/domain/%u/backend/%s/%u/%u",
                              xenbus->backend_id, XENDISPL_DRIVER_NAME,
                              xendev->frontend_id, vdispl->idx);
    xs_node_create(xenbus->xsh, XBT_NULL, backend, xenbus->backend_id,
                   xendev->frontend_id, XS_PERM_READ, errp);
    if (!*errp) {
        xs_node_printf(xenbus->xsh, XBT_NULL, backend,
                       XENDISPL_FIELD_BE_VERSIONS, errp, "1,2");
    }
    if (*errp) {
        return NULL;
    }

    frontend = g_strdup_printf("/local/domain/%u/device/%s/%u",
                               xendev->frontend_id, XENDISPL_DRIVER_NAME,
                               vdispl->idx);
    resolution = xs_node_read(xenbus->xsh, XBT_NULL, NULL, NULL,
                              "%s/0/" XENDISPL_FIELD_RESOLUTION, frontend);
    if (!vdispl->connectors_prop && !resolution) {
        vdispl->connectors_prop = g_strdup(DEFAULT_CONNECTORS);
    }
    free(resolution);
    if (vdispl->connectors_prop &&
        !xen_vdispl_publish_connectors(vdispl, frontend, errp)) {
        return NULL;
    }

    return g_strdup_printf("%u", vdispl->idx);
}

static bool xen_vdispl_read_connectors(XenVDispl *vdispl, Error **errp)
{
    ERRP_GUARD();
    XenDevice *xendev = &vdispl->xendev;

    for (uint32_t i = 0; i < MAX_CONNECTORS; i++) {
        XenVDisplConnector *conn = &vdispl->conn[i];
        g_autofree char *res_key =
            g_strdup_printf("%u/" XENDISPL_FIELD_RESOLUTION, i);
        g_autofree char *id_key =
            g_strdup_printf("%u/" XENDISPL_FIELD_UNIQUE_ID, i);
        char *resolution = xen_device_frontend_read(xendev, res_key);
        char *unique_id;
        bool ok;

        if (!resolution) {
            break;
        }
        ok = xen_vdispl_parse_size(resolution, &conn->width, &conn->height,
                                   errp);
        free(resolution);
        if (!ok) {
            error_prepend(errp, "connector %u: ", i);
            return false;
        }
        unique_id = xen_device_frontend_read(xendev, id_key);
        conn->unique_id = g_strdup(unique_id);
        free(unique_id);
        conn->vdispl = vdispl;
        conn->index = i;
        vdispl->nr_connectors++;
    }

    if (!vdispl->nr_connectors) {
        error_setg(errp, "%s has no connector: no node 0/"
                   XENDISPL_FIELD_RESOLUTION, xendev->frontend_path);
        return false;
    }
    return true;
}

/* A device that is named has to be there, whether a buffer needs it or not. */
static bool xen_vdispl_check_rendernode(XenVDispl *vdispl, Error **errp)
{
    int fd;

    if (!vdispl->rendernode) {
        return true;
    }
    fd = xen_vdispl_drm_open(vdispl->rendernode, errp);
    if (fd < 0) {
        error_prepend(errp, "property 'rendernode': ");
        return false;
    }
    close(fd);
    return true;
}

static bool xen_vdispl_path_is_there(XenVDispl *vdispl, XenVDisplPath path,
                                     Error **errp)
{
    switch (path) {
    case XEN_VDISPL_PATH_EXPORTED:
        return xen_dmabuf_can_export(errp);
    case XEN_VDISPL_PATH_PLACED:
        return xen_dmabuf_can_place(errp) &&
            (!vdispl->allocator->probe ||
             vdispl->allocator->probe(vdispl->rendernode, errp));
    default:
        g_assert_not_reached();
    }
}

/*
 * A path that is not there is refused now, rather than to each buffer; or it is
 * left out, if there is a choice.
 */
static bool xen_vdispl_choose_path(XenVDispl *vdispl,
                                   XenVDisplBuffersConfig *config,
                                   Error **errp)
{
    g_autoptr(GString) missing = g_string_new(NULL);
    XenVDisplPath path = vdispl->path ?: XEN_VDISPL_PATH_EXPORTED;

    for (; path < XEN_VDISPL_PATH_MAPPED; path++) {
        Error *err = NULL;

        if (xen_vdispl_path_is_there(vdispl, path, &err)) {
            break;
        }
        if (vdispl->path) {
            error_propagate_prepend(errp, err, "property 'path': buffers "
                                    "cannot be %s: ",
                                    xen_vdispl_path_names[path]);
            return false;
        }
        g_string_append_printf(missing, "%snot %s: %s",
                               missing->len ? "; " : "",
                               xen_vdispl_path_names[path],
                               error_get_pretty(err));
        error_free(err);
    }
    config->best = path;
    config->last = vdispl->path ?: XEN_VDISPL_PATH_MAPPED;
    if (missing->len) {
        vdispl->paths_missing = g_strdup(missing->str);
        xen_vdispl_lesser_path(vdispl, path, missing->str);
    }
    return true;
}

static void xen_vdispl_realize(XenDevice *xendev, Error **errp)
{
    ERRP_GUARD();
    XenVDispl *vdispl = XEN_VDISPL(xendev);
    XenVDisplBuffersConfig config = {
        .domid = xendev->frontend_id,
        .dma_alloc = vdispl->dma_alloc,
        .allocator = vdispl->allocator,
        .rendernode = vdispl->rendernode,
        .max_mapped = vdispl->max_mapped,
        .max_buffers = vdispl->max_buffers,
    };
    Error *err = NULL;
    char *be_alloc;

    if (!xen_vdispl_check_rendernode(vdispl, errp) ||
        !xen_vdispl_choose_path(vdispl, &config, errp)) {
        return;
    }
    if (!vdispl->refresh_rate || vdispl->refresh_rate > 1000) {
        error_setg(errp, "property 'refresh-rate' must be 1 to 1000 Hz, not %u",
                   vdispl->refresh_rate);
        return;
    }
    if (!xen_vdispl_read_connectors(vdispl, errp)) {
        return;
    }

    be_alloc = xen_device_frontend_read(xendev, XENDISPL_FIELD_BE_ALLOC);
    vdispl->be_alloc = be_alloc && !strcmp(be_alloc, "1");
    free(be_alloc);
    /*
     * It stands in the guest's own part of xenstore, and a guest can keep what
     * it is given: so it is for the administrator to allow it.
     */
    if (vdispl->be_alloc && !vdispl->may_alloc) {
        warn_report(TYPE_XEN_VDISPL " %s: the guest was promised buffers "
                    "allocated by the backend, which property 'be-alloc' does "
                    "not allow", xendev->name);
    } else if (vdispl->be_alloc && !xen_vdispl_udmabuf.probe(NULL, &err)) {
        warn_reportf_err(err, TYPE_XEN_VDISPL " %s: the guest was promised "
                         "buffers allocated by the backend (be-alloc=1): ",
                         xendev->name);
    }

    vdispl->bufs = xen_vdispl_buffers_new(&config, &xen_vdispl_buffers_ops,
                                          vdispl, errp);
    if (!vdispl->bufs) {
        return;
    }
    vdispl->broken_bh = qemu_bh_new(xen_vdispl_broken, vdispl);
    vdispl->closing_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL,
                                         xen_vdispl_closing, vdispl);
    for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
        XenVDisplConnector *conn = &vdispl->conn[i];

        conn->head = xen_vdispl_head_new(DEVICE(vdispl), i, conn->unique_id,
                                         conn->width, conn->height,
                                         vdispl->refresh_rate,
                                         &xen_vdispl_head_ops, conn);
    }

    vdispl->backend_watch = xs_node_watch(xendev->xsh, xendev->backend_path,
                                          "state", xen_vdispl_backend_changed,
                                          vdispl, errp);
    if (*errp) {
        error_prepend(errp, "cannot watch the backend's state: ");
        return;
    }
    trace_xen_vdispl_realize(xendev->name, vdispl->nr_connectors);
}

static void xen_vdispl_unrealize(XenDevice *xendev)
{
    XenVDispl *vdispl = XEN_VDISPL(xendev);

    trace_xen_vdispl_unrealize(xendev->name);

    if (vdispl->backend_watch) {
        xs_node_unwatch(xendev->xsh, vdispl->backend_watch);
        vdispl->backend_watch = NULL;
    }
    if (vdispl->broken_bh) {
        xen_vdispl_disconnect(vdispl);
    }
    for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
        g_clear_pointer(&vdispl->conn[i].head, xen_vdispl_head_free);
        g_clear_pointer(&vdispl->conn[i].unique_id, g_free);
    }
    vdispl->nr_connectors = 0;
    g_clear_pointer(&vdispl->closing_timer, timer_free);
    g_clear_pointer(&vdispl->broken_bh, qemu_bh_delete);
    g_clear_pointer(&vdispl->bufs, xen_vdispl_buffers_free);
    g_clear_pointer(&vdispl->path_reason, g_free);
    g_clear_pointer(&vdispl->paths_missing, g_free);
}

/* ------------------------------------------------------------------ */
/* Statistics */

typedef enum XenVDisplStat {
    STAT_FLIPS,
    STAT_FLIPS_PER_SECOND,
    STAT_BYTES_COPIED,
    STAT_BYTES_MAPPED,
    STAT_ERRORS,
} XenVDisplStat;

static uint64_t xen_vdispl_head_stat(XenVDisplHead *head, XenVDisplStat stat)
{
    XenVDisplHeadStats stats;

    xen_vdispl_head_stats(head, &stats);
    switch (stat) {
    case STAT_FLIPS:
        return stats.flips;
    case STAT_FLIPS_PER_SECOND:
        return stats.flips_per_second;
    case STAT_BYTES_COPIED:
        return stats.bytes_copied;
    default:
        g_assert_not_reached();
    }
}

/* A number of the device: of all its connectors together. */
static void xen_vdispl_get_stat(Object *obj, Visitor *v, const char *name,
                                void *opaque, Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);
    XenVDisplStat stat = GPOINTER_TO_INT(opaque);
    uint64_t value = 0;

    switch (stat) {
    case STAT_BYTES_MAPPED:
        value = xen_vdispl_buffers_mapped(vdispl->bufs);
        break;
    case STAT_ERRORS:
        value = vdispl->errors;
        break;
    default:
        for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
            value += xen_vdispl_head_stat(vdispl->conn[i].head, stat);
        }
        break;
    }
    visit_type_uint64(v, name, &value, errp);
}

/* Of the properties that are words: none changes what is there already. */
static bool xen_vdispl_may_set(Object *obj, const char *name, Error **errp)
{
    if (DEVICE(obj)->realized) {
        error_setg(errp, "property '%s' can be set only before the device is "
                   "realized", name);
        return false;
    }
    return true;
}

/* What is asked for... */
static void xen_vdispl_set_path(Object *obj, const char *value, Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);

    if (!xen_vdispl_may_set(obj, "path", errp)) {
        return;
    }
    for (int i = 0; i <= XEN_VDISPL_PATH_MAPPED; i++) {
        if (!strcmp(value, xen_vdispl_path_names[i])) {
            vdispl->path = i;
            return;
        }
    }
    error_setg(errp, "property 'path' is auto, exported, placed or mapped, "
               "not '%s'", value);
}

/* ...and what is in use: "mapped" and the like, one word a connector. */
static char *xen_vdispl_get_path(Object *obj, Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);
    GString *path = g_string_new(NULL);

    for (uint32_t i = 0; i < vdispl->nr_connectors; i++) {
        XenVDisplHeadStats stats;

        xen_vdispl_head_stats(vdispl->conn[i].head, &stats);
        g_string_append_printf(path, "%s%s", i ? "," : "", stats.path);
    }
    return g_string_free(path, false);
}

static void xen_vdispl_set_allocator(Object *obj, const char *value,
                                     Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);
    const XenVDisplAllocator *allocator;

    if (!xen_vdispl_may_set(obj, "allocator", errp)) {
        return;
    }
    allocator = xen_vdispl_allocator_find(value, errp);
    if (allocator) {
        vdispl->allocator = allocator;
    }
}

static char *xen_vdispl_get_allocator(Object *obj, Error **errp)
{
    return g_strdup(XEN_VDISPL(obj)->allocator->name);
}

static const char *const xen_vdispl_dma_alloc_names[] = {
    [XEN_DMABUF_ALLOC_NONE] = "off",
    [XEN_DMABUF_ALLOC_WC] = "write-combine",
    [XEN_DMABUF_ALLOC_COHERENT] = "coherent",
};

static void xen_vdispl_set_dma_alloc(Object *obj, const char *value,
                                     Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);

    if (!xen_vdispl_may_set(obj, "dma-alloc", errp)) {
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(xen_vdispl_dma_alloc_names); i++) {
        if (!strcmp(value, xen_vdispl_dma_alloc_names[i])) {
            vdispl->dma_alloc = i;
            return;
        }
    }
    error_setg(errp, "property 'dma-alloc' is off, coherent or write-combine, "
               "not '%s'", value);
}

static char *xen_vdispl_get_dma_alloc(Object *obj, Error **errp)
{
    return g_strdup(xen_vdispl_dma_alloc_names[XEN_VDISPL(obj)->dma_alloc]);
}

static char *xen_vdispl_get_path_reason(Object *obj, Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);
    const char *reason = vdispl->path_reason;

    for (uint32_t i = 0; !reason && i < vdispl->nr_connectors; i++) {
        XenVDisplHeadStats stats;

        xen_vdispl_head_stats(vdispl->conn[i].head, &stats);
        if (stats.refused) {
            reason = "the display cannot import a dma-buf, so it uploads the "
                "pixels";
        }
    }
    return g_strdup(reason ?: "");
}

/* The page flips of one connector: "connectorN-flips". */
static void xen_vdispl_get_connector_flips(Object *obj, Visitor *v,
                                           const char *name, void *opaque,
                                           Error **errp)
{
    XenVDispl *vdispl = XEN_VDISPL(obj);
    uint32_t index = GPOINTER_TO_UINT(opaque);
    uint64_t value = 0;

    if (index < vdispl->nr_connectors) {
        value = xen_vdispl_head_stat(vdispl->conn[index].head, STAT_FLIPS);
    }
    visit_type_uint64(v, name, &value, errp);
}

static const Property xen_vdispl_properties[] = {
    DEFINE_PROP_INT32("idx", XenVDispl, idx, -1),
    DEFINE_PROP_STRING("connectors", XenVDispl, connectors_prop),
    DEFINE_PROP_STRING("rendernode", XenVDispl, rendernode),
    DEFINE_PROP_UINT32("refresh-rate", XenVDispl, refresh_rate, 60),
    DEFINE_PROP_SIZE("max-mapped", XenVDispl, max_mapped, DEFAULT_MAX_MAPPED),
    DEFINE_PROP_UINT32("max-buffers", XenVDispl, max_buffers,
                       DEFAULT_MAX_BUFFERS),
    DEFINE_PROP_BOOL("be-alloc", XenVDispl, may_alloc, false),
};

static void xen_vdispl_class_init(ObjectClass *klass,
                                  CLASS_INIT_CONST void *data)
{
    static const struct {
        const char *name;
        XenVDisplStat stat;
        const char *description;
    } stats[] = {
        { "flips", STAT_FLIPS, "Completed page flips" },
        { "flips-per-second", STAT_FLIPS_PER_SECOND,
          "Page flips in the last second of flipping" },
        { "bytes-copied", STAT_BYTES_COPIED,
          "Octets converted for want of a display surface of their format" },
        { "bytes-mapped", STAT_BYTES_MAPPED,
          "Octets of guest memory that are mapped now" },
        { "errors", STAT_ERRORS, "Errors of the guest" },
    };
    DeviceClass *dc = DEVICE_CLASS(klass);
    XenDeviceClass *xendev_class = XEN_DEVICE_CLASS(klass);

    xendev_class->backend = XENDISPL_DRIVER_NAME;
    xendev_class->device = XENDISPL_DRIVER_NAME;
    xendev_class->get_name = xen_vdispl_get_name;
    xendev_class->realize = xen_vdispl_realize;
    xendev_class->frontend_changed = xen_vdispl_frontend_changed;
    xendev_class->unrealize = xen_vdispl_unrealize;

    dc->desc = "Xen PV display";
    dc->user_creatable = true;
    set_bit(DEVICE_CATEGORY_DISPLAY, dc->categories);
    device_class_set_props(dc, xen_vdispl_properties);

    for (int i = 0; i < ARRAY_SIZE(stats); i++) {
        object_class_property_add(klass, stats[i].name, "uint64",
                                  xen_vdispl_get_stat, NULL, NULL,
                                  GINT_TO_POINTER(stats[i].stat));
        object_class_property_set_description(klass, stats[i].name,
                                              stats[i].description);
    }
    for (uint32_t i = 0; i < MAX_CONNECTORS; i++) {
        g_autofree char *name = g_strdup_printf("connector%u-flips", i);

        object_class_property_add(klass, name, "uint64",
                                  xen_vdispl_get_connector_flips, NULL, NULL,
                                  GUINT_TO_POINTER(i));
    }
    object_class_property_add_str(klass, "path", xen_vdispl_get_path,
                                  xen_vdispl_set_path);
    object_class_property_set_description(klass, "path",
        "How pixels reach the console, one word a connector; may be set to "
        "auto, exported, placed or mapped");
    object_class_property_add_str(klass, "allocator", xen_vdispl_get_allocator,
                                  xen_vdispl_set_allocator);
    object_class_property_set_description(klass, "allocator",
        "Who allocates buffers: udmabuf, gbm or virgl");
    object_class_property_add_str(klass, "dma-alloc", xen_vdispl_get_dma_alloc,
                                  xen_vdispl_set_dma_alloc);
    object_class_property_set_description(klass, "dma-alloc",
        "Whether exported buffers are blocks of the DMA API's: off, coherent "
        "or write-combine");
    object_class_property_add_str(klass, "path-reason",
                                  xen_vdispl_get_path_reason, NULL);
    object_class_property_set_description(klass, "path-reason",
        "Why a buffer did not take a better path, or empty");
}

static void xen_vdispl_instance_init(Object *obj)
{
    XEN_VDISPL(obj)->allocator = &xen_vdispl_udmabuf;
}

static const TypeInfo xen_vdispl_info = {
    .name = TYPE_XEN_VDISPL,
    .parent = TYPE_XEN_DEVICE,
    .instance_size = sizeof(XenVDispl),
    .instance_init = xen_vdispl_instance_init,
    .class_init = xen_vdispl_class_init,
};

static void xen_vdispl_register_types(void)
{
    type_register_static(&xen_vdispl_info);
}

type_init(xen_vdispl_register_types)

/* ------------------------------------------------------------------ */
/* Devices that a toolstack makes */

static void xen_vdispl_device_create(XenBackendInstance *backend, QDict *opts,
                                     Error **errp)
{
    XenBus *xenbus = xen_backend_get_bus(backend);
    const char *name = xen_backend_get_name(backend);
    unsigned int number;
    DeviceState *dev;

    if (qemu_strtoui(name, NULL, 10, &number) < 0 || number > INT_MAX) {
        error_setg(errp, "failed to parse name '%s'", name);
        return;
    }

    dev = qdev_new(TYPE_XEN_VDISPL);
    XEN_VDISPL(dev)->idx = number;
    /* For screendump and qom-get. If the name is taken, it goes without. */
    if (!qdev_set_id(dev, g_strdup_printf(XENDISPL_DRIVER_NAME "%u", number),
                     NULL)) {
        qdev_set_id(dev, NULL, &error_abort);
    }
    if (!qdev_realize_and_unref(dev, BUS(xenbus), errp)) {
        object_unparent(OBJECT(dev));
        return;
    }
    xen_backend_set_device(backend, XEN_DEVICE(dev));
}

static void xen_vdispl_device_destroy(XenBackendInstance *backend,
                                      Error **errp)
{
    object_unparent(OBJECT(xen_backend_get_device(backend)));
}

static const XenBackendInfo xen_vdispl_backend_info = {
    .type = XENDISPL_DRIVER_NAME,
    .create = xen_vdispl_device_create,
    .destroy = xen_vdispl_device_destroy,
};

/*
 * A QEMU that was killed leaves its devices behind, in a state that the bus
 * does not take for a new one. Make them new: the frontends notice and start
 * again.
 */
static void xen_vdispl_adopt(XenBus *xenbus)
{
    g_autofree char *dir = g_strdup_printf("/local/domain/%u/backend/"
                                           XENDISPL_DRIVER_NAME "/%u",
                                           xenbus->backend_id, xen_domid);
    unsigned int nr = 0;
    char **names = qemu_xen_xs_directory(xenbus->xsh, XBT_NULL, dir, &nr);

    for (unsigned int i = 0; names && i < nr; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, names[i]);
        unsigned int online, state, number;

        if (qemu_strtoui(names[i], NULL, 10, &number) < 0 ||
            xs_node_scanf(xenbus->xsh, XBT_NULL, path, "online", NULL, "%u",
                          &online) != 1 || !online ||
            xs_node_scanf(xenbus->xsh, XBT_NULL, path, "state", NULL, "%u",
                          &state) != 1 || state == XenbusStateInitialising ||
            xen_vdispl_idx_used(xenbus, number, NULL)) {
            continue;
        }
        trace_xen_vdispl_stale(names[i], xs_strstate(state));
        xs_node_printf(xenbus->xsh, XBT_NULL, path, "state", NULL, "%u",
                       XenbusStateInitialising);
    }
    free(names);
}

/* Linux' frontend has at most this many connectors. */
#define RESERVED_SCREENS 4

static void xen_vdispl_machine_done(Notifier *notifier, void *data)
{
    Object *xenbus = object_resolve_path_type("", TYPE_XEN_BUS, NULL);

    if (!xenbus) {
        return;
    }
    /*
     * The machine of PV and PVH guests has no display of its own, and its
     * devices come from xenstore.
     */
    if (!xen_vdispl_screens_exist() &&
        object_dynamic_cast(OBJECT(current_machine),
                            MACHINE_TYPE_NAME("xenpv"))) {
        xen_vdispl_screens_reserve(RESERVED_SCREENS);
    }
    xen_vdispl_adopt(XEN_BUS(xenbus));
}

static Notifier machine_done = {
    .notify = xen_vdispl_machine_done,
};

static void xen_vdispl_register_backend(void)
{
    xen_backend_register(&xen_vdispl_backend_info);
    qemu_add_machine_init_done_notifier(&machine_done);
}

xen_backend_init(xen_vdispl_register_backend);
