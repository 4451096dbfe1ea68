/*
 * Claims about exact tracking: the guest knows how often it switched
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "claim.h"

/* So many loads in a run; each costs some 50 us in the host in a box. */
#define ROUNDS          1000
#define STEPS           4
/* Enough to tell them from a host's ticks. */
#define MANY            8000

#define CR3_PWT         (1ull << 3)
#define CR3_PCD         (1ull << 4)
#define CR3_NOFLUSH     (1ull << 63)
#define CR4_PCIDE       (1ull << 17)

static void plan_steps(struct vcpu *v, uint64_t rounds, uint64_t flags)
{
    int i;

    vcpu_plan(v, OP_SWITCH, rounds);
    for (i = 0; i < STEPS; i++) {
        /* Twice: to itself is no switch. */
        vcpu_step(v, task(i), 0);
        vcpu_step(v, task(i) | flags, 0);
    }
}

/* What the module saw more since @before is what the payload did. */
static void counted(struct vm *vm, int id, uint64_t before)
{
    struct kvm_vamp_vcpu_status s = vcpu_status(vm, id);
    struct block *b = vm->vcpu[id].block;

    check(s.tracking == KVM_VAMP_T_EXACT, "tracking %u", s.tracking);
    check(s.switches - before == b->switches,
          "vCPU %d: %llu switches were seen, %llu were made", id,
          (long long)(s.switches - before), (long long)b->switches);
    check(b->switches == b->rounds * STEPS ||
          b->switches == b->rounds * STEPS - 1,
          "vCPU %d made %llu switches", id, (long long)b->switches);
    check(s.task == task(STEPS - 1), "vCPU %d: task 0x%llx is current", id,
          (long long)s.task);
    check(s.tid == vm->vcpu[id].tid, "vCPU %d: thread %d", id, s.tid);
}

static void one(void)
{
    struct vm *vm = vm_new(1);

    turn_on(vm, KVM_VAMP_F_EXACT);
    plan_steps(&vm->vcpu[0], ROUNDS, 0);
    vcpu_go(&vm->vcpu[0]);
    counted(vm, 0, 0);
}

static void four(void)
{
    struct vm *vm = vm_new(4);
    int i;

    turn_on(vm, KVM_VAMP_F_EXACT);
    for (i = 0; i < 4; i++) {
        plan_steps(&vm->vcpu[i], ROUNDS, 0);
        vcpu_start(&vm->vcpu[i]);
    }
    for (i = 0; i < 4; i++) {
        vcpu_wait(&vm->vcpu[i]);
    }
    for (i = 0; i < 4; i++) {
        counted(vm, i, 0);
    }
}

static void cache_bits(void)
{
    struct vm *vm = vm_new(1);

    turn_on(vm, KVM_VAMP_F_EXACT);
    plan_steps(&vm->vcpu[0], ROUNDS, CR3_PWT | CR3_PCD);
    vcpu_go(&vm->vcpu[0]);
    counted(vm, 0, 0);
}

static void pcid(void)
{
    struct vm *vm = vm_new(1);

    if (!has_pcid()) {
        skip("this processor has no PCID");
    }
    vcpu_set_cr4(&vm->vcpu[0], CR4_PCIDE);
    turn_on(vm, KVM_VAMP_F_EXACT);
    plan_steps(&vm->vcpu[0], ROUNDS, CR3_NOFLUSH | 0x123);
    vcpu_go(&vm->vcpu[0]);
    counted(vm, 0, 0);
}

/* Turned on when it runs already: from then on nothing is missed. */
static void midway(void)
{
    struct vm *vm = vm_new(2);
    struct kvm_vamp_vcpu_status a, b;
    uint64_t made;
    int i;

    turn_on(vm, 0);
    for (i = 0; i < 2; i++) {
        plan_steps(&vm->vcpu[i], UINT32_MAX, 0);
        vcpu_start(&vm->vcpu[i]);
    }
    plan(vm, task(1), 60000);
    eventually(vcpu_status(vm, 0).toggles && vcpu_status(vm, 1).toggles,
               "a vCPU that runs is not tracked");
    a = vcpu_status(vm, 0);
    made = vm->vcpu[0].block->switches;
    sleep_ms(200);
    b = vcpu_status(vm, 0);
    made = vm->vcpu[0].block->switches - made;
    /* The two counts are not read at one moment. */
    check(b.switches - a.switches > made * 9 / 10 &&
          b.switches - a.switches < made * 11 / 10 + 100,
          "%llu switches of about %llu were seen",
          (long long)(b.switches - a.switches), (long long)made);
    plan(vm, 0, 0);
    for (i = 0; i < 2; i++) {
        eventually(vcpu_status(vm, i).toggles == 2, "vCPU %d is still tracked",
                   i);
        vcpu_stop(&vm->vcpu[i]);
    }
}

static void init(void)
{
    struct vm *vm = vm_new(2);
    struct vcpu *v = &vm->vcpu[1];
    uint64_t before;

    turn_on(vm, KVM_VAMP_F_EXACT);
    plan_steps(v, ROUNDS, 0);
    vcpu_go(v);
    counted(vm, 1, 0);
    before = vcpu_status(vm, 1).switches;
    /* The VMCB begins anew, without our interception. */
    vcpu_init(v);
    plan_steps(v, ROUNDS, 0);
    vcpu_go(v);
    /* Back to the first task, without a load. */
    counted(vm, 1, before + 1);
}

static void kpti(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_status s;
    struct kvm_vamp_tasks t;
    uint64_t exits, since;
    unsigned int i, found = 0;

    turn_on(vm, KVM_VAMP_F_EXACT);
    vcpu_plan(v, OP_SWITCH, ROUNDS);
    /* System calls of task 2: kernel's half, user's half. */
    vcpu_step(v, task(2), 0);
    vcpu_step(v, task(3), 0);
    vcpu_go(v);
    s = status(vm);
    check(s.tracking == KVM_VAMP_T_EXACT,
          "two processes that take turns are taken for it: tracking %u",
          s.tracking);
    vcpu_plan(v, OP_SWITCH, ROUNDS);
    vcpu_step(v, task(4), 0);
    vcpu_step(v, task(5), 0);
    vcpu_go(v);
    s = status(vm);
    check(s.tracking == KVM_VAMP_T_SAMPLE_KPTI, "tracking %u", s.tracking);
    check(s.flags & KVM_VAMP_F_EXACT, "it was not asked for");

    /* What was charged to halves before is the tasks', too. */
    tasks(vm, 0, &t);
    check(t.nr == 2 || t.nr == 3, "%u tasks: it began in one more", t.nr);
    for (i = 0; i < t.nr; i++) {
        check(!(t.load[i].task & 0x1000), "task 0x%llx is half a task",
              (long long)t.load[i].task);
    }

    vcpu_plan(v, OP_SWITCH, MANY);
    vcpu_step(v, task(2), 0);
    vcpu_step(v, task(3), 0);
    exits = vcpu_exits(v);
    vcpu_go(v);
    exits = vcpu_exits(v) - exits;
    check(exits < MANY / 20, "%llu exits of %llu loads", (long long)exits,
          (long long)v->block->loads);

    since = now_ns();
    vcpu_plan(v, OP_SWITCH, 1);
    for (i = 0; i < 8; i++) {
        vcpu_step(v, task(i), 50000);
    }
    vcpu_go(v);
    check(vcpu_status(vm, 0).samples > 4, "nothing was sampled");
    tasks(vm, 0, &t);
    for (i = 0; i < t.nr; i++) {
        if (t.load[i].last_ns > since) {
            check(!(t.load[i].task & 0x1000), "task 0x%llx has bit 12",
                  (long long)t.load[i].task);
            found++;
        }
    }
    check(found == 4, "%u tasks were seen of 4", found);
}

/* Two processes with neighbouring page tables among others are no pair. */
static void no_kpti(void)
{
    struct vm *vm = vm_new(1);

    turn_on(vm, KVM_VAMP_F_EXACT);
    plan_steps(&vm->vcpu[0], ROUNDS, 0);
    vcpu_go(&vm->vcpu[0]);
    check(status(vm).tracking == KVM_VAMP_T_EXACT, "tracking %u",
          status(vm).tracking);
}

/* Exits of @v while it does @op. */
static uint64_t exits_of(struct vcpu *v, uint64_t rounds, uint64_t us)
{
    uint64_t exits = vcpu_exits(v);

    vcpu_plan(v, OP_SWITCH, rounds);
    vcpu_step(v, task(0), us);
    if (!us) {
        /* Not task 1: the two might be taken for one with two halves. */
        vcpu_step(v, task(2), 0);
    }
    vcpu_go(v);
    return vcpu_exits(v) - exits;
}

static void no_exits(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    uint64_t never, sampled, exact;

    never = exits_of(v, MANY, 0);
    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    sampled = exits_of(v, MANY, 0);
    turn_on(vm, KVM_VAMP_F_EXACT);
    exact = exits_of(v, MANY, 0);
    note("exits of %d loads of CR3: never on %llu, not exact %llu, exact %llu",
         2 * MANY, (long long)never, (long long)sampled, (long long)exact);
    check(never < MANY / 20 && sampled < MANY / 20,
          "loads of CR3 exit without need");
    check(exact >= 2 * MANY, "exact tracking does not see each load");
    turn_off(vm);
    check(exits_of(v, MANY, 0) < MANY / 20, "they still exit when it is off");
}

static void cpu_bound(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    uint64_t off, exact;

    off = exits_of(v, 1, 1000000);
    turn_on(vm, KVM_VAMP_F_EXACT);
    exact = exits_of(v, 1, 1000000);
    note("exits of a second without a switch: off %llu, exact %llu",
         (long long)off, (long long)exact);
    /* The host's ticks, and what else the machine does. */
    check(exact < off * 2 + 100, "exact tracking makes a task exit");
}

const struct claim claims_exact[] = {
    { "exact-1", "1 vCPU: each switch is counted", one },
    { "exact-4", "4 vCPUs: each switch is counted", four },
    { "exact-cache-bits", "caching bits of CR3 are no part of a task",
      cache_bits },
    { "exact-pcid", "PCID and the noflush bit are no part of a task", pcid },
    { "exact-midway", "a plan has running vCPUs tracked, its end untracked",
      midway },
    { "exact-init", "an INIT does not end it", init },
    { "exact-kpti", "page table isolation is found out: samples, no bit 12",
      kpti },
    { "exact-no-kpti", "neighbouring tasks are not taken for it", no_kpti },
    { "exact-no-exits", "no load of CR3 exits unless it must", no_exits },
    { "exact-cpu-bound", "a task that does not switch does not exit",
      cpu_bound },
    { NULL }
};
