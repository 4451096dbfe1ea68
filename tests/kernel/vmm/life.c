/*
 * Claims about coming and going, and about calls that make no sense
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include "claim.h"

#define FUZZERS         3
#define CALLS           7000    /* each */

static void counts(struct vm *vm, int id)
{
    struct vcpu *v = &vm->vcpu[id];
    uint64_t before = vcpu_status(vm, id).switches;

    vcpu_plan(v, OP_SWITCH, 500);
    vcpu_step(v, task(1), 0);
    vcpu_step(v, task(2), 0);
    vcpu_go(v);
    before = vcpu_status(vm, id).switches - before;
    check(before == v->block->switches, "%llu switches of %llu",
          (long long)before, (long long)v->block->switches);
}

static void late(void)
{
    struct vm *vm = vm_new(1);

    turn_on(vm, KVM_VAMP_F_EXACT);
    counts(vm, 0);
    vm_add(vm);
    counts(vm, 1);
    counts(vm, 0);
}

/* vCPUs from nr_vcpus on are left alone. */
static void beyond(void)
{
    struct vm *vm = vm_new(2);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_EXACT);
    struct kvm_vamp_vcpu_status s = { .vcpu = 1 };
    struct vcpu *v = &vm->vcpu[1];
    uint64_t exits;

    cfg.nr_vcpus = 1;
    set(vm, &cfg);
    counts(vm, 0);
    check(try_ioctl(vm, KVM_VAMP_VCPU, &s) != 0, "vCPU 1 is served");
    exits = vcpu_exits(v);
    vcpu_plan(v, OP_SWITCH, 5000);
    vcpu_step(v, task(1), 0);
    vcpu_step(v, task(2), 0);
    vcpu_go(v);
    exits = vcpu_exits(v) - exits;
    check(exits < 1000, "%llu exits of 10000 loads", (long long)exits);
    cfg.nr_vcpus = 2;
    set(vm, &cfg);
    counts(vm, 1);
    cfg.nr_vcpus = 1;
    set(vm, &cfg);
    counts(vm, 0);
    check(try_ioctl(vm, KVM_VAMP_VCPU, &s) != 0, "vCPU 1 is still served");
}

static void many(void)
{
    struct vm *vm[8];
    int i;

    for (i = 0; i < 8; i++) {
        vm[i] = vm_new(1);
        turn_on(vm[i], i % 2 ? KVM_VAMP_F_EXACT : KVM_VAMP_F_WEIGHTS);
    }
    for (i = 1; i < 8; i += 2) {
        counts(vm[i], 0);
        check(vcpu_status(vm[i - 1], 0).switches == 0,
              "a VM sees another's switches");
    }
    for (i = 0; i < 8; i++) {
        vm_close(vm[i]);
    }
}

/* --- calls that make no sense --------------------------------------------- */

struct fuzzer {
    struct vm *vm;
    pthread_t thread;
    uint64_t random;
    unsigned int accepted;
};

static uint32_t any(struct fuzzer *f, uint32_t below)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (f->random >> 16) % below;
}

/* A value near what is allowed, or no such thing. */
static uint32_t near(struct fuzzer *f, uint32_t low, uint32_t high)
{
    switch (any(f, 16)) {
    case 0:
        return high + 1;
    case 1:
        return f->random;
    default:
        return low + any(f, high - low + 1);
    }
}

static int call(struct fuzzer *f)
{
    static const unsigned long requests[] = {
        KVM_VAMP_SET, KVM_VAMP_EVENT, KVM_VAMP_PLAN, KVM_VAMP_STATUS,
        KVM_VAMP_VCPU, KVM_VAMP_TASKS, KVM_VAMP_SOUND,
        KVM_VAMP_SOUND_STATUS, KVM_VAMP_PV, KVM_VAMP_NAMES,
    };
    union {
        struct kvm_vamp_config cfg;
        struct kvm_vamp_event event;
        struct kvm_vamp_plan plan;
        struct kvm_vamp_status status;
        struct kvm_vamp_vcpu_status vcpu;
        struct kvm_vamp_tasks tasks;
        struct kvm_vamp_sound sound;
        struct kvm_vamp_sound_status sound_status;
        struct kvm_vamp_pv_config pv;
        struct kvm_vamp_names names;
        uint32_t word[64];
    } arg;
    unsigned int i;

    memset(&arg, 0, sizeof(arg));
    switch (any(f, 13)) {
    case 0:
        arg.cfg = config(0);
        arg.cfg.version = near(f, 1, 1);
        arg.cfg.flags = near(f, 0, KVM_VAMP_F_ALL) | any(f, 2);
        arg.cfg.nr_vcpus = any(f, 50) ? near(f, 1, 4) : 4096;
        arg.cfg.ratio = near(f, 1, 100);
        arg.cfg.bg_percent = near(f, 1, 100);
        arg.cfg.max_phase_ms = near(f, 100, 300);
        arg.cfg.period_ms = 4u << near(f, 0, 8) % 32;
        arg.cfg.boost = near(f, 0, 2);
        return try_ioctl(f->vm, KVM_VAMP_SET, &arg);
    case 1:
    case 2:
        arg.event.kind = near(f, 1, 5);
        arg.event.arg = arg.event.kind == 5 ? task(any(f, 8)) : 0;
        return try_ioctl(f->vm, KVM_VAMP_EVENT, &arg);
    case 3:
    case 4:
        arg.plan.phase = near(f, 0, 2);
        arg.plan.nr_tasks = arg.plan.phase == 2 ? near(f, 1, 64) : 0;
        arg.plan.until_ns = any(f, 8) ? now_ns() + near(f, 0, 50) * NS_PER_MS :
                                        f->random;
        for (i = 0; i < KVM_VAMP_MAX_TASKS; i++) {
            arg.plan.task[i] = any(f, 8) ? task(any(f, 8)) : f->random;
        }
        return try_ioctl(f->vm, KVM_VAMP_PLAN, &arg);
    case 5:
        return try_ioctl(f->vm, KVM_VAMP_STATUS, &arg);
    case 6:
        arg.vcpu.vcpu = near(f, 0, 3);
        return try_ioctl(f->vm, KVM_VAMP_VCPU, &arg);
    case 7:
        arg.tasks.vcpu = near(f, 0, 3);
        return try_ioctl(f->vm, KVM_VAMP_TASKS, &arg);
    case 8:
        arg.sound.mode = near(f, 0, 15);
        arg.sound.flags = near(f, 0, 1);
        arg.sound.nr_ranges = near(f, 0, 2);
        arg.sound.nr_irqs = near(f, 0, 2);
        arg.sound.window_us = near(f, 0, 100000);
        for (i = 0; i < 2; i++) {
            arg.sound.range[i].addr = PORT_DONE + any(f, 0x20);
            arg.sound.range[i].len = near(f, 1, 0x10000 - 0x40);
            arg.sound.range[i].space = near(f, 0, 1);
            arg.sound.irq[i].kind = KVM_VAMP_IRQ_GSI;
            arg.sound.irq[i].gsi = near(f, 0, 23);
        }
        return try_ioctl(f->vm, KVM_VAMP_SOUND, &arg);
    case 9:
        return try_ioctl(f->vm, KVM_VAMP_SOUND_STATUS, &arg);
    case 10:
        arg.pv.flags = near(f, 0, KVM_VAMP_PV_OFFER);
        return try_ioctl(f->vm, KVM_VAMP_PV, &arg);
    case 11:
        return try_ioctl(f->vm, KVM_VAMP_NAMES, &arg);
    default:
        /* Anything, at any place */
        for (i = 0; i < 64; i++) {
            any(f, 1);
            arg.word[i] = f->random;
        }
        return try_ioctl(f->vm, requests[any(f, 10)],
                         any(f, 4) ? (void *)&arg : (void *)f->random);
    }
}

static void *fuzzer(void *opaque)
{
    struct fuzzer *f = opaque;
    int i;

    for (i = 0; i < CALLS; i++) {
        f->accepted += call(f) == 0;
    }
    return NULL;
}

static void fuzz(void)
{
    struct vm *vm = vm_new(2);
    struct fuzzer f[FUZZERS];
    const char *given = getenv("SEED");
    uint64_t seed;
    int i;

    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        die("no random number");
    }
    if (given) {
        check(sscanf(given, "%" SCNx64, &seed) == 1, "SEED=%s", given);
    }
    note("SEED=0x%llx", (long long)seed);
    for (i = 0; i < 2; i++) {
        vcpu_plan(&vm->vcpu[i], OP_SWITCH, UINT32_MAX);
        vcpu_step(&vm->vcpu[i], task(1), 0);
        vcpu_step(&vm->vcpu[i], task(2), 100);
        vcpu_step(&vm->vcpu[i], task(4), 0);
        vcpu_start(&vm->vcpu[i]);
    }
    for (i = 0; i < FUZZERS; i++) {
        f[i] = (struct fuzzer) { .vm = vm, .random = (seed + i) | 1 };
        if (pthread_create(&f[i].thread, NULL, fuzzer, &f[i])) {
            die("no thread");
        }
    }
    for (i = 0; i < FUZZERS; i++) {
        pthread_join(f[i].thread, NULL);
        note("%u of %d calls were accepted", f[i].accepted, CALLS);
        check(f[i].accepted > CALLS / 10, "nearly nothing was accepted");
    }
    turn_off(vm);
    for (i = 0; i < 2; i++) {
        check(nice_of(vm->vcpu[i].tid) == 0, "nice %d is left",
              nice_of(vm->vcpu[i].tid));
        vcpu_stop(&vm->vcpu[i]);
    }
    check(status(vm).faults == 0, "a fault: %s", status(vm).fault);
    turn_on(vm, KVM_VAMP_F_EXACT);
    counts(vm, 0);
    counts(vm, 1);
}

/* For test_kvm_vamp.py: says "runs", and does until it is killed. */
static void until_killed(void)
{
    struct vm *vm = vm_new(2);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    int i;

    cfg.boost = KVM_VAMP_BOOST_ALWAYS;
    set(vm, &cfg);
    plan(vm, task(1), 60000);
    vcpu_plan(&vm->vcpu[0], OP_SWITCH, UINT32_MAX);
    for (i = 0; i < 3; i++) {
        vcpu_step(&vm->vcpu[0], task(i), 0);
    }
    vcpu_plan(&vm->vcpu[1], OP_HALT, 1);
    vcpu_step(&vm->vcpu[1], task(1), 0);
    vcpu_start(&vm->vcpu[0]);
    vcpu_start(&vm->vcpu[1]);
    eventually(vcpu_status(vm, 0).weight_changes > 100, "no switches");
    printf("runs\n");
    fflush(stdout);
    sleep_ms(3600 * 1000);
}

const struct claim claims_life[] = {
    { "life-late", "a vCPU that comes later is served", late },
    { "life-beyond", "a vCPU from nr_vcpus on is left alone", beyond },
    { "life-many", "VMs are apart", many },
    { "fuzz", "calls at random break nothing", fuzz },
    { "until-killed", "", until_killed },
    { NULL }
};
