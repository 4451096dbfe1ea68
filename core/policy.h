/*
 * The policy of one VM: when is it interactive, and what is in the background
 *
 * A state machine after vAMP (Kim et al., VEE 2013; facts in its source). It
 * is fed with events and with the caller's clock, keeps no thread, no lock
 * and no clock of its own, and answers with a plan. So a unit test replays a
 * day in milliseconds, and QEMU and the companion kernel modules run the same
 * code.
 *
 *   normal     nobody is served: every vCPU is neutral.
 *   non-mixed  a user is served, nothing is in the background: neutral.
 *   mixed      a user is served beside background work: vCPUs (tasks) that
 *              did much in the window before the event are background, the
 *              rest is interactive.
 *
 * All times: nanoseconds of one clock of the caller's, not running backwards.
 * All functions: the caller serialises them (QEMU: main loop under the BQL).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_POLICY_H
#define VAMP_CORE_POLICY_H

#include "load.h"
#include "weight.h"

#define VAMP_BG_PERCENT_MIN         1
#define VAMP_BG_PERCENT_MAX         100
#define VAMP_BG_PERCENT_DEFAULT     50

#define VAMP_MAX_PHASE_MS_MIN       100
#define VAMP_MAX_PHASE_MS_MAX       60000
#define VAMP_MAX_PHASE_MS_DEFAULT   5000

/* An event this soon is the rest of a double click: no new phase. */
#define VAMP_DOUBLE_CLICK_MS        500

/*
 * For so long after an event all vCPUs may be interactive, as nobody knows
 * which takes the interrupt (hw/vamp/serve.c). As long as the boost of KVM's
 * companion modules (vamp_boost_us): an interrupt is taken in some ten
 * microseconds, or, if its handler asks QEMU what it was, in some hundred.
 *
 * Who types fast types ten times a second; more, as of a key held down, or a
 * wheel, would lend the background time that is not the user's. So it is at
 * most 2 % of a CPU for each vCPU, which the broker books like all else.
 */
#define VAMP_SERVE_MS               2
#define VAMP_SERVE_EVERY_MS         100

/* Background tasks that a plan can name; more are counted, not named. */
#define VAMP_PLAN_TASKS             64

/*
 * Halts in a row, all in one task, that make it the system task of a VM with
 * one vCPU, where no second vCPU can confirm it. An idle Windows halts at
 * least 64 times a second (its slowest timer), so 16 take a quarter of one.
 */
#define VAMP_SINGLE_VCPU_HALTS      16

enum vamp_phase {
    VAMP_PHASE_NORMAL,
    VAMP_PHASE_NON_MIXED,
    VAMP_PHASE_MIXED,
};

enum vamp_cause {
    VAMP_CAUSE_NONE,        /* normal phase */
    VAMP_CAUSE_INPUT,       /* a user's event */
    VAMP_CAUSE_SOUND,       /* sound started, no user event */
};

enum vamp_class {
    VAMP_CLASS_NEUTRAL,
    VAMP_CLASS_INTERACTIVE,
    VAMP_CLASS_BACKGROUND,
};

/* Why the phase is what it is; vamp_reason_text() says it in words. */
enum vamp_reason {
    VAMP_REASON_START,          /* no event so far */
    VAMP_REASON_EXPIRED,        /* the phase lasted its time */
    VAMP_REASON_LOW_LOAD,       /* the VM's load is below the threshold */
    VAMP_REASON_NO_BACKGROUND,  /* loaded, but no one task/vCPU above it */
    VAMP_REASON_ALL_BUSY,       /* vCPU granularity, every vCPU above it */
    VAMP_REASON_BACKGROUND,     /* mixed: there is background work */
    VAMP_REASON_RESET,          /* vamp_policy_reset() */
};

struct vamp_config {
    uint32_t bg_percent;        /* VAMP_BG_PERCENT_*, of one vCPU */
    uint32_t max_phase_ms;      /* VAMP_MAX_PHASE_MS_* */
    uint32_t period_ms;         /* VAMP_PERIOD_MS_*, a power of two */
};

/* A task of the plan: id and load (per mille of one vCPU, may exceed 1000). */
struct vamp_task_load {
    uint64_t task;
    uint32_t permille;
};

struct vamp_vcpu {
    bool present;
    struct vamp_ring run;               /* CPU time */
    struct vamp_ring wait;              /* run delay: potential load */
    enum vamp_class vclass;             /* class at vCPU granularity */
    uint64_t halt_task;                 /* task at the last halt, 0 none yet */
    uint64_t halt_round;                /* private: round of the last halt */
};

struct vamp_counters {
    uint64_t events;                    /* input events seen */
    uint64_t events_coalesced;          /* of them the rest of a double click */
    uint64_t phases;                    /* phases begun or restarted */
    uint64_t phases_mixed;              /* of them mixed */
    uint64_t phases_sound;              /* of them begun by sound */
    uint64_t background_overflow;       /* tasks a plan had no room for */
};

/*
 * One VM. Public for reading (vamp-query); written by the functions below
 * only. The storage is the caller's: vamp_policy_size() bytes, any alignment
 * that malloc gives.
 */
struct vamp_policy {
    struct vamp_config cfg;
    uint64_t period_ns;

    enum vamp_phase phase;
    enum vamp_cause cause;
    enum vamp_reason reason;
    uint64_t since_ns;                  /* when the phase began or restarted */
    uint64_t until_ns;                  /* when it ends; UINT64_MAX in normal */
    bool have_event;
    uint64_t last_event_ns;             /* that began or restarted one */
    bool sound;

    bool by_task;                       /* plan made from tasks, not vCPUs */
    uint32_t nr_background;
    struct vamp_task_load background[VAMP_PLAN_TASKS];  /* descending load */

    uint32_t vm_permille;               /* load + potential at the last event */
    uint64_t system_task;               /* 0: none known */
    uint64_t audio_task;                /* 0: none known */

    struct vamp_counters count;

    /* Private: evidence for the system task; a round ends at a mismatch. */
    uint32_t nr_present;
    uint32_t halt_seen;                 /* vCPUs that halted in this round */
    uint32_t halt_streak;               /* halts in this round, saturating */
    uint64_t halt_round;
    uint64_t halt_candidate;

    uint32_t max_vcpus;
    struct vamp_vcpu vcpu[];
    /* Private: scratch space of vamp_policy_begin() follows. */
};

/* Bytes that a policy for vCPUs 0..@max_vcpus-1 needs (@max_vcpus <= 4096). */
size_t vamp_policy_size(uint32_t max_vcpus);

/*
 * Initialises @p, of vamp_policy_size(@max_vcpus) bytes, in the normal phase.
 * @cfg must be valid: vamp_config_error(@cfg) == NULL.
 */
void vamp_policy_init(struct vamp_policy *p, uint32_t max_vcpus,
                      const struct vamp_config *cfg, uint64_t now);

void vamp_config_default(struct vamp_config *cfg);

/* NULL, or what is wrong with @cfg in one constant sentence. */
const char *vamp_config_error(const struct vamp_config *cfg);

/*
 * Changes the configuration to a valid @cfg. A new period empties all rings
 * (the caller initialises its task tables anew); the phase that runs keeps
 * its end.
 */
void vamp_policy_configure(struct vamp_policy *p,
                           const struct vamp_config *cfg);

/*
 * vCPU comes and goes. @vcpu < max_vcpus. A new vCPU starts with empty rings,
 * class neutral. When the last background or the last interactive vCPU of a
 * plan goes, the phase that runs becomes non-mixed.
 */
void vamp_policy_vcpu_add(struct vamp_policy *p, uint32_t vcpu);
void vamp_policy_vcpu_del(struct vamp_policy *p, uint32_t vcpu);

/*
 * In [@t0, @t1) vCPU @vcpu ran @run_ns and waited, runnable, @wait_ns.
 */
void vamp_policy_vcpu_load(struct vamp_policy *p, uint32_t vcpu,
                           uint64_t t0, uint64_t t1,
                           uint64_t run_ns, uint64_t wait_ns);

/*
 * vCPU @vcpu was seen halted while @task was current. The one task that is
 * always current at a halt, on all vCPUs, is the system task (the idle
 * process of Windows): never background. A guest that halts in any task
 * (Linux) has none. Takes the task out of the plan that runs, as
 * vamp_policy_set_audio_task() does.
 */
void vamp_policy_halted(struct vamp_policy *p, uint32_t vcpu, uint64_t task);

/*
 * Which task plays the sound (0: unknown): never background. Takes it out of
 * the plan that runs; without another background task the phase becomes
 * non-mixed.
 */
void vamp_policy_set_audio_task(struct vamp_policy *p, uint64_t task);

/*
 * Would an input event at @now begin or restart a phase? False within the
 * double-click time of the event that began it, while it runs. It is counted.
 * When true, the caller brings loads and tables up to @now and calls
 * vamp_policy_begin().
 */
bool vamp_policy_input(struct vamp_policy *p, uint64_t now);

/*
 * Sound starts or stops. Returns true when the caller should call
 * vamp_policy_begin() with VAMP_CAUSE_SOUND: sound began and no phase runs.
 * While sound plays, a phase that expires is begun anew instead (see
 * vamp_policy_expire()).
 */
bool vamp_policy_sound(struct vamp_policy *p, bool on);

/*
 * Begins or restarts a phase: computes loads from the window before @now and
 * makes a new plan.
 *
 * @tables: array of max_vcpus pointers; entry v is what ran on vCPU v, NULL
 * if unknown. @tables == NULL: no task tracker, the plan is made at vCPU
 * granularity (a vCPU above the threshold is background, unless all are). The
 * tables are only read during the call.
 */
void vamp_policy_begin(struct vamp_policy *p, uint64_t now,
                       enum vamp_cause cause,
                       const struct vamp_task_table *const *tables);

/*
 * What the guest itself holds to be in the background, for a plan made from
 * its word. Only read during a call.
 */
struct vamp_hinted {
    bool by_task;                       /* which of the two below counts */
    const struct vamp_task_load *task;  /* each once */
    uint32_t nr_tasks;
    const bool *vcpu;                   /* [max_vcpus]: in the background? */
};

/*
 * As vamp_policy_begin(), but what is in the background is said by @hinted;
 * only how much the VM does is judged by its loads.
 */
void vamp_policy_begin_hinted(struct vamp_policy *p, uint64_t now,
                              enum vamp_cause cause,
                              const struct vamp_hinted *hinted);

/*
 * The guest has said something else: makes the plan of the phase that runs
 * anew. Begin and end of the phase stay. Does nothing in the normal phase, and
 * if the VM did little before the phase began.
 */
void vamp_policy_rehint(struct vamp_policy *p,
                        const struct vamp_hinted *hinted);

/*
 * To be called at until_ns (later is harmless; earlier does nothing and
 * returns true: a timer of a phase that was restarted meanwhile). Ends the
 * phase and returns true; while sound plays returns false with "begin anew"
 * expected from the caller: vamp_policy_begin(VAMP_CAUSE_SOUND). Does nothing
 * in normal phase (returns true).
 */
bool vamp_policy_expire(struct vamp_policy *p, uint64_t now);

/* Back to the normal phase at once (object going away, fault). */
void vamp_policy_reset(struct vamp_policy *p, uint64_t now);

/*
 * Class of vCPU @vcpu while it runs @task (VAMP_TASK_UNKNOWN: not known). A
 * plan made from tasks looks at the task; an unknown task, or a plan made
 * from vCPUs, at the vCPU.
 */
enum vamp_class vamp_policy_class(const struct vamp_policy *p, uint32_t vcpu,
                                  uint64_t task);

/* Load and potential load of a vCPU over the window before @now, per mille. */
uint32_t vamp_policy_vcpu_run(const struct vamp_policy *p, uint32_t vcpu,
                              uint64_t now);
uint32_t vamp_policy_vcpu_wait(const struct vamp_policy *p, uint32_t vcpu,
                               uint64_t now);

/* Constant English text: one clause, no full stop. */
const char *vamp_reason_text(enum vamp_reason reason);
/* "normal", "non-mixed", "mixed" */
const char *vamp_phase_name(enum vamp_phase phase);
/* "neutral", "interactive", "background" */
const char *vamp_class_name(enum vamp_class vclass);

#endif /* VAMP_CORE_POLICY_H */
