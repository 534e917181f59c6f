/*
 * Xen PV display backend: framebuffers for OpenGL displays
 *
 * A display with OpenGL takes the framebuffer's dma-buf: a GPU reads the
 * guest's memory, or a client is given it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DISPLAY_XEN_VDISPL_GL_H
#define HW_DISPLAY_XEN_VDISPL_GL_H

#include "ui/console.h"
#include "xen-vdispl-buffer.h"

typedef struct XenVDisplGL XenVDisplGL;

/**
 * struct XenVDisplGLOps - what a display with OpenGL has to say
 * @idle: it has finished with a frame, xen_vdispl_gl_blocked() ends, and it
 *        reads no framebuffer any more but the one that is shown
 *
 * Each is given @opaque of xen_vdispl_gl_new().
 */
typedef struct XenVDisplGLOps {
    void (*idle)(void *opaque);
} XenVDisplGLOps;

/**
 * xen_vdispl_gl_new - prepare a console for dma-bufs
 * @con: the console; it need not have OpenGL
 * @ops: called when something has happened
 * @opaque: passed to @ops
 */
XenVDisplGL *xen_vdispl_gl_new(QemuConsole *con, const XenVDisplGLOps *ops,
                               void *opaque);

/** xen_vdispl_gl_free - @gl shows nothing by now */
void xen_vdispl_gl_free(XenVDisplGL *gl);

/**
 * xen_vdispl_gl_show - show a framebuffer
 * @gl: the console
 * @fb: the framebuffer, on which a reference is taken
 * @offset: of the first pixel that is visible, from that of @fb, in octets
 * @width: visible pixels
 * @height: visible pixels
 *
 * Returns: false when it cannot be shown in this way: no OpenGL, no dma-buf, a
 * format or place of which displays know nothing. What was shown is shown
 * still, or nothing is.
 */
bool xen_vdispl_gl_show(XenVDisplGL *gl, XenVDisplFb *fb, size_t offset,
                        uint32_t width, uint32_t height);

/** xen_vdispl_gl_refused - whether the display has failed to import one */
bool xen_vdispl_gl_refused(const XenVDisplGL *gl);

/** xen_vdispl_gl_hide - show nothing; a surface may follow */
void xen_vdispl_gl_hide(XenVDisplGL *gl);

/** xen_vdispl_gl_shown - whether a framebuffer is shown */
bool xen_vdispl_gl_shown(const XenVDisplGL *gl);

/**
 * xen_vdispl_gl_update - the framebuffer that is shown may have changed
 * @gl: the console
 *
 * Does nothing while xen_vdispl_gl_blocked().
 *
 * Returns: false when there is no OpenGL any more: show a surface instead.
 */
bool xen_vdispl_gl_update(XenVDisplGL *gl);

/**
 * xen_vdispl_gl_blocked - whether the display has not finished with a frame
 * @gl: the console
 *
 * What it is given meanwhile may wait in QEMU's memory.
 */
bool xen_vdispl_gl_blocked(const XenVDisplGL *gl);

/**
 * xen_vdispl_gl_busy - whether the display may read more than what is shown
 * @gl: the console
 */
bool xen_vdispl_gl_busy(const XenVDisplGL *gl);

/** xen_vdispl_gl_block - for GraphicHwOps.gl_block */
void xen_vdispl_gl_block(XenVDisplGL *gl, bool block);

#endif /* HW_DISPLAY_XEN_VDISPL_GL_H */
