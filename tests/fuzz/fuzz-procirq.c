/*
 * libFuzzer target: the parser of /proc/interrupts
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>
#include "core/procirq.h"

#define ROOM 3

static void check(int ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vamp_procirq *all, some[ROOM];
    size_t n = vamp_procirq_parse((const char *)data, size, NULL, 0);
    size_t i;

    /* An action has at least that many bytes. */
    check(n <= size / strlen("vfio-intx(0000:00:00.0)"));
    all = calloc(n ? n : 1, sizeof(*all));
    if (!all) {
        return 0;
    }
    /* The number does not depend on the room, nor do the entries. */
    check(vamp_procirq_parse((const char *)data, size, all, n) == n);
    check(vamp_procirq_parse((const char *)data, size, some, ROOM) == n);
    for (i = 0; i < n; i++) {
        check(all[i].irq <= VAMP_PROCIRQ_MAX_IRQ);
        check(all[i].vector <= VAMP_PROCIRQ_MAX_VECTOR);
        check(all[i].kind <= VAMP_PROCIRQ_MSIX);
        check(all[i].bus <= 0xff && all[i].slot <= 0x1f &&
              all[i].function <= 7);
        check(!vamp_procirq_compare(&all[i], &all[i]));
        check(i >= ROOM || !memcmp(&all[i], &some[i], sizeof(all[i])));
    }
    free(all);
    vamp_procirq_is_cpulist((const char *)data, size);
    return 0;
}
