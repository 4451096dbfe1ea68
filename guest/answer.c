/*
 * vdiguest: does what a client of its socket asks for
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest/daemon-int.h"
#include "guest/log.h"

static char *set_policy(Daemon *d, const Request *r)
{
    unsigned cpus = cpus_count(&d->cpus);

    /* As for -f: where there is one vCPU, it is for when there are more. */
    if (r->has_fast && cpus > 1 && r->fast >= cpus) {
        g_autofree char *text = g_strdup_printf(
            "fast=%u is not valid: there are %u vCPUs, and at least one must "
            "be slow (1..%u would be, 0 for half of them)", r->fast, cpus,
            cpus - 1);

        return control_error(text);
    }
    if (r->has_mode) {
        d->mode = r->mode;
    }
    if (r->has_fast) {
        d->fast = r->fast;
    }
    log_info(LOG_PHASE, "asked for: mode %s, %u fast vCPUs (0: half of them)",
             plan_mode_text(d->mode), d->fast);
    daemon_apply(d, daemon_now(), NULL);
    return daemon_status(d);
}

static char *isolate(Daemon *d, const Request *r)
{
    /* A host that ends its own phase does not end this one. */
    d->phase_by_host = false;
    daemon_phase_begin(d, daemon_now(), r->has_length ? r->length_ms :
                                        d->options->phase_ms, false);
    return daemon_status(d);
}

static char *set_free(Daemon *d)
{
    if (d->mode == PLAN_STATIC) {
        return control_error("in static mode the split stands all the time: "
                             "choose another mode");
    }
    daemon_phase_over(d, "it was asked to end");
    return daemon_status(d);
}

char *daemon_answer(void *opaque, const Request *request)
{
    Daemon *d = opaque;

    daemon_complete(d);
    switch (request->verb) {
    case REQUEST_TASKS:
        return daemon_tasks(d);
    case REQUEST_POLICY:
        return set_policy(d, request);
    case REQUEST_ISOLATE:
        return isolate(d, request);
    case REQUEST_RELEASE:
        return set_free(d);
    default:
        return daemon_status(d);
    }
}
