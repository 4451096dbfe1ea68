/*
 * VAMP: the affinity of threads, changed together and put back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_PIN_H
#define HW_VAMP_CPUMAP_PIN_H

#include "qapi/qapi-types-vamp-cpumap.h"
#include "hw/vamp/cpumap-host.h"

/* A thread of this process, and what is wanted of it. */
typedef struct VampThread {
    VampThreadKind kind;
    pid_t tid;
    unsigned vcpu;              /* of a vCPU's thread */
    char *name;                 /* of an IOThread or emulator thread */
    bool pin;                   /* to @cpus; false: as it was found */
    VampCpus cpus;
} VampThread;

void vamp_thread_free(void *thread);

/* What has been done to which thread. Main loop, BQL held. */
typedef struct VampPins VampPins;

VampPins *vamp_pins_new(const VampCpuPaths *paths);
/* Forgets everything, changes nothing. Accepts NULL. */
void vamp_pins_free(VampPins *pins);

/*
 * Gives each of @threads (VampThread) what is wanted of it. On failure all of
 * them have again what they had before the call.
 *
 * It does not fight: a vCPU's or IOThread's thread which somebody else has
 * pinned elsewhere (not together with the process's main thread) is an error,
 * as is a cpuset that forbids the CPU. Only a change of our own is put back.
 */
bool vamp_pins_apply(VampPins *pins, GPtrArray *threads, Error **errp);

/*
 * The same for threads that were pinned before, after somebody may have moved
 * them between cpusets: with cgroup v1 the kernel then gives a thread all CPUs
 * of its new group. One that has been given other CPUs than it shall have is an
 * error, of whatever kind it is.
 */
bool vamp_pins_renew(VampPins *pins, GPtrArray *threads, Error **errp);

/*
 * Puts back all threads that are still as we have set them; goes on where that
 * fails. @tids: the threads that there are, to find those that are new.
 */
void vamp_pins_restore(VampPins *pins, const GArray *tids);

/* Thread @tid has ended. */
void vamp_pins_forget(VampPins *pins, pid_t tid);
/* All threads but these have ended. */
void vamp_pins_keep(VampPins *pins, GPtrArray *threads);

/*
 * What @thread has now, and why. *@found is NULL if we have not changed it, or
 * somebody else has since. Strings are the caller's to free.
 * Returns whether it has what is wanted.
 */
bool vamp_pins_describe(const VampPins *pins, const VampThread *thread,
                        char **affinity, char **found, char **reason);

#endif /* HW_VAMP_CPUMAP_PIN_H */
