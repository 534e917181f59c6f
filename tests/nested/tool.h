/*
 * What the nested machine's programs have in common: they open gntdev, say what
 * they have done, and are told by signals to go on or to end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_TOOL_H
#define TESTS_NESTED_TOOL_H

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

static sigset_t tool_signals;

/* Returns: /dev/xen/gntdev */
static inline int tool_init(void)
{
    int gntdev = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

    if (gntdev < 0) {
        err(1, "/dev/xen/gntdev");
    }
    sigemptyset(&tool_signals);
    sigaddset(&tool_signals, SIGTERM);
    sigaddset(&tool_signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &tool_signals, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return gntdev;
}

/* Returns: whether to end, by SIGTERM, and not to go on, by SIGUSR1 */
static inline bool tool_wait(void)
{
    int sig;

    sigwait(&tool_signals, &sig);
    return sig == SIGTERM;
}

#endif /* TESTS_NESTED_TOOL_H */
