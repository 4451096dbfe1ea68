/*
 * VAMP tracker: exact, under TCG with a thread per vCPU
 *
 * Each load of CR3 is a helper call already; it tells the policy.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "cpu.h"
#include "hw/core/cpu.h"
#include "system/tcg.h"
#include "hw/vamp/hooks.h"
#include "hw/vamp/tracker.h"

static unsigned vcpus_tracked;      /* BQL */

static void cr3_written(CPUState *cpu, uint64_t cr3, bool nested)
{
    /* A nested guest's tasks are one task of ours: its hypervisor. */
    if (!nested) {
        vamp_tracker_event(cpu->cpu_index, cr3 & VAMP_CR3_TASK_MASK, false);
    }
}

const char *vamp_tcg_unavailable(void)
{
    if (!tcg_enabled()) {
        return "needs -accel tcg";
    }
    if (!qemu_tcg_mttcg_enabled()) {
        return "needs a thread per vCPU (-accel tcg,thread=multi)";
    }
    return NULL;
}

/* A task that runs for long loads no CR3: take the present one. */
static void look_on_vcpu(CPUState *cpu, run_on_cpu_data data)
{
    vamp_tracker_event(cpu->cpu_index,
                       X86_CPU(cpu)->env.cr[3] & VAMP_CR3_TASK_MASK, false);
}

static void start_on_vcpu(CPUState *cpu, run_on_cpu_data data)
{
    vamp_tracker_begin(cpu->cpu_index);
    look_on_vcpu(cpu, data);
}

void vamp_tcg_start(CPUState *cpu)
{
    if (vcpus_tracked++ == 0) {
        qatomic_set(&vamp_cr3_hook, cr3_written);
    }
    async_run_on_cpu(cpu, start_on_vcpu, RUN_ON_CPU_NULL);
}

void vamp_tcg_look(CPUState *cpu)
{
    async_run_on_cpu(cpu, look_on_vcpu, RUN_ON_CPU_NULL);
}

static void stop_on_vcpu(CPUState *cpu, run_on_cpu_data data)
{
    vamp_tracker_end(cpu->cpu_index);
}

void vamp_tcg_stop(CPUState *cpu)
{
    if (--vcpus_tracked == 0) {
        qatomic_set(&vamp_cr3_hook, NULL);
    }
    /* The vCPU's thread is outside the hook when it does this. */
    run_on_cpu(cpu, stop_on_vcpu, RUN_ON_CPU_NULL);
}

void vamp_tcg_gone(CPUState *cpu)
{
    if (--vcpus_tracked == 0) {
        qatomic_set(&vamp_cr3_hook, NULL);
    }
}
