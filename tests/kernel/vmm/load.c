/*
 * Claims about loads: the guest knows how long it spent where
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */


#include <stdlib.h>
#include "claim.h"

/*
 * Stays that are no multiple of a host's tick, longer than the 4 to 12 ms
 * between samples: so each end of one errs by some 5 ms, and the some 200 ends
 * of a run by 70 ms together, a point.
 */
static const uint64_t stay_us[] = { 53000, 31000, 19000 };
#define STEPS           3
#define ROUNDS          60
/* The ring holds all of it: 32 epochs. */
#define PERIOD_MS       512

/* Whole load of a task, in all epochs of the ring. */
static uint64_t load_of(const struct kvm_vamp_tasks *t, uint64_t task)
{
    uint64_t sum = 0;
    unsigned int i, j;

    for (i = 0; i < t->nr; i++) {
        for (j = 0; t->load[i].task == task && j < KVM_VAMP_EPOCHS; j++) {
            sum += t->load[i].ns[j];
        }
    }
    return sum;
}

/* Largest difference to the payload's account, in 1/1000 of the whole. */
static int difference(struct vm *vm, uint32_t flags)
{
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_config cfg = config(flags);
    struct kvm_vamp_tasks t;
    uint64_t ours = 0, theirs = 0;
    int i, worst = 0;

    cfg.period_ms = PERIOD_MS;
    turn_off(vm);
    set(vm, &cfg);
    vcpu_plan(v, OP_SWITCH, ROUNDS);
    for (i = 0; i < STEPS; i++) {
        vcpu_step(v, task(i), stay_us[i]);
    }
    vcpu_go(v);
    tasks(vm, 0, &t);
    check(t.period_ns == PERIOD_MS * NS_PER_MS, "a period of %llu ns",
          (long long)t.period_ns);
    for (i = 0; i < STEPS; i++) {
        ours += load_of(&t, task(i));
        theirs += v->block->tsc[i];
    }
    check(ours, "no load at all");
    for (i = 0; i < STEPS; i++) {
        int is = load_of(&t, task(i)) * 1000 / ours;
        int want = v->block->tsc[i] * 1000 / theirs;

        note("task %d: %d of 1000, by its own account %d", i, is, want);
        worst = abs(is - want) > worst ? abs(is - want) : worst;
    }
    note("%llu ms charged, %llu ms by its own account",
         (long long)(ours / NS_PER_MS), (long long)(theirs / vm->tsc_khz));
    return worst;
}

/*
 * Within @points of 100, the second time at the latest: it is statistics. What
 * the guest does between its stays is in one account only.
 */
static void within(uint32_t flags, int points)
{
    struct vm *vm = vm_new(1);
    int found = difference(vm, flags);

    if (found > 10 * points) {
        note("once more");
        found = difference(vm, flags);
    }
    check(found <= 10 * points, "%d.%d points apart", found / 10, found % 10);
}

static void exact(void)
{
    within(KVM_VAMP_F_EXACT, 2);
}

static void sampled(void)
{
    within(0, 3);
}

/* A halted vCPU runs nothing; halts are seen with their task. */
static void halted(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_vcpu_status s;
    struct kvm_vamp_tasks t;
    uint64_t run, before;
    int i;

    turn_on(vm, 0);
    vcpu_plan(v, OP_HALT, 10);
    vcpu_step(v, task(5), 0);
    vcpu_start(v);
    for (i = 0; i < 10; i++) {
        eventually((s = vcpu_status(vm, 0)).halts == (unsigned)i + 1 &&
                   (s.flags & KVM_VAMP_V_HALTED),
                   "halt %d is not seen: %llu halts, flags 0x%x", i,
                   (long long)s.halts, s.flags);
        run = s.run_ns;
        before = now_ns();
        sleep_ms(50);
        s = vcpu_status(vm, 0);
        check((s.run_ns - run) * 10 < now_ns() - before,
              "%llu us were counted while it was halted",
              (long long)(s.run_ns - run) / 1000);
        vm_nmi(vm, 0);
    }
    vcpu_wait(v);
    check(v->block->nmis == 10, "%llu NMIs", (long long)v->block->nmis);
    tasks(vm, 0, &t);
    check(t.halt_task == task(5), "it halted in 0x%llx",
          (long long)t.halt_task);
}

const struct claim claims_load[] = {
    { "load-exact", "exact loads are within 2 points of the guest's account",
      exact },
    { "load-sampled", "sampled loads are within 3 points of it", sampled },
    { "load-halted", "a halted vCPU has no load, its halts have a task",
      halted },
    { NULL }
};
