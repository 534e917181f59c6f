/*
 * libqos: a frontend of Xen's block protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A ring of one page; requests go one at a time.  In the graph the node
 * xen-disk, for which a test adds "-drive if=none,id=drive0,...".
 */

#ifndef LIBQOS_XEN_BLOCK_H
#define LIBQOS_XEN_BLOCK_H

#include "qgraph.h"
#include "xen.h"

/**
 * QXenBlock - the frontend
 * @obj: in the graph
 * @dev: xenstore directories
 * @ring: the requests' ring
 * @next_id: of a request
 */
typedef struct QXenBlock {
    QOSGraphObject obj;
    QXenDevice dev;
    QXenRing ring;
    uint64_t next_id;
} QXenBlock;

/**
 * qxen_block_request:
 * @blk: the frontend
 * @operation: BLKIF_OP_READ, _WRITE or _FLUSH_DISKCACHE
 * @sector: first sector, in units of 512 octets
 * @ref: grant of the page to be read or written; none for a flush
 *
 * Returns: the status of the response, BLKIF_RSP_...
 */
int qxen_block_request(QXenBlock *blk, uint8_t operation, uint64_t sector,
                       uint32_t ref);

#endif /* LIBQOS_XEN_BLOCK_H */
