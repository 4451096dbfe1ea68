/*
 * VAMP: the VM's vCPUs, their run time and run delay
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/core/cpu.h"
#include "vamp-int.h"
#include "trace.h"

/*
 * The first two numbers of /proc/self/task/TID/schedstat: CPU time and run
 * delay in ns (Documentation/scheduler/sched-stats.rst of Linux). Under qtest
 * threads do not run, so a test may give files of its own.
 */
static int open_schedstat(const VampPolicy *p, unsigned vcpu, int tid)
{
    g_autofree char *path = NULL;

    if (p->qtest_schedstat_dir) {
        path = g_strdup_printf("%s/%u", p->qtest_schedstat_dir, vcpu);
    } else {
        path = g_strdup_printf("/proc/self/task/%d/schedstat", tid);
    }
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool read_schedstat(int fd, uint64_t *run_ns, uint64_t *wait_ns)
{
    char buf[96];
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    /* The file is kept open: a pread takes about a microsecond. */
    n = pread(fd, buf, sizeof(buf) - 1, 0);
    if (n <= 0) {
        return false;
    }
    buf[n] = 0;
    return sscanf(buf, "%" SCNu64 " %" SCNu64, run_ns, wait_ns) == 2;
}

static void vcpu_update_load(VampPolicy *p, unsigned index, uint64_t now)
{
    VampVcpu *v = &p->vcpu[index];
    uint64_t run, wait;

    if (!read_schedstat(v->schedstat_fd, &run, &wait)) {
        return;
    }
    if (now > v->load_at_ns && run >= v->run_ns && wait >= v->wait_ns) {
        trace_vamp_vcpu_load(index, now - v->load_at_ns,
                             run - v->run_ns, wait - v->wait_ns);
        vamp_policy_vcpu_load(p->core, index, v->load_at_ns, now,
                              run - v->run_ns, wait - v->wait_ns);
    }
    v->load_at_ns = now;
    v->run_ns = run;
    v->wait_ns = wait;
}

void vamp_vcpu_update_loads(VampPolicy *p, uint64_t now)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            vcpu_update_load(p, i, now);
        }
    }
}

/* The loads of @v count from now. */
static void vcpu_open_load(VampPolicy *p, unsigned index)
{
    VampVcpu *v = &p->vcpu[index];

    v->load_at_ns = vamp_now(p);
    v->run_ns = 0;
    v->wait_ns = 0;
    v->schedstat_fd = open_schedstat(p, index, v->tid);
    read_schedstat(v->schedstat_fd, &v->run_ns, &v->wait_ns);
}

static void vcpu_close_load(VampVcpu *v)
{
    if (v->schedstat_fd >= 0) {
        close(v->schedstat_fd);
        v->schedstat_fd = -1;
    }
}

void vamp_vcpu_reopen_loads(VampPolicy *p)
{
    for (unsigned i = 0; p->running && i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            vcpu_close_load(&p->vcpu[i]);
            vcpu_open_load(p, i);
        }
    }
}

static void core_add(VampPolicy *p, unsigned vcpu)
{
    vamp_policy_vcpu_add(p->core, vcpu);
}

static void core_del(VampPolicy *p, unsigned vcpu)
{
    vamp_policy_vcpu_del(p->core, vcpu);
}

void vamp_vcpu_add(VampPolicy *p, CPUState *cpu)
{
    VampVcpu *v;

    if (cpu->cpu_index < 0 || cpu->cpu_index >= p->max_vcpus ||
        p->vcpu[cpu->cpu_index].cpu) {
        return;
    }
    v = &p->vcpu[cpu->cpu_index];
    memset(v, 0, sizeof(*v));
    v->cpu = cpu;
    v->tid = cpu->thread_id;
    vcpu_open_load(p, cpu->cpu_index);
    vamp_phase_recheck(p, core_add, cpu->cpu_index);
    trace_vamp_vcpu_add(cpu->cpu_index, v->tid);
}

void vamp_vcpu_del(VampPolicy *p, unsigned index)
{
    VampVcpu *v = &p->vcpu[index];

    trace_vamp_vcpu_del(index, v->tid);
    vamp_phase_recheck(p, core_del, index);
    vcpu_close_load(v);
    g_clear_pointer(&v->attach_error, g_free);
    g_clear_pointer(&v->groups, g_free);
    v->cpu = NULL;
}

int vamp_vcpu_find(const VampPolicy *p, const CPUState *cpu)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu == cpu) {
            return i;
        }
    }
    return -1;
}
