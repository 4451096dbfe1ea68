/*
 * A model VM: a process with a main thread and a thread per vCPU
 *
 * Input comes to the main thread, as in QEMU: it tells the policy, then wakes
 * the vCPU that answers. A vCPU is a hog or answers input. All threads need
 * the host's CPUs for what they do, the main thread too.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vm.h"

/*
 * A user waits for the answer before the next input; 50 ms is a fast typist's
 * shortest time between two keys.
 */
#define REACTION_NS     (50 * LAB_MS)
/*
 * The VM has been busy for longer than the policy's window (992 ms) when its
 * user comes: in a phase that begins sooner nothing is in the background yet,
 * and it lasts 5 s.
 */
#define FIRST_INPUT_NS  (1000 * LAB_MS)
/* How often a hog notes its CPU time: 40 blocks of lab_spin(), about 1 ms. */
#define HOG_BLOCKS      40

struct vcpu {
    const struct lab_thread_plan *plan;
    struct lab_thread_log *log;
    struct lab_random random;
    pthread_t thread;
    /* Under the lock */
    pid_t tid;                  /* 0: the thread is not there yet */
    pthread_cond_t wake;        /* for @arrived and @started */
    uint64_t arrival_ns;        /* of the next input; UINT64_MAX: none */
    bool arrived;               /* the main thread has seen it */
    bool phase;                 /* ... and it began a phase */
};

static const struct lab_plan *plan;
static struct lab_shared *shared;
static struct vcpu vcpus[LAB_THREADS_MAX];
static unsigned nr_vcpus;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t main_wake;    /* a vCPU is there, or expects input */
static uint64_t start_ns;           /* 0: not yet */

static void note_sleep(struct lab_thread_log *log, uint64_t from, uint64_t to)
{
    if (log->nr_sleeps == LAB_SLEEPS_MAX) {
        lab_die("more than %u sleeps of a thread", LAB_SLEEPS_MAX);
    }
    log->sleep[log->nr_sleeps++] = (struct lab_sleep) { from, to };
}

/* Burns until the thread has used @cpu_ns more than at @begin. */
static void burn(struct lab_thread_log *log, uint64_t begin, uint64_t cpu_ns)
{
    uint64_t cpu;

    do {
        lab_spin();
        cpu = lab_thread_cpu();
        atomic_store_explicit(&log->cpu_ns, cpu, memory_order_relaxed);
    } while (cpu - begin < cpu_ns);
}

/* --- hogs ---------------------------------------------------------------- */

static void hog(struct vcpu *v)
{
    uint64_t from = start_ns + v->plan->sleep_from_ns;
    uint64_t to = start_ns + v->plan->sleep_to_ns;
    bool sleeps = to > from;

    for (;;) {
        if (sleeps && lab_now() >= from) {
            note_sleep(v->log, lab_now(), to);
            lab_sleep_until(to);
            sleeps = false;
        }
        for (int i = 0; i < HOG_BLOCKS; i++) {
            lab_spin();
        }
        atomic_store_explicit(&v->log->cpu_ns, lab_thread_cpu(),
                              memory_order_relaxed);
    }
}

/* --- answering input ----------------------------------------------------- */

static bool is_real_time(void)
{
    int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;

    return policy == SCHED_RR || policy == SCHED_FIFO ||
           policy == SCHED_DEADLINE;
}

/*
 * All random numbers of an event are drawn here and in the caller, always as
 * many, so that event k is the same under each policy.
 */
static void answer(struct vcpu *v, struct lab_event *e, uint64_t cpu_ns)
{
    bool look = plan->policy == LAB_BROKER_RR;
    uint64_t bursts = lab_random_range(&v->random, v->plan->bursts);
    uint64_t begin = lab_thread_cpu(), done = 0;

    e->cpu_ns = cpu_ns;
    for (uint64_t i = 1; i <= bursts; i++) {
        uint64_t until = cpu_ns * i / bursts;
        uint64_t pause = lab_random_range(&v->random, v->plan->pause_ns);

        while (done < until) {
            if (look && is_real_time()) {
                e->rt_ns = lab_now();
                look = false;
            }
            /* Looks again after a millisecond. */
            done = look && until - done > LAB_MS ? done + LAB_MS : until;
            burn(v->log, begin, done);
        }
        if (i < bursts) {
            uint64_t now = lab_now();

            note_sleep(v->log, now, now + pause);
            lab_sleep_until(now + pause);
        }
    }
    e->done_ns = lab_now();
}

/* Waits until the main thread has seen the input that comes at @arrival. */
static void await_input(struct vcpu *v, struct lab_event *e)
{
    uint64_t now = lab_now();

    pthread_mutex_lock(&lock);
    v->arrival_ns = e->arrival_ns;
    pthread_cond_signal(&main_wake);
    while (!v->arrived) {
        pthread_cond_wait(&v->wake, &lock);
    }
    v->arrived = false;
    e->phase = v->phase;
    pthread_mutex_unlock(&lock);
    e->begin_ns = lab_now();
    note_sleep(v->log, now, e->arrival_ns);
}

static void interactive(struct vcpu *v)
{
    uint64_t scheduled = start_ns + FIRST_INPUT_NS;
    uint64_t done = start_ns;

    for (unsigned k = 1; ; k++) {
        struct lab_event *e = &v->log->event[v->log->nr_events];
        uint64_t cpu;

        scheduled += lab_random_range(&v->random, v->plan->interval_ns);
        cpu = lab_random_range(&v->random, v->plan->cpu_ns);
        if (v->plan->runaway_every && k % v->plan->runaway_every == 0) {
            cpu = v->plan->runaway_cpu_ns;
        }
        if (scheduled < done + REACTION_NS) {
            scheduled = done + REACTION_NS;
        }
        e->arrival_ns = scheduled;
        await_input(v, e);
        answer(v, e, cpu);
        done = e->done_ns;
        if (++v->log->nr_events == LAB_EVENTS_MAX) {
            lab_die("more than %u events of a thread", LAB_EVENTS_MAX);
        }
    }
}

static void *vcpu_main(void *opaque)
{
    struct vcpu *v = opaque;
    char name[16];

    snprintf(name, sizeof(name), "%s%u",
             v->plan->kind == LAB_HOG ? "hog" : "interactive", v->plan->id);
    prctl(PR_SET_NAME, name);
    pthread_mutex_lock(&lock);
    v->tid = gettid();
    pthread_cond_signal(&main_wake);
    while (!start_ns) {
        pthread_cond_wait(&v->wake, &lock);
    }
    pthread_mutex_unlock(&lock);
    lab_sleep_until(start_ns);
    if (v->plan->kind == LAB_HOG) {
        hog(v);
    } else {
        interactive(v);
    }
    return NULL;
}

/* --- the main thread ----------------------------------------------------- */

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
}

static void start_vcpus(const struct lab_vm_plan *vm, struct lab_vm_log *log,
                        pid_t *tid)
{
    cond_init(&main_wake);
    nr_vcpus = vm->nr_threads;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < nr_vcpus; i++) {
        struct vcpu *v = &vcpus[i];

        v->plan = &vm->thread[i];
        v->log = &log->thread[i];
        v->arrival_ns = UINT64_MAX;
        cond_init(&v->wake);
        lab_random_init(&v->random, plan->seed, vm->id, v->plan->id);
        if (pthread_create(&v->thread, NULL, vcpu_main, v)) {
            lab_die("a thread of VM %s cannot be started", vm->name);
        }
        while (!v->tid) {
            pthread_cond_wait(&main_wake, &lock);
        }
        tid[i] = v->tid;
    }
    pthread_mutex_unlock(&lock);
}

static void release_vcpus(uint64_t start)
{
    pthread_mutex_lock(&lock);
    start_ns = start;
    for (unsigned i = 0; i < nr_vcpus; i++) {
        pthread_cond_signal(&vcpus[i].wake);
    }
    pthread_mutex_unlock(&lock);
}

static void main_loop(bool vamp, struct lab_vm_log *log)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        uint64_t now = lab_now();
        uint64_t next = vamp ? vm_phase_deadline() : UINT64_MAX;
        struct timespec ts;

        for (unsigned i = 0; i < nr_vcpus; i++) {
            struct vcpu *v = &vcpus[i];

            if (v->arrival_ns <= now) {
                v->arrival_ns = UINT64_MAX;
                v->phase = vamp && vm_phase_input();
                v->arrived = true;
                pthread_cond_signal(&v->wake);
            } else if (v->arrival_ns < next) {
                next = v->arrival_ns;
            }
        }
        if (vamp && vm_phase_deadline() <= now) {
            vm_phase_timer();
        }
        atomic_store_explicit(&log->main_cpu_ns, lab_thread_cpu(),
                              memory_order_relaxed);
        if (next == UINT64_MAX) {
            pthread_cond_wait(&main_wake, &lock);
        } else {
            ts.tv_sec = (time_t)(next / 1000000000);
            ts.tv_nsec = (long)(next % 1000000000);
            pthread_cond_timedwait(&main_wake, &lock, &ts);
        }
    }
}

void lab_vm_main(const struct lab_plan *a_plan, unsigned vm,
                 struct lab_shared *a_shared)
{
    const struct lab_vm_plan *vm_plan = &a_plan->vm[vm];
    struct lab_vm_log *log = &a_shared->vm[vm];
    pid_t tid[LAB_THREADS_MAX];
    bool vamp;
    uint64_t start;

    plan = a_plan;
    shared = a_shared;
    prctl(PR_SET_PDEATHSIG, 9);
    prctl(PR_SET_NAME, vm_plan->name);
    start_vcpus(vm_plan, log, tid);
    /* Stock has no policy object at all. */
    vamp = vm_plan->vamp && plan->policy != LAB_STOCK;
    if (vamp) {
        vm_phase_init(plan, vm_plan, tid);
    }
    atomic_store(&log->ready, true);
    while (!(start = atomic_load(&shared->start_ns))) {
        lab_sleep_until(lab_now() + LAB_MS);
    }
    release_vcpus(start);
    main_loop(vamp, log);
    abort();
}
