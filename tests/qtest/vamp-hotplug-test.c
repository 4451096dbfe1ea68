/*
 * QTest: vCPUs that come and go
 *
 * Claim: a vCPU that is plugged gets a load, a class and a weight like the
 * others, in and outside of a phase. When one is unplugged, the phase and the
 * weights of the others are right without it, and it can be plugged again.
 *
 * Under qtest no guest answers an unplug request; test_unplug() plays the
 * guest's part on the ACPI CPU hotplug registers (docs/specs/acpi_cpu_hotplug).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-qtest.h"

#define NICE_RATIO_3    5

/* ICH9: where the firmware's tables put the register block. */
#define CPU_HOTPLUG_BASE    0x0cd8
#define CPU_SELECTOR        (CPU_HOTPLUG_BASE + 0)
#define CPU_FLAGS           (CPU_HOTPLUG_BASE + 4)
#define CPU_FLAG_EJECT      (1 << 3)

static const int one_busy[] = { 5, 95, 0, 0 };
static const int plugged_busy[] = { 5, 0, 0, 95 };

static QTestState *start(const char *options)
{
    g_autofree char *args = g_strdup_printf(
        "-M q35 -cpu qemu64 -smp 2,sockets=1,cores=4,threads=1,maxcpus=4"
        " -object vamp-policy,id=vamp0%s", options);

    return qtest_init(args);
}

static QDict *try_plug(QTestState *qts, int core)
{
    g_autofree char *id = g_strdup_printf("cpu%d", core);

    return qtest_qmp(qts, "{ 'execute': 'device_add', 'arguments': {"
                     " 'driver': 'qemu64-x86_64-cpu', 'id': %s,"
                     " 'socket-id': 0, 'core-id': %d, 'thread-id': 0 } }",
                     id, core);
}

static void plug(QTestState *qts, int core)
{
    vamp_expect_ok(try_plug(qts, core));
}

static bool has_vcpu(QTestState *qts, int index)
{
    QDict *info = vamp_query(qts);
    bool has = vamp_vcpu(info, index);

    qobject_unref(info);
    return has;
}

static void unplug(QTestState *qts, int core)
{
    g_autofree char *id = g_strdup_printf("cpu%d", core);

    /* The firmware's tables leave the interface without unplug like this. */
    qtest_outb(qts, CPU_SELECTOR, 0);
    qtest_qmp_device_del_send(qts, id);
    qtest_outl(qts, CPU_SELECTOR, core);
    qtest_outb(qts, CPU_FLAGS, CPU_FLAG_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

static void expect_class(QTestState *qts, int index, const char *vclass)
{
    QDict *info = vamp_query(qts);

    g_assert(vamp_vcpu(info, index));
    g_assert_cmpstr(vamp_class(info, index), ==, vclass);
    qobject_unref(info);
}

static void test_plug(void)
{
    QTestState *qts = start(",actuator=none");
    VampLoad *load = vamp_load_new(qts);
    QDict *info;

    g_assert(!has_vcpu(qts, 2) && !has_vcpu(qts, 3));
    /* Out of order: 3 without 2. */
    plug(qts, 3);
    info = vamp_query(qts);
    g_assert(!vamp_vcpu(info, 2));
    g_assert(vamp_vcpu(info, 3));
    g_assert_cmpstr(vamp_class(info, 3), ==, "neutral");
    g_assert_cmpfloat(vamp_num(vamp_vcpu(info, 3), "thread-id"), >, 0);
    qobject_unref(info);

    vamp_load_run(qts, load, 2048, 4, plugged_busy, NULL);
    vamp_input(qts);
    expect_class(qts, 3, "background");
    expect_class(qts, 0, "interactive");
    plug(qts, 2);
    /* It has no past, and so is not in the background. */
    expect_class(qts, 2, "neutral");
    qtest_quit(qts);
    vamp_load_free(load);
}

static void test_weights(void)
{
    QTestState *qts;
    VampLoad *load;
    int tid;

    if (!vamp_can_nice()) {
        g_test_skip("needs CAP_SYS_NICE or RLIMIT_NICE >= 20");
        return;
    }
    qts = start(",actuator=nice");
    load = vamp_load_new(qts);
    plug(qts, 3);
    tid = vamp_tid(qts, 3);
    g_assert_cmpint(vamp_nice(qts, tid), ==, 0);
    vamp_load_run(qts, load, 2048, 4, plugged_busy, NULL);
    vamp_input(qts);
    vamp_expect_phase(qts, "mixed");
    g_assert_cmpint(vamp_nice(qts, tid), ==, NICE_RATIO_3);

    /* Plugged in the middle of a phase, and part of the next one. */
    plug(qts, 2);
    g_assert_cmpint(vamp_nice(qts, vamp_tid(qts, 2)), ==, 0);
    qtest_clock_step(qts, 5000 * MS);
    g_assert_cmpint(vamp_nice(qts, tid), ==, 0);
    vamp_object_del(qts);
    qtest_quit(qts);
    vamp_load_free(load);
}

static void test_unplug(void)
{
    QTestState *qts = start("");
    VampLoad *load = vamp_load_new(qts);

    for (int i = 0; i < 3; i++) {
        plug(qts, 2);
        g_assert(has_vcpu(qts, 2));
        unplug(qts, 2);
        g_assert(!has_vcpu(qts, 2));
        qtest_clock_step(qts, 2000 * MS);
    }

    /* In a phase: it was the one in the background. */
    plug(qts, 3);
    vamp_load_run(qts, load, 2048, 4, plugged_busy, NULL);
    vamp_input(qts);
    vamp_expect_phase_event(qts, "mixed", "input");
    unplug(qts, 3);
    vamp_expect_phase_event(qts, "non-mixed", "input");
    expect_class(qts, 0, "neutral");

    /* It comes back without its past. */
    plug(qts, 3);
    vamp_load_run(qts, load, 2048, 4, one_busy, NULL);
    vamp_input(qts);
    vamp_expect_phase_event(qts, "mixed", "input");
    expect_class(qts, 3, "interactive");
    expect_class(qts, 1, "background");
    unplug(qts, 3);
    vamp_expect_phase(qts, "mixed");
    expect_class(qts, 1, "background");
    vamp_object_del(qts);
    qtest_quit(qts);
    vamp_load_free(load);
}

/* Plugged before the object is there, unplugged after it is gone. */
static void test_before_and_after(void)
{
    QTestState *qts = start("");

    vamp_object_del(qts);
    plug(qts, 2);
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    g_assert(has_vcpu(qts, 2));
    vamp_object_del(qts);
    unplug(qts, 2);
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    g_assert(!has_vcpu(qts, 2));
    qtest_quit(qts);
}

/* A plug that QEMU refuses leaves nothing behind. */
static void test_refused(void)
{
    QTestState *qts = start("");

    plug(qts, 2);
    vamp_expect_error(try_plug(qts, 1), "exists");
    vamp_expect_error(try_plug(qts, 9), "core-id");
    g_assert(has_vcpu(qts, 2) && !has_vcpu(qts, 3));
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/hotplug/plug", test_plug);
    qtest_add_func("/vamp/hotplug/weights", test_weights);
    qtest_add_func("/vamp/hotplug/unplug", test_unplug);
    qtest_add_func("/vamp/hotplug/before-and-after", test_before_and_after);
    qtest_add_func("/vamp/hotplug/refused", test_refused);

    return g_test_run();
}
