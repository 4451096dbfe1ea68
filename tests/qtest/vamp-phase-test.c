/*
 * QTest: phases, and the weights of the vCPUs' threads
 *
 * Claim: with given loads and a given clock, a user event begins the phase
 * that the policy promises, it lasts as long as promised, and the nice values
 * that the host shows for QEMU's threads are those of the plan during it and
 * the old ones after it, however it ends.
 *
 * The clock is qtest's; the loads come from files that the test writes.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-qtest.h"

/* Nice step of ratio 3, 1 and 100 (1024 / 335, 1024 / 1024, 1024 / 15 at 19) */
#define NICE_RATIO_3    5
#define NICE_RATIO_100  19

typedef struct Vm {
    QTestState *qts;
    VampLoad *load;
    int tid[2];
} Vm;

static const int idle[] = { 2, 3 };
static const int one_busy[] = { 5, 95 };
static const int other_busy[] = { 95, 5 };
static const int all_busy[] = { 90, 95 };
static const int all_half[] = { 45, 40 };
static const int some[] = { 0, 30 };

static Vm *vm_new(const char *options)
{
    g_autofree char *args = g_strdup_printf("-M q35 -smp 2 -object vamp-policy,"
                                            "id=vamp0,%s", options);
    Vm *vm = g_new0(Vm, 1);

    vm->qts = qtest_init(args);
    vm->load = vamp_load_new(vm->qts);
    vm->tid[0] = vamp_tid(vm->qts, 0);
    vm->tid[1] = vamp_tid(vm->qts, 1);
    return vm;
}

static void vm_free(Vm *vm)
{
    qtest_quit(vm->qts);
    vamp_load_free(vm->load);
    g_free(vm);
}

static void run(Vm *vm, int ms, const int *load)
{
    vamp_load_run(vm->qts, vm->load, ms, 2, load, NULL);
}

/* Long enough for the window to hold nothing else. */
static void settle(Vm *vm, const int *load)
{
    run(vm, 2048, load);
}

static void expect_nice(Vm *vm, int nice0, int nice1)
{
    g_assert_cmpint(vamp_nice(vm->qts, vm->tid[0]), ==, nice0);
    g_assert_cmpint(vamp_nice(vm->qts, vm->tid[1]), ==, nice1);
}

static void expect(Vm *vm, const char *phase, const char *reason)
{
    QDict *info = vamp_query(vm->qts);

    g_assert_cmpstr(vamp_str(info, "phase"), ==, phase);
    vamp_expect_text(vamp_str(info, "reason"), reason);
    qobject_unref(info);
}

static double counter(Vm *vm, const char *name)
{
    QDict *info = vamp_query(vm->qts);
    g_autofree char *path = g_strdup_printf("counters.%s", name);
    double n = vamp_num(info, path);

    qobject_unref(info);
    return n;
}

/* Skips the test where a nice value could not be undone. */
static Vm *vm_with_nice(void)
{
    if (!vamp_can_nice()) {
        g_test_skip("needs CAP_SYS_NICE or RLIMIT_NICE >= 20");
        return NULL;
    }
    return vm_new("actuator=nice");
}

static void begin_mixed(Vm *vm)
{
    settle(vm, one_busy);
    vamp_input(vm->qts);
    expect(vm, "mixed", "there is background work");
    expect_nice(vm, 0, NICE_RATIO_3);
    vamp_forget_events(vm->qts);
}

/* --- which phase ---------------------------------------------------------- */

static void test_which(void)
{
    static const struct {
        const int *load;
        const char *phase, *reason, *vclass[2];
        int background;
    } cases[] = {
        { idle, "non-mixed", "not above the threshold",
          { "neutral", "neutral" }, 0 },
        { some, "non-mixed", "not above the threshold",
          { "neutral", "neutral" }, 0 },
        { one_busy, "mixed", "there is background work",
          { "interactive", "background" }, 1 },
        { other_busy, "mixed", "there is background work",
          { "background", "interactive" }, 1 },
        { all_busy, "non-mixed", "every vCPU is above the threshold",
          { "neutral", "neutral" }, 0 },
        { all_half, "non-mixed", "nothing in it is in the background",
          { "neutral", "neutral" }, 0 },
    };
    Vm *vm = vm_new("actuator=none");

    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        QDict *info, *e;

        settle(vm, cases[i].load);
        vamp_forget_events(vm->qts);
        vamp_input(vm->qts);
        info = vamp_query(vm->qts);
        g_assert_cmpstr(vamp_str(info, "phase"), ==, cases[i].phase);
        g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "input");
        g_assert_cmpfloat(vamp_num(info, "phase-age-ms"), ==, 0);
        g_assert_cmpfloat(vamp_num(info, "phase-left-ms"), ==, 5000);
        vamp_expect_text(vamp_str(info, "reason"), cases[i].reason);
        for (int v = 0; v < 2; v++) {
            double percent = vamp_num(vamp_vcpu(info, v), "load-percent");

            g_assert_cmpstr(vamp_class(info, v), ==, cases[i].vclass[v]);
            g_assert_cmpfloat(ABS(percent - cases[i].load[v]), <, 2.0);
            g_assert_cmpfloat(vamp_num(vamp_vcpu(info, v), "wait-percent"),
                              ==, 0);
        }
        g_assert_cmpfloat(ABS(vamp_num(info, "vm-load-percent") -
                              cases[i].load[0] - cases[i].load[1]), <, 2.0);
        qobject_unref(info);

        e = qtest_qmp_eventwait_ref(vm->qts, "VAMP_PHASE_CHANGE");
        g_assert_cmpstr(vamp_str(e, "data.phase"), ==, cases[i].phase);
        vamp_expect_text(vamp_str(e, "data.reason"), cases[i].reason);
        g_assert_cmpfloat(vamp_num(e, "data.background"), ==,
                          cases[i].background);
        qobject_unref(e);

        run(vm, 4992, idle);
        expect(vm, cases[i].phase, cases[i].reason);
        run(vm, 8, idle);
        expect(vm, "normal", "the phase lasted its time");
        vamp_expect_phase_event(vm->qts, "normal", "none");
    }
    vm_free(vm);
}

static void test_run_delay(void)
{
    static const int run_percent[] = { 10, 30 };
    static const int little[] = { 0, 15 };
    static const int much[] = { 0, 35 };
    Vm *vm = vm_new("actuator=none");
    QDict *info;

    vamp_load_run(vm->qts, vm->load, 2048, 2, run_percent, little);
    vamp_input(vm->qts);
    info = vamp_query(vm->qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "non-mixed");
    qobject_unref(info);

    /* What it would have run, had it been let, makes it a hog. */
    vamp_load_run(vm->qts, vm->load, 2048, 2, run_percent, much);
    vamp_input(vm->qts);
    info = vamp_query(vm->qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "mixed");
    g_assert_cmpstr(vamp_class(info, 1), ==, "background");
    g_assert_cmpfloat(ABS(vamp_num(vamp_vcpu(info, 1), "wait-percent") - 35),
                      <, 2.0);
    g_assert_cmpfloat(ABS(vamp_num(vamp_vcpu(info, 1), "load-percent") - 30),
                      <, 2.0);
    qobject_unref(info);
    vm_free(vm);
}

static void test_threshold(void)
{
    Vm *vm = vm_new("actuator=none,bg-load-percent=20");

    settle(vm, some);
    vamp_input(vm->qts);
    expect(vm, "mixed", "there is background work");
    /* Live, for the next event. */
    vamp_set_int(vm->qts, "bg-load-percent", 40);
    expect(vm, "mixed", "there is background work");
    run(vm, 1024, some);
    vamp_input(vm->qts);
    expect(vm, "non-mixed", "not above the threshold");
    vm_free(vm);
}

/* Loads of shorter epochs, in a shorter window, after a live change. */
static void test_period(void)
{
    Vm *vm = vm_new("actuator=none");

    settle(vm, one_busy);
    vamp_set_int(vm->qts, "load-period-ms", 4);
    vamp_input(vm->qts);
    expect(vm, "non-mixed", "not above the threshold");
    /* The window is 124 ms now. */
    run(vm, 256, one_busy);
    run(vm, 500, one_busy);
    vamp_input(vm->qts);
    expect(vm, "mixed", "there is background work");
    run(vm, 640, idle);
    vamp_input(vm->qts);
    expect(vm, "non-mixed", "not above the threshold");
    vm_free(vm);
}

/* --- how long ------------------------------------------------------------- */

static void test_max_phase(void)
{
    Vm *vm = vm_new("actuator=none,max-phase-ms=700");

    vamp_input(vm->qts);
    qtest_clock_step(vm->qts, 699 * MS);
    expect(vm, "non-mixed", "");
    qtest_clock_step(vm->qts, 1 * MS);
    expect(vm, "normal", "the phase lasted its time");

    /* A change is for the next phase; the one that runs keeps its end. */
    vamp_input(vm->qts);
    vamp_set_int(vm->qts, "max-phase-ms", 2000);
    qtest_clock_step(vm->qts, 700 * MS);
    expect(vm, "normal", "the phase lasted its time");
    vamp_input(vm->qts);
    qtest_clock_step(vm->qts, 1999 * MS);
    expect(vm, "non-mixed", "");
    qtest_clock_step(vm->qts, 1 * MS);
    expect(vm, "normal", "the phase lasted its time");
    vm_free(vm);
}

static void test_double_click(void)
{
    Vm *vm = vm_new("actuator=none");

    vamp_input(vm->qts);
    for (int i = 0; i < 3; i++) {
        /* All of them within 500 ms of the first. */
        qtest_clock_step(vm->qts, 166 * MS);
        vamp_input(vm->qts);
    }
    g_assert_cmpfloat(counter(vm, "events"), ==, 4);
    g_assert_cmpfloat(counter(vm, "events-coalesced"), ==, 3);
    g_assert_cmpfloat(counter(vm, "phases"), ==, 1);
    /* So the phase still ends 5000 ms after the first. */
    qtest_clock_step(vm->qts, (5000 - 3 * 166) * MS);
    expect(vm, "normal", "the phase lasted its time");

    vamp_input(vm->qts);
    qtest_clock_step(vm->qts, 500 * MS);
    vamp_input(vm->qts);
    g_assert_cmpfloat(counter(vm, "events-coalesced"), ==, 3);
    g_assert_cmpfloat(counter(vm, "phases"), ==, 3);
    /* Typing: it is not left alone in the middle of a word. */
    for (int i = 0; i < 40; i++) {
        qtest_clock_step(vm->qts, 300 * MS);
        vamp_input(vm->qts);
        expect(vm, "non-mixed", "");
    }
    g_assert_cmpfloat(counter(vm, "phases"), ==, 3 + 40 / 2);
    vm_free(vm);
}

static void test_restart(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    run(vm, 4000, one_busy);
    vamp_input(vm->qts);
    vamp_expect_phase_event(vm->qts, "mixed", "input");
    run(vm, 4992, one_busy);
    expect(vm, "mixed", "");
    expect_nice(vm, 0, NICE_RATIO_3);
    run(vm, 8, one_busy);
    expect(vm, "normal", "the phase lasted its time");
    expect_nice(vm, 0, 0);

    /* A restart looks anew at who is in the background. */
    begin_mixed(vm);
    run(vm, 2048, other_busy);
    vamp_input(vm->qts);
    expect_nice(vm, NICE_RATIO_3, 0);
    run(vm, 2048, all_busy);
    vamp_input(vm->qts);
    expect(vm, "non-mixed", "every vCPU is above");
    expect_nice(vm, 0, 0);
    vm_free(vm);
}

/* --- weights, however a phase ends ---------------------------------------- */

static void test_expires(void)
{
    Vm *vm = vm_with_nice();
    QDict *info;

    if (!vm) {
        return;
    }
    expect_nice(vm, 0, 0);
    begin_mixed(vm);
    info = vamp_query(vm->qts);
    g_assert_cmpfloat(vamp_num(vamp_vcpu(info, 1), "nice"), ==, NICE_RATIO_3);
    g_assert_cmpfloat(vamp_num(vamp_vcpu(info, 0), "nice"), ==, 0);
    qobject_unref(info);
    /* QEMU's main thread is none of ours. */
    g_assert_cmpint(vamp_nice(vm->qts, qtest_pid(vm->qts)), ==, 0);
    run(vm, 5000, one_busy);
    expect_nice(vm, 0, 0);
    vm_free(vm);
}

static void test_object_del(void)
{
    Vm *vm = vm_with_nice();
    QDict *info;

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    vamp_object_del(vm->qts);
    expect_nice(vm, 0, 0);
    info = vamp_query(vm->qts);
    g_assert(!vamp_bool(info, "enabled"));
    qobject_unref(info);
    vm_free(vm);
}

static void test_actuator_change(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    vamp_set_str(vm->qts, "actuator", "none");
    expect_nice(vm, 0, 0);
    expect(vm, "normal", "the policy was reset");
    vamp_expect_phase_event(vm->qts, "normal", "none");
    vamp_input(vm->qts);
    run(vm, 1024, one_busy);
    vamp_input(vm->qts);
    expect(vm, "mixed", "");
    expect_nice(vm, 0, 0);
    vamp_set_str(vm->qts, "actuator", "nice");
    begin_mixed(vm);

    /* A refused value leaves even the phase alone. */
    vamp_expect_error(vamp_try_set(vm->qts, "actuator",
                                   QOBJECT(qstring_from_str("vmx"))), "valid");
    expect(vm, "mixed", "");
    expect_nice(vm, 0, NICE_RATIO_3);
    vm_free(vm);
}

static void test_ratio_live(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    vamp_set_int(vm->qts, "ratio", 100);
    expect_nice(vm, 0, NICE_RATIO_100);
    vamp_set_int(vm->qts, "ratio", 1);
    expect_nice(vm, 0, 0);
    vamp_set_int(vm->qts, "ratio", 3);
    expect_nice(vm, 0, NICE_RATIO_3);
    vamp_set_int(vm->qts, "ratio", 100);
    run(vm, 5000, one_busy);
    expect_nice(vm, 0, 0);
    vm_free(vm);
}

static void test_somebody_else(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    g_assert_cmpint(setpriority(PRIO_PROCESS, vm->tid[1], 11), ==, 0);
    run(vm, 5000, one_busy);
    expect(vm, "normal", "");
    expect_nice(vm, 0, 11);
    /* The next phase leaves it alone, too, and so does the object's end. */
    vamp_input(vm->qts);
    expect(vm, "mixed", "");
    expect_nice(vm, 0, 11);
    vamp_object_del(vm->qts);
    expect_nice(vm, 0, 11);
    vm_free(vm);
}

static void test_vm_stop(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    begin_mixed(vm);
    qtest_qmp_assert_success(vm->qts, "{ 'execute': 'stop' }");
    expect(vm, "normal", "the policy was reset");
    expect_nice(vm, 0, 0);
    vamp_expect_phase_event(vm->qts, "normal", "none");

    /* Nobody can be served now. */
    vamp_input(vm->qts);
    expect(vm, "normal", "the policy was reset");
    qtest_qmp_assert_success(vm->qts, "{ 'execute': 'cont' }");
    expect(vm, "normal", "the policy was reset");
    begin_mixed(vm);
    qtest_system_reset(vm->qts);
    expect(vm, "mixed", "");
    vm_free(vm);
}

static void test_quit_in_phase(void)
{
    Vm *vm = vm_with_nice();

    if (!vm) {
        return;
    }
    /* Must end with status 0; ASan looks for what is left. */
    begin_mixed(vm);
    vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/phase/which", test_which);
    qtest_add_func("/vamp/phase/run-delay", test_run_delay);
    qtest_add_func("/vamp/phase/threshold", test_threshold);
    qtest_add_func("/vamp/phase/period", test_period);
    qtest_add_func("/vamp/phase/max-phase", test_max_phase);
    qtest_add_func("/vamp/phase/double-click", test_double_click);
    qtest_add_func("/vamp/phase/restart", test_restart);
    qtest_add_func("/vamp/phase/weights/expires", test_expires);
    qtest_add_func("/vamp/phase/weights/object-del", test_object_del);
    qtest_add_func("/vamp/phase/weights/actuator-change",
                   test_actuator_change);
    qtest_add_func("/vamp/phase/weights/ratio-live", test_ratio_live);
    qtest_add_func("/vamp/phase/weights/somebody-else", test_somebody_else);
    qtest_add_func("/vamp/phase/weights/vm-stop", test_vm_stop);
    qtest_add_func("/vamp/phase/weights/quit", test_quit_in_phase);

    return g_test_run();
}
