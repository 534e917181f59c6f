/*
 * libqos: the guest's side of Xen, on the xen-qtest machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A frontend in a test: xenstore, grants, event channels, rings and the
 * xenbus handshake.  See include/hw/xen/xen-qtest.h for what is below.
 */

#ifndef LIBQOS_XEN_H
#define LIBQOS_XEN_H

#include "libqos-malloc.h"
#include "hw/xen/xen-dmabuf.h"
#include "hw/xen/xen-qtest.h"
#include "hw/xen/xen_backend_ops.h"

/* Who asks xenstore: permissions are checked for the guest */
#define QXEN_TOOLSTACK  XEN_QTEST_BACKEND_DOMID
#define QXEN_GUEST      XEN_QTEST_GUEST_DOMID

/* How long a back end may take before a test gives up, in seconds */
#define QXEN_TIMEOUT    10

/**
 * QXen - a QEMU with the machine xen-qtest
 * @qts: the QEMU
 * @alloc: its RAM, for the pages that the guest shares
 * @ram: that RAM, if qxen_share_ram() was called
 * @free_refs: stack of unused grant references
 */
typedef struct QXen {
    QTestState *qts;
    QGuestAllocator alloc;
    uint8_t *ram;
    uint32_t *free_refs;
    unsigned int nr_free_refs;
} QXen;

/**
 * qxen_init:
 * @xen: to be set up
 * @qts: a QEMU started with -machine xen-qtest and the default RAM
 */
void qxen_init(QXen *xen, QTestState *qts);

/**
 * qxen_cleanup:
 * @xen: set up by qxen_init()
 *
 * Fails the test if pages or grant references have not been given back.
 */
void qxen_cleanup(QXen *xen);

/**
 * qxen_share_ram:
 * @xen: the machine
 *
 * Rings and event pages are read and written as a guest does from now on, and
 * not by messages to QEMU: the only one a request takes is its notification.
 */
void qxen_share_ram(QXen *xen);

/** qxen_busy: whether watches or events are on their way to a back end */
bool qxen_busy(QXen *xen);

/**
 * qxen_settle:
 * @xen: the machine
 *
 * Waits until the back ends have seen all watches and events there are, and
 * what these cause in turn.  After it, what has not happened will not.
 */
void qxen_settle(QXen *xen);

/**
 * qxen_alive:
 * @xen: the machine
 * @what: what to count
 *
 * Returns: how many of these the back ends hold.
 */
uint32_t qxen_alive(QXen *xen, XenQtestAlive what);

/** qxen_calls: how often back ends have made a call since QEMU started */
uint32_t qxen_calls(QXen *xen, XenQtestCall call);

typedef struct QXenAlive {
    uint32_t n[XEN_QTEST_NR_ALIVE];
} QXenAlive;

/** qxen_alive_get: everything that qxen_alive() counts, to compare later */
QXenAlive qxen_alive_get(QXen *xen);

/** qxen_assert_alive: fails the test, naming what differs from @expected */
void qxen_assert_alive(QXen *xen, const QXenAlive *expected);

/** qxen_assert_nothing_shared: no page of the guest is mapped, no port bound */
void qxen_assert_nothing_shared(QXen *xen);

/**
 * qxen_fault:
 * @xen: the machine
 * @call: the call that shall fail
 * @nth: 1: the next one, ...; 0: none after all
 * @err: with this errno
 */
void qxen_fault(QXen *xen, XenQtestCall call, unsigned int nth, int err);

/** qxen_fault_pending: whether a fault has not struck yet */
bool qxen_fault_pending(QXen *xen, XenQtestCall call);

/* What guest and back end share; words are read and written whole */
uint32_t qxen_readl(QXen *xen, uint64_t addr);
void qxen_writel(QXen *xen, uint64_t addr, uint32_t value);
void qxen_memread(QXen *xen, uint64_t addr, void *data, size_t size);
void qxen_memwrite(QXen *xen, uint64_t addr, const void *data, size_t size);

/* xenstore; @domid is QXEN_GUEST or QXEN_TOOLSTACK */

/** qxen_xs_read: Returns: the value, or NULL if it cannot be read */
char *qxen_xs_read(QXen *xen, unsigned int domid, const char *path);
/** qxen_xs_try_write: writes any octets.  Returns: 0 or a positive errno */
int qxen_xs_try_write(QXen *xen, unsigned int domid, const char *path,
                      const void *value, size_t len);
/** qxen_xs_write: as qxen_xs_try_write(), which must not fail */
void qxen_xs_write(QXen *xen, unsigned int domid, const char *path,
                   const char *fmt, ...) G_GNUC_PRINTF(4, 5);
/** qxen_xs_rm: removes a node and all below.  Returns: 0 or an errno */
int qxen_xs_rm(QXen *xen, unsigned int domid, const char *path);
/** qxen_xs_list: Returns: names of the nodes below, NULL if there are none */
char **qxen_xs_list(QXen *xen, unsigned int domid, const char *path);
/** qxen_xs_set_owner: gives a node to @owner, and lets @reader read it */
void qxen_xs_set_owner(QXen *xen, const char *path, unsigned int owner,
                       unsigned int reader);
/** qxen_xs_hold: while @hold, no watch of a back end fires */
void qxen_xs_hold(QXen *xen, bool hold);

/* Grants */

/**
 * qxen_grant:
 * @xen: the machine
 * @addr: a page of the guest
 * @flags: XEN_QTEST_GRANT_READONLY or 0
 *
 * Returns: a grant reference by which domain 0 may map the page.
 */
uint32_t qxen_grant(QXen *xen, uint64_t addr, uint32_t flags);
/** qxen_grant_set: writes an entry of the table, whatever its state is */
void qxen_grant_set(QXen *xen, uint32_t ref, uint64_t gfn, uint32_t flags);
/** qxen_grant_mapped: Returns: how often a back end maps @ref */
unsigned int qxen_grant_mapped(QXen *xen, uint32_t ref);
/** qxen_grant_end: ends a grant, which must not be mapped any more */
void qxen_grant_end(QXen *xen, uint32_t ref);
/** qxen_page_alloc: Returns: the address of @count zeroed pages */
uint64_t qxen_page_alloc(QXen *xen, unsigned int count);
void qxen_page_free(QXen *xen, uint64_t addr);

/**
 * qxen_fd_get:
 * @xen: the machine
 * @name: a file that QEMU has open, as /proc names it
 *
 * Returns: a descriptor of the same open file; the caller closes it.
 */
int qxen_fd_get(QXen *xen, const char *name);
/**
 * qxen_ram_fd:
 * @xen: the machine
 *
 * Returns: a descriptor of the guest's RAM; the caller closes it.
 */
int qxen_ram_fd(QXen *xen);
/**
 * qxen_ram_map:
 * @xen: the machine
 *
 * Returns: the guest's RAM, for what has to happen while QEMU runs; to be
 * given back by qxen_ram_unmap().
 */
void *qxen_ram_map(QXen *xen);
void qxen_ram_unmap(QXen *xen, void *ram);

/** qxen_backend_grant: Returns: which page of a dma-buf it is, or -1 */
int qxen_backend_grant(QXen *xen, uint32_t ref);
/** qxen_dmabuf_hold: while @hold, no dma-buf counts as released */
void qxen_dmabuf_hold(QXen *xen, bool hold);
/** qxen_dmabuf_caching: dma-bufs are mapped so, DMA_BUF_CACHING_* */
void qxen_dmabuf_caching(QXen *xen, uint32_t caching);

/** qxen_dmabuf_alloc: what the last export was asked to be mapped on */
XenDmabufAlloc qxen_dmabuf_alloc(QXen *xen);

/* Event channels */

/** qxen_evtchn_alloc: Returns: a port that domain 0 may bind */
uint32_t qxen_evtchn_alloc(QXen *xen);
void qxen_evtchn_close(QXen *xen, uint32_t port);
/** qxen_evtchn_notify: rings the back end */
void qxen_evtchn_notify(QXen *xen, uint32_t port);
/** qxen_evtchn_take: Returns: how often the back end rang since last time */
unsigned int qxen_evtchn_take(QXen *xen, uint32_t port);

/* Rings */

/**
 * QXenRing - the frontend's end of a ring in one shared page
 * @xen: the machine
 * @addr: the page
 * @offset: of the first entry
 * @entry_size: of an entry, request or response
 * @nr: number of entries
 * @req_prod: next request; not published by qxen_ring_push() yet
 * @rsp_cons: next response
 * @ref: grant of the page
 * @port: event channel, not the ring's own
 */
typedef struct QXenRing {
    QXen *xen;
    uint64_t addr;
    size_t offset;
    size_t entry_size;
    unsigned int nr;
    uint32_t req_prod;
    uint32_t rsp_cons;
    uint32_t ref;
    uint32_t port;
} QXenRing;

/**
 * qxen_ring_init:
 * @ring: to be set up
 * @xen: the machine
 * @port: event channel, which rings may share; stays the caller's
 * @offset: of the first entry
 * @entry_size: of an entry, request or response
 * @nr: number of entries
 *
 * Shares a page for the ring.
 */
void qxen_ring_init(QXenRing *ring, QXen *xen, uint32_t port, size_t offset,
                    size_t entry_size, unsigned int nr);
/** qxen_ring_cleanup: takes the page back; nobody may map it */
void qxen_ring_cleanup(QXenRing *ring);
/** qxen_ring_put: writes the next request, @size bytes */
void qxen_ring_put(QXenRing *ring, const void *req, size_t size);
/** qxen_ring_push: publishes requests; rings if the back end wants it to */
void qxen_ring_push(QXenRing *ring);
/** qxen_ring_get: takes a response, if there is one */
bool qxen_ring_get(QXenRing *ring, void *rsp, size_t size);
/** qxen_ring_wait: as qxen_ring_get(); fails the test if none comes */
void qxen_ring_wait(QXenRing *ring, void *rsp, size_t size);

/* Fields of the page that both sides write, to read or to spoil them */
#define QXEN_RING_REQ_PROD  0
#define QXEN_RING_REQ_EVENT 4
#define QXEN_RING_RSP_PROD  8
#define QXEN_RING_RSP_EVENT 12

/* Devices */

/**
 * QXenDevice - a device of the guest
 * @xen: the machine
 * @fe: the frontend's xenstore directory
 * @be: the back end's
 * @idle: what the back ends held at qxen_device_open()
 */
typedef struct QXenDevice {
    QXen *xen;
    char *fe;
    char *be;
    QXenAlive idle;
} QXenDevice;

/**
 * qxen_device_init:
 * @dev: to be set up
 * @xen: the machine
 * @backend: name of the back end's type in xenstore
 * @device: name of the frontend's
 * @id: number of the device
 */
void qxen_device_init(QXenDevice *dev, QXen *xen, const char *backend,
                      const char *device, unsigned int id);
void qxen_device_cleanup(QXenDevice *dev);

/**
 * qxen_device_create:
 * @dev: a device that does not exist yet
 *
 * Makes the nodes that every device has, as a toolstack does.  The caller
 * adds those of its kind, then writes the back end's with qxen_device_start().
 */
void qxen_device_create(QXenDevice *dev);
/** qxen_device_start: lets QEMU find the device of qxen_device_create() */
void qxen_device_start(QXenDevice *dev);
/** qxen_device_remove: asks the back end to close and go, as a toolstack */
void qxen_device_remove(QXenDevice *dev);

/**
 * qxen_device_open:
 * @dev: a device that is new, or that qxen_device_close() has closed
 *
 * What a frontend does first: gets the back end to InitWait.
 */
void qxen_device_open(QXenDevice *dev);
/** qxen_device_close: has both ends Closed */
void qxen_device_close(QXenDevice *dev);
/** qxen_device_assert_idle: all that qxen_device_open() began is undone */
void qxen_device_assert_idle(QXenDevice *dev);

/** qxen_device_fe_write: writes a node of the frontend, as the guest */
void qxen_device_fe_write(QXenDevice *dev, const char *key,
                          const char *fmt, ...) G_GNUC_PRINTF(3, 4);
char *qxen_device_fe_read(QXenDevice *dev, const char *key);
char *qxen_device_be_read(QXenDevice *dev, const char *key);
/** qxen_device_fe_rm: removes a node of the frontend, as the guest */
void qxen_device_fe_rm(QXenDevice *dev, const char *key);

/** qxen_device_set_state: the frontend's */
void qxen_device_set_state(QXenDevice *dev, enum xenbus_state state);
/** qxen_device_state: the back end's; XenbusStateUnknown if it is gone */
enum xenbus_state qxen_device_state(QXenDevice *dev);
/** qxen_device_wait: until the back end is in @state, or fail the test */
void qxen_device_wait(QXenDevice *dev, enum xenbus_state state);

#endif /* LIBQOS_XEN_H */
