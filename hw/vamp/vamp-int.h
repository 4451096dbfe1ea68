/*
 * VAMP: what the files of hw/vamp share
 *
 * Threads: everything here runs in the main loop under the BQL unless it says
 * otherwise. vCPU threads touch a VampVcpu's recorder, its applied class and
 * the policy's plan, and nothing else.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_INT_H
#define HW_VAMP_INT_H

#include "qemu/seqlock.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "hw/qdev-core.h"
#include "hw/vamp/actuator.h"
#include "hw/vamp/guest.h"
#include "hw/vamp/kvm.h"
#include "hw/vamp/sensor.h"
#include "hw/vamp/tracker.h"
#include "qapi/qapi-types-common.h"
#include "qapi/qapi-types-vamp-guest.h"
#include "qapi/qapi-types-vamp.h"

#define TYPE_VAMP_POLICY "vamp-policy"
OBJECT_DECLARE_SIMPLE_TYPE(VampPolicy, VAMP_POLICY)

/* A vCPU with a thread of its own. */
typedef struct VampVcpu {
    CPUState *cpu;              /* NULL: not plugged */
    int tid;

    int schedstat_fd;           /* -1: cannot be read */
    uint64_t load_at_ns;        /* when the two below were read */
    uint64_t run_ns;            /* CPU time of the thread so far */
    uint64_t wait_ns;           /* its run delay so far */

    bool attached;              /* known to the actuator; atomic */
    char *attach_error;         /* why not */
    char *groups;               /* the thread's, when it was attached */

    VampRecorder rec;           /* what ran on it; written by its thread */
    int applied;                /* enum vamp_class in force; atomic */
    bool idle;                  /* hardly runs, whatever its task; atomic */
    int applying;               /* its thread is inside apply(); atomic */
    uint64_t idle_check_ns;     /* CPU time + run delay at the last check */
} VampVcpu;

/*
 * What a vCPU thread needs to find its class when the task changes. Written
 * by the main loop under @seq, read by vCPU threads without a lock.
 */
typedef struct VampPlan {
    QemuSeqLock seq;
    bool on;                    /* tasks have classes other than neutral */
    unsigned nr_tasks;
    uint64_t task[VAMP_PLAN_TASKS];
} VampPlan;

struct VampPolicy {
    Object parent_obj;

    /* Properties */
    unsigned ratio;
    struct vamp_config cfg;
    VampTracker tracker_wanted;
    VampActuatorKind actuator_wanted;
    char *broker;               /* path of its socket */
    uint32_t triggers;          /* bit per VampTrigger */
    OnOffAuto audio_wanted;
    OnOffAuto names_wanted;

    /* State */
    bool complete;              /* accepted as the VM's policy */
    char *id;
    bool running;               /* vCPUs known, tracker and actuator chosen */
    bool vm_running;
    bool vm_started;            /* it has run at least once */
    char *fault;
    QEMUClockType clock;
    unsigned max_vcpus;
    struct vamp_policy *core;
    VampVcpu *vcpu;             /* [max_vcpus] */
    struct vamp_task_table *snapshot;               /* [max_vcpus] */
    const struct vamp_task_table **tables;          /* [max_vcpus] */
    VampPlan plan;

    VampTracker tracker;        /* whose view a plan is made from */
    VampTracker eyes;           /* tcg or sample: what sees the tasks switch */
    char *tracker_reason;
    VampActuatorKind actuator_kind;
    char *actuator_reason;
    uint64_t actuator_chosen_ns;
    const VampActuatorClass *actuator_class;
    VampActuator *actuator;
    VampHostPaths paths;

    VampSound *sound;
    char *sound_reason;
    bool sound_heard;           /* by QEMU */
    bool sound_told;            /* by the guest */
    bool sound_playing;         /* either */
    unsigned wakeup_track;      /* property: VAMP_WAKEUP_* */
    bool tracking;              /* KVM's modules know the sound devices */
    char *track_reason;         /* how, or why not */
    char **track_devices;       /* NULL or terminated by NULL */

    bool names_offered;         /* the guest may name its tasks */
    char *names_reason;         /* why not; NULL: it may */

    bool serving;               /* see serve.c */
    uint64_t served_ns;         /* when that began last; 0: never */

    bool plan_hinted;           /* the phase's plan is the guest's view */
    bool *hinted_vcpu;          /* [max_vcpus] */
    struct vamp_task_load hinted_task[VAMP_HINTS_TASKS_MAX];
    uint64_t guest_looked_ns;

    uint64_t weight_changes;    /* atomic */
    uint64_t faults;
    int fault_vcpu;             /* atomic; set by vCPU threads with: */
    int fault_errno;            /* atomic */

    /* Plumbing */
    QEMUBH *input_bh;
    QEMUBH *fault_bh;
    QEMUBH *start_bh;
    QEMUTimer *phase_timer;     /* end of the phase */
    QEMUTimer *idle_timer;      /* idle vCPUs, in a mixed phase */
    QEMUTimer *serve_timer;     /* end of .serving */
    QEMUTimer *load_timer;      /* the one slow timer of the normal phase */
    QEMUTimer *guest_timer;     /* the guest has said something new */
    DeviceListener listener;
    Notifier machine_done;
    Notifier exit_notifier;
    VMChangeStateEntry *vmstate;
    char *qtest_schedstat_dir;
};

/*
 * The VM's policy, NULL if there is none. Set under the BQL; atomic for vCPU
 * threads.
 */
extern VampPolicy *vamp_the_policy;

/* --- policy.c: the object ------------------------------------------------ */

/* The policy's clock in ns: host monotonic time, or qtest's. Any thread. */
uint64_t vamp_now(const VampPolicy *p);

/*
 * The VM's policy object, started if it can be; NULL: there is none. Main
 * loop.
 */
VampPolicy *vamp_policy_get(void);

/* Chooses tracker and actuator if that was put off. */
void vamp_policy_ensure_started(VampPolicy *p);

/* --- properties.c -------------------------------------------------------- */

void vamp_policy_add_properties(ObjectClass *oc);

/* --- means.c: tracker, actuator, sound ----------------------------------- */

/*
 * Returns when no vCPU thread is inside a call that began before. Drops the
 * BQL while it waits.
 */
void vamp_wait_for_vcpus(VampPolicy *p);

/* Chooses by the property, or by what works; says why. Nothing must be open. */
void vamp_actuator_choose(VampPolicy *p);
void vamp_tracker_choose(VampPolicy *p);

/*
 * Puts all threads back. @wait: vCPU threads may be inside apply(); drops the
 * BQL while it waits for them.
 */
void vamp_actuator_close(VampPolicy *p, bool wait);
void vamp_tracker_close(VampPolicy *p);

/* A vCPU is plugged. Does nothing without an actuator. */
bool vamp_actuator_attach(VampPolicy *p, unsigned vcpu, Error **errp);

/*
 * Chooses again if a vCPU's thread is in other control groups than at the
 * last choice: libvirt moves the threads of hotplugged vCPUs.
 */
void vamp_actuator_recheck(VampPolicy *p);
void vamp_tracker_start_vcpu(VampPolicy *p, unsigned vcpu);

/* Does the actuator take plans, not classes? */
bool vamp_actuator_by_plan(const VampPolicy *p);

/*
 * Brings the snapshot of what ran on @vcpu up to @now. False: it is not known;
 * the snapshot is as it was.
 */
bool vamp_tracker_copy(VampPolicy *p, unsigned vcpu, uint64_t now);

/*
 * Asks KVM's companion modules about @vcpu; its present task and counts are
 * noted. @out: NULL, or what they said. False: they are not asked.
 */
bool vamp_tracker_look(VampPolicy *p, unsigned vcpu, VampKvmVcpu *out);

/* Gives them the plan, if they are in use. */
bool vamp_tracker_plan(VampPolicy *p, Error **errp);
bool vamp_tracker_new_period(VampPolicy *p, Error **errp);
/*
 * The guest says something else: is its view to be used? @aspaces: it names
 * address spaces, so that seeing the tasks switch is of use.
 */
void vamp_tracker_guest_changed(VampPolicy *p, bool aspaces);

/* The VM goes on, maybe with other tasks on its vCPUs. */
void vamp_tracker_resume(VampPolicy *p);

/* @gone: the vCPU's thread has ended. */
void vamp_tracker_stop_vcpu(VampPolicy *p, unsigned vcpu, bool gone);

void vamp_sound_open(VampPolicy *p);
void vamp_sound_close(VampPolicy *p);

/* --- sound-track.c: which task plays -------------------------------------- */

/* Notes who plays, if KVM's modules know the sound devices. */
void vamp_sound_track(VampPolicy *p);
/*
 * Names the sound devices to KVM's modules, and notes who plays; makes the new
 * plan true if it matters to the running one.
 */
void vamp_sound_track_recheck(VampPolicy *p);
void vamp_sound_track_fini(VampPolicy *p);
/* For vamp-query: looks, and tells. */
VampSoundTracking *vamp_sound_track_info(VampPolicy *p);

/* Turns the actuator off with @reason; all weights are put back. */
void vamp_policy_fault(VampPolicy *p, const char *reason);

/* --- vcpu.c: vCPUs and their load ---------------------------------------- */

void vamp_vcpu_add(VampPolicy *p, CPUState *cpu);
void vamp_vcpu_del(VampPolicy *p, unsigned index);

/* Index of a vCPU that was added, also after its unrealize; or -1. */
int vamp_vcpu_find(const VampPolicy *p, const CPUState *cpu);

/* Brings run time and run delay of all vCPUs up to @now. */
void vamp_vcpu_update_loads(VampPolicy *p, uint64_t now);

/* The loads come from other files from now on. */
void vamp_vcpu_reopen_loads(VampPolicy *p);

/* --- phase.c: from event to weights -------------------------------------- */

void vamp_phase_init(VampPolicy *p);
void vamp_phase_fini(VampPolicy *p);

/* A user event that has passed the trigger filter. */
void vamp_phase_input(VampPolicy *p);
void vamp_phase_sound(void *opaque, bool playing);
/* The guest itself says so. */
void vamp_phase_sound_told(VampPolicy *p, bool playing);

/* Makes a plan that is the guest's view true anew, if one is on. */
void vamp_phase_rehint(VampPolicy *p);

/* Back to the normal phase, everything neutral. */
void vamp_phase_reset(VampPolicy *p);

/* The epochs have another length: the loads begin anew. */
void vamp_phase_new_period(VampPolicy *p);

/* Makes the present plan true once more (new ratio, new actuator). */
void vamp_phase_reapply(VampPolicy *p);

/*
 * KVM's companion modules tell that some vCPU's task is of another class:
 * sets the weights.
 */
void vamp_phase_look(VampPolicy *p);

/*
 * Sets the weights that are others than they should be. False: that has failed,
 * and a fault has ended the phase.
 */
bool vamp_phase_correct(VampPolicy *p);

/*
 * idle.c, main loop: at the begin of a phase at @now, which vCPUs are idle; and
 * whether to look again while it lasts.
 */
void vamp_idle_begin(VampPolicy *p, uint64_t now);
void vamp_idle_watch(VampPolicy *p, bool on);
void vamp_idle_init(VampPolicy *p);
void vamp_idle_fini(VampPolicy *p);

/*
 * serve.c, main loop: a user's event has come at @now (ns of the policy's
 * clock); before the weights are set. True: all vCPUs are interactive from now
 * on, for some ms. False: they are not, as the phase is not mixed, the actuator
 * has no class that is served at once, or the last time is just over.
 */
bool vamp_serve_begin(VampPolicy *p, uint64_t now);
/* Are all vCPUs interactive at this moment? */
bool vamp_serve_all(const VampPolicy *p);
void vamp_serve_init(VampPolicy *p);
void vamp_serve_fini(VampPolicy *p);

/*
 * Calls @change(@p, @vcpu), which tells the core something that may change a
 * running plan, and makes the new plan true if so.
 */
void vamp_phase_recheck(VampPolicy *p, void (*change)(VampPolicy *, unsigned),
                        unsigned vcpu);

/*
 * Class of a vCPU while it runs @task. Without background work it is
 * interactive if the actuator has a use for that. An idle vCPU is not in the
 * background: Linux leaves the last task's page table loaded, and the
 * interrupt of a key press must not begin at the background's weight.
 */
enum vamp_class vamp_phase_class(VampPolicy *p, unsigned vcpu, uint64_t task);

/*
 * vCPU @vcpu now runs @task: gives its thread the weight of its class if
 * that differs. The vCPU's own thread, also in a signal handler; no lock.
 */
void vamp_phase_task_switched(VampPolicy *p, unsigned vcpu, uint64_t task);

/* --- guest.c: what the guest says, see hw/vamp/guest.h -------------------- */

/* The one guest. Written by guest.c only. */
typedef struct VampGuest {
    VampGuestPort *port;            /* NULL: no device */
    bool open;                      /* the guest has the port open */
    bool silent;                    /* for too long */
    struct vamp_hint_view channel;  /* its own word */
    struct vamp_hint_view set;      /* the management's */
    int64_t set_until_ns;           /* of the guest's running time */
    bool set_expired;
    bool sound;                     /* "off" lags by a second */
    QEMUTimer *sound_timer;
    QEMUTimer *silence_timer;
    VampGuestCount count;
    char last_error[VAMP_HINTS_TEXT_LEN];   /* "": none so far */
} VampGuest;

extern VampGuest vamp_guest;

VampGuestSource vamp_guest_source(void);

/* As vamp_guest_view(), but also one that has not named its tasks. */
const struct vamp_hint_view *vamp_guest_speaker(void);

/* The management's word, for @valid_ms of the guest's running time. */
void vamp_guest_set(const struct vamp_hint_view *view, int64_t valid_ms);

/* --- guest-plan.c: what the policy makes of it ---------------------------- */

void vamp_guest_plan_init(VampPolicy *p);
void vamp_guest_plan_fini(VampPolicy *p);

/*
 * Fills *@hinted, whose arrays are @p's, if plans are to be made from the
 * guest's view and it has one.
 */
bool vamp_guest_plan(VampPolicy *p, struct vamp_hinted *hinted);

/* Something is new: the policy, if there is one, looks soon. */
void vamp_policy_guest_news(void);

/* --- guest-qmp.c ---------------------------------------------------------- */

/*
 * For vamp-query. @p: the policy, with what vamp_names_read() has read of it;
 * both NULL if none is running.
 */
VampGuestInfo *vamp_guest_info(VampPolicy *p, const VampKvmNames *names);

/* The guest's task in address space @task; NULL if it has not told of one. */
const struct vamp_hint_task *vamp_guest_task(uint64_t task);

/* --- names.c: what the guest's module calls the tasks --------------------- */

/* Offers it if the tracker and the property allow, with a reason if not. */
void vamp_names_open(VampPolicy *p);
void vamp_names_close(VampPolicy *p);

/* All that it has said; empty if it has not, or may not. To be freed. */
VampKvmNames *vamp_names_read(VampPolicy *p);

/* The one of @task; NULL: it has none. */
const VampKvmName *vamp_names_find(const VampKvmNames *names, uint64_t task);

VampNamesInfo *vamp_names_info(VampPolicy *p, const VampKvmNames *names);

/* --- policy.c, also used by osnet-cpumap --------------------------------- */

/*
 * Why vCPUs of this machine cannot be treated one by one, or NULL. Only once
 * the machine is ready.
 */
const char *vamp_machine_unfit(void);

/* --- for `info vamp WHAT`, see hmp.c -------------------------------------- */

HumanReadableText *vamp_cpumap_human_readable(Error **errp);

#endif /* HW_VAMP_INT_H */
