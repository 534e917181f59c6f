/*
 * The picture that a guest draws into the pages that it shares with dom0
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_TEXTURE_H
#define TESTS_NESTED_TEXTURE_H

#include <stdint.h>

#define PAGE 4096U
#define WIDTH 256U
#define HEIGHT 256U
#define PAGES (WIDTH * HEIGHT * 4 / PAGE)

/**
 * texture_pixel - what a pixel is
 * @x: its column
 * @y: its line
 * @seed: the picture's number
 *
 * Returns: 0xRRGGBB, which is different for each pixel of a picture
 */
static inline uint32_t texture_pixel(unsigned int x, unsigned int y,
                                     uint32_t seed)
{
    return (x << 16 | y << 8 | (x ^ y)) ^ (seed * 0x35 & 0xff) * 0x10101;
}

#endif
