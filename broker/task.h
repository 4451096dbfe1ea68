/*
 * Threads of other processes: who they are, and how they are scheduled
 *
 * A thread is held by an open descriptor below /proc: it goes on naming that
 * thread, and no other, when the number is used again.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_TASK_H
#define BROKER_TASK_H

/* How the kernel schedules a thread: struct sched_attr without its clamps. */
typedef struct TaskSched {
    uint32_t policy;        /* SCHED_OTHER, ... */
    uint32_t prio;          /* of SCHED_FIFO and SCHED_RR: 1..99 */
    int32_t nice;           /* -20..19 */
    uint64_t flags;         /* SCHED_FLAG_RESET_ON_FORK */
    uint64_t slice_ns;      /* of SCHED_OTHER and SCHED_BATCH; 0: default */
} TaskSched;

/* CPU time of a thread since it began, in ns. */
typedef struct TaskTimes {
    uint64_t ran_ns;        /* a running thread's lags by a tick at most */
    uint64_t waited_ns;     /* runnable, and not running */
} TaskTimes;

/*
 * Before this program leaves the class that it was started in: it has a slice
 * that nobody has chosen, to know such by.
 */
void task_begin(void);

/* 0 or -errno. */
int task_sched_get(pid_t tid, TaskSched *s);
int task_sched_set(pid_t tid, const TaskSched *s);
bool task_sched_equal(const TaskSched *a, const TaskSched *b);

/*
 * Opens thread @tid of process @pid. Returns a descriptor for task_times(), or
 * -errno: -ENOENT, -ESRCH: the process has no such thread.
 */
int task_open(pid_t pid, pid_t tid);

/* 0; -ESRCH: the thread has ended; -ENODATA: a kernel without these times. */
int task_times(int fd, TaskTimes *times);

/* A descriptor for task_runnable(), or -errno. */
int task_open_stat(pid_t pid, pid_t tid);

/* Could the thread run, or does it? False: it sleeps, has ended, is unknown. */
bool task_runnable(int stat_fd);

/* When the thread began, in clock ticks since boot; 0: it is not there. */
uint64_t task_start(pid_t pid, pid_t tid);

/*
 * The CPU clock of process @pid, of all threads that it ever had. 0 or -errno.
 */
int task_clock(pid_t pid, clockid_t *clock);
/* What it shows, in ns. 0, or -errno: the process has ended. */
int task_clock_ns(clockid_t clock, uint64_t *ns);

/*
 * Calls @fn for each thread of @pid, of the first @max, until it returns false.
 */
void task_each(pid_t pid, unsigned max, bool (*fn)(pid_t tid, void *opaque),
               void *opaque);

/* Is the thread called "vhost-@pid", as the kernel calls its workers? */
bool task_is_vhost(pid_t pid, pid_t tid);

/* The CPUs that are there now, at least 1. */
unsigned task_cpus(void);

#endif /* BROKER_TASK_H */
