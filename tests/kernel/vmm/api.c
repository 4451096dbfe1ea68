/*
 * Claims about the calls: what is there, and what is refused
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "claim.h"

static void version(void)
{
    struct vm *vm = vm_new(1);
    int kvm = kvm_open();
    struct kvm_vamp_status s;

    check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VAMP) == KVM_VAMP_VERSION,
          "/dev/kvm does not have version %d", KVM_VAMP_VERSION);
    check(ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_VAMP) == KVM_VAMP_VERSION,
          "a VM does not have version %d", KVM_VAMP_VERSION);
    s = status(vm);
    check(s.version == KVM_VAMP_VERSION, "the status has version %u",
          s.version);
}

/* What can be asked of a VM in which VAMP is off. */
static void is_off(struct vm *vm)
{
    struct kvm_vamp_event e = { .kind = KVM_VAMP_EVENT_INPUT };
    struct kvm_vamp_vcpu_status v = { 0 };
    struct kvm_vamp_plan p = { 0 };
    struct kvm_vamp_status s = status(vm);
    struct kvm_vamp_tasks t = { 0 };

    check(s.tracking == KVM_VAMP_T_OFF && s.phase == KVM_VAMP_PHASE_NORMAL &&
          !(s.flags & KVM_VAMP_F_ENABLE) && s.until_ns == UINT64_MAX &&
          !s.nr_tasks && !s.fault[0],
          "tracking %u, phase %u, flags 0x%x, fault '%s'", s.tracking, s.phase,
          s.flags, s.fault);
    check(try_ioctl(vm, KVM_VAMP_EVENT, &e) == -ENXIO, "an event is taken");
    check(try_ioctl(vm, KVM_VAMP_PLAN, &p) == -ENXIO, "a plan is taken");
    check(try_ioctl(vm, KVM_VAMP_VCPU, &v) == -ENXIO, "a vCPU is shown");
    check(try_ioctl(vm, KVM_VAMP_TASKS, &t) == -ENXIO, "tasks are shown");
}

static void off(void)
{
    struct vm *vm = vm_new(1);

    is_off(vm);
    turn_off(vm);
    is_off(vm);
    turn_on(vm, 0);
    check(status(vm).tracking == KVM_VAMP_T_SAMPLE, "it was not turned on");
    turn_off(vm);
    is_off(vm);
}

/* @cfg is refused with @error, and what was in force still is. */
static void refused(struct vm *vm, struct kvm_vamp_config cfg, int error,
                    const char *what)
{
    struct kvm_vamp_status before = status(vm), after;
    int ret = try_ioctl(vm, KVM_VAMP_SET, &cfg);

    after = status(vm);
    check(ret == -error, "%s: %d in place of %d", what, ret, -error);
    check(!memcmp(&before, &after, sizeof(before)), "%s: something changed",
          what);
}

static void bad_config(struct vm *vm)
{
    static const struct {
        const char *what;
        size_t offset;
        uint32_t value;
        int error;
    } bad[] = {
#define BAD(member, value, error)                       \
    { #member " " #value,                               \
      offsetof(struct kvm_vamp_config, member), value, error }
        BAD(version, 0, EINVAL),
        BAD(version, KVM_VAMP_VERSION + 1, E2BIG),
        BAD(flags, KVM_VAMP_F_ENABLE | (KVM_VAMP_F_ALL + 1), EINVAL),
        BAD(flags, 1u << 31, EINVAL),
        BAD(nr_vcpus, 0, EINVAL),
        BAD(nr_vcpus, KVM_VAMP_MAX_VCPUS + 1, EINVAL),
        BAD(nr_vcpus, UINT32_MAX, EINVAL),
        BAD(ratio, 0, EINVAL),
        BAD(ratio, 101, EINVAL),
        BAD(bg_percent, 0, EINVAL),
        BAD(bg_percent, 101, EINVAL),
        BAD(max_phase_ms, 99, EINVAL),
        BAD(max_phase_ms, 60001, EINVAL),
        BAD(period_ms, 0, EINVAL),
        BAD(period_ms, 2, EINVAL),
        BAD(period_ms, 33, EINVAL),
        BAD(period_ms, 2048, EINVAL),
        BAD(boost, KVM_VAMP_BOOST_ALWAYS + 1, EINVAL),
        BAD(reserved[0], 1, EINVAL),
        BAD(reserved[6], 1u << 31, EINVAL),
#undef BAD
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct kvm_vamp_config cfg = config(0);

        memcpy((char *)&cfg + bad[i].offset, &bad[i].value, 4);
        refused(vm, cfg, bad[i].error, bad[i].what);
    }
    check(try_ioctl(vm, KVM_VAMP_SET, (void *)8) == -EFAULT,
          "an address that is not there is read");
}

static void refuse_off(void)
{
    struct vm *vm = vm_new(1);

    bad_config(vm);
    is_off(vm);
}

static void refuse_on(void)
{
    struct vm *vm = vm_new(1);
    struct kvm_vamp_status before;
    struct kvm_vamp_event e = { 0 };
    struct kvm_vamp_plan p = { 0 };
    struct kvm_vamp_vcpu_status v = { .vcpu = 1 };
    struct kvm_vamp_tasks t = { .vcpu = 1 };

    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    plan(vm, task(3), 60000);
    before = status(vm);
    bad_config(vm);

#define REFUSED(request, arg, error)                                    \
    do {                                                                \
        struct kvm_vamp_status after_;                                  \
        int ret_ = try_ioctl(vm, request, &(arg));                      \
                                                                        \
        check(ret_ == -(error), "line %d: %d", __LINE__, ret_);         \
        after_ = status(vm);                                            \
        check(!memcmp(&before, &after_, sizeof(before)),                \
              "line %d: something changed", __LINE__);                  \
    } while (0)
    REFUSED(KVM_VAMP_EVENT, e, EINVAL);
    e.kind = KVM_VAMP_EVENT_AUDIO_TASK + 1;
    REFUSED(KVM_VAMP_EVENT, e, EINVAL);
    e.kind = KVM_VAMP_EVENT_INPUT;
    e.reserved = 1;
    REFUSED(KVM_VAMP_EVENT, e, EINVAL);
    e.reserved = 0;
    e.arg = 1;
    REFUSED(KVM_VAMP_EVENT, e, EINVAL);
    p.phase = KVM_VAMP_PHASE_MIXED;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    p.nr_tasks = KVM_VAMP_MAX_TASKS + 1;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    p.nr_tasks = 1;
    p.phase = KVM_VAMP_PHASE_NON_MIXED;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    p.phase = KVM_VAMP_PHASE_NORMAL;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    p.phase = KVM_VAMP_PHASE_MIXED + 1;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    p.phase = KVM_VAMP_PHASE_MIXED;
    p.reserved[1] = 1;
    REFUSED(KVM_VAMP_PLAN, p, EINVAL);
    REFUSED(KVM_VAMP_VCPU, v, ENOENT);
    REFUSED(KVM_VAMP_TASKS, t, ENOENT);
    v.vcpu = t.vcpu = UINT32_MAX;
    REFUSED(KVM_VAMP_VCPU, v, ENOENT);
    REFUSED(KVM_VAMP_TASKS, t, ENOENT);
#undef REFUSED
}

/* Bits of vamp_pretend: no emulated processor has such guests. */
#define PRETEND_PROTECTED   1

/* For the whole machine: not beside other guests */
static void encrypted(void)
{
    struct vm *vm = vm_new(1);
    struct kvm_vamp_config cfg = config(KVM_VAMP_F_EXACT);
    int ret;

    parameter("vamp_pretend", PRETEND_PROTECTED);
    ret = try_ioctl(vm, KVM_VAMP_SET, &cfg);
    parameter("vamp_pretend", 0);
    is_off(vm);
    check(ret == -EOPNOTSUPP, "KVM_VAMP_SET: %d", ret);
    turn_on(vm, 0);
}

/*
 * As SEV-ES has it: the registers are encrypted after VMMs have configured the
 * machine, and before a vCPU runs.
 */
static void encrypted_late(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_vcpu_status s;
    struct kvm_vamp_tasks t;
    uint64_t exits = vcpu_exits(v);
    int i, tracking, nice;

    turn_on(vm, KVM_VAMP_F_EXACT | KVM_VAMP_F_WEIGHTS);
    plan(vm, task(1), 60000);
    parameter("vamp_pretend", PRETEND_PROTECTED);
    vcpu_plan(v, OP_SWITCH, 2000);
    for (i = 0; i < 4; i++) {
        vcpu_step(v, task(i), 0);
    }
    vcpu_go(v);
    exits = vcpu_exits(v) - exits;
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(1), 100000);
    vcpu_go(v);
    tracking = status(vm).tracking;
    s = vcpu_status(vm, 0);
    tasks(vm, 0, &t);
    nice = nice_of(v->tid);
    parameter("vamp_pretend", 0);
    check(tracking == KVM_VAMP_T_PROTECTED, "tracking %d", tracking);
    check(!s.switches && !s.samples && !s.task && !t.nr,
          "%llu switches, %llu samples, task 0x%llx, %u tasks",
          (long long)s.switches, (long long)s.samples, (long long)s.task,
          t.nr);
    check(exits < 1000, "%llu exits of 8000 loads", (long long)exits);
    check(!nice, "nice %d", nice);
}

const struct claim claims_api[] = {
    { "version", "the capability and the status say version 1", version },
    { "off", "it is off at first and again, and says so (ENXIO)", off },
    { "refuse-off", "a bad configuration leaves it off", refuse_off },
    { "refuse-on", "no bad argument changes what is in force", refuse_on },
    { "encrypted", "a guest whose registers are encrypted is refused",
      encrypted },
    { "encrypted-late", "if they are later, no task is made up",
      encrypted_late },
    { NULL }
};
