/*
 * VAMP actuators: scratch threads, and what can be known of a thread
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "hw/vamp/probe-util.h"

struct VampScratchThread {
    pthread_t thread;
    pid_t tid;
    sem_t started;
    sem_t stop;
};

static void *scratch_main(void *opaque)
{
    VampScratchThread *t = opaque;

    t->tid = syscall(SYS_gettid);
    sem_post(&t->started);
    while (sem_wait(&t->stop) < 0 && errno == EINTR) {
        /* a debugger, or SIGSTOP and SIGCONT */
    }
    return NULL;
}

/*
 * Not qemu_thread_create(): that one exits QEMU when no thread can be had,
 * here it is only a reason not to use an actuator.
 */
VampScratchThread *vamp_scratch_start(Error **errp)
{
    VampScratchThread *t = g_new0(VampScratchThread, 1);
    sigset_t all, old;
    int err;

    sem_init(&t->started, 0, 0);
    sem_init(&t->stop, 0, 0);

    /* Signals are the business of the threads that QEMU gave them to. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&t->thread, NULL, scratch_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (err) {
        error_setg_errno(errp, err, "cannot create a thread to try it on");
        sem_destroy(&t->started);
        sem_destroy(&t->stop);
        g_free(t);
        return NULL;
    }
    while (sem_wait(&t->started) < 0 && errno == EINTR) {
        /* wait on */
    }
    return t;
}

pid_t vamp_scratch_tid(const VampScratchThread *t)
{
    return t->tid;
}

void vamp_scratch_stop(VampScratchThread *t)
{
    if (!t) {
        return;
    }
    sem_post(&t->stop);
    pthread_join(t->thread, NULL);
    sem_destroy(&t->started);
    sem_destroy(&t->stop);
    g_free(t);
}

bool vamp_thread_check(pid_t tid, Error **errp)
{
    /* Bare system call: musl's wrapper only says ENOSYS. */
    int policy = syscall(SYS_sched_getscheduler, tid);
    const char *name;

    if (policy < 0) {
        error_setg_errno(errp, errno, "thread %d cannot be looked at",
                         (int)tid);
        return false;
    }

#ifdef SCHED_RESET_ON_FORK
    policy &= ~SCHED_RESET_ON_FORK;
#endif
    switch (policy) {
    case SCHED_OTHER:
    case SCHED_BATCH:
        return true;
    case SCHED_FIFO:
        name = "SCHED_FIFO";
        break;
    case SCHED_RR:
        name = "SCHED_RR";
        break;
    case SCHED_IDLE:
        name = "SCHED_IDLE";
        break;
    default:
        error_setg(errp, "thread %d has scheduling policy %d, where weights "
                   "have no effect (SCHED_OTHER or SCHED_BATCH would be "
                   "needed)", (int)tid, policy);
        return false;
    }
    error_setg(errp, "thread %d has scheduling policy %s, where weights have "
               "no effect (SCHED_OTHER or SCHED_BATCH would be needed)",
               (int)tid, name);
    return false;
}

bool vamp_threads_check(const pid_t *tids, unsigned n, Error **errp)
{
    unsigned i, j;

    for (i = 0; i < n; i++) {
        for (j = 0; j < i; j++) {
            if (tids[i] == tids[j]) {
                error_setg(errp, "vCPUs %u and %u share thread %d, so they "
                           "cannot have different weights (-accel kvm or "
                           "-accel tcg,thread=multi would be needed)",
                           j, i, (int)tids[i]);
                return false;
            }
        }
        if (!vamp_thread_check(tids[i], errp)) {
            return false;
        }
    }
    return true;
}

bool vamp_thread_nice(pid_t tid, int *nice, Error **errp)
{
    int value;

    errno = 0;
    value = getpriority(PRIO_PROCESS, tid);
    if (value == -1 && errno) {
        error_setg_errno(errp, errno, "cannot read the nice value of thread "
                         "%d", (int)tid);
        return false;
    }
    *nice = value;
    return true;
}
