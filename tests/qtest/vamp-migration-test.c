/*
 * QTest: the policy and migration
 *
 * Claim: the object is no part of the machine. A VM with one migrates to a
 * QEMU without, and the other way round, also in the middle of a phase: the
 * source's threads are put back when it stops, the target begins in the
 * normal phase, and both serve a user afterwards.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-qtest.h"

#define NICE_RATIO_3    5
#define OBJECT          " -object vamp-policy,id=vamp0"

static const int one_busy[] = { 5, 95 };

typedef struct Pair {
    QTestState *from, *to;
    char *dir, *uri;
} Pair;

static Pair *pair_new(const char *from_options, const char *to_options)
{
    Pair *p = g_new0(Pair, 1);
    g_autofree char *from = g_strdup_printf("-M q35 -smp 2 -m 64%s",
                                            from_options);
    g_autofree char *to = NULL;

    p->dir = g_dir_make_tmp("vamp-migration-XXXXXX", NULL);
    g_assert(p->dir);
    p->uri = g_strdup_printf("unix:%s/socket", p->dir);
    p->from = qtest_init(from);
    to = g_strdup_printf("-M q35 -smp 2 -m 64 -incoming %s%s", p->uri,
                         to_options);
    p->to = qtest_init(to);
    return p;
}

static void pair_free(Pair *p)
{
    g_autofree char *socket = g_strdup_printf("%s/socket", p->dir);

    qtest_quit(p->from);
    qtest_quit(p->to);
    unlink(socket);
    rmdir(p->dir);
    g_free(p->dir);
    g_free(p->uri);
    g_free(p);
}

static void migrate_start(Pair *p)
{
    vamp_expect_ok(qtest_qmp(p->from, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': %s } }", p->uri));
}

static void migrate_finish(Pair *p)
{
    for (;;) {
        QDict *rsp = qtest_qmp(p->from, "{ 'execute': 'query-migrate' }");
        g_autofree char *status = g_strdup(vamp_str(rsp, "return.status"));

        qobject_unref(rsp);
        g_assert_cmpstr(status, !=, "failed");
        if (!strcmp(status, "completed")) {
            break;
        }
        g_usleep(5000);
    }
    qtest_qmp_eventwait(p->to, "RESUME");
}

static void expect_serves(QTestState *qts)
{
    vamp_forget_events(qts);
    vamp_input(qts);
    vamp_expect_phase(qts, "non-mixed");
    qtest_clock_step(qts, 5000 * MS);
    vamp_expect_phase(qts, "normal");
}

static void test_without_to_with(void)
{
    Pair *p = pair_new("", OBJECT ",actuator=none");
    QDict *info;

    /* Not running yet: nobody is served. */
    vamp_input(p->to);
    info = vamp_query(p->to);
    g_assert(vamp_bool(info, "enabled"));
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "normal");
    qobject_unref(info);
    migrate_start(p);
    migrate_finish(p);
    vamp_expect_phase(p->to, "normal");
    expect_serves(p->to);
    pair_free(p);
}

static void test_with_to_without(void)
{
    Pair *p = pair_new(OBJECT ",actuator=none", "");
    QDict *info;

    migrate_start(p);
    migrate_finish(p);
    info = vamp_query(p->to);
    g_assert(!vamp_bool(info, "enabled"));
    qobject_unref(info);
    vamp_expect_phase(p->from, "normal");
    vamp_input(p->from);
    vamp_expect_phase(p->from, "normal");
    pair_free(p);
}

static void test_in_phase(void)
{
    Pair *p;
    VampLoad *load;
    int tid;
    QDict *info;

    if (!vamp_can_nice()) {
        g_test_skip("needs CAP_SYS_NICE or RLIMIT_NICE >= 20");
        return;
    }
    p = pair_new(OBJECT ",actuator=nice,ratio=3",
                 OBJECT ",actuator=nice,ratio=7");
    load = vamp_load_new(p->from);
    tid = vamp_tid(p->from, 1);
    vamp_load_run(p->from, load, 2048, 2, one_busy, NULL);
    vamp_input(p->from);
    vamp_expect_phase_event(p->from, "mixed", "input");

    /* While memory goes over, the guest runs and its user is served. */
    vamp_expect_ok(qtest_qmp(p->from, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': 1,"
                             " 'downtime-limit': 0 } }"));
    migrate_start(p);
    vamp_expect_phase(p->from, "mixed");
    g_assert_cmpint(vamp_nice(p->from, tid), ==, NICE_RATIO_3);
    vamp_expect_ok(qtest_qmp(p->from, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': 1000000000,"
                             " 'downtime-limit': 1000 } }"));
    migrate_finish(p);

    vamp_expect_phase(p->from, "normal");
    g_assert_cmpint(vamp_nice(p->from, tid), ==, 0);
    info = vamp_query(p->to);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "normal");
    /* Properties are the target's own. */
    g_assert_cmpfloat(vamp_num(info, "ratio"), ==, 7);
    g_assert_cmpfloat(vamp_num(info, "counters.events"), ==, 0);
    qobject_unref(info);
    expect_serves(p->to);

    /* Should it fail after all, the source goes on. */
    qtest_qmp_assert_success(p->from, "{ 'execute': 'cont' }");
    vamp_load_run(p->from, load, 2048, 2, one_busy, NULL);
    vamp_input(p->from);
    vamp_expect_phase(p->from, "mixed");
    g_assert_cmpint(vamp_nice(p->from, tid), ==, NICE_RATIO_3);
    vamp_load_free(load);
    pair_free(p);
}

/* Cancelled in the middle: the phase does not notice. */
static void test_cancel(void)
{
    Pair *p = pair_new(OBJECT ",actuator=none", OBJECT ",actuator=none");
    VampLoad *load = vamp_load_new(p->from);

    vamp_load_run(p->from, load, 2048, 2, one_busy, NULL);
    vamp_input(p->from);
    vamp_expect_ok(qtest_qmp(p->from, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': 1,"
                             " 'downtime-limit': 0 } }"));
    migrate_start(p);
    vamp_expect_ok(qtest_qmp(p->from, "{ 'execute': 'migrate_cancel' }"));
    vamp_expect_phase(p->from, "mixed");
    /* The target gives up then. */
    qtest_set_expected_status(p->to, 1);
    qtest_wait_qemu(p->to);
    vamp_load_free(load);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/migration/without-to-with", test_without_to_with);
    qtest_add_func("/vamp/migration/with-to-without", test_with_to_without);
    qtest_add_func("/vamp/migration/in-phase", test_in_phase);
    qtest_add_func("/vamp/migration/cancel", test_cancel);

    return g_test_run();
}
