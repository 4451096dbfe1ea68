/*
 * Claims about what a guest says of its tasks (docs/interop/vamp-pv.rst)
 *
 * The guest here is hostile by profession: it writes what it likes to the MSRs,
 * and its records say what they like.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "claim.h"
#include "linux-headers/linux/kvm_vamp_pv.h"

static void offer(struct vm *vm, uint32_t flags)
{
    struct kvm_vamp_pv_config cfg = { .flags = flags };
    int ret = try_ioctl(vm, KVM_VAMP_PV, &cfg);

    check(!ret, "KVM_VAMP_PV: %s", strerror(-ret));
}

static struct kvm_vamp_names names(struct vm *vm)
{
    struct kvm_vamp_names n = { 0 };
    int ret = try_ioctl(vm, KVM_VAMP_NAMES, &n);

    check(!ret, "KVM_VAMP_NAMES: %s", strerror(-ret));
    return n;
}

/* A VM whose guest may speak, followed exactly. */
static struct vm *speaker(void)
{
    struct vm *vm = vm_new(1);

    turn_on(vm, KVM_VAMP_F_EXACT);
    offer(vm, KVM_VAMP_PV_OFFER);
    return vm;
}

/* --- the guest's instructions -------------------------------------------- */

/* CPUID's leaf @number: eax, ebx, ecx, edx; volatile: the guest writes them */
static const volatile uint64_t *leaf(struct vcpu *v, uint32_t number)
{
    vcpu_plan(v, OP_LEAF, 1);
    vcpu_step(v, number, 0);
    vcpu_go(v);
    return v->block->tsc;
}

/* False: it faults. */
static bool read_msr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    vcpu_plan(v, OP_RDMSR, 1);
    vcpu_step(v, msr, 0);
    vcpu_go(v);
    *value = v->block->tsc[0];
    return !v->block->faults;
}

static bool write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
    vcpu_plan(v, OP_WRMSR, 1);
    vcpu_step(v, msr, 0);
    v->block->stay[0] = value;
    vcpu_go(v);
    return !v->block->faults;
}

static bool is_offered(struct vcpu *v)
{
    const volatile uint64_t *r = leaf(v, KVM_CPUID_VAMP_SIGNATURE);
    uint32_t text[3] = { r[1], r[2], r[3] };

    return r[0] >= KVM_CPUID_VAMP_FEATURES &&
           !memcmp(text, KVM_VAMP_PV_SIGNATURE, sizeof(text));
}

static uint32_t generation(struct vcpu *v)
{
    return leaf(v, KVM_CPUID_VAMP_FEATURES)[1];
}

/* Goes to @cr3 from somewhere else: each load exits. */
static void visit(struct vcpu *v, uint64_t cr3)
{
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(100), 0);
    vcpu_step(v, cr3, 0);
    vcpu_go(v);
}

static struct kvm_vamp_pv_task *record(struct vm *vm)
{
    return (void *)(vm->mem + RECORD_AT);
}

static void say(struct vm *vm, uint64_t aspace, uint32_t pid, const char *name)
{
    struct kvm_vamp_pv_task *r = record(vm);

    r->seq = 2;
    r->pid = pid;
    r->aspace = aspace;
    memset(r->name, 0, sizeof(r->name));
    memcpy(r->name, name, strnlen(name, sizeof(r->name)));
}

static void enrol(struct vcpu *v)
{
    check(write_msr(v, MSR_KVM_VAMP_TASK, RECORD_AT | KVM_VAMP_PV_ENABLE),
          "a good record is refused");
    check(names(v->vm).vcpus == 1, "the vCPU does not count as registered");
}

/* --- offers -------------------------------------------------------------- */

static void off(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_pv_config cfg = { .flags = KVM_VAMP_PV_OFFER };
    struct kvm_vamp_names n = { 0 };
    uint64_t value;

    check(try_ioctl(vm, KVM_VAMP_PV, &cfg) == -ENXIO &&
          try_ioctl(vm, KVM_VAMP_NAMES, &n) == -ENXIO,
          "it works before VAMP does");
    turn_on(vm, 0);
    check(!is_offered(v), "there are leaves without an offer");
    check(!read_msr(v, MSR_KVM_VAMP_TASK, &value) &&
          !write_msr(v, MSR_KVM_VAMP_TASK, RECORD_AT | KVM_VAMP_PV_ENABLE),
          "the MSR does not fault without an offer");
    n = names(vm);
    check(!n.flags && !n.nr && !n.vcpus && !n.generation,
          "it says that something is offered");
    cfg.flags = KVM_VAMP_PV_OFFER << 1;
    check(try_ioctl(vm, KVM_VAMP_PV, &cfg) == -EINVAL, "a bad flag is taken");
    cfg.flags = KVM_VAMP_PV_OFFER;
    cfg.reserved[2] = 1;
    check(try_ioctl(vm, KVM_VAMP_PV, &cfg) == -EINVAL,
          "a reserved member is taken");
    check(!is_offered(v), "a bad call has offered it");
}

static void leaves(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    uint32_t first, second;

    check(is_offered(v), "no signature");
    first = generation(v);
    check(first && first == names(vm).generation, "generation 0x%x, not 0x%x",
          first, names(vm).generation);
    check(v->block->tsc[0] == (KVM_VAMP_PV_F_TASK | KVM_VAMP_PV_F_SLOW) &&
          !v->block->tsc[2] && !v->block->tsc[3], "features 0x%llx",
          (long long)v->block->tsc[0]);
    enrol(v);
    offer(vm, KVM_VAMP_PV_OFFER);
    second = generation(v);
    check(second && second != first, "the generation is the same");
    check(!names(vm).vcpus, "the registration was not forgotten");
    turn_off(vm);
    check(is_offered(v), "it does not survive a change of the configuration");
    offer(vm, 0);
    check(!is_offered(v), "the offer was not taken back");
}

/* --- names --------------------------------------------------------------- */

/* The name of @task, or NULL; @n keeps it. */
static const struct kvm_vamp_name *find(const struct kvm_vamp_names *n,
                                        uint64_t aspace)
{
    uint32_t i;

    for (i = 0; i < n->nr; i++) {
        if (n->name[i].task == aspace) {
            return &n->name[i];
        }
    }
    return NULL;
}

static void is_named(struct vm *vm, uint64_t aspace, uint32_t pid,
                     const char *text)
{
    struct kvm_vamp_names n = names(vm);
    const struct kvm_vamp_name *name = find(&n, aspace);

    check(name, "task 0x%llx has no name among %u", (long long)aspace, n.nr);
    check(name->pid == pid && !strcmp(name->name, text),
          "it is %u '%.16s', not %u '%s'", name->pid, name->name, pid, text);
}

static void exact(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_names n;

    enrol(v);
    say(vm, task(3), 1234, "cc1");
    visit(v, task(4));
    n = names(vm);
    check(!n.nr, "task 0x%llx got the name of another",
          (long long)n.name[0].task);
    visit(v, task(3));
    is_named(vm, task(3), 1234, "cc1");
    say(vm, task(3), 1235, "as");
    visit(v, task(3));
    is_named(vm, task(3), 1235, "as");
    check(names(vm).nr == 1, "one task has two names");
    /* Who speaks for nobody is believed no more. */
    check(write_msr(v, MSR_KVM_VAMP_TASK, 0), "0 is refused");
    n = names(vm);
    check(!n.nr && !n.vcpus, "%u names are left", n.nr);
    visit(v, task(3));
    check(!names(vm).nr, "it is read after it was taken back");
}

static void sampled(void)
{
    struct vm *vm = vm_new(1);
    struct vcpu *v = &vm->vcpu[0];

    turn_on(vm, 0);
    offer(vm, KVM_VAMP_PV_OFFER);
    enrol(v);
    say(vm, task(5), 77, "hog");
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(5), 500000000);
    vcpu_start(v);
    eventually(names(vm).nr, "no sample finds a name");
    is_named(vm, task(5), 77, "hog");
    vcpu_stop(v);
}

static void late(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];

    enrol(v);
    say(vm, task(4), 78, "other");
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(5), 500000000);
    vcpu_start(v);
    eventually(vcpu_status(vm, 0).task == task(5), "it is not found");
    check(!names(vm).nr, "it has the name of another");
    say(vm, task(5), 77, "hog");
    eventually(names(vm).nr, "a name that comes after the switch is not read");
    is_named(vm, task(5), 77, "hog");
    vcpu_stop(v);
}

static void garbage(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];

    enrol(v);
    say(vm, task(3), 0xffffffff, "a\x1b[2J\n\t\x80\xff\x7f~ b");
    visit(v, task(3));
    is_named(vm, task(3), 0xffffffff, "a?[2J?????~ b");
    /* All 16 bytes, and no end */
    say(vm, task(3), 0, "0123456789abcdefgh");
    visit(v, task(3));
    is_named(vm, task(3), 0, "0123456789abcde");
    say(vm, task(6), 1, "");
    visit(v, task(6));
    is_named(vm, task(6), 1, "");
    /* Address spaces that cannot be, or are not this one */
    say(vm, UINT64_MAX, 1, "all");
    visit(v, task(7));
    say(vm, 0, 1, "none");
    visit(v, task(7));
    say(vm, task(7), 1, "torn");
    record(vm)->seq = 0x7fffffff;
    visit(v, task(7));
    check(names(vm).nr == 2, "%u names", names(vm).nr);
    check(names(vm).torn, "a torn record is none");
}

static void full(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    unsigned int i, last = KVM_VAMP_MAX_NAMES + 40;
    struct kvm_vamp_names n;

    enrol(v);
    for (i = 1; i <= last; i++) {
        say(vm, task(200 + i), i, "many");
        visit(v, task(200 + i));
    }
    n = names(vm);
    check(n.nr == KVM_VAMP_MAX_NAMES, "%u names", n.nr);
    check(find(&n, task(200 + last)) && !find(&n, task(201)),
          "not the oldest one was forgotten");
}

/* --- the MSRs ------------------------------------------------------------ */

static void odd(void)
{
    static const uint64_t values[] = {
        RECORD_AT, RECORD_AT | 2, RECORD_AT | 3, RECORD_AT | 9,
        (RECORD_AT + 8) | 1, (RECORD_AT + 32) | 1, (RECORD_AT + 63) | 1,
        MEM_SIZE | 1, (MEM_SIZE - 32) | 1, 0xfffffff1,
        0x100000001, 1ull << 40 | 1, 0x000fffffffffffc1, 0x8000000000000001,
        0xffffffffffffffc1, UINT64_MAX, 2,
    };
    static const uint32_t read_only[] = {
        MSR_KVM_VAMP_PLAN, MSR_KVM_VAMP_SLOW, MSR_KVM_VAMP_SLOW_LAST,
    };
    static const uint32_t holes[] = {
        MSR_KVM_VAMP_PLAN + 1, MSR_KVM_VAMP_SLOW - 1,
        MSR_KVM_VAMP_SLOW_LAST + 1, MSR_KVM_VAMP_TASK - 1,
    };
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    uint64_t value, refused = 0;
    size_t i;

    enrol(v);
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        check(!write_msr(v, MSR_KVM_VAMP_TASK, values[i]), "0x%llx is taken",
              (long long)values[i]);
        refused++;
    }
    for (i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++) {
        check(!write_msr(v, read_only[i], 1), "0x%x can be written",
              read_only[i]);
        check(read_msr(v, read_only[i], &value), "0x%x cannot be read",
              read_only[i]);
        refused++;
    }
    for (i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
        check(!read_msr(v, holes[i], &value) && !write_msr(v, holes[i], 0),
              "there is an MSR 0x%x", holes[i]);
    }
    check(names(vm).refused >= refused, "%llu refused, not %llu",
          (long long)names(vm).refused, (long long)refused);
    check(read_msr(v, MSR_KVM_VAMP_TASK, &value) &&
          value == (RECORD_AT | KVM_VAMP_PV_ENABLE), "it was 0x%llx",
          (long long)value);
    /* What was in force still is. */
    say(vm, task(3), 9, "still");
    visit(v, task(3));
    is_named(vm, task(3), 9, "still");
    /* The last that fits */
    check(write_msr(v, MSR_KVM_VAMP_TASK, (MEM_SIZE - 64) | 1),
          "the end of memory is refused");
}

/* Memory of a slot of its own behind the rest; NULL: it goes. */
static void slot(struct vm *vm, void *memory)
{
    struct kvm_userspace_memory_region region = {
        .slot = 1,
        .guest_phys_addr = MEM_SIZE,
        .memory_size = memory ? 0x1000 : 0,
        .userspace_addr = (uintptr_t)memory,
    };

    check(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) == 0,
          "KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
}

static void lost(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    void *memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    slot(vm, memory);
    check(write_msr(v, MSR_KVM_VAMP_TASK, MEM_SIZE | 1), "it is refused");
    visit(v, task(3));
    check(!names(vm).lost, "it is lost while it is there");
    slot(vm, NULL);
    visit(v, task(3));
    visit(v, task(3));
    check(names(vm).lost == 1 && !names(vm).vcpus,
          "lost %llu times, %u registered", (long long)names(vm).lost,
          names(vm).vcpus);
    /* The slot is there, but the VMM has unmapped its memory. */
    slot(vm, memory);
    check(write_msr(v, MSR_KVM_VAMP_TASK, MEM_SIZE | 1), "it is refused");
    munmap(memory, 0x1000);
    visit(v, task(3));
    check(names(vm).lost == 2, "lost %llu times", (long long)names(vm).lost);
    enrol(v);
}

static void init(void)
{
    struct vm *vm = vm_new(2);
    /* The first one starts again by itself. */
    struct vcpu *v = &vm->vcpu[1];
    uint64_t value = 0;

    turn_on(vm, KVM_VAMP_F_EXACT);
    offer(vm, KVM_VAMP_PV_OFFER);
    enrol(v);
    say(vm, task(3), 9, "old");
    visit(v, task(3));
    vcpu_init(v);
    check(!names(vm).vcpus && !names(vm).nr, "INIT leaves the record");
    check(read_msr(v, MSR_KVM_VAMP_TASK, &value) && !value,
          "INIT leaves 0x%llx", (long long)value);
}

/* --- records that change while they are read ----------------------------- */

/* volatile: cleared by the main thread */
static volatile bool racing;

static void *rewrite(void *opaque)
{
    struct vm *vm = opaque;
    uint32_t n = 0;

    while (racing) {
        struct kvm_vamp_pv_task *r = record(vm);

        r->seq = n;
        r->aspace = n & 4 ? task(3) : n & 8 ? UINT64_MAX : task(100);
        memset(r->name, n, sizeof(r->name));
        r->pid = n++;
    }
    return NULL;
}

static void race(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    struct kvm_vamp_names n;
    pthread_t thread;
    uint32_t i, k;

    enrol(v);
    racing = true;
    check(!pthread_create(&thread, NULL, rewrite, vm), "no thread");
    for (i = 0; i < 2000; i++) {
        visit(v, task(3));
    }
    racing = false;
    pthread_join(thread, NULL);
    n = names(vm);
    check(n.nr, "no read came in time for any");
    for (i = 0; i < n.nr; i++) {
        check(n.name[i].task == task(3) || n.name[i].task == task(100),
              "task 0x%llx", (long long)n.name[i].task);
        for (k = 0; k < sizeof(n.name[i].name); k++) {
            unsigned char c = n.name[i].name[k];

            check(!c || (c >= ' ' && c <= '~'), "byte 0x%x", c);
        }
        check(!n.name[i].name[k - 1], "a name without an end");
    }
}

/* --- what the host says -------------------------------------------------- */

static void slow(void)
{
    struct vm *vm = speaker();
    struct vcpu *v = &vm->vcpu[0];
    uint64_t before, after, entry = 0, next;

    check(read_msr(v, MSR_KVM_VAMP_PLAN, &before) &&
          read_msr(v, MSR_KVM_VAMP_SLOW, &entry) && !entry,
          "there is a background without a plan: 0x%llx", (long long)entry);
    /* Two seconds of load; then it goes on. */
    vcpu_plan(v, OP_SWITCH, 1);
    vcpu_step(v, task(3), 2000000);
    vcpu_go(v);
    plan(vm, task(3), 60000);
    check(read_msr(v, MSR_KVM_VAMP_PLAN, &after) && after != before,
          "the plan has the number of the one before");
    check(read_msr(v, MSR_KVM_VAMP_SLOW, &entry) &&
          (entry & ~KVM_VAMP_PV_LOAD_MASK) == task(3),
          "the background is 0x%llx", (long long)entry);
    check((entry & KVM_VAMP_PV_LOAD_MASK) > 0 &&
          (entry & KVM_VAMP_PV_LOAD_MASK) <= 1000, "its load is %llu",
          (long long)(entry & KVM_VAMP_PV_LOAD_MASK));
    check(read_msr(v, MSR_KVM_VAMP_SLOW + 1, &next) && !next,
          "a second one: 0x%llx", (long long)next);
    check(read_msr(v, MSR_KVM_VAMP_SLOW_LAST, &next) && !next,
          "a last one: 0x%llx", (long long)next);
    plan(vm, 0, 0);
    check(read_msr(v, MSR_KVM_VAMP_SLOW, &entry) && !entry,
          "the background outlives the plan");
}

const struct claim claims_pv[] = {
    { "pv-off", "without an offer there are no leaves, and the MSRs fault",
      off },
    { "pv-leaves", "an offer has leaves, a new one another generation",
      leaves },
    { "pv-exact", "a name is that of the task whose CR3 was loaded", exact },
    { "pv-sampled", "a sample finds it as well", sampled },
    { "pv-late", "a task that never switches again is named all the same",
      late },
    { "pv-garbage", "a name is printable, and no other task's", garbage },
    { "pv-full", "the oldest of too many names is forgotten", full },
    { "pv-odd", "no odd value is taken, or changes what is in force", odd },
    { "pv-lost", "a record whose memory goes is forgotten", lost },
    { "pv-init", "INIT forgets the record", init },
    { "pv-race", "a record that changes while it is read does no harm", race },
    { "pv-slow", "the guest can ask for the background of the plan", slow },
    { NULL }
};
