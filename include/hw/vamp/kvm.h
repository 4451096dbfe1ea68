/*
 * VAMP: the companion modules of KVM, as the policy sees them
 *
 * They track the guest's tasks, exactly while a plan needs it, and give vCPU
 * threads their nice values at each task switch, inside the kernel. The ioctls
 * are those of linux/kvm_vamp.h; there is one user of them per process.
 *
 * All functions: main loop, BQL held.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_KVM_H
#define HW_VAMP_KVM_H

#include "hw/core/cpu.h"
#include "core/policy.h"

/* What the modules say of a vCPU. */
typedef struct VampKvmVcpu {
    uint64_t task;              /* runs now, or was seen last */
    enum vamp_class vclass;     /* in force, if the modules set weights */
    bool boosted;               /* background, but halted: to answer at once */
    bool foreign;               /* its nice is somebody else's */
    uint64_t switches;
    uint64_t samples;
    uint64_t weight_changes;
} VampKvmVcpu;

/* A task by the guest's own name: a claim, printable ASCII */
typedef struct VampKvmName {
    uint64_t task;
    uint32_t id;                /* the process, in the guest */
    char name[16];              /* NUL-terminated */
} VampKvmName;

typedef struct VampKvmNames {
    unsigned vcpus;             /* that tell what they run */
    uint64_t refused;           /* addresses that cannot be */
    uint64_t torn;              /* looks that came in mid-write */
    uint64_t lost;              /* records whose memory has gone */
    unsigned nr;
    VampKvmName name[128];
} VampKvmNames;

/* NULL if the modules are here and speak our version, else why not. */
const char *vamp_kvm_unavailable(void);

/*
 * Tracks tasks with @cfg's period; @changed is called in the main loop when a
 * vCPU's class may be another, unless the modules set the weights. Calling it
 * again changes the configuration. On failure nothing has changed.
 */
bool vamp_kvm_track(const struct vamp_config *cfg,
                    void (*changed)(void *opaque), void *opaque, Error **errp);
void vamp_kvm_untrack(void);

/*
 * The modules set nice values with @ratio (1..100); 0: no more, and all
 * threads are put back. On failure nothing has changed.
 */
bool vamp_kvm_weights(unsigned ratio, Error **errp);

/*
 * The present plan of @core, until its end. Returns false with the modules'
 * own reason if they refuse, which they do after a fault of theirs.
 */
bool vamp_kvm_plan(const struct vamp_policy *core, Error **errp);

/*
 * What ran on @cpu, brought up to now, in CLOCK_MONOTONIC. False, @out
 * unchanged: not tracked (yet).
 */
bool vamp_kvm_copy(CPUState *cpu, struct vamp_task_table *out);

/* False, @out unchanged: not tracked (yet). */
bool vamp_kvm_vcpu(CPUState *cpu, VampKvmVcpu *out);

/*
 * Offers the guest to name its tasks (docs/interop/vamp-pv.rst), or no longer;
 * what it has said is forgotten. Only while tasks are tracked. On failure
 * nothing has changed.
 */
bool vamp_kvm_names_offer(bool on, Error **errp);

/* What it has said so far. False, @out unchanged: nothing can be known. */
bool vamp_kvm_names(VampKvmNames *out);

/* How tasks are told now, and why not better: one clause, to be freed. */
char *vamp_kvm_tracking(void);

#endif /* HW_VAMP_KVM_H */
