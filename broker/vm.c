/*
 * One VM: its threads, and what each of them is to be now
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/resource.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "broker/broker.h"

#define MS 1000000ll

/* A refusal is asked again: the administrator may have made room. */
#define REFUSED_NS      (5000 * MS)

static gpointer slot_key(uint32_t role, uint32_t slot)
{
    return GUINT_TO_POINTER(role << 16 | slot);
}

/* --- threads ------------------------------------------------------------- */

/* Descriptors are the one thing that VMs could take from each other. */
static bool fds_left(const Vm *vm)
{
    static rlim_t limit;
    unsigned i, threads = 0;
    struct rlimit r;

    if (!limit && getrlimit(RLIMIT_NOFILE, &r) == 0) {
        limit = r.rlim_cur;
    }
    for (i = 0; i < vm->b->vms->len; i++) {
        const Vm *other = g_ptr_array_index(vm->b->vms, i);

        threads += other->threads->len;
    }
    return threads * 3 < limit / 4 * 3;
}

static VmThread *thread_new(Vm *vm, pid_t tid, uint32_t role, uint32_t slot,
                            Error **errp)
{
    VmThread *t;
    TaskTimes times;
    TaskSched found;
    uint64_t start;
    int fd, ret;

    if (!fds_left(vm)) {
        error_setg(errp, "thread %d: the broker's open files are nearly used "
                   "up (a larger LimitNOFILE= would be needed)", (int)tid);
        return NULL;
    }
    fd = task_open(vm->pid, tid);
    if (fd < 0) {
        error_setg(errp, "%d is no thread of process %d (only a process's own "
                   "threads can be registered)", (int)tid, (int)vm->pid);
        return NULL;
    }
    start = task_start(vm->pid, tid);
    ret = task_times(fd, &times);
    ret = ret ?: task_sched_get(tid, &found);
    /* The process first named is still there: so the thread was its own. */
    if (ret < 0 || !start || task_start(vm->pid, vm->pid) != vm->start) {
        error_setg(errp, "thread %d of process %d cannot be looked at: %s",
                   (int)tid, (int)vm->pid,
                   ret < 0 ? strerror(-ret) : "it has ended");
        close(fd);
        return NULL;
    }
    t = g_new0(VmThread, 1);
    t->vm = vm;
    t->tid = tid;
    t->start = start;
    t->role = role;
    t->slot = slot;
    t->found = t->last = found;
    t->fd = fd;
    t->stat_fd = MAX(task_open_stat(vm->pid, tid), -1);
    t->ran_ns = times.ran_ns;
    t->waited_ns = times.waited_ns;
    t->page_index = UINT_MAX;
    /* Somebody has chosen already: real time, idle or a deadline. */
    t->foreign = found.policy != SCHED_OTHER && found.policy != SCHED_BATCH;
    t->err = t->foreign ? EBUSY : 0;
    return t;
}

static void thread_restore(VmThread *t)
{
    int ret = thread_apply(t, THREAD_FOUND);

    if (ret < 0 && ret != -ESRCH && ret != -EBUSY && ret != -ENODEV) {
        warn_report("%s: cannot put thread %d back: %s", t->vm->name,
                    (int)t->tid, strerror(-ret));
    }
}

static void count_class(VmThread *t, int by)
{
    if (t->role == VAMP_BROKER_VCPU) {
        t->vm->interactive += t->vclass == VAMP_CLASS_INTERACTIVE ? by : 0;
        t->vm->background += t->vclass == VAMP_CLASS_BACKGROUND ? by : 0;
    }
}

static void thread_free(gpointer opaque)
{
    VmThread *t = opaque;
    BrokerHost *h = &t->vm->b->host;

    count_class(t, -1);
    thread_restore(t);
    group_weight_close(h, t->own);
    if (t->key) {
        journal_del(h->journal, t->key);
        g_free(t->key);
    }
    if (t->page_index != UINT_MAX) {
        t->vm->page->thread[t->page_index].tid = 0;
        g_array_append_val(t->vm->page_free, t->page_index);
    }
    close(t->fd);
    if (t->stat_fd >= 0) {
        close(t->stat_fd);
    }
    g_free(t);
}

static void thread_remove(VmThread *t)
{
    Vm *vm = t->vm;

    if (!t->vhost) {
        g_hash_table_remove(vm->slots, slot_key(t->role, t->slot));
    }
    g_ptr_array_remove_fast(vm->threads, t);
}

/* What its class, the guard and the bounds leave. */
static ThreadSched wanted(const VmThread *t)
{
    const Vm *vm = t->vm;
    bool rr = !vm->rr_refused && !vm->account.guard;

    if (t->role == VAMP_BROKER_IO) {
        bool serves = vm->io_boost || (vm->lingers && t->tid == vm->pid);

        return rr && serves ? THREAD_RR : THREAD_FOUND;
    }
    switch (t->vclass) {
    case VAMP_CLASS_INTERACTIVE:
        return rr && !t->bound.rests ? THREAD_RR : THREAD_INTERACTIVE;
    case VAMP_CLASS_BACKGROUND:
        return THREAD_BACKGROUND;
    default:
        return THREAD_FOUND;
    }
}

/* Returns false if real-time class is refused, which was not known before. */
static bool apply(VmThread *t)
{
    ThreadSched want = wanted(t);
    Vm *vm = t->vm;
    int ret;

    if (t->now == want && !t->err) {
        return true;
    }
    ret = thread_apply(t, want);
    if (want == THREAD_RR && (ret == -EPERM || ret == -EINVAL)) {
        vm->rr_refused = true;
        vm->refused_ns = loop_now();
        vm->refused_err = -ret;
        vm->faults++;
        return false;
    }
    /* A thread that has ended is no fault: it is forgotten at the next look. */
    if (ret < 0 && ret != -ESRCH && t->err != -ret) {
        vm->faults++;
    }
    t->err = -ret;
    page_thread(t);
    return true;
}

void vm_apply(Vm *vm)
{
    unsigned i;
    bool again;

    do {
        again = false;
        for (i = 0; i < vm->threads->len; i++) {
            again |= !apply(g_ptr_array_index(vm->threads, i));
        }
    } while (again);
    vm_update_state(vm);
}

int vm_set_class(Vm *vm, uint32_t slot, enum vamp_class vclass)
{
    VmThread *t = g_hash_table_lookup(vm->slots,
                                      slot_key(VAMP_BROKER_VCPU, slot));
    unsigned before = vm->interactive;

    if (!t) {
        return -ENOENT;
    }
    if (t->vclass == vclass) {
        return 0;
    }
    count_class(t, -1);
    t->vclass = vclass;
    count_class(t, 1);
    if (vm->interactive && !before && vm->rr_refused &&
        loop_now() > vm->refused_ns + REFUSED_NS) {
        vm->rr_refused = false;
    }
    if (!apply(t)) {
        vm_apply(vm);
    }
    if (t->now == THREAD_RR) {
        vm->boosts++;
    }
    /* First the vCPU, then who serves it, then the books. */
    if (vm->interactive && !vm->io_boost) {
        vm->io_boost = vm->lingers = true;
        vm_apply(vm);
        ledger_wake(vm->b);
    } else if (vm->background) {
        ledger_wake(vm->b);
    }
    vm_update_state(vm);
    return 0;
}

void vm_calm(Vm *vm)
{
    int64_t now_ns = loop_now();
    bool changed = vm->io_boost;

    if (vm->interactive) {
        return;
    }
    if (vm->io_boost) {
        vm->io_boost = false;
        vm->calm_ns = now_ns;
    }
    /*
     * The next event comes to the main loop, which shares its group with busy
     * vCPUs: on a full host 14 of 20 keys came to the guest 3 to 13 ms late.
     */
    if (vm->lingers && now_ns >= vm->calm_ns + vm->b->opt.linger_ms * MS) {
        vm->lingers = false;
        changed = true;
    }
    if (changed) {
        vm_apply(vm);
    }
}

/* --- registration -------------------------------------------------------- */

int vm_thread_add(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp)
{
    unsigned i, entry;
    VmThread *t;

    if (g_hash_table_lookup(vm->slots, slot_key(m->role, m->slot))) {
        error_setg(errp, "%s %u has a thread already (it would have to be "
                   "removed first)", m->role == VAMP_BROKER_VCPU ? "vCPU"
                   : "helper", m->slot);
        return -EEXIST;
    }
    for (i = 0; i < vm->threads->len; i++) {
        t = g_ptr_array_index(vm->threads, i);
        if (t->tid != m->tid) {
            continue;
        }
        if (!t->vhost) {
            error_setg(errp, "thread %d is registered already", m->tid);
            return -EEXIST;
        }
        thread_remove(t);
        break;
    }
    t = thread_new(vm, m->tid, m->role, m->slot, errp);
    if (!t) {
        return -ESRCH;
    }
    if (vm->page_free->len) {
        entry = g_array_index(vm->page_free, unsigned, vm->page_free->len - 1);
        g_array_set_size(vm->page_free, vm->page_free->len - 1);
    } else {
        /* One for each pair of role and slot: there are always enough. */
        entry = vm->page->nr_threads;
    }
    t->page_index = entry;
    g_ptr_array_add(vm->threads, t);
    g_hash_table_insert(vm->slots, slot_key(m->role, m->slot), t);
    page_thread(t);
    vm->looked_ns = 0;
    return 0;
}

int vm_thread_del(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp)
{
    VmThread *t = g_hash_table_lookup(vm->slots, slot_key(m->role, m->slot));

    if (!t) {
        error_setg(errp, "%s %u has no thread",
                   m->role == VAMP_BROKER_VCPU ? "vCPU" : "helper", m->slot);
        return -ENOENT;
    }
    thread_remove(t);
    vm_update_state(vm);
    return 0;
}

void vm_set_ratio(Vm *vm, uint32_t ratio)
{
    unsigned i;

    if (vm->ratio == ratio) {
        return;
    }
    vm->ratio = ratio;
    for (i = 0; i < vm->threads->len; i++) {
        VmThread *t = g_ptr_array_index(vm->threads, i);

        if (t->key) {
            thread_note(t);
        }
        if (t->now == THREAD_BACKGROUND || t->now == THREAD_INTERACTIVE) {
            t->err = -thread_apply(t, t->now);
        }
    }
}

static bool add_vhost(pid_t tid, void *opaque)
{
    Vm *vm = opaque;
    VmThread *t;
    unsigned i, n = 0;

    for (i = 0; i < vm->threads->len; i++) {
        t = g_ptr_array_index(vm->threads, i);
        if (t->tid == tid) {
            return true;
        }
        n += t->vhost;
    }
    if (n >= VHOST_MAX) {
        return false;
    }
    if (task_is_vhost(vm->pid, tid)) {
        t = thread_new(vm, tid, VAMP_BROKER_IO, 0, NULL);
        if (t) {
            t->vhost = true;
            g_ptr_array_add(vm->threads, t);
        }
    }
    return true;
}

/* The weight of a vCPU's own group, as libvirt makes them. */
static void find_own(VmThread *t)
{
    BrokerHost *h = &t->vm->b->host;
    g_autofree char *path = NULL;

    if (t->own || t->role != VAMP_BROKER_VCPU || t->foreign ||
        !t->vm->group || t->vm->group->origin) {
        return;
    }
    path = group_of_one(h, t->vm->pid, t->tid, t->vm->group);
    if (path) {
        /* Its nice value would count for nothing there. */
        thread_apply(t, THREAD_FOUND);
        t->own = group_weight_open(h, path, NULL);
    }
}

/* False: it has ended, and is forgotten. */
static bool look(VmThread *t, TaskTimes *times)
{
    int ret = task_times(t->fd, times);

    if (ret == -ESRCH) {
        thread_remove(t);
        return false;
    }
    if (ret < 0) {
        /* Nothing new. */
        *times = (TaskTimes) { t->ran_ns, t->waited_ns };
    }
    return true;
}

void vm_drop_ended(Vm *vm)
{
    unsigned i = 0;
    TaskTimes times;

    while (i < vm->threads->len) {
        i += look(g_ptr_array_index(vm->threads, i), &times);
    }
}

uint64_t vm_waited(Vm *vm, uint64_t dt_ns)
{
    uint64_t sum = 0;
    unsigned i = 0;

    vm->waits = false;
    while (i < vm->threads->len) {
        VmThread *t = g_ptr_array_index(vm->threads, i);
        TaskTimes times;

        if (look(t, &times)) {
            sum += thread_waited(t, &times, dt_ns);
            vm->waits |= !t->asleep;
            i++;
        }
    }
    return sum;
}

void vm_settle(Vm *vm)
{
    BrokerHost *h = &vm->b->host;
    Error *err = NULL;
    unsigned i;

    vm->looked_ns = vm->settled_ns = loop_now();
    if (vm->group && !vm_group_holds(h, vm->group, vm->pid)) {
        info_report("%s: its process is no longer in %s", vm->name,
                    vm->group->path);
        for (i = 0; i < vm->threads->len; i++) {
            VmThread *t = g_ptr_array_index(vm->threads, i);

            group_weight_close(h, t->own);
            t->own = NULL;
        }
        /* Moved by somebody else: that stays. What we made goes, if empty. */
        vm_group_put(h, vm->group);
        vm->group = NULL;
    }
    g_clear_pointer(&vm->group_reason, g_free);
    if (!vm->group) {
        vm->group = vm_group_get(h, vm->pid, vm->start, &err);
        if (err) {
            vm->group_reason = g_strdup(error_get_pretty(err));
            error_free(err);
        }
        if (vm->group) {
            neighbours_claim(vm, vm->group->path);
        }
    }
    vm->account.regulated = vm->group != NULL;
    vm->account.weight = vm->group ? vm->group->weight->base
                         : h->cg && h->cg->version == 2 ? 100 : 1024;
    task_each(vm->pid, VAMP_BROKER_THREADS_MAX, add_vhost, vm);
    for (i = 0; i < vm->threads->len; i++) {
        find_own(g_ptr_array_index(vm->threads, i));
    }
    vm_apply(vm);
}

bool vm_bound(Vm *vm, int64_t now_ns)
{
    bool changed = false;
    unsigned i;

    vm->own_bound = false;
    for (i = 0; i < vm->threads->len; i++) {
        VmThread *t = g_ptr_array_index(vm->threads, i);
        TaskTimes times = { 0 };
        bool real_time = t->role == VAMP_BROKER_VCPU && t->now == THREAD_RR &&
                         task_times(t->fd, &times) == 0;

        changed |= vamp_bound_step(&t->bound, now_ns, real_time, times.ran_ns);
        vm->own_bound |= t->bound.rests;
    }
    return changed;
}

/* --- state --------------------------------------------------------------- */

static bool any_err(const Vm *vm, VmThread **which)
{
    unsigned i;

    for (i = 0; i < vm->threads->len; i++) {
        VmThread *t = g_ptr_array_index(vm->threads, i);

        if (t->err && t->err != ESRCH) {
            *which = t;
            return true;
        }
    }
    return false;
}

void vm_update_state(Vm *vm)
{
    VmThread *t;

    if (!vm->interactive) {
        vm->state = VAMP_BROKER_NORMAL;
    } else if (vm->rr_refused) {
        vm->state = VAMP_BROKER_WEIGHTS;
    } else if (vm->account.guard || vm->own_bound) {
        vm->state = VAMP_BROKER_GUARD;
    } else {
        vm->state = VAMP_BROKER_BOOST;
    }

    if (vm->rr_refused) {
        snprintf(vm->reason, sizeof(vm->reason), "real-time class is refused: "
                 "%s (CAP_SYS_NICE, and a group with cpu.rt_runtime_us where "
                 "the kernel has it, would be needed)",
                 strerror(vm->refused_err));
    } else if (vm->state == VAMP_BROKER_GUARD && vm->own_bound) {
        snprintf(vm->reason, sizeof(vm->reason), "a vCPU ran %d ms of the "
                 "last second in real-time class",
                 (int)(VAMP_BOUND_RAN_NS / MS));
    } else if (vm->state == VAMP_BROKER_GUARD) {
        snprintf(vm->reason, sizeof(vm->reason), "it owes the other VMs %lld "
                 "ms of CPU time", (long long)(vm->account.debt_ns / MS));
    } else if (any_err(vm, &t)) {
        if (t->foreign) {
            snprintf(vm->reason, sizeof(vm->reason), "thread %d is scheduled "
                     "by somebody else (policy %u): it is left alone",
                     (int)t->tid, t->last.policy);
        } else {
            snprintf(vm->reason, sizeof(vm->reason), "thread %d cannot be "
                     "changed: %s", (int)t->tid, strerror(t->err));
        }
    } else {
        pstrcpy(vm->reason, sizeof(vm->reason), vm->group_reason ?: "");
    }
    page_vm(vm);
}

/* --- the VM -------------------------------------------------------------- */

Vm *vm_new(Broker *b, pid_t pid, uid_t uid, const struct vamp_bmsg_hello *m,
           Error **errp)
{
    uint64_t start = task_start(pid, pid);
    unsigned i;
    Vm *vm;

    for (i = 0; i < b->vms->len; i++) {
        vm = g_ptr_array_index(b->vms, i);
        if (vm->pid == pid) {
            error_setg(errp, "process %d is registered already, as %s",
                       (int)pid, vm->name);
            return NULL;
        }
    }
    if (!start) {
        error_setg(errp, "process %d cannot be looked at (it has ended, or "
                   "/proc hides it)", (int)pid);
        return NULL;
    }
    vm = g_new0(Vm, 1);
    vm->b = b;
    vm->pid = pid;
    vm->uid = uid;
    vm->start = start;
    pstrcpy(vm->name, sizeof(vm->name), m->name);
    vm->ratio = m->ratio;
    vm->since_ns = vm->measured_ns = loop_now();
    vm->page_fd = -1;
    vm->slots = g_hash_table_new(NULL, NULL);
    vm->threads = g_ptr_array_new_with_free_func(thread_free);
    if (task_clock(pid, &vm->clock) < 0 ||
        task_clock_ns(vm->clock, &vm->process_ns) < 0 || !page_new(vm, errp)) {
        if (errp && !*errp) {
            error_setg(errp, "process %d has no CPU clock", (int)pid);
        }
        page_free(vm);
        g_hash_table_unref(vm->slots);
        g_ptr_array_unref(vm->threads);
        g_free(vm);
        return NULL;
    }
    g_ptr_array_add(b->vms, vm);
    ledger_join(vm);
    return vm;
}

void vm_free(Vm *vm)
{
    Broker *b = vm->b;

    vm->interactive = vm->background = 0;
    /* Threads first: who runs in real time must stop that at once. */
    while (vm->threads->len) {
        thread_remove(g_ptr_array_index(vm->threads, vm->threads->len - 1));
    }
    g_ptr_array_remove_fast(b->vms, vm);
    ledger_leave(vm);
    vm_group_put(&b->host, vm->group);
    page_free(vm);
    g_hash_table_unref(vm->slots);
    g_ptr_array_unref(vm->threads);
    g_free(vm->group_reason);
    g_free(vm);
}
