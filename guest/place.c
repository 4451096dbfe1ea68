/*
 * vdiguest: puts every thread on the fast or the slow vCPUs, and back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "guest/log.h"
#include "guest/place.h"
#include "guest/procfs.h"

/* A thread may have a child while it is put back: look until none is found. */
#define RESTORE_ROUNDS  10
/*
 * A CPU that is going offline leaves the affinities before it leaves the list
 * of those online: then a thread of ours seems to have only a part of our set.
 */
#define DOUBT_WAIT_US   20000

typedef void (*EachThread)(Place *p, pid_t pid, pid_t tid);

typedef struct Sweep {
    Place *place;
    EachThread each;
    pid_t pid;
} Sweep;

static void sweep_thread(pid_t tid, void *opaque)
{
    Sweep *s = opaque;

    s->each(s->place, s->pid, tid);
}

static void sweep_process(pid_t pid, void *opaque)
{
    Sweep *s = opaque;
    char dir[48];

    if (pid == getpid() || scan_is_kernel(s->place->scan, pid)) {
        return;
    }
    s->pid = pid;
    g_snprintf(dir, sizeof(dir), "/proc/%d/task", (int)pid);
    procfs_each_number(dir, sweep_thread, s);
}

static void sweep(Place *p, EachThread each)
{
    Sweep s = { .place = p, .each = each };

    procfs_each_number("/proc", sweep_process, &s);
}

int place_cpus(CpuSet *cpus)
{
    CpuSet online;
    int ret = cpus_online(&online);

    if (ret == 0) {
        ret = cpus_get_affinity(1, cpus);
    }
    if (ret == 0) {
        cpus_and(cpus, &online);
    }
    return ret;
}

static bool is_left(const Place *p, pid_t tid)
{
    return g_hash_table_contains(p->state->leave, GINT_TO_POINTER(tid));
}

/* Before the first change: whose own affinity could be taken for ours? */
static void survey_thread(Place *p, pid_t pid, pid_t tid)
{
    CpuSet mask;

    if (cpus_get_affinity(tid, &mask) == 0 &&
        (cpus_within(&mask, &p->fast) || cpus_within(&mask, &p->slow)) &&
        !state_has_part(p->state, &mask)) {
        g_hash_table_add(p->state->leave, GINT_TO_POINTER(tid));
    }
}

static bool contains(GHashTable *tids, pid_t tid)
{
    return tids && g_hash_table_contains(tids, GINT_TO_POINTER(tid));
}

/* 0 or -errno. */
static int put_thread(Place *p, pid_t tid, bool slow, const CpuSet *mask)
{
    CpuSet want = slow ? p->slow : p->fast;

    if (contains(slow ? p->in_slow : p->in_fast, tid)) {
        return 0;
    }
    if (contains(p->in_root, tid) || contains(p->in_fast, tid) ||
        contains(p->in_slow, tid)) {
        return groups_move(p->groups, slow ? GROUPS_SLOW : GROUPS_FAST, tid);
    }
    cpus_and(&want, &p->online);
    return cpus_equal(mask, &want) ? 0 :
           cpus_set_affinity(tid, slow ? &p->slow : &p->fast);
}

static void place_thread(Place *p, pid_t pid, pid_t tid)
{
    bool slow = scan_belongs(p->scan, p->slow_tasks, pid, tid);
    int class = sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;
    CpuSet mask;
    int ret;

    if (cpus_get_affinity(tid, &mask) < 0) {
        return;
    }
    if (is_left(p, tid) ||
        (class != SCHED_OTHER && class != SCHED_BATCH && class != SCHED_IDLE) ||
        (!cpus_equal(&mask, &p->all) &&
         !state_has_set(p->state, &mask, &p->online))) {
        p->nr_left++;
        return;
    }
    ret = put_thread(p, tid, slow, &mask);
    if (ret < 0) {
        if (ret != -ESRCH) {
            log_info(LOG_TASK, "thread %d of process %d stays where it is: %s",
                     (int)tid, (int)pid, g_strerror(-ret));
            p->nr_left++;
        }
        return;
    }
    if (slow) {
        p->nr_slow++;
    } else {
        p->nr_fast++;
    }
}

static void forget_lists(Place *p)
{
    g_clear_pointer(&p->in_root, g_hash_table_unref);
    g_clear_pointer(&p->in_fast, g_hash_table_unref);
    g_clear_pointer(&p->in_slow, g_hash_table_unref);
}

/* The groups are worth making only where somebody could move there. */
static bool root_has_users(Place *p)
{
    GHashTable *tids = groups_threads(p->groups, NULL);
    GHashTableIter iter;
    gpointer tid;
    bool found = false;

    g_hash_table_iter_init(&iter, tids);
    while (!found && g_hash_table_iter_next(&iter, &tid, NULL)) {
        found = GPOINTER_TO_INT(tid) != getpid() &&
                !scan_is_kernel(p->scan, GPOINTER_TO_INT(tid));
    }
    g_hash_table_unref(tids);
    return found;
}

/* Notes the new sets in the state, then makes the groups. */
static bool prepare(Place *p)
{
    bool use = p->groups && (p->groups->made || root_has_users(p));
    State *st = p->state;
    int ret;

    sweep(p, survey_thread);
    if (!p->split) {
        memset(&st->back, 0, sizeof(st->back));
        if (!cpus_equal(&p->all, &p->online)) {
            st->back = p->all;
        }
    }
    state_add_set(st, &p->fast);
    state_add_set(st, &p->slow);
    if (use && !st->groups) {
        st->groups = g_strdup(p->groups->root);
        st->groups_enabled = groups_must_enable(p->groups);
    }
    if (!state_save(p->file, st)) {
        return false;
    }
    ret = use ? groups_make(p->groups, &p->fast, &p->slow) : 0;
    if (ret < 0) {
        log_warn("no cpuset groups in %s: %s (affinities are used)",
                 p->groups->root, g_strerror(-ret));
        groups_free(p->groups);
        p->groups = NULL;
    }
    return true;
}

bool place_split(Place *p, const CpuSet *fast, const CpuSet *slow,
                 const GArray *slow_tasks)
{
    bool again = p->split && cpus_equal(&p->fast, fast) &&
                 cpus_equal(&p->slow, slow);
    unsigned i;

    p->slow_tasks = slow_tasks;
    p->nr_fast = p->nr_slow = p->nr_left = 0;
    if (!again) {
        if (cpus_online(&p->online) < 0 ||
            (!p->split && place_cpus(&p->all) < 0)) {
            return false;
        }
        p->fast = *fast;
        p->slow = *slow;
        if (!prepare(p)) {
            return false;
        }
        p->split = true;
    }
    forget_lists(p);
    if (p->groups && p->groups->made) {
        p->in_root = groups_threads(p->groups, NULL);
        p->in_fast = groups_threads(p->groups, GROUPS_FAST);
        p->in_slow = groups_threads(p->groups, GROUPS_SLOW);
    }
    /* First who is in the way, then everybody (who counts). */
    for (i = 0; i < slow_tasks->len; i++) {
        const SlowTask *t = &g_array_index(slow_tasks, SlowTask, i);

        if (t->kind == SLOW_THREAD) {
            place_thread(p, t->pid, t->id);
        }
    }
    p->nr_fast = p->nr_slow = p->nr_left = 0;
    sweep(p, place_thread);
    forget_lists(p);
    p->slow_tasks = NULL;
    return true;
}

static void restore_thread(Place *p, pid_t pid, pid_t tid)
{
    const CpuSet *back = cpus_count(&p->state->back) ? &p->state->back : NULL;
    CpuSet mask;
    int ret;

    if (is_left(p, tid) || cpus_get_affinity(tid, &mask) < 0) {
        return;
    }
    if (!state_has_set(p->state, &mask, &p->online)) {
        p->nr_doubtful += state_has_part(p->state, &mask);
        return;
    }
    ret = cpus_set_affinity(tid, back);
    if (ret == 0) {
        p->nr_back++;
    } else if (ret != -ESRCH) {
        log_warn("thread %d of process %d keeps its affinity: %s", (int)tid,
                 (int)pid, g_strerror(-ret));
    }
}

static void restore_groups(Place *p)
{
    State *st = p->state;
    Groups *again = p->groups ? NULL : groups_again(st->groups,
                                                    st->groups_enabled);
    int ret = groups_remove(again ?: p->groups);

    groups_free(again);
    if (ret < 0) {
        log_warn("the groups in %s stay: %s", st->groups, g_strerror(-ret));
    } else {
        g_clear_pointer(&st->groups, g_free);
    }
}

void place_restore(Place *p)
{
    State *st = p->state;
    unsigned round;

    if (st->groups) {
        restore_groups(p);
    }
    for (round = 0; round < RESTORE_ROUNDS && st->sets->len; round++) {
        p->nr_back = p->nr_doubtful = 0;
        cpus_online(&p->online);
        sweep(p, restore_thread);
        if (!p->nr_back && !p->nr_doubtful) {
            break;
        }
        if (p->nr_doubtful) {
            g_usleep(DOUBT_WAIT_US);
        }
    }
    g_array_set_size(st->sets, 0);
    g_hash_table_remove_all(st->leave);
    memset(&st->back, 0, sizeof(st->back));
    state_save(p->file, st);
    p->split = false;
    p->nr_fast = p->nr_slow = p->nr_left = 0;
}
