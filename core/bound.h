/*
 * Our own bound of real-time class, where the kernel sets none
 * (kernel.sched_rt_runtime_us=-1): a thread that never sleeps must not keep its
 * CPU from everybody else.
 *
 * As the kernel's default has it: 950 ms of each second. Pure: the caller
 * measures and acts. One thread each; zeroed at first.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_BOUND_H
#define VAMP_CORE_BOUND_H

#include "port.h"

#define VAMP_BOUND_WINDOW_NS    INT64_C(1000000000)
#define VAMP_BOUND_RAN_NS       INT64_C(950000000)

struct vamp_bound {
    bool rests;                 /* real-time class is not for it now */

    /* Private */
    int64_t since_ns;           /* begin of the window, or of the rest */
    uint64_t ran_ns;            /* what it had run by then */
    bool counts;                /* there is a window */
};

/*
 * It is @now_ns; the thread has run @ran_ns since it began, and is in
 * real-time class or not. True: @rests has changed.
 */
bool vamp_bound_step(struct vamp_bound *b, int64_t now_ns, bool real_time,
                     uint64_t ran_ns);

#endif /* VAMP_CORE_BOUND_H */
