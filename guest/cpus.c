/*
 * vdiguest: sets of CPUs
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include "core/cpumap.h"
#include "guest/cpus.h"
#include "guest/procfs.h"

#define LONG_BITS   (8 * sizeof(long))

bool cpus_parse(CpuSet *set, const char *text)
{
    struct vamp_cpumap_error err;

    memset(set, 0, sizeof(*set));
    if (!*text || !strcmp(text, "-")) {
        return true;
    }
    return vamp_cpulist_parse(text, strlen(text), set->bits, CPUS_MAX, &err);
}

bool cpus_has(const CpuSet *set, unsigned cpu)
{
    return cpu < CPUS_MAX &&
           (set->bits[cpu / LONG_BITS] >> cpu % LONG_BITS & 1);
}

static void cpus_add(CpuSet *set, unsigned cpu)
{
    set->bits[cpu / LONG_BITS] |= 1ul << cpu % LONG_BITS;
}

char *cpus_format(const CpuSet *set)
{
    GString *text = g_string_new(NULL);
    unsigned cpu, last;

    for (cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (!cpus_has(set, cpu)) {
            continue;
        }
        for (last = cpu; cpus_has(set, last + 1); last++) {
            /* the end of the range */
        }
        g_string_append_printf(text, "%s%u", text->len ? "," : "", cpu);
        if (last > cpu) {
            g_string_append_printf(text, "-%u", last);
        }
        cpu = last;
    }
    return g_string_free(text->len ? text : g_string_append_c(text, '-'),
                         false);
}

unsigned cpus_count(const CpuSet *set)
{
    unsigned i, n = 0;

    for (i = 0; i < G_N_ELEMENTS(set->bits); i++) {
        n += __builtin_popcountl(set->bits[i]);
    }
    return n;
}

bool cpus_equal(const CpuSet *a, const CpuSet *b)
{
    return !memcmp(a, b, sizeof(*a));
}

bool cpus_within(const CpuSet *set, const CpuSet *other)
{
    CpuSet both = *set;

    cpus_and(&both, other);
    return cpus_count(set) && cpus_equal(&both, set);
}

void cpus_and(CpuSet *set, const CpuSet *other)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(set->bits); i++) {
        set->bits[i] &= other->bits[i];
    }
}

void cpus_split(const CpuSet *all, unsigned n, CpuSet *low, CpuSet *rest)
{
    unsigned cpu;

    memset(low, 0, sizeof(*low));
    memset(rest, 0, sizeof(*rest));
    for (cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (cpus_has(all, cpu)) {
            cpus_add(n ? low : rest, cpu);
            n -= n > 0;
        }
    }
}

int cpus_online(CpuSet *set)
{
    g_autofree char *text = NULL;
    int ret = procfs_read("/sys/devices/system/cpu/online", &text);

    if (ret < 0) {
        return ret;
    }
    return cpus_parse(set, g_strchomp(text)) ? 0 : -EINVAL;
}

int cpus_get_affinity(pid_t tid, CpuSet *set)
{
    memset(set, 0, sizeof(*set));
    return sched_getaffinity(tid, sizeof(*set), (cpu_set_t *)set) < 0 ? -errno
                                                                      : 0;
}

int cpus_set_affinity(pid_t tid, const CpuSet *set)
{
    CpuSet all;

    if (!set) {
        memset(&all, 0xff, sizeof(all));
        set = &all;
    }
    return sched_setaffinity(tid, sizeof(*set), (const cpu_set_t *)set) < 0 ?
           -errno : 0;
}
