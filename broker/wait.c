/*
 * How long a thread waited for a CPU since the last step
 *
 * The kernel books a thread's run delay when the wait is over. A VM that pays
 * back, or stands behind real-time threads, can wait for several steps: with
 * nothing booked it would look as if it wanted nothing, and be entitled to
 * nothing, in just the steps in which it gives way. So a wait that goes on is
 * counted as it passes, and taken off what the kernel books in the end.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "broker/broker.h"

/*
 * What is read of a thread that runs lags by a tick (4 ms with HZ=250, 10 ms
 * with 100): less is no wait.
 */
#define NOT_BOOKED_NS 10000000ull

uint64_t thread_waited(VmThread *t, const TaskTimes *times, uint64_t dt_ns)
{
    uint64_t ran = times->ran_ns - MIN(t->ran_ns, times->ran_ns);
    uint64_t waited = times->waited_ns - MIN(t->waited_ns, times->waited_ns);
    uint64_t counted = MIN(waited, t->ahead_ns);
    uint64_t rest_ns;

    t->ran_ns = times->ran_ns;
    t->waited_ns = times->waited_ns;
    waited -= counted;
    if (ran) {
        /* Its wait is over, and booked as a whole. */
        t->ahead_ns = 0;
    }
    if (ran || waited || counted) {
        t->asleep = false;
    }
    rest_ns = dt_ns - MIN(ran + waited, dt_ns);
    if (t->asleep || rest_ns < NOT_BOOKED_NS) {
        return waited;
    }
    if (!task_runnable(t->stat_fd)) {
        /* Not asked again before it has run. */
        t->asleep = true;
        return waited;
    }
    t->ahead_ns += rest_ns;
    return waited + rest_ns;
}
