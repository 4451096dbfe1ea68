/*
 * VAMP: from an event to the weights of threads
 *
 * An event makes the core decide; its decision becomes a plan that vCPU
 * threads can read without a lock, and each thread gets the weight of its
 * class. While a mixed phase is on, a vCPU's thread changes its own weight
 * when its task changes.
 *
 * Two threads may set the weight of one vCPU: the main loop, for a new plan,
 * and the vCPU's own. Neither waits for the other. The main loop publishes
 * the plan first and looks at the task afterwards; a vCPU's thread publishes
 * the task first and looks at the plan afterwards. So at least one of the two
 * sees both news; each looks again when it is done, and so the last
 * to write has seen the latest of both.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "hw/core/cpu.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vamp.h"
#include "vamp-int.h"
#include "trace.h"

/*
 * How often one side looks again because the other has been at work. Each
 * round is a weight change of some microseconds; a task switch comes at most
 * every few of them.
 */
#define VAMP_APPLY_TRIES 8

/* --- plan ---------------------------------------------------------------- */

/* A user is served, nothing is in the background, and that matters. */
static bool boosts_all(const VampPolicy *p)
{
    return p->core->phase == VAMP_PHASE_NON_MIXED && p->actuator &&
           p->actuator_class->boosts;
}

/* A vCPU's class is its task's, unless it is idle. */
static bool by_task(const VampPolicy *p)
{
    return p->core->phase == VAMP_PHASE_MIXED && p->core->by_task;
}

/* Has any vCPU a class other than neutral? */
static bool has_classes(const VampPolicy *p)
{
    return p->core->phase == VAMP_PHASE_MIXED || boosts_all(p);
}

static void plan_publish(VampPolicy *p)
{
    const struct vamp_policy *core = p->core;
    VampPlan *plan = &p->plan;

    seqlock_write_begin(&plan->seq);
    qatomic_set(&plan->on, by_task(p) || boosts_all(p));
    qatomic_set(&plan->nr_tasks,
                core->phase == VAMP_PHASE_MIXED ? core->nr_background : 0);
    for (uint32_t i = 0; i < core->nr_background; i++) {
        qatomic_set(&plan->task[i], core->background[i].task);
    }
    seqlock_write_end(&plan->seq);
    /* The plan is visible before the caller looks at the vCPUs' tasks. */
    smp_mb();
}

/*
 * The class that the plan gives to @task. Returns false if the plan is being
 * written: then the main loop is about to set all weights anyway.
 */
static bool plan_class(const VampPlan *plan, uint64_t task, unsigned *seq,
                       enum vamp_class *vclass)
{
    unsigned n;

    *seq = seqlock_read_begin(&plan->seq);
    *vclass = VAMP_CLASS_NEUTRAL;
    if (qatomic_read(&plan->on)) {
        *vclass = VAMP_CLASS_INTERACTIVE;
        n = MIN(qatomic_read(&plan->nr_tasks), VAMP_PLAN_TASKS);
        for (unsigned i = 0; i < n; i++) {
            if (qatomic_read(&plan->task[i]) == task) {
                *vclass = VAMP_CLASS_BACKGROUND;
                break;
            }
        }
    }
    return !seqlock_read_retry(&plan->seq, *seq);
}

/* --- weights ------------------------------------------------------------- */

static int apply_class(VampPolicy *p, unsigned vcpu, enum vamp_class vclass)
{
    int ret;

    if (vamp_actuator_by_plan(p)) {
        return 0;
    }
    ret = p->actuator_class->apply(p->actuator, vcpu, vclass);

    if (ret == 0) {
        qatomic_set(&p->vcpu[vcpu].applied, vclass);
        qatomic_inc(&p->weight_changes);
    }
    return ret;
}

/* The vCPU's thread: its own weight for @task. */
static void apply_own(VampPolicy *p, unsigned vcpu, uint64_t task)
{
    VampVcpu *v = &p->vcpu[vcpu];
    enum vamp_class vclass;
    bool force = false;
    unsigned seq;

    for (int i = 0; i < VAMP_APPLY_TRIES; i++) {
        int ret;

        if (!plan_class(&p->plan, task, &seq, &vclass)) {
            return;
        }
        if (!force && qatomic_read(&v->applied) == vclass) {
            return;
        }
        ret = apply_class(p, vcpu, vclass);
        if (ret < 0) {
            /* Only say it: undoing is the main loop's. */
            qatomic_set(&p->fault_vcpu, vcpu);
            qatomic_set(&p->fault_errno, -ret);
            qemu_bh_schedule(p->fault_bh);
            return;
        }
        /* The weight is set before we look again. */
        smp_mb();
        if (!seqlock_read_retry(&p->plan.seq, seq)) {
            return;
        }
        force = true;
    }
}

void vamp_phase_task_switched(VampPolicy *p, unsigned vcpu, uint64_t task)
{
    VampVcpu *v = &p->vcpu[vcpu];

    /* Our task is visible before we look at the plan. */
    smp_mb();
    if (!qatomic_read(&p->plan.on)) {
        return;
    }
    qatomic_set(&v->idle, false);
    qatomic_set(&v->applying, 1);
    /* Whoever detaches us sees that we are inside, or we see that he did. */
    smp_mb();
    if (qatomic_read(&v->attached)) {
        apply_own(p, vcpu, task);
    }
    qatomic_store_release(&v->applying, 0);
}

enum vamp_class vamp_phase_class(VampPolicy *p, unsigned vcpu, uint64_t task)
{
    enum vamp_class vclass = vamp_policy_class(p->core, vcpu, task);

    if (boosts_all(p) || vamp_serve_all(p)) {
        return VAMP_CLASS_INTERACTIVE;
    }
    /* A vCPU that the guest keeps for its background serves nobody. */
    if (vclass == VAMP_CLASS_BACKGROUND && !(p->plan_hinted && !by_task(p)) &&
        qatomic_read(&p->vcpu[vcpu].idle)) {
        vclass = VAMP_CLASS_INTERACTIVE;
    }
    return vclass;
}

/*
 * Main loop: the weight of one vCPU, whatever it was. On failure everything
 * is put back and the policy is in the normal phase.
 */
static bool apply_vcpu(VampPolicy *p, unsigned vcpu)
{
    VampVcpu *v = &p->vcpu[vcpu];
    g_autofree char *reason = NULL;
    uint64_t task;
    int tries = 0;

    do {
        enum vamp_class vclass;
        int ret;

        task = qatomic_read(&v->rec.task);
        vclass = vamp_phase_class(p, vcpu, task);
        trace_vamp_class(vcpu, task, vamp_class_name(vclass));
        ret = apply_class(p, vcpu, vclass);
        if (ret < 0) {
            reason = g_strdup_printf("the weight of vCPU %u (thread %d) "
                                     "cannot be changed: %s", vcpu, v->tid,
                                     strerror(-ret));
            vamp_policy_fault(p, reason);
            return false;
        }
        /* The weight is set before we look again. */
        smp_mb();
    } while (task != qatomic_read(&v->rec.task) && ++tries < VAMP_APPLY_TRIES);
    return true;
}

static bool apply_all(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].attached && !apply_vcpu(p, i)) {
            return false;
        }
    }
    return true;
}

/*
 * Publishes the plan, to KVM's companion modules as well. False: they have
 * refused a plan that matters, and everything is put back.
 */
static bool plan_make_true(VampPolicy *p)
{
    Error *err = NULL;

    plan_publish(p);
    if (vamp_tracker_plan(p, &err)) {
        return true;
    }
    if (p->core->phase != VAMP_PHASE_MIXED) {
        /* Off, they have no plan to end. */
        error_free(err);
        return true;
    }
    vamp_policy_fault(p, error_get_pretty(err));
    error_free(err);
    return false;
}

void vamp_phase_reapply(VampPolicy *p)
{
    if (plan_make_true(p) && has_classes(p)) {
        apply_all(p);
    }
}

/* False: a fault has ended the phase. */
static bool correct_vcpu(VampPolicy *p, unsigned vcpu)
{
    VampVcpu *v = &p->vcpu[vcpu];

    return !v->attached ||
           qatomic_read(&v->applied) ==
           vamp_phase_class(p, vcpu, qatomic_read(&v->rec.task)) ||
           apply_vcpu(p, vcpu);
}

bool vamp_phase_correct(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (!correct_vcpu(p, i)) {
            return false;
        }
    }
    return true;
}

void vamp_phase_look(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (vamp_tracker_look(p, i, NULL)) {
            qatomic_set(&p->vcpu[i].idle, false);
            if (!correct_vcpu(p, i)) {
                return;
            }
        }
    }
}

/* --- phases -------------------------------------------------------------- */

static unsigned count_background(VampPolicy *p)
{
    unsigned n = 0;

    if (p->core->phase != VAMP_PHASE_MIXED) {
        return 0;
    }
    if (p->core->by_task) {
        return p->core->nr_background;
    }
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        n += p->vcpu[i].cpu && p->core->vcpu[i].vclass == VAMP_CLASS_BACKGROUND;
    }
    return n;
}

/* The core has decided: make it true, and say so to all but the guest. */
static void plan_changed(VampPolicy *p, enum vamp_phase before)
{
    const struct vamp_policy *core = p->core;
    unsigned background = count_background(p);

    trace_vamp_phase(vamp_phase_name(core->phase), VampCause_str(core->cause),
                     vamp_reason_text(core->reason), core->vm_permille,
                     background);
    if (!plan_make_true(p)) {
        /* The fault has ended the phase and told of it. */
        return;
    }
    /* Else every vCPU was neutral, and stays it. */
    if (before == VAMP_PHASE_MIXED || has_classes(p) ||
        (p->actuator && p->actuator_class->boosts)) {
        for (uint32_t i = 0; i < core->nr_background; i++) {
            trace_vamp_background_task(core->background[i].task,
                                       core->background[i].permille);
        }
        if (!apply_all(p)) {
            /* The fault has ended the phase and told of it. */
            return;
        }
    }
    vamp_idle_watch(p, by_task(p) && !vamp_actuator_by_plan(p));
    if (core->phase == VAMP_PHASE_NORMAL) {
        timer_del(p->phase_timer);
    } else {
        timer_mod_ns(p->phase_timer, core->until_ns);
    }
    qapi_event_send_vamp_phase_change(p->id, (VampPhase)core->phase,
                                      (VampCause)core->cause,
                                      vamp_reason_text(core->reason),
                                      background);
}

/* ... and to the guest. */
static void phase_changed(VampPolicy *p, enum vamp_phase before)
{
    plan_changed(p, before);
    vamp_guest_tell_phase();
}

void vamp_phase_recheck(VampPolicy *p, void (*change)(VampPolicy *, unsigned),
                        unsigned vcpu)
{
    enum vamp_phase before = p->core->phase;
    uint32_t nr_background = p->core->nr_background;

    change(p, vcpu);
    if (before != p->core->phase || nr_background != p->core->nr_background) {
        phase_changed(p, before);
    }
}

/* What ran on each vCPU, NULL if nobody has seen it. */
static const struct vamp_task_table *const *host_view(VampPolicy *p,
                                                      uint64_t now)
{
    if (p->tracker != p->eyes || p->eyes == VAMP_TRACKER_NONE) {
        return NULL;
    }
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        VampVcpu *v = &p->vcpu[i];

        p->tables[i] = v->cpu && vamp_tracker_copy(p, i, now) ?
                       &p->snapshot[i] : NULL;
    }
    return p->tables;
}

static void phase_begin(VampPolicy *p, uint64_t now, enum vamp_cause cause)
{
    enum vamp_phase before = p->core->phase;
    struct vamp_hinted hinted;

    vamp_vcpu_update_loads(p, now);
    vamp_sound_track(p);
    p->plan_hinted = vamp_guest_plan(p, &hinted);
    if (p->plan_hinted) {
        vamp_policy_begin_hinted(p->core, now, cause, &hinted);
    } else {
        vamp_policy_begin(p->core, now, cause, host_view(p, now));
    }
    vamp_idle_begin(p, now);
    vamp_actuator_recheck(p);
    if (cause == VAMP_CAUSE_INPUT) {
        vamp_serve_begin(p, now);
    }
    phase_changed(p, before);
}

void vamp_phase_rehint(VampPolicy *p)
{
    enum vamp_phase before = p->core->phase;
    unsigned background = count_background(p);
    struct vamp_hinted hinted;

    if (!p->plan_hinted || before == VAMP_PHASE_NORMAL ||
        !vamp_guest_plan(p, &hinted)) {
        return;
    }
    vamp_policy_rehint(p->core, &hinted);
    if (before != p->core->phase || background != count_background(p)) {
        /* Not to the guest: it would answer, and so for ever. */
        plan_changed(p, before);
    } else {
        vamp_phase_reapply(p);
    }
}

void vamp_phase_reset(VampPolicy *p)
{
    enum vamp_phase before = p->core->phase;

    vamp_policy_reset(p->core, vamp_now(p));
    if (before != VAMP_PHASE_NORMAL) {
        phase_changed(p, before);
    }
}

static void phase_timer_cb(void *opaque)
{
    VampPolicy *p = opaque;
    enum vamp_phase before = p->core->phase;
    uint64_t now = vamp_now(p);

    if (now < p->core->until_ns) {
        timer_mod_ns(p->phase_timer, p->core->until_ns);
        return;
    }
    if (!vamp_policy_expire(p->core, now)) {
        phase_begin(p, now, VAMP_CAUSE_SOUND);
    } else if (before != p->core->phase) {
        phase_changed(p, before);
    } else if (before != VAMP_PHASE_NORMAL) {
        timer_mod_ns(p->phase_timer, p->core->until_ns);
    }
}

/* --- events -------------------------------------------------------------- */

void vamp_phase_input(VampPolicy *p)
{
    uint64_t now = vamp_now(p);
    bool begins;

    vamp_policy_ensure_started(p);
    if (!p->running || !p->vm_running) {
        return;
    }
    begins = vamp_policy_input(p->core, now);
    trace_vamp_event("input", begins);
    if (begins) {
        phase_begin(p, now, VAMP_CAUSE_INPUT);
    } else if (vamp_serve_begin(p, now)) {
        vamp_phase_correct(p);
    }
}

static void input_bh(void *opaque)
{
    vamp_phase_input(opaque);
}

static void sound_update(VampPolicy *p)
{
    bool playing = p->sound_heard || p->sound_told;
    bool begins;

    if (playing == p->sound_playing) {
        return;
    }
    p->sound_playing = playing;
    begins = vamp_policy_sound(p->core, playing);
    trace_vamp_event("sound", begins);
    if (begins && p->vm_running) {
        phase_begin(p, vamp_now(p), VAMP_CAUSE_SOUND);
    }
}

void vamp_phase_sound(void *opaque, bool playing)
{
    VampPolicy *p = opaque;

    p->sound_heard = playing;
    sound_update(p);
}

void vamp_phase_sound_told(VampPolicy *p, bool playing)
{
    p->sound_told = playing;
    sound_update(p);
}

static void fault_bh(void *opaque)
{
    VampPolicy *p = opaque;
    g_autofree char *reason = NULL;
    int err = qatomic_xchg(&p->fault_errno, 0);

    if (err) {
        reason = g_strdup_printf("the weight of vCPU %d cannot be changed: %s",
                                 qatomic_read(&p->fault_vcpu), strerror(err));
        vamp_policy_fault(p, reason);
    }
}

/*
 * The one wake-up of the normal phase: once a window, so that the loads of
 * the window before an event are known to within one window.
 */
static void load_timer_cb(void *opaque)
{
    VampPolicy *p = opaque;
    uint64_t now = vamp_now(p);

    vamp_vcpu_update_loads(p, now);
    vamp_sound_track_recheck(p);
    timer_mod_ns(p->load_timer, now + p->core->period_ns * VAMP_WINDOW_EPOCHS);
}

void vamp_phase_new_period(VampPolicy *p)
{
    /* What ran so far belongs to the old epochs. */
    vamp_vcpu_update_loads(p, vamp_now(p));
    vamp_policy_configure(p->core, &p->cfg);
    /* A new window is over earlier, or later, than the timer thinks. */
    if (timer_pending(p->load_timer)) {
        load_timer_cb(p);
    }
}

void vamp_phase_init(VampPolicy *p)
{
    seqlock_init(&p->plan.seq);
    p->plan.on = false;
    p->input_bh = qemu_bh_new(input_bh, p);
    p->fault_bh = qemu_bh_new(fault_bh, p);
    p->phase_timer = timer_new_ns(p->clock, phase_timer_cb, p);
    p->load_timer = timer_new_ns(p->clock, load_timer_cb, p);
    load_timer_cb(p);
    vamp_idle_init(p);
    vamp_serve_init(p);
    vamp_guest_plan_init(p);
}

void vamp_phase_fini(VampPolicy *p)
{
    g_clear_pointer(&p->input_bh, qemu_bh_delete);
    g_clear_pointer(&p->fault_bh, qemu_bh_delete);
    g_clear_pointer(&p->phase_timer, timer_free);
    g_clear_pointer(&p->load_timer, timer_free);
    vamp_serve_fini(p);
    vamp_idle_fini(p);
    vamp_guest_plan_fini(p);
}
