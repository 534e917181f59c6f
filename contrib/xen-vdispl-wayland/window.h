/*
 * A Wayland window that shows memory of others as it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef XEN_VDISPL_WAYLAND_WINDOW_H
#define XEN_VDISPL_WAYLAND_WINDOW_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Window Window;

/**
 * WindowPicture - what a window is to show
 * @fd: the memory, which can be mapped
 * @offset: where the first row begins in it, in octets
 * @width: in pixels
 * @height: in pixels
 * @stride: from one row to the next, in octets
 * @fourcc: format of the pixels, of drm_fourcc.h; alpha is ignored
 * @modifier: how they are laid out, of drm_fourcc.h
 * @is_dmabuf: @fd is a dma-buf
 * @is_copy: @fd is a copy that the caller has made; for the message only
 * @is_black: nothing is to be seen; for the message only
 * @bottom_up: the first row is the lowest
 */
typedef struct WindowPicture {
    int fd;
    uint32_t offset;
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    uint32_t fourcc;
    uint64_t modifier;
    bool is_dmabuf;
    bool is_copy;
    bool is_black;
    bool bottom_up;
} WindowPicture;

/**
 * struct WindowOps - what a window tells its owner
 * @idle: window_busy() is false now
 * @closed: the window has gone, and is of no use any more. @why is NULL if the
 *          user has closed it
 */
typedef struct WindowOps {
    void (*idle)(void *opaque);
    void (*closed)(const char *why, void *opaque);
} WindowOps;

/**
 * window_new - connect to the compositor
 * @title: the window's
 * @ops: called from the main loop
 * @opaque: passed to @ops
 * @err: set to what is missing
 *
 * Nothing is seen before the first picture.
 *
 * Returns: the window, which lives as long as the program, or NULL
 */
Window *window_new(const char *title, const WindowOps *ops, void *opaque,
                   GError **err);

/**
 * window_show - show a picture in place of the one before
 * @w: the window
 * @p: the picture; its descriptor stays the caller's
 * @err: set if the compositor cannot show it
 *
 * Dma-bufs are given to the compositor by zwp_linux_dmabuf_v1, and what is none
 * by wl_shm. So are dma-bufs that the compositor does not want, if their rows
 * are linear.
 *
 * Returns: whether it is shown, or going to be
 */
bool window_show(Window *w, const WindowPicture *p, GError **err);

/**
 * window_update - the picture has changed
 * @w: the window
 * @x: left edge of what has changed
 * @y: its top edge
 * @width: in pixels
 * @height: in pixels
 */
void window_update(Window *w, int32_t x, int32_t y, int32_t width,
                   int32_t height);

/**
 * window_hide - show nothing: the window becomes black
 * @w: the window
 */
void window_hide(Window *w);

/**
 * window_busy - whether a picture before the last one may still be read
 * @w: the window
 */
bool window_busy(const Window *w);

#endif /* XEN_VDISPL_WAYLAND_WINDOW_H */
