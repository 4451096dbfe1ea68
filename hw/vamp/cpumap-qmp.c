/*
 * VAMP: vamp-query-cpumap, vamp-set-cpumap and info vamp cpumap
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp-cpumap.h"
#include "qapi/type-helpers.h"
#include "cpumap-int.h"
#include "vamp-int.h"

/* --- query ---------------------------------------------------------------- */

static VampCpumapPairList *query_map(const VampCpumap *map)
{
    VampCpumapPairList *head = NULL, **tail = &head;

    for (unsigned i = 0; i < map->n; i++) {
        VampCpumapPair *pair = g_new0(VampCpumapPair, 1);

        pair->vcpu = map->entry[i].vcpu;
        pair->cpu = map->entry[i].cpu;
        QAPI_LIST_APPEND(tail, pair);
    }
    return head;
}

static VampCpumapThreadList *query_threads(OsnetCpumap *c)
{
    g_autoptr(GPtrArray) threads = vamp_cpumap_threads(&c->now);
    VampCpumapThreadList *head = NULL, **tail = &head;

    for (unsigned i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);
        VampCpumapThread *info = g_new0(VampCpumapThread, 1);
        bool as_wanted = vamp_pins_describe(c->pins, t, &info->affinity,
                                            &info->affinity_found,
                                            &info->reason);

        info->kind = t->kind;
        info->thread_id = t->tid;
        info->has_vcpu = t->kind == VAMP_THREAD_KIND_VCPU;
        info->vcpu = t->vcpu;
        info->name = g_strdup(t->name);
        info->pinned = t->pin && as_wanted;
        QAPI_LIST_APPEND(tail, info);
    }
    return head;
}

static VampCpumapCpu *query_cpu(OsnetCpumap *c, const VampHostCpus *host,
                                unsigned cpu)
{
    VampCpumapCpu *info = g_new0(VampCpumapCpu, 1);
    intList **tail = &info->vcpus;
    VampCpus siblings;

    info->cpu = cpu;
    for (unsigned i = 0; i < c->now.map->n; i++) {
        if (c->now.map->entry[i].cpu == cpu) {
            QAPI_LIST_APPEND(tail, c->now.map->entry[i].vcpu);
        }
    }
    info->online = test_bit(cpu, host->online.bits);
    info->isolated = test_bit(cpu, host->isolated.bits);
    info->nohz_full = test_bit(cpu, host->nohz_full.bits);
    info->housekeeping = !info->isolated && !info->nohz_full;
    if (vamp_cpu_siblings(&vamp_cpu_paths, cpu, &siblings)) {
        info->siblings = vamp_cpus_format(&siblings);
    }
    info->numa_node = vamp_cpu_node(&vamp_cpu_paths, cpu);
    info->has_numa_node = info->numa_node >= 0;
    info->claimed = c->locks && vamp_locks_held(c->locks, cpu);
    return info;
}

static VampCpumapCpuList *query_cpus(OsnetCpumap *c, const VampHostCpus *host)
{
    VampCpumapCpuList *head = NULL, **tail = &head;
    VampCpus mapped = { };

    for (unsigned i = 0; i < c->now.map->n; i++) {
        set_bit(c->now.map->entry[i].cpu, mapped.bits);
    }
    for (unsigned cpu = find_first_bit(mapped.bits, VAMP_CPUS_MAX);
         cpu < VAMP_CPUS_MAX;
         cpu = find_next_bit(mapped.bits, VAMP_CPUS_MAX, cpu + 1)) {
        QAPI_LIST_APPEND(tail, query_cpu(c, host, cpu));
    }
    return head;
}

VampCpumapInfo *qmp_vamp_query_cpumap(Error **errp)
{
    OsnetCpumap *c = vamp_cpumap_get();
    g_autoptr(VampCpumapInfo) info = g_new0(VampCpumapInfo, 1);
    g_autoptr(GPtrArray) warnings = NULL;
    strList **tail = &info->warnings;
    VampHostCpus host;

    if (!c || !c->running) {
        info->reason = g_strdup(c ? "the machine is not ready yet" :
                                "there is no osnet-cpumap object");
        return g_steal_pointer(&info);
    }
    if (!vamp_host_cpus_read(&host, &vamp_cpu_paths, errp)) {
        return NULL;
    }
    info->enabled = true;
    info->reason = c->now.map->file ?
                   g_strdup_printf("read from %s", c->now.map->file) :
                   g_strdup(c->replaced ? "set by vamp-set-cpumap" :
                            "given as map=");
    info->id = g_strdup(c->id);
    info->has_strict = info->has_shared = true;
    info->strict = c->strict;
    info->shared = c->shared;
    info->emulator = g_strdup(c->now.emulator);
    info->iothreads = g_strdup(c->now.iothreads);
    info->lock_dir = c->locks ? g_strdup(vamp_locks_dir(c->locks)) : NULL;
    info->has_map = info->has_threads = info->has_cpus = true;
    info->map = query_map(c->now.map);
    info->threads = query_threads(c);
    info->cpus = query_cpus(c, &host);
    info->has_warnings = true;
    warnings = vamp_cpumap_all_warnings(c, &host);
    for (unsigned i = 0; i < warnings->len; i++) {
        QAPI_LIST_APPEND(tail, g_strdup(g_ptr_array_index(warnings, i)));
    }
    return g_steal_pointer(&info);
}

/* --- set ------------------------------------------------------------------ */

/* @given: NULL leaves it as it is, "" ends it. */
static bool next_list(const char *name, const char *given, const char *old,
                      char **text, VampCpus *cpus, Error **errp)
{
    const char *list = given ?: old;

    if (!list || !*list) {
        return true;
    }
    *text = g_strdup(list);
    return vamp_cpus_parse(cpus, name, list, errp);
}

void qmp_vamp_set_cpumap(VampCpumapPairList *map, const char *emulator,
                         const char *iothreads, Error **errp)
{
    OsnetCpumap *c = vamp_cpumap_get();
    VampPlacement next = { };

    if (!c || !c->running) {
        error_setg(errp, c ? "the machine is not ready yet" :
                   "there is no osnet-cpumap object (object-add makes one)");
        return;
    }
    next.map = vamp_cpumap_new();
    for (; map; map = map->next) {
        if (!vamp_cpumap_add(next.map, map->value->vcpu, map->value->cpu,
                             errp)) {
            goto out;
        }
    }
    if (next_list("emulator", emulator, c->now.emulator, &next.emulator,
                  &next.emulator_cpus, errp) &&
        next_list("iothreads", iothreads, c->now.iothreads, &next.iothreads,
                  &next.iothread_cpus, errp) &&
        vamp_cpumap_replace(c, &next, errp)) {
        c->replaced = true;
    }
out:
    vamp_placement_clear(&next);
}

/* --- for people ----------------------------------------------------------- */

static void print_thread(GString *buf, const VampCpumapThread *t)
{
    g_autofree char *who = t->has_vcpu ?
                           g_strdup_printf("vCPU %" PRId64, t->vcpu) :
                           g_strdup(t->name ?: "");

    g_string_append_printf(buf, "%-8s %-16s %8" PRId64 "  %-10s %-10s  %s\n",
                           VampThreadKind_str(t->kind), who, t->thread_id,
                           t->affinity ?: "?", t->affinity_found ?: "-",
                           t->reason);
}

static void print_cpu(GString *buf, const VampCpumapCpu *c)
{
    g_autoptr(GString) vcpus = g_string_new(NULL);
    g_autofree char *node = c->has_numa_node ?
                            g_strdup_printf("%" PRId64, c->numa_node) :
                            g_strdup("?");

    for (intList *l = c->vcpus; l; l = l->next) {
        g_string_append_printf(vcpus, "%s%" PRId64, vcpus->len ? "," : "",
                               l->value);
    }
    g_string_append_printf(buf, "%8" PRId64 "  %-10s %-7s %-8s %-9s %-12s "
                           "%-8s %4s  %s\n", c->cpu, vcpus->str,
                           c->online ? "yes" : "no",
                           c->isolated ? "yes" : "no",
                           c->nohz_full ? "yes" : "no",
                           c->housekeeping ? "yes" : "no",
                           c->siblings ?: "?", node,
                           c->claimed ? "yes" : "no");
}

HumanReadableText *vamp_cpumap_human_readable(Error **errp)
{
    g_autoptr(GString) buf = g_string_new(NULL);
    g_autoptr(VampCpumapInfo) info = qmp_vamp_query_cpumap(errp);

    if (!info) {
        return NULL;
    }
    if (!info->enabled) {
        g_string_append_printf(buf, "off: %s\n", info->reason);
        return human_readable_text_from_str(buf);
    }
    g_string_append_printf(buf, "%s: %s\n", info->id, info->reason);
    g_string_append(buf, "kind     name               thread  affinity   "
                    "found       reason\n");
    for (VampCpumapThreadList *l = info->threads; l; l = l->next) {
        print_thread(buf, l->value);
    }
    g_string_append(buf, "host CPU  vCPUs      online  isolated nohz_full "
                    "housekeeping siblings node  claimed\n");
    for (VampCpumapCpuList *l = info->cpus; l; l = l->next) {
        print_cpu(buf, l->value);
    }
    for (strList *l = info->warnings; l; l = l->next) {
        g_string_append_printf(buf, "warning: %s\n", l->value);
    }
    return human_readable_text_from_str(buf);
}
