/*
 * Who feeds the sound server: remote wake-ups around a sound device
 *
 * A sound server sleeps until its device interrupts, or until another task has
 * something to play; and it wakes the task that has. Among vCPUs such a wake-up
 * is an interrupt that one sends to another, which then loads the page tables
 * of the task that was woken. So from four kinds of events, all of which a
 * hypervisor sees, it can be told who works for the sound:
 *
 *   irq     the sound device interrupts a vCPU;
 *   ipi     a vCPU interrupts another one;
 *   loaded  a vCPU loads the page tables of a task;
 *   access  a vCPU touches the registers of the sound device;
 *   halted  a vCPU has nothing to do.
 *
 * A task that touches the device drives it. A task that has woken a driver from
 * another vCPU, or that the device's interrupt has woken, feeds it. What a
 * handler of the interrupt does says nothing of the task that it interrupts.
 *
 * The method is vAMP's (Kim et al., VEE 2013), by description.
 *
 * A vCPU's time is its CPU time in ns: one that waits for a CPU does not lose
 * its wake-up. @now is ns of one clock for all. The caller serialises all
 * functions; none allocates, and each takes bounded time.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_WAKEUP_H
#define VAMP_CORE_WAKEUP_H

#include "port.h"

/* Mode bits (property wakeup-track) */
/* Who wakes a driver, feeds the sound. */
#define VAMP_WAKEUP_BASE            1u
/* ... and who wakes that one, and so on. */
#define VAMP_WAKEUP_TRANSITIVE      2u
/* Any other interrupt on the way may be what has woken the task. */
#define VAMP_WAKEUP_RESET           4u
/* A task that is background in phase after phase hardly counts. */
#define VAMP_WAKEUP_CONFIDENCE      8u
#define VAMP_WAKEUP_ALL             15u

/* Tasks that are remembered; those with the least score are forgotten. */
#define VAMP_WAKEUP_TASKS           16
/* Wakers of wakers that are followed */
#define VAMP_WAKEUP_DEPTH           4
#define VAMP_WAKEUP_CONFIDENCE_MAX  10

/* What one event adds to a score; a task gets it once a millisecond. */
#define VAMP_WAKEUP_CREDIT          1024u

/* CPU time in which a woken vCPU loads its task, bounds and default */
#define VAMP_WAKEUP_WINDOW_US_MIN       1u
#define VAMP_WAKEUP_WINDOW_US_MAX       100000u
#define VAMP_WAKEUP_WINDOW_US_DEFAULT   100

struct vamp_wakeup_task {
    uint64_t task;              /* VAMP_TASK_UNKNOWN: free */
    uint64_t waker;             /* who woke it from another vCPU, last */
    uint64_t woken_ns;          /* and when */
    uint64_t seen_ns;
    uint64_t aged_ns;           /* scores are halved for each second */
    uint64_t fed_ns, drove_ns;  /* the last credits */
    uint32_t feeds;             /* score: sound woke it, or it woke a driver */
    uint32_t drives;            /* score: it touched the device */
    uint32_t confidence;        /* 0..10: that it is background */
};

/* Private: what was last sent to a vCPU, and has not been answered */
struct vamp_wakeup_vcpu {
    bool pending;
    bool handler;               /* it came from the device: its handler runs */
    bool sound;                 /* the sound device began it */
    uint64_t waker;             /* the task that sent it, if one did */
    uint64_t since;             /* of the vCPU's time */
    uint64_t sound_task;        /* runs, and was woken by sound */
    bool asleep;                /* it has halted, and nothing came since */
    bool woke;                  /* what was sent last has ended that */
    uint64_t idle_task;         /* in whose tables it halted last */
    uint64_t idle_since;        /* of its time, which then stands still */
};

struct vamp_wakeup_counters {
    uint64_t irqs;              /* of the sound device */
    uint64_t accesses;          /* by tasks */
    uint64_t handled;           /* by handlers of interrupts */
    uint64_t ipis;
    uint64_t woken;             /* tasks by an IPI, in time */
    uint64_t woken_by_sound;    /* tasks by sound */
    uint64_t resets;            /* wake-ups that another interrupt hid */
    uint64_t late;              /* IPIs after which no task came in time */
};

/* One VM. Public for reading. */
struct vamp_wakeup {
    uint32_t mode;              /* VAMP_WAKEUP_* */
    uint64_t window_ns;
    uint64_t audio_task;        /* never background; 0: none known */
    uint64_t driver;            /* touches the device; 0: none known */
    uint64_t last_ns;           /* of the last access or interrupt */
    int32_t playing;            /* the vCPU of the last access; -1: none */
    struct vamp_wakeup_counters count;
    struct vamp_wakeup_task task[VAMP_WAKEUP_TASKS];
    uint32_t nr_vcpus;
    struct vamp_wakeup_vcpu vcpu[];
};

/* Bytes for vCPUs 0..@nr_vcpus-1. */
size_t vamp_wakeup_size(uint32_t nr_vcpus);

/* @mode: VAMP_WAKEUP_*; @window_us: VAMP_WAKEUP_WINDOW_US_*. */
void vamp_wakeup_init(struct vamp_wakeup *w, uint32_t nr_vcpus, uint32_t mode,
                      uint32_t window_us);

/* Other settings; what is known of tasks stays. */
void vamp_wakeup_configure(struct vamp_wakeup *w, uint32_t mode,
                           uint32_t window_us);

/* All that @from knows, to @to, which was initialised with as many vCPUs. */
void vamp_wakeup_copy(struct vamp_wakeup *to, const struct vamp_wakeup *from);

/* A vCPU that is not < nr_vcpus is ignored by all of them. */

/* The sound device interrupts @vcpu, whose time is @cpu. */
void vamp_wakeup_irq(struct vamp_wakeup *w, uint32_t vcpu, uint64_t cpu,
                     uint64_t now);

/* Another device does, or a timer. */
void vamp_wakeup_other(struct vamp_wakeup *w, uint32_t vcpu, uint64_t cpu);

/*
 * vCPU @from, which runs @task (VAMP_TASK_UNKNOWN: not known), interrupts @to.
 * Their times are @cpu_from and @cpu_to. Returns whether the next task that
 * @to loads within the window should be told by vamp_wakeup_loaded().
 */
bool vamp_wakeup_ipi(struct vamp_wakeup *w, uint32_t from, uint64_t task,
                     uint64_t cpu_from, uint32_t to, uint64_t cpu_to);

/* @vcpu begins to run @task. */
void vamp_wakeup_loaded(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu, uint64_t now);

/*
 * @vcpu has run @task for vamp_wakeup_stay_ns() since it was sent something,
 * and has loaded nothing else. If that woke it, and it had halted in the tables
 * of @task, then @task is who was woken, whatever tick came in between.
 */
void vamp_wakeup_stayed(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t now);

/* CPU time of that; @irq: it was the sound device that interrupted it. */
uint64_t vamp_wakeup_stay_ns(const struct vamp_wakeup *w, bool irq);

/*
 * @vcpu halts, with the page tables of @task, whose turn it is no more. What it
 * was sent before is answered; and what it sends within the window after that
 * is not @task's, unless an IPI has woken it.
 */
void vamp_wakeup_halted(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu);

/* @vcpu touches the device while @task runs. */
void vamp_wakeup_access(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu, uint64_t now);

/* Is what was sent to @vcpu still to be answered? */
bool vamp_wakeup_pending(const struct vamp_wakeup *w, uint32_t vcpu,
                         uint64_t cpu);

/* A phase has these tasks in the background: raises and lowers confidence. */
void vamp_wakeup_planned(struct vamp_wakeup *w, const uint64_t *task,
                         uint32_t nr);

/*
 * Who plays, now? Sets audio_task and driver. Returns whether audio_task has
 * changed. A feeder comes before a driver, which is rarely busy; nobody plays
 * ten seconds after the last access.
 */
bool vamp_wakeup_choose(struct vamp_wakeup *w, uint64_t now);

/* Score that counts, of a feeder: weighted as the mode says. */
uint32_t vamp_wakeup_score(const struct vamp_wakeup *w,
                           const struct vamp_wakeup_task *t);

#endif /* VAMP_CORE_WAKEUP_H */
