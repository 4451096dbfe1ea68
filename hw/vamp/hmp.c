/*
 * VAMP: info vamp
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp.h"
#include "qapi/type-helpers.h"
#include "qobject/qdict.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "hw/vamp/interrupts.h"
#include "vamp-int.h"

static void print_vcpu(GString *buf, const VampVcpuInfo *v)
{
    g_autofree char *weight = g_strdup("-");

    if (v->scheduling) {
        g_free(weight);
        weight = g_strdup(v->scheduling);
    } else if (v->has_weight) {
        g_free(weight);
        weight = g_strdup_printf("weight %" PRIu64, v->weight);
    } else if (v->has_nice) {
        g_free(weight);
        weight = g_strdup_printf("nice %" PRId64, v->nice);
    }
    g_string_append_printf(buf, "%4" PRId64 " %8" PRId64
                           " %-12s %-13s %6.1f %6.1f  %-15s %s\n",
                           v->cpu_index, v->thread_id,
                           VampClass_str(v->q_class), weight,
                           v->load_percent, v->wait_percent,
                           v->current_task ?: "-", v->reason);
}

static void print_account(GString *buf, const VampBrokerInfo *b)
{
    g_string_append_printf(buf, "broker: state %s%s%s, owes %.1f ms, fair "
                           "share %.1f %%, used %.0f of %.0f ms\n",
                           VampBrokerState_str(b->state),
                           *b->reason ? ": " : "", b->reason, b->debt_ms,
                           b->share_percent, b->used_ms, b->entitled_ms);
}

static void print_guest(GString *buf, const VampGuestInfo *g)
{
    g_string_append_printf(buf, "guest %s: %s\n",
                           VampGuestSource_str(g->source), g->reason);
    if (g->slow && *g->slow) {
        g_string_append_printf(buf, "guest keeps its background tasks on "
                               "vCPUs %s\n", g->slow);
    }
    for (VampGuestTaskList *l = g->tasks; l; l = l->next) {
        g_string_append_printf(buf, "guest's background task %s (%" PRId64
                               "), %.1f %%\n", l->value->name, l->value->id,
                               l->value->load_percent);
    }
}

static void print_tracking(GString *buf, const VampSoundTracking *t)
{
    g_string_append_printf(buf, "audio task %s%s%s: %s\n",
                           t->task ?: t->active ? "not found yet" : "unknown",
                           t->name ? " " : "", t->name ?: "", t->reason);
}

static HumanReadableText *show_policy(Error **errp)
{
    g_autoptr(GString) buf = g_string_new(NULL);
    g_autoptr(VampInfo) info = qmp_vamp_query(errp);

    if (!info) {
        return NULL;
    }
    if (!info->enabled) {
        g_string_append_printf(buf, "off: %s\n", info->reason);
        if (info->guest->source != VAMP_GUEST_SOURCE_NONE) {
            print_guest(buf, info->guest);
        }
        return human_readable_text_from_str(buf);
    }
    g_string_append_printf(buf, "%s: %s phase for %" PRId64 " ms (%s)\n",
                           info->id, VampPhase_str(info->phase),
                           info->phase_age_ms, info->reason);
    g_string_append_printf(buf, "ratio %" PRId64 ", background above %" PRId64
                           " %%, VM load at the last event %.1f %%\n",
                           info->ratio, info->bg_load_percent,
                           info->vm_load_percent);
    g_string_append_printf(buf, "tracker %s: %s\n",
                           VampTracker_str(info->tracker->active),
                           info->tracker->reason);
    g_string_append_printf(buf, "actuator %s: %s\n",
                           VampActuatorKind_str(info->actuator->active),
                           info->actuator->reason);
    if (info->actuator->broker) {
        print_account(buf, info->actuator->broker);
    }
    g_string_append_printf(buf, "sound %s: %s\n",
                           info->sound->playing ? "playing" :
                           info->sound->active ? "silent" : "off",
                           info->sound->reason);
    print_tracking(buf, info->sound->tracking);
    g_string_append_printf(buf, "names %s: %s\n",
                           info->names->active ? "offered" : "off",
                           info->names->reason);
    print_guest(buf, info->guest);
    if (info->fault) {
        g_string_append_printf(buf, "fault: %s\n", info->fault);
    }
    g_string_append(buf, "vCPU   thread class        weight          load%"
                    "  wait%  task            reason\n");
    for (VampVcpuInfoList *l = info->vcpus; l; l = l->next) {
        print_vcpu(buf, l->value);
    }
    for (VampTaskList *l = info->background_tasks; l; l = l->next) {
        g_string_append_printf(buf, "background task %s", l->value->task);
        if (l->value->name) {
            g_string_append_printf(buf, " %s", l->value->name);
        }
        if (l->value->has_id) {
            g_string_append_printf(buf, " (%" PRId64 ")", l->value->id);
        }
        g_string_append_printf(buf, ", %.1f %%\n", l->value->load_percent);
    }
    return human_readable_text_from_str(buf);
}

/* What `info vamp WHAT` can show; the first one is the default. */
static const struct {
    const char *what;
    HumanReadableText *(*show)(Error **errp);
} views[] = {
    { "policy", show_policy },
    { "cpumap", vamp_cpumap_human_readable },
    { "interrupts", vamp_interrupts_text },
};

static void hmp_info_vamp(Monitor *mon, const QDict *qdict)
{
    const char *what = qdict_get_try_str(qdict, "what") ?: views[0].what;
    g_autoptr(HumanReadableText) text = NULL;
    Error *err = NULL;

    for (unsigned i = 0; i < ARRAY_SIZE(views); i++) {
        if (!strcmp(what, views[i].what)) {
            text = views[i].show(&err);
            if (text) {
                monitor_puts(mon, text->human_readable_text);
            }
            hmp_handle_error(mon, err);
            return;
        }
    }
    monitor_printf(mon, "Error: '%.64s' is unknown, valid are", what);
    for (unsigned i = 0; i < ARRAY_SIZE(views); i++) {
        monitor_printf(mon, "%s %s", i ? "," : "", views[i].what);
    }
    monitor_puts(mon, "\n");
}

static void vamp_hmp_register(void)
{
    monitor_register_hmp("vamp", true, hmp_info_vamp);
}
type_init(vamp_hmp_register)
