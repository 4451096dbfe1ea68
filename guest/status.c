/*
 * vdiguest: what it says of itself, in JSON
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "core/hints.h"
#include "guest/daemon-int.h"

static void member(GString *out, const char *name)
{
    g_string_append_printf(out, "%s\"%s\": ", out->len > 1 ? ", " : "", name);
}

static void add_text(GString *out, const char *name, const char *text)
{
    member(out, name);
    control_string(out, text);
}

static void add_number(GString *out, const char *name, uint64_t value)
{
    member(out, name);
    g_string_append_printf(out, "%" PRIu64, value);
}

static void add_bool(GString *out, const char *name, bool value)
{
    member(out, name);
    g_string_append(out, value ? "true" : "false");
}

/* Takes @text. */
static void add_taken(GString *out, const char *name, char *text)
{
    add_text(out, name, text ?: "none");
    g_free(text);
}

static void add_slow(GString *out, const GArray *slow)
{
    static const char *const kind[] = { "thread", "process", "job" };
    unsigned i;

    member(out, "slow-tasks");
    g_string_append_c(out, '[');
    for (i = 0; i < slow->len; i++) {
        const SlowTask *t = &g_array_index(slow, SlowTask, i);

        g_string_append_printf(out, "%s{\"kind\": \"%s\", \"id\": %d, "
                               "\"name\": ", i ? ", " : "", kind[t->kind],
                               (int)t->id);
        control_string(out, t->name);
        g_string_append_printf(out, ", \"load-permille\": %u}", t->permille);
    }
    g_string_append_c(out, ']');
}

/* Only those that a QEMU takes: it knows no other numbers. */
static void add_tasks(GString *out, const GArray *tasks, bool background,
                      unsigned *n)
{
    unsigned i;

    for (i = 0; i < tasks->len && *n < SCAN_SLOW_MAX; i++) {
        const SlowTask *t = &g_array_index(tasks, SlowTask, i);

        g_string_append_printf(out, "%s{\"id\": %d, \"pid\": %d, \"name\": ",
                               (*n)++ ? ", " : "", (int)t->id, (int)t->pid);
        control_string(out, t->name);
        g_string_append_printf(out, ", \"load-permille\": %u",
                               MIN(t->permille, VAMP_HINTS_PERMILLE_MAX));
        if (t->cpu >= 0 && t->cpu < VAMP_HINTS_CPUS_MAX) {
            g_string_append_printf(out, ", \"vcpu\": %d", t->cpu);
        }
        g_string_append_printf(out, ", \"background\": %s}",
                               background ? "true" : "false");
    }
}

/* A list of vCPUs as the hints protocol writes it. */
static void add_cpus(GString *out, const char *name, const CpuSet *cpus)
{
    g_autofree char *text = cpus_format(cpus);

    add_text(out, name, text && *text ? text : "-");
}

char *daemon_tasks(Daemon *d)
{
    static const CpuSet none;
    uint64_t now = daemon_now();
    g_autoptr(GArray) slow = daemon_background(d, now);
    g_autoptr(GArray) busy = scan_busy(d->scan, now, slow);
    GString *out = g_string_new("{");
    unsigned n = 0;

    member(out, "tasks");
    g_string_append_c(out, '[');
    add_tasks(out, slow, true, &n);
    add_tasks(out, busy, false, &n);
    g_string_append_c(out, ']');
    add_cpus(out, "fast", d->place.split ? &d->place.fast : &d->cpus);
    add_cpus(out, "slow", d->place.split ? &d->place.slow : &none);
    add_bool(out, "sound", sound_plays(d->sound));
    g_string_append(out, "}\n");
    return g_string_free(out, false);
}

char *daemon_status(Daemon *d)
{
    const Place *p = &d->place;
    GString *out = g_string_new("{");
    struct timespec cpu;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    add_bool(out, "isolated", p->split);
    add_text(out, "reason", d->reason);
    add_text(out, "mode", plan_mode_text(d->mode));
    add_taken(out, "vcpus", cpus_format(&d->cpus));
    add_taken(out, "fast", cpus_format(p->split ? &p->fast : &d->cpus));
    add_taken(out, "slow", p->split ? cpus_format(&p->slow) : NULL);
    add_slow(out, d->slow);
    add_number(out, "fast-threads", p->nr_fast);
    add_number(out, "slow-threads", p->nr_slow);
    add_number(out, "left-threads", p->nr_left);
    add_text(out, "means", !p->groups ? "affinity" :
             p->groups->version == 1 ? "cpuset of cgroup v1, affinity" :
             "cpuset of cgroup v2, affinity");
    add_bool(out, "cpuset-groups", p->groups && p->groups->made);
    add_number(out, "interrupts", d->nr_irqs);
    add_taken(out, "input", input_names(d->input));
    add_bool(out, "sound", sound_plays(d->sound));
    add_taken(out, "sound-source", sound_source(d->sound));
    add_text(out, "host", d->host ? host_text(d->host) : "not asked");
    add_number(out, "processes", scan_processes(d->scan));
    add_number(out, "triggers", d->triggers);
    add_number(out, "phases", d->phases);
    add_number(out, "isolations", d->isolations);
    add_number(out, "isolation-us", d->latency_ns / 1000);
    add_number(out, "up-ms", (daemon_now() - d->begun_ns) / 1000000);
    add_number(out, "cpu-us", cpu.tv_sec * 1000000ull + cpu.tv_nsec / 1000);
    g_string_append(out, "}\n");
    return g_string_free(out, false);
}
