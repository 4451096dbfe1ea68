/*
 * The ledger's clock: measuring, stepping, paying
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "broker/broker.h"

#define MS 1000000ll

/* With nobody in a phase and nothing owed: only to see what has changed. */
#define SLOW_NS         (1000 * MS)
/* Groups are looked at again: libvirt moves threads after they began. */
#define SETTLE_NS       (5000 * MS)
#define SETTLE_LATER_NS (30000 * MS)
#define YOUNG_NS        (60000 * MS)
/*
 * ... and not at once: a QEMU that just began is still being placed. Nor more
 * often than that, whatever its peer says.
 */
#define SETTLE_FIRST_NS (1000 * MS)
/*
 * One at a time: a look takes half a millisecond or more, and who has to be
 * given the CPU would wait for all of them. Four a second, more only for those
 * that were never looked at, whose groups seem to be of no VM so far.
 */
#define SETTLE_GAP_NS   (250 * MS)
#define SETTLE_NEW_NS   (10 * MS)
/* One VM with an interactive vCPU, for the guard. */
#define PEEK_NS         (15 * MS)
/*
 * 50 ms as measured in scheduling.md. 2 ms for each that has to be looked at,
 * and 1 for each idle one keep 100 VMs below 1 % of a CPU, and the answers of
 * one of four busy VMs at 1.01 of the idle host's: at 200 ms, the guard opens
 * so late that one in twenty takes 1.4 times as long (`make bench`, 100vms).
 */
#define PERIOD_MIN_MS   50
#define PERIOD_MAX_MS   200
#define PERIOD_BUSY_MS  2
#define PERIOD_IDLE_MS  1
/*
 * A VM that used less than this part of the time is idle; that it no longer is
 * can be seen this much later. To read a process's clock takes some
 * microseconds: of 100 idle VMs that was a fifth of all the broker's time, so
 * that there is a longest rate of such looks for the whole host.
 */
#define IDLE_PART       200
#define IDLE_LOOK_MS    200
#define IDLE_LOOK_VM_MS 4
/*
 * Waits this small a part of the time are the scheduler's granularity, as for
 * the ledger (CONTENDED_PPM): a VM with them has all that it wants.
 */
#define WAITED_PPM      20000
/* A weight that differs by less is not written. */
#define WRITE_PERCENT   5

unsigned ledger_period_ms(const Broker *b)
{
    unsigned busy, idle;

    if (b->opt.period_ms) {
        return b->opt.period_ms;
    }
    busy = MIN(b->busy, b->vms->len) + b->neighbours->len;
    idle = b->vms->len + b->neighbours->len - busy;
    return MIN(MAX(PERIOD_BUSY_MS * busy + PERIOD_IDLE_MS * idle,
                   PERIOD_MIN_MS), PERIOD_MAX_MS);
}

GPtrArray *ledger_accounts(Broker *b)
{
    GPtrArray *all = g_ptr_array_sized_new(b->vms->len + b->neighbours->len);
    unsigned i;

    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        /*
         * Before its first look its weight is not known, and its group may be
         * among the neighbours: booked with a guess, it would owe, or be owed,
         * what nobody took. Who borrows is looked at before the first step.
         */
        if (vm->settled_ns) {
            g_ptr_array_add(all, &vm->account);
        }
    }
    for (i = 0; i < b->neighbours->len; i++) {
        Neighbour *n = g_ptr_array_index(b->neighbours, i);

        g_ptr_array_add(all, &n->account);
    }
    return all;
}

static void drop_noise(struct vamp_account *a, int64_t dt_ns)
{
    if (a->waited_ns * 1000000 < (uint64_t)dt_ns * WAITED_PPM) {
        a->waited_ns = 0;
    }
}

/* What a VM used and waited since the last look at it. */
static void measure(Vm *vm, int64_t now_ns)
{
    uint64_t ns = vm->process_ns, used_ns, waited_ns = 0;
    int64_t dt_ns = now_ns - vm->measured_ns;

    vm->measured_ns = now_ns;
    /* A process that has just died used what it used. */
    task_clock_ns(vm->clock, &ns);
    used_ns = ns > vm->process_ns ? ns - vm->process_ns : 0;
    vm->process_ns = MAX(ns, vm->process_ns);
    /*
     * Most VMs of a large host are idle: of those that hardly ran, and whose
     * threads were all asleep at the last look, there is nothing to be read.
     */
    vm->idle = !vm->waits && used_ns * IDLE_PART < (uint64_t)dt_ns;
    if (!vm->idle) {
        waited_ns = vm_waited(vm, dt_ns);
    }
    vamp_account_book(&vm->account, used_ns, waited_ns, dt_ns,
                      now_ns - vm->b->stepped_ns);
    drop_noise(&vm->account, MIN(dt_ns, now_ns - vm->b->stepped_ns));
}

/* Idle, and not to be looked at for now: its account stands still. */
static bool is_left_alone(const Vm *vm, int64_t now_ns)
{
    int64_t look_ms = MAX(IDLE_LOOK_MS, IDLE_LOOK_VM_MS * vm->b->vms->len);

    return vm->idle && !vm->interactive && !vm->lingers &&
           now_ns < vm->measured_ns + look_ms * MS;
}

static void measure_all(Broker *b, int64_t now_ns)
{
    int64_t dt_ns = now_ns - b->stepped_ns;
    unsigned i;

    b->busy = 0;
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (is_left_alone(vm, now_ns)) {
            vm->account.used_ns = vm->account.waited_ns = 0;
            continue;
        }
        measure(vm, now_ns);
        b->busy += !vm->idle;
    }
    neighbours_measure(b);
    for (i = 0; i < b->neighbours->len; i++) {
        Neighbour *n = g_ptr_array_index(b->neighbours, i);

        drop_noise(&n->account, dt_ns);
    }
}

void ledger_join(Vm *vm)
{
    uint64_t weight = vm->b->host.cg && vm->b->host.cg->version == 2 ? 100
                                                                     : 1024;

    vamp_account_init(&vm->account, weight, false);
}

void ledger_leave(Vm *vm)
{
    g_autoptr(GPtrArray) all = ledger_accounts(vm->b);

    vamp_ledger_leave((struct vamp_account *const *)all->pdata, all->len,
                      &vm->account);
}

static void pay(Vm *vm)
{
    BrokerHost *h = &vm->b->host;
    GroupWeight *w = vm->group ? vm->group->weight : NULL;
    uint64_t want, diff;
    int ret;

    if (!w) {
        return;
    }
    want = vm->account.weight_1024 / 1024;
    want = MIN(MAX(want, h->cg->weight_min), h->cg->weight_max);
    diff = want > w->last ? want - w->last : w->last - want;
    if (diff * 100 <= w->last * WRITE_PERCENT &&
        (want != w->base || !diff)) {
        return;
    }
    ret = group_weight_set(h, w, want);
    if (ret == -EAGAIN) {
        vm->account.weight = w->base;
    } else if (ret < 0) {
        vm->faults++;
        vm->account.regulated = false;
        vm->group_reason = vm->group_reason ?:
            g_strdup_printf("the weight of %s cannot be written: %s",
                            vm->group->path, strerror(-ret));
        /* Looked at anew, when it may have changed. */
        if (ret == -ENODEV) {
            vm->looked_ns = 0;
        }
    }
}

static void step(Broker *b, int64_t now_ns)
{
    g_autoptr(GPtrArray) all = ledger_accounts(b);
    unsigned i;

    measure_all(b, now_ns);
    vamp_ledger_step((struct vamp_account *const *)all->pdata, all->len,
                     now_ns - b->stepped_ns, &b->ledger);
    b->stepped_ns = now_ns;
    b->steps++;
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        vm_calm(vm);
        pay(vm);
        /* Of who was left alone, neither threads nor page change much. */
        if (vm->measured_ns == now_ns) {
            vm_apply(vm);
        }
    }
}

/*
 * Also whose vCPUs are all in the background: what we have changed of a VM
 * moves its share (a group of lowered threads got 6 % too little for as long as
 * nobody looked), so that is booked and paid as well.
 */
static bool anybody_treated(const Broker *b)
{
    unsigned i;

    for (i = 0; i < b->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(b->vms, i);

        if (vm->interactive || vm->background || vm->lingers) {
            return true;
        }
    }
    return false;
}

/* Nothing is owed: everybody has the administrator's weight. */
static void rest(Broker *b)
{
    unsigned i;

    b->active = false;
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (vm->group && vm->group->weight->last != vm->group->weight->base) {
            group_weight_set(&b->host, vm->group->weight,
                             vm->group->weight->base);
        }
        vm_update_state(vm);
    }
}

/* Counters that were read long ago say nothing of the debt that begins now. */
static void begin(Broker *b, int64_t now_ns)
{
    unsigned i;

    b->stepped_ns = now_ns;
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        vm->measured_ns = now_ns;
        vm->idle = false;
    }
    measure_all(b, now_ns);
    /* Who is idle is not known yet. */
    b->busy = 0;
    b->active = true;
}

void ledger_wake(Broker *b)
{
    if (!b->active) {
        begin(b, loop_now());
    }
}

static void peek(Broker *b, Vm *vm, int64_t now_ns)
{
    uint64_t ns = vm->process_ns;
    bool changed = false;

    vm->peeked_ns = now_ns;
    /* Who rests ends that, even if the kernel has a bound by now. */
    if (b->rt_runtime_us < 0 || vm->own_bound) {
        changed = vm_bound(vm, now_ns);
    }
    if (task_clock_ns(vm->clock, &ns) == 0 && ns > vm->process_ns) {
        changed |= vamp_ledger_peek(&vm->account, ns - vm->process_ns,
                                    now_ns - vm->measured_ns, &b->ledger);
    }
    if (changed) {
        vm_apply(vm);
    }
}

static int64_t read_number(const char *name, int64_t otherwise)
{
    g_autofree char *text = NULL;
    int64_t n;

    if (!g_file_get_contents(name, &text, NULL, NULL) ||
        qemu_strtoi64(g_strchomp(text), NULL, 10, &n) < 0) {
        return otherwise;
    }
    return n;
}

/* May, and should, the groups of @vm be looked at? */
static bool is_due(const Vm *vm, int64_t now_ns)
{
    int64_t age_ns = now_ns - vm->since_ns;

    if (!vm->looked_ns) {
        return now_ns - MAX(vm->settled_ns, vm->since_ns) > SETTLE_FIRST_NS;
    }
    return now_ns - vm->looked_ns > (age_ns < YOUNG_NS ? SETTLE_NS
                                                       : SETTLE_LATER_NS);
}

/* Looks at the groups of the VM that has waited longest. */
static void settle_one(Broker *b, int64_t now_ns)
{
    Vm *first = NULL;
    unsigned i;

    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (is_due(vm, now_ns) &&
            (!first || vm->settled_ns < first->settled_ns)) {
            first = vm;
        }
    }
    if (!first) {
        b->settle_ns = now_ns + SLOW_NS;
        return;
    }
    b->settle_ns = now_ns + (first->settled_ns ? SETTLE_GAP_NS
                                               : SETTLE_NEW_NS);
    vm_drop_ended(first);
    vm_settle(first);
}

/* What only changes now and then. */
static void slow(Broker *b, int64_t now_ns)
{
    unsigned i;

    b->rt_runtime_us = read_number("/proc/sys/kernel/sched_rt_runtime_us",
                                   -1);
    b->rt_period_us = read_number("/proc/sys/kernel/sched_rt_period_us",
                                  1000000);
    if (b->cpus != task_cpus()) {
        b->cpus = task_cpus();
        vamp_ledger_config_default(&b->ledger, b->cpus);
    }
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (vm->group && group_weight_look(vm->group->weight) == 0) {
            vm->account.weight = vm->group->weight->base;
        }
    }
    neighbours_scan(b);
    conns_slow(b, now_ns);
    report_metrics_file(b, now_ns);
}

int64_t ledger_run(Broker *b, int64_t now_ns)
{
    g_autoptr(GPtrArray) all = NULL;
    int64_t next = now_ns + SLOW_NS, period_ns = ledger_period_ms(b) * MS;
    bool treated;
    unsigned i;

    if (now_ns >= b->slow_ns) {
        slow(b, now_ns);
        b->slow_ns = now_ns + SLOW_NS;
    }
    if (now_ns >= b->settle_ns) {
        settle_one(b, now_ns);
    }
    next = MIN(next, MIN(b->slow_ns, b->settle_ns));
    if (!b->active) {
        return next;
    }

    /* Who borrows has been given the CPU already: now its books. */
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (!vm->looked_ns && (vm->interactive || vm->background) &&
            (!vm->settled_ns || is_due(vm, now_ns))) {
            vm_settle(vm);
        }
    }
    if (now_ns >= b->stepped_ns + period_ns) {
        step(b, now_ns);
        treated = anybody_treated(b);
        all = ledger_accounts(b);
        if (!treated &&
            vamp_ledger_settled((const struct vamp_account *const *)all->pdata,
                                all->len, &b->ledger)) {
            rest(b);
            return next;
        }
    }
    for (i = 0; i < b->vms->len; i++) {
        Vm *vm = g_ptr_array_index(b->vms, i);

        if (vm->interactive) {
            if (now_ns >= vm->peeked_ns + PEEK_NS) {
                peek(b, vm, now_ns);
            }
            next = MIN(next, vm->peeked_ns + PEEK_NS);
        }
    }
    return MIN(next, b->stepped_ns + period_ns);
}
