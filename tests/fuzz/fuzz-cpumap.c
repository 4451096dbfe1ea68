/*
 * Fuzzing: any bytes as a map of vCPUs to CPUs, and as a list of CPUs
 *
 * The first byte chooses the form and how much room there is. What is accepted
 * must come out the same when it is written down plainly and read again; what
 * is refused must name a line that the text has.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/cpumap.h"

#define LIST_BITS   1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct vamp_cpumap_error *error, size_t len)
{
    const char *text = vamp_cpumap_fault_text(error->fault);

    assert(error->fault > VAMP_CPUMAP_OK && error->fault < VAMP_CPUMAP_FAULTS);
    assert(strcmp(text, "unknown fault"));
    /* A text of n bytes has at most n + 1 lines or elements. */
    assert(error->line <= len + 1);
    assert(error->line || error->fault == VAMP_CPUMAP_EMPTY);
}

static void check_map(const char *text, size_t len, bool file, uint32_t room)
{
    struct vamp_cpumap_entry entries[VAMP_CPUMAP_MAX], again[VAMP_CPUMAP_MAX];
    struct vamp_cpumap_error error = { .fault = VAMP_CPUMAP_OK };
    uint32_t n, i;
    char *plain;
    size_t used = 0;

    n = file ? vamp_cpumap_parse_file(text, len, entries, room, &error)
             : vamp_cpumap_parse_pairs(text, len, entries, room, &error);
    assert(n <= room);
    if (n == 0) {
        check_error(&error, len);
        return;
    }

    plain = malloc(n * 24 + 1);
    for (i = 0; i < n; i++) {
        const struct vamp_cpumap_entry *e = &entries[i];

        assert(e->vcpu <= VAMP_CPUMAP_NUMBER_MAX);
        assert(e->cpu <= VAMP_CPUMAP_NUMBER_MAX);
        assert(e->line > (i ? entries[i - 1].line : 0));
        used += (size_t)sprintf(plain + used, file ? "%u %u\n" : "%u-%u,",
                                e->vcpu, e->cpu);
    }
    used--;             /* no end of line or comma after the last */
    i = file ? vamp_cpumap_parse_file(plain, used, again, n, &error)
             : vamp_cpumap_parse_pairs(plain, used, again, n, &error);
    assert(i == n);
    for (i = 0; i < n; i++) {
        assert(again[i].vcpu == entries[i].vcpu);
        assert(again[i].cpu == entries[i].cpu);
        assert(again[i].line == i + 1);
    }
    free(plain);

    if (vamp_cpumap_check(entries, n, false, &error)) {
        assert(vamp_cpumap_check(entries, n, true, &error));
    } else {
        assert(error.other > 0 && error.other < error.line);
    }
}

static void check_list(const char *text, size_t len)
{
    unsigned long bits[LIST_BITS / (CHAR_BIT * sizeof(long))];
    unsigned long any = 0;
    struct vamp_cpumap_error error = { .fault = VAMP_CPUMAP_OK };

    if (!vamp_cpulist_parse(text, len, bits, LIST_BITS, &error)) {
        check_error(&error, len);
        return;
    }
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        any |= bits[i];
    }
    assert(any);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;
    size_t len;

    if (size == 0) {
        return 0;
    }
    /* A copy of its exact length: reading beyond is an error to ASan. */
    len = size - 1;
    text = malloc(len ? len : 1);
    memcpy(text, data + 1, len);

    switch (data[0] % 3) {
    case 0:
        check_map(text, len, true, data[0] & 128 ? VAMP_CPUMAP_MAX : 3);
        break;
    case 1:
        check_map(text, len, false, data[0] & 128 ? VAMP_CPUMAP_MAX : 3);
        break;
    default:
        check_list(text, len);
        break;
    }
    free(text);
    return 0;
}
