/*
 * VAMP: properties of the vamp-policy object
 *
 * All are live: qom-set takes effect at once. Bad input changes nothing.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "qemu/cutils.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "hw/core/cpu.h"
#include "system/qtest.h"
#include "vamp-int.h"

/* The whole number that @value is, or is the text of. */
static bool whole_number(QObject *value, int64_t *n)
{
    QNum *number = qobject_to(QNum, value);
    QString *text = qobject_to(QString, value);

    return (number && qnum_get_try_int(number, n)) ||
           (text && qemu_strtoi64(qstring_get_str(text), NULL, 0, n) == 0);
}

/*
 * A number with bounds; from a command line it comes as text. On failure
 * nothing changes.
 */
static bool visit_bounded(Visitor *v, const char *name, int64_t min,
                          int64_t max, int64_t *value, Error **errp)
{
    QObject *any = NULL;
    int64_t n;

    if (!visit_type_any(v, name, &any, errp)) {
        return false;
    }
    if (!whole_number(any, &n)) {
        g_autoptr(GString) json = qobject_to_json(any);
        QString *text = qobject_to(QString, any);

        error_setg(errp, "%s=%.64s is not a whole number, valid is %" PRId64
                   " to %" PRId64, name,
                   text ? qstring_get_str(text) : json->str, min, max);
        qobject_unref(any);
        return false;
    }
    qobject_unref(any);
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
    struct vamp_config before = p->cfg, cfg = before;
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
    if (field != &load_period_field) {
        vamp_policy_configure(p->core, &cfg);
        return;
    }
    if (!vamp_tracker_new_period(p, errp)) {
        p->cfg = before;
        return;
    }
    vamp_phase_new_period(p);
    if (p->eyes != VAMP_TRACKER_NONE) {
        for (unsigned i = 0; i < p->max_vcpus; i++) {
            vamp_task_table_init(&p->snapshot[i], p->core->period_ns);
            /* The companion modules have begun theirs anew. */
            if (p->vcpu[i].cpu && p->tracker != VAMP_TRACKER_KVM) {
                run_on_cpu(p->vcpu[i].cpu, recorder_restart,
                           RUN_ON_CPU_TARGET_PTR(p->core->period_ns));
            }
        }
    }
}

/*
 * One of @lookup's names. The properties are strings for QAPI, so that the
 * error can say what would be valid. Returns -1 on failure.
 */
static int parse_choice(const QEnumLookup *lookup, const char *name,
                        const char *value, Error **errp)
{
    int i = qapi_enum_parse(lookup, value, -1, NULL);

    if (i < 0) {
        g_autoptr(GString) valid = g_string_new(NULL);

        for (int j = 0; j < lookup->size; j++) {
            g_string_append_printf(valid, "%s%s", j ? ", " : "",
                                   qapi_enum_lookup(lookup, j));
        }
        error_setg(errp, "%s=%.64s is unknown, valid are %s", name, value,
                   valid->str);
    }
    return i;
}

static char *get_tracker(Object *obj, Error **errp)
{
    return g_strdup(VampTracker_str(VAMP_POLICY(obj)->tracker_wanted));
}

static void set_tracker(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int choice = parse_choice(&VampTracker_lookup, "tracker", value, errp);

    if (choice < 0) {
        return;
    }
    p->tracker_wanted = choice;
    if (p->running) {
        vamp_phase_reset(p);
        vamp_tracker_close(p);
        vamp_tracker_choose(p);
    }
}

static void choose_actuator_again(VampPolicy *p)
{
    if (p->running) {
        vamp_phase_reset(p);
        vamp_actuator_close(p, true);
        vamp_actuator_choose(p);
    }
}

static char *get_actuator(Object *obj, Error **errp)
{
    return g_strdup(VampActuatorKind_str(VAMP_POLICY(obj)->actuator_wanted));
}

static void set_actuator(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int choice = parse_choice(&VampActuatorKind_lookup, "actuator", value,
                              errp);

    if (choice < 0) {
        return;
    }
    p->actuator_wanted = choice;
    choose_actuator_again(p);
}

static char *get_broker(Object *obj, Error **errp)
{
    return g_strdup(VAMP_POLICY(obj)->broker);
}

static void set_broker(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);

    if (*value != '/') {
        error_setg(errp, "broker=%.64s is no absolute path, valid is one like "
                   VAMP_BROKER_SOCKET, value);
        return;
    }
    g_free(p->broker);
    p->broker = g_strdup(value);
    choose_actuator_again(p);
}

static char *get_audio(Object *obj, Error **errp)
{
    return g_strdup(OnOffAuto_str(VAMP_POLICY(obj)->audio_wanted));
}

static void set_audio(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int choice = parse_choice(&OnOffAuto_lookup, "audio", value, errp);

    if (choice < 0) {
        return;
    }
    p->audio_wanted = choice;
    if (p->running) {
        vamp_sound_close(p);
        vamp_sound_open(p);
        vamp_sound_track_recheck(p);
    }
}

static void get_wakeup_track(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    int64_t value = VAMP_POLICY(obj)->wakeup_track;

    visit_type_int(v, name, &value, errp);
}

static void set_wakeup_track(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int64_t value;

    if (!visit_bounded(v, name, 0, VAMP_WAKEUP_ALL, &value, errp)) {
        return;
    }
    p->wakeup_track = value;
    if (p->running) {
        vamp_sound_track_recheck(p);
    }
}

static char *get_pv(Object *obj, Error **errp)
{
    return g_strdup(OnOffAuto_str(VAMP_POLICY(obj)->names_wanted));
}

static void set_pv(Object *obj, const char *value, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(obj);
    int choice = parse_choice(&OnOffAuto_lookup, "pv", value, errp);

    if (choice < 0) {
        return;
    }
    p->names_wanted = choice;
    if (p->running) {
        if (choice == ON_OFF_AUTO_OFF) {
            vamp_names_close(p);
        }
        vamp_names_open(p);
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

    if (!qtest_enabled()) {
        error_setg(errp, "x-qtest-schedstat is for QEMU's own tests");
        return;
    }
    g_free(p->qtest_schedstat_dir);
    p->qtest_schedstat_dir = g_strdup(value);
    /* The policy starts before a test can get at the property. */
    vamp_vcpu_reopen_loads(p);
}

void vamp_policy_add_properties(ObjectClass *oc)
{
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
    object_class_property_add_str(oc, "tracker", get_tracker, set_tracker);
    object_class_property_set_description(oc, "tracker",
        "How guest tasks are known");
    object_class_property_add_str(oc, "actuator", get_actuator,
                                  set_actuator);
    object_class_property_set_description(oc, "actuator",
        "How classes are made true on the host");
    object_class_property_add_str(oc, "broker", get_broker, set_broker);
    object_class_property_set_description(oc, "broker",
        "Path of qemu-vamp-broker's socket");
    object_class_property_add_str(oc, "audio", get_audio, set_audio);
    object_class_property_set_description(oc, "audio",
        "Whether the guest's sound begins a phase");
    object_class_property_add_str(oc, "pv", get_pv, set_pv);
    object_class_property_set_description(oc, "pv",
        "Whether the guest may name its tasks to KVM's companion modules");
    object_class_property_add(oc, "wakeup-track", "int", get_wakeup_track,
                              set_wakeup_track, NULL, NULL);
    object_class_property_set_description(oc, "wakeup-track",
        "How the task that plays sound is found: sum of mode bits, 0..15");
    object_class_property_add_str(oc, "trigger", get_trigger, set_trigger);
    object_class_property_set_description(oc, "trigger",
        "User events that begin a phase: enter, key, button, wheel, touch");
    object_class_property_add_str(oc, "x-qtest-schedstat", NULL,
                                  set_qtest_schedstat);
}
