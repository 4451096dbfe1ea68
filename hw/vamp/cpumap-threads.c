/*
 * VAMP: the threads of the VM, and what a map wants of them
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-misc.h"
#include "qemu/cutils.h"
#include "hw/core/cpu.h"
#include "cpumap-int.h"

static VampThread *add_thread(GPtrArray *threads, VampThreadKind kind,
                              pid_t tid)
{
    VampThread *t = g_new0(VampThread, 1);

    t->kind = kind;
    t->tid = tid;
    g_ptr_array_add(threads, t);
    return t;
}

void vamp_cpumap_add_vcpu(GPtrArray *threads, const VampPlacement *placement,
                          CPUState *cpu)
{
    VampThread *t = add_thread(threads, VAMP_THREAD_KIND_VCPU, cpu->thread_id);
    const struct vamp_cpumap_entry *entry;

    t->vcpu = cpu->cpu_index;
    entry = vamp_cpumap_find(placement->map, t->vcpu);
    if (entry) {
        t->pin = true;
        set_bit(entry->cpu, t->cpus.bits);
    }
}

void vamp_cpumap_add_iothreads(GPtrArray *threads,
                               const VampPlacement *placement)
{
    g_autoptr(IOThreadInfoList) list = qmp_query_iothreads(NULL);

    for (IOThreadInfoList *l = list; l; l = l->next) {
        VampThread *t = add_thread(threads, VAMP_THREAD_KIND_IOTHREAD,
                                   l->value->thread_id);

        t->name = g_strdup(l->value->id);
        t->pin = placement->iothreads;
        t->cpus = placement->iothread_cpus;
    }
}

static char *thread_comm(pid_t tid)
{
    g_autofree char *name = g_strdup_printf("/proc/self/task/%d/comm",
                                            (int)tid);
    g_autofree char *text = NULL;
    char *p;

    if (!g_file_get_contents(name, &text, NULL, NULL)) {
        return g_strdup("?");
    }
    p = g_utf8_make_valid(g_strchomp(text), -1);
    return p;
}

GArray *vamp_cpumap_tids(void)
{
    GArray *tids = g_array_new(FALSE, FALSE, sizeof(pid_t));
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *name;
    int number;

    while (dir && (name = g_dir_read_name(dir))) {
        if (qemu_strtoi(name, NULL, 10, &number) == 0) {
            pid_t tid = number;

            g_array_append_val(tids, tid);
        }
    }
    return tids;
}

/* All that are left: main loop, RCU, workers, displays. */
static void add_emulator(GPtrArray *threads, const VampPlacement *placement)
{
    g_autoptr(GHashTable) known = g_hash_table_new(NULL, NULL);
    g_autoptr(GArray) tids = vamp_cpumap_tids();
    unsigned i;

    for (i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);

        g_hash_table_add(known, GINT_TO_POINTER(t->tid));
    }
    for (i = 0; i < tids->len; i++) {
        pid_t tid = g_array_index(tids, pid_t, i);
        VampThread *t;

        if (g_hash_table_contains(known, GINT_TO_POINTER(tid))) {
            continue;
        }
        t = add_thread(threads, VAMP_THREAD_KIND_EMULATOR, tid);
        t->name = thread_comm(tid);
        t->pin = placement->emulator;
        t->cpus = placement->emulator_cpus;
    }
}

GPtrArray *vamp_cpumap_threads(const VampPlacement *placement)
{
    GPtrArray *threads = g_ptr_array_new_with_free_func(vamp_thread_free);
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        vamp_cpumap_add_vcpu(threads, placement, cpu);
    }
    vamp_cpumap_add_iothreads(threads, placement);
    add_emulator(threads, placement);
    return threads;
}
