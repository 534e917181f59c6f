/*
 * What libFuzzer, and replay.c in its place, expect of a fuzzer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/**
 * LLVMFuzzerTestOneInput - run the subject on one input
 * @data: the input
 * @size: octets of it
 *
 * Aborts when a rule is broken. Returns: 0.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* FUZZ_FUZZ_H */
