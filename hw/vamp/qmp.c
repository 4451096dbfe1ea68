/*
 * VAMP: QMP commands
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp.h"
#include "hw/core/cpu.h"
#include "vamp-int.h"

static char *task_text(uint64_t task)
{
    return g_strdup_printf("0x%" PRIx64, task);
}

/* The guest's name of @task and its @id, 0 none; NULL: it has not told. */
static const char *task_name(const VampKvmNames *names, uint64_t task,
                             int64_t *id)
{
    const struct vamp_hint_task *known = vamp_guest_task(task);
    const VampKvmName *name = vamp_names_find(names, task);

    if (known) {
        *id = known->id;
        return known->name;
    }
    *id = name ? name->id : 0;
    return name ? name->name : NULL;
}

static VampTask *task_info(const VampKvmNames *names, uint64_t task,
                           uint32_t permille)
{
    VampTask *t = g_new0(VampTask, 1);

    t->task = task_text(task);
    t->load_percent = permille / 10.0;
    t->name = g_strdup(task_name(names, task, &t->id));
    t->has_id = t->id != 0;
    return t;
}

/* Why a vCPU has its class, in words: a plan by the guest, for vCPUs. */
static const char *hinted_reason(enum vamp_class vclass)
{
    return vclass == VAMP_CLASS_BACKGROUND
           ? "the guest runs its background tasks on it"
           : "the guest runs no background task on it";
}

/* ... any plan. */
static const char *class_reason(VampPolicy *p, unsigned vcpu,
                                enum vamp_class vclass)
{
    const struct vamp_policy *core = p->core;

    if (p->plan_hinted && core->phase == VAMP_PHASE_MIXED && !core->by_task) {
        return hinted_reason(vclass);
    }
    switch (vclass) {
    case VAMP_CLASS_BACKGROUND:
        return core->by_task ? "it runs a background task"
                             : "it was busy before the phase began";
    case VAMP_CLASS_INTERACTIVE:
        if (core->phase == VAMP_PHASE_NON_MIXED) {
            return "a user is served, and nothing is in the background";
        }
        if (!core->by_task) {
            return "it was not busy before the phase began";
        }
        return qatomic_read(&p->vcpu[vcpu].idle)
               ? "it is idle" : "it runs no background task";
    default:
        return core->phase == VAMP_PHASE_NORMAL
               ? "no phase is on" : "nothing is in the background";
    }
}

static VampVcpuInfo *vcpu_info(VampPolicy *p, const VampKvmNames *names,
                               unsigned index, uint64_t now)
{
    VampVcpu *v = &p->vcpu[index];
    VampVcpuInfo *info = g_new0(VampVcpuInfo, 1);
    VampKvmVcpu kvm = { 0 };
    bool by_kvm = vamp_tracker_look(p, index, &kvm) &&
                  vamp_actuator_by_plan(p);
    uint64_t task = qatomic_read(&v->rec.task);
    enum vamp_class vclass = by_kvm ? kvm.vclass :
                                      vamp_phase_class(p, index, task);
    VampActuation act = { 0 };

    info->cpu_index = index;
    info->thread_id = v->tid;
    info->q_class = (VampClass)vclass;
    info->reason = v->attach_error
        ? g_strdup_printf("%s; its weight is left alone: %s",
                          class_reason(p, index, vclass), v->attach_error)
        : g_strdup(by_kvm && kvm.boosted
                   ? "it halted in a background task: whoever wakes it is "
                     "answered at once"
                   : by_kvm && kvm.foreign
                   ? "somebody else has chosen its nice value, which stays"
                   : class_reason(p, index, vclass));
    info->load_percent = vamp_policy_vcpu_run(p->core, index, now) / 10.0;
    info->wait_percent = vamp_policy_vcpu_wait(p->core, index, now) / 10.0;
    if (task != VAMP_TASK_UNKNOWN) {
        int64_t id;

        info->current_task = task_text(task);
        info->current_name = g_strdup(task_name(names, task, &id));
    }
    if (v->attached) {
        p->actuator_class->describe(p->actuator, index, &act);
        info->has_nice = act.has_nice;
        info->nice = act.nice;
        info->has_weight = act.has_weight;
        info->weight = act.weight;
        info->cgroup = act.cgroup;
        info->scheduling = act.scheduling;
    }
    return info;
}

static VampCounters *counters(VampPolicy *p)
{
    VampCounters *c = g_new0(VampCounters, 1);
    const struct vamp_counters *core = &p->core->count;

    c->events = core->events;
    c->events_coalesced = core->events_coalesced;
    c->phases = core->phases;
    c->phases_mixed = core->phases_mixed;
    c->phases_sound = core->phases_sound;
    c->background_overflow = core->background_overflow;
    c->weight_changes = qatomic_read(&p->weight_changes);
    c->faults = p->faults;
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        const VampRecorder *rec = &p->vcpu[i].rec;
        VampKvmVcpu kvm;

        if (vamp_tracker_look(p, i, &kvm) && vamp_actuator_by_plan(p)) {
            c->weight_changes += kvm.weight_changes;
        }
        /* Written by the vCPUs' threads; a count may be a moment old. */
        c->task_switches += qatomic_read(&rec->switches);
        c->samples += qatomic_read(&rec->samples);
        c->tasks_forgotten += qatomic_read(&rec->table.evictions);
    }
    return c;
}

static void fill_phase(VampPolicy *p, const VampKvmNames *names,
                       VampInfo *info, uint64_t now)
{
    const struct vamp_policy *core = p->core;

    info->reason = g_strdup(vamp_reason_text(core->reason));
    info->has_phase = true;
    info->phase = (VampPhase)core->phase;
    info->has_phase_cause = true;
    info->phase_cause = (VampCause)core->cause;
    info->has_phase_age_ms = true;
    info->phase_age_ms = (now - MIN(now, core->since_ns)) / SCALE_MS;
    if (core->phase != VAMP_PHASE_NORMAL) {
        info->has_phase_left_ms = true;
        info->phase_left_ms = (MAX(now, core->until_ns) - now) / SCALE_MS;
    }
    info->has_vm_load_percent = true;
    info->vm_load_percent = core->vm_permille / 10.0;
    if (core->phase == VAMP_PHASE_MIXED && core->by_task) {
        VampTaskList **tail = &info->background_tasks;

        info->has_background_tasks = true;
        for (uint32_t i = 0; i < core->nr_background; i++) {
            QAPI_LIST_APPEND(tail, task_info(names,
                                             core->background[i].task,
                                             core->background[i].permille));
        }
    }
}

static void fill_settings(VampPolicy *p, VampInfo *info)
{
    VampTriggerList **tail = &info->trigger;

    info->has_ratio = true;
    info->ratio = p->ratio;
    info->has_bg_load_percent = true;
    info->bg_load_percent = p->cfg.bg_percent;
    info->has_max_phase_ms = true;
    info->max_phase_ms = p->cfg.max_phase_ms;
    info->has_load_period_ms = true;
    info->load_period_ms = p->cfg.period_ms;
    info->has_trigger = true;
    for (int i = 0; i < VAMP_TRIGGER__MAX; i++) {
        if (p->triggers & (1u << i)) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
}

static VampBrokerInfo *broker_info(VampPolicy *p)
{
    struct vamp_broker_page page;
    VampBrokerInfo *info;
    uint64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!p->actuator || !p->actuator_class->account ||
        !p->actuator_class->account(p->actuator, &page)) {
        return NULL;
    }
    info = g_new0(VampBrokerInfo, 1);
    info->path = g_strdup(p->broker);
    info->state = (VampBrokerState)page.state;
    info->reason = g_strdup(page.reason);
    info->age_ms = (now - MIN(now, page.updated_ns)) / SCALE_MS;
    info->debt_ms = page.debt_ns / (double)SCALE_MS;
    info->used_ms = page.used_ns / (double)SCALE_MS;
    info->entitled_ms = page.entitled_ns / (double)SCALE_MS;
    info->share_percent = page.share_ppm / 10000.0;
    info->has_weight = info->has_weight_base = page.weight != 0;
    info->weight = page.weight;
    info->weight_base = page.weight_base;
    info->boosts = page.boosts;
    info->guards = page.guards;
    info->faults = page.faults;
    return info;
}

static void fill_means(VampPolicy *p, VampInfo *info)
{
    bool tells;

    info->tracker = g_new0(VampTrackerInfo, 1);
    info->tracker->requested = p->tracker_wanted;
    info->tracker->active = p->tracker;
    if (p->tracker == VAMP_TRACKER_KVM) {
        g_autofree char *how = vamp_kvm_tracking();

        info->tracker->reason = g_strdup_printf("%s; %s", p->tracker_reason,
                                                how);
    } else {
        info->tracker->reason = g_strdup(p->tracker_reason);
    }

    info->actuator = g_new0(VampActuatorInfo, 1);
    info->actuator->requested = p->actuator_wanted;
    info->actuator->active = p->actuator_kind;
    info->actuator->reason = g_strdup(p->actuator_reason);
    info->actuator->broker = broker_info(p);

    info->sound = g_new0(VampSoundInfo, 1);
    info->sound->requested = p->audio_wanted;
    tells = vamp_guest_speaker() && p->audio_wanted != ON_OFF_AUTO_OFF;
    info->sound->active = p->sound || tells;
    info->sound->playing = p->sound_playing;
    info->sound->reason = g_strdup_printf("%s%s", p->sound_reason,
                                          tells ? "; the guest tells of its "
                                                  "sound" : "");

    info->sound->tracking = vamp_sound_track_info(p);

    info->fault = g_strdup(p->fault);
}

VampInfo *qmp_vamp_query(Error **errp)
{
    VampInfo *info = g_new0(VampInfo, 1);
    VampPolicy *p = vamp_policy_get();
    VampVcpuInfoList **tail = &info->vcpus;
    g_autofree VampKvmNames *names = NULL;
    uint64_t now;

    names = p && p->running ? vamp_names_read(p) : NULL;
    info->guest = vamp_guest_info(names ? p : NULL, names);
    if (!p) {
        info->reason = g_strdup("there is no vamp-policy object");
        return info;
    }
    if (!p->running) {
        info->reason = g_strdup("the machine is not ready yet");
        return info;
    }
    info->id = g_strdup(p->id);
    fill_settings(p, info);
    now = vamp_now(p);
    vamp_vcpu_update_loads(p, now);
    info->enabled = true;
    fill_phase(p, names, info, now);
    fill_means(p, info);
    info->names = vamp_names_info(p, names);
    info->has_vcpus = true;
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            QAPI_LIST_APPEND(tail, vcpu_info(p, names, i, now));
        }
    }
    info->counters = counters(p);
    return info;
}

void qmp_vamp_input(bool has_kind, VampTrigger kind, Error **errp)
{
    VampPolicy *p = vamp_policy_get();

    if (!p) {
        error_setg(errp, "there is no vamp-policy object to tell of the event");
        return;
    }
    if (p->triggers & (1u << (has_kind ? kind : VAMP_TRIGGER_KEY))) {
        vamp_phase_input(p);
    }
}
