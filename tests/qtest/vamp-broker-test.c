/*
 * QTest: the actuator that speaks to qemu-vamp-broker
 *
 * Claim: QEMU tells the broker of its threads and their classes as
 * core/brokermsg.h says, shows the account that the broker keeps, and lives
 * with a broker that refuses, goes away, says nothing or says nonsense.
 *
 * The broker is a stand-in. The real one has tests of its own.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-broker-qtest.h"

/* How long all vCPUs are interactive after an event (hw/vamp/serve.c). */
#define SERVE_MS 2
/* ... if the last time is not less ago */
#define SERVE_EVERY_MS 100

static const int idle[] = { 2, 3 };
static const int one_busy[] = { 5, 95 };

static QTestState *start(Broker *b, const char *actuator)
{
    g_autofree char *args = g_strdup_printf(
        "-name guest=desk -M q35 -cpu qemu64 -smp 2,cores=3,maxcpus=3 "
        "-object vamp-policy,id=vamp0,actuator=%s,broker=%s",
        actuator, b->path);

    return qtest_init(args);
}

static void expect_active(QTestState *qts, const char *actuator,
                          const char *reason)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, actuator);
    vamp_expect_text(vamp_str(info, "actuator.reason"), reason);
    qobject_unref(info);
}

static void plug_third(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'device_add', 'arguments': {"
                             " 'driver': 'qemu64-x86_64-cpu', 'id': 'cpu2',"
                             " 'socket-id': 0, 'core-id': 2, 'thread-id': 0 }"
                             "}");
}

static void expect_class(QTestState *qts, int vcpu, const char *vclass)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_class(info, vcpu), ==, vclass);
    qobject_unref(info);
}

/* vCPU 1 works in the background, and may yet take the key's interrupt. */
static void expect_served(Broker *b, QTestState *qts)
{
    qtest_clock_step(qts, SERVE_MS * MS - 1);
    expect_class(qts, 1, "interactive");
    qtest_clock_step(qts, 1);
    heard_class(b, 1, VAMP_CLASS_BACKGROUND);
}

static void test_conversation(void)
{
    Broker *b = broker_new(GOOD);
    QTestState *qts = start(b, "broker");
    VampLoad *load;
    QDict *info;
    int tid[2];
    Packet *p;

    expect_active(qts, "broker", "it works here");
    tid[0] = vamp_tid(qts, 0);
    tid[1] = vamp_tid(qts, 1);
    p = heard(b, VAMP_BMSG_HELLO);
    g_assert_cmpuint(p->hello.version, ==, VAMP_BROKER_VERSION);
    g_assert_cmpuint(p->hello.ratio, ==, 3);
    g_assert_cmpstr(p->hello.name, ==, "desk");
    g_free(p);
    heard_thread(b, VAMP_BMSG_THREAD_ADD, VAMP_BROKER_IO, 0, qtest_pid(qts));
    heard_thread(b, VAMP_BMSG_THREAD_ADD, VAMP_BROKER_VCPU, 0, tid[0]);
    heard_thread(b, VAMP_BMSG_THREAD_ADD, VAMP_BROKER_VCPU, 1, tid[1]);

    load = vamp_load_new(qts);
    vamp_load_run(qts, load, 2048, 2, one_busy, NULL);
    vamp_input(qts);
    vamp_expect_phase(qts, "mixed");
    heard_classes(b, VAMP_CLASS_INTERACTIVE, VAMP_CLASS_INTERACTIVE);
    expect_served(b, qts);
    /* Not for every event of a wheel; also for one that begins nothing. */
    qtest_clock_step(qts, (SERVE_EVERY_MS - SERVE_MS) * MS - 1);
    vamp_input(qts);
    expect_class(qts, 1, "background");
    qtest_clock_step(qts, 1);
    vamp_input(qts);
    heard_class(b, 1, VAMP_CLASS_INTERACTIVE);
    expect_served(b, qts);

    vamp_set_int(qts, "ratio", 7);
    p = heard(b, VAMP_BMSG_RATIO);
    g_assert_cmpuint(p->ratio.ratio, ==, 7);
    g_free(p);
    heard_classes(b, VAMP_CLASS_INTERACTIVE, VAMP_CLASS_BACKGROUND);

    vamp_load_run(qts, load, 6000, 2, idle, NULL);
    vamp_expect_phase(qts, "normal");
    heard_classes(b, VAMP_CLASS_NEUTRAL, VAMP_CLASS_NEUTRAL);

    /* Neighbours may be busy: without background work it matters, too. */
    vamp_input(qts);
    vamp_expect_phase(qts, "non-mixed");
    heard_classes(b, VAMP_CLASS_INTERACTIVE, VAMP_CLASS_INTERACTIVE);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_class(info, 1), ==, "interactive");
    qobject_unref(info);

    plug_third(qts);
    heard_thread(b, VAMP_BMSG_THREAD_ADD, VAMP_BROKER_VCPU, 2,
                 vamp_tid(qts, 2));

    forget(b);
    vamp_object_del(qts);
    heard_classes(b, VAMP_CLASS_NEUTRAL, VAMP_CLASS_NEUTRAL);
    p = heard(b, VAMP_BMSG_CLASS);      /* of the third vCPU */
    g_free(p);
    for (int i = 0; i < 3; i++) {
        heard_thread(b, VAMP_BMSG_THREAD_DEL, VAMP_BROKER_VCPU, i, 0);
    }
    qtest_quit(qts);
    vamp_load_free(load);
    broker_free(b);
}

/* Not a reason to begin anew: the VM would have a new account. */
static void test_plugged(void)
{
    Broker *b = broker_new(GOOD);
    QTestState *qts = start(b, "broker");
    VampLoad *load = vamp_load_new(qts);

    g_free(heard(b, VAMP_BMSG_HELLO));
    for (int i = 0; i < 3; i++) {
        g_free(heard(b, VAMP_BMSG_THREAD_ADD));
    }
    plug_third(qts);
    g_free(heard(b, VAMP_BMSG_THREAD_ADD));
    vamp_load_run(qts, load, 2048, 2, one_busy, NULL);
    vamp_input(qts);
    vamp_expect_phase(qts, "mixed");
    g_free(heard(b, VAMP_BMSG_CLASS));
    qtest_quit(qts);
    vamp_load_free(load);
    broker_free(b);
}

static void test_account(void)
{
    Broker *b = broker_new(GOOD);
    struct vamp_broker_page *page = b->page;
    QTestState *qts;
    QDict *info;
    char *text;

    page->state = VAMP_BROKER_GUARD;
    page->share_ppm = 333333;
    page->debt_ns = -2500000;
    page->used_ns = 7000000;
    page->entitled_ns = 9500000;
    page->weight = 80;
    page->weight_base = 100;
    page->guards = 4;
    g_strlcpy(page->reason, "it owes too much", sizeof(page->reason));
    page->nr_threads = UINT32_MAX;      /* more than there is room for */
    page->thread[1] = (struct vamp_broker_page_thread) {
        .tid = 1, .role = VAMP_BROKER_VCPU, .slot = 1,
        .sched = VAMP_BROKER_SCHED_RR,
    };
    qts = start(b, "auto");
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, "broker");
    g_assert_cmpstr(vamp_str(info, "actuator.broker.path"), ==, b->path);
    g_assert_cmpstr(vamp_str(info, "actuator.broker.state"), ==, "guard");
    g_assert_cmpstr(vamp_str(info, "actuator.broker.reason"), ==,
                    "it owes too much");
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.debt-ms"), ==, -2.5);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.used-ms"), ==, 7);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.entitled-ms"), ==, 9.5);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.share-percent"), ==,
                      33.3333);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.weight"), ==, 80);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.weight-base"), ==, 100);
    g_assert_cmpfloat(vamp_num(info, "actuator.broker.guards"), ==, 4);
    g_assert_cmpstr(vamp_str(vamp_vcpu(info, 1), "scheduling"), ==, "rr");
    g_assert_null(qdict_get(vamp_vcpu(info, 0), "scheduling"));
    qobject_unref(info);
    text = qtest_hmp(qts, "info vamp");
    vamp_expect_text(text, "state guard: it owes too much, owes -2.5 ms");
    g_free(text);
    qtest_quit(qts);
    broker_free(b);
}

/* Whatever it does to a newcomer: QEMU runs, and says what it was. */
static void test_bad_start(void)
{
    static const struct {
        Mode mode;
        const char *why;
    } cases[] = {
        { REFUSES, "refuses: the test does not like it" },
        { REFUSES_THREADS, "refuses: no such thread here" },
        { SAYS_GARBAGE, "no valid message" },
        { SAYS_LESS, "no valid message" },
        { OTHER_SERIAL, "something else than was asked" },
        { OTHER_TYPE, "another kind (66) than expected (65)" },
        { OTHER_VERSION, "version 2 of the protocol, valid is 1" },
        { NO_PAGE, "no valid status page" },
        { SHORT_PAGE, "no valid status page" },
        { UNSEALED_PAGE, "no valid status page" },
        { SILENT, "did not answer within 1000 ms" },
        { HANGS_UP, "did not answer: Connection reset" },
    };

    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        Broker *b = broker_new(cases[i].mode);
        QTestState *qts = start(b, "broker");

        g_test_message("%s", cases[i].why);
        expect_active(qts, "none", cases[i].why);
        vamp_input(qts);
        vamp_expect_phase(qts, "non-mixed");
        qtest_quit(qts);
        broker_free(b);
    }
}

static void test_bad_page(void)
{
    Broker *b = broker_new(BAD_PAGE);
    QTestState *qts = start(b, "broker");
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, "broker");
    g_assert_null(vamp_get(info, "actuator.broker"));
    qobject_unref(info);
    qtest_quit(qts);
    broker_free(b);
}

static void expect_fault(QTestState *qts, const char *why)
{
    QDict *e = qtest_qmp_eventwait_ref(qts, "VAMP_FAULT");

    g_assert_cmpstr(vamp_str(e, "data.id"), ==, "vamp0");
    vamp_expect_text(vamp_str(e, "data.reason"), why);
    qobject_unref(e);
}

static void test_lost(gconstpointer actuator)
{
    Broker *b = broker_new(GOOD);
    QTestState *qts = start(b, actuator);
    QDict *info;

    expect_active(qts, "broker", "");
    vamp_input(qts);
    vamp_expect_phase(qts, "non-mixed");
    broker_stop(b);
    expect_fault(qts, "the connection to the broker ended");
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "actuator.active"), !=, "broker");
    vamp_expect_text(vamp_str(info, "actuator.reason"), "cannot connect to");
    vamp_expect_text(vamp_str(info, "actuator.reason"), b->path);
    g_assert_cmpfloat(vamp_num(info, "counters.faults"), ==, 1);
    qobject_unref(info);

    /* It comes back, and is found by a later phase. */
    broker_listen(b);
    qtest_clock_step(qts, 11000 * MS);
    vamp_input(qts);
    expect_active(qts, "broker", "");
    forget(b);
    qtest_quit(qts);
    broker_free(b);
}

static void test_unasked(void)
{
    Broker *b = broker_new(GOOD);
    QTestState *qts = start(b, "broker");
    Packet ok = { 0 };

    expect_active(qts, "broker", "");
    answer(b, VAMP_BMSG_OK, 77, &ok, -1);
    expect_fault(qts, "spoke without being asked");
    qtest_quit(qts);
    broker_free(b);
}

/* Its queue is full: QEMU does not wait for it. */
static void test_deaf(void)
{
    Broker *b = broker_new(DEAF);
    QTestState *qts = start(b, "broker");
    QDict *e = NULL;

    expect_active(qts, "broker", "");
    for (int i = 0; !e && i < 5000; i++) {
        vamp_input(qts);
        qtest_clock_step(qts, 600 * MS);
        /* Drops the phases' events on the way. */
        e = qtest_qmp_event_ref(qts, "VAMP_FAULT");
    }
    g_assert(e);
    vamp_expect_text(vamp_str(e, "data.reason"),
                     "the connection to the broker ended");
    qobject_unref(e);
    qtest_quit(qts);
    close(b->client);
    b->client = -1;
    broker_free(b);
}

static void test_property(void)
{
    QTestState *qts = qtest_init("-M q35 -object vamp-policy,id=vamp0,"
                                 "actuator=broker,broker=/nowhere/sock");
    g_autofree char *path = g_strnfill(200, 'x');

    expect_active(qts, "none", "cannot connect to /nowhere/sock");
    vamp_expect_error(vamp_try_set(qts, "broker",
                                   QOBJECT(qstring_from_str("sock"))),
                      "broker=sock is no absolute path, valid is one like "
                      "/run/vamp/broker.sock");
    path[0] = '/';
    vamp_set_str(qts, "broker", path);
    expect_active(qts, "none", "too long, valid are at most 107 characters");
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A peer that hangs up while we speak is no reason to die. */
    signal(SIGPIPE, SIG_IGN);
    qtest_add_func("vamp/broker/conversation", test_conversation);
    qtest_add_func("vamp/broker/plugged", test_plugged);
    qtest_add_func("vamp/broker/account", test_account);
    qtest_add_func("vamp/broker/bad-start", test_bad_start);
    qtest_add_func("vamp/broker/bad-page", test_bad_page);
    qtest_add_data_func("vamp/broker/lost", "broker", test_lost);
    qtest_add_data_func("vamp/broker/lost-auto", "auto", test_lost);
    qtest_add_func("vamp/broker/unasked", test_unasked);
    qtest_add_func("vamp/broker/deaf", test_deaf);
    qtest_add_func("vamp/broker/property", test_property);
    return g_test_run();
}
