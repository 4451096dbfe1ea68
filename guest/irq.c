/*
 * vdiguest: interrupts go to the fast vCPUs, and back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest/irq.h"
#include "guest/log.h"
#include "guest/procfs.h"

static void file_of(unsigned irq, char name[64])
{
    g_snprintf(name, 64, "/proc/irq/%u/smp_affinity_list", irq);
}

static bool affinity(unsigned irq, CpuSet *set)
{
    char name[64];
    g_autofree char *text = NULL;

    file_of(irq, name);
    return procfs_read(name, &text) == 0 &&
           cpus_parse(set, g_strchomp(text)) && cpus_count(set);
}

static int set_affinity(unsigned irq, const CpuSet *set)
{
    g_autofree char *text = cpus_format(set);
    char name[64];

    file_of(irq, name);
    return procfs_write(name, text);
}

static StateIrq *find(State *st, unsigned irq)
{
    unsigned i;

    for (i = 0; i < st->irqs->len; i++) {
        StateIrq *s = &g_array_index(st->irqs, StateIrq, i);

        if (s->irq == irq) {
            return s;
        }
    }
    return NULL;
}

static GArray *found_irqs(void)
{
    g_autofree char *text = NULL;

    if (procfs_read("/proc/interrupts", &text) < 0) {
        return g_array_new(false, false, sizeof(unsigned));
    }
    return procfs_parse_irqs(text);
}

/* What is to be moved, into the state: true if there is something new. */
static bool note(const GArray *irqs, const CpuSet *fast, State *st)
{
    bool fresh = false;
    unsigned i;

    for (i = 0; i < irqs->len; i++) {
        unsigned irq = g_array_index(irqs, unsigned, i);
        StateIrq s = { .irq = irq, .left = *fast };

        if (!find(st, irq) && affinity(irq, &s.found)) {
            g_array_append_val(st->irqs, s);
            fresh = true;
        }
    }
    return fresh;
}

unsigned irq_pin(const GArray *irqs, const CpuSet *fast, State *st,
                 StateFile *f)
{
    GArray *found = irqs ? NULL : found_irqs();
    bool changed = note(irqs ?: found, fast, st);
    unsigned i;

    for (i = 0; i < st->irqs->len; i++) {
        StateIrq *s = &g_array_index(st->irqs, StateIrq, i);

        changed |= !cpus_equal(&s->left, fast);
        s->left = *fast;
    }
    if (found) {
        g_array_unref(found);
    }
    if (changed && !state_save(f, st)) {
        return 0;
    }
    for (i = 0; i < st->irqs->len; ) {
        StateIrq *s = &g_array_index(st->irqs, StateIrq, i);
        int ret = set_affinity(s->irq, fast);

        if (ret < 0) {
            log_info(LOG_TASK, "interrupt %u stays where it is: %s", s->irq,
                     g_strerror(-ret));
            g_array_remove_index_fast(st->irqs, i);
        } else {
            i++;
        }
    }
    return st->irqs->len;
}

void irq_restore(State *st)
{
    unsigned i;

    for (i = 0; i < st->irqs->len; i++) {
        const StateIrq *s = &g_array_index(st->irqs, StateIrq, i);
        CpuSet now;

        /* Somebody else has set it, or it is gone. */
        if (!affinity(s->irq, &now) || !cpus_equal(&now, &s->left)) {
            continue;
        }
        if (set_affinity(s->irq, &s->found) < 0) {
            log_warn("interrupt %u keeps its affinity", s->irq);
        }
    }
    g_array_set_size(st->irqs, 0);
}
