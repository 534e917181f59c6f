/*
 * Xen PV display backend: memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "xen-vdispl-buffer.h"
#include "trace.h"

/* A grant table handle that lives as long as anything is mapped through it. */
typedef struct XenVDisplGrants {
    xengnttab_handle *xgt;
    domid_t domid;
    uint64_t mapped;
    unsigned int refs;
} XenVDisplGrants;

typedef struct XenVDisplDbuf {
    XenVDisplBuffers *bufs;
    uint64_t cookie;
    uint32_t stride;
    uint32_t data_ofs;
    unsigned int fbs;
    bool deferred;              /* the answer to its destruction waits */
    XenVDisplMemory *mem;       /* NULL once destroyed */
    XenVDisplMemory *lingering; /* destroyed, but someone still reads */
} XenVDisplDbuf;

/*
 * Pages that the guest draws into, mapped for reading: the guest's own, as a
 * dma-buf or by grants, or ours, a dma-buf that is granted to the guest.
 */
struct XenVDisplMemory {
    XenVDisplGrants *grants;
    XenVDisplPath path;
    XenDmabuf *dmabuf;
    const XenVDisplAllocator *allocator;
    XenVDisplAlloc alloc;
    XenDmabufGrants *granted;
    void *addr;
    int fd;                     /* the dma-buf that addr maps, or -1 */
    uint64_t fd_offset;
    uint32_t *grant_refs;
    uint32_t nr_pages;
    unsigned int refs;
    XenVDisplDbuf *dying;
};

struct XenVDisplBuffers {
    XenVDisplGrants *grants;
    XenVDisplBuffersConfig config;
    GHashTable *dbufs;
    GHashTable *fbs;
    const XenVDisplBuffersOps *ops;
    void *opaque;
};

const char *const xen_vdispl_path_names[] = {
    [XEN_VDISPL_PATH_AUTO] = "auto",
    [XEN_VDISPL_PATH_EXPORTED] = "exported",
    [XEN_VDISPL_PATH_PLACED] = "placed",
    [XEN_VDISPL_PATH_MAPPED] = "mapped",
    [XEN_VDISPL_PATH_IMPORTED] = "imported",
};

/* The formats that xen-drm-front offers, and no other. DRM is little endian. */
static const XenVDisplFormat formats[] = {
    { DRM_FORMAT_XRGB8888, PIXMAN_LE_x8r8g8b8, 4 },
    { DRM_FORMAT_ARGB8888, PIXMAN_LE_x8r8g8b8, 4 },
    { DRM_FORMAT_RGB888, PIXMAN_LE_r8g8b8, 3 },
#if !HOST_BIG_ENDIAN
    { DRM_FORMAT_RGB565, PIXMAN_r5g6b5, 2 },
    { DRM_FORMAT_XRGB1555, PIXMAN_x1r5g5b5, 2 },
    { DRM_FORMAT_ARGB1555, PIXMAN_x1r5g5b5, 2 },
    { DRM_FORMAT_XRGB4444, PIXMAN_x4r4g4b4, 2 },
    { DRM_FORMAT_ARGB4444, PIXMAN_x4r4g4b4, 2 },
    { DRM_FORMAT_YUYV, PIXMAN_yuy2, 2 },
#endif
};

static const XenVDisplFormat *xen_vdispl_format(uint32_t fourcc)
{
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (formats[i].fourcc == fourcc) {
            return &formats[i];
        }
    }
    return NULL;
}

static void xen_vdispl_grants_unref(XenVDisplGrants *grants)
{
    if (--grants->refs) {
        return;
    }
    qemu_xen_gnttab_close(grants->xgt);
    g_free(grants);
}

/*
 * Copies references from a grant directory, or into it. Each page of it is
 * mapped alone and copied once, so what is checked is what is used. The chain
 * is followed only as far as the entries need; a page that comes twice is a
 * loop.
 */
static bool xen_vdispl_copy_directory(XenVDisplGrants *grants,
                                      grant_ref_t first, uint32_t *refs,
                                      uint32_t nr, bool write, Error **errp)
{
    uint32_t nr_dirs = DIV_ROUND_UP(nr, XENDISPL_DIR_ENTRIES);
    g_autofree grant_ref_t *seen = g_new(grant_ref_t, nr_dirs);
    grant_ref_t dir = first;

    for (uint32_t i = 0; i < nr_dirs; i++) {
        uint32_t done = i * XENDISPL_DIR_ENTRIES;
        uint32_t count = MIN(nr - done, XENDISPL_DIR_ENTRIES);
        struct xendispl_page_directory *page;
        grant_ref_t next;

        if (!dir) {
            error_setg(errp, "grant directory ends after %u of %u pages",
                       done, nr);
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (seen[j] == dir) {
                error_setg(errp, "grant directory loops at reference %u", dir);
                return false;
            }
        }
        seen[i] = dir;

        page = qemu_xen_gnttab_map_refs(grants->xgt, 1, grants->domid, &dir,
                                        PROT_READ | (write ? PROT_WRITE : 0));
        if (!page) {
            error_setg_errno(errp, errno,
                             "cannot map grant directory page, reference %u",
                             dir);
            return false;
        }
        next = qatomic_read(&page->gref_dir_next_page);
        if (write) {
            memcpy(page->gref, &refs[done], count * sizeof(*refs));
        } else {
            memcpy(&refs[done], page->gref, count * sizeof(*refs));
        }
        qemu_xen_gnttab_unmap(grants->xgt, page, &dir, 1);

        dir = next;
    }
    return true;
}

/* Returns: nr references, which the caller frees, or NULL. */
static uint32_t *xen_vdispl_read_directory(XenVDisplGrants *grants,
                                           grant_ref_t first, uint32_t nr,
                                           Error **errp)
{
    g_autofree uint32_t *refs = g_new(uint32_t, nr);

    if (!xen_vdispl_copy_directory(grants, first, refs, nr, false, errp)) {
        return NULL;
    }
    for (uint32_t i = 0; i < nr; i++) {
        if (!refs[i]) {
            error_setg(errp, "grant directory has no page %u of %u", i, nr);
            return NULL;
        }
    }
    return g_steal_pointer(&refs);
}

static bool xen_vdispl_memory_set_dmabuf(XenVDisplMemory *mem,
                                         XenDmabuf *dmabuf)
{
    if (!dmabuf) {
        return false;
    }
    mem->dmabuf = dmabuf;
    mem->addr = (void *)xen_dmabuf_data(dmabuf);
    mem->fd = xen_dmabuf_fd(dmabuf);
    mem->fd_offset = xen_dmabuf_offset(dmabuf);
    return true;
}

static bool xen_vdispl_memory_export(XenVDisplMemory *mem,
                                     const XenVDisplBuffersConfig *config,
                                     const XenVDisplShape *shape, Error **errp)
{
    return xen_vdispl_memory_set_dmabuf(
        mem, xen_dmabuf_export(mem->grants->domid, config->dma_alloc,
                               mem->grant_refs, mem->nr_pages, errp));
}

static void xen_vdispl_memory_dealloc(XenVDisplMemory *mem)
{
    if (mem->allocator->free) {
        mem->allocator->free(&mem->alloc);
    }
}

static bool xen_vdispl_memory_place(XenVDisplMemory *mem,
                                    const XenVDisplBuffersConfig *config,
                                    const XenVDisplShape *shape, Error **errp)
{
    /* Nobody has asked yet, if exports have worked so far. */
    if (!xen_dmabuf_can_place(errp)) {
        return false;
    }
    mem->allocator = config->allocator;
    if (!mem->allocator->alloc(config->rendernode, shape, &mem->alloc, errp)) {
        return false;
    }
    if (!xen_vdispl_memory_set_dmabuf(
            mem, xen_dmabuf_place(mem->alloc.fd, mem->grants->domid,
                                  mem->grant_refs, mem->nr_pages, errp))) {
        xen_vdispl_memory_dealloc(mem);
        return false;
    }
    return true;
}

static bool xen_vdispl_memory_map(XenVDisplMemory *mem,
                                  const XenVDisplBuffersConfig *config,
                                  const XenVDisplShape *shape, Error **errp)
{
    XenVDisplGrants *grants = mem->grants;

    mem->addr = qemu_xen_gnttab_map_refs(grants->xgt, mem->nr_pages,
                                         grants->domid, mem->grant_refs,
                                         PROT_READ);
    if (!mem->addr) {
        error_setg_errno(errp, errno, "cannot map %u granted pages",
                         mem->nr_pages);
        return false;
    }
    return true;
}

/*
 * By the first path that works of those that may be taken. Why it is not a
 * better one is added to @why.
 */
static bool xen_vdispl_memory_get(XenVDisplMemory *mem,
                                  const XenVDisplBuffersConfig *config,
                                  const XenVDisplShape *shape, GString *why)
{
    static bool (*const get[])(XenVDisplMemory *mem,
                               const XenVDisplBuffersConfig *config,
                               const XenVDisplShape *shape, Error **errp) = {
        [XEN_VDISPL_PATH_EXPORTED] = xen_vdispl_memory_export,
        [XEN_VDISPL_PATH_PLACED] = xen_vdispl_memory_place,
        [XEN_VDISPL_PATH_MAPPED] = xen_vdispl_memory_map,
    };

    for (mem->path = config->best; mem->path <= config->last; mem->path++) {
        Error *err = NULL;

        if (get[mem->path](mem, config, shape, &err)) {
            return true;
        }
        g_string_append_printf(why, "%snot %s: %s", why->len ? "; " : "",
                               xen_vdispl_path_names[mem->path],
                               error_get_pretty(err));
        error_free(err);
    }
    return false;
}

/* The guest's pages, by the references that are in its directory. */
static bool xen_vdispl_memory_open(XenVDisplMemory *mem, XenVDisplBuffers *bufs,
                                   const struct xendispl_dbuf_create_req *req,
                                   const XenVDisplShape *shape, Error **errp)
{
    g_autoptr(GString) why = g_string_new(NULL);

    mem->grant_refs = xen_vdispl_read_directory(mem->grants,
                                                req->gref_directory,
                                                mem->nr_pages, errp);
    if (!mem->grant_refs) {
        return false;
    }
    if (!xen_vdispl_memory_get(mem, &bufs->config, shape, why)) {
        error_setg(errp, "%s", why->str);
        return false;
    }
    if (why->len) {
        bufs->ops->fell_back(bufs->opaque, req->dbuf_cookie, mem->path,
                             why->str);
    }
    return true;
}

static void xen_vdispl_memory_ungrant(XenVDisplMemory *mem)
{
    if (mem->granted) {
        xen_dmabuf_grant_end(mem->granted);
    }
    munmap(mem->addr, (size_t)mem->nr_pages * XEN_PAGE_SIZE);
    close(mem->alloc.fd);
    xen_vdispl_memory_dealloc(mem);
}

/* Pages that @mem's allocator makes, whose references go into @refs_dir. */
static bool xen_vdispl_memory_grant_new(XenVDisplMemory *mem,
                                        const char *rendernode,
                                        const XenVDisplShape *shape,
                                        grant_ref_t refs_dir, Error **errp)
{
    XenVDisplGrants *grants = mem->grants;

    if (!mem->allocator->alloc(rendernode, shape, &mem->alloc, errp)) {
        return false;
    }
    mem->addr = xen_dmabuf_map(mem->alloc.fd, 0, shape->size, errp);
    if (!mem->addr) {
        close(mem->alloc.fd);
        xen_vdispl_memory_dealloc(mem);
        return false;
    }
    mem->granted = xen_dmabuf_grant(grants->domid, mem->alloc.fd,
                                    mem->grant_refs, mem->nr_pages, errp);
    if (!mem->granted ||
        !xen_vdispl_copy_directory(grants, refs_dir, mem->grant_refs,
                                   mem->nr_pages, true, errp)) {
        xen_vdispl_memory_ungrant(mem);
        return false;
    }
    mem->fd = mem->alloc.fd;
    return true;
}

/*
 * Pages of ours. A guest that does not let go of them keeps their memory, not
 * QEMU. If the allocator of choice has none, ordinary memory has to do.
 */
static bool xen_vdispl_memory_grant(XenVDisplMemory *mem,
                                    XenVDisplBuffers *bufs,
                                    const struct xendispl_dbuf_create_req *req,
                                    const XenVDisplShape *shape, Error **errp)
{
    const XenVDisplBuffersConfig *config = &bufs->config;
    g_autofree char *why = NULL;
    Error *err = NULL;

    mem->path = XEN_VDISPL_PATH_IMPORTED;
    mem->grant_refs = g_new(uint32_t, mem->nr_pages);
    mem->allocator = config->allocator;
    if (xen_vdispl_memory_grant_new(mem, config->rendernode, shape,
                                    req->gref_directory, &err)) {
        return true;
    }
    if (mem->allocator == &xen_vdispl_udmabuf) {
        error_propagate(errp, err);
        return false;
    }
    why = g_strdup_printf("not of %s: %s", mem->allocator->name,
                          error_get_pretty(err));
    error_free(err);
    mem->allocator = &xen_vdispl_udmabuf;
    if (!xen_vdispl_memory_grant_new(mem, NULL, shape, req->gref_directory,
                                     errp)) {
        return false;
    }
    bufs->ops->fell_back(bufs->opaque, req->dbuf_cookie, mem->path, why);
    return true;
}

static XenVDisplMemory *
xen_vdispl_memory_new(XenVDisplBuffers *bufs,
                      const struct xendispl_dbuf_create_req *req,
                      uint32_t stride, bool alloc, Error **errp)
{
    XenVDisplMemory *mem = g_new0(XenVDisplMemory, 1);
    XenVDisplShape shape = {
        .size = ROUND_UP((size_t)req->buffer_sz, XEN_PAGE_SIZE),
    };
    bool ok;

    if (!req->data_ofs) {
        shape.width = req->width;
        shape.height = req->height;
        shape.bpp = req->bpp;
        shape.stride = stride;
    }
    mem->grants = bufs->grants;
    mem->nr_pages = shape.size / XEN_PAGE_SIZE;
    mem->fd = -1;
    mem->refs = 1;
    if (alloc) {
        ok = xen_vdispl_memory_grant(mem, bufs, req, &shape, errp);
    } else {
        ok = xen_vdispl_memory_open(mem, bufs, req, &shape, errp);
    }
    if (!ok) {
        g_free(mem->grant_refs);
        g_free(mem);
        return NULL;
    }

    mem->grants->mapped += shape.size;
    mem->grants->refs++;
    trace_xen_vdispl_map(mem->grants->domid, mem->addr, mem->nr_pages,
                         xen_vdispl_path_names[mem->path]);
    return mem;
}

/* Nothing and nobody uses the guest's pages any more. */
static void xen_vdispl_memory_gone(void *opaque)
{
    XenVDisplMemory *mem = opaque;
    XenVDisplGrants *grants = mem->grants;
    XenVDisplDbuf *dbuf = mem->dying;

    trace_xen_vdispl_unmap(grants->domid, mem->addr, mem->nr_pages);
    grants->mapped -= (uint64_t)mem->nr_pages * XEN_PAGE_SIZE;
    g_free(mem->grant_refs);
    g_free(mem);
    xen_vdispl_grants_unref(grants);

    if (dbuf) {
        XenVDisplBuffers *bufs = dbuf->bufs;
        uint64_t cookie = dbuf->cookie;
        bool deferred = dbuf->deferred;

        dbuf->lingering = NULL;
        g_hash_table_remove(bufs->dbufs, &cookie);
        if (deferred) {
            bufs->ops->unmapped(bufs->opaque, cookie);
        }
    }
}

/* QEMU lets go of it; others may hold on to a dma-buf. */
static void xen_vdispl_memory_unref(XenVDisplMemory *mem)
{
    GLOBAL_STATE_CODE();
    if (--mem->refs) {
        return;
    }
    switch (mem->path) {
    case XEN_VDISPL_PATH_PLACED:
        xen_vdispl_memory_dealloc(mem);
        /* fall through */
    case XEN_VDISPL_PATH_EXPORTED:
        xen_dmabuf_free(mem->dmabuf, xen_vdispl_memory_gone, mem);
        break;
    case XEN_VDISPL_PATH_IMPORTED:
        xen_vdispl_memory_ungrant(mem);
        xen_vdispl_memory_gone(mem);
        break;
    case XEN_VDISPL_PATH_MAPPED:
        qemu_xen_gnttab_unmap(mem->grants->xgt, mem->addr, mem->grant_refs,
                              mem->nr_pages);
        xen_vdispl_memory_gone(mem);
        break;
    default:
        g_assert_not_reached();
    }
}

bool xen_vdispl_fb_has_whole_rows(const XenVDisplFb *fb, size_t offset,
                                  uint32_t height)
{
    return offset + (uint64_t)fb->stride * height <= fb->size;
}

XenVDisplFb *xen_vdispl_fb_ref(XenVDisplFb *fb)
{
    fb->refs++;
    return fb;
}

void xen_vdispl_fb_unref(XenVDisplFb *fb)
{
    XenVDisplMemory *mem = fb->mem;

    if (--fb->refs) {
        return;
    }
    g_free(fb);
    xen_vdispl_memory_unref(mem);
}

static void xen_vdispl_dbuf_free(void *opaque)
{
    XenVDisplDbuf *dbuf = opaque;

    if (dbuf->mem) {
        xen_vdispl_memory_unref(dbuf->mem);
    }
    if (dbuf->lingering) {
        dbuf->lingering->dying = NULL;
    }
    g_free(dbuf);
}

static void xen_vdispl_fb_drop(void *opaque)
{
    xen_vdispl_fb_unref(opaque);
}

XenVDisplBuffers *xen_vdispl_buffers_new(const XenVDisplBuffersConfig *config,
                                         const XenVDisplBuffersOps *ops,
                                         void *opaque, Error **errp)
{
    xengnttab_handle *xgt = qemu_xen_gnttab_open();
    XenVDisplBuffers *bufs;

    if (!xgt) {
        error_setg_errno(errp, errno, "cannot open the grant table");
        return NULL;
    }

    bufs = g_new0(XenVDisplBuffers, 1);
    bufs->grants = g_new0(XenVDisplGrants, 1);
    bufs->grants->xgt = xgt;
    bufs->grants->domid = config->domid;
    bufs->grants->refs = 1;
    bufs->config = *config;
    bufs->ops = ops;
    bufs->opaque = opaque;
    bufs->dbufs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                        xen_vdispl_dbuf_free);
    bufs->fbs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                      xen_vdispl_fb_drop);
    return bufs;
}

void xen_vdispl_buffers_clear(XenVDisplBuffers *bufs)
{
    g_hash_table_remove_all(bufs->fbs);
    g_hash_table_remove_all(bufs->dbufs);
}

void xen_vdispl_buffers_free(XenVDisplBuffers *bufs)
{
    g_hash_table_destroy(bufs->fbs);
    g_hash_table_destroy(bufs->dbufs);
    xen_vdispl_grants_unref(bufs->grants);
    g_free(bufs);
}

uint64_t xen_vdispl_buffers_mapped(const XenVDisplBuffers *bufs)
{
    return bufs ? bufs->grants->mapped : 0;
}

int xen_vdispl_dbuf_create(XenVDisplBuffers *bufs,
                           const struct xendispl_dbuf_create_req *req,
                           bool alloc, Error **errp)
{
    uint64_t nr_pages = DIV_ROUND_UP((uint64_t)req->buffer_sz, XEN_PAGE_SIZE);
    uint64_t size = nr_pages * XEN_PAGE_SIZE;
    /* A buffer that the guest imported comes without its geometry. */
    bool has_geometry = req->width || req->height || req->bpp;
    uint32_t stride = 0;
    XenVDisplMemory *mem;
    XenVDisplDbuf *dbuf;

    if (!req->dbuf_cookie) {
        error_setg(errp, "display buffer cookie 0 is invalid");
        return -XEN_EINVAL;
    }
    if (g_hash_table_contains(bufs->dbufs, &req->dbuf_cookie)) {
        error_setg(errp, "display buffer 0x%" PRIx64 " exists",
                   req->dbuf_cookie);
        return -XEN_EEXIST;
    }
    if (!req->buffer_sz) {
        error_setg(errp, "display buffer 0x%" PRIx64 " has no size",
                   req->dbuf_cookie);
        return -XEN_EINVAL;
    }
    if (has_geometry) {
        if (!req->width || req->width > XEN_VDISPL_MAX_DIM ||
            !req->height || req->height > XEN_VDISPL_MAX_DIM ||
            !req->bpp || req->bpp > 64) {
            error_setg(errp, "no display buffer can be %ux%u, %u bpp",
                       req->width, req->height, req->bpp);
            return -XEN_EINVAL;
        }
        stride = DIV_ROUND_UP(req->width * req->bpp, 8);
    }
    if (req->data_ofs + (uint64_t)stride * req->height > size) {
        error_setg(errp, "%ux%u, %u bpp at offset %u do not fit in %u octets",
                   req->width, req->height, req->bpp, req->data_ofs,
                   req->buffer_sz);
        return -XEN_EINVAL;
    }
    if (g_hash_table_size(bufs->dbufs) >= bufs->config.max_buffers) {
        error_setg(errp, "the guest has %u display buffers, the limit "
                   "(property max-buffers)", bufs->config.max_buffers);
        return -XEN_ENOMEM;
    }
    if (bufs->grants->mapped + size > bufs->config.max_mapped) {
        error_setg(errp, "%" PRIu64 " octets more than the %" PRIu64
                   " mapped would pass the limit of %" PRIu64
                   " (property max-mapped)", size, bufs->grants->mapped,
                   bufs->config.max_mapped);
        return -XEN_ENOMEM;
    }

    mem = xen_vdispl_memory_new(bufs, req, stride, alloc, errp);
    if (!mem) {
        return -XEN_EINVAL;
    }

    dbuf = g_new0(XenVDisplDbuf, 1);
    dbuf->bufs = bufs;
    dbuf->cookie = req->dbuf_cookie;
    dbuf->stride = stride;
    dbuf->data_ofs = req->data_ofs;
    dbuf->mem = mem;
    g_hash_table_insert(bufs->dbufs, &dbuf->cookie, dbuf);
    return 0;
}

static XenVDisplDbuf *xen_vdispl_dbuf_lookup(XenVDisplBuffers *bufs,
                                             uint64_t dbuf_cookie,
                                             Error **errp)
{
    XenVDisplDbuf *dbuf = g_hash_table_lookup(bufs->dbufs, &dbuf_cookie);

    if (!dbuf || !dbuf->mem) {
        error_setg(errp, "no display buffer 0x%" PRIx64, dbuf_cookie);
        return NULL;
    }
    return dbuf;
}

int xen_vdispl_dbuf_destroy(XenVDisplBuffers *bufs, uint64_t dbuf_cookie,
                            Error **errp)
{
    XenVDisplDbuf *dbuf = xen_vdispl_dbuf_lookup(bufs, dbuf_cookie, errp);
    XenVDisplMemory *mem;

    if (!dbuf) {
        return -XEN_ENOENT;
    }
    if (dbuf->fbs) {
        error_setg(errp, "display buffer 0x%" PRIx64
                   " has %u framebuffers attached", dbuf_cookie, dbuf->fbs);
        return -XEN_EBUSY;
    }

    mem = dbuf->mem;
    dbuf->mem = NULL;
    dbuf->lingering = mem;
    mem->dying = dbuf;
    xen_vdispl_memory_unref(mem);

    /* The cookie is free again, unless somebody still reads. */
    dbuf = g_hash_table_lookup(bufs->dbufs, &dbuf_cookie);
    if (!dbuf) {
        return 0;
    }
    dbuf->deferred = true;
    return 1;
}

int xen_vdispl_fb_attach(XenVDisplBuffers *bufs,
                         const struct xendispl_fb_attach_req *req,
                         Error **errp)
{
    const XenVDisplFormat *format = xen_vdispl_format(req->pixel_format);
    XenVDisplDbuf *dbuf;
    uint32_t row, stride;
    XenVDisplFb *fb;

    if (!req->fb_cookie) {
        error_setg(errp, "framebuffer cookie 0 is invalid");
        return -XEN_EINVAL;
    }
    if (g_hash_table_contains(bufs->fbs, &req->fb_cookie)) {
        error_setg(errp, "framebuffer 0x%" PRIx64 " exists", req->fb_cookie);
        return -XEN_EEXIST;
    }
    dbuf = xen_vdispl_dbuf_lookup(bufs, req->dbuf_cookie, errp);
    if (!dbuf) {
        return -XEN_ENOENT;
    }
    if (!format) {
        error_setg(errp, "pixel format 0x%08x is not supported",
                   req->pixel_format);
        return -XEN_EINVAL;
    }
    if (!req->width || req->width > XEN_VDISPL_MAX_DIM ||
        !req->height || req->height > XEN_VDISPL_MAX_DIM) {
        error_setg(errp, "no framebuffer can be %ux%u", req->width,
                   req->height);
        return -XEN_EINVAL;
    }
    row = req->width * format->cpp;
    stride = dbuf->stride ?: row;
    if (row > stride ||
        dbuf->data_ofs + (uint64_t)stride * (req->height - 1) + row >
        (uint64_t)dbuf->mem->nr_pages * XEN_PAGE_SIZE) {
        error_setg(errp, "a framebuffer of %ux%u, %u octets a pixel, "
                   "is too large for display buffer 0x%" PRIx64, req->width,
                   req->height, format->cpp, req->dbuf_cookie);
        return -XEN_EINVAL;
    }
    if (g_hash_table_size(bufs->fbs) >= bufs->config.max_buffers) {
        error_setg(errp, "the guest has %u framebuffers, the limit "
                   "(property max-buffers)", bufs->config.max_buffers);
        return -XEN_ENOMEM;
    }

    fb = g_new0(XenVDisplFb, 1);
    fb->fb_cookie = req->fb_cookie;
    fb->dbuf_cookie = req->dbuf_cookie;
    fb->width = req->width;
    fb->height = req->height;
    fb->stride = stride;
    fb->format = format;
    fb->data = (uint8_t *)dbuf->mem->addr + dbuf->data_ofs;
    fb->size = (size_t)dbuf->mem->nr_pages * XEN_PAGE_SIZE - dbuf->data_ofs;
    fb->path = dbuf->mem->path;
    fb->fd = dbuf->mem->fd;
    fb->fd_offset = dbuf->mem->fd_offset + dbuf->data_ofs;
    fb->mem = dbuf->mem;
    fb->refs = 1;
    dbuf->mem->refs++;
    dbuf->fbs++;
    g_hash_table_insert(bufs->fbs, &fb->fb_cookie, fb);
    return 0;
}

int xen_vdispl_fb_detach(XenVDisplBuffers *bufs, uint64_t fb_cookie,
                         Error **errp)
{
    XenVDisplFb *fb = xen_vdispl_fb_lookup(bufs, fb_cookie);
    XenVDisplDbuf *dbuf;

    if (!fb) {
        error_setg(errp, "no framebuffer 0x%" PRIx64, fb_cookie);
        return -XEN_ENOENT;
    }
    /* An attached framebuffer keeps its display buffer from destruction. */
    dbuf = g_hash_table_lookup(bufs->dbufs, &fb->dbuf_cookie);
    dbuf->fbs--;
    g_hash_table_remove(bufs->fbs, &fb_cookie);
    return 0;
}

XenVDisplFb *xen_vdispl_fb_lookup(XenVDisplBuffers *bufs, uint64_t fb_cookie)
{
    return g_hash_table_lookup(bufs->fbs, &fb_cookie);
}

int xen_vdispl_buffers_write(XenVDisplBuffers *bufs,
                             grant_ref_t gref_directory, uint32_t buffer_sz,
                             const void *data, size_t len, Error **errp)
{
    XenVDisplGrants *grants = bufs->grants;
    uint32_t nr_pages = DIV_ROUND_UP(len, XEN_PAGE_SIZE);
    g_autofree uint32_t *refs = NULL;
    void *addr;

    if (len > buffer_sz) {
        error_setg(errp, "%zu octets do not fit in the guest's buffer of %u",
                   len, buffer_sz);
        return -XEN_EINVAL;
    }
    refs = xen_vdispl_read_directory(grants, gref_directory, nr_pages, errp);
    if (!refs) {
        return -XEN_EINVAL;
    }
    addr = qemu_xen_gnttab_map_refs(grants->xgt, nr_pages, grants->domid, refs,
                                    PROT_READ | PROT_WRITE);
    if (!addr) {
        error_setg_errno(errp, errno, "cannot map %u granted pages to write",
                         nr_pages);
        return -XEN_EINVAL;
    }
    memcpy(addr, data, len);
    qemu_xen_gnttab_unmap(grants->xgt, addr, refs, nr_pages);
    return 0;
}
