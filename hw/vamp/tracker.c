/*
 * VAMP: the account of what ran on a vCPU
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "vamp-int.h"
#include "trace.h"

/*
 * How often a reader tries again while the vCPU's thread is inside an update
 * (some 100 ns). It is there that long only if it has lost its CPU: waiting
 * would be waiting for the scheduler.
 */
#define VAMP_COPY_TRIES 100

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

void vamp_recorder_start(VampRecorder *rec, uint64_t period_ns)
{
    qatomic_set(&rec->enabled, false);
    /* A signal handler on this thread must not see a half-made table. */
    barrier();
    seqlock_write_begin(&rec->seq);
    vamp_task_table_init(&rec->table, period_ns);
    qatomic_set(&rec->task, VAMP_TASK_UNKNOWN);
    rec->since_ns = get_clock();
    rec->cpu_ns = thread_cpu_ns();
    seqlock_write_end(&rec->seq);
    barrier();
    qatomic_set(&rec->enabled, true);
}

/* Charges what ran since the last call to @charge; @task runs from now on. */
static void recorder_charge(VampRecorder *rec, uint64_t charge, uint64_t task)
{
    uint64_t now = get_clock();
    uint64_t cpu = thread_cpu_ns();

    seqlock_write_begin(&rec->seq);
    vamp_task_table_charge(&rec->table, charge, rec->since_ns, now,
                           cpu - rec->cpu_ns);
    rec->since_ns = now;
    rec->cpu_ns = cpu;
    qatomic_set(&rec->task, task);
    seqlock_write_end(&rec->seq);
}

bool vamp_recorder_switch(VampRecorder *rec, uint64_t task)
{
    if (!qatomic_read(&rec->enabled) || rec->task == task) {
        return false;
    }
    recorder_charge(rec, rec->task, task);
    rec->switches++;
    return true;
}

bool vamp_recorder_sample(VampRecorder *rec, uint64_t task)
{
    bool other;

    if (!qatomic_read(&rec->enabled)) {
        return false;
    }
    other = rec->task != task;
    recorder_charge(rec, task, task);
    rec->samples++;
    rec->switches += other;
    return other;
}

bool vamp_recorder_copy(VampRecorder *rec, uint64_t now, uint64_t cpu_ns,
                        struct vamp_task_table *out)
{
    for (int i = 0; i < VAMP_COPY_TRIES; i++) {
        unsigned start = seqlock_read_begin(&rec->seq);
        struct vamp_task_table copy = rec->table;
        uint64_t task = qatomic_read(&rec->task);
        uint64_t since_ns = rec->since_ns;
        uint64_t charged_ns = rec->cpu_ns;

        if (seqlock_read_retry(&rec->seq, start)) {
            continue;
        }
        *out = copy;
        /* A task that never leaves the CPU has not been charged for long. */
        if (cpu_ns > charged_ns && now > since_ns) {
            vamp_task_table_charge(out, task, since_ns, now,
                                   cpu_ns - charged_ns);
        }
        return true;
    }
    return false;
}

static VampRecorder *recorder_get(VampPolicy *p, int cpu_index)
{
    return p && cpu_index >= 0 && cpu_index < p->max_vcpus
           ? &p->vcpu[cpu_index].rec : NULL;
}

void vamp_tracker_begin(int cpu_index)
{
    VampPolicy *p = qatomic_load_acquire(&vamp_the_policy);
    VampRecorder *rec = recorder_get(p, cpu_index);

    if (rec) {
        vamp_recorder_start(rec, p->core->period_ns);
    }
}

void vamp_tracker_end(int cpu_index)
{
    VampRecorder *rec = recorder_get(qatomic_load_acquire(&vamp_the_policy),
                                     cpu_index);

    if (rec) {
        qatomic_set(&rec->enabled, false);
        qatomic_set(&rec->task, VAMP_TASK_UNKNOWN);
    }
}

void vamp_tracker_event(int cpu_index, uint64_t task, bool sample)
{
    VampPolicy *p = qatomic_load_acquire(&vamp_the_policy);
    VampRecorder *rec = recorder_get(p, cpu_index);
    uint64_t from;

    if (!rec) {
        return;
    }
    from = rec->task;
    if (sample ? vamp_recorder_sample(rec, task)
               : vamp_recorder_switch(rec, task)) {
        if (!sample) {
            /* Not from a signal handler: the log backend may lock. */
            trace_vamp_task_switch(cpu_index, from, task);
        }
        vamp_phase_task_switched(p, cpu_index, task);
    }
}
