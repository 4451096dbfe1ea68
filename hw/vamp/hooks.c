/*
 * VAMP: where the hooks are kept
 *
 * Built into every system emulator, also those without CONFIG_VAMP: QEMU's
 * own files refer to these.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "hw/vamp/hooks.h"

void (*vamp_input_hook)(const InputEvent *evt);
void (*vamp_cr3_hook)(CPUState *cpu, uint64_t cr3, bool nested);

#define CPUMAP_TYPE     "osnet-cpumap"

const char *vamp_cpumap_option(const char *arg)
{
    static char *option;

    if (option) {
        error_report("-osnet_cpumap is given twice, and a VM has only one map "
                     "(all pairs belong into one file or one map=)");
        exit(1);
    }
    option = g_strdup_printf(CPUMAP_TYPE ",id=" CPUMAP_TYPE ",%s", arg);
    return option;
}

/*
 * In map=0-1,1-2 and emulator=0-3,5 a value goes on where QemuOpts sees the
 * next parameter. No parameter begins with a digit, no element of a list has
 * a '='; a comma that is doubled already is left alone.
 */
const char *vamp_object_option(const char *arg)
{
    static GPtrArray *kept;
    const char *p;
    GString *s;

    if (!strstart(arg, CPUMAP_TYPE ",", NULL)) {
        return arg;
    }
    s = g_string_new(NULL);
    for (p = arg; *p; p++) {
        g_string_append_c(s, *p);
        if (*p != ',') {
            continue;
        }
        if (p[1] == ',') {
            g_string_append_c(s, *++p);
        } else if (qemu_isdigit(p[1]) && p[1 + strcspn(p + 1, ",=")] != '=') {
            g_string_append_c(s, ',');
        }
    }
    if (!kept) {
        kept = g_ptr_array_new();
    }
    g_ptr_array_add(kept, s->str);
    return g_string_free(s, FALSE);
}
