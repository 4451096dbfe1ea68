/*
 * What it costs, in ns of the host's clock
 *
 * No claims: for a host whose clock counts instructions (-icount), where a run
 * differs from another by a thousandth.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sys/ioctl.h>
#include "claim.h"
#include "linux-headers/linux/kvm_vamp_pv.h"

#define EXITS           20000
#define LOADS           20000
#define BUSY            4000000

/* ns of the host's clock for one round of what is planned */
static double cost(struct vcpu *v, uint64_t rounds)
{
    uint64_t begin = now_ns();

    vcpu_go(v);
    return (double)(now_ns() - begin) / rounds;
}

static double exits(struct vm *vm)
{
    vcpu_plan(&vm->vcpu[0], OP_CPUID, EXITS);
    return cost(&vm->vcpu[0], EXITS);
}

/* By four tasks, each round */
static double loads(struct vm *vm)
{
    int i;

    vcpu_plan(&vm->vcpu[0], OP_SWITCH, LOADS / 4);
    for (i = 0; i < 4; i++) {
        vcpu_step(&vm->vcpu[0], task(i), 0);
    }
    return cost(&vm->vcpu[0], LOADS);
}

/* Loads that do not exit: what is left is a tick each 4 ms, and samples. */
static double busy(struct vm *vm)
{
    vcpu_plan(&vm->vcpu[0], OP_SWITCH, BUSY);
    vcpu_step(&vm->vcpu[0], task(0), 0);
    return cost(&vm->vcpu[0], BUSY);
}

static void measure(struct vm *vm, const char *what, bool mixed)
{
    /* The first run pays for page faults. */
    exits(vm);
    note("%s: exit %.1f ns", what, exits(vm));
    loads(vm);
    note("%s: load of CR3 %.1f ns", what, loads(vm));
    if (!mixed) {
        note("%s: busy round %.3f ns", what, busy(vm));
    }
}

/* The guest says what runs: of task 0, but all records are as dear to read. */
static void name_tasks(struct vm *vm)
{
    struct kvm_vamp_pv_config offer = { .flags = KVM_VAMP_PV_OFFER };
    struct kvm_vamp_pv_task *record = (void *)(vm->mem + RECORD_AT);
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msrs = {
        .head.nmsrs = 1,
        .entry.index = MSR_KVM_VAMP_TASK,
        .entry.data = RECORD_AT | KVM_VAMP_PV_ENABLE,
    };

    record->aspace = task(0);
    check(!try_ioctl(vm, KVM_VAMP_PV, &offer) &&
          ioctl(vm->vcpu[0].fd, KVM_SET_MSRS, &msrs) == 1,
          "the guest may not name its tasks");
}

static void costs(void)
{
    struct vm *vm = vm_new(1);

    measure(vm, "never on", false);
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_VAMP) <= 0) {
        return;
    }
    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    measure(vm, "normal phase", false);
    note("%llu samples", (long long)vcpu_status(vm, 0).samples);
    plan(vm, task(8), 60000);
    measure(vm, "in a plan, no weight changes", true);
    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(2), 60000);
    measure(vm, "in a plan, a weight change each second switch", true);
    name_tasks(vm);
    measure(vm, "the same, and the guest names its tasks", true);
    plan(vm, 0, 0);
    measure(vm, "normal phase, and the guest names its tasks", false);
    turn_off(vm);
    measure(vm, "off again", false);
}

const struct claim claims_cost[] = {
    { "cost", "", costs },
    { NULL }
};
