/*
 * libqos: a frontend of Xen's console
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One page and one event channel.  In the graph the node xen-console, whose
 * character device is a ring buffer named xencons0.
 */

#ifndef LIBQOS_XEN_CONSOLE_H
#define LIBQOS_XEN_CONSOLE_H

#include "qgraph.h"
#include "xen.h"

/* -device xen-console, with what this frontend expects */
#define QXEN_CONSOLE_CHARDEV    "-chardev ringbuf,id=xencons0"
#define QXEN_CONSOLE_OPTS       "idx=1,chardev=xencons0"

/**
 * QXenConsole - the frontend
 * @obj: in the graph
 * @dev: xenstore directories
 * @page: the shared page, a struct xencons_interface
 * @ref: its grant
 * @port: event channel
 */
typedef struct QXenConsole {
    QOSGraphObject obj;
    QXenDevice dev;
    uint64_t page;
    uint32_t ref;
    uint32_t port;
} QXenConsole;

/** qxen_console_init: waits for the back end, and shares a page */
void qxen_console_init(QXenConsole *con, QXen *xen);
/** qxen_console_cleanup: takes the page back; nobody may map it */
void qxen_console_cleanup(QXenConsole *con);
/** qxen_console_publish: offers the page; the back end answers by its state */
void qxen_console_publish(QXenConsole *con);

#endif /* LIBQOS_XEN_CONSOLE_H */
