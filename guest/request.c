/*
 * vdiguest: what a client of its socket may ask for
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "core/policy.h"
#include "guest/cpus.h"
#include "guest/request.h"

static const char *const verbs[REQUEST_VERBS] = {
    [REQUEST_STATUS] = "status",
    [REQUEST_TASKS] = "tasks",
    [REQUEST_POLICY] = "policy",
    [REQUEST_ISOLATE] = "isolate",
    [REQUEST_RELEASE] = "release",
};

G_GNUC_PRINTF(2, 3)
static bool refuse(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;
    char *c;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    /* It quotes what was sent, which may be any bytes. */
    for (c = text; *c; c++) {
        if (!g_ascii_isprint(*c)) {
            *c = '?';
        }
    }
    g_set_error_literal(err, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
    return false;
}

/* Takes a value once. */
static bool number(const char *word, const char *text, unsigned min,
                   unsigned max, bool *has, unsigned *value, GError **err)
{
    guint64 v;

    if (*has || !g_ascii_string_to_unsigned(text, 10, min, max, &v, NULL)) {
        return refuse(err, "%s is not valid (%u..%u would be, once)", word, min,
                      max);
    }
    *has = true;
    *value = v;
    return true;
}

static bool mode(const char *word, const char *text, Request *r, GError **err)
{
    unsigned m;

    for (m = 0; m < PLAN_MODES; m++) {
        if (!r->has_mode && !strcmp(text, plan_mode_text(m))) {
            r->has_mode = true;
            r->mode = m;
            return true;
        }
    }
    return refuse(err, "%s is not valid (static, dynamic, dynamic-load or load "
                  "would be, once)", word);
}

static bool take(const char *word, Request *r, GError **err)
{
    const char *value = strchr(word, '=');

    if (value && r->verb == REQUEST_POLICY && g_str_has_prefix(word, "mode=")) {
        return mode(word, value + 1, r, err);
    }
    if (value && r->verb == REQUEST_POLICY && g_str_has_prefix(word, "fast=")) {
        return number(word, value + 1, 0, CPUS_MAX - 1, &r->has_fast, &r->fast,
                      err);
    }
    if (value && r->verb == REQUEST_ISOLATE &&
        g_str_has_prefix(word, "length=")) {
        return number(word, value + 1, VAMP_MAX_PHASE_MS_MIN,
                      VAMP_MAX_PHASE_MS_MAX, &r->has_length, &r->length_ms,
                      err);
    }
    return refuse(err, "'%s' is nothing that '%s' takes", word, verbs[r->verb]);
}

bool request_parse(const char *line, Request *r, GError **err)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    unsigned i;

    *r = (Request) { .verb = REQUEST_VERBS };
    for (i = 0; words[0] && i < REQUEST_VERBS; i++) {
        if (!strcmp(words[0], verbs[i])) {
            r->verb = i;
        }
    }
    if (r->verb == REQUEST_VERBS) {
        return refuse(err, "'%s' is not a request (status, tasks, policy, "
                      "isolate or release would be)", words[0] ?: "");
    }
    for (i = 1; words[i]; i++) {
        if (!take(words[i], r, err)) {
            return false;
        }
    }
    return r->verb != REQUEST_POLICY || r->has_mode || r->has_fast ||
           refuse(err, "policy needs mode=, fast= or both");
}
