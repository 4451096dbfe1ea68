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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "guest/log.h"
#include "guest/place.h"
#include "guest/procfs.h"

/*
 * A thread may have a child while it is put back: look until none is found.
 *
 * A CPU that is going offline leaves the affinities before it leaves the list
 * of those online: then a thread of ours seems to have only a part of our set,
 * or nothing. A busy guest may need a second for that.
 */
#define RESTORE_ROUNDS  50
#define DOUBT_WAIT_US   20000
/* Links of /proc/PID/task: two of any folder, and one of each thread. */
#define LINKS_OF_ONE    3
#define NS_PER_S        1000000000l

typedef void (*EachThread)(Place *p, pid_t pid, pid_t tid);

typedef struct Sweep {
    Place *place;
    EachThread each;
    pid_t pid, self;
} Sweep;

static void sweep_thread(pid_t tid, void *opaque)
{
    Sweep *s = opaque;

    s->each(s->place, s->pid, tid);
}

/* Most processes have one thread: to know that is cheaper than to list it. */
static void sweep_threads(pid_t pid, void *opaque)
{
    Sweep *s = opaque;
    struct stat st;
    char dir[48];

    g_snprintf(dir, sizeof(dir), "/proc/%d/task", (int)pid);
    if (stat(dir, &st) < 0) {
        return;
    }
    s->pid = pid;
    if (st.st_nlink == LINKS_OF_ONE) {
        sweep_thread(pid, s);
    } else {
        procfs_each_number(dir, sweep_thread, s);
    }
}

static void sweep_process(pid_t pid, void *opaque)
{
    Sweep *s = opaque;

    if (pid != s->self && !scan_is_kernel(s->place->scan, pid)) {
        sweep_threads(pid, s);
    }
}

static void sweep(Place *p, EachThread each)
{
    Sweep s = { .place = p, .each = each, .self = getpid() };

    procfs_each_number("/proc", sweep_process, &s);
}

/* The same without those that the last look did not find: sooner. */
static void sweep_known(Place *p, EachThread each)
{
    Sweep s = { .place = p, .each = each };

    scan_each(p->scan, sweep_threads, &s);
}

static void sweep_if_slow(pid_t pid, void *opaque)
{
    Sweep *s = opaque;

    if (scan_belongs(s->place->scan, s->place->slow_tasks, pid, 0)) {
        sweep_threads(pid, s);
    }
}

/* Only what belongs to the slow tasks: soonest. */
static void sweep_slow(Place *p, EachThread each)
{
    Sweep s = { .place = p, .each = each };
    bool whole = false;
    unsigned i;

    for (i = 0; i < p->slow_tasks->len; i++) {
        const SlowTask *t = &g_array_index(p->slow_tasks, SlowTask, i);

        if (t->kind == SLOW_THREAD) {
            each(p, t->pid, t->id);
        } else {
            whole = true;
        }
    }
    if (whole) {
        scan_each(p->scan, sweep_if_slow, &s);
    }
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

void place_prepare(Place *p)
{
    if (!p->split && (cpus_online(&p->online) < 0 || place_cpus(&p->all) < 0)) {
        memset(&p->all, 0, sizeof(p->all));
    }
}

static bool contains(GHashTable *tids, pid_t tid)
{
    return tids && g_hash_table_contains(tids, GINT_TO_POINTER(tid));
}

static bool is_left(const Place *p, pid_t tid)
{
    return contains(p->state->leave, tid);
}

/*
 * Was this thread evicted, or has it its affinity, @mask, from one that was?
 * Nobody binds himself to just these CPUs in so short a time.
 */
static bool is_evicted(const Place *p, pid_t pid, pid_t tid,
                       const CpuSet *mask)
{
    const State *s = p->state;
    ProcStat st;

    return contains(s->only, tid) ||
           (s->only_ticks && state_has_set(s, mask, &p->online) &&
            procfs_thread_stat(pid, tid, &st) &&
            st.start_ticks >= s->only_ticks);
}

/* Whose own affinity could be taken for ours? */
static void survey_thread(Place *p, pid_t pid, pid_t tid)
{
    CpuSet mask;

    if (cpus_get_affinity(tid, &mask) == 0 &&
        (cpus_within(&mask, &p->fast) || cpus_within(&mask, &p->slow)) &&
        !(p->partial ? is_evicted(p, pid, tid, &mask) :
                       state_has_part(p->state, &mask))) {
        g_hash_table_add(p->state->leave, GINT_TO_POINTER(tid));
    }
}

/* What nobody bound: also the vCPUs that are still to come. NULL: all. */
static const CpuSet *unbound(const Place *p)
{
    return cpus_count(&p->state->back) ? &p->state->back : NULL;
}

/* 0 or -errno. */
static int put_thread(Place *p, pid_t tid, bool slow, const CpuSet *mask)
{
    CpuSet want = slow ? p->slow : p->fast;
    int ret;

    cpus_and(&want, &p->online);
    /*
     * In a group, it is bound by that alone: the affinity that it, or who
     * started it, had at first would outlive the group's CPUs.
     */
    if (contains(slow ? p->in_slow : p->in_fast, tid)) {
        return cpus_equal(mask, &want) ? 0 : cpus_set_affinity(tid, unbound(p));
    }
    if (contains(p->in_root, tid) || contains(p->in_fast, tid) ||
        contains(p->in_slow, tid)) {
        ret = groups_put(slow ? p->slow_fd : p->fast_fd, tid);
        return ret < 0 ? ret : cpus_set_affinity(tid, unbound(p));
    }
    return cpus_equal(mask, &want) ? 0 :
           cpus_set_affinity(tid, slow ? &p->slow : &p->fast);
}

/* Nobody has said how urgent it is. */
static bool is_ordinary(pid_t tid)
{
    int class = sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;

    return class == SCHED_OTHER || class == SCHED_BATCH || class == SCHED_IDLE;
}

static void place_thread(Place *p, pid_t pid, pid_t tid)
{
    bool slow = scan_belongs(p->scan, p->slow_tasks, pid, tid);
    CpuSet mask;
    int ret;

    if (cpus_get_affinity(tid, &mask) < 0) {
        return;
    }
    if (is_left(p, tid) || !is_ordinary(tid) ||
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

static void open_groups(Place *p)
{
    if (p->groups && p->groups->made) {
        p->in_root = groups_threads(p->groups, NULL);
        p->in_fast = groups_threads(p->groups, GROUPS_FAST);
        p->in_slow = groups_threads(p->groups, GROUPS_SLOW);
        p->fast_fd = groups_open(p->groups, GROUPS_FAST);
        p->slow_fd = groups_open(p->groups, GROUPS_SLOW);
    }
}

static void close_groups(Place *p)
{
    if (p->in_root) {
        close(p->fast_fd);
        close(p->slow_fd);
    }
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

static void add_sets(Place *p)
{
    state_add_set(p->state, &p->fast);
    state_add_set(p->state, &p->slow);
}

static void forget_evicted(State *st)
{
    g_hash_table_remove_all(st->only);
    st->only_ticks = 0;
}

static void note_evicted(Place *p, pid_t pid, pid_t tid)
{
    CpuSet mask;

    if (cpus_get_affinity(tid, &mask) == 0 && cpus_equal(&mask, &p->all) &&
        is_ordinary(tid)) {
        g_hash_table_add(p->state->only, GINT_TO_POINTER(tid));
    }
}

static uint64_t boot_ticks(void)
{
    struct timespec ts;
    long hz = sysconf(_SC_CLK_TCK);

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * hz + ts.tv_nsec / (NS_PER_S / hz);
}

/* False: the state cannot be written, nothing is changed. */
static bool evict(Place *p)
{
    State *st = p->state;
    unsigned known = g_hash_table_size(st->only);
    GHashTableIter iter;
    gpointer tid;

    sweep_slow(p, note_evicted);
    if (g_hash_table_size(st->only) == known) {
        return true;
    }
    add_sets(p);
    if (!known) {
        st->only_ticks = boot_ticks();
    }
    if (!state_save(p->file, st)) {
        return false;
    }
    p->nr_slow = 0;
    g_hash_table_iter_init(&iter, st->only);
    while (g_hash_table_iter_next(&iter, &tid, NULL)) {
        /* One that stays is looked at again with all the others. */
        if (cpus_set_affinity(GPOINTER_TO_INT(tid), &p->slow) == 0) {
            p->nr_slow++;
        }
    }
    return true;
}

/* Notes in the state what all others ask for, false if that cannot be. */
static bool note(Place *p)
{
    State *st = p->state;

    sweep_known(p, survey_thread);
    add_sets(p);
    forget_evicted(st);
    return state_save(p->file, st);
}

static void make_groups(Place *p)
{
    int ret = groups_make(p->groups, &p->fast, &p->slow);

    if (ret < 0) {
        log_warn("no cpuset groups in %s: %s (affinities are used)",
                 p->groups->root, g_strerror(-ret));
        groups_free(p->groups);
        p->groups = NULL;
    }
}

/* Puts every thread where it belongs, by what there is. */
static void place_all(Place *p, void (*sweep_all)(Place *, EachThread),
                      const GArray *slow_tasks)
{
    p->slow_tasks = slow_tasks;
    open_groups(p);
    p->nr_fast = p->nr_slow = p->nr_left = 0;
    sweep_all(p, place_thread);
    close_groups(p);
    p->slow_tasks = NULL;
}

/* False, with nothing changed, if it is not known where who may run. */
static bool begin(Place *p, const CpuSet *fast, const CpuSet *slow)
{
    State *st = p->state;

    if (!cpus_count(&p->all)) {
        place_prepare(p);
    }
    if (!cpus_count(&p->all)) {
        return false;
    }
    memset(&st->back, 0, sizeof(st->back));
    if (!cpus_equal(&p->all, &p->online)) {
        st->back = p->all;
    }
    p->fast = *fast;
    p->slow = *slow;
    return true;
}

bool place_evict(Place *p, const CpuSet *fast, const CpuSet *slow,
                 const GArray *slow_tasks)
{
    if (p->split && !p->partial) {
        place_all(p, sweep_slow, slow_tasks);
        return true;
    }
    if (!p->split && !begin(p, fast, slow)) {
        return false;
    }
    p->slow_tasks = slow_tasks;
    p->split = p->partial = evict(p);
    p->slow_tasks = NULL;
    if (!p->split) {
        place_restore(p);
    }
    return p->split;
}

bool place_split(Place *p, const CpuSet *fast, const CpuSet *slow,
                 const GArray *slow_tasks)
{
    bool same = cpus_equal(&p->fast, fast) && cpus_equal(&p->slow, slow);
    bool first;

    if (p->partial && !same) {
        place_restore(p);
    }
    if (!p->split && !place_evict(p, fast, slow, slow_tasks)) {
        return false;
    }
    first = p->partial;
    if (first || !same) {
        if (cpus_online(&p->online) < 0) {
            return false;
        }
        p->fast = *fast;
        p->slow = *slow;
        if (!note(p)) {
            if (first) {
                place_restore(p);
            }
            return false;
        }
        p->partial = false;
        if (p->groups && p->groups->made) {
            make_groups(p);
        }
    }
    place_all(p, first ? sweep_known : sweep, slow_tasks);
    return true;
}

void place_settle(Place *p, const GArray *slow_tasks)
{
    State *st = p->state;

    if (p->groups && !p->groups->made && root_has_users(p)) {
        st->groups = g_strdup(p->groups->root);
        st->groups_enabled = groups_must_enable(p->groups);
        if (state_save(p->file, st)) {
            make_groups(p);
        } else {
            g_clear_pointer(&st->groups, g_free);
        }
    }
    place_all(p, sweep, slow_tasks);
}

static void restore_thread(Place *p, pid_t pid, pid_t tid)
{
    CpuSet mask;
    int ret;

    if (is_left(p, tid) || cpus_get_affinity(tid, &mask) < 0 ||
        !state_has_part(p->state, &mask) ||
        (g_hash_table_size(p->state->only) &&
         !is_evicted(p, pid, tid, &mask))) {
        return;
    }
    if (!state_has_set(p->state, &mask, &p->online)) {
        p->nr_doubtful++;
        return;
    }
    ret = cpus_set_affinity(tid, unbound(p));
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
    forget_evicted(st);
    memset(&st->back, 0, sizeof(st->back));
    /* What has changed meanwhile, is to be asked for anew. */
    memset(&p->all, 0, sizeof(p->all));
    state_save(p->file, st);
    p->split = p->partial = false;
    p->nr_fast = p->nr_slow = p->nr_left = 0;
}
