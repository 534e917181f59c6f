/*
 * A client of -display dbus, for tests
 *
 * It has a thread of its own: QEMU waits for it while the test waits for QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_DBUS_CLIENT_H
#define TESTS_QTEST_DBUS_CLIENT_H

#include <gio/gio.h>
#include "libqtest.h"

/**
 * Client - a client that listens to QEMU's first console
 * @conn: to QEMU
 * @wants_map: whether it takes memory in place of pixels
 * @fd: where QEMU calls, until the thread has it
 * @lock: of what follows, which is what QEMU has called
 * @maps: how often it was given memory
 * @copies: how often it was given a picture's pixels
 * @dmabufs: how often it was given a dma-buf
 * @updates: how often it was told of a change
 * @holds: how often it did not answer that, see client_hold_updates()
 * @octets: of all pixels that were sent
 * @map_fd: the last memory or dma-buf, or -1
 * @offset: of the picture in @map_fd
 * @width: of that picture, in pixels
 * @height: in pixels
 * @stride: octets from row to row
 */
typedef struct Client {
    GDBusConnection *conn;
    bool wants_map;
    int fd;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;

    GMutex lock;
    GCond called;
    unsigned int maps, copies, dmabufs, updates, holds;
    uint64_t octets;
    int map_fd;
    uint32_t offset, width, height, stride;
    bool hold_updates;
    GDBusMethodInvocation *held;
} Client;

/**
 * client_start:
 * @c: to be set up
 * @qts: a QEMU with -display dbus,p2p=yes
 * @wants_map: whether to take memory in place of pixels
 * @client_fd: the client's end of a pair of sockets
 * @qemu_fd: the other one, for QEMU
 */
void client_start(Client *c, QTestState *qts, bool wants_map, int client_fd,
                  int qemu_fd);
/** client_start_with_map: the same with a pair of its own */
void client_start_with_map(Client *c, QTestState *qts);
/** client_stop: lets go of everything */
void client_stop(Client *c);
/** client_wait: until *@counter, one of @c, is @count; else the test fails */
void client_wait(Client *c, unsigned int *counter, unsigned int count);
/** client_set_size: tells QEMU how large its window is, in pixels */
void client_set_size(Client *c, uint32_t width, uint32_t height);
/** client_let_go: of the memory that it has */
void client_let_go(Client *c);
/**
 * client_hold_updates: the last update that was not answered is now; the next
 * is not, if @hold
 */
void client_hold_updates(Client *c, bool hold);

#endif /* TESTS_QTEST_DBUS_CLIENT_H */
