/*
 * VAMP: the means: tracker, actuator and sound, chosen with reasons
 *
 * Nothing silent: whatever is off or second best says why in vamp-query.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vamp.h"
#include "qemu/error-report.h"
#include "hw/core/cpu.h"
#include "hw/vamp/kvm.h"
#include "vamp-int.h"
#include "trace.h"

/* --- vCPU threads out of the way ----------------------------------------- */

static void do_nothing(CPUState *cpu, run_on_cpu_data data)
{
}

/*
 * Returns when no vCPU thread is inside a call that began before. Drops the
 * BQL while it waits.
 */
void vamp_wait_for_vcpus(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            run_on_cpu(p->vcpu[i].cpu, do_nothing, RUN_ON_CPU_NULL);
        }
    }
}

/* --- actuator ------------------------------------------------------------ */

static const struct {
    VampActuatorKind kind;
    const VampActuatorClass *klass;
} actuators[] = {
    /* In the order of preference of "auto". */
    { VAMP_ACTUATOR_KIND_BROKER, &vamp_actuator_broker },
    { VAMP_ACTUATOR_KIND_KVM, &vamp_actuator_kvm },
    { VAMP_ACTUATOR_KIND_CGROUP, &vamp_actuator_cgroup },
    { VAMP_ACTUATOR_KIND_NICE, &vamp_actuator_nice },
};

bool vamp_actuator_by_plan(const VampPolicy *p)
{
    return p->actuator && !p->actuator_class->apply;
}

bool vamp_actuator_attach(VampPolicy *p, unsigned i, Error **errp)
{
    VampVcpu *v = &p->vcpu[i];
    Error *err = NULL;

    g_clear_pointer(&v->attach_error, g_free);
    if (!p->actuator || !v->cpu) {
        return true;
    }
    if (!p->actuator_class->attach(p->actuator, i, v->tid, &err)) {
        v->attach_error = g_strdup(error_get_pretty(err));
        error_propagate(errp, err);
        return false;
    }
    v->applied = VAMP_CLASS_NEUTRAL;
    qatomic_set(&v->attached, true);
    return true;
}

/*
 * Is no vCPU thread inside apply()? For when they cannot be waited for, since
 * one of them may be the caller, from exit(). They are inside for
 * microseconds, unless they lose their CPU there: that gets 10 ms.
 */
static bool no_vcpu_applies(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        for (int tries = 0; qatomic_read(&p->vcpu[i].applying); tries++) {
            if (tries == 10) {
                return false;
            }
            g_usleep(1000);
        }
    }
    return true;
}

void vamp_actuator_close(VampPolicy *p, bool wait)
{
    if (!p->actuator) {
        return;
    }
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        qatomic_set(&p->vcpu[i].attached, false);
    }
    /* Threads see "not attached" before we look whether one is inside. */
    smp_mb();
    if (wait) {
        vamp_wait_for_vcpus(p);
    } else if (!no_vcpu_applies(p)) {
        /* The process ends, and its threads' weights with it. */
        return;
    }
    if (p->actuator) {
        p->actuator_class->close(p->actuator);
        p->actuator = NULL;
    }
    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
}

static void actuator_lost(void *opaque, const char *reason)
{
    VampPolicy *p = opaque;

    trace_vamp_fault(reason);
    warn_report("vamp-policy: %s", reason);
    p->faults++;
    vamp_actuator_close(p, true);
    vamp_actuator_choose(p);
    /* With the next best, the phase goes on. */
    vamp_phase_reapply(p);
    qapi_event_send_vamp_fault(p->id, reason);
}

/* Tries one; on failure everything is as before. */
static bool actuator_try(VampPolicy *p, const VampActuatorClass *klass,
                         Error **errp)
{
    g_autofree pid_t *tids = g_new0(pid_t, p->max_vcpus);
    unsigned n = 0;

    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            tids[n++] = p->vcpu[i].tid;
        }
    }
    if (!klass->apply && p->tracker_wanted == VAMP_TRACKER_NONE) {
        error_setg(errp, "it acts on the guest's tasks, and tracker=none does "
                   "not tell them");
        return false;
    }
    if (!klass->probe(&p->paths, tids, n, errp)) {
        return false;
    }
    p->actuator = klass->open(&p->paths, p->max_vcpus, p->ratio, errp);
    if (!p->actuator) {
        return false;
    }
    p->actuator_class = klass;
    p->actuator->lost = actuator_lost;
    p->actuator->lost_opaque = p;
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (!vamp_actuator_attach(p, i, errp)) {
            vamp_actuator_close(p, true);
            return false;
        }
    }
    return true;
}

/*
 * To be compared: a thread that was moved needs another actuator, or the same
 * one anew. The broker looks for itself, and a new conversation with it would
 * begin with a new account; so there is nothing to be read then.
 */
static char *thread_groups(const VampPolicy *p, const VampVcpu *v)
{
    g_autofree char *path = NULL;
    char *groups = NULL;

    if (v->cpu && p->actuator_kind != VAMP_ACTUATOR_KIND_BROKER) {
        path = g_strdup_printf("%s/self/task/%d/cgroup", vamp_host_paths.proc,
                               v->tid);
        g_file_get_contents(path, &groups, NULL, NULL);
    }
    return groups;
}

void vamp_actuator_choose(VampPolicy *p)
{
    g_autoptr(GString) why = g_string_new(NULL);
    bool again;

    p->paths = vamp_host_paths;
    p->paths.broker = p->broker;
    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
    g_clear_pointer(&p->fault, g_free);
    if (!p->vm_started) {
        /*
         * Whoever started us stopped may still move threads between groups
         * and drop privileges: libvirt does both before it says "cont".
         */
        g_free(p->actuator_reason);
        p->actuator_reason = g_strdup("chosen when the VM runs for the "
                                      "first time");
        return;
    }
    if (p->actuator_wanted == VAMP_ACTUATOR_KIND_NONE) {
        g_string_append(why, "set to none: phases are only reported");
    }
    for (size_t i = 0; i < ARRAY_SIZE(actuators); i++) {
        bool wanted = p->actuator_wanted == actuators[i].kind;
        Error *err = NULL;

        if (p->actuator_wanted != VAMP_ACTUATOR_KIND_AUTO && !wanted) {
            continue;
        }
        if (actuator_try(p, actuators[i].klass, &err)) {
            p->actuator_kind = actuators[i].kind;
            g_string_append_printf(why, "%s%s", why->len ? "; " : "",
                                   wanted ? "set, and it works here"
                                          : "the best that works here");
            break;
        }
        g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "",
                               actuators[i].klass->name, error_get_pretty(err));
        error_free(err);
    }
    p->actuator_chosen_ns = vamp_now(p);
    again = !g_strcmp0(p->actuator_reason, why->str);
    g_free(p->actuator_reason);
    p->actuator_reason = g_strdup(why->str);
    /* After attach(): it may have moved the threads itself. */
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        g_free(p->vcpu[i].groups);
        p->vcpu[i].groups = thread_groups(p, &p->vcpu[i]);
    }
    trace_vamp_actuator(VampActuatorKind_str(p->actuator_kind),
                        p->actuator_reason);
    if (p->actuator_wanted != VAMP_ACTUATOR_KIND_NONE && !p->actuator &&
        !again) {
        warn_report("vamp-policy changes no weights: %s", p->actuator_reason);
    }
}

/*
 * A choice that found nothing is made again with a later phase: rights may
 * come after the start (a hook of libvirt's). Trying costs some milliseconds
 * of the main loop, so not with each. The broker may have come (back), too.
 */
#define RETRY_NS (10 * NANOSECONDS_PER_SECOND)

static bool worth_another_try(VampPolicy *p)
{
    if (vamp_now(p) - p->actuator_chosen_ns <= RETRY_NS) {
        return false;
    }
    if (!p->actuator) {
        return true;
    }
    return p->actuator_wanted == VAMP_ACTUATOR_KIND_AUTO &&
           p->actuator_kind != VAMP_ACTUATOR_KIND_BROKER &&
           vamp_actuator_broker.probe(&p->paths, NULL, 0, NULL);
}

void vamp_actuator_recheck(VampPolicy *p)
{
    bool moved = worth_another_try(p);

    if (p->fault || p->actuator_wanted == VAMP_ACTUATOR_KIND_NONE) {
        return;
    }
    for (unsigned i = 0; i < p->max_vcpus && !moved; i++) {
        g_autofree char *groups = thread_groups(p, &p->vcpu[i]);

        moved = p->vcpu[i].cpu &&
                (g_strcmp0(groups, p->vcpu[i].groups) ||
                 (p->actuator && p->vcpu[i].attach_error));
    }
    if (moved) {
        vamp_actuator_close(p, true);
        vamp_actuator_choose(p);
    }
}

void vamp_policy_fault(VampPolicy *p, const char *reason)
{
    trace_vamp_fault(reason);
    warn_report("vamp-policy is off: %s", reason);
    g_free(p->fault);
    p->fault = g_strdup(reason);
    p->faults++;
    vamp_actuator_close(p, true);
    g_free(p->actuator_reason);
    p->actuator_reason = g_strdup_printf("turned off by a fault: %s", reason);
    vamp_phase_reset(p);
    qapi_event_send_vamp_fault(p->id, reason);
}

/* --- tracker ------------------------------------------------------------- */

/* The modules have told of another class: which task is it? */
static void kvm_changed(void *opaque)
{
    vamp_phase_look(opaque);
}

void vamp_tracker_start_vcpu(VampPolicy *p, unsigned i)
{
    switch (p->eyes) {
    case VAMP_TRACKER_TCG:
        vamp_tcg_start(p->vcpu[i].cpu);
        break;
    case VAMP_TRACKER_SAMPLE:
        vamp_sample_start(p->vcpu[i].cpu);
        break;
    default:
        break;
    }
}

static void start_all(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            vamp_tracker_start_vcpu(p, i);
        }
    }
}

void vamp_tracker_resume(VampPolicy *p)
{
    /* Samples tell the present task anyway. */
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu && p->eyes == VAMP_TRACKER_TCG) {
            vamp_tcg_look(p->vcpu[i].cpu);
        }
    }
}

void vamp_tracker_stop_vcpu(VampPolicy *p, unsigned i, bool gone)
{
    CPUState *cpu = p->vcpu[i].cpu;

    switch (p->eyes) {
    case VAMP_TRACKER_TCG:
        (gone ? vamp_tcg_gone : vamp_tcg_stop)(cpu);
        break;
    case VAMP_TRACKER_SAMPLE:
        (gone ? vamp_sample_gone : vamp_sample_stop)(cpu);
        break;
    case VAMP_TRACKER_KVM:
        qatomic_set(&p->vcpu[i].rec.task, VAMP_TASK_UNKNOWN);
        break;
    default:
        break;
    }
}

bool vamp_tracker_copy(VampPolicy *p, unsigned i, uint64_t now)
{
    VampVcpu *v = &p->vcpu[i];

    if (p->tracker == VAMP_TRACKER_KVM) {
        vamp_tracker_look(p, i, NULL);
        return vamp_kvm_copy(v->cpu, &p->snapshot[i]);
    }
    if (!qatomic_read(&v->rec.enabled)) {
        return false;
    }
    /* If it cannot be copied now, the last copy has to do. */
    vamp_recorder_copy(&v->rec, now, v->run_ns, &p->snapshot[i]);
    return true;
}

bool vamp_tracker_look(VampPolicy *p, unsigned i, VampKvmVcpu *out)
{
    VampVcpu *v = &p->vcpu[i];
    VampKvmVcpu now;

    if ((p->tracker != VAMP_TRACKER_KVM && !vamp_actuator_by_plan(p)) ||
        !v->cpu || !vamp_kvm_vcpu(v->cpu, &now)) {
        return false;
    }
    if (p->tracker == VAMP_TRACKER_KVM) {
        qatomic_set(&v->rec.task, now.task);
        qatomic_set(&v->rec.switches, now.switches);
        qatomic_set(&v->rec.samples, now.samples);
    }
    if (out) {
        *out = now;
    }
    return true;
}

bool vamp_tracker_plan(VampPolicy *p, Error **errp)
{
    return (p->tracker != VAMP_TRACKER_KVM && !vamp_actuator_by_plan(p)) ||
           vamp_kvm_plan(p->core, errp);
}

bool vamp_tracker_new_period(VampPolicy *p, Error **errp)
{
    return p->tracker != VAMP_TRACKER_KVM ||
           vamp_kvm_track(&p->cfg, kvm_changed, p, errp);
}

static const char *guest_unavailable(void)
{
    const char *reason;

    vamp_guest_view(&reason);
    return reason;
}

/* In the order of preference of "auto": what the host sees is no guess. */
static const struct {
    VampTracker kind;
    const char *(*unavailable)(void);
} trackers[] = {
    { VAMP_TRACKER_TCG, vamp_tcg_unavailable },
    { VAMP_TRACKER_KVM, vamp_kvm_unavailable },
    { VAMP_TRACKER_SAMPLE, vamp_sample_unavailable },
    { VAMP_TRACKER_GUEST, guest_unavailable },
};

/* Sets tracker and tracker_reason; starts nothing but KVM's tracking. */
static void tracker_pick(VampPolicy *p)
{
    g_autoptr(GString) why = g_string_new(NULL);

    p->tracker = VAMP_TRACKER_NONE;
    if (p->tracker_wanted == VAMP_TRACKER_NONE) {
        g_string_append(why, "set to none: each vCPU is judged as a whole");
    }
    for (size_t i = 0; i < ARRAY_SIZE(trackers); i++) {
        bool wanted = p->tracker_wanted == trackers[i].kind;
        const char *hindrance;
        Error *err = NULL;

        if (p->tracker_wanted != VAMP_TRACKER_AUTO && !wanted) {
            continue;
        }
        hindrance = trackers[i].unavailable();
        if (!hindrance && trackers[i].kind == VAMP_TRACKER_KVM &&
            !vamp_kvm_track(&p->cfg, kvm_changed, p, &err)) {
            hindrance = error_get_pretty(err);
        }
        if (!hindrance) {
            p->tracker = trackers[i].kind;
            g_string_append_printf(why, "%s%s", why->len ? "; " : "",
                                   wanted ? "set, and it works here"
                                          : "the best that works here");
            break;
        }
        g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "",
                               VampTracker_str(trackers[i].kind), hindrance);
        error_free(err);
    }
    if (g_strcmp0(p->tracker_reason, why->str)) {
        g_free(p->tracker_reason);
        p->tracker_reason = g_strdup(why->str);
        trace_vamp_tracker(VampTracker_str(p->tracker), p->tracker_reason);
    }
    vamp_names_open(p);
}

void vamp_tracker_choose(VampPolicy *p)
{
    tracker_pick(p);
    p->eyes = p->tracker == VAMP_TRACKER_GUEST ? VAMP_TRACKER_NONE
                                               : p->tracker;
    /* A guest always says hello later than this. */
    if (p->tracker != p->tracker_wanted &&
        p->tracker_wanted != VAMP_TRACKER_AUTO &&
        p->tracker_wanted != VAMP_TRACKER_GUEST) {
        warn_report("vamp-policy does not see the guest's tasks: %s",
                    p->tracker_reason);
    }
    start_all(p);
    vamp_policy_guest_news();
}

void vamp_tracker_guest_changed(VampPolicy *p, bool aspaces)
{
    if (p->tracker == p->eyes && p->eyes != VAMP_TRACKER_NONE) {
        return;                     /* the host sees for itself */
    }
    tracker_pick(p);
    if (p->tracker != VAMP_TRACKER_GUEST && p->tracker != VAMP_TRACKER_NONE) {
        /* What did not work when "auto" chose works now. */
        p->eyes = p->tracker;
        start_all(p);
        return;
    }
    if (p->tracker != VAMP_TRACKER_GUEST || !aspaces ||
        p->eyes != VAMP_TRACKER_NONE) {
        return;
    }
    if (!vamp_tcg_unavailable()) {
        p->eyes = VAMP_TRACKER_TCG;
    } else if (!vamp_sample_unavailable()) {
        p->eyes = VAMP_TRACKER_SAMPLE;
    }
    start_all(p);
}

void vamp_tracker_close(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            vamp_tracker_stop_vcpu(p, i, false);
        }
    }
    vamp_names_close(p);
    if (p->tracker == VAMP_TRACKER_KVM) {
        vamp_kvm_untrack();
    }
    p->tracker = VAMP_TRACKER_NONE;
    p->eyes = VAMP_TRACKER_NONE;
}

/* --- sound --------------------------------------------------------------- */

void vamp_sound_open(VampPolicy *p)
{
    g_clear_pointer(&p->sound_reason, g_free);
    if (p->audio_wanted == ON_OFF_AUTO_OFF) {
        p->sound_reason = g_strdup("set to off");
        return;
    }
    /* The guest may have told already. */
    vamp_policy_guest_news();
    p->sound = vamp_sound_listen(vamp_phase_sound, p, &p->sound_reason);
    if (!p->sound && p->audio_wanted == ON_OFF_AUTO_ON) {
        warn_report("vamp-policy cannot hear the guest: %s", p->sound_reason);
    }
}

void vamp_sound_close(VampPolicy *p)
{
    g_clear_pointer(&p->sound, vamp_sound_free);
    p->sound_heard = p->sound_told = false;
    if (p->sound_playing) {
        p->sound_playing = false;
        vamp_policy_sound(p->core, false);
    }
}
