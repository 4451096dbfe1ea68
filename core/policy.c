/*
 * The policy of one VM: the phases, and the events that move between them
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "policy.h"
#include "classify.h"

#define NS_PER_MS   1000000ull

size_t vamp_policy_size(uint32_t max_vcpus)
{
    return sizeof(struct vamp_policy)
           + (size_t)max_vcpus * sizeof(struct vamp_vcpu)
           + vamp_classify_scratch_size(max_vcpus);
}

void vamp_config_default(struct vamp_config *cfg)
{
    cfg->bg_percent = VAMP_BG_PERCENT_DEFAULT;
    cfg->max_phase_ms = VAMP_MAX_PHASE_MS_DEFAULT;
    cfg->period_ms = VAMP_PERIOD_MS_DEFAULT;
}

const char *vamp_config_error(const struct vamp_config *cfg)
{
    if (cfg->bg_percent < VAMP_BG_PERCENT_MIN
        || cfg->bg_percent > VAMP_BG_PERCENT_MAX) {
        return "the background threshold must be 1 to 100 percent";
    }
    if (cfg->max_phase_ms < VAMP_MAX_PHASE_MS_MIN
        || cfg->max_phase_ms > VAMP_MAX_PHASE_MS_MAX) {
        return "the longest phase must be 100 to 60000 ms";
    }
    if (cfg->period_ms < VAMP_PERIOD_MS_MIN
        || cfg->period_ms > VAMP_PERIOD_MS_MAX
        || (cfg->period_ms & (cfg->period_ms - 1)) != 0) {
        return "the load period must be a power of two from 4 to 1024 ms";
    }
    return NULL;
}

static void vcpu_clear(struct vamp_vcpu *v)
{
    v->present = false;
    vamp_ring_init(&v->run);
    vamp_ring_init(&v->wait);
    v->vclass = VAMP_CLASS_NEUTRAL;
    v->halt_task = VAMP_TASK_UNKNOWN;
    v->halt_round = 0;
}

static bool vcpu_present(const struct vamp_policy *p, uint32_t vcpu)
{
    return vcpu < p->max_vcpus && p->vcpu[vcpu].present;
}

static struct vamp_vcpu *vcpu_get(struct vamp_policy *p, uint32_t vcpu)
{
    return vcpu_present(p, vcpu) ? &p->vcpu[vcpu] : NULL;
}

static const struct vamp_vcpu *vcpu_peek(const struct vamp_policy *p,
                                         uint32_t vcpu)
{
    return vcpu_present(p, vcpu) ? &p->vcpu[vcpu] : NULL;
}

static void enter_normal(struct vamp_policy *p, enum vamp_reason reason,
                         uint64_t now)
{
    p->phase = VAMP_PHASE_NORMAL;
    p->cause = VAMP_CAUSE_NONE;
    p->reason = reason;
    p->since_ns = now;
    p->until_ns = UINT64_MAX;
    vamp_classify_clear(p);
}

void vamp_policy_init(struct vamp_policy *p, uint32_t max_vcpus,
                      const struct vamp_config *cfg, uint64_t now)
{
    static const struct vamp_counters no_counts;
    static const struct vamp_task_load no_task;
    uint32_t i;

    p->cfg = *cfg;
    p->period_ns = cfg->period_ms * NS_PER_MS;
    p->have_event = false;
    p->last_event_ns = 0;
    p->sound = false;
    for (i = 0; i < VAMP_PLAN_TASKS; i++) {
        p->background[i] = no_task;
    }
    p->vm_permille = 0;
    p->system_task = VAMP_TASK_UNKNOWN;
    p->audio_task = VAMP_TASK_UNKNOWN;
    p->count = no_counts;
    p->nr_present = 0;
    p->halt_seen = 0;
    p->halt_streak = 0;
    p->halt_round = 1;
    p->halt_candidate = VAMP_TASK_UNKNOWN;
    p->max_vcpus = max_vcpus;
    for (i = 0; i < max_vcpus; i++) {
        vcpu_clear(&p->vcpu[i]);
    }
    enter_normal(p, VAMP_REASON_START, now);
}

void vamp_policy_configure(struct vamp_policy *p,
                           const struct vamp_config *cfg)
{
    uint32_t i;

    if (cfg->period_ms != p->cfg.period_ms) {
        for (i = 0; i < p->max_vcpus; i++) {
            vamp_ring_init(&p->vcpu[i].run);
            vamp_ring_init(&p->vcpu[i].wait);
        }
    }
    p->cfg = *cfg;
    p->period_ns = cfg->period_ms * NS_PER_MS;
}

/* Is the candidate the task of every vCPU's last halt, and proven enough? */
static void system_task_update(struct vamp_policy *p)
{
    bool proven = p->nr_present > 1 ? p->halt_seen == p->nr_present :
                  p->halt_seen == 1 && p->halt_streak >= VAMP_SINGLE_VCPU_HALTS;

    uint64_t task = proven ? p->halt_candidate : VAMP_TASK_UNKNOWN;

    if (task == p->system_task) {
        return;
    }
    p->system_task = task;
    if (proven) {
        vamp_classify_exempt(p, task);
    }
}

void vamp_policy_vcpu_add(struct vamp_policy *p, uint32_t vcpu)
{
    if (vcpu >= p->max_vcpus) {
        return;
    }
    vamp_policy_vcpu_del(p, vcpu);
    p->vcpu[vcpu].present = true;
    p->nr_present++;
    system_task_update(p);
}

void vamp_policy_vcpu_del(struct vamp_policy *p, uint32_t vcpu)
{
    struct vamp_vcpu *v = vcpu_get(p, vcpu);

    if (!v) {
        return;
    }
    if (v->halt_round == p->halt_round) {
        p->halt_seen--;
    }
    p->nr_present--;
    vcpu_clear(v);
    vamp_classify_settle(p);
    system_task_update(p);
}

void vamp_policy_vcpu_load(struct vamp_policy *p, uint32_t vcpu,
                           uint64_t t0, uint64_t t1,
                           uint64_t run_ns, uint64_t wait_ns)
{
    struct vamp_vcpu *v = vcpu_get(p, vcpu);

    if (v) {
        vamp_ring_add(&v->run, p->period_ns, t0, t1, run_ns);
        vamp_ring_add(&v->wait, p->period_ns, t0, t1, wait_ns);
    }
}

void vamp_policy_halted(struct vamp_policy *p, uint32_t vcpu, uint64_t task)
{
    struct vamp_vcpu *v = vcpu_get(p, vcpu);

    /* An unknown task says nothing, neither for nor against. */
    if (!v || task == VAMP_TASK_UNKNOWN) {
        return;
    }
    v->halt_task = task;
    /*
     * "Always" means that one other task refutes what was seen so far: all
     * vCPUs must confirm anew. Counting rounds, instead of clearing every
     * vCPU, keeps this cheap for a guest that alternates on purpose.
     */
    if (task != p->halt_candidate) {
        p->halt_candidate = task;
        p->halt_round++;
        p->halt_seen = 0;
        p->halt_streak = 0;
    }
    if (v->halt_round != p->halt_round) {
        v->halt_round = p->halt_round;
        p->halt_seen++;
    }
    if (p->halt_streak < UINT32_MAX) {
        p->halt_streak++;
    }
    system_task_update(p);
}

void vamp_policy_set_audio_task(struct vamp_policy *p, uint64_t task)
{
    p->audio_task = task;
    if (task != VAMP_TASK_UNKNOWN) {
        vamp_classify_exempt(p, task);
    }
}

bool vamp_policy_input(struct vamp_policy *p, uint64_t now)
{
    /*
     * From the event that the phase stands for, not from the last one: who
     * types without a pause would be left alone when the phase ends, in the
     * middle of a word.
     */
    bool soon = p->have_event && now - p->last_event_ns <
                                 VAMP_DOUBLE_CLICK_MS * NS_PER_MS;
    /* Past its end a phase runs no more, even if the caller's timer is late. */
    bool runs = p->phase != VAMP_PHASE_NORMAL && now < p->until_ns;

    p->count.events++;
    if (now < p->last_event_ns) {
        /* The clock ran backwards: it begins anew here. */
        p->last_event_ns = now;
        soon = p->have_event;
    }
    if (soon && runs) {
        p->count.events_coalesced++;
        return false;
    }
    p->have_event = true;
    p->last_event_ns = now;
    return true;
}

bool vamp_policy_sound(struct vamp_policy *p, bool on)
{
    bool began = on && !p->sound;

    p->sound = on;
    return began && p->phase == VAMP_PHASE_NORMAL;
}

/* The plan is made: the phase lasts from now on. */
static void begin(struct vamp_policy *p, uint64_t now, enum vamp_cause cause)
{
    uint64_t length = p->cfg.max_phase_ms * NS_PER_MS;

    p->cause = cause;
    p->since_ns = now;
    /* UINT64_MAX is the normal phase's: even at the end of time it ends. */
    p->until_ns = now < UINT64_MAX - 1 - length ? now + length : UINT64_MAX - 1;
    p->count.phases++;
    if (p->phase == VAMP_PHASE_MIXED) {
        p->count.phases_mixed++;
    }
    if (cause == VAMP_CAUSE_SOUND) {
        p->count.phases_sound++;
    }
}

void vamp_policy_begin(struct vamp_policy *p, uint64_t now,
                       enum vamp_cause cause,
                       const struct vamp_task_table *const *tables)
{
    vamp_classify(p, now, tables);
    begin(p, now, cause);
}

void vamp_policy_begin_hinted(struct vamp_policy *p, uint64_t now,
                              enum vamp_cause cause,
                              const struct vamp_hinted *hinted)
{
    vamp_classify_hinted(p, now, hinted);
    begin(p, now, cause);
}

void vamp_policy_rehint(struct vamp_policy *p,
                        const struct vamp_hinted *hinted)
{
    if (p->phase != VAMP_PHASE_NORMAL && !vamp_classify_low_load(p)) {
        vamp_classify_rehint(p, hinted);
    }
}

bool vamp_policy_expire(struct vamp_policy *p, uint64_t now)
{
    if (p->phase == VAMP_PHASE_NORMAL) {
        return true;
    }
    /* A clock that ran backwards must not make a phase last for ever. */
    if (now >= p->since_ns && now < p->until_ns) {
        return true;
    }
    if (p->sound) {
        return false;
    }
    enter_normal(p, VAMP_REASON_EXPIRED, now);
    return true;
}

void vamp_policy_reset(struct vamp_policy *p, uint64_t now)
{
    enter_normal(p, VAMP_REASON_RESET, now);
}

enum vamp_class vamp_policy_class(const struct vamp_policy *p, uint32_t vcpu,
                                  uint64_t task)
{
    const struct vamp_vcpu *v = vcpu_peek(p, vcpu);
    uint32_t i;

    if (!v || p->phase != VAMP_PHASE_MIXED) {
        return VAMP_CLASS_NEUTRAL;
    }
    if (!p->by_task || task == VAMP_TASK_UNKNOWN) {
        return v->vclass;
    }
    for (i = 0; i < p->nr_background; i++) {
        if (p->background[i].task == task) {
            return VAMP_CLASS_BACKGROUND;
        }
    }
    return VAMP_CLASS_INTERACTIVE;
}

uint32_t vamp_policy_vcpu_run(const struct vamp_policy *p, uint32_t vcpu,
                              uint64_t now)
{
    const struct vamp_vcpu *v = vcpu_peek(p, vcpu);

    return v ? vamp_ring_permille(&v->run, p->period_ns, now) : 0;
}

uint32_t vamp_policy_vcpu_wait(const struct vamp_policy *p, uint32_t vcpu,
                               uint64_t now)
{
    const struct vamp_vcpu *v = vcpu_peek(p, vcpu);

    return v ? vamp_ring_permille(&v->wait, p->period_ns, now) : 0;
}

const char *vamp_reason_text(enum vamp_reason reason)
{
    switch (reason) {
    case VAMP_REASON_START:
        return "no event so far";
    case VAMP_REASON_EXPIRED:
        return "the phase lasted its time";
    case VAMP_REASON_LOW_LOAD:
        return "the load of the VM is not above the threshold";
    case VAMP_REASON_NO_BACKGROUND:
        return "the VM is loaded, but nothing in it is in the background";
    case VAMP_REASON_ALL_BUSY:
        return "every vCPU is above the threshold";
    case VAMP_REASON_BACKGROUND:
        return "there is background work beside the user's";
    case VAMP_REASON_RESET:
        return "the policy was reset";
    }
    return "unknown";
}

const char *vamp_phase_name(enum vamp_phase phase)
{
    switch (phase) {
    case VAMP_PHASE_NORMAL:
        return "normal";
    case VAMP_PHASE_NON_MIXED:
        return "non-mixed";
    case VAMP_PHASE_MIXED:
        return "mixed";
    }
    return "unknown";
}

const char *vamp_class_name(enum vamp_class vclass)
{
    switch (vclass) {
    case VAMP_CLASS_NEUTRAL:
        return "neutral";
    case VAMP_CLASS_INTERACTIVE:
        return "interactive";
    case VAMP_CLASS_BACKGROUND:
        return "background";
    }
    return "unknown";
}
