/*
 * VAMP actuators: make a plan true on the host, and undo it
 *
 * An actuator gives vCPU threads the weight that belongs to their class. It
 * knows threads and classes, nothing of phases or guests; the policy knows
 * nothing of nice values or cgroups.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_ACTUATOR_H
#define HW_VAMP_ACTUATOR_H

#include "core/brokermsg.h"
#include "core/policy.h"
#include "qemu/vamp-cgroup.h"

typedef struct VampActuator VampActuator;
typedef struct VampActuatorClass VampActuatorClass;

/*
 * What a vCPU thread has now, for vamp-query. Strings are the caller's to
 * free.
 */
typedef struct VampActuation {
    bool has_nice;
    int nice;               /* -20..19 */
    bool has_weight;
    uint64_t weight;        /* cpu.weight (1..10000), cpu.shares (2..262144) */
    char *cgroup;           /* path below the hierarchy's root, or NULL */
    char *scheduling;       /* "other" or "rr", NULL where nobody chooses */
} VampActuation;

struct VampActuatorClass {
    const char *name;       /* as in the QAPI enum VampActuatorKind */

    /*
     * Interactive vCPUs get more than neutral ones, so a phase without
     * background work matters as well: neighbours may be busy.
     */
    bool boosts;

    /*
     * Can this actuator be used for the calling process, and can everything
     * that it changes be undone afterwards? Proves it without touching any
     * thread that existed before.
     * @tids: the vCPU threads (they are only looked at).
     * Returns false with one sentence in @errp otherwise.
     * Main thread, BQL held. May block for some milliseconds.
     */
    bool (*probe)(const VampHostPaths *paths, const pid_t *tids, unsigned n,
                  Error **errp);

    /* Only after a successful probe. Changes nothing yet. Main thread. */
    VampActuator *(*open)(const VampHostPaths *paths, unsigned max_vcpus,
                          unsigned ratio, Error **errp);

    /*
     * Takes thread @tid as vCPU @vcpu; class neutral. Remembers what it finds.
     * On failure the thread is as before. Main thread.
     */
    bool (*attach)(VampActuator *a, unsigned vcpu, pid_t tid, Error **errp);

    /*
     * Puts the thread back to what attach() found (unless somebody else has
     * changed it since: then that stays). The thread may have exited already.
     * Main thread.
     */
    void (*detach)(VampActuator *a, unsigned vcpu);

    /*
     * NULL: follows the plan by itself (and tracks tasks for that). Else:
     * gives vCPU @vcpu the weight of @vclass, unless it has one that is not
     * of this actuator: somebody else's choice stays. Returns 0 or -errno.
     * Main thread, or the vCPU's own thread, also at the same time: no lock, no
     * allocation, async-signal-safe (it runs in a signal handler).
     */
    int (*apply)(VampActuator *a, unsigned vcpu, enum vamp_class vclass);

    /* New ratio; the caller applies the classes again. Main thread. */
    bool (*set_ratio)(VampActuator *a, unsigned ratio, Error **errp);

    /* Reads back what is in force. Main thread. */
    void (*describe)(VampActuator *a, unsigned vcpu, VampActuation *out);

    /*
     * NULL, or: the VM's account with the rest of the host, see
     * core/brokermsg.h; false if it cannot be read now. Main thread.
     */
    bool (*account)(VampActuator *a, struct vamp_broker_page *page);

    /* Detaches everything and frees. Main thread. Accepts NULL. */
    void (*close)(VampActuator *a);
};

/* First member of each actuator's own struct. */
struct VampActuator {
    const VampActuatorClass *klass;
    /*
     * Set by the caller after open(). Called in the main thread, from no call
     * of the caller's, when the means are gone; all threads are as they were
     * or will be at once. @lost closes the actuator.
     */
    void (*lost)(void *opaque, const char *reason);
    void *lost_opaque;
};

extern const VampActuatorClass vamp_actuator_broker;
extern const VampActuatorClass vamp_actuator_kvm;
extern const VampActuatorClass vamp_actuator_nice;
extern const VampActuatorClass vamp_actuator_cgroup;

#endif /* HW_VAMP_ACTUATOR_H */
