/*
 * Claims about phases: how they begin and end
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "claim.h"

#define STEP            5

static void plan_ends(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_status s;
    uint64_t begin, toggles;
    int nice;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    begin = now_ns();
    plan(vm, task(0), 1500);
    s = status(vm);
    check(s.phase == KVM_VAMP_PHASE_MIXED && s.nr_tasks == 1 &&
          s.task[0].task == task(0) &&
          s.until_ns - begin <= 1600 * NS_PER_MS,
          "phase %u with %u tasks until %llu ms from now", s.phase, s.nr_tasks,
          (long long)(s.until_ns - begin) / 1000000);
    eventually((nice = nice_of(v->tid)) == STEP || now_ns() > s.until_ns,
               "nice %d", nice);
    check(nice == STEP, "nice %d in the plan", nice);
    eventually(vcpu_status(vm, 0).toggles,
               "it is not tracked exactly");
    eventually(status(vm).phase == KVM_VAMP_PHASE_NORMAL, "it lasts for ever");
    check(now_ns() - begin >= 1500 * NS_PER_MS, "it ended early");
    check(nice_of(v->tid) == 0, "nice %d is left", nice_of(v->tid));
    s = status(vm);
    check(s.until_ns == UINT64_MAX && s.nr_tasks == 0 &&
          s.tracking == KVM_VAMP_T_SAMPLE, "tracking %u, %u tasks", s.tracking,
          s.nr_tasks);
    eventually((toggles = vcpu_status(vm, 0).toggles) == 2,
               "%llu toggles of exact tracking", (long long)toggles);
    vcpu_stop(v);
}

/* 60 s are the most, whatever the caller says. */
static void plan_bound(void)
{
    struct vm *vm = vm_new(1);
    struct kvm_vamp_plan p = {
        .phase = KVM_VAMP_PHASE_MIXED,
        .nr_tasks = 1,
        .until_ns = UINT64_MAX,
        .task[0] = task(0),
    };
    int64_t left;

    turn_on(vm, 0);
    check(!try_ioctl(vm, KVM_VAMP_PLAN, &p), "it is refused");
    left = status(vm).until_ns - now_ns();
    check(left > 0 && left <= 60000ll * (int64_t)NS_PER_MS, "%lld ms",
          (long long)left / 1000000);
    /* One that is over already */
    p.until_ns = 1;
    check(!try_ioctl(vm, KVM_VAMP_PLAN, &p), "it is refused");
    eventually(status(vm).phase == KVM_VAMP_PHASE_NORMAL, "it is in force");
}

/* The module's own loads: a hog, and what the user sees, on two vCPUs. */
static void input(void)
{
    struct vm *vm = vm_new(2);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    struct kvm_vamp_status s;
    uint64_t begin;
    int nice;

    cfg.max_phase_ms = 1500;
    set(vm, &cfg);
    vcpu_plan(&vm->vcpu[0], OP_SWITCH, 1);
    vcpu_step(&vm->vcpu[0], task(4), 500000000);
    vcpu_plan(&vm->vcpu[1], OP_HALT, 1);
    vcpu_step(&vm->vcpu[1], task(5), 0);
    vcpu_start(&vm->vcpu[0]);
    vcpu_start(&vm->vcpu[1]);
    sleep_ms(1500);

    begin = now_ns();
    event(vm, KVM_VAMP_EVENT_INPUT);
    s = status(vm);
    check(s.phase == KVM_VAMP_PHASE_MIXED && s.events == 1 && s.phases == 1 &&
          s.phases_mixed == 1, "phase %u, reason %u, load %u of 1000", s.phase,
          s.reason, s.vm_permille);
    check(s.nr_tasks == 1 && s.task[0].task == task(4) &&
          s.task[0].permille > 500, "%u tasks, the first 0x%llx with %u",
          s.nr_tasks, (long long)s.task[0].task, s.task[0].permille);
    eventually((nice = nice_of(vm->vcpu[0].tid)) == STEP ||
               now_ns() > s.until_ns, "nice %d", nice);
    check(nice == STEP, "the hog has nice %d", nice);
    check(nice_of(vm->vcpu[1].tid) == 0, "the other one has nice %d",
          nice_of(vm->vcpu[1].tid));

    eventually(status(vm).phase == KVM_VAMP_PHASE_NORMAL, "it lasts for ever");
    check(now_ns() - begin >= 1500 * NS_PER_MS, "it ended early");
    check(nice_of(vm->vcpu[0].tid) == 0, "nice %d is left",
          nice_of(vm->vcpu[0].tid));

    event(vm, KVM_VAMP_EVENT_INPUT);
    check(status(vm).phase == KVM_VAMP_PHASE_MIXED, "no second phase");
    event(vm, KVM_VAMP_EVENT_END);
    s = status(vm);
    check(s.phase == KVM_VAMP_PHASE_NORMAL && s.events == 2 && s.phases == 2,
          "phase %u after the end", s.phase);
    check(nice_of(vm->vcpu[0].tid) == 0, "nice %d is left",
          nice_of(vm->vcpu[0].tid));
    vcpu_stop(&vm->vcpu[0]);
    vm->vcpu[1].block->stop = 1;
    vm_nmi(vm, 1);
    vcpu_wait(&vm->vcpu[1]);
}

/* The next plan finds no memory. */
static void fail_a_plan(void)
{
    parameter("vamp_fail_plans", 1);
}

/* A fault of the module's: off, with the reason, until it is turned on again. */
static void fault(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_plan p = {
        .phase = KVM_VAMP_PHASE_MIXED,
        .nr_tasks = 1,
        .until_ns = UINT64_MAX,
        .task[0] = task(1),
    };
    struct kvm_vamp_status s;
    int nice, err;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    plan(vm, task(0), 60000);
    eventually((nice = nice_of(v->tid)) == STEP, "nice %d", nice);

    /* The caller's plan fails, and the one in force goes on. */
    fail_a_plan();
    err = try_ioctl(vm, KVM_VAMP_PLAN, &p);
    check(err == -ENOMEM, "a plan without memory: %d", err);
    s = status(vm);
    check(s.phase == KVM_VAMP_PHASE_MIXED && s.task[0].task == task(0) &&
          !s.faults, "phase %u, %llu faults", s.phase, (long long)s.faults);
    check(nice_of(v->tid) == STEP, "nice %d", nice_of(v->tid));

    /* The module's own cannot go on. */
    sleep_ms(1500);
    fail_a_plan();
    event(vm, KVM_VAMP_EVENT_INPUT);
    eventually((s = status(vm)).tracking == KVM_VAMP_T_FAULT, "tracking %u",
               s.tracking);
    check(s.faults == 1 && !strcmp(s.fault, "no memory for a plan") &&
          !(s.flags & KVM_VAMP_F_ENABLE), "%llu faults, '%s', flags 0x%x",
          (long long)s.faults, s.fault, s.flags);
    check(nice_of(v->tid) == 0, "nice %d is left", nice_of(v->tid));
    err = try_ioctl(vm, KVM_VAMP_PLAN, &p);
    check(err == -ENXIO, "a plan when it is off: %d", err);

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(0), 60000);
    eventually((nice = nice_of(v->tid)) == STEP, "nice %d", nice);
    check(status(vm).faults == 1, "the fault is forgotten");
    turn_off(vm);
    vcpu_stop(v);
}

/* An idle VM has nothing in the background; sound keeps a phase up. */
static void sound(void)
{
    struct vm *vm = vm_new(1);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    struct kvm_vamp_status s;

    cfg.max_phase_ms = 100;
    set(vm, &cfg);
    event(vm, KVM_VAMP_EVENT_SOUND_ON);
    check(status(vm).phase == KVM_VAMP_PHASE_NON_MIXED, "phase %u",
          status(vm).phase);
    eventually((s = status(vm)).phases >= 3, "%llu phases",
               (long long)s.phases);
    check(s.phase == KVM_VAMP_PHASE_NON_MIXED, "phase %u", s.phase);
    event(vm, KVM_VAMP_EVENT_SOUND_OFF);
    eventually(status(vm).phase == KVM_VAMP_PHASE_NORMAL, "it lasts for ever");
}

/* What plays sound is never in the background. */
static void audio_task(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_event e = {
        .kind = KVM_VAMP_EVENT_AUDIO_TASK,
        .arg = task(4),
    };
    struct kvm_vamp_status s;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(4), 500000000);
    vcpu_start(v);
    sleep_ms(1500);
    event(vm, KVM_VAMP_EVENT_INPUT);
    check(status(vm).phase == KVM_VAMP_PHASE_MIXED, "phase %u",
          status(vm).phase);
    check(!try_ioctl(vm, KVM_VAMP_EVENT, &e), "it is refused");
    s = status(vm);
    check(s.audio_task == task(4) && s.nr_tasks == 0 &&
          s.phase == KVM_VAMP_PHASE_NON_MIXED, "task 0x%llx, phase %u",
          (long long)s.audio_task, s.phase);
    check(nice_of(v->tid) == 0, "nice %d is left", nice_of(v->tid));
    vcpu_stop(v);
}

static uint64_t signals(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* For who sets the weights itself: they are the classes' changes, no more. */
static void notify(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_NOTIFY);

    cfg.notify_fd = eventfd(0, EFD_NONBLOCK);
    check(cfg.notify_fd > 0, "eventfd: %s", strerror(errno));
    set(vm, &cfg);
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    eventually(vcpu_status(vm, 0).task == task(0), "it does not run");
    check(!signals(cfg.notify_fd), "there is no plan");

    plan(vm, task(0), 60000);
    eventually(vcpu_status(vm, 0).vclass == KVM_VAMP_CLASS_BACKGROUND,
               "class %u", vcpu_status(vm, 0).vclass);
    check(signals(cfg.notify_fd), "nothing is said of its class");
    check(!signals(cfg.notify_fd), "its class has not changed again");
    check(!nice_of(v->tid), "nobody asked for nice %d", nice_of(v->tid));
    plan(vm, 0, 0);
    check(signals(cfg.notify_fd), "nothing is said of the plan's end");

    turn_off(vm);
    signals(cfg.notify_fd);
    turn_on(vm, 0);
    plan(vm, task(0), 60000);
    eventually(vcpu_status(vm, 0).vclass == KVM_VAMP_CLASS_BACKGROUND,
               "class %u", vcpu_status(vm, 0).vclass);
    check(!signals(cfg.notify_fd), "it was turned off");
    vcpu_stop(v);
}

const struct claim claims_phase[] = {
    { "phase-plan", "a plan ends at its time, by itself", plan_ends },
    { "phase-bound", "no plan lasts more than 60 s", plan_bound },
    { "phase-input", "input finds the hog by the module's loads, for a time",
      input },
    { "phase-fault", "a fault of the module's turns it off, and says why", fault },
    { "phase-sound", "sound keeps a phase up, its end ends it", sound },
    { "phase-notify", "an eventfd is told of each change of a class", notify },
    { "phase-audio-task", "the task that plays is not in the background",
      audio_task },
    { NULL }
};
