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
#include "hw/vamp/sound-devices.h"
#include "core/policy.h"
#include "core/wakeup.h"

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

/* What they have found out about sound. */
typedef struct VampKvmSound {
    uint64_t audio_task;        /* who plays; 0: not known */
    uint64_t driver;            /* who touches the devices; 0: not known */
    int playing;                /* KVM's id of the vCPU that did last; or -1 */
    bool hidden;                /* they may not see all wake-ups */
    bool posted;                /* nor interrupts of assigned devices */
    uint64_t accesses;          /* by tasks */
    uint64_t handled;           /* by handlers of interrupts */
    uint64_t irqs;              /* of the devices */
    uint64_t ipis;              /* between vCPUs, that were looked at */
    uint64_t wakeups;           /* of tasks, by these or by the devices */
    uint64_t redirected;        /* interrupts, to the vCPU that plays */
    uint64_t fixed;             /* for which the guest left no choice */
} VampKvmSound;

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

/*
 * These are the sound devices; NULL: none. @mode: VAMP_WAKEUP_*. It ends with
 * tracking and weights, and with a new period of the tracker. Cheap if nothing
 * has changed. On failure they know of none.
 */
bool vamp_kvm_sound(const VampSoundDevices *devices, unsigned mode,
                    Error **errp);

/* False, @out unchanged: they know of no devices. */
bool vamp_kvm_sound_status(VampKvmSound *out);

/* How tasks are told now, and why not better: one clause, to be freed. */
char *vamp_kvm_tracking(void);

#endif /* HW_VAMP_KVM_H */
