/*
 * libqos: a frontend of Xen's display protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "xen-vdispl.h"

static void toolstack_write(QXenDevice *dev, const char *node,
                            const char *value)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dev->fe, node);

    qxen_xs_write(dev->xen, QXEN_TOOLSTACK, path, "%s", value);
}

void qvdispl_create(QXenDevice *dev, QXen *xen, unsigned int id,
                    const char *resolution, bool be_alloc)
{
    qxen_device_init(dev, xen, XENDISPL_DRIVER_NAME, XENDISPL_DRIVER_NAME, id);
    qxen_device_create(dev);
    toolstack_write(dev, XENDISPL_FIELD_BE_ALLOC, be_alloc ? "1" : "0");
    if (resolution) {
        toolstack_write(dev, "0/" XENDISPL_FIELD_RESOLUTION, resolution);
    }
    qxen_device_start(dev);
    qxen_settle(xen);
}

void qvdispl_init(QVDispl *d, QXen *xen, unsigned int id)
{
    unsigned int i;

    memset(d, 0, sizeof(*d));
    d->xen = xen;
    d->next_cookie = 0x1000;
    qxen_device_init(&d->dev, xen, XENDISPL_DRIVER_NAME,
                     XENDISPL_DRIVER_NAME, id);
    qxen_device_open(&d->dev);

    for (i = 0; i < QVDISPL_MAX_CONNECTORS; i++) {
        QVDisplConnector *conn = &d->conn[i];
        g_autofree char *key = g_strdup_printf("%u/"
                                               XENDISPL_FIELD_RESOLUTION, i);
        g_autofree char *value = qxen_device_fe_read(&d->dev, key);

        if (!value) {
            break;
        }
        g_assert_cmpint(sscanf(value, "%ux%u", &conn->width, &conn->height),
                        ==, 2);
        d->nr_conn++;
    }
    g_assert_cmpuint(d->nr_conn, >, 0);
}

void qvdispl_cleanup(QVDispl *d)
{
    qxen_device_cleanup(&d->dev);
}

void qvdispl_rings_alloc(QVDispl *d)
{
    unsigned int i;

    for (i = 0; i < d->nr_conn; i++) {
        QVDisplConnector *conn = &d->conn[i];

        qxen_ring_init(&conn->req, d->xen, qxen_evtchn_alloc(d->xen),
                       offsetof(struct xen_displif_sring, ring),
                       sizeof(union xen_displif_sring_entry),
                       __CONST_RING_SIZE(xen_displif, XEN_PAGE_SIZE));
        conn->evt_page = qxen_page_alloc(d->xen, 1);
        conn->evt_ref = qxen_grant(d->xen, conn->evt_page, 0);
        conn->evt_port = qxen_evtchn_alloc(d->xen);
    }
}

void qvdispl_rings_free(QVDispl *d)
{
    unsigned int i;

    for (i = 0; i < d->nr_conn; i++) {
        QVDisplConnector *conn = &d->conn[i];

        qxen_ring_cleanup(&conn->req);
        qxen_evtchn_close(d->xen, conn->req.port);
        qxen_grant_end(d->xen, conn->evt_ref);
        qxen_page_free(d->xen, conn->evt_page);
        qxen_evtchn_close(d->xen, conn->evt_port);
    }
}

static void publish(QVDispl *d, unsigned int conn, const char *node,
                    uint32_t value)
{
    g_autofree char *key = g_strdup_printf("%u/%s", conn, node);

    qxen_device_fe_write(&d->dev, key, "%u", value);
}

void qvdispl_publish(QVDispl *d)
{
    unsigned int i;

    if (d->version) {
        qxen_device_fe_write(&d->dev, XENDISPL_FIELD_FE_VERSION, "%s",
                             d->version);
    }
    for (i = 0; i < d->nr_conn; i++) {
        QVDisplConnector *conn = &d->conn[i];

        publish(d, i, XENDISPL_FIELD_REQ_RING_REF, conn->req.ref);
        publish(d, i, XENDISPL_FIELD_REQ_CHANNEL, conn->req.port);
        publish(d, i, XENDISPL_FIELD_EVT_RING_REF, conn->evt_ref);
        publish(d, i, XENDISPL_FIELD_EVT_CHANNEL, conn->evt_port);
    }
}

void qvdispl_connect(QVDispl *d)
{
    qvdispl_rings_alloc(d);
    qvdispl_publish(d);
    qxen_device_set_state(&d->dev, XenbusStateInitialised);
    qxen_device_wait(&d->dev, XenbusStateConnected);
    qxen_device_set_state(&d->dev, XenbusStateConnected);
    qxen_settle(d->xen);
}

void qvdispl_disconnect(QVDispl *d)
{
    qxen_device_close(&d->dev);
    qvdispl_rings_free(d);
}

void qvdispl_restart(QVDispl *d)
{
    qxen_device_set_state(&d->dev, XenbusStateInitialising);
    qxen_device_wait(&d->dev, XenbusStateInitWait);
    qxen_settle(d->xen);
}

uint64_t qvdispl_cookie(QVDispl *d)
{
    return d->next_cookie++;
}

/* Requests */

uint16_t qvdispl_send(QVDispl *d, unsigned int conn,
                      struct xendispl_req *req)
{
    req->id = d->next_id++;
    qxen_ring_put(&d->conn[conn].req, req, sizeof(*req));
    qxen_ring_push(&d->conn[conn].req);
    return req->id;
}

int qvdispl_request(QVDispl *d, unsigned int conn, struct xendispl_req *req,
                    struct xendispl_resp *resp)
{
    struct xendispl_resp r;

    qvdispl_send(d, conn, req);
    qxen_ring_wait(&d->conn[conn].req, &r, sizeof(r));
    g_assert_cmpuint(r.id, ==, req->id);
    g_assert_cmpuint(r.operation, ==, req->operation);
    if (resp) {
        *resp = r;
    }
    return r.status;
}

int qvdispl_dbuf_create(QVDispl *d, QVDisplBuffer *buf)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_DBUF_CREATE,
        .op.dbuf_create = buf->req,
    };

    return qvdispl_request(d, 0, &req, NULL);
}

int qvdispl_dbuf_destroy(QVDispl *d, uint64_t dbuf_cookie)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_DBUF_DESTROY,
        .op.dbuf_destroy.dbuf_cookie = dbuf_cookie,
    };

    return qvdispl_request(d, 0, &req, NULL);
}

int qvdispl_fb_attach(QVDispl *d, uint64_t dbuf_cookie, uint64_t fb_cookie,
                      uint32_t width, uint32_t height, uint32_t fourcc)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_FB_ATTACH,
        .op.fb_attach = {
            .dbuf_cookie = dbuf_cookie,
            .fb_cookie = fb_cookie,
            .width = width,
            .height = height,
            .pixel_format = fourcc,
        },
    };

    return qvdispl_request(d, 0, &req, NULL);
}

int qvdispl_fb_detach(QVDispl *d, uint64_t fb_cookie)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_FB_DETACH,
        .op.fb_detach.fb_cookie = fb_cookie,
    };

    return qvdispl_request(d, 0, &req, NULL);
}

int qvdispl_set_config(QVDispl *d, unsigned int conn, uint64_t fb_cookie,
                       uint32_t x, uint32_t y, uint32_t width,
                       uint32_t height, uint32_t bpp)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_SET_CONFIG,
        .op.set_config = {
            .fb_cookie = fb_cookie,
            .x = x,
            .y = y,
            .width = width,
            .height = height,
            .bpp = bpp,
        },
    };

    return qvdispl_request(d, conn, &req, NULL);
}

int qvdispl_disable(QVDispl *d, unsigned int conn)
{
    return qvdispl_set_config(d, conn, 0, 0, 0, 0, 0, 0);
}

int qvdispl_flip(QVDispl *d, unsigned int conn, uint64_t fb_cookie)
{
    struct xendispl_req req = {
        .operation = XENDISPL_OP_PG_FLIP,
        .op.pg_flip.fb_cookie = fb_cookie,
    };

    return qvdispl_request(d, conn, &req, NULL);
}

/* Buffers */

uint64_t qvdispl_dir_entry(QVDisplBuffer *buf, unsigned int n)
{
    return buf->dir + n / XENDISPL_DIR_ENTRIES * XEN_PAGE_SIZE +
        offsetof(struct xendispl_page_directory, gref) +
        n % XENDISPL_DIR_ENTRIES * sizeof(grant_ref_t);
}

uint64_t qvdispl_dir_next(QVDisplBuffer *buf, unsigned int dir)
{
    return buf->dir + dir * XEN_PAGE_SIZE +
        offsetof(struct xendispl_page_directory, gref_dir_next_page);
}

void qvdispl_buffer_alloc(QVDispl *d, QVDisplBuffer *buf, unsigned int width,
                          unsigned int height, unsigned int bpp,
                          unsigned int data_ofs)
{
    QTestState *qts = d->xen->qts;
    unsigned int i;

    memset(buf, 0, sizeof(*buf));
    buf->stride = DIV_ROUND_UP(width * bpp, 8);
    buf->req = (struct xendispl_dbuf_create_req) {
        .dbuf_cookie = qvdispl_cookie(d),
        .width = width,
        .height = height,
        .bpp = bpp,
        .buffer_sz = data_ofs + buf->stride * height,
        .data_ofs = data_ofs,
    };

    buf->nr_pages = DIV_ROUND_UP(buf->req.buffer_sz, XEN_PAGE_SIZE);
    buf->addr = qxen_page_alloc(d->xen, buf->nr_pages);
    buf->refs = g_new(uint32_t, buf->nr_pages);
    buf->nr_dirs = DIV_ROUND_UP(buf->nr_pages, XENDISPL_DIR_ENTRIES);
    buf->dir = qxen_page_alloc(d->xen, buf->nr_dirs);
    buf->dir_refs = g_new(uint32_t, buf->nr_dirs);

    for (i = 0; i < buf->nr_pages; i++) {
        buf->refs[i] = qxen_grant(d->xen, buf->addr + i * XEN_PAGE_SIZE, 0);
    }
    for (i = 0; i < buf->nr_dirs; i++) {
        buf->dir_refs[i] = qxen_grant(d->xen, buf->dir + i * XEN_PAGE_SIZE,
                                      0);
        if (i) {
            qtest_writel(qts, qvdispl_dir_next(buf, i - 1), buf->dir_refs[i]);
        }
    }
    /* Entries of a directory page are next to each other */
    for (i = 0; i < buf->nr_pages; i += XENDISPL_DIR_ENTRIES) {
        qtest_memwrite(qts, qvdispl_dir_entry(buf, i), &buf->refs[i],
                       MIN(buf->nr_pages - i, XENDISPL_DIR_ENTRIES) *
                       sizeof(buf->refs[0]));
    }
    buf->req.gref_directory = buf->dir_refs[0];
}

unsigned int qvdispl_buffer_mapped(QVDispl *d, QVDisplBuffer *buf)
{
    unsigned int mapped = 0;
    unsigned int i;

    for (i = 0; i < buf->nr_pages; i++) {
        mapped += !!qxen_grant_mapped(d->xen, buf->refs[i]);
    }
    return mapped;
}

void qvdispl_buffer_free(QVDispl *d, QVDisplBuffer *buf)
{
    unsigned int i;

    for (i = 0; i < buf->nr_pages; i++) {
        qxen_grant_end(d->xen, buf->refs[i]);
    }
    for (i = 0; i < buf->nr_dirs; i++) {
        qxen_grant_end(d->xen, buf->dir_refs[i]);
    }
    qxen_page_free(d->xen, buf->addr);
    qxen_page_free(d->xen, buf->dir);
    g_free(buf->refs);
    g_free(buf->dir_refs);
}

void qvdispl_fb(QVDispl *d, QVDisplBuffer *buf, uint32_t fourcc)
{
    g_assert_cmpint(qvdispl_dbuf_create(d, buf), ==, 0);
    buf->fb_cookie = qvdispl_cookie(d);
    g_assert_cmpint(qvdispl_fb_attach(d, buf->req.dbuf_cookie, buf->fb_cookie,
                                      buf->req.width, buf->req.height,
                                      fourcc), ==, 0);
}

void qvdispl_refresh(QVDispl *d)
{
    qtest_clock_step(d->xen->qts, NANOSECONDS_PER_SECOND / 60 + 1);
}

void qvdispl_show(QVDispl *d, unsigned int conn, QVDisplBuffer *buf,
                  uint32_t fourcc)
{
    qvdispl_fb(d, buf, fourcc);
    g_assert_cmpint(qvdispl_set_config(d, conn, buf->fb_cookie, 0, 0,
                                       buf->req.width, buf->req.height,
                                       buf->req.bpp), ==, 0);
    qvdispl_refresh(d);
}

void qvdispl_unfb(QVDispl *d, QVDisplBuffer *buf)
{
    g_assert_cmpint(qvdispl_fb_detach(d, buf->fb_cookie), ==, 0);
    g_assert_cmpint(qvdispl_dbuf_destroy(d, buf->req.dbuf_cookie), ==, 0);
    qvdispl_buffer_free(d, buf);
}

/* Events */

bool qvdispl_event(QVDispl *d, unsigned int conn, struct xendispl_evt *evt)
{
    uint64_t page = d->conn[conn].evt_page;
    uint32_t cons = qxen_readl(d->xen, page + offsetof(
                                   struct xendispl_event_page, in_cons));
    uint32_t prod = qxen_readl(d->xen, page + offsetof(
                                   struct xendispl_event_page, in_prod));

    if (prod == cons) {
        return false;
    }
    g_assert_cmpuint(prod - cons, <=, XENDISPL_IN_RING_LEN);
    qxen_memread(d->xen, page + XENDISPL_IN_RING_OFFS +
                 cons % XENDISPL_IN_RING_LEN * sizeof(*evt), evt,
                 sizeof(*evt));
    qxen_writel(d->xen, page + offsetof(struct xendispl_event_page, in_cons),
                cons + 1);
    return true;
}

void qvdispl_flip_wait(QVDispl *d, unsigned int conn)
{
    gint64 end = g_get_monotonic_time() + QXEN_TIMEOUT * G_USEC_PER_SEC;
    struct xendispl_evt evt;

    while (!qvdispl_event(d, conn, &evt)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
        qxen_settle(d->xen);
    }
    g_assert_cmpuint(evt.type, ==, XENDISPL_EVT_PG_FLIP);
}

/* The node of the graph */

static void vdispl_start_hw(QOSGraphObject *obj)
{
    qvdispl_connect((QVDispl *)obj);
}

static void vdispl_destructor(QOSGraphObject *obj)
{
    QVDispl *d = (QVDispl *)obj;

    qvdispl_disconnect(d);
    qxen_device_assert_idle(&d->dev);
    qvdispl_cleanup(d);
}

static void *vdispl_create(void *bus, QGuestAllocator *alloc, void *arg)
{
    QVDispl *d = g_new(QVDispl, 1);

    qvdispl_init(d, bus, 0);
    d->obj.start_hw = vdispl_start_hw;
    d->obj.destructor = vdispl_destructor;
    return &d->obj;
}

static void vdispl_register_nodes(void)
{
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=vd0,connectors=800x600",
    };

    qos_node_create_driver("xen-vdispl", vdispl_create);
    qos_node_consumes("xen-vdispl", "xen-bus", &opts);
}

libqos_init(vdispl_register_nodes);
