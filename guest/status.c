/*
 * vdiguest: what --status says
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>
#include <time.h>
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

static void add_tasks(GString *out, const GArray *slow)
{
    static const char *const kind[] = { "thread", "process", "job" };
    unsigned i;

    member(out, "slow-tasks");
    g_string_append_c(out, '[');
    for (i = 0; i < slow->len; i++) {
        const SlowTask *t = &g_array_index(slow, SlowTask, i);

        g_string_append_printf(out, "%s{\"%s\": %d, \"name\": ", i ? ", " : "",
                               kind[t->kind], (int)t->id);
        control_string(out, t->name);
        g_string_append_printf(out, ", \"load-permille\": %u}", t->permille);
    }
    g_string_append_c(out, ']');
}

char *daemon_status(void *opaque)
{
    Daemon *d = opaque;
    const Place *p = &d->place;
    GString *out = g_string_new("{");
    struct timespec cpu;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    add_bool(out, "isolated", p->split);
    add_text(out, "reason", d->reason);
    add_text(out, "mode", plan_mode_text(d->options->mode));
    add_taken(out, "vcpus", cpus_format(&d->cpus));
    add_taken(out, "fast", cpus_format(p->split ? &p->fast : &d->cpus));
    add_taken(out, "slow", p->split ? cpus_format(&p->slow) : NULL);
    add_tasks(out, d->slow);
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
