/*
 * VAMP: the vamp-policy object
 *
 * One per VM. Its life: created (maybe before the machine exists), started
 * once the machine is done (vCPUs found, tracker and actuator chosen),
 * stopped when it is deleted or QEMU ends. Choosing is put off to the
 * first turn of the main loop, because QEMU may drop privileges between
 * "machine done" and there, and what can be undone depends on them.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "qapi/qapi-events-vamp.h"
#include "qapi/qapi-visit-common.h"
#include "qapi/qapi-visit-vamp-types.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "system/qtest.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "vamp-int.h"
#include "trace.h"

VampPolicy *vamp_the_policy;

/* The first of the two, made so that a second can name it. BQL. */
static VampPolicy *the_object;

#define VAMP_TRIGGERS_DEFAULT                                           \
    (1u << VAMP_TRIGGER_KEY | 1u << VAMP_TRIGGER_BUTTON |               \
     1u << VAMP_TRIGGER_WHEEL | 1u << VAMP_TRIGGER_TOUCH)

uint64_t vamp_now(const VampPolicy *p)
{
    return qemu_clock_get_ns(p->clock);
}

/* --- vCPU threads out of the way ------------------------------------------ */

static void do_nothing(CPUState *cpu, run_on_cpu_data data)
{
}

/*
 * Returns when no vCPU thread is inside a call that began before. Drops the
 * BQL while it waits.
 */
static void wait_for_vcpus(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            run_on_cpu(p->vcpu[i].cpu, do_nothing, RUN_ON_CPU_NULL);
        }
    }
}

/* --- actuator ------------------------------------------------------------- */

static const struct {
    VampActuatorKind kind;
    const VampActuatorClass *klass;
} actuators[] = {
    /* In the order of preference of "auto". */
    { VAMP_ACTUATOR_KIND_CGROUP, &vamp_actuator_cgroup },
    { VAMP_ACTUATOR_KIND_NICE, &vamp_actuator_nice },
};

static void actuator_attach(VampPolicy *p, unsigned i, Error **errp)
{
    VampVcpu *v = &p->vcpu[i];

    if (p->actuator && v->cpu &&
        p->actuator_class->attach(p->actuator, i, v->tid, errp)) {
        v->applied = VAMP_CLASS_NEUTRAL;
        qatomic_set(&v->attached, true);
    }
}

/* @wait: vCPU threads may be inside apply(). */
static void actuator_close(VampPolicy *p, bool wait)
{
    if (!p->actuator) {
        return;
    }
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        qatomic_set(&p->vcpu[i].attached, false);
    }
    if (wait) {
        wait_for_vcpus(p);
    }
    if (p->actuator) {
        p->actuator_class->close(p->actuator);
        p->actuator = NULL;
    }
    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
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
    if (!klass->probe(&vamp_host_paths, tids, n, errp)) {
        return false;
    }
    p->actuator = klass->open(&vamp_host_paths, p->max_vcpus, p->ratio, errp);
    if (!p->actuator) {
        return false;
    }
    p->actuator_class = klass;
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        Error *err = NULL;

        actuator_attach(p, i, &err);
        if (err) {
            actuator_close(p, false);
            error_propagate(errp, err);
            return false;
        }
    }
    return true;
}

static void actuator_choose(VampPolicy *p)
{
    g_autoptr(GString) why = g_string_new(NULL);

    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
    g_clear_pointer(&p->fault, g_free);
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
    g_free(p->actuator_reason);
    p->actuator_reason = g_strdup(why->str);
    trace_vamp_actuator(VampActuatorKind_str(p->actuator_kind),
                        p->actuator_reason);
    if (p->actuator_wanted != VAMP_ACTUATOR_KIND_NONE && !p->actuator) {
        warn_report("vamp-policy changes no weights: %s", p->actuator_reason);
    }
}

void vamp_policy_fault(VampPolicy *p, const char *reason)
{
    g_autofree char *id = NULL;

    trace_vamp_fault(reason);
    warn_report("vamp-policy is off: %s", reason);
    g_free(p->fault);
    p->fault = g_strdup(reason);
    p->faults++;
    actuator_close(p, true);
    g_free(p->actuator_reason);
    p->actuator_reason = g_strdup_printf("turned off by a fault: %s", reason);
    vamp_phase_reset(p);
    id = g_strdup(object_get_canonical_path_component(OBJECT(p)));
    qapi_event_send_vamp_fault(id ?: "", reason);
}

/* --- tracker --------------------------------------------------------------- */

static void tracker_start_vcpu(VampPolicy *p, unsigned i)
{
    switch (p->tracker) {
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

/* @gone: the vCPU's thread has ended. */
static void tracker_stop_vcpu(VampPolicy *p, unsigned i, bool gone)
{
    CPUState *cpu = p->vcpu[i].cpu;

    switch (p->tracker) {
    case VAMP_TRACKER_TCG:
        (gone ? vamp_tcg_gone : vamp_tcg_stop)(cpu);
        break;
    case VAMP_TRACKER_SAMPLE:
        (gone ? vamp_sample_gone : vamp_sample_stop)(cpu);
        break;
    default:
        break;
    }
}

static void tracker_choose(VampPolicy *p)
{
    static const struct {
        VampTracker kind;
        const char *(*unavailable)(void);
    } trackers[] = {
        { VAMP_TRACKER_TCG, vamp_tcg_unavailable },
        { VAMP_TRACKER_SAMPLE, vamp_sample_unavailable },
    };
    g_autoptr(GString) why = g_string_new(NULL);

    p->tracker = VAMP_TRACKER_NONE;
    if (p->tracker_wanted == VAMP_TRACKER_NONE) {
        g_string_append(why, "set to none: each vCPU is judged as a whole");
    }
    for (size_t i = 0; i < ARRAY_SIZE(trackers); i++) {
        bool wanted = p->tracker_wanted == trackers[i].kind;
        const char *hindrance;

        if (p->tracker_wanted != VAMP_TRACKER_AUTO && !wanted) {
            continue;
        }
        hindrance = trackers[i].unavailable();
        if (!hindrance) {
            p->tracker = trackers[i].kind;
            g_string_append_printf(why, "%s%s", why->len ? "; " : "",
                                   wanted ? "set, and it works here"
                                          : "the best that works here");
            break;
        }
        g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "",
                               VampTracker_str(trackers[i].kind), hindrance);
    }
    g_free(p->tracker_reason);
    p->tracker_reason = g_strdup(why->str);
    trace_vamp_tracker(VampTracker_str(p->tracker), p->tracker_reason);
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            tracker_start_vcpu(p, i);
        }
    }
}

static void tracker_close(VampPolicy *p)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].cpu) {
            tracker_stop_vcpu(p, i, false);
        }
    }
    p->tracker = VAMP_TRACKER_NONE;
}

/* --- sensors --------------------------------------------------------------- */

static void policy_input(void *opaque, uint32_t mask)
{
    VampPolicy *p = opaque;

    /* The event is still being delivered: reading loads has to wait. */
    if (mask & p->triggers) {
        qemu_bh_schedule(p->input_bh);
    }
}

static void sound_open(VampPolicy *p)
{
    g_clear_pointer(&p->sound_reason, g_free);
    if (p->audio_wanted == ON_OFF_AUTO_OFF) {
        p->sound_reason = g_strdup("set to off");
        return;
    }
    p->sound = vamp_sound_listen(vamp_phase_sound, p, &p->sound_reason);
    if (!p->sound && p->audio_wanted == ON_OFF_AUTO_ON) {
        warn_report("vamp-policy cannot hear the guest: %s", p->sound_reason);
    }
}

static void sound_close(VampPolicy *p)
{
    g_clear_pointer(&p->sound, vamp_sound_free);
    if (p->sound_playing) {
        p->sound_playing = false;
        vamp_policy_sound(p->core, false);
    }
}

/* --- life ------------------------------------------------------------------ */

static void device_realized(DeviceListener *listener, DeviceState *dev)
{
    VampPolicy *p = container_of(listener, VampPolicy, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);
    Error *err = NULL;

    if (!cpu || !p->running) {
        return;
    }
    vamp_vcpu_add(p, cpu);
    actuator_attach(p, cpu->cpu_index, &err);
    if (err) {
        /* The new vCPU works, only without VAMP. */
        warn_report_err(err);
    }
    tracker_start_vcpu(p, cpu->cpu_index);
}

static void device_unrealized(DeviceListener *listener, DeviceState *dev)
{
    VampPolicy *p = container_of(listener, VampPolicy, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);
    VampVcpu *v;

    if (!cpu || !p->running || cpu->cpu_index < 0 ||
        cpu->cpu_index >= p->max_vcpus) {
        return;
    }
    v = &p->vcpu[cpu->cpu_index];
    if (v->cpu != cpu) {
        return;
    }
    /* The thread has ended: nobody else touches the recorder any more. */
    if (v->attached) {
        v->attached = false;
        p->actuator_class->detach(p->actuator, cpu->cpu_index);
    }
    tracker_stop_vcpu(p, cpu->cpu_index, true);
    vamp_vcpu_del(p, cpu);
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VampPolicy *p = opaque;

    p->vm_running = running;
    if (!p->running) {
        return;
    }
    if (!running) {
        /* A stopped VM serves nobody; its threads are left as they were. */
        vamp_phase_reset(p);
        timer_del(p->load_timer);
    } else {
        timer_mod_ns(p->load_timer, vamp_now(p));
    }
}

/* Why vamp-policy cannot serve this machine, or NULL. */
static const char *machine_unfit(void)
{
    if (!first_cpu) {
        return "this machine has no vCPUs";
    }
    if (tcg_enabled() && !qemu_tcg_mttcg_enabled()) {
        return "all vCPUs share one thread with '-accel tcg,thread=single' "
               "(also implied by -icount and record/replay), use "
               "'-accel tcg,thread=multi' or KVM";
    }
    return NULL;
}

static void policy_alloc(VampPolicy *p)
{
    p->clock = qtest_enabled() ? QEMU_CLOCK_VIRTUAL : QEMU_CLOCK_REALTIME;
    p->max_vcpus = current_machine->smp.max_cpus;
    p->core = g_malloc0(vamp_policy_size(p->max_vcpus));
    vamp_policy_init(p->core, p->max_vcpus, &p->cfg, vamp_now(p));
    p->vcpu = g_new0(VampVcpu, p->max_vcpus);
    p->snapshot = g_new0(struct vamp_task_table, p->max_vcpus);
    p->tables = g_new0(const struct vamp_task_table *, p->max_vcpus);
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        vamp_task_table_init(&p->snapshot[i], p->core->period_ns);
    }
}

static void policy_start(VampPolicy *p)
{
    CPUState *cpu;

    policy_alloc(p);
    p->running = true;
    p->vm_running = runstate_is_running();
    CPU_FOREACH(cpu) {
        vamp_vcpu_add(p, cpu);
    }
    vamp_phase_init(p);
    qatomic_store_release(&vamp_the_policy, p);
    actuator_choose(p);
    tracker_choose(p);
    p->listener.realize = device_realized;
    p->listener.unrealize = device_unrealized;
    device_listener_register(&p->listener);
    vamp_input_listen(policy_input, p);
    sound_open(p);
}

void vamp_policy_ensure_started(VampPolicy *p)
{
    if (p->complete && !p->running && phase_check(PHASE_MACHINE_READY) &&
        !machine_unfit()) {
        policy_start(p);
    }
}

VampPolicy *vamp_policy_get(void)
{
    if (the_object) {
        vamp_policy_ensure_started(the_object);
    }
    return the_object;
}

static void start_bh(void *opaque)
{
    vamp_policy_ensure_started(opaque);
}

static void machine_done(Notifier *notifier, void *data)
{
    VampPolicy *p = container_of(notifier, VampPolicy, machine_done);
    const char *unfit = machine_unfit();

    if (unfit) {
        /* Only from the command line: complete() refuses it later on. */
        error_report("vamp-policy cannot be used: %s", unfit);
        exit(1);
    }
    qemu_bh_schedule(p->start_bh);
}

/*
 * @wait: vCPU threads are alive and can be waited for (not while the process
 * exits, possibly on one of them).
 */
static void policy_stop(VampPolicy *p, bool wait)
{
    if (!p->running) {
        return;
    }
    vamp_input_listen(NULL, NULL);
    device_listener_unregister(&p->listener);
    sound_close(p);
    vamp_phase_reset(p);
    if (wait) {
        tracker_close(p);
    }
    actuator_close(p, wait);
    p->running = false;
    if (wait) {
        qatomic_store_release(&vamp_the_policy, NULL);
        wait_for_vcpus(p);
        vamp_phase_fini(p);
    }
}

static void exiting(Notifier *notifier, void *data)
{
    policy_stop(container_of(notifier, VampPolicy, exit_notifier), false);
}

static void vamp_policy_complete(UserCreatable *uc, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(uc);
    const char *unfit;

    if (the_object) {
        error_setg(errp, "there is a vamp-policy object already ('%s'), and a "
                   "VM has only one",
                   object_get_canonical_path_component(OBJECT(the_object)));
        return;
    }
    if (phase_check(PHASE_MACHINE_READY)) {
        unfit = machine_unfit();
        if (unfit) {
            error_setg(errp, "vamp-policy cannot be used: %s", unfit);
            return;
        }
    }
    the_object = p;
    p->complete = true;
    p->start_bh = qemu_bh_new(start_bh, p);
    p->vmstate = qemu_add_vm_change_state_handler(vm_state_changed, p);
    p->exit_notifier.notify = exiting;
    qemu_add_exit_notifier(&p->exit_notifier);
    p->machine_done.notify = machine_done;
    /* Called at once if the machine is done. */
    qemu_add_machine_init_done_notifier(&p->machine_done);
}

static void vamp_policy_finalize(Object *obj)
{
    VampPolicy *p = VAMP_POLICY(obj);

    if (p->complete) {
        policy_stop(p, true);
        qemu_remove_machine_init_done_notifier(&p->machine_done);
        qemu_remove_exit_notifier(&p->exit_notifier);
        qemu_del_vm_change_state_handler(p->vmstate);
        qemu_bh_delete(p->start_bh);
        the_object = NULL;
    }
    if (p->vcpu) {
        for (unsigned i = 0; i < p->max_vcpus; i++) {
            if (p->vcpu[i].cpu) {
                vamp_vcpu_del(p, p->vcpu[i].cpu);
            }
        }
    }
    g_free(p->vcpu);
    g_free(p->core);
    g_free(p->snapshot);
    g_free(p->tables);
    g_free(p->fault);
    g_free(p->tracker_reason);
    g_free(p->actuator_reason);
    g_free(p->sound_reason);
    g_free(p->qtest_schedstat_dir);
}

/* --- properties ------------------------------------------------------------ */

/* A number with bounds. On failure nothing changes. */
static bool visit_bounded(Visitor *v, const char *name, int64_t min,
                          int64_t max, int64_t *value, Error **errp)
{
    int64_t n;

    if (!visit_type_int(v, name, &n, errp)) {
        return false;
    }
    if (n < min || n > max) {
        error_setg(errp, "%s=%" PRId64 " is out of range, valid is %" PRId64
                   " to %" PRId64, name, n, min, max);
        return false;
    }
    *value = n;
    return true;
}

/* Begins the account anew: the epochs have another length. vCPU thread. */
static void recorder_restart(CPUState *cpu, run_on_cpu_data data)
{
    VampPolicy *p = qatomic_load_acquire(&vamp_the_policy);

    if (p) {
        vamp_recorder_start(&p->vcpu[cpu->cpu_index].rec, data.target_ptr);
    }
}

static void get_ratio(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    int64_t value = VAMP_POLICY(obj)->ratio;

    visit_type_int(v, name, &value, errp);
}

static void set_ratio(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int64_t value;

    if (!visit_bounded(v, name, VAMP_RATIO_MIN, VAMP_RATIO_MAX, &value, errp)) {
        return;
    }
    if (p->actuator &&
        !p->actuator_class->set_ratio(p->actuator, value, errp)) {
        return;
    }
    p->ratio = value;
    if (p->running) {
        vamp_phase_reapply(p);
    }
}

/* The members of struct vamp_config; the opaque pointer says which. */
typedef struct ConfigField {
    size_t offset;
    uint32_t min, max;
} ConfigField;

static const ConfigField bg_load_field = {
    offsetof(struct vamp_config, bg_percent),
    VAMP_BG_PERCENT_MIN, VAMP_BG_PERCENT_MAX,
};

static const ConfigField max_phase_field = {
    offsetof(struct vamp_config, max_phase_ms),
    VAMP_MAX_PHASE_MS_MIN, VAMP_MAX_PHASE_MS_MAX,
};

static const ConfigField load_period_field = {
    offsetof(struct vamp_config, period_ms),
    VAMP_PERIOD_MS_MIN, VAMP_PERIOD_MS_MAX,
};

static uint32_t *config_member(struct vamp_config *cfg, const ConfigField *f)
{
    return (uint32_t *)((char *)cfg + f->offset);
}

static void get_config(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    int64_t value = *config_member(&VAMP_POLICY(obj)->cfg, opaque);

    visit_type_int(v, name, &value, errp);
}

static void set_config(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    const ConfigField *field = opaque;
    struct vamp_config cfg = p->cfg;
    int64_t value;

    if (!visit_bounded(v, name, field->min, field->max, &value, errp)) {
        return;
    }
    if (field == &load_period_field && !is_power_of_2(value)) {
        error_setg(errp, "%s=%" PRId64 " is not a power of two, valid is 4, 8, "
                   "16 ... 1024", name, value);
        return;
    }
    *config_member(&cfg, field) = value;
    p->cfg = cfg;
    if (!p->running) {
        return;
    }
    vamp_policy_configure(p->core, &cfg);
    if (field == &load_period_field && p->tracker != VAMP_TRACKER_NONE) {
        for (unsigned i = 0; i < p->max_vcpus; i++) {
            vamp_task_table_init(&p->snapshot[i], p->core->period_ns);
            if (p->vcpu[i].cpu) {
                run_on_cpu(p->vcpu[i].cpu, recorder_restart,
                           RUN_ON_CPU_TARGET_PTR(p->core->period_ns));
            }
        }
    }
}

static int get_tracker(Object *obj, Error **errp)
{
    return VAMP_POLICY(obj)->tracker_wanted;
}

static void set_tracker(Object *obj, int value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);

    p->tracker_wanted = value;
    if (p->running) {
        vamp_phase_reset(p);
        tracker_close(p);
        tracker_choose(p);
    }
}

static int get_actuator(Object *obj, Error **errp)
{
    return VAMP_POLICY(obj)->actuator_wanted;
}

static void set_actuator(Object *obj, int value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);

    p->actuator_wanted = value;
    if (p->running) {
        vamp_phase_reset(p);
        actuator_close(p, true);
        actuator_choose(p);
    }
}

static int get_audio(Object *obj, Error **errp)
{
    return VAMP_POLICY(obj)->audio_wanted;
}

static void set_audio(Object *obj, int value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);

    p->audio_wanted = value;
    if (p->running) {
        sound_close(p);
        sound_open(p);
    }
}

static char *get_trigger(Object *obj, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    GString *s = g_string_new(NULL);

    for (int i = 0; i < VAMP_TRIGGER__MAX; i++) {
        if (p->triggers & (1u << i)) {
            g_string_append_printf(s, "%s%s", s->len ? "+" : "",
                                   VampTrigger_str(i));
        }
    }
    return g_string_free(s, FALSE);
}

static void set_trigger(Object *obj, const char *value, Error **errp)
{
    g_auto(GStrv) words = g_strsplit_set(value, "+,", VAMP_TRIGGER__MAX + 1);
    uint32_t mask = 0;

    for (char **w = words; *w; w++) {
        int bit = qapi_enum_parse(&VampTrigger_lookup, *w, -1, NULL);

        if (bit < 0) {
            error_setg(errp, "trigger=%.64s: '%.64s' is not a kind of event, "
                       "valid are enter, key, button, wheel and touch, "
                       "separated by '+'", value, *w);
            return;
        }
        mask |= 1u << bit;
    }
    if (!mask) {
        error_setg(errp, "trigger is empty, valid are enter, key, button, "
                   "wheel and touch, separated by '+'");
        return;
    }
    VAMP_POLICY(obj)->triggers = mask;
}

static void set_qtest_schedstat(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);

    if (!qtest_enabled() || p->running) {
        error_setg(errp, "x-qtest-schedstat is for QEMU's own tests, before "
                   "the policy starts");
        return;
    }
    g_free(p->qtest_schedstat_dir);
    p->qtest_schedstat_dir = g_strdup(value);
}

static void vamp_policy_instance_init(Object *obj)
{
    VampPolicy *p = VAMP_POLICY(obj);

    vamp_config_default(&p->cfg);
    p->ratio = VAMP_RATIO_DEFAULT;
    p->tracker_wanted = VAMP_TRACKER_AUTO;
    p->actuator_wanted = VAMP_ACTUATOR_KIND_AUTO;
    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
    p->tracker = VAMP_TRACKER_NONE;
    p->audio_wanted = ON_OFF_AUTO_AUTO;
    p->triggers = VAMP_TRIGGERS_DEFAULT;
}

static void vamp_policy_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = vamp_policy_complete;

    object_class_property_add(oc, "ratio", "int", get_ratio, set_ratio,
                              NULL, NULL);
    object_class_property_set_description(oc, "ratio",
        "CPU of an interactive vCPU to that of a background vCPU, 1..100");
    object_class_property_add(oc, "bg-load-percent", "int",
                              get_config, set_config, NULL,
                              (void *)&bg_load_field);
    object_class_property_set_description(oc, "bg-load-percent",
        "Load of a vCPU above which a task is in the background, 1..100");
    object_class_property_add(oc, "max-phase-ms", "int",
                              get_config, set_config, NULL,
                              (void *)&max_phase_field);
    object_class_property_set_description(oc, "max-phase-ms",
        "Length of an interactive phase in milliseconds, 100..60000");
    object_class_property_add(oc, "load-period-ms", "int",
                              get_config, set_config, NULL,
                              (void *)&load_period_field);
    object_class_property_set_description(oc, "load-period-ms",
        "Length of a load epoch in milliseconds, a power of two, 4..1024");
    object_class_property_add_enum(oc, "tracker", "VampTracker",
                                   &VampTracker_lookup,
                                   get_tracker, set_tracker);
    object_class_property_set_description(oc, "tracker",
        "How guest tasks are known");
    object_class_property_add_enum(oc, "actuator", "VampActuatorKind",
                                   &VampActuatorKind_lookup,
                                   get_actuator, set_actuator);
    object_class_property_set_description(oc, "actuator",
        "How classes are made true on the host");
    object_class_property_add_enum(oc, "audio", "OnOffAuto",
                                   &OnOffAuto_lookup, get_audio, set_audio);
    object_class_property_set_description(oc, "audio",
        "Whether the guest's sound begins a phase");
    object_class_property_add_str(oc, "trigger", get_trigger, set_trigger);
    object_class_property_set_description(oc, "trigger",
        "User events that begin a phase: enter, key, button, wheel, touch");
    object_class_property_add_str(oc, "x-qtest-schedstat", NULL,
                                  set_qtest_schedstat);
}

static const TypeInfo vamp_policy_info = {
    .name = TYPE_VAMP_POLICY,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(VampPolicy),
    .instance_init = vamp_policy_instance_init,
    .instance_finalize = vamp_policy_finalize,
    .class_init = vamp_policy_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void vamp_policy_register_types(void)
{
    type_register_static(&vamp_policy_info);
}
type_init(vamp_policy_register_types)
