/*
 * QTest: the vamp-policy object, its properties and its commands
 *
 * Claim: every way to give the object a property (-object, object-add,
 * qom-set) takes the same values and refuses the same ones, with a text that
 * says what would be valid, and a refusal changes nothing. The object refuses
 * machines that it cannot serve, and a second one of its kind. What the
 * commands say is what was set.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-qtest.h"

static const char *const machines[] = { "q35", "pc", "microvm" };

/* Values that are refused, as JSON, and what the text has to say. */
static const struct {
    const char *name;
    const char *json;
    const char *value;      /* the text names it */
    const char *valid;      /* and what would be valid */
} refused[] = {
    { "ratio", "0", "ratio=0", "1 to 100" },
    { "ratio", "-1", "ratio=-1", "1 to 100" },
    { "ratio", "101", "ratio=101", "1 to 100" },
    { "ratio", "4294967299", "ratio=4294967299", "1 to 100" },
    { "ratio", "9223372036854775807", "ratio=9223372036854775807",
      "1 to 100" },
    { "bg-load-percent", "0", "bg-load-percent=0", "1 to 100" },
    { "bg-load-percent", "101", "bg-load-percent=101", "1 to 100" },
    { "max-phase-ms", "99", "max-phase-ms=99", "100 to 60000" },
    { "max-phase-ms", "60001", "max-phase-ms=60001", "100 to 60000" },
    { "load-period-ms", "2", "load-period-ms=2", "4 to 1024" },
    { "load-period-ms", "2048", "load-period-ms=2048", "4 to 1024" },
    { "load-period-ms", "33", "load-period-ms=33", "4, 8, 16 ... 1024" },
    { "ratio", "\"4x\"", "ratio=4x", "1 to 100" },
    { "ratio", "\"0\"", "ratio=0", "1 to 100" },
    { "tracker", "\"\"", "tracker=", "auto, tcg, kvm, sample, guest, none" },
    { "tracker", "\"kvm \"", "tracker=kvm ",
      "auto, tcg, kvm, sample, guest, none" },
    { "actuator", "\"Nice\"", "actuator=Nice",
      "auto, broker, kvm, cgroup, nice, none" },
    { "audio", "\"yes\"", "audio=yes", "auto, on, off" },
    { "pv", "\"1\"", "pv=1", "auto, on, off" },
    { "wakeup-track", "16", "wakeup-track=16", "0 to 15" },
    { "wakeup-track", "-1", "wakeup-track=-1", "0 to 15" },
    { "trigger", "\"\"", "trigger", "enter, key, button, wheel and touch" },
    { "trigger", "\"key+mouse\"", "'mouse'",
      "enter, key, button, wheel and touch" },
};

/* Limits that are taken, and what vamp-query says then. */
static const struct {
    const char *name;
    int64_t value;
} taken[] = {
    { "ratio", 1 }, { "ratio", 100 }, { "ratio", 3 },
    { "bg-load-percent", 1 }, { "bg-load-percent", 100 },
    { "bg-load-percent", 50 },
    { "max-phase-ms", 100 }, { "max-phase-ms", 60000 },
    { "max-phase-ms", 5000 },
    { "load-period-ms", 4 }, { "load-period-ms", 1024 },
    { "load-period-ms", 32 },
};

static QObject *json(const char *text)
{
    return qobject_from_json(text, &error_abort);
}

/* Runs QEMU until it ends by itself. Returns its exit status. */
static int run_qemu(const char *args, char **errors)
{
    g_autofree char *line = g_strdup_printf(
        "exec timeout 60 %s -display none -audio none %s",
        getenv("QTEST_QEMU_BINARY"), args);
    const char *argv[] = { "/bin/sh", "-c", line, NULL };
    GError *err = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                 NULL, NULL, errors, &status, &err);
    g_assert_no_error(err);
    g_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* --- without an object ---------------------------------------------------- */

static void test_absent(void)
{
    QTestState *qts = qtest_init("-M q35");
    QDict *info = vamp_query(qts);
    g_autofree char *hmp = NULL;

    g_assert(!vamp_bool(info, "enabled"));
    vamp_expect_text(vamp_str(info, "reason"), "there is no vamp-policy");
    /* Nothing else follows, but what the guest says of itself. */
    g_assert_cmpint(qdict_size(info), ==, 3);
    g_assert_cmpstr(vamp_str(info, "guest.source"), ==, "none");
    qobject_unref(info);

    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'vamp-input' }"),
                      "there is no vamp-policy object");
    hmp = qtest_hmp(qts, "info vamp");
    g_assert_cmpstr(hmp, ==, "off: there is no vamp-policy object\r\n");
    qtest_quit(qts);
}

/* --- defaults ------------------------------------------------------------- */

static void check_defaults(QTestState *qts)
{
    QDict *info = vamp_query(qts);
    QList *trigger = qobject_to(QList, vamp_get(info, "trigger"));

    g_assert(vamp_bool(info, "enabled"));
    g_assert_cmpstr(vamp_str(info, "id"), ==, "vamp0");
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "normal");
    g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "none");
    g_assert(!vamp_get(info, "phase-left-ms"));
    g_assert(!vamp_get(info, "fault"));
    g_assert_cmpfloat(vamp_num(info, "ratio"), ==, 3);
    g_assert_cmpfloat(vamp_num(info, "bg-load-percent"), ==, 50);
    g_assert_cmpfloat(vamp_num(info, "max-phase-ms"), ==, 5000);
    g_assert_cmpfloat(vamp_num(info, "load-period-ms"), ==, 32);
    /* key, button, wheel, touch: not enter, which is a key too */
    g_assert_cmpint(qlist_size(trigger), ==, 4);
    g_assert_cmpstr(vamp_str(info, "tracker.requested"), ==, "auto");
    g_assert_cmpstr(vamp_str(info, "actuator.requested"), ==, "auto");
    g_assert_cmpstr(vamp_str(info, "sound.requested"), ==, "auto");
    g_assert_cmpstr(vamp_str(info, "names.requested"), ==, "auto");
    g_assert(!vamp_bool(info, "names.active"));
    vamp_expect_text(vamp_str(info, "names.reason"), "the tracker is none");
    /* Under qtest no guest runs: both trackers say what they lack. */
    g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, "none");
    vamp_expect_text(vamp_str(info, "tracker.reason"), "needs -accel tcg");
    vamp_expect_text(vamp_str(info, "tracker.reason"), "needs -accel kvm");
    g_assert_cmpint(strlen(vamp_str(info, "actuator.reason")), >, 0);
    g_assert(vamp_vcpu(info, 0) && vamp_vcpu(info, 1));
    g_assert(!vamp_vcpu(info, 2));
    g_assert_cmpstr(vamp_class(info, 0), ==, "neutral");
    g_assert_cmpfloat(vamp_num(info, "counters.phases"), ==, 0);
    g_assert_cmpfloat(vamp_num(info, "counters.faults"), ==, 0);
    qobject_unref(info);
}

static void test_defaults(const void *machine)
{
    g_autofree char *args = g_strdup_printf("-M %s -smp 2 -object "
                                            "vamp-policy,id=vamp0",
                                            (const char *)machine);
    QTestState *qts = qtest_init(args);

    check_defaults(qts);
    vamp_object_del(qts);
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    check_defaults(qts);
    qtest_quit(qts);
}

/* --- values --------------------------------------------------------------- */

static void test_set_refused(void)
{
    QTestState *qts = qtest_init("-M q35 -smp 2 -object vamp-policy,id=vamp0,"
                                 "actuator=none");
    static const char *const wrong[] = {
        "null", "true", "3.5", "[3]", "{}", "1e300",
        "18446744073709551615", "-9223372036854775809",
    };
    QDict *before, *after;

    vamp_input(qts);
    before = vamp_query(qts);
    for (int i = 0; i < G_N_ELEMENTS(refused); i++) {
        QDict *rsp = vamp_try_set(qts, refused[i].name, json(refused[i].json));

        vamp_expect_text(vamp_str(rsp, "error.desc"), refused[i].value);
        vamp_expect_error(rsp, refused[i].valid);
    }
    for (int i = 0; i < G_N_ELEMENTS(wrong); i++) {
        QDict *rsp = vamp_try_set(qts, "ratio", json(wrong[i]));

        vamp_expect_text(vamp_str(rsp, "error.desc"), "ratio");
        vamp_expect_error(rsp, "1 to 100");
    }
    /* The clock stands still under qtest: nothing at all may differ. */
    after = vamp_query(qts);
    g_assert(qobject_is_equal(QOBJECT(before), QOBJECT(after)));
    qobject_unref(before);
    qobject_unref(after);
    qtest_quit(qts);
}

static void test_set_taken(void)
{
    QTestState *qts = qtest_init("-M q35 -smp 2 -object vamp-policy,id=vamp0,"
                                 "actuator=none");
    QDict *info, *rsp;

    for (int i = 0; i < G_N_ELEMENTS(taken); i++) {
        vamp_set_int(qts, taken[i].name, taken[i].value);
        info = vamp_query(qts);
        g_assert_cmpfloat(vamp_num(info, taken[i].name), ==, taken[i].value);
        qobject_unref(info);
        rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                        " 'path': '/objects/vamp0', 'property': %s } }",
                        taken[i].name);
        g_assert_cmpfloat(vamp_num(rsp, "return"), ==, taken[i].value);
        qobject_unref(rsp);
    }

    vamp_set_str(qts, "trigger", "touch+enter,wheel");
    rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/objects/vamp0', 'property': 'trigger' } }");
    g_assert_cmpstr(vamp_str(rsp, "return"), ==, "enter+wheel+touch");
    qobject_unref(rsp);

    vamp_set_str(qts, "tracker", "tcg");
    vamp_set_str(qts, "actuator", "nice");
    vamp_set_str(qts, "audio", "off");
    vamp_set_str(qts, "pv", "off");
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "tracker.requested"), ==, "tcg");
    g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, "none");
    g_assert_cmpstr(vamp_str(info, "tracker.reason"), ==,
                    "tcg: needs -accel tcg");
    g_assert_cmpstr(vamp_str(info, "actuator.requested"), ==, "nice");
    g_assert_cmpstr(vamp_str(info, "sound.reason"), ==, "set to off");
    g_assert_cmpstr(vamp_str(info, "names.requested"), ==, "off");
    g_assert_cmpstr(vamp_str(info, "names.reason"), ==, "set to off");
    qobject_unref(info);
    vamp_set_str(qts, "tracker", "none");
    info = vamp_query(qts);
    vamp_expect_text(vamp_str(info, "tracker.reason"), "set to none");
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_add_refused(void)
{
    QTestState *qts = qtest_init("-M q35");
    QDict *info;

    for (int i = 0; i < G_N_ELEMENTS(refused); i++) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                               " 'qom-type': 'vamp-policy', 'id': 'vamp0',"
                               " %s: %p } }", refused[i].name,
                               json(refused[i].json));

        vamp_expect_text(vamp_str(rsp, "error.desc"), refused[i].value);
        vamp_expect_error(rsp, refused[i].valid);
    }
    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'object-add',"
                                " 'arguments': { 'qom-type': 'vamp-policy',"
                                " 'id': 'vamp0', 'x-qtest-schedstat': '/' } }"),
                      "x-qtest-schedstat");
    info = vamp_query(qts);
    g_assert(!vamp_bool(info, "enabled"));
    qobject_unref(info);
    /* And the id is still free. */
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0',"
                             " 'ratio': 7, 'trigger': 'enter' } }"));
    info = vamp_query(qts);
    g_assert_cmpfloat(vamp_num(info, "ratio"), ==, 7);
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_command_line_refused(void)
{
    static const struct {
        const char *args;
        const char *say[2];
    } cases[] = {
        { "-object vamp-policy,id=vamp0,ratio=101",
          { "ratio=101", "1 to 100" } },
        { "-object vamp-policy,id=vamp0,ratio=three",
          { "ratio=three is not a whole number", "1 to 100" } },
        { "-object vamp-policy,id=vamp0,max-phase-ms=5s",
          { "max-phase-ms=5s", "100 to 60000" } },
        { "-object vamp-policy,id=vamp0,load-period-ms=33",
          { "load-period-ms=33", "16 ... 1024" } },
        { "-object vamp-policy,id=vamp0,tracker=kwm",
          { "tracker=kwm", "auto, tcg, kvm, sample, guest, none" } },
        { "-object vamp-policy,id=vamp0,nonsense=1", { "nonsense", "" } },
        { "-object vamp-policy,id=vamp0 -object vamp-policy,id=vamp1",
          { "'vamp0'", "only one" } },
        { "-accel tcg,thread=single -object vamp-policy,id=vamp0",
          { "share one thread", "thread=multi" } },
        { "-icount 4 -accel tcg -object vamp-policy,id=vamp0",
          { "share one thread", "-icount" } },
        { "-M none -object vamp-policy,id=vamp0",
          { "this machine has no vCPUs", "" } },
    };

    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *errors = NULL;
        g_autofree char *args = g_strdup_printf("-M q35 -S %s -accel qtest",
                                                cases[i].args);

        g_test_message("%s", cases[i].args);
        g_assert_cmpint(run_qemu(args, &errors), ==, 1);
        vamp_expect_text(errors, cases[i].say[0]);
        vamp_expect_text(errors, cases[i].say[1]);
    }
}

/* --- objects -------------------------------------------------------------- */

static void test_second(void)
{
    QTestState *qts = qtest_init("-M q35 -object vamp-policy,id=vamp0,ratio=9");
    QDict *info, *rsp;

    rsp = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                    " 'qom-type': 'vamp-policy', 'id': 'vamp1' } }");
    vamp_expect_error(rsp, "'vamp0'");
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "id"), ==, "vamp0");
    g_assert_cmpfloat(vamp_num(info, "ratio"), ==, 9);
    qobject_unref(info);

    vamp_object_del(qts);
    rsp = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                    " 'qom-type': 'vamp-policy', 'id': 'vamp1' } }");
    vamp_expect_ok(rsp);
    qtest_quit(qts);
}

static void test_again_and_again(void)
{
    QTestState *qts = qtest_init("-M q35 -smp 4");

    for (int i = 0; i < 30; i++) {
        QDict *info;

        vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add',"
                                 " 'arguments': { 'qom-type': 'vamp-policy',"
                                 " 'id': 'vamp0' } }"));
        /* The object may go before it has started, or in a phase. */
        if (i % 3 == 1) {
            vamp_input(qts);
            vamp_expect_phase(qts, "non-mixed");
        } else if (i % 3 == 2) {
            qtest_clock_step(qts, 2000 * MS);
        }
        vamp_object_del(qts);
        qtest_clock_step(qts, 2000 * MS);
        info = vamp_query(qts);
        g_assert(!vamp_bool(info, "enabled"));
        qobject_unref(info);
    }
    qtest_quit(qts);
}

static void test_unfit(void)
{
    QTestState *qts = qtest_init("-M q35 -S -accel tcg,thread=single");
    const char *add = "{ 'execute': 'object-add', 'arguments': {"
                      " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }";

    vamp_expect_error(qtest_qmp(qts, "%p", json(add)), "thread=multi");
    qtest_quit(qts);

    qts = qtest_init("-M none");
    vamp_expect_error(qtest_qmp(qts, "%p", json(add)), "has no vCPUs");
    qtest_quit(qts);
}

/* --- events and reports --------------------------------------------------- */

static void test_input_kinds(void)
{
    static const char *const kinds[] = {
        "enter", "key", "button", "wheel", "touch"
    };
    QTestState *qts = qtest_init("-M q35 -object vamp-policy,id=vamp0");

    for (int set = 0; set < G_N_ELEMENTS(kinds); set++) {
        vamp_set_str(qts, "trigger", kinds[set]);
        for (int i = 0; i < G_N_ELEMENTS(kinds); i++) {
            vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'vamp-input',"
                                     " 'arguments': { 'kind': %s } }",
                                     kinds[i]));
            vamp_expect_phase(qts, i == set ? "non-mixed" : "normal");
            if (i == set) {
                /* The reply comes first: vamp-input itself sends the event. */
                vamp_expect_phase_event(qts, "non-mixed", "input");
                qtest_clock_step(qts, 5000 * MS);
                vamp_expect_phase_event(qts, "normal", "none");
            }
        }
    }
    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'vamp-input',"
                                " 'arguments': { 'kind': 'mouse' } }"),
                      "mouse");
    /* Without a kind it is a key. */
    vamp_set_str(qts, "trigger", "enter+button+wheel+touch");
    vamp_input(qts);
    vamp_expect_phase(qts, "normal");
    vamp_set_str(qts, "trigger", "key");
    vamp_input(qts);
    vamp_expect_phase(qts, "non-mixed");
    qtest_quit(qts);
}

static void test_hmp(void)
{
    QTestState *qts = qtest_init("-M q35 -smp 2 -object vamp-policy,id=vamp0,"
                                 "actuator=none,ratio=7");
    g_autofree char *normal = qtest_hmp(qts, "info vamp");
    g_autofree char *phase = NULL;
    g_autofree char *help = NULL, *set = NULL, *wrong = NULL;
    QDict *info;

    vamp_expect_text(normal, "vamp0: normal phase for 0 ms (no event so far)");
    vamp_expect_text(normal, "ratio 7, background above 50 %");
    vamp_expect_text(normal, "tracker none: tcg: needs -accel tcg");
    vamp_expect_text(normal, "actuator none: set to none");
    vamp_expect_text(normal, "sound off: nothing to listen to");
    vamp_expect_text(normal, "   1 ");
    vamp_input(qts);
    qtest_clock_step(qts, 250 * MS);
    phase = qtest_hmp(qts, "info vamp");
    vamp_expect_text(phase, "vamp0: non-mixed phase for 250 ms");
    set = qtest_hmp(qts, "qom-set /objects/vamp0 ratio 9");
    g_assert_cmpstr(set, ==, "");
    info = vamp_query(qts);
    g_assert_cmpfloat(vamp_num(info, "ratio"), ==, 9);
    qobject_unref(info);
    wrong = qtest_hmp(qts, "qom-set /objects/vamp0 ratio nine");
    vamp_expect_text(wrong, "ratio=nine is not a whole number, valid is 1 to "
                     "100");
    help = qtest_hmp(qts, "help info");
    vamp_expect_text(help, "info vamp");
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/policy/absent", test_absent);
    for (int i = 0; i < G_N_ELEMENTS(machines); i++) {
        if (qtest_has_machine(machines[i])) {
            g_autofree char *name = g_strdup_printf("/vamp/policy/defaults/%s",
                                                    machines[i]);

            qtest_add_data_func(name, machines[i], test_defaults);
        }
    }
    qtest_add_func("/vamp/policy/set/refused", test_set_refused);
    qtest_add_func("/vamp/policy/set/taken", test_set_taken);
    qtest_add_func("/vamp/policy/add/refused", test_add_refused);
    qtest_add_func("/vamp/policy/command-line/refused",
                   test_command_line_refused);
    qtest_add_func("/vamp/policy/second", test_second);
    qtest_add_func("/vamp/policy/again-and-again", test_again_and_again);
    qtest_add_func("/vamp/policy/unfit", test_unfit);
    qtest_add_func("/vamp/policy/input-kinds", test_input_kinds);
    qtest_add_func("/vamp/policy/hmp", test_hmp);

    return g_test_run();
}
