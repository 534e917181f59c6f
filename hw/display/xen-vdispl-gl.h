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
 * XenVDisplGLIdle - the display has let go
 * @opaque: as given to xen_vdispl_gl_new()
 *
 * It reads no framebuffer any more but the one that is shown.
 */
typedef void XenVDisplGLIdle(void *opaque);

/**
 * xen_vdispl_gl_new - prepare a console for dma-bufs
 * @con: the console; it need not have OpenGL
 * @idle: called when xen_vdispl_gl_busy() ends
 * @opaque: passed to @idle
 */
XenVDisplGL *xen_vdispl_gl_new(QemuConsole *con, XenVDisplGLIdle *idle,
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

/** xen_vdispl_gl_hide - show nothing; a surface may follow */
void xen_vdispl_gl_hide(XenVDisplGL *gl);

/** xen_vdispl_gl_shown - whether a framebuffer is shown */
bool xen_vdispl_gl_shown(const XenVDisplGL *gl);

/**
 * xen_vdispl_gl_update - the framebuffer that is shown may have changed
 * @gl: the console
 *
 * Does nothing while the display has not finished with the last update.
 */
void xen_vdispl_gl_update(XenVDisplGL *gl);

/**
 * xen_vdispl_gl_busy - whether the display may read more than what is shown
 * @gl: the console
 */
bool xen_vdispl_gl_busy(const XenVDisplGL *gl);

/** xen_vdispl_gl_block - for GraphicHwOps.gl_block */
void xen_vdispl_gl_block(XenVDisplGL *gl, bool block);

#endif /* HW_DISPLAY_XEN_VDISPL_GL_H */
