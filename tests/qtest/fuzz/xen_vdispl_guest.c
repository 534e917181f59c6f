/*
 * A guest of the Xen PV display backend that does what an input says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is a list of actions, each an octet and what it needs.  Most are
 * those of a driver, with values near those that make sense, as random ones
 * do not get far; the others write anything anywhere.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "hw/xen/displif.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "../libqos/xen.h"
#include "xen_vdispl_guest.h"

/* Page n of the guest is granted by reference n + 1. */
#define NR_PAGES        40
#define FIRST_GFN       0x100
#define PAGE(n)         ((uint64_t)(FIRST_GFN + (n)) << XEN_PAGE_SHIFT)
#define REF(n)          ((n) + 1)
#define REQ_PAGE(conn)  (conn)
#define EVT_PAGE(conn)  (XEN_VDISPL_GUEST_CONNECTORS + (conn))
#define DIR_PAGE(n)     (2 * XEN_VDISPL_GUEST_CONNECTORS + (n))
#define NR_DIR_PAGES    4
#define FIRST_DATA_PAGE DIR_PAGE(NR_DIR_PAGES)

/* So that no input takes too long, and a fuzzer learns from short ones */
#define MAX_ACTIONS     256
#define MAX_DIRS_FILLED 4
#define MAX_PAGES_ASKED 8192

/* So that a backend that keeps itself busy is noticed */
#define MAX_TURNS       10000

typedef enum Action {
    ACT_REQUEST,
    ACT_RAW_REQUEST,
    ACT_RAW_PAGE,
    ACT_DIRECTORY,
    ACT_FILL_DIRECTORY,
    ACT_INDEX,
    ACT_NOTIFY,
    ACT_CONSUME,
    ACT_CLOCK,
    ACT_NODE,
    ACT_REMOVE_NODE,
    ACT_STATE,
    ACT_CONNECT,
    ACT_GRANT,
    ACT_FAULT,
    ACT_HOLD,
    ACT_VIEW,
    NR_ACTIONS,
} Action;

/* In the octet of an action: let the backend run afterwards */
#define ACT_SETTLE      0x80

static struct {
    QXen xen;
    QXenDevice dev;
    const XenVDisplGuestOps *ops;
    uint32_t req_port[XEN_VDISPL_GUEST_CONNECTORS];
    uint32_t evt_port[XEN_VDISPL_GUEST_CONNECTORS];

    /* For one input */
    const uint8_t *data;
    size_t size;
    uint32_t req_prod[XEN_VDISPL_GUEST_CONNECTORS];
    uint8_t next_id;
    unsigned int dirs_filled;
    unsigned int pages_asked;
    bool xs_held;

    /* What differs from how an input finds it */
    bool regrant[NR_PAGES];
    bool version;
    bool renode;
    bool faults;
    bool dmabufs_late;
} g;

/* The input */

static uint8_t take8(void)
{
    if (!g.size) {
        return 0;
    }
    g.size--;
    return *g.data++;
}

static uint16_t take16(void)
{
    return take8() << 8 | take8();
}

static uint32_t take32(void)
{
    return (uint32_t)take16() << 16 | take16();
}

static void take_bytes(void *to, size_t len)
{
    size_t have = MIN(len, g.size);

    memset(to, 0, len);
    memcpy(to, g.data, have);
    g.data += have;
    g.size -= have;
}

static unsigned int take_conn(void)
{
    return take8() % XEN_VDISPL_GUEST_CONNECTORS;
}

/* A number that is small more often than not */
static uint32_t take_number(void)
{
    static const uint32_t edges[] = {
        XEN_PAGE_SIZE, XEN_PAGE_SIZE + 1, 0x7fff, 16384, 16385, 0xffff,
        INT32_MAX, (uint32_t)INT32_MAX + 1, UINT32_MAX - XEN_PAGE_SIZE + 1,
        UINT32_MAX,
    };
    uint8_t value = take8();

    if (value < 0xf0) {
        return value;
    }
    return value == 0xff ? take32() : edges[value % ARRAY_SIZE(edges)];
}

/* The machine */

/*
 * Lets the backend run until it has nothing to do; or, from outside, as long
 * as xenstore is held back, for a few turns of its main loop.
 */
static void settle(void)
{
    int turns;

    if (g.ops->turn) {
        for (turns = 0; g.ops->turn(); turns++) {
            if (turns == MAX_TURNS) {
                g_error("the back end does not come to rest");
            }
        }
    } else if (!g.xs_held) {
        qxen_settle(&g.xen);
    } else {
        for (turns = 0; turns < 4; turns++) {
            qxen_busy(&g.xen);
        }
    }
}

static void page_write(unsigned int page, uint32_t offset, const void *data,
                       size_t len)
{
    g_assert(page < NR_PAGES && offset + len <= XEN_PAGE_SIZE);
    qtest_memwrite(g.xen.qts, PAGE(page) + offset, data, len);
}

static void page_write32(unsigned int page, uint32_t offset, uint32_t value)
{
    value = cpu_to_le32(value);
    page_write(page, offset, &value, sizeof(value));
}

static uint32_t page_read32(unsigned int page, uint32_t offset)
{
    return qtest_readl(g.xen.qts, PAGE(page) + offset);
}

/* xenstore, as the guest; much of what an input writes is refused */

static char *node_path(const char *node)
{
    return g_strdup_printf("%s/%s", g.dev.fe, node);
}

static void node_write(const char *node, const void *value, size_t len)
{
    g_autofree char *path = node_path(node);

    qxen_xs_try_write(&g.xen, QXEN_GUEST, path, value, len);
}

static void node_write_text(const char *node, const char *text)
{
    node_write(node, text, strlen(text));
}

static void node_write_uint(const char *node, uint32_t value)
{
    g_autofree char *text = g_strdup_printf("%u", value);

    node_write_text(node, text);
}

static void node_rm(const char *node)
{
    g_autofree char *path = node_path(node);

    qxen_xs_rm(&g.xen, QXEN_GUEST, path);
}

static void set_state(enum xenbus_state state)
{
    node_write_uint("state", state);
}

/* The nodes of a connector, the driver's first */
static const char *const conn_nodes[] = {
    XENDISPL_FIELD_REQ_RING_REF, XENDISPL_FIELD_REQ_CHANNEL,
    XENDISPL_FIELD_EVT_RING_REF, XENDISPL_FIELD_EVT_CHANNEL,
    XENDISPL_FIELD_RESOLUTION, XENDISPL_FIELD_UNIQUE_ID,
};

static char *conn_node(unsigned int conn, const char *node)
{
    return g_strdup_printf("%u/%s", conn, node);
}

static void rings_reset(unsigned int conn)
{
    /* req_prod, req_event, rsp_prod, rsp_event; in_cons, in_prod */
    static const uint8_t req_page[16] = { [4] = 1, [12] = 1 };
    static const uint8_t evt_page[8];

    page_write(REQ_PAGE(conn), 0, req_page, sizeof(req_page));
    page_write(EVT_PAGE(conn), 0, evt_page, sizeof(evt_page));
    g.req_prod[conn] = 0;
}

/* Everything that is left to do for a good driver, from InitWait on */
static void act_connect(void)
{
    static const char *const versions[] = { NULL, "1", "2" };
    uint8_t what = take8();
    const char *version = versions[what % ARRAY_SIZE(versions)];

    for (unsigned int i = 0; i < XEN_VDISPL_GUEST_CONNECTORS; i++) {
        rings_reset(i);
    }
    if (version) {
        node_write_text(XENDISPL_FIELD_FE_VERSION, version);
        g.version = true;
    }
    set_state(XenbusStateInitialised);
    settle();
    set_state(XenbusStateConnected);
}

static void act_node(bool remove)
{
    static const char *const texts[] = {
        "", "-1", "0x1", " 1", "1x", "4294967295", "4294967296", "3",
        "18446744073709551617", "64x48", "0x0", "99999x99999",
    };
    static const char *const nodes[] = {
        XENDISPL_FIELD_FE_VERSION, XENDISPL_FIELD_BE_ALLOC, "state",
        "backend", "2/" XENDISPL_FIELD_REQ_RING_REF,
    };
    uint8_t which = take8();
    uint8_t kind;
    g_autofree char *node = NULL;
    char value[16];
    size_t len;

    g.renode = true;
    if (which & 1) {
        node = g_strdup(nodes[(which >> 1) % ARRAY_SIZE(nodes)]);
    } else {
        node = conn_node((which >> 1) % XEN_VDISPL_GUEST_CONNECTORS,
                         conn_nodes[(which >> 2) % ARRAY_SIZE(conn_nodes)]);
    }
    if (remove) {
        node_rm(node);
        return;
    }

    kind = take8();
    switch (kind & 3) {
    case 0:
        node_write_uint(node, take_number());
        break;
    case 1:
        /* any of the guest's references and ports */
        node_write_uint(node, take8() % (NR_PAGES + 2));
        break;
    case 2:
        len = kind >> 4;
        take_bytes(value, len);
        node_write(node, value, len);
        break;
    default:
        kind = (kind >> 2) % ARRAY_SIZE(texts);
        node_write_text(node, texts[kind]);
        break;
    }
}

/* Requests */

static void send_request(unsigned int conn, struct xendispl_req *req)
{
    unsigned int page = REQ_PAGE(conn);
    uint32_t slot = g.req_prod[conn]++ &
        (__CONST_RING_SIZE(xen_displif, XEN_PAGE_SIZE) - 1);

    page_write(page, offsetof(struct xen_displif_sring, ring) +
               slot * sizeof(union xen_displif_sring_entry), req,
               sizeof(*req));
    page_write32(page, offsetof(struct xen_displif_sring, req_prod),
                 g.req_prod[conn]);
    qxen_evtchn_notify(&g.xen, g.req_port[conn]);
}

static uint32_t take_directory(void)
{
    uint8_t value = take8();

    return value < 0xf0 ? REF(DIR_PAGE(value % NR_DIR_PAGES)) : value % 16;
}

static void dbuf_create(struct xendispl_dbuf_create_req *req)
{
    static const uint32_t bpps[] = { 32, 24, 16, 0, 8, 64, 65, UINT32_MAX };
    uint8_t what = take8();

    req->dbuf_cookie = what & 7;
    req->bpp = bpps[(what >> 3) % ARRAY_SIZE(bpps)];
    req->width = take_number();
    req->height = take_number();
    req->gref_directory = take_directory();
    if (what & 0x40) {
        req->buffer_sz = take32();
        req->data_ofs = take_number();
    } else {
        req->buffer_sz = DIV_ROUND_UP(req->width * req->bpp, 8) * req->height;
    }
    req->flags = what >> 7;

    /* Mapping is what takes the time. */
    g.pages_asked += req->buffer_sz / XEN_PAGE_SIZE;
    if (g.pages_asked > MAX_PAGES_ASKED) {
        req->buffer_sz %= XEN_PAGE_SIZE;
    }
}

static void fb_attach(struct xendispl_fb_attach_req *req)
{
    static const uint32_t formats[] = {
        DRM_FORMAT_XRGB8888, DRM_FORMAT_ARGB8888, DRM_FORMAT_RGB888,
        DRM_FORMAT_RGB565, DRM_FORMAT_XRGB1555, DRM_FORMAT_ARGB1555,
        DRM_FORMAT_XRGB4444, DRM_FORMAT_ARGB4444, DRM_FORMAT_YUYV,
        DRM_FORMAT_NV12, 0,
    };
    uint8_t cookies = take8();

    req->dbuf_cookie = cookies & 7;
    req->fb_cookie = (cookies >> 3) & 15;
    req->pixel_format = formats[take8() % ARRAY_SIZE(formats)];
    req->width = take_number();
    req->height = take_number();
}

static void set_config(struct xendispl_set_config_req *req)
{
    static const uint32_t bpps[] = { 32, 24, 16, 0, UINT32_MAX };
    uint8_t what = take8();

    req->fb_cookie = what & 15;
    if (what & 0x80) {
        return;
    }
    req->bpp = bpps[(what >> 4) % ARRAY_SIZE(bpps)];
    req->width = take_number();
    req->height = take_number();
    req->x = take_number();
    req->y = take_number();
}

static void act_request(void)
{
    uint8_t what = take8();
    unsigned int conn = (what >> 3) % XEN_VDISPL_GUEST_CONNECTORS;
    struct xendispl_req req = {
        .id = g.next_id++,
        .operation = XENDISPL_OP_DBUF_CREATE + (what & 7),
    };

    switch (req.operation) {
    case XENDISPL_OP_DBUF_CREATE:
        dbuf_create(&req.op.dbuf_create);
        break;
    case XENDISPL_OP_DBUF_DESTROY:
        req.op.dbuf_destroy.dbuf_cookie = take8() & 7;
        break;
    case XENDISPL_OP_FB_ATTACH:
        fb_attach(&req.op.fb_attach);
        break;
    case XENDISPL_OP_FB_DETACH:
        req.op.fb_detach.fb_cookie = take8() & 15;
        break;
    case XENDISPL_OP_SET_CONFIG:
        set_config(&req.op.set_config);
        break;
    case XENDISPL_OP_PG_FLIP:
        req.op.pg_flip.fb_cookie = take8() & 15;
        break;
    case XENDISPL_OP_GET_EDID:
        req.op.get_edid.buffer_sz = what & 0x80 ? take_number() :
            XENDISPL_EDID_MAX_SIZE;
        req.op.get_edid.gref_directory = take_directory();
        break;
    default:
        req.operation = take8();
        break;
    }
    send_request(conn, &req);
}

static void act_raw_request(void)
{
    unsigned int conn = take_conn();
    struct xendispl_req req;

    take_bytes(&req, sizeof(req));
    if (req.operation == XENDISPL_OP_DBUF_CREATE) {
        g.pages_asked += req.op.dbuf_create.buffer_sz / XEN_PAGE_SIZE;
        if (g.pages_asked > MAX_PAGES_ASKED) {
            req.op.dbuf_create.buffer_sz %= XEN_PAGE_SIZE;
        }
    }
    send_request(conn, &req);
}

/* Shared pages */

static void act_raw_page(void)
{
    unsigned int page = take8() % NR_PAGES;
    uint32_t offset = take16() % XEN_PAGE_SIZE;
    uint8_t data[64];
    size_t len = MIN(take8() % sizeof(data), XEN_PAGE_SIZE - offset);

    take_bytes(data, len);
    page_write(page, offset, data, len);
}

/* A few entries, or the reference of the next page */
static void act_directory(void)
{
    unsigned int page = DIR_PAGE(take8() % NR_DIR_PAGES);
    uint8_t what = take8();
    uint32_t ref = take_number();

    if (what & 1) {
        page_write32(page, offsetof(struct xendispl_page_directory,
                                    gref_dir_next_page), ref);
        return;
    }
    for (uint32_t i = 0; i < (what >> 1) % 16; i++) {
        page_write32(page, offsetof(struct xendispl_page_directory, gref) +
                     i * sizeof(grant_ref_t), ref + i);
    }
}

/* A whole page of entries, so that a buffer can need more than one */
static void act_fill_directory(void)
{
    unsigned int n = take8() % NR_DIR_PAGES;
    uint32_t first = take8() % NR_PAGES;
    struct xendispl_page_directory *dir;
    uint8_t page[XEN_PAGE_SIZE];

    if (g.dirs_filled++ == MAX_DIRS_FILLED) {
        return;
    }
    dir = (struct xendispl_page_directory *)page;
    dir->gref_dir_next_page = cpu_to_le32(REF(DIR_PAGE((n + 1) %
                                                       NR_DIR_PAGES)));
    for (uint32_t i = 0; i < XENDISPL_DIR_ENTRIES; i++) {
        uint32_t data = FIRST_DATA_PAGE +
            (first + i) % (NR_PAGES - FIRST_DATA_PAGE);

        dir->gref[i] = cpu_to_le32(REF(data));
    }
    page_write(DIR_PAGE(n), 0, page, sizeof(page));
}

static void act_index(void)
{
    static const uint32_t offsets[] = {
        offsetof(struct xen_displif_sring, req_prod),
        offsetof(struct xen_displif_sring, req_event),
        offsetof(struct xen_displif_sring, rsp_prod),
        offsetof(struct xen_displif_sring, rsp_event),
        offsetof(struct xendispl_event_page, in_cons),
        offsetof(struct xendispl_event_page, in_prod),
    };
    uint8_t what = take8();
    unsigned int conn = what & 1;
    unsigned int index = (what >> 1) % ARRAY_SIZE(offsets);
    unsigned int page = index < 4 ? REQ_PAGE(conn) : EVT_PAGE(conn);

    if (what & 0x80) {
        page_write32(page, offsets[index], take32());
    } else {
        page_write32(page, offsets[index],
                     page_read32(page, offsets[index]) + (int8_t)take8());
    }
}

/* A driver that has seen all responses and events */
static void act_consume(void)
{
    unsigned int conn = take_conn();
    uint32_t rsp_prod = page_read32(REQ_PAGE(conn),
        offsetof(struct xen_displif_sring, rsp_prod));
    uint32_t in_prod = page_read32(EVT_PAGE(conn),
        offsetof(struct xendispl_event_page, in_prod));

    page_write32(REQ_PAGE(conn), offsetof(struct xen_displif_sring,
                                          rsp_event), rsp_prod + 1);
    page_write32(EVT_PAGE(conn), offsetof(struct xendispl_event_page,
                                          in_cons), in_prod);
}

/* The rest */

static void act_clock(void)
{
    static const int64_t ms[] = { 1, 16, 17, 34, 101, 1001, 2600 };

    qtest_clock_step(g.xen.qts, ms[take8() % ARRAY_SIZE(ms)] * 1000000);
}

static void grant(unsigned int page, uint32_t gfn, uint32_t flags)
{
    g.regrant[page] = true;
    qxen_grant_set(&g.xen, REF(page), gfn, flags);
}

static void act_grant(void)
{
    unsigned int page = take8() % NR_PAGES;
    uint8_t what = take8();

    /* A page that is shared twice, one that there is not, or none */
    grant(page, what & 0x80 ? take32() :
          FIRST_GFN + (what >> 2) % NR_PAGES, what & 3);
}

/*
 * Reads of xenstore do not fail: that would have the bus take the device for
 * one that the toolstack has removed.
 */
static void act_fault(void)
{
    static const uint32_t calls[] = {
        XEN_QTEST_CALL_XS_WRITE, XEN_QTEST_CALL_GNTTAB_OPEN,
        XEN_QTEST_CALL_GRANT_MAP, XEN_QTEST_CALL_EVTCHN_OPEN,
        XEN_QTEST_CALL_EVTCHN_BIND, XEN_QTEST_CALL_EVTCHN_NOTIFY,
        XEN_QTEST_CALL_DMABUF_EXPORT, XEN_QTEST_CALL_DMABUF_WAIT,
        XEN_QTEST_CALL_DMABUF_GRANT, XEN_QTEST_CALL_DMABUF_MAP,
        XEN_QTEST_CALL_DMABUF_NOTIFY,
    };
    uint32_t call = calls[take8() % ARRAY_SIZE(calls)];

    g.faults = true;
    if (call == XEN_QTEST_CALL_DMABUF_WAIT) {
        g.dmabufs_late = true;
    }
    qxen_fault(&g.xen, call, take8() % 32, EIO);
}

static void hold_xenstore(bool hold)
{
    g.xs_held = hold;
    qxen_xs_hold(&g.xen, hold);
}

/* Watches that are late; dma-bufs that somebody has open */
static void act_hold(void)
{
    uint8_t what = take8();

    hold_xenstore(what & 1);
    if (what & 2) {
        g.dmabufs_late = true;
    }
    qxen_dmabuf_hold(&g.xen, what & 2);
}

static void act_view(void)
{
    uint8_t what = take8();

    if (g.ops->view) {
        g.ops->view(what & 1, (what >> 1) % XEN_VDISPL_NR_VIEWS, take8());
    }
}

static void act(Action action)
{
    unsigned int conn;

    switch (action) {
    case ACT_REQUEST:
        act_request();
        break;
    case ACT_RAW_REQUEST:
        act_raw_request();
        break;
    case ACT_RAW_PAGE:
        act_raw_page();
        break;
    case ACT_DIRECTORY:
        act_directory();
        break;
    case ACT_FILL_DIRECTORY:
        act_fill_directory();
        break;
    case ACT_INDEX:
        act_index();
        break;
    case ACT_NOTIFY:
        conn = take_conn();
        qxen_evtchn_notify(&g.xen, take8() & 1 ? g.req_port[conn] :
                           g.evt_port[conn]);
        break;
    case ACT_CONSUME:
        act_consume();
        break;
    case ACT_CLOCK:
        act_clock();
        break;
    case ACT_NODE:
    case ACT_REMOVE_NODE:
        act_node(action == ACT_REMOVE_NODE);
        break;
    case ACT_STATE:
        set_state(take8() % (XenbusStateReconfigured + 2));
        break;
    case ACT_CONNECT:
        act_connect();
        break;
    case ACT_GRANT:
        act_grant();
        break;
    case ACT_FAULT:
        act_fault();
        break;
    case ACT_HOLD:
        act_hold();
        break;
    case ACT_VIEW:
        act_view();
        break;
    default:
        g_assert_not_reached();
    }
}

/* Before and after an input */

/* Pages are zero, whoever wrote into them, and granted */
static void pages_reset(void)
{
    static const uint8_t zeroes[NR_PAGES * XEN_PAGE_SIZE];

    qtest_bufwrite(g.xen.qts, PAGE(0), zeroes, sizeof(zeroes));
    for (unsigned int i = 0; i < NR_PAGES; i++) {
        if (g.regrant[i]) {
            grant(i, FIRST_GFN + i, XEN_QTEST_GRANT_ACCESS);
            g.regrant[i] = false;
        }
    }
}

/* The nodes are a good driver's, but for its version and state */
static void nodes_reset(void)
{
    if (g.version || g.renode) {
        node_rm(XENDISPL_FIELD_FE_VERSION);
        g.version = false;
    }
    if (!g.renode) {
        return;
    }
    node_rm("2");
    for (unsigned int i = 0; i < XEN_VDISPL_GUEST_CONNECTORS; i++) {
        const uint32_t values[] = {
            REF(REQ_PAGE(i)), g.req_port[i], REF(EVT_PAGE(i)), g.evt_port[i],
        };

        for (unsigned int n = 0; n < ARRAY_SIZE(values); n++) {
            g_autofree char *node = conn_node(i, conn_nodes[n]);

            node_write_uint(node, values[n]);
        }
    }
    g.renode = false;
}

/* One buffer's directory, so that there is one at once */
static void directory_init(void)
{
    uint32_t refs[NR_PAGES - FIRST_DATA_PAGE];

    for (uint32_t i = 0; i < ARRAY_SIZE(refs); i++) {
        refs[i] = cpu_to_le32(REF(FIRST_DATA_PAGE + i));
    }
    page_write(DIR_PAGE(0), offsetof(struct xendispl_page_directory, gref),
               refs, sizeof(refs));
}

static void view_release(void)
{
    if (g.ops->view) {
        g.ops->view(0, XEN_VDISPL_VIEW_RELEASE, 0);
    }
}

/*
 * The guest goes away, and the next one comes: without a word, or after it has
 * closed the device.  The backend must hold what it held when it was new, and
 * be where it was.
 */
static void disconnect(bool viewer_first, bool close)
{
    for (int i = 0; g.faults && i < XEN_QTEST_NR_CALLS; i++) {
        qxen_fault(&g.xen, i, 0, 0);
    }
    g.faults = false;
    if (g.xs_held) {
        hold_xenstore(false);
    }
    if (viewer_first) {
        view_release();
        settle();
    }
    if (close) {
        set_state(XenbusStateClosed);
        settle();
    }
    nodes_reset();
    set_state(XenbusStateInitialising);
    settle();
    view_release();
    if (g.dmabufs_late) {
        /* The backend asks for their release from time to time */
        qxen_dmabuf_hold(&g.xen, false);
        qtest_clock_step(g.xen.qts, NANOSECONDS_PER_SECOND);
        settle();
        g.dmabufs_late = false;
    }

    if (qxen_device_state(&g.dev) != XenbusStateInitWait) {
        g_error("the back end is in state %u instead of InitWait",
                qxen_device_state(&g.dev));
    }
    qxen_device_assert_idle(&g.dev);
}

void xen_vdispl_guest_run(const uint8_t *data, size_t size)
{
    uint8_t flags;
    int i;

    g.data = data;
    g.size = size;
    g.next_id = 0;
    g.dirs_filled = 0;
    g.pages_asked = 0;
    pages_reset();
    directory_init();

    flags = take8();
    if (flags & 1) {
        act_connect();
    }
    for (i = 0; g.size && i < MAX_ACTIONS; i++) {
        uint8_t action = take8();

        act((action & ~ACT_SETTLE) % NR_ACTIONS);
        if (action & ACT_SETTLE) {
            settle();
        }
    }
    settle();
    disconnect(flags & 2, flags & 4);
}

/* A node that xl makes before the backend looks for it, and never after */
static void toolstack_write(const char *node, const char *value)
{
    g_autofree char *path = node_path(node);

    qxen_xs_write(&g.xen, QXEN_TOOLSTACK, path, "%s", value);
}

void xen_vdispl_guest_init(QTestState *qts, const XenVDisplGuestOps *ops)
{
    memset(&g, 0, sizeof(g));
    qxen_init(&g.xen, qts);
    qxen_device_init(&g.dev, &g.xen, XENDISPL_DRIVER_NAME,
                     XENDISPL_DRIVER_NAME, 0);
    g.ops = ops;
    qxen_device_create(&g.dev);
    toolstack_write(XENDISPL_FIELD_BE_ALLOC, "1");
    toolstack_write("0/" XENDISPL_FIELD_RESOLUTION, "64x48");
    toolstack_write("1/" XENDISPL_FIELD_RESOLUTION, "32x32");
    qxen_device_start(&g.dev);
    settle();
    for (unsigned int i = 0; i < XEN_VDISPL_GUEST_CONNECTORS; i++) {
        g.req_port[i] = qxen_evtchn_alloc(&g.xen);
        g.evt_port[i] = qxen_evtchn_alloc(&g.xen);
    }
    memset(g.regrant, true, sizeof(g.regrant));
    g.renode = true;
    nodes_reset();
    settle();
    qxen_device_open(&g.dev);
}
