/*
 * vdiguest: who is slow
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <unistd.h>
#include "guest/daemon-int.h"
#include "guest/procfs.h"

/* What the companion module shows of the host's tasks. */
static void add_module_tasks(GArray *slow)
{
    GArray *ids = g_array_new(false, false, sizeof(pid_t));
    GArray *loads = g_array_new(false, false, sizeof(uint32_t));
    g_autofree char *text = NULL;
    unsigned i;

    if (procfs_read("/proc/kvm_slow_task", &text) == 0) {
        procfs_parse_slow_tasks(text, ids, loads, SCAN_SLOW_MAX);
    }
    for (i = 0; i < ids->len && slow->len < SCAN_SLOW_MAX; i++) {
        SlowTask t = {
            .kind = SLOW_PROCESS,
            .id = g_array_index(ids, pid_t, i),
            .pid = g_array_index(ids, pid_t, i),
            .permille = g_array_index(loads, uint32_t, i),
            .cpu = -1,
        };
        ProcStat st;

        /* The host may lie: the kernel, init and we are no such tasks. */
        if (t.id > 1 && t.id != getpid() && procfs_stat(t.id, &st) &&
            !st.kernel) {
            g_strlcpy(t.name, st.name, sizeof(t.name));
            g_array_append_val(slow, t);
        }
    }
    g_array_unref(ids);
    g_array_unref(loads);
}

/* While sound plays, its servers are no slow tasks. */
static void leave_servers(GArray *slow)
{
    unsigned i = 0;

    while (i < slow->len) {
        ProcStat st;

        if (procfs_stat(g_array_index(slow, SlowTask, i).pid, &st) &&
            sound_is_server(st.name)) {
            g_array_remove_index(slow, i);
        } else {
            i++;
        }
    }
}

GArray *daemon_find_slow(Daemon *d, uint64_t now)
{
    GHashTable *players = sound_players(d->sound);
    GArray *slow = scan_slow(d->scan, now, players);

    if (d->options->host) {
        add_module_tasks(slow);
    }
    if (sound_plays(d->sound)) {
        leave_servers(slow);
    }
    g_hash_table_unref(players);
    return slow;
}

bool daemon_same_tasks(const GArray *x, const GArray *y)
{
    unsigned i, j;

    for (i = 0; x->len == y->len && i < x->len; i++) {
        const SlowTask *t = &g_array_index(x, SlowTask, i);

        for (j = 0; j < y->len; j++) {
            const SlowTask *u = &g_array_index(y, SlowTask, j);

            if (t->kind == u->kind && t->id == u->id && t->pid == u->pid) {
                break;
            }
        }
        if (j == y->len) {
            return false;
        }
    }
    return x->len == y->len;
}

/* Has an answer a vCPU without any of @slow? */
static bool has_room(const Daemon *d, const GArray *slow)
{
    unsigned i;

    for (i = 0; i < slow->len; i++) {
        /* Nobody knows how many vCPUs the others want. */
        if (g_array_index(slow, SlowTask, i).kind != SLOW_THREAD) {
            return false;
        }
    }
    return slow->len < cpus_count(&d->cpus);
}

/* Can all that is slow at @now wait until a short answer has been given? */
static bool is_calm(Daemon *d, uint64_t now)
{
    g_autoptr(GArray) found = daemon_find_slow(d, now);

    return d->place.split ? daemon_same_tasks(d->slow, found)
                          : has_room(d, found);
}

void daemon_look(Daemon *d, uint64_t now)
{
    g_autofree char *text = NULL;
    uint64_t busy_ns = 0;
    unsigned cpu;

    if (d->looked_ns && now <= d->looked_ns) {
        return;
    }
    if (procfs_read("/proc/stat", &text) == 0) {
        for (cpu = 0; cpu < d->policy->max_vcpus; cpu++) {
            uint64_t ticks;

            if (!cpus_has(&d->cpus, cpu)) {
                continue;
            }
            ticks = procfs_parse_busy(text, cpu);
            if (d->looked_ns && ticks > d->ticks[cpu]) {
                uint64_t ns = (ticks - d->ticks[cpu]) * d->tick_ns;

                busy_ns += ns;
                /*
                 * Run delay is each task's own here (scan.h); if anybody
                 * waits, the vCPUs are busy enough for the policy.
                 */
                vamp_policy_vcpu_load(d->policy, cpu, d->looked_ns, now, ns, 0);
            }
            d->ticks[cpu] = ticks;
        }
    }
    scan_look(d->scan, now, busy_ns);
    d->looked_ns = now;
    d->calm = is_calm(d, now);
}

GArray *daemon_background(Daemon *d, uint64_t now)
{
    GArray *copy;

    if (!d->slow->len && !d->phase_source) {
        copy = daemon_find_slow(d, now);
        scan_name(copy);
        return copy;
    }
    /* What the user has begun by now, is not in the background. */
    copy = g_array_new(false, false, sizeof(SlowTask));
    g_array_append_vals(copy, d->slow->data, d->slow->len);
    return copy;
}
