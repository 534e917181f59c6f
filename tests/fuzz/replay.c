/*
 * Runs a fuzzer over inputs that are at hand, without libFuzzer
 *
 *   PROGRAM NAME DIRECTORY
 *
 * Every file in DIRECTORY is an input. NAME is the test's, for TAP.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"

static void die(const char *what, const char *file)
{
    printf("Bail out! cannot %s %s: %s\n", what, file, strerror(errno));
    exit(1);
}

static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    long size;

    if (!file || fseek(file, 0, SEEK_END)) {
        die("open", path);
    }
    size = ftell(file);
    rewind(file);
    /* No more than the input, so that a read beyond it is seen */
    data = size < 0 ? NULL : malloc(size);
    if (size && (!data || fread(data, size, 1, file) != 1)) {
        die("read", path);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    unsigned int count = 0;
    struct dirent *entry;
    DIR *dir;

    if (argc != 3) {
        fprintf(stderr, "usage: %s NAME DIRECTORY\n", argv[0]);
        return 2;
    }
    printf("1..1\n");
    dir = opendir(argv[2]);
    if (!dir) {
        die("open", argv[2]);
    }
    while ((entry = readdir(dir))) {
        char path[4096];

        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", argv[2], entry->d_name);
        fprintf(stderr, "%s\n", path);
        replay(path);
        count++;
    }
    closedir(dir);
    printf("%sok 1 %s # %u inputs\n", count ? "" : "not ", argv[1], count);
    return !count;
}
