/*
 * Unit tests: what a client of vdiguest's socket may ask for
 * (guest/request.h), and what it is told
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "guest/control.h"
#include "guest/request.h"

static void expect(const char *line, Request want)
{
    g_autoptr(GError) err = NULL;
    Request r;
    bool ok = request_parse(line, &r, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    g_assert_cmpint(r.verb, ==, want.verb);
    g_assert_cmpint(r.has_mode, ==, want.has_mode);
    g_assert_cmpint(r.mode, ==, want.mode);
    g_assert_cmpint(r.has_fast, ==, want.has_fast);
    g_assert_cmpuint(r.fast, ==, want.fast);
    g_assert_cmpint(r.has_length, ==, want.has_length);
    g_assert_cmpuint(r.length_ms, ==, want.length_ms);
}

static void refuse(const char *line, const char *text)
{
    g_autoptr(GError) err = NULL;
    Request r;

    g_assert_false(request_parse(line, &r, &err));
    g_assert_nonnull(err);
    if (!g_str_has_prefix(err->message, text)) {
        g_test_message("'%s' is not '%s...'", err->message, text);
        g_test_fail();
    }
}

static void test_verbs(void)
{
    expect("status", (Request) { .verb = REQUEST_STATUS });
    expect("tasks", (Request) { .verb = REQUEST_TASKS });
    expect("isolate", (Request) { .verb = REQUEST_ISOLATE });
    expect("release", (Request) { .verb = REQUEST_RELEASE });
    refuse("", "'' is not a request (status, tasks");
    refuse("Status", "'Status' is not a request");
    refuse("stop now", "'stop' is not a request");
    refuse(" status", "'' is not a request");
    refuse("status ", "'' is nothing that 'status' takes");
    refuse("tasks mode=load", "'mode=load' is nothing that 'tasks' takes");
}

static void test_policy(void)
{
    expect("policy mode=static",
           (Request) { .verb = REQUEST_POLICY, .has_mode = true,
                       .mode = PLAN_STATIC });
    expect("policy fast=0 mode=dynamic-load",
           (Request) { .verb = REQUEST_POLICY, .has_mode = true,
                       .mode = PLAN_DYNAMIC_LOAD, .has_fast = true });
    expect("policy fast=3",
           (Request) { .verb = REQUEST_POLICY, .has_fast = true, .fast = 3 });
    refuse("policy", "policy needs mode=, fast= or both");
    refuse("policy mode", "'mode' is nothing that 'policy' takes");
    refuse("policy mode=", "mode= is not valid (static, dynamic");
    refuse("policy mode=1", "mode=1 is not valid");
    refuse("policy mode=load mode=load", "mode=load is not valid");
    refuse("policy fast=-1", "fast=-1 is not valid (0..4095 would be, once)");
    refuse("policy fast=4096", "fast=4096 is not valid");
    refuse("policy fast=18446744073709551617", "fast=1844");
    refuse("policy fast=1 fast=1", "fast=1 is not valid");
    refuse("policy fast=1x", "fast=1x is not valid");
    refuse("policy length=500", "'length=500' is nothing that");
}

static void test_isolate(void)
{
    expect("isolate length=100",
           (Request) { .verb = REQUEST_ISOLATE, .has_length = true,
                       .length_ms = 100 });
    refuse("isolate length=99", "length=99 is not valid (100..60000");
    refuse("isolate length=60001", "length=60001 is not valid");
    refuse("isolate length=500 length=500", "length=500 is not valid");
    refuse("isolate fast=1", "'fast=1' is nothing that 'isolate' takes");
}

/* What was sent comes back in an error: as text that harms no terminal. */
static void test_quoting(void)
{
    g_autofree char *json = control_error("\"no\"\n\\ \x1b[2J \xff");

    g_assert_cmpstr(json, ==, "{\"error\": \"\\\"no\\\"?\\\\ ?[2J ?\"}\n");
    refuse("\x1b[2J\xff", "'?[2J?' is not a request");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/request/verbs", test_verbs);
    g_test_add_func("/request/policy", test_policy);
    g_test_add_func("/request/isolate", test_isolate);
    g_test_add_func("/request/quoting", test_quoting);
    return g_test_run();
}
