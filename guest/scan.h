/*
 * vdiguest: which tasks are slow, as the guest itself sees it
 *
 * A task is slow if it used, or would have used (run delay counts, as in
 * core/policy.h), more than a threshold of one vCPU in the window of
 * core/load.h before now. Two kinds are looked at:
 *
 *   a thread
 *   a job: a process with all its threads, or, if it has a terminal, its
 *   whole process group. Only what none of its threads accounts for alone
 *   counts: a busy worker does not take the thread along that draws the
 *   window. Children that ended count for the job that waited for them, so
 *   a compile of many short processes is found.
 *
 * One look costs a clock_gettime() for each process, which tells the CPU time
 * of all its threads; /proc is read of those only that did something.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_SCAN_H
#define GUEST_SCAN_H

#include <stdbool.h>
#include <glib.h>
#include <sys/types.h>
#include "core/load.h"

/* More are neither isolated nor told: those with the least load drop out. */
#define SCAN_SLOW_MAX   64

/*
 * A process that used less than this part of a vCPU since the last look is
 * not looked into. A hundred equal hogs on one vCPU are above it.
 */
#define SCAN_ACTIVE_PERCENT 1

typedef enum SlowKind {
    SLOW_THREAD,
    SLOW_PROCESS,           /* the host says so: by the id of the process */
    SLOW_JOB,
} SlowKind;

typedef struct SlowTask {
    SlowKind kind;
    pid_t id;               /* thread, process, process group or process */
    pid_t pid;              /* a process of it */
    uint32_t permille;      /* of one vCPU */
    int cpu;                /* where it ran last, -1: not known */
    char name[16];
} SlowTask;

typedef struct Scan Scan;

/* @threshold_percent: of one vCPU. Times: ns of one clock of the caller's. */
Scan *scan_new(unsigned threshold_percent);
void scan_free(Scan *s);

/*
 * Charges what every process did since the last look. @busy_ns: CPU time of
 * all vCPUs together since then, whoever used it.
 */
void scan_look(Scan *s, uint64_t now, uint64_t busy_ns);

/*
 * The slow tasks (SlowTask) at @now, most load first, without what scan_name()
 * finds. Processes in @exempt (ids as keys; may be NULL) and this one are none.
 */
GArray *scan_slow(Scan *s, uint64_t now, GHashTable *exempt);

/* Finds out name and vCPU of each of @tasks: dear, and only for being told. */
void scan_name(GArray *tasks);

/*
 * The other threads (SlowTask) that use at least one per mille of a vCPU at
 * @now, most load first, at most SCAN_SLOW_MAX: neither in @slow nor belonging
 * to what is.
 */
GArray *scan_busy(Scan *s, uint64_t now, const GArray *slow);

/* Is @task still above the threshold? Sets its load. */
bool scan_still_slow(Scan *s, uint64_t now, SlowTask *task);

/* Does thread @tid of process @pid belong to one of @slow? */
bool scan_belongs(Scan *s, const GArray *slow, pid_t pid, pid_t tid);

/*
 * Is process @pid one of the kernel's threads? Such are never touched. An
 * unknown process is looked up, and is one if it has ended.
 */
bool scan_is_kernel(Scan *s, pid_t pid);

/*
 * Calls @f with each process that the last look found, but the kernel's threads
 * and this one. @f may not make the scan look.
 */
void scan_each(Scan *s, void (*f)(pid_t, void *), void *opaque);

/* Processes known. */
unsigned scan_processes(const Scan *s);

/* A number that is another one after a task was born. */
uint64_t scan_list(const Scan *s);

#endif /* GUEST_SCAN_H */
