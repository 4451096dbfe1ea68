/*
 * QTest: hostile values on QMP
 *
 * Claim: whatever a management client sends for the object's properties and
 * to its commands, QEMU answers, stays alive, and vamp-query keeps to the
 * valid ranges. Bounded: a fixed list of values everywhere, then a number of
 * random steps from glib's test seed (--seed repeats a run).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-qtest.h"

#define RANDOM_STEPS    600

static const char *const properties[] = {
    "ratio", "bg-load-percent", "max-phase-ms", "load-period-ms", "tracker",
    "actuator", "trigger", "audio", "wakeup-track", "x-qtest-schedstat",
    "type", "", "Ratio",
};

static const char *const values[] = {
    "0", "1", "2", "4", "16", "50", "64", "100", "101", "1024", "60000", "-1",
    "2147483647", "2147483648", "4294967295", "4294967296", "4294967299",
    "9223372036854775807", "-9223372036854775808", "18446744073709551615",
    "1e308", "-0.0", "0.5", "1e-320",
    "true", "false", "null", "[]", "{}", "[[[[1]]]]", "{ 'a': { 'b': 1 } }",
    "''", "' '", "'auto'", "'none'", "'nice'", "'cgroup'", "'tcg'", "'on'",
    "'off'", "'key'", "'enter+key'", "'+'", "'key+'", "'+key'", "'key++key'",
    "',,,,'", "'key,key,key,key'", "'KEY'", "'-1'", "'3'", "'0x3'",
    "'%s%n%s%n'", "'%1000000d'", "'../../../../etc/passwd'", "'/proc/self'",
    "'\\u0001\\u001b[2J'", "'\\uFFFD\\uD83D\\uDE00'", "'a\\u007Fb'",
    "'key\\n'", "'\\u202Egnp'",
};

static const char *const commands[] = {
    "{ 'execute': 'vamp-query' }",
    "{ 'execute': 'vamp-query', 'arguments': { 'x': 1 } }",
    "{ 'execute': 'vamp-query', 'arguments': [] }",
    "{ 'execute': 'vamp-input' }",
    "{ 'execute': 'vamp-input', 'arguments': { 'kind': 'key' } }",
    "{ 'execute': 'vamp-input', 'arguments': { 'kind': 'touch' } }",
    "{ 'execute': 'vamp-input', 'arguments': { 'kind': 7 } }",
    "{ 'execute': 'vamp-input', 'arguments': { 'kind': '' } }",
    "{ 'execute': 'vamp-input', 'arguments': { 'kind': null } }",
    "{ 'execute': 'object-del', 'arguments': { 'id': 'vamp0' } }",
    "{ 'execute': 'object-add', 'arguments': { 'qom-type': 'vamp-policy',"
    " 'id': 'vamp0' } }",
    "{ 'execute': 'object-add', 'arguments': { 'qom-type': 'vamp-policy',"
    " 'id': 'vamp1', 'ratio': 100 } }",
    "{ 'execute': 'object-del', 'arguments': { 'id': 'vamp1' } }",
    "{ 'execute': 'object-add', 'arguments': { 'qom-type': 'vamp-policy',"
    " 'id': '../x' } }",
    "{ 'execute': 'object-add', 'arguments': { 'qom-type': 'vamp-policy' } }",
    "{ 'execute': 'stop' }",
    "{ 'execute': 'cont' }",
    "{ 'execute': 'system_reset' }",
    "{ 'execute': 'qom-list', 'arguments': { 'path': '/objects/vamp0' } }",
    "{ 'execute': 'qom-list-properties', 'arguments': { 'typename':"
    " 'vamp-policy' } }",
    "{ 'execute': 'device-list-properties', 'arguments': { 'typename':"
    " 'vamp-policy' } }",
};

static QTestState *start(void)
{
    return qtest_init("-M q35 -smp 3 -device virtio-keyboard-pci"
                      " -object vamp-policy,id=vamp0");
}

/* Answered, one way or the other. */
static void expect_answer(QDict *rsp)
{
    g_assert(qdict_haskey(rsp, "return") || qdict_haskey(rsp, "error"));
    if (qdict_haskey(rsp, "error")) {
        /* A text of bounded length, whatever was sent. */
        g_assert_cmpint(strlen(vamp_str(rsp, "error.desc")), <, 400);
    }
    qobject_unref(rsp);
}

static void check_range(QDict *info, const char *name, int min, int max)
{
    double n = vamp_num(info, name);

    g_assert(n >= min && n <= max);
}

static void check_state(QTestState *qts)
{
    QDict *info = vamp_query(qts);

    if (vamp_bool(info, "enabled")) {
        check_range(info, "ratio", 1, 100);
        check_range(info, "bg-load-percent", 1, 100);
        check_range(info, "max-phase-ms", 100, 60000);
        check_range(info, "load-period-ms", 4, 1024);
        g_assert_cmpint(qlist_size(qobject_to(QList, vamp_get(info,
                                                              "trigger"))),
                        >, 0);
        g_assert_cmpint(qlist_size(qobject_to(QList, vamp_get(info,
                                                              "vcpus"))),
                        ==, 3);
        g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, "none");
        g_assert_cmpfloat(vamp_num(info, "counters.faults"), ==, 0);
    }
    qobject_unref(info);
}

static void set_value(QTestState *qts, const char *property, const char *value)
{
    expect_answer(vamp_try_set(qts, property,
                               qobject_from_json(value, &error_abort)));
}

static void add_with(QTestState *qts, const char *property, const char *value)
{
    expect_answer(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                            " 'qom-type': 'vamp-policy', 'id': 'vamp0',"
                            " %s: %p } }", property,
                            qobject_from_json(value, &error_abort)));
}

static void test_every_value(void)
{
    QTestState *qts = start();

    for (int p = 0; p < G_N_ELEMENTS(properties); p++) {
        for (int v = 0; v < G_N_ELEMENTS(values); v++) {
            set_value(qts, properties[p], values[v]);
        }
        check_state(qts);
    }
    qtest_quit(qts);
}

static void test_every_value_added(void)
{
    QTestState *qts = start();

    for (int p = 0; p < G_N_ELEMENTS(properties); p++) {
        if (!*properties[p]) {
            continue;
        }
        for (int v = 0; v < G_N_ELEMENTS(values); v++) {
            expect_answer(qtest_qmp(qts, "{ 'execute': 'object-del',"
                                    " 'arguments': { 'id': 'vamp0' } }"));
            add_with(qts, properties[p], values[v]);
        }
        check_state(qts);
    }
    qtest_quit(qts);
}

static void test_long(void)
{
    static const char *const pieces[] = { "a", "key+", "+", "\xc3\xa4", "%s" };
    QTestState *qts = start();

    for (int i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autoptr(GString) text = g_string_new(NULL);

        /* QMP reads byte by byte: longer ones only take longer. */
        while (text->len < 5000) {
            g_string_append(text, pieces[i]);
        }
        for (int p = 0; p < G_N_ELEMENTS(properties); p++) {
            if (*properties[p]) {
                expect_answer(vamp_try_set(qts, properties[p],
                              QOBJECT(qstring_from_str(text->str))));
            }
        }
        /* As the kind, QAPI's own error repeats it: only be alive. */
        qobject_unref(qtest_qmp(qts, "{ 'execute': 'vamp-input',"
                                " 'arguments': { 'kind': %s } }", text->str));
        check_state(qts);
    }
    qtest_quit(qts);
}

static void test_random(void)
{
    QTestState *qts = start();

    for (int i = 0; i < RANDOM_STEPS; i++) {
        int p = g_test_rand_int_range(0, G_N_ELEMENTS(properties));
        int v = g_test_rand_int_range(0, G_N_ELEMENTS(values));
        int c = g_test_rand_int_range(0, G_N_ELEMENTS(commands));

        switch (g_test_rand_int_range(0, 6)) {
        case 0:
        case 1:
            set_value(qts, properties[p], values[v]);
            break;
        case 2:
            if (*properties[p]) {
                add_with(qts, properties[p], values[v]);
            }
            break;
        case 3:
            qtest_clock_step(qts, g_test_rand_int_range(1, 3000) * MS);
            break;
        case 4:
            g_free(qtest_hmp(qts, "info vamp"));
            break;
        default:
            expect_answer(qtest_qmp(qts, "%p", qobject_from_json(commands[c],
                                                                &error_abort)));
            break;
        }
        if (i % 20 == 0) {
            check_state(qts);
        }
    }
    /* The object may be vamp1 by now; in any case there can be one again. */
    expect_answer(qtest_qmp(qts, "{ 'execute': 'object-del', 'arguments': {"
                            " 'id': 'vamp1' } }"));
    expect_answer(qtest_qmp(qts, "{ 'execute': 'object-del', 'arguments': {"
                            " 'id': 'vamp0' } }"));
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    check_state(qts);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/fuzz/every-value", test_every_value);
    qtest_add_func("/vamp/fuzz/every-value-added", test_every_value_added);
    qtest_add_func("/vamp/fuzz/long", test_long);
    qtest_add_func("/vamp/fuzz/random", test_random);

    return g_test_run();
}
