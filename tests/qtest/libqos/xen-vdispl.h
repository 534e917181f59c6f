/*
 * libqos: a frontend of Xen's display protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Does what a guest's driver does, step by step, so that a test can do one
 * of the steps otherwise.  The protocol: xen/include/public/io/displif.h.
 */

#ifndef LIBQOS_XEN_VDISPL_H
#define LIBQOS_XEN_VDISPL_H

#include "qgraph.h"
#include "xen.h"
#include "hw/xen/displif.h"

#define QVDISPL_MAX_CONNECTORS  4

/**
 * QVDisplConnector - one connector
 * @req: its request ring
 * @evt_page: guest address of its event page
 * @evt_ref: grant of the event page
 * @evt_port: event channel of the event page
 * @width: from xenstore
 * @height: from xenstore
 */
typedef struct QVDisplConnector {
    QXenRing req;
    uint64_t evt_page;
    uint32_t evt_ref;
    uint32_t evt_port;
    unsigned int width;
    unsigned int height;
} QVDisplConnector;

/**
 * QVDispl - the frontend; in the graph the node xen-vdispl, connected
 * @obj: in the graph
 * @xen: the machine
 * @dev: xenstore directories
 * @conn: connectors
 * @nr_conn: how many there are
 * @version: written by qvdispl_publish() if not NULL
 * @next_id: of a request
 * @next_cookie: for qvdispl_cookie()
 */
typedef struct QVDispl {
    QOSGraphObject obj;
    QXen *xen;
    QXenDevice dev;
    QVDisplConnector conn[QVDISPL_MAX_CONNECTORS];
    unsigned int nr_conn;
    const char *version;
    uint16_t next_id;
    uint64_t next_cookie;
} QVDispl;

/**
 * qvdispl_create:
 * @dev: to be set up
 * @xen: the machine
 * @id: number of the device
 * @resolution: of its only connector, "640x480", or NULL for no connector
 * @be_alloc: whether the back end may allocate buffers
 *
 * Makes the nodes that xl makes for vdispl=[...], and waits for QEMU's device.
 */
void qvdispl_create(QXenDevice *dev, QXen *xen, unsigned int id,
                    const char *resolution, bool be_alloc);

/**
 * qvdispl_init:
 * @d: to be set up
 * @xen: the machine
 * @id: number of the device
 *
 * Waits for the back end to offer its connectors, and reads them.
 */
void qvdispl_init(QVDispl *d, QXen *xen, unsigned int id);
/** qvdispl_cleanup: forgets the device; the rings are gone already */
void qvdispl_cleanup(QVDispl *d);

/** qvdispl_rings_alloc: rings and event channels, not yet published */
void qvdispl_rings_alloc(QVDispl *d);
/** qvdispl_rings_free: fails the test if the back end still maps them */
void qvdispl_rings_free(QVDispl *d);
/** qvdispl_publish: writes the nodes that name the rings */
void qvdispl_publish(QVDispl *d);
/** qvdispl_connect: from InitWait to Connected on both sides */
void qvdispl_connect(QVDispl *d);
/** qvdispl_disconnect: closes and takes the rings back */
void qvdispl_disconnect(QVDispl *d);
/** qvdispl_restart: from Closed back to InitWait */
void qvdispl_restart(QVDispl *d);

/** qvdispl_cookie: Returns: a cookie that was not used before */
uint64_t qvdispl_cookie(QVDispl *d);

/**
 * qvdispl_request:
 * @d: the frontend
 * @conn: connector whose ring to use
 * @req: the request but for its id
 * @resp: the response, or NULL
 *
 * Returns: the status.  Checks that the response belongs to the request.
 */
int qvdispl_request(QVDispl *d, unsigned int conn, struct xendispl_req *req,
                    struct xendispl_resp *resp);
/** qvdispl_send: as qvdispl_request(), without waiting.  Returns: the id */
uint16_t qvdispl_send(QVDispl *d, unsigned int conn,
                      struct xendispl_req *req);

/**
 * QVDisplBuffer - pages of the guest, granted, and a directory of them
 * @req: the request that makes a display buffer of them
 * @fb_cookie: the framebuffer, once attached
 * @addr: first page
 * @nr_pages: how many
 * @refs: a grant reference each
 * @dir: first page of the directory
 * @nr_dirs: how many
 * @dir_refs: a grant reference each
 * @stride: octets from row to row
 */
typedef struct QVDisplBuffer {
    struct xendispl_dbuf_create_req req;
    uint64_t fb_cookie;
    uint64_t addr;
    unsigned int nr_pages;
    uint32_t *refs;
    uint64_t dir;
    unsigned int nr_dirs;
    uint32_t *dir_refs;
    unsigned int stride;
} QVDisplBuffer;

/**
 * qvdispl_buffer_alloc:
 * @d: the frontend
 * @buf: to be set up
 * @width: in pixels
 * @height: in pixels
 * @bpp: bits a pixel
 * @data_ofs: of the first pixel
 *
 * Allocates and grants as much as the picture needs; sends nothing.
 */
void qvdispl_buffer_alloc(QVDispl *d, QVDisplBuffer *buf, unsigned int width,
                          unsigned int height, unsigned int bpp,
                          unsigned int data_ofs);
/** qvdispl_buffer_free: fails the test if the back end still maps pages */
void qvdispl_buffer_free(QVDispl *d, QVDisplBuffer *buf);
/** qvdispl_buffer_mapped: Returns: how many of its pages are mapped */
unsigned int qvdispl_buffer_mapped(QVDispl *d, QVDisplBuffer *buf);
/** qvdispl_dir_entry: Returns: address of the n-th reference, or of the link */
uint64_t qvdispl_dir_entry(QVDisplBuffer *buf, unsigned int n);
uint64_t qvdispl_dir_next(QVDisplBuffer *buf, unsigned int dir);

/* The requests; all return the status */
int qvdispl_dbuf_create(QVDispl *d, QVDisplBuffer *buf);
int qvdispl_dbuf_destroy(QVDispl *d, uint64_t dbuf_cookie);
int qvdispl_fb_attach(QVDispl *d, uint64_t dbuf_cookie, uint64_t fb_cookie,
                      uint32_t width, uint32_t height, uint32_t fourcc);
int qvdispl_fb_detach(QVDispl *d, uint64_t fb_cookie);
int qvdispl_set_config(QVDispl *d, unsigned int conn, uint64_t fb_cookie,
                       uint32_t x, uint32_t y, uint32_t width,
                       uint32_t height, uint32_t bpp);
/** qvdispl_disable: SET_CONFIG with all zeroes */
int qvdispl_disable(QVDispl *d, unsigned int conn);
int qvdispl_flip(QVDispl *d, unsigned int conn, uint64_t fb_cookie);

/**
 * qvdispl_refresh:
 * @d: the frontend
 *
 * Let the device come to its next refresh, if it has 60 a second: that is when
 * it shows what it is asked to.
 */
void qvdispl_refresh(QVDispl *d);

/**
 * qvdispl_show:
 * @d: the frontend
 * @conn: connector
 * @buf: from qvdispl_buffer_alloc()
 * @fourcc: how to read it
 *
 * Everything it takes to have @buf on the screen, which must succeed.
 */
void qvdispl_show(QVDispl *d, unsigned int conn, QVDisplBuffer *buf,
                  uint32_t fourcc);
/** qvdispl_fb: makes the display buffer and its framebuffer only */
void qvdispl_fb(QVDispl *d, QVDisplBuffer *buf, uint32_t fourcc);
/** qvdispl_unfb: undoes qvdispl_fb(), and frees @buf */
void qvdispl_unfb(QVDispl *d, QVDisplBuffer *buf);

/** qvdispl_event: takes the next event of a connector, if there is one */
bool qvdispl_event(QVDispl *d, unsigned int conn, struct xendispl_evt *evt);
/** qvdispl_flip_wait: until the event that ends a flip, or fail the test */
void qvdispl_flip_wait(QVDispl *d, unsigned int conn);

#endif /* LIBQOS_XEN_VDISPL_H */
