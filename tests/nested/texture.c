/*
 * A guest's pages as a texture, in dom0
 *
 *   texture import DOMID REF...   the pages become a dma-buf, and that is made
 *                                 a texture
 *   texture place DOMID REF...    virglrenderer makes a texture, and the pages
 *                                 become its memory
 *
 * The guest shares the pages by "grants share". They hold WIDTH x HEIGHT pixels
 * that it has drawn, and draws anew when told to. Here they are read through
 * OpenGL: once at the start and once for each SIGUSR1. SIGTERM ends it; the
 * last line says that the guest has its pages back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <drm_fourcc.h>
#include <epoxy/egl.h>
#include <epoxy/gl.h>
#include <virgl/virglrenderer.h>
#include "texture.h"
#include "tool.h"

/* The kernel's header expects these to be known */
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

/* What stock headers lack: see docs/specs/gntdev-dmabuf.rst */
struct map_refs_to_buf {
    uint32_t flags;
    uint32_t count;
    uint32_t data_ofs;
    uint32_t fd;
    uint32_t domid;
    uint32_t refs[PAGES];
};
struct map_release {
    uint32_t fd;
    uint32_t reserved;
};
struct map_wait_released {
    uint32_t fd;
    uint32_t wait_to_ms;
};
/* The size in the number is that with one reference */
#define MAP_REFS_TO_BUF _IOC(_IOC_NONE, 'G', 15, 6 * sizeof(uint32_t))
#define MAP_RELEASE _IOC(_IOC_NONE, 'G', 16, sizeof(struct map_release))
#define MAP_WAIT_RELEASED \
    _IOC(_IOC_NONE, 'G', 17, sizeof(struct map_wait_released))

/* B8G8R8X8_UNORM and TEXTURE_2D in virglrenderer's protocol */
#define VIRGL_FORMAT_B8G8R8X8 2
#define VIRGL_TEXTURE_2D 2
#define RELEASE_MS 10000

static int gntdev;

/*
 * Read the texture and compare it with what the guest has drawn, blue first. A
 * texture that has red first takes the one for the other.
 */
static void check(GLuint texture, uint32_t seed, bool red_first)
{
    static uint8_t rgba[HEIGHT][WIDTH][4];
    GLenum error;
    GLuint fb;

    glGenFramebuffers(1, &fb);
    glBindFramebuffer(GL_FRAMEBUFFER, fb);
    glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D,
                           texture, 0);
    if (glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE) {
        errx(1, "OpenGL does not read from the texture");
    }
    glReadPixels(0, 0, WIDTH, HEIGHT, GL_RGBA, GL_UNSIGNED_BYTE, rgba);
    glDeleteFramebuffers(1, &fb);
    error = glGetError();
    if (error != GL_NO_ERROR) {
        errx(1, "OpenGL cannot read the texture: 0x%x", error);
    }

    for (unsigned int y = 0; y < HEIGHT; y++) {
        for (unsigned int x = 0; x < WIDTH; x++) {
            const uint8_t *p = rgba[y][x];
            uint32_t seen = red_first ? p[2] << 16 | p[1] << 8 | p[0] :
                                        p[0] << 16 | p[1] << 8 | p[2];
            uint32_t expected = texture_pixel(x, y, seed);

            if (seen != expected) {
                errx(1, "pixel %u,%u is %06x instead of %06x", x, y, seen,
                     expected);
            }
        }
    }
    printf("seen %u\n", seed);
}

/* Each SIGUSR1 says that the guest has drawn another picture */
static void check_until_term(GLuint texture, bool red_first)
{
    uint32_t seed = 0;

    do {
        check(texture, seed++, red_first);
    } while (!tool_wait());
}

/* The number of an export or a place, whose descriptors have been closed */
static void wait_released(unsigned long request, int fd)
{
    struct map_wait_released wait = { .fd = fd, .wait_to_ms = RELEASE_MS };

    if (ioctl(gntdev, request, &wait) && errno != ENOENT) {
        err(1, "the guest does not get its pages back");
    }
    printf("released\n");
}

/*
 * Mesa's llvmpipe itself. By one of dom0's DRM devices it would map a dma-buf
 * that is another's through that device, which Linux refuses.
 */
static EGLDisplay software_display(void)
{
    EGLDeviceEXT devices[16];
    EGLint count;

    if (!eglQueryDevicesEXT(16, devices, &count)) {
        return EGL_NO_DISPLAY;
    }
    for (EGLint i = 0; i < count; i++) {
        const char *extensions = eglQueryDeviceStringEXT(devices[i],
                                                         EGL_EXTENSIONS);

        if (extensions && strstr(extensions, "EGL_MESA_device_software")) {
            return eglGetPlatformDisplayEXT(EGL_PLATFORM_DEVICE_EXT,
                                            devices[i], NULL);
        }
    }
    return EGL_NO_DISPLAY;
}

static void import(uint32_t domid, const uint32_t *refs)
{
    struct ioctl_gntdev_dmabuf_exp_from_refs *exp;
    const EGLint context_attr[] = { EGL_CONTEXT_CLIENT_VERSION, 2, EGL_NONE };
    EGLDisplay display;
    EGLContext context;
    EGLImageKHR image;
    GLuint texture;

    exp = calloc(1, sizeof(*exp) + PAGES * sizeof(*refs));
    exp->count = PAGES;
    exp->domid = domid;
    for (unsigned int i = 0; i < PAGES; i++) {
        exp->refs[i] = refs[i];
    }
    if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS, exp)) {
        err(1, "EXP_FROM_REFS of domain %u", domid);
    }

    display = software_display();
    if (!display || !eglInitialize(display, NULL, NULL) ||
        !eglBindAPI(EGL_OPENGL_ES_API)) {
        errx(1, "EGL does not start");
    }
    context = eglCreateContext(display, EGL_NO_CONFIG_KHR, EGL_NO_CONTEXT,
                               context_attr);
    if (!context || !eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE,
                                    context)) {
        errx(1, "EGL makes no context");
    }
    image = eglCreateImageKHR(display, EGL_NO_CONTEXT, EGL_LINUX_DMA_BUF_EXT,
                              NULL, (const EGLint[]) {
        EGL_WIDTH, WIDTH,
        EGL_HEIGHT, HEIGHT,
        EGL_LINUX_DRM_FOURCC_EXT, DRM_FORMAT_XRGB8888,
        EGL_DMA_BUF_PLANE0_FD_EXT, exp->fd,
        EGL_DMA_BUF_PLANE0_OFFSET_EXT, 0,
        EGL_DMA_BUF_PLANE0_PITCH_EXT, WIDTH * 4,
        EGL_NONE,
    });
    if (!image) {
        errx(1, "EGL does not take the dma-buf: 0x%x", eglGetError());
    }
    close(exp->fd);
    glGenTextures(1, &texture);
    glBindTexture(GL_TEXTURE_2D, texture);
    glEGLImageTargetTexture2DOES(GL_TEXTURE_2D, image);

    check_until_term(texture, false);

    glDeleteTextures(1, &texture);
    eglDestroyImageKHR(display, image);
    eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
    eglDestroyContext(display, context);
    eglTerminate(display);
    wait_released(IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED, exp->fd);
}

static void place(uint32_t domid, const uint32_t *refs)
{
    static struct virgl_renderer_callbacks callbacks = { .version = 2 };
    struct virgl_renderer_resource_create_args create = {
        .handle = 1,
        .target = VIRGL_TEXTURE_2D,
        .format = VIRGL_FORMAT_B8G8R8X8,
        .bind = VIRGL_RES_BIND_RENDER_TARGET | VIRGL_RES_BIND_SCANOUT |
                VIRGL_RES_BIND_SHARED,
        .width = WIDTH,
        .height = HEIGHT,
        .depth = 1,
        .array_size = 1,
    };
    struct virgl_renderer_resource_info info;
    struct map_refs_to_buf onto = { .count = PAGES, .domid = domid };
    struct map_release release = { 0 };
    int fd, stride, offset;

    if (virgl_renderer_init(&callbacks, VIRGL_RENDERER_USE_EGL |
                            VIRGL_RENDERER_USE_SURFACELESS, &callbacks)) {
        errx(1, "virglrenderer does not start");
    }
    virgl_renderer_force_ctx_0();
    if (virgl_renderer_resource_create(&create, NULL, 0) ||
        virgl_renderer_resource_get_info(create.handle, &info)) {
        errx(1, "virglrenderer makes no texture");
    }
    if (virgl_renderer_get_fd_for_texture2(info.tex_id, &fd, &stride,
                                           &offset)) {
        errx(1, "virglrenderer does not export its texture");
    }
    if (stride != WIDTH * 4 || offset) {
        errx(1, "the texture has lines of %d bytes, from byte %d on", stride,
             offset);
    }

    onto.fd = fd;
    memcpy(onto.refs, refs, PAGES * sizeof(*refs));
    if (ioctl(gntdev, MAP_REFS_TO_BUF, &onto)) {
        err(1, "MAP_REFS_TO_BUF of domain %u", domid);
    }
    /* whatever format was asked for, on llvmpipe */
    check_until_term(info.tex_id, true);

    release.fd = fd;
    if (ioctl(gntdev, MAP_RELEASE, &release)) {
        err(1, "MAP_RELEASE");
    }
    close(fd);
    virgl_renderer_resource_unref(create.handle);
    virgl_renderer_cleanup(&callbacks);
    wait_released(MAP_WAIT_RELEASED, fd);
}

int main(int argc, char **argv)
{
    uint32_t refs[PAGES];

    if (argc != 3 + PAGES || (strcmp(argv[1], "import") &&
                              strcmp(argv[1], "place"))) {
        errx(2, "usage: %s import|place DOMID REF..., %u of these", argv[0],
             PAGES);
    }
    for (unsigned int i = 0; i < PAGES; i++) {
        refs[i] = strtoul(argv[3 + i], NULL, 10);
    }
    gntdev = tool_init();
    if (!strcmp(argv[1], "import")) {
        import(strtoul(argv[2], NULL, 10), refs);
    } else {
        place(strtoul(argv[2], NULL, 10), refs);
    }
    return 0;
}
