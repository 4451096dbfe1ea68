/*
 * Claims about a guest that runs a guest of its own
 *
 * The nested guest loads CR3 all the time, unasked; its hypervisor, the payload,
 * knows its own switches as always. It is left by a call of the nested guest's,
 * which is an exit, or for an NMI, which the payload wants: then there is none
 * between the nested guest and the next loads.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "claim.h"

#define ROUNDS          100
#define PAIRS           100
#define NMIS            10
#define STEP            5       /* nice of a background task */
/* Tasks: what the hypervisor runs in, goes to, and what the nested guest has */
#define FIRST           4
#define OTHERS          8
#define NR_OTHERS       3
#define NESTED          20

#define EXIT_NMI        0x61
#define EXIT_VMMCALL    0x81

/* One vCPU that does @rounds of @pairs of loads each, after @us */
static struct vm *hypervisor(uint64_t rounds, uint64_t pairs, uint64_t us)
{
    struct vm *vm;
    struct block *b;
    int i;

    if (!has_svm()) {
        skip("a guest of this processor has no SVM");
    }
    vm = vm_new(1);
    vm_nest(vm, NESTED);
    b = vcpu_plan(&vm->vcpu[0], OP_NEST, rounds);
    vcpu_step(&vm->vcpu[0], task(FIRST), us);
    for (i = 0; i < NR_OTHERS; i++) {
        vcpu_step(&vm->vcpu[0], task(OTHERS + 2 * i), 0);
    }
    b->nested = pairs;
    b->nested_cr3[0] = task(NESTED);
    b->nested_cr3[1] = task(NESTED + 2);
    return vm;
}

/* No time is a nested task's; the account is of the hypervisor's alone. */
static void check_tasks(struct vm *vm)
{
    struct kvm_vamp_tasks t;
    uint32_t i;

    tasks(vm, 0, &t);
    check(t.nr, "no task is known");
    for (i = 0; i < t.nr; i++) {
        check(t.load[i].task < task(NESTED), "task 0x%llx is the nested guest's",
              (long long)t.load[i].task);
    }
}

/* The nested guest runs, and will for ever. */
static void wait_nested(struct vm *vm)
{
    uint64_t loads = vm->vcpu[0].block->nested_loads;

    eventually(vm->vcpu[0].block->nested_loads > loads + 100,
               "no nested guest runs: exit 0x%llx, %llu faults",
               (long long)vm->vcpu[0].block->exit,
               (long long)vm->vcpu[0].block->faults);
    eventually(vcpu_status(vm, 0).flags & KVM_VAMP_V_NESTED,
               "the status does not say so");
}

static void leave_nested(struct vm *vm)
{
    uint64_t done = vm->vcpu[0].block->done;

    vm_nmi(vm, 0);
    eventually(vm->vcpu[0].block->done > done, "it is not left for an NMI");
    check(vm->vcpu[0].block->exit == EXIT_NMI, "it was left for 0x%llx",
          (long long)vm->vcpu[0].block->exit);
}

/* All that the first vCPU has made in @runs of its guest. */
static struct kvm_vamp_vcpu_status check_switches(struct vm *vm, uint64_t runs)
{
    const struct block *b = vm->vcpu[0].block;
    struct kvm_vamp_vcpu_status s = vcpu_status(vm, 0);

    check(s.switches == b->switches && b->switches == (1 + NR_OTHERS) * runs,
          "%llu switches were seen, %llu were made", (long long)s.switches,
          (long long)b->switches);
    return s;
}

static void alone(void)
{
    struct vm *vm = hypervisor(ROUNDS, PAIRS, 0);
    struct block *b = vm->vcpu[0].block;
    struct kvm_vamp_vcpu_status s;
    uint64_t exits;

    turn_on(vm, KVM_VAMP_F_EXACT);
    exits = vcpu_exits(&vm->vcpu[0]);
    vcpu_go(&vm->vcpu[0]);
    exits = vcpu_exits(&vm->vcpu[0]) - exits;
    note("%llu exits, %llu nested loads", (long long)exits,
         (long long)b->nested_loads);
    check(b->exit == EXIT_VMMCALL && !b->faults &&
          b->nested_loads == 2 * PAIRS * ROUNDS,
          "exit 0x%llx, %llu nested loads, %llu faults", (long long)b->exit,
          (long long)b->nested_loads, (long long)b->faults);
    check(exits < PAIRS * ROUNDS, "nested loads exit");
    s = check_switches(vm, ROUNDS);
    check(!(s.flags & KVM_VAMP_V_NESTED), "it has been left");
    check_tasks(vm);
}

static void left(void)
{
    struct vm *vm = hypervisor(NMIS, UINT64_MAX, 0);
    struct block *b = vm->vcpu[0].block;
    int i;

    turn_on(vm, KVM_VAMP_F_EXACT);
    vcpu_start(&vm->vcpu[0]);
    for (i = 0; i < NMIS; i++) {
        wait_nested(vm);
        leave_nested(vm);
    }
    vcpu_wait(&vm->vcpu[0]);
    check(b->nmis == NMIS, "%llu NMIs", (long long)b->nmis);
    check_switches(vm, NMIS);
    check_tasks(vm);
}

/* A plan comes and goes while the nested guest runs. */
static void planned(void)
{
    struct vm *vm = hypervisor(2, UINT64_MAX, 100000);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_vcpu_status s;
    uint64_t before;
    int nice;

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    vcpu_start(v);
    wait_nested(vm);
    check(vcpu_status(vm, 0).task == task(FIRST), "task 0x%llx runs it",
          (long long)vcpu_status(vm, 0).task);
    plan(vm, task(FIRST), 60000);
    eventually(vcpu_status(vm, 0).toggles == 1, "it is not tracked");
    eventually((nice = nice_of(v->tid)) == STEP, "nice %d", nice);
    before = vcpu_status(vm, 0).switches;
    leave_nested(vm);

    wait_nested(vm);
    s = vcpu_status(vm, 0);
    check(s.switches - before == NR_OTHERS + 1,
          "%llu switches were seen, %d were made",
          (long long)(s.switches - before), NR_OTHERS + 1);
    check(s.task == task(FIRST), "task 0x%llx is current", (long long)s.task);
    eventually((nice = nice_of(v->tid)) == STEP, "nice %d", nice);
    plan(vm, 0, 0);
    eventually(vcpu_status(vm, 0).toggles == 2, "it is still tracked");
    check(!nice_of(v->tid), "nice %d is left", nice_of(v->tid));
    before = vcpu_status(vm, 0).switches;
    leave_nested(vm);
    vcpu_wait(v);
    s = vcpu_status(vm, 0);
    check(s.switches - before < NR_OTHERS, "loads still exit");
    check_tasks(vm);
}

/* The nested guest halts in the background, and computes when it wakes. */
static void boosted(void)
{
    struct vm *vm = hypervisor(1, UINT64_MAX, 100000);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    int nice;

    cfg.boost = KVM_VAMP_BOOST_ALWAYS;
    set(vm, &cfg);
    vcpu_x2apic(v);
    v->block->nested_halt = 1;
    plan(vm, task(FIRST), 60000);
    vcpu_start(v);
    eventually(vcpu_status(vm, 0).flags & KVM_VAMP_V_HALTED,
               "it does not halt");
    check(vcpu_status(vm, 0).boosts == 1, "no boost");
    check(!nice_of(v->tid), "nice %d", nice_of(v->tid));
    check(vm_msi(vm, MSI_TO(0), VECTOR_WAKE), "nobody takes it");
    wait_nested(vm);
    eventually((nice = nice_of(v->tid)) == STEP, "nice %d: it never ends",
               nice);
    leave_nested(vm);
    vcpu_wait(v);
}

const struct claim claims_nested[] = {
    { "nested-alone", "what a nested guest loads neither exits nor counts",
      alone },
    { "nested-left", "left for an NMI, the next switch is counted", left },
    { "nested-plan", "a plan comes and goes while a nested guest runs",
      planned },
    { "nested-boost", "a boost ends, whoever uses it up", boosted },
    { NULL }
};
