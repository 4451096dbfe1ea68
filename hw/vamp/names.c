/*
 * VAMP: what the guest's own module calls the tasks
 *
 * Names come with the tracker kvm: its modules offer the interface, and read
 * what the guest says when they find a task. A name is a claim, and decides
 * nothing.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "system/reset.h"
#include "vamp-int.h"
#include "trace.h"

/* The next kernel says itself where it tells its tasks, if it does. */
static void names_reset(void *opaque)
{
    Error *err = NULL;

    if (!vamp_kvm_names_offer(true, &err)) {
        warn_report_err(err);
    }
}

void vamp_names_open(VampPolicy *p)
{
    g_autofree char *why = NULL;
    Error *err = NULL;

    if (p->names_wanted == ON_OFF_AUTO_OFF) {
        why = g_strdup("set to off");
    } else if (p->tracker != VAMP_TRACKER_KVM) {
        why = g_strdup_printf("the tracker is %s, and only KVM's companion "
                              "modules listen", VampTracker_str(p->tracker));
    } else if (!p->names_offered) {
        p->names_offered = vamp_kvm_names_offer(true, &err);
        if (p->names_offered) {
            qemu_register_reset(names_reset, p);
        } else {
            why = g_strdup(error_get_pretty(err));
            error_free(err);
        }
    }
    trace_vamp_names(p->names_offered, why ?: "");
    if (why && p->names_wanted == ON_OFF_AUTO_ON &&
        g_strcmp0(why, p->names_reason)) {
        warn_report("vamp-policy does not know the names of the guest's "
                    "tasks: %s", why);
    }
    g_free(p->names_reason);
    p->names_reason = g_steal_pointer(&why);
}

void vamp_names_close(VampPolicy *p)
{
    if (p->names_offered) {
        qemu_unregister_reset(names_reset, p);
        vamp_kvm_names_offer(false, &error_warn);
        p->names_offered = false;
    }
}

VampKvmNames *vamp_names_read(VampPolicy *p)
{
    VampKvmNames *names = g_new0(VampKvmNames, 1);

    if (!p->names_offered || !vamp_kvm_names(names)) {
        names->nr = names->vcpus = 0;
    }
    return names;
}

const VampKvmName *vamp_names_find(const VampKvmNames *names, uint64_t task)
{
    for (unsigned i = 0; i < names->nr; i++) {
        if (task != VAMP_TASK_UNKNOWN && names->name[i].task == task) {
            return &names->name[i];
        }
    }
    return NULL;
}

VampNamesInfo *vamp_names_info(VampPolicy *p, const VampKvmNames *names)
{
    VampNamesInfo *info = g_new0(VampNamesInfo, 1);

    info->requested = p->names_wanted;
    info->active = p->names_offered;
    if (!p->names_offered) {
        info->reason = g_strdup(p->names_reason);
    } else if (!names->vcpus) {
        info->reason = g_strdup("offered, but the guest does not use it: its "
                                "module vamp_pv is not loaded, or has not "
                                "looked yet");
    } else {
        info->reason = g_strdup_printf("the guest's module vamp_pv tells what "
                                       "%u vCPUs run", names->vcpus);
    }
    info->vcpus = names->vcpus;
    info->known = names->nr;
    info->refused = names->refused;
    info->torn = names->torn;
    info->lost = names->lost;
    return info;
}
