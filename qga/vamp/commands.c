/*
 * VAMP: the guest agent's commands
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qobject-input-visitor.h"
#include "qga-qapi-commands-vamp.h"
#include "qga-qapi-visit-vamp.h"
#include "client.h"

/*
 * An answer has the form of the type that is returned, and is taken for
 * nothing else: the visitor checks each member.
 */
static Visitor *ask(const char *request, Error **errp)
{
    QDict *answer = vdiguest_ask(request, errp);
    Visitor *v;

    if (!answer) {
        return NULL;
    }
    v = qobject_input_visitor_new(QOBJECT(answer));
    qobject_unref(answer);
    return v;
}

static void not_understood(Error *err, Error **errp)
{
    error_setg(errp, "vdiguest's answer is not as this agent knows it (%s); "
               "are both of the same version?", error_get_pretty(err));
    error_free(err);
}

static GuestVampStatus *ask_status(const char *request, Error **errp)
{
    Visitor *v = ask(request, errp);
    GuestVampStatus *status = NULL;
    Error *err = NULL;

    if (v && !visit_type_GuestVampStatus(v, NULL, &status, &err)) {
        not_understood(err, errp);
    }
    visit_free(v);
    return status;
}

GuestVampStatus *qmp_guest_vamp_get_status(Error **errp)
{
    return ask_status("status", errp);
}

GuestVampTasks *qmp_guest_vamp_get_tasks(Error **errp)
{
    Visitor *v = ask("tasks", errp);
    GuestVampTasks *tasks = NULL;
    Error *err = NULL;

    if (v && !visit_type_GuestVampTasks(v, NULL, &tasks, &err)) {
        not_understood(err, errp);
    }
    visit_free(v);
    return tasks;
}

GuestVampStatus *qmp_guest_vamp_set_policy(bool has_mode, GuestVampMode mode,
                                           bool has_fast_vcpus,
                                           int64_t fast_vcpus, Error **errp)
{
    g_autoptr(GString) request = g_string_new("policy");

    if (!has_mode && !has_fast_vcpus) {
        error_setg(errp, "mode, fast-vcpus or both are needed");
        return NULL;
    }
    if (has_mode) {
        g_string_append_printf(request, " mode=%s", GuestVampMode_str(mode));
    }
    if (has_fast_vcpus) {
        g_string_append_printf(request, " fast=%" PRId64, fast_vcpus);
    }
    return ask_status(request->str, errp);
}

GuestVampStatus *qmp_guest_vamp_isolate(bool has_duration_ms,
                                        int64_t duration_ms, Error **errp)
{
    g_autofree char *request = has_duration_ms
        ? g_strdup_printf("isolate length=%" PRId64, duration_ms)
        : g_strdup("isolate");

    return ask_status(request, errp);
}

GuestVampStatus *qmp_guest_vamp_release(Error **errp)
{
    return ask_status("release", errp);
}
