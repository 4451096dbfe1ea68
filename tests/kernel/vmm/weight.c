/*
 * Claims about weights: nice values of threads, as /proc has them
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */


#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "claim.h"

/* ratio=3 in steps of nice, from 0 */
#define STEP            5
#define PLAN_MS         60000
/* Found at so many looks, in each task */
#define LOOKS           200

/* In the background is task 1. Goes on until it is stopped. */
static void start(struct vcpu *v)
{
    vcpu_plan(v, OP_SWITCH, UINT32_MAX);
    vcpu_step(v, task(0), 2000);
    vcpu_step(v, task(1), 2000);
    vcpu_step(v, task(2), 2000);
    vcpu_start(v);
}

/* Which step the thread ran with the nice value that is returned in @nice. */
static int look(struct vcpu *v, int *nice)
{
    for (;;) {
        uint32_t seq = __atomic_load_n(&v->block->seq, __ATOMIC_ACQUIRE);
        uint64_t now = v->block->now;

        *nice = nice_of(v->tid);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        /* Not while it changes, nor before it began. */
        if (seq && !(seq & 1) && seq == v->block->seq) {
            return now;
        }
    }
}

/* It was so at each of @looks looks in the background, and elsewhere. */
static void follows(struct vcpu *v, int base, int background, int looks)
{
    uint64_t until = now_ns() + 30000 * NS_PER_MS;
    int seen[3] = { 0 };

    while (seen[0] < looks || seen[1] < looks || seen[2] < looks) {
        int nice, step = look(v, &nice);
        int want = step == 1 ? background : base;

        check(nice == want,
              "nice %d in task %d, not %d (after %d, %d, %d looks)", nice, step,
              want, seen[0], seen[1], seen[2]);
        seen[step]++;
        check(now_ns() < until, "it does not switch: %d, %d, %d", seen[0],
              seen[1], seen[2]);
    }
}

static void switches(void)
{
    struct vm *vm = vm_new(2);
    struct vcpu *v = &vm->vcpu[1];

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(1), PLAN_MS);
    start(v);
    /* The vCPU tracks from its first entry on. */
    follows(v, 0, STEP, LOOKS);
    plan(vm, 0, 0);
    follows(v, 0, 0, LOOKS);
    vcpu_stop(v);
    check(vcpu_status(vm, 1).weight_changes > 2, "%llu changes",
          (long long)vcpu_status(vm, 1).weight_changes);
    check(nice_of(vm->vcpu[0].tid) == 0, "the idle one has another nice value");
}

/* As a QEMU may: started with a nice value of its own. */
static void based(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];

    setpriority(PRIO_PROCESS, v->tid, -3);
    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(1), PLAN_MS);
    start(v);
    follows(v, -3, -3 + STEP, LOOKS);
    turn_off(vm);
    eventually(nice_of(v->tid) == -3, "nice %d is left", nice_of(v->tid));
    vcpu_stop(v);
}

static void unasked(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];

    turn_on(vm, 0);
    plan(vm, task(1), PLAN_MS);
    start(v);
    follows(v, 0, 0, LOOKS);
    check(vcpu_status(vm, 0).weight_changes == 0, "weights were changed");
    vcpu_stop(v);
}

static void classes(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_vcpu_status s;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(0), PLAN_MS);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    eventually((s = vcpu_status(vm, 0)).vclass == KVM_VAMP_CLASS_BACKGROUND &&
               s.nice == STEP && nice_of(v->tid) == STEP,
               "class %u, nice %d", s.vclass, s.nice);
    /* A plan makes a difference at once, though the task does not switch. */
    plan(vm, task(1), PLAN_MS);
    s = vcpu_status(vm, 0);
    check(s.vclass == KVM_VAMP_CLASS_INTERACTIVE && nice_of(v->tid) == 0,
          "class %u, nice %d", s.vclass, nice_of(v->tid));
    plan(vm, 0, 0);
    s = vcpu_status(vm, 0);
    check(s.vclass == KVM_VAMP_CLASS_NEUTRAL, "class %u", s.vclass);
    vcpu_stop(v);
}

static void foreign(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];

    int nice;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(1), PLAN_MS);
    vcpu_plan(v, OP_SWITCH, UINT32_MAX);
    vcpu_step(v, task(0), 20000);
    vcpu_step(v, task(1), 1000000);
    vcpu_step(v, task(2), 20000);
    vcpu_start(v);
    /* The administrator's renice, of a thread that is as we have made it */
    eventually(look(v, &nice) == 1 && nice == STEP, "nice %d", nice);
    check(setpriority(PRIO_PROCESS, v->tid, 7) == 0, "renice: %s",
          strerror(errno));
    eventually(vcpu_status(vm, 0).flags & KVM_VAMP_V_FOREIGN,
               "it is not seen: nice %d", nice_of(v->tid));
    check(nice_of(v->tid) == 7, "nice %d", nice_of(v->tid));
    follows(v, 7, 7, LOOKS / 10);
    turn_off(vm);
    check(nice_of(v->tid) == 7, "nice %d after the end", nice_of(v->tid));
    vcpu_stop(v);
}

static void off_restores(void)
{
    struct vm *vm = vm_new(2);
    int i;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(0), PLAN_MS);
    for (i = 0; i < 2; i++) {
        vcpu_plan(&vm->vcpu[i], OP_SWITCH, 1);
        vcpu_step(&vm->vcpu[i], task(0), 500000000);
        vcpu_start(&vm->vcpu[i]);
        eventually(nice_of(vm->vcpu[i].tid) == STEP, "vCPU %d: nice %d", i,
                   nice_of(vm->vcpu[i].tid));
    }
    /* One that runs, and one that is with its VMM */
    vcpu_stop(&vm->vcpu[1]);
    check(nice_of(vm->vcpu[1].tid) == STEP, "nice %d beside KVM_RUN",
          nice_of(vm->vcpu[1].tid));
    turn_off(vm);
    for (i = 0; i < 2; i++) {
        check(nice_of(vm->vcpu[i].tid) == 0, "vCPU %d: nice %d is left", i,
              nice_of(vm->vcpu[i].tid));
    }
    vcpu_stop(&vm->vcpu[0]);
    check(nice_of(vm->vcpu[0].tid) == 0, "nice %d is left",
          nice_of(vm->vcpu[0].tid));
}

static void close_restores(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(0), PLAN_MS);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    eventually(nice_of(v->tid) == STEP, "nice %d", nice_of(v->tid));
    vcpu_stop(v);
    check(nice_of(v->tid) == STEP, "nice %d beside KVM_RUN", nice_of(v->tid));
    vm_close(vm);
    eventually(nice_of(v->tid) == 0, "nice %d is left", nice_of(v->tid));
}

const struct claim claims_weight[] = {
    { "weight-switches", "the thread's nice value follows each switch",
      switches },
    { "weight-based", "it counts from the value that was found", based },
    { "weight-unasked", "without F_WEIGHTS no thread is changed", unasked },
    { "weight-classes", "a plan counts at once, and says the class", classes },
    { "weight-foreign", "somebody else's nice value stays", foreign },
    { "weight-off", "turning it off restores them", off_restores },
    { "weight-close", "closing the VM restores them", close_restores },
    { NULL }
};
