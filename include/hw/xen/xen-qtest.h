/*
 * The xen-qtest machine: registers, shared with the tests that drive it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xen-qtest is a Xen inside QEMU, for -accel qtest: a xenstore, a grant
 * table with dma-bufs, and event channels, with QEMU's back ends as domain 0
 * and the test as the guest, domain 1.  Guest RAM starts at address 0;
 * everything else is done through the window described here:
 *
 *   XEN_QTEST_BASE + 0x0000   registers (32 bit)
 *                    0x1000   doorbells, one 32 bit register a port
 *                    0x4000   data of commands (plain RAM)
 *
 * A command: fill in ARG(n) and, where the command has them, the data; write
 * the command's number to COMMAND; read STATUS (0, or a positive errno of
 * the machine QEMU runs on) and LENGTH.  COMMAND follows the arguments, so
 * that all of it can be one write.  A command has run when that returns.
 * What it causes, a watch that fires or an event that arrives, happens from
 * QEMU's main loop as on Xen: poll BUSY to wait for it.
 *
 * With -vga xenfb the device vfb/0 exists from the start.  There is a bus for
 * virtio devices, which no driver can reach: for tests of what they and a back
 * end are to each other.
 */
#ifndef HW_XEN_QTEST_H
#define HW_XEN_QTEST_H

#define TYPE_XEN_QTEST_MACHINE  "xen-qtest"

#define XEN_QTEST_GUEST_DOMID   1
#define XEN_QTEST_BACKEND_DOMID 0

#define XEN_QTEST_BASE          0xf0000000
#define XEN_QTEST_DOORBELLS     0x1000
#define XEN_QTEST_DATA          0x4000
#define XEN_QTEST_DATA_SIZE     0x4000

#define XEN_QTEST_MAX_GRANTS    65536
#define XEN_QTEST_MAX_PORTS     1024

/* Registers; RO unless they say otherwise */
#define XEN_QTEST_REG_ID        0x00    /* XEN_QTEST_ID */
#define XEN_QTEST_REG_BUSY      0x04    /* events of all kinds on their way */
#define XEN_QTEST_REG_XS_HOLD   0x08    /* RW: no watch fires while 1 */
#define XEN_QTEST_REG_DMABUF_HOLD 0x0c  /* RW: none is released while 1 */
#define XEN_QTEST_REG_DMABUF_CACHING 0x10 /* RW: DMA_BUF_CACHING_* of all */
#define XEN_QTEST_REG_DMABUF_ALLOC 0x14 /* of the last export: XenDmabufAlloc */
#define XEN_QTEST_REG_ARG(n)    (0x20 + 4 * (n))        /* RW */
#define XEN_QTEST_NR_ARGS       4
#define XEN_QTEST_REG_COMMAND   0x30    /* WO: enum XenQtestCommand */
#define XEN_QTEST_REG_STATUS    0x34    /* errno of the last command */
#define XEN_QTEST_REG_LENGTH    0x38    /* its result, or bytes of data */
#define XEN_QTEST_REG_ALIVE(n)  (0x100 + 4 * (n))       /* XenQtestAlive */
#define XEN_QTEST_REG_FAULT(n)  (0x200 + 4 * (n))       /* calls until it */
#define XEN_QTEST_REG_CALLS(n)  (0x300 + 4 * (n))       /* calls until now */

#define XEN_QTEST_ID            0x31545158              /* "XQT1" */

/*
 * The guest rings port n by a write.  By a read it gets, and clears, the
 * number of times that the back end has rung.
 */
#define XEN_QTEST_DOORBELL(n)   (XEN_QTEST_DOORBELLS + 4 * (n))

typedef enum XenQtestCommand {
    /*
     * xenstore.  ARG0: the domain that asks.  Data: a path, NUL, and what
     * the command says; ARG1: the length of all of it.
     */
    XEN_QTEST_XS_READ = 1,      /* -> data: value; LENGTH */
    XEN_QTEST_XS_WRITE,         /* value */
    XEN_QTEST_XS_RM,
    XEN_QTEST_XS_LIST,          /* -> data: names, NUL after each; LENGTH */
    XEN_QTEST_XS_SET_PERMS,     /* "n1" NUL "r0" NUL ... */

    /* Grants.  ARG0: reference, ARG1: guest frame, ARG2: flags */
    XEN_QTEST_GRANT_SET,
    XEN_QTEST_GRANT_END,        /* EBUSY while the back end maps it */
    XEN_QTEST_GRANT_MAPPED,     /* -> LENGTH: how often it is mapped */
    /*
     * A grant of the back end's, ARG0: its reference; -> LENGTH: which page of
     * a dma-buf it is.  ENOENT: there is none
     */
    XEN_QTEST_BACKEND_GRANT,

    /* Event channels */
    XEN_QTEST_EVTCHN_ALLOC,     /* -> LENGTH: a port for domain 0 to bind */
    XEN_QTEST_EVTCHN_CLOSE,     /* ARG0: port */

    /*
     * The ARG1-th call of ARG0 (enum XenQtestCall) from now on fails with
     * errno ARG2, once; ARG1 = 0 takes it back.
     */
    XEN_QTEST_FAULT,
} XenQtestCommand;

#define XEN_QTEST_GRANT_ACCESS   (1u << 0)
#define XEN_QTEST_GRANT_READONLY (1u << 1)

/* What the back ends hold at the moment */
typedef enum XenQtestAlive {
    XEN_QTEST_XS_HANDLES,
    XEN_QTEST_XS_WATCHES,
    XEN_QTEST_XS_TRANSACTIONS,
    XEN_QTEST_GNTTAB_HANDLES,
    XEN_QTEST_GRANT_MAPS,       /* mappings, of one or more pages each */
    XEN_QTEST_GRANT_PAGES,      /* pages in them */
    XEN_QTEST_GRANTS_USED,      /* references mapped, or in a dma-buf */
    XEN_QTEST_EVTCHN_HANDLES,
    XEN_QTEST_EVTCHN_BOUND,
    XEN_QTEST_FOREIGN_MAPS,
    XEN_QTEST_FOREIGN_PAGES,
    XEN_QTEST_DMABUFS,          /* also those that others have open */
    XEN_QTEST_DMABUF_PAGES,     /* pages in them */
    XEN_QTEST_BACKEND_GRANTS,   /* pages that back ends grant the guest */
    XEN_QTEST_NR_ALIVE,
} XenQtestAlive;

/* Calls that back ends make: counted, and made to fail by XEN_QTEST_FAULT */
typedef enum XenQtestCall {
    XEN_QTEST_CALL_ANY,
    XEN_QTEST_CALL_XS_OPEN,
    XEN_QTEST_CALL_XS_READ,     /* of a node or a directory */
    XEN_QTEST_CALL_XS_WRITE,    /* creation and removal of nodes as well */
    XEN_QTEST_CALL_XS_WATCH,
    XEN_QTEST_CALL_XS_TRANSACTION,
    XEN_QTEST_CALL_GNTTAB_OPEN,
    XEN_QTEST_CALL_GRANT_MAP,
    XEN_QTEST_CALL_GRANT_COPY,
    XEN_QTEST_CALL_EVTCHN_OPEN,
    XEN_QTEST_CALL_EVTCHN_BIND,
    XEN_QTEST_CALL_EVTCHN_NOTIFY,
    XEN_QTEST_CALL_FOREIGN_MAP,
    XEN_QTEST_CALL_DMABUF_PROBE,
    XEN_QTEST_CALL_DMABUF_EXPORT,
    XEN_QTEST_CALL_DMABUF_WAIT,
    XEN_QTEST_CALL_DMABUF_GRANT,
    XEN_QTEST_CALL_DMABUF_SYNC_START,
    XEN_QTEST_CALL_DMABUF_SYNC_END,
    XEN_QTEST_CALL_DMABUF_PROBE_MAP,
    XEN_QTEST_CALL_DMABUF_MAP,  /* of grants into a dma-buf */
    XEN_QTEST_CALL_DMABUF_NOTIFY,
    XEN_QTEST_CALL_DMABUF_FILES, /* whether they do for dma-bufs */
    XEN_QTEST_NR_CALLS,
} XenQtestCall;

#endif /* HW_XEN_QTEST_H */
