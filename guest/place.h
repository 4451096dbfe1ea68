/*
 * vdiguest: puts every thread on the fast or the slow vCPUs, and back
 *
 * Who is slow is evicted from the fast vCPUs at once, by an affinity; others
 * get theirs when there is time. A thread in the root group of cpuset moves
 * into one of two groups (groups.h) later. Any other, such as all of a systemd
 * system with cgroup v2, stays in its own: it loses neither its unit nor its
 * session, and what is to be undone is known from the affinity itself. Children
 * have what their parents have, with either.
 *
 * Left alone: the kernel's threads, this process, real-time and deadline
 * threads (somebody has said how urgent they are), and what may not run on
 * every vCPU where init may: an affinity of its own, or a unit that is bound to
 * some CPUs.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_PLACE_H
#define GUEST_PLACE_H

#include "guest/groups.h"
#include "guest/scan.h"
#include "guest/state.h"

typedef struct Place {
    Scan *scan;
    StateFile *file;
    State *state;               /* shared with irq.h */
    Groups *groups;             /* NULL: affinities only */
    bool split;
    bool partial;               /* only the evicted are bound so far */
    CpuSet all;                 /* that may be split; empty: not known yet */
    CpuSet fast, slow;          /* while split */
    /* Of the last sweep */
    unsigned nr_fast, nr_slow, nr_left;

    /* private */
    const GArray *slow_tasks;
    CpuSet online;
    GHashTable *in_root, *in_fast, *in_slow;
    int fast_fd, slow_fd;       /* for groups_put(), while there is in_root */
    unsigned nr_back, nr_doubtful;
} Place;

/*
 * The vCPUs that may be split: where init may run, online. Only valid while
 * nothing is split. 0 or -errno.
 */
int place_cpus(CpuSet *cpus);

/* Finds out beforehand, while nothing is split, what place_evict() will ask. */
void place_prepare(Place *p);

/*
 * What cannot wait: binds what belongs to @slow_tasks to @slow, or to the slow
 * vCPUs of the split that stands. place_split() shall follow. False, with
 * nothing changed, if the state file cannot be written.
 */
bool place_evict(Place *p, const CpuSet *fast, const CpuSet *slow,
                 const GArray *slow_tasks);

/*
 * Puts what belongs to @slow_tasks on @slow, the rest on @fast. Again with
 * other sets or tasks: changes what differs. False, with nothing changed, if
 * the state file cannot be written.
 */
bool place_split(Place *p, const CpuSet *fast, const CpuSet *slow,
                 const GArray *slow_tasks);

/*
 * Afterwards, when there is time, while split: the groups, and who was not
 * known before. A first move between groups waits for the kernel's RCU, so for
 * each vCPU, whenever its host runs that.
 */
void place_settle(Place *p, const GArray *slow_tasks);

/* Puts everything back, and forgets it in the state. */
void place_restore(Place *p);

#endif /* GUEST_PLACE_H */
