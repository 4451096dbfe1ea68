/*
 * QTest: the policy and what the guest says
 *
 * Claim: tracker=guest makes plans of the guest's word, also in the middle of a
 * phase, for as long as there is one; the guest's sound is a sound; both views
 * are compared; vamp-set-tasks has the bounds of the channel; the guest hears
 * of phases.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-hints-qtest.h"

#define OBJECT  " -object vamp-policy,id=vamp0,actuator=none,tracker=guest"

/* The policy looks at news at most so often. */
#define NEWS_MS 200

static const int busy[] = { 100, 100, 100, 100 };

static void tell(HintsGuest *g, const char *text)
{
    hints_write(g, text);
    qtest_clock_step(g->qts, NEWS_MS * MS);
}

static void expect_tracker(QTestState *qts, const char *active,
                           const char *reason)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, active);
    vamp_expect_text(vamp_str(info, "tracker.reason"), reason);
    qobject_unref(info);
}

/* The first letters of the vCPUs' classes */
static void expect_classes(QTestState *qts, const char *want)
{
    QDict *info = vamp_query(qts);
    char got[5] = "";

    for (int i = 0; i < 4; i++) {
        got[i] = vamp_class(info, i)[0];
    }
    g_assert_cmpstr(got, ==, want);
    qobject_unref(info);
}

static void test_plan(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE OBJECT);
    VampLoad *l = vamp_load_new(g->qts);
    QDict *info;

    expect_tracker(g->qts, "none", "guest: no program in the guest");
    hints_greet(g);
    tell(g, "tasks begin\ntask id=7 load=900 vcpu=2 name=cc1\n"
            "task id=8 load=100 vcpu=1 name=small\ntasks end\n");
    expect_tracker(g->qts, "guest", "set, and it works here");
    vamp_load_run(g->qts, l, 1500, 4, busy, NULL);
    vamp_forget_events(g->qts);
    vamp_input(g->qts);
    vamp_expect_phase_event(g->qts, "mixed", "input");
    hints_expect(g, "phase begin cause=input mixed=1 length=5000");
    expect_classes(g->qts, "iibi");
    info = vamp_query(g->qts);
    g_assert_cmpstr(vamp_str(vamp_vcpu(info, 2), "reason"), ==,
                    "the guest runs its background tasks on it");
    vamp_expect_text(vamp_str(info, "guest.comparison-reason"),
                     "the guest's view is the one");
    qobject_unref(info);

    /* The guest isolates them: a new plan, of which it does not hear. */
    tell(g, "split fast=0,2 slow=1,3\n");
    expect_classes(g->qts, "ibib");
    tell(g, "tasks begin\ntasks end\n");
    vamp_expect_phase(g->qts, "non-mixed");
    hints_expect_nothing(g);
    tell(g, "tasks begin\ntask id=7 load=1 name=cc1\ntasks end\n");
    expect_classes(g->qts, "ibib");
    qtest_clock_step(g->qts, 5000 * MS);
    vamp_expect_phase(g->qts, "normal");
    hints_expect(g, "phase end");

    /* Without the guest's word each vCPU is judged as a whole. */
    hints_open(g, false);
    qtest_clock_step(g->qts, NEWS_MS * MS);
    expect_tracker(g->qts, "none", "no program in the guest");
    vamp_load_free(l);
    hints_guest_free(g);
}

/* A guest that tells something new all the time is listened to now and then. */
static void test_fickle(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE ",max-rate=100000" OBJECT);
    VampLoad *l = vamp_load_new(g->qts);
    int changes = 0;
    QDict *e;

    hints_greet(g);
    tell(g, "tasks begin\ntask id=7 load=900 name=x\ntasks end\n");
    vamp_load_run(g->qts, l, 1500, 4, busy, NULL);
    vamp_input(g->qts);
    vamp_forget_events(g->qts);
    for (int i = 0; i < 200; i++) {
        hints_write(g, i % 2 ? "split fast=0 slow=1-3\n"
                             : "split fast=0-3 slow=-\n");
        qtest_clock_step(g->qts, 5 * MS);
    }
    /* An answer: whatever came before it has come. */
    hints_count(g, "lines");
    while ((e = qtest_qmp_event_ref(g->qts, "VAMP_PHASE_CHANGE"))) {
        qobject_unref(e);
        changes++;
    }
    g_assert_cmpint(changes, <=, 12);
    vamp_load_free(l);
    hints_guest_free(g);
}

static void expect_playing(QTestState *qts, bool playing)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpint(vamp_bool(info, "sound.playing"), ==, playing);
    qobject_unref(info);
}

static void test_sound(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE OBJECT ",max-phase-ms=1000");
    QDict *info;
    double phases;

    hints_greet(g);
    tell(g, "sound on\n");
    expect_playing(g->qts, true);
    vamp_expect_phase_event(g->qts, "non-mixed", "sound");
    hints_expect(g, "phase begin cause=sound mixed=0");
    /* Off and on again: no other sound. */
    info = vamp_query(g->qts);
    phases = vamp_num(info, "counters.phases-sound");
    vamp_expect_text(vamp_str(info, "sound.reason"), "the guest tells");
    qobject_unref(info);
    for (int i = 0; i < 4; i++) {
        hints_write(g, "sound off\n");
        tell(g, "sound on\n");
    }
    info = vamp_query(g->qts);
    g_assert_cmpfloat(vamp_num(info, "counters.phases-sound"), <=, phases + 1);
    qobject_unref(info);
    tell(g, "sound off\n");
    expect_playing(g->qts, true);
    qtest_clock_step(g->qts, 1000 * MS);
    qtest_clock_step(g->qts, NEWS_MS * MS);
    expect_playing(g->qts, false);
    vamp_set_str(g->qts, "audio", "off");
    tell(g, "sound on\n");
    expect_playing(g->qts, false);
    vamp_set_str(g->qts, "audio", "auto");
    qtest_clock_step(g->qts, NEWS_MS * MS);
    expect_playing(g->qts, true);
    /* It goes away without a word. */
    hints_open(g, false);
    qtest_clock_step(g->qts, 1000 * MS);
    qtest_clock_step(g->qts, NEWS_MS * MS);
    expect_playing(g->qts, false);
    hints_guest_free(g);
}

static void refuse(QTestState *qts, const char *args, const char *error)
{
    g_autofree char *object = g_strdup_printf("{ %s }", args);

    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'vamp-set-tasks',"
                                " 'arguments': %p }",
                                qobject_from_json(object, &error_abort)),
                      error);
}

static void test_set_tasks(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE OBJECT);
    g_autoptr(GString) many = g_string_new("'tasks': [");
    QTestState *qts = g->qts;

    refuse(qts, "'tasks': [ { 'id': 0, 'load-permille': 1, 'name': 'x' } ]",
           "tasks[0] cannot be said to the policy as 'task id=0 load=1 name=x'"
           ": id: the value is not valid, valid is 1 to 2147483647");
    refuse(qts, "'tasks': [ { 'id': 1, 'load-permille': -1, 'name': 'x' } ]",
           "load: the value is not valid");
    refuse(qts, "'tasks': [ { 'id': 1, 'load-permille': 1, 'name': 'x',"
           " 'vcpu': 4096 } ]", "vcpu: the value is not valid");
    refuse(qts, "'tasks': [ { 'id': 1, 'load-permille': 1, 'name': 'x',"
           " 'task': '0x1000 vcpu=1' } ]", "aspace: the value is not valid");
    refuse(qts, "'tasks': [], 'fast': '0-1', 'slow': '1'",
           "fast and slow have a CPU in common");
    refuse(qts, "'tasks': [], 'slow': '3-1'", "slow: the value is not valid");
    refuse(qts, "'tasks': [], 'valid-ms': 0", "valid-ms=0 is out of range");
    refuse(qts, "'tasks': [], 'valid-ms': 3600001", "valid is 1 to 3600000");
    for (int i = 1; i <= 65; i++) {
        g_string_append_printf(many, "%s{ 'id': %d, 'load-permille': 1,"
                               " 'name': 'x' }", i > 1 ? "," : "", i);
    }
    g_string_append(many, "]");
    refuse(qts, many->str, "a list has more than 64 tasks");
    hints_expect_source(qts, "none", "no program");

    qtest_qmp_assert_success(qts, "{ 'execute': 'vamp-set-tasks', 'arguments':"
                             " { 'tasks': [ { 'id': 5, 'load-permille': 990,"
                             " 'name': 'make all', 'vcpu': 1, 'pid': 4,"
                             " 'background': true },"
                             " { 'id': 6, 'load-permille': 20, 'name': 'X',"
                             " 'background': false } ],"
                             " 'valid-ms': 2000 } }");
    hints_expect_source(qts, "management", "vamp-set-tasks has said so");
    g_assert_cmpint(hints_tasks(qts), ==, 1);
    qtest_clock_step(qts, NEWS_MS * MS);
    expect_tracker(qts, "guest", "set, and it works here");
    qtest_clock_step(qts, 2000 * MS);
    qtest_clock_step(qts, NEWS_MS * MS);
    hints_expect_source(qts, "none", "too old");
    expect_tracker(qts, "none", "too old");

    /* The guest itself is believed rather. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'vamp-set-tasks', 'arguments':"
                             " { 'tasks': [] } }");
    g_assert_cmpint(hints_tasks(qts), ==, 0);
    hints_greet(g);
    hints_expect_source(qts, "channel", "has not said what");
    refuse(qts, "'tasks': []", "its own word counts");
    hints_guest_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vamp/guest/plan", test_plan);
    qtest_add_func("/vamp/guest/fickle", test_fickle);
    qtest_add_func("/vamp/guest/sound", test_sound);
    qtest_add_func("/vamp/guest/set-tasks", test_set_tasks);
    return g_test_run();
}
