/*
 * Changing how one thread is scheduled, and undoing it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "broker/broker.h"

#define FLAG_RESET_ON_FORK 1

static TaskSched rr_sched(const VmThread *t)
{
    return (TaskSched) {
        .policy = SCHED_RR,
        .prio = t->role == VAMP_BROKER_IO ? PRIO_IO : PRIO_VCPU,
        .flags = FLAG_RESET_ON_FORK,
    };
}

static TaskSched background_sched(const VmThread *t)
{
    TaskSched s = t->found;

    s.nice += vamp_ratio_to_nice_step(t->vm->ratio, s.nice);
    return s;
}

int thread_note(VmThread *t)
{
    TaskSched bg = background_sched(t);
    Journal *j = t->vm->b->host.journal;

    if (!t->key) {
        t->key = g_strdup_printf("thread:%d:%" PRIu64, (int)t->tid, t->start);
    }
    journal_set(j, t->key, "%d %u %u %d %" PRIu64 " %" PRIu64 " %d",
                (int)t->vm->pid, t->found.policy, t->found.prio, t->found.nice,
                t->found.flags, t->found.slice_ns, bg.nice);
    return -journal_error(j);
}

/* The weight that @want means in the group that the thread has alone. */
static int own_weight(VmThread *t, ThreadSched want)
{
    BrokerHost *h = &t->vm->b->host;
    uint64_t interactive, background, weight = t->own->base;

    if (want != THREAD_FOUND &&
        vamp_ratio_to_weights(t->vm->ratio, t->own->base, h->cg->weight_min,
                              h->cg->weight_max, &interactive, &background)) {
        weight = want == THREAD_BACKGROUND ? background : interactive;
    }
    return weight == t->own->last ? 0 : group_weight_set(h, t->own, weight);
}

static void say(const VmThread *t, const TaskSched *s)
{
    info_report("would set thread %d of %s to policy %u, priority %u, nice %d",
                (int)t->tid, t->vm->name, s->policy, s->prio, s->nice);
}

static int set(VmThread *t, const TaskSched *s)
{
    TaskTimes times;
    TaskSched now;
    int ret;

    if (task_sched_equal(&t->last, s)) {
        return 0;
    }
    if (t->vm->b->host.dry_run) {
        say(t, s);
        t->last = *s;
        return 0;
    }
    /* While the descriptor answers, the number is still this thread's. */
    ret = task_times(t->fd, &times);
    if (ret < 0) {
        return ret;
    }
    ret = task_sched_get(t->tid, &now);
    if (ret < 0) {
        return ret;
    }
    /* A real-time thread has no nice value to be compared. */
    if (now.policy != t->last.policy || now.prio != t->last.prio ||
        (now.policy != SCHED_RR && now.nice != t->last.nice)) {
        t->foreign = true;
        return -EBUSY;
    }
    ret = task_sched_set(t->tid, s);
    if (ret == 0) {
        t->last = *s;
    }
    return ret;
}

int thread_apply(VmThread *t, ThreadSched want)
{
    TaskSched s = t->found;
    int ret = 0, own = 0;

    if (t->foreign) {
        return -EBUSY;
    }
    if (want == THREAD_RR) {
        s = rr_sched(t);
    } else if (want == THREAD_BACKGROUND && !t->own) {
        s = background_sched(t);
    }
    if (!task_sched_equal(&t->last, &s) && !t->key) {
        ret = thread_note(t);
        if (ret < 0) {
            return ret;
        }
    }
    ret = set(t, &s);
    if (t->own) {
        own = own_weight(t, want);
        /* Somebody else's choice of a weight is no fault. */
        own = own == -EAGAIN ? 0 : own;
    }
    if (ret == 0) {
        t->now = want;
    }
    return ret < 0 ? ret : own;
}

/* The fields of a thread's entry, in their order. False: it makes no sense. */
static bool parse_entry(const char *key, const char *value, pid_t *pid,
                        pid_t *tid, uint64_t *start, TaskSched *found,
                        int *bg_nice)
{
    g_auto(GStrv) k = g_strsplit(key, ":", -1);
    g_auto(GStrv) v = g_strsplit(value, " ", -1);
    int n_pid, n_tid;

    if (g_strv_length(k) != 3 || g_strv_length(v) != 7 ||
        qemu_strtoi(k[1], NULL, 10, &n_tid) < 0 || n_tid <= 0 ||
        qemu_strtou64(k[2], NULL, 10, start) < 0 ||
        qemu_strtoi(v[0], NULL, 10, &n_pid) < 0 || n_pid <= 0 ||
        qemu_strtoui(v[1], NULL, 10, &found->policy) < 0 ||
        qemu_strtoui(v[2], NULL, 10, &found->prio) < 0 ||
        qemu_strtoi(v[3], NULL, 10, &found->nice) < 0 ||
        qemu_strtou64(v[4], NULL, 10, &found->flags) < 0 ||
        qemu_strtou64(v[5], NULL, 10, &found->slice_ns) < 0 ||
        qemu_strtoi(v[6], NULL, 10, bg_nice) < 0) {
        return false;
    }
    *pid = n_pid;
    *tid = n_tid;
    /* Only such threads are ever changed, and only back to such. */
    return (found->policy == SCHED_OTHER || found->policy == SCHED_BATCH) &&
           found->prio == 0 && found->nice >= -20 && found->nice <= 19 &&
           found->flags <= FLAG_RESET_ON_FORK;
}

bool thread_undo(const BrokerHost *h, const char *key, const char *value)
{
    TaskSched found, now;
    uint64_t start;
    pid_t pid, tid;
    int bg_nice, ret;

    if (!g_str_has_prefix(key, "thread:")) {
        return false;
    }
    if (!parse_entry(key, value, &pid, &tid, &start, &found, &bg_nice)) {
        warn_report("the state file's %s makes no sense; it is left out", key);
        return true;
    }
    if (task_start(pid, tid) != start || task_sched_get(tid, &now) < 0) {
        return true;            /* it has ended */
    }
    if (!((now.policy == SCHED_RR && now.flags == FLAG_RESET_ON_FORK &&
           (now.prio == PRIO_VCPU || now.prio == PRIO_IO)) ||
          (now.policy == found.policy && now.nice == bg_nice &&
           now.nice != found.nice))) {
        return true;            /* as it was, or somebody else's choice */
    }
    ret = task_sched_set(tid, &found);
    if (ret < 0 && ret != -ESRCH) {
        warn_report("cannot put thread %d back: %s", (int)tid, strerror(-ret));
    }
    return true;
}
