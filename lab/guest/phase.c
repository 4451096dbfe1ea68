/*
 * A model VM: phases
 *
 * The policy itself is core/'s. Around it is what hw/vamp/phase.c does
 * in a QEMU without a task tracker: loads from schedstat, once a window and
 * at an event; the end of a phase by a timer.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm.h"

#define NS_PER_MS   1000000ull

struct vcpu {
    int schedstat_fd;
    uint64_t load_at_ns, run_ns, wait_ns;
    enum vamp_class applied;
};

static struct vamp_policy *policy;
static const struct vm_actuator *actuator;
static struct vcpu vcpu[LAB_THREADS_MAX];
static unsigned nr_vcpus;
static uint64_t load_timer_ns;
static uint64_t served_ns, serve_until_ns = UINT64_MAX;

static void read_schedstat(struct vcpu *v, uint64_t *run_ns, uint64_t *wait_ns)
{
    char buf[96];
    ssize_t n = pread(v->schedstat_fd, buf, sizeof(buf) - 1, 0);

    buf[n > 0 ? n : 0] = '\0';
    if (sscanf(buf, "%" SCNu64 " %" SCNu64, run_ns, wait_ns) != 2) {
        lab_die("schedstat cannot be read: %s",
                n < 0 ? strerror(errno) : "no two numbers");
    }
}

static void update_loads(uint64_t now)
{
    for (unsigned i = 0; i < nr_vcpus; i++) {
        struct vcpu *v = &vcpu[i];
        uint64_t run, wait;

        read_schedstat(v, &run, &wait);
        if (now > v->load_at_ns) {
            vamp_policy_vcpu_load(policy, i, v->load_at_ns, now,
                                  run - v->run_ns, wait - v->wait_ns);
        }
        v->load_at_ns = now;
        v->run_ns = run;
        v->wait_ns = wait;
    }
}

static void apply_all(void)
{
    for (unsigned i = 0; i < nr_vcpus; i++) {
        enum vamp_class vclass = vamp_policy_class(policy, i,
                                                   VAMP_TASK_UNKNOWN);

        if (policy->phase == VAMP_PHASE_MIXED && serve_until_ns != UINT64_MAX) {
            vclass = VAMP_CLASS_INTERACTIVE;
        }
        if (vclass != vcpu[i].applied) {
            vcpu[i].applied = vclass;
            actuator->apply(i, vclass);
        }
    }
}

static const struct vm_actuator *actuator_of(const struct lab_plan *plan)
{
    switch (plan->policy) {
    case LAB_STOCK:
        return &vm_actuator_none;
    case LAB_NICE:
        return &vm_actuator_nice;
    case LAB_CGROUP_RATIO:
        return &vm_actuator_cgroup;
    case LAB_BROKER_RR:
        return &vm_actuator_broker;
    }
    lab_die("policy %d is unknown", plan->policy);
}

void vm_phase_init(const struct lab_plan *plan, const struct lab_vm_plan *vm,
                   const pid_t *tid)
{
    struct vamp_config cfg;
    uint64_t now = lab_now();

    actuator = vm->vamp ? actuator_of(plan) : &vm_actuator_none;
    actuator->attach(plan, vm, tid);
    vamp_config_default(&cfg);
    nr_vcpus = vm->nr_threads;
    policy = malloc(vamp_policy_size(nr_vcpus));
    if (!policy) {
        lab_die("no memory");
    }
    vamp_policy_init(policy, nr_vcpus, &cfg, now);
    for (unsigned i = 0; i < nr_vcpus; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", tid[i]);
        vcpu[i].schedstat_fd = open(path, O_RDONLY | O_CLOEXEC);
        read_schedstat(&vcpu[i], &vcpu[i].run_ns, &vcpu[i].wait_ns);
        vcpu[i].load_at_ns = now;
        vamp_policy_vcpu_add(policy, i);
    }
    load_timer_ns = now;
}

/* As hw/vamp/serve.c: what it costs; who takes an interrupt is not modelled. */
static void serve(uint64_t now)
{
    if (policy->phase == VAMP_PHASE_MIXED && actuator->boosts &&
        (!served_ns || now >= served_ns + VAMP_SERVE_EVERY_MS * NS_PER_MS)) {
        served_ns = now;
        serve_until_ns = now + VAMP_SERVE_MS * NS_PER_MS;
    }
}

bool vm_phase_input(void)
{
    uint64_t now = lab_now();
    bool begins = vamp_policy_input(policy, now);

    if (begins) {
        update_loads(now);
        vamp_policy_begin(policy, now, VAMP_CAUSE_INPUT, NULL);
    }
    serve(now);
    apply_all();
    return begins;
}

uint64_t vm_phase_deadline(void)
{
    uint64_t first = policy->until_ns < load_timer_ns ? policy->until_ns
                                                      : load_timer_ns;

    return serve_until_ns < first ? serve_until_ns : first;
}

void vm_phase_timer(void)
{
    uint64_t now = lab_now();

    if (now >= load_timer_ns) {
        update_loads(now);
        load_timer_ns = now + policy->period_ns * VAMP_WINDOW_EPOCHS;
    }
    if (now >= serve_until_ns) {
        serve_until_ns = UINT64_MAX;
        apply_all();
    }
    if (now >= policy->until_ns) {
        vamp_policy_expire(policy, now);
        apply_all();
    }
}
