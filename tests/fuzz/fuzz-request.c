/*
 * Fuzzing: a line of vdiguest's socket
 *
 * A request that is accepted is in its bounds; one that is refused has a
 * reason of printable text.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <stdlib.h>
#include "guest/cpus.h"
#include "guest/request.h"

#define MUST(condition)     do { if (!(condition)) { abort(); } } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *line = g_strndup((const char *)data, size);
    g_autoptr(GError) err = NULL;
    const char *c;
    Request r;

    if (request_parse(line, &r, &err)) {
        MUST(!err && r.verb < REQUEST_VERBS && r.mode < PLAN_MODES);
        MUST(r.fast < CPUS_MAX);
        MUST(!r.has_length || (r.length_ms >= 100 && r.length_ms <= 60000));
        MUST(r.verb != REQUEST_POLICY || r.has_mode || r.has_fast);
    } else {
        MUST(err && *err->message);
        for (c = err->message; *c; c++) {
            MUST(g_ascii_isprint(*c));
        }
    }
    return 0;
}
