/*
 * Claims about boosts of a vCPU that halts in a background task
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */


#include "claim.h"

#define STEP            5
#define ROUNDS          60
/* As long as a boost lasts (2 ms, and a tick to see it), ... */
#define STAY_US         6000
/* ... which costs so much of what FAIR saves up, an eighth of the run time */
#define BOOST_NS        2000000
#define PART            8
#define SAVED           5

/* Halts and wakes; returns how many of the halts found it boosted. */
static int halts(struct vm *vm, uint32_t boost, struct kvm_vamp_vcpu_status *s)
{
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    struct vcpu *v = &vm->vcpu[0];
    int i, boosted = 0;

    cfg.boost = boost;
    set(vm, &cfg);
    plan(vm, task(0), 60000);
    vcpu_plan(v, OP_HALT, ROUNDS);
    vcpu_step(v, task(0), STAY_US);
    vcpu_start(v);
    for (i = 0; i < ROUNDS; i++) {
        int nice = -1;

        eventually((*s = vcpu_status(vm, 0)).halts > (unsigned)i &&
                   (s->flags & KVM_VAMP_V_HALTED), "halt %d is not seen", i);
        /* It is halted first, and boosted a moment later. */
        eventually((*s = vcpu_status(vm, 0)).halts &&
                   (nice = nice_of(v->tid)) ==
                   (s->flags & KVM_VAMP_V_BOOSTED ? 0 : STEP) &&
                   (nice == 0 || boost != KVM_VAMP_BOOST_ALWAYS),
                   "halt %d: nice %d, flags 0x%x", i, nice, s->flags);
        boosted += nice == 0;
        vm_nmi(vm, 0);
    }
    vcpu_wait(v);
    *s = vcpu_status(vm, 0);
    note("boost %u: %llu boosts, %d of %d halts, %llu ms", boost,
         (long long)s->boosts, boosted, ROUNDS,
         (long long)(s->run_ns / NS_PER_MS));
    turn_off(vm);
    return boosted;
}

static void none(void)
{
    struct kvm_vamp_vcpu_status s;

    check(halts(vm_new(1), KVM_VAMP_BOOST_OFF, &s) == 0 && s.boosts == 0,
          "it is boosted");
}

static void always(void)
{
    struct kvm_vamp_vcpu_status s;
    int found = halts(vm_new(1), KVM_VAMP_BOOST_ALWAYS, &s);

    check(found == ROUNDS, "%d of %d halts", found, ROUNDS);
    /* Where no tick fell into a stay the boost before still counts. */
    check(s.boosts > ROUNDS / 2, "%llu boosts", (long long)s.boosts);
}

static void fair(void)
{
    struct kvm_vamp_vcpu_status s;
    uint64_t most;

    halts(vm_new(1), KVM_VAMP_BOOST_FAIR, &s);
    most = SAVED + s.run_ns / PART / BOOST_NS + 1;
    check(s.boosts >= SAVED && s.boosts <= most, "%llu boosts, not %d to %llu",
          (long long)s.boosts, SAVED, (long long)most);
    if (most >= ROUNDS) {
        skip("this machine is so slow that each boost was saved up for");
    }
}

/* A boost ends by itself when the background work goes on. */
static void ends(void)
{
    struct vm *vm = vm_new(1);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_WEIGHTS);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_vcpu_status s;

    cfg.boost = KVM_VAMP_BOOST_ALWAYS;
    set(vm, &cfg);
    plan(vm, task(0), 60000);
    vcpu_plan(v, OP_HALT, 1);
    vcpu_step(v, task(0), 500000000);
    vcpu_start(v);
    eventually((s = vcpu_status(vm, 0)).flags & KVM_VAMP_V_BOOSTED,
               "it is not boosted");
    check(nice_of(v->tid) == 0, "nice %d while it is halted", nice_of(v->tid));
    vm_nmi(vm, 0);
    eventually(nice_of(v->tid) == STEP, "it is boosted for ever");
    check(!(vcpu_status(vm, 0).flags & KVM_VAMP_V_BOOSTED), "and says so");
    vcpu_stop(v);
}

const struct claim claims_boost[] = {
    { "boost-off", "off: a background task wakes as one", none },
    { "boost-always", "always: it wakes as interactive", always },
    { "boost-fair", "fair: so often as it has saved up for", fair },
    { "boost-ends", "a boost ends when the work goes on", ends },
    { NULL }
};
