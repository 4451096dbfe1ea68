/*
 * VAMP tracker: by sampling, on a stock KVM
 *
 * A timer on each vCPU thread's own CPU time sends the thread a signal about
 * every 8 ms of CPU time. The signal ends KVM_RUN; KVM leaves CR3 in the
 * shared kvm_run page (KVM_SYNC_X86_SREGS); the handler charges the CPU time
 * since the last sample to the task that it finds. Because the timer counts
 * CPU time, a vCPU that is halted is never woken, and one that waits for a
 * CPU is not charged.
 *
 * The interval is jittered: a guest task in step with a fixed one would be
 * seen always or never (measured: 61 % instead of 51 %). The host checks CPU
 * timers at its tick, so that intervals are rounded up to ticks.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include <sys/syscall.h>
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "hw/vamp/tracker.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/*
 * 8 ms on average: with jitter, loads agree with exact ones to about 2 points,
 * at 5 to 6 thousand instructions a sample (under 0.1 % of a busy vCPU).
 */
#define SAMPLE_MIN_NS (4 * SCALE_MS)
#define SAMPLE_MAX_NS (12 * SCALE_MS)

/* QEMU uses SIGUSR1 to kick vCPUs; real-time signals are free. */
#define SAMPLE_SIGNAL (SIGRTMAX - 5)

typedef struct Sampler {
    CPUState *cpu;
    timer_t timer;
    bool have_timer;
    uint32_t random;
} Sampler;

static GHashTable *samplers;            /* CPUState -> Sampler; BQL */
static __thread Sampler *self;          /* of this vCPU thread */

static void sampler_arm(Sampler *s)
{
    struct itimerspec when = { 0 };

    /* xorshift32: any spread does, and rand() may not be called here. */
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    when.it_value.tv_nsec = SAMPLE_MIN_NS +
                            s->random % (SAMPLE_MAX_NS - SAMPLE_MIN_NS);
    timer_settime(s->timer, 0, &when, NULL);
}

/* On the vCPU's thread, after KVM_RUN or anywhere in QEMU's own code. */
static void sample_signal(int sig, siginfo_t *info, void *context)
{
    Sampler *s = self;
    int saved_errno = errno;
    struct kvm_run *run;

    if (s) {
        run = s->cpu->kvm_run;
        /* Inside a nested guest CR3 is none of our guest's tasks. */
        if (!(run->flags & (KVM_RUN_X86_GUEST_MODE | KVM_RUN_X86_SMM))) {
            vamp_tracker_event(s->cpu->cpu_index,
                               run->s.regs.sregs.cr3 & VAMP_CR3_TASK_MASK,
                               true);
        }
        sampler_arm(s);
    }
    errno = saved_errno;
}

const char *vamp_sample_unavailable(void)
{
    if (!kvm_enabled()) {
        return "needs -accel kvm";
    }
    if (current_machine->cgs) {
        return "the registers of a confidential guest cannot be read";
    }
    /*
     * With a mask for KVM_RUN alone (kernels before 4.14) a signal of ours
     * would stay pending.
     */
    if (!kvm_check_extension(kvm_state, KVM_CAP_IMMEDIATE_EXIT)) {
        return "this kernel's KVM has no immediate exit";
    }
    if (!(kvm_vm_check_extension(kvm_state, KVM_CAP_SYNC_REGS) &
          KVM_SYNC_X86_SREGS)) {
        return "this kernel's KVM does not share the guest's registers";
    }
    return NULL;
}

static void start_on_vcpu(CPUState *cpu, run_on_cpu_data data)
{
    Sampler *s = data.host_ptr;
    struct sigevent sev = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = SAMPLE_SIGNAL,
    };
    sigset_t set;

    sev.sigev_notify_thread_id = syscall(SYS_gettid);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &sev, &s->timer) < 0) {
        warn_report("vCPU %d cannot be sampled: %s", cpu->cpu_index,
                    strerror(errno));
        return;
    }
    s->have_timer = true;
    vamp_tracker_begin(cpu->cpu_index);
    cpu->kvm_run->kvm_valid_regs |= KVM_SYNC_X86_SREGS;
    self = s;
    sigemptyset(&set);
    sigaddset(&set, SAMPLE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sampler_arm(s);
}

static void stop_on_vcpu(CPUState *cpu, run_on_cpu_data data)
{
    Sampler *s = data.host_ptr;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SAMPLE_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    self = NULL;
    if (s->have_timer) {
        timer_delete(s->timer);
        s->have_timer = false;
    }
    cpu->kvm_run->kvm_valid_regs &= ~KVM_SYNC_X86_SREGS;
    vamp_tracker_end(cpu->cpu_index);
}

void vamp_sample_start(CPUState *cpu)
{
    Sampler *s = g_new0(Sampler, 1);

    if (!samplers) {
        struct sigaction act = {
            .sa_sigaction = sample_signal,
            .sa_flags = SA_SIGINFO | SA_RESTART,
        };

        samplers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        sigemptyset(&act.sa_mask);
        sigaction(SAMPLE_SIGNAL, &act, NULL);
    }
    s->cpu = cpu;
    s->random = 0x9e3779b9u * (cpu->cpu_index + 1);
    g_hash_table_insert(samplers, cpu, s);
    async_run_on_cpu(cpu, start_on_vcpu, RUN_ON_CPU_HOST_PTR(s));
}

void vamp_sample_stop(CPUState *cpu)
{
    Sampler *s = g_hash_table_lookup(samplers, cpu);

    run_on_cpu(cpu, stop_on_vcpu, RUN_ON_CPU_HOST_PTR(s));
    g_hash_table_remove(samplers, cpu);
}

void vamp_sample_gone(CPUState *cpu)
{
    Sampler *s = g_hash_table_lookup(samplers, cpu);

    if (s->have_timer) {
        timer_delete(s->timer);
    }
    g_hash_table_remove(samplers, cpu);
}
