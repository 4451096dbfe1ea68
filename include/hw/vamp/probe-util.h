/*
 * VAMP actuators: what their probes share
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_PROBE_UTIL_H
#define HW_VAMP_PROBE_UTIL_H

#include "hw/vamp/actuator.h"

/* A thread that does nothing, for a probe to try things on. */
typedef struct VampScratchThread VampScratchThread;

VampScratchThread *vamp_scratch_start(Error **errp);
pid_t vamp_scratch_tid(const VampScratchThread *t);
/* Returns when the thread is gone from the process. Accepts NULL. */
void vamp_scratch_stop(VampScratchThread *t);

/*
 * Are these threads such that weights can tell them apart: each vCPU has one
 * of its own, and the fair scheduler runs it at its ordinary weight?
 */
bool vamp_threads_check(const pid_t *tids, unsigned n, Error **errp);
bool vamp_thread_check(pid_t tid, Error **errp);

/* Nice value of @tid. */
bool vamp_thread_nice(pid_t tid, int *nice, Error **errp);

/*
 * May this process use the system calls of "resource control" (setpriority
 * among them)? Says so without doing them in this process: a filter can
 * answer a call by killing the caller.
 *
 * @calls: does the calls in question; runs in a forked child, so only
 *         async-signal-safe functions. Its results do not matter, its
 *         survival does.
 * @what:  name of what is to be used, for @errp.
 * Main thread. Blocks for at most 0.3 s.
 */
bool vamp_seccomp_check(const VampHostPaths *paths, const char *what,
                        void (*calls)(void), Error **errp);

/*
 * Nice values count among the threads of one control group only. libvirt gives
 * each vCPU a group of its own, where there is nobody to compare it with.
 * Returns false with a sentence if all of @tids are alone. Main thread.
 */
bool vamp_nice_matters(const VampHostPaths *paths, const pid_t *tids,
                       unsigned n, Error **errp);

#endif /* HW_VAMP_PROBE_UTIL_H */
