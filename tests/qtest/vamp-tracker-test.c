/*
 * QTest: which guest task is in the background
 *
 * Claim: with a real guest, whose address spaces share the CPU in known
 * proportions, the trackers find these proportions; a task above the threshold
 * is listed as background with the CR3 that it has, the others are not; and
 * the vCPU's thread is nice while that task runs and is not while others run.
 *
 * No wall-clock time is asserted, only proportions: the host may be busy.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vamp-qtest.h"
#include "vamp-tracker-boot.h"

#define NICE_RATIO_3    5

#define REPORT          0x500
#define SIGNATURE       0x504d4156      /* "VAMP" */

#define NR_TASKS        3

static const char *const task_name[NR_TASKS] = {
    "0x10000", "0x20000", "0x30000"
};
static const int task_percent[NR_TASKS] = { 70, 20, 10 };

typedef struct Accel {
    const char *name;           /* as the tracker is called */
    const char *options;
    uint32_t turns;             /* of a task's loop, per percent */
    /* Points that a measured share may be off. */
    int slack;
    int period_ms;
} Accel;

/* A round takes some ten ms. */
static const Accel tcg = {
    "tcg", "-accel tcg,thread=multi -M pc", 100000, 6, 32
};

/*
 * At 8 ms a sample: 250 in a window of 2 s, so a deviation of 3 points. Few
 * turns, because there are KVMs that emulate such a guest one instruction
 * after the other (kvm-pvm), where a round takes 50 ms.
 */
static const Accel kvm = {
    "sample", "-accel kvm -M pc", 200, 13, 64
};

typedef struct Guest {
    QTestState *qts;
    char *image;
    int tid[2];
} Guest;

static char *make_image(const Accel *accel)
{
    /* Firmware may want more than a sector of a disk. */
    size_t len = 0x7e000;
    g_autofree uint8_t *disk = g_malloc0(len);
    char *name = g_strdup("/tmp/vamp-tracker-XXXXXX");
    int fd = mkstemp(name);

    g_assert_cmpint(fd, >=, 0);
    memcpy(disk, vamp_boot_sector, sizeof(vamp_boot_sector));
    for (int i = 0; i < NR_TASKS; i++) {
        stl_le_p(disk + VAMP_BOOT_NUMBERS + 4 * i,
                 accel->turns * task_percent[i]);
    }
    g_assert_cmpint(write(fd, disk, len), ==, len);
    close(fd);
    return name;
}

static bool wait_for_rounds(QTestState *qts, uint32_t rounds)
{
    /* Firmware under TCG on a busy host takes seconds. */
    for (int i = 0; i < 6000; i++) {
        if (qtest_readl(qts, REPORT) == SIGNATURE &&
            qtest_readl(qts, REPORT + 4) >= rounds) {
            return true;
        }
        g_usleep(10000);
    }
    return false;
}

static bool kvm_works(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-kvm' }");
    bool enabled = vamp_bool(rsp, "return.enabled");

    qobject_unref(rsp);
    return enabled;
}

static void guest_free(Guest *g)
{
    qtest_quit(g->qts);
    unlink(g->image);
    g_free(g->image);
    g_free(g);
}

/* NULL, and the test skipped, if it does not run here. */
static Guest *guest_new(const Accel *accel, const char *properties)
{
    Guest *g = g_new0(Guest, 1);
    g_autofree char *args = NULL;

    g->image = make_image(accel);
    args = g_strdup_printf("%s -smp 2 -m 64 -nodefaults"
                           " -drive file=%s,format=raw -object vamp-policy,"
                           "id=vamp0,max-phase-ms=60000,load-period-ms=%d%s",
                           accel->options, g->image, accel->period_ms,
                           properties);
    g->qts = qtest_init(args);
    if (accel == &kvm && !kvm_works(g->qts)) {
        g_test_skip("KVM does not work here");
        guest_free(g);
        return NULL;
    }
    if (!wait_for_rounds(g->qts, 3)) {
        if (accel == &kvm) {
            g_test_skip("the guest does not report under this KVM");
            guest_free(g);
            return NULL;
        }
        g_error("the guest does not report");
    }
    g->tid[0] = vamp_tid(g->qts, 0);
    g->tid[1] = vamp_tid(g->qts, 1);
    return g;
}

/* Lets the guest fill a window of @accel, and some more. */
static void wait_window(const Accel *accel)
{
    g_usleep(accel->period_ms * 34 * 1000);
}

/* Load of @task in the list of background tasks, -1 if it is not there. */
static double background_load(QDict *info, const char *task)
{
    QList *list = qobject_to(QList, vamp_get(info, "background-tasks"));
    QListEntry *e;

    g_assert(list);
    QLIST_FOREACH_ENTRY(list, e) {
        QDict *t = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(vamp_str(t, "task"), task)) {
            return vamp_num(t, "load-percent");
        }
    }
    return -1;
}

/* All tasks are above a threshold of 1 %: their loads, as shares. */
static void check_shares(const Accel *accel, Guest *g)
{
    double load[NR_TASKS], sum = 0;
    QDict *info;

    vamp_set_int(g->qts, "bg-load-percent", 1);
    wait_window(accel);
    vamp_input(g->qts);
    info = vamp_query(g->qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "mixed");
    for (int i = 0; i < NR_TASKS; i++) {
        load[i] = background_load(info, task_name[i]);
        g_assert_cmpfloat(load[i], >, 0);
        sum += load[i];
    }
    /*
     * All that the vCPU did. Run time is known to the switch, run delay only
     * to the window: where the host's load changes, the sum may be over 100.
     */
    g_assert_cmpfloat(sum, <, 150);
    g_assert_cmpfloat(ABS(sum - vamp_num(info, "vm-load-percent")), <, 40);
    for (int i = 0; i < NR_TASKS; i++) {
        double percent = load[i] * 100 / sum;

        g_test_message("task %s: %.1f %%, expected %d %%", task_name[i],
                       percent, task_percent[i]);
        g_assert_cmpfloat(ABS(percent - task_percent[i]), <, accel->slack);
    }
    /* Most loaded first. */
    g_assert_cmpstr(vamp_str(qobject_to(QDict, qlist_peek(qobject_to(QList,
                             vamp_get(info, "background-tasks")))), "task"),
                    ==, task_name[0]);
    qobject_unref(info);
}

/* Looks for about 1.5 s: how often was the busy vCPU's thread nice? */
static void count_nice(Guest *g, int seen[2])
{
    seen[0] = seen[1] = 0;
    for (int i = 0; i < 300; i++) {
        int nice = vamp_nice(g->qts, g->tid[0]);

        g_assert(nice == 0 || nice == NICE_RATIO_3);
        seen[nice != 0]++;
        /* The idle vCPU is none of it. */
        g_assert_cmpint(vamp_nice(g->qts, g->tid[1]), ==, 0);
        g_usleep(4000 + i % 7 * 300);
    }
    g_test_message("nice 0: %d times, nice %d: %d times", seen[0],
                   NICE_RATIO_3, seen[1]);
}

static void expect_nice_follows(Guest *g)
{
    int seen[2];

    if (!vamp_can_nice()) {
        return;
    }
    /*
     * 70 % of the time; more as it is nice then. But when we look is the
     * host's to say, so a busy one gets more chances.
     */
    for (int chance = 0; chance < 5; chance++) {
        count_nice(g, seen);
        if (seen[1] > seen[0]) {
            break;
        }
    }
    g_assert_cmpint(seen[0], >, 10);
    g_assert_cmpint(seen[1], >, seen[0]);
}

static void expect_nice(Guest *g, int nice)
{
    g_assert_cmpint(vamp_nice(g->qts, g->tid[0]), ==, nice);
    g_assert_cmpint(vamp_nice(g->qts, g->tid[1]), ==, 0);
}

static void test_tracker(const void *opaque)
{
    const Accel *accel = opaque;
    Guest *g = guest_new(accel, vamp_can_nice() ? ",actuator=nice"
                                                : ",actuator=none");
    QDict *info;

    if (!g) {
        return;
    }
    info = vamp_query(g->qts);
    g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, accel->name);
    qobject_unref(info);

    check_shares(accel, g);

    /* A threshold between the heavy task and the others. */
    vamp_set_int(g->qts, "bg-load-percent", 40);
    wait_window(accel);
    vamp_input(g->qts);
    info = vamp_query(g->qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "mixed");
    g_assert_cmpfloat(background_load(info, task_name[0]), >, 40);
    g_assert_cmpfloat(background_load(info, task_name[1]), ==, -1);
    g_assert_cmpfloat(background_load(info, task_name[2]), ==, -1);
    g_assert_cmpint(qlist_size(qobject_to(QList,
                               vamp_get(info, "background-tasks"))), ==, 1);
    g_assert_cmpstr(vamp_class(info, 1), ==, "interactive");
    qobject_unref(info);
    expect_nice_follows(g);

    /* Where one task is never in the background the thread stays as it is. */
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    expect_nice(g, 0);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    vamp_set_int(g->qts, "bg-load-percent", 100);
    wait_window(accel);
    vamp_input(g->qts);
    vamp_expect_phase(g->qts, "non-mixed");
    for (int i = 0; i < 50; i++) {
        expect_nice(g, 0);
        g_usleep(2000);
    }
    guest_free(g);
}

/*
 * Everything that can be changed is changed while the guest's tasks switch
 * and vCPU threads set their own weights.
 */
static void test_live(const void *opaque)
{
    const Accel *accel = opaque;
    Guest *g = guest_new(accel, vamp_can_nice() ? ",actuator=nice"
                                                : ",actuator=none");
    QDict *info;
    uint32_t rounds;

    if (!g) {
        return;
    }
    vamp_set_int(g->qts, "bg-load-percent", 30);
    for (int i = 0; i < 12; i++) {
        vamp_set_int(g->qts, "load-period-ms", 4 << i % 3);
        g_usleep(600000);
        vamp_input(g->qts);
        vamp_set_int(g->qts, "ratio", 2 + i);
        switch (i % 4) {
        case 0:
            vamp_set_str(g->qts, "tracker", "none");
            vamp_set_str(g->qts, "tracker", "auto");
            break;
        case 1:
            vamp_set_str(g->qts, "actuator", "none");
            expect_nice(g, 0);
            vamp_set_str(g->qts, "actuator", vamp_can_nice() ? "nice" : "none");
            break;
        case 2:
            vamp_object_del(g->qts);
            expect_nice(g, 0);
            vamp_expect_ok(qtest_qmp(g->qts, "{ 'execute': 'object-add',"
                                     " 'arguments': { 'id': 'vamp0',"
                                     " 'qom-type': 'vamp-policy' } }"));
            vamp_set_int(g->qts, "bg-load-percent", 30);
            vamp_set_str(g->qts, "actuator", vamp_can_nice() ? "nice" : "none");
            break;
        default:
            break;
        }
    }
    info = vamp_query(g->qts);
    g_assert_cmpstr(vamp_str(info, "tracker.active"), ==, accel->name);
    g_assert_cmpfloat(vamp_num(info, "counters.faults"), ==, 0);
    qobject_unref(info);
    vamp_object_del(g->qts);
    expect_nice(g, 0);

    /* And the guest has not stood still. */
    rounds = qtest_readl(g->qts, REPORT + 4);
    g_assert(wait_for_rounds(g->qts, rounds + 2));
    expect_nice(g, 0);
    guest_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (qtest_has_accel("tcg")) {
        qtest_add_data_func("/vamp/tracker/tcg", &tcg, test_tracker);
        qtest_add_data_func("/vamp/tracker/tcg/live", &tcg, test_live);
    }
    if (qtest_has_accel("kvm")) {
        qtest_add_data_func("/vamp/tracker/sample", &kvm, test_tracker);
        qtest_add_data_func("/vamp/tracker/sample/live", &kvm, test_live);
    }
    return g_test_run();
}
