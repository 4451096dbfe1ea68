/*
 * QTest: user input begins a phase, whichever way it comes
 *
 * Claim: keys, buttons, wheel and touch that arrive by send-key,
 * input-send-event, HMP sendkey and mouse_button are seen as what they are;
 * releases of keys and motion are not events; the trigger property filters.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-qtest.h"

#define KEY(name, down) \
    "{ 'type': 'key', 'data': { 'down': " down ", 'key': {" \
    " 'type': 'qcode', 'data': '" name "' } } }"
#define KEY_NUMBER(number, down) \
    "{ 'type': 'key', 'data': { 'down': " down ", 'key': {" \
    " 'type': 'number', 'data': " number " } } }"
#define BTN(name, down) \
    "{ 'type': 'btn', 'data': { 'down': " down ", 'button': '" name "' } }"
#define MTT(type) \
    "{ 'type': 'mtt', 'data': { 'type': '" type "', 'slot': 0," \
    " 'tracking-id': 1, 'axis': 'x', 'value': 5 } }"

enum {
    ENTER = 1 << 0, ANY_KEY = 1 << 1, BUTTON = 1 << 2, WHEEL = 1 << 3,
    TOUCH = 1 << 4,
};

static const char *const kinds[] = {
    "enter", "key", "button", "wheel", "touch"
};

static const struct {
    const char *event;
    unsigned kinds;
} events[] = {
    { KEY("a", "true"), ANY_KEY },
    { KEY("a", "false"), 0 },
    { KEY("shift", "true"), ANY_KEY },
    { KEY("ret", "true"), ANY_KEY | ENTER },
    { KEY("ret", "false"), 0 },
    { KEY("kp_enter", "true"), ANY_KEY | ENTER },
    { KEY_NUMBER("28", "true"), ANY_KEY | ENTER },
    { KEY_NUMBER("28", "false"), 0 },
    { KEY_NUMBER("30", "true"), ANY_KEY },
    { BTN("left", "true"), BUTTON },
    { BTN("left", "false"), BUTTON },
    { BTN("right", "true"), BUTTON },
    { BTN("extra", "false"), BUTTON },
    { BTN("wheel-up", "true"), WHEEL },
    { BTN("wheel-up", "false"), 0 },
    { BTN("wheel-left", "true"), WHEEL },
    { BTN("touch", "true"), TOUCH },
    { BTN("touch", "false"), TOUCH },
    { MTT("begin"), TOUCH },
    { MTT("end"), TOUCH },
    { MTT("update"), 0 },
    { MTT("data"), 0 },
    { "{ 'type': 'rel', 'data': { 'axis': 'x', 'value': 9 } }", 0 },
    { "{ 'type': 'abs', 'data': { 'axis': 'y', 'value': 999 } }", 0 },
};

static QTestState *start(const char *options)
{
    g_autofree char *args = g_strdup_printf(
        "-M q35 -device virtio-keyboard-pci -device virtio-multitouch-pci"
        " -device virtio-tablet-pci -device virtio-mouse-pci"
        " -object vamp-policy,id=vamp0,actuator=none%s", options);

    return qtest_init(args);
}

static void send_event(QTestState *qts, const char *event)
{
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'input-send-event',"
                             " 'arguments': { 'events': [ %p ] } }",
                             qobject_from_json(event, &error_abort)));
}

/*
 * The object looks at an event in the next turn of QEMU's main loop: so the
 * numbers settle within a few turns, each of which a question of ours makes.
 */
static int events_seen(QTestState *qts)
{
    int last = -1, same = 0;

    while (same < 3) {
        QDict *info = vamp_query(qts);
        int n = vamp_num(info, "counters.events");

        same = n == last ? same + 1 : 0;
        last = n;
        qobject_unref(info);
    }
    return last;
}

static void test_kinds(void)
{
    QTestState *qts = start("");
    int expected = 0;

    for (int k = 0; k < G_N_ELEMENTS(kinds); k++) {
        vamp_set_str(qts, "trigger", kinds[k]);
        for (int i = 0; i < G_N_ELEMENTS(events); i++) {
            expected += (events[i].kinds & (1u << k)) != 0;
            send_event(qts, events[i].event);
            if (events_seen(qts) != expected) {
                g_error("trigger=%s: %s was %s", kinds[k], events[i].event,
                        events[i].kinds & (1u << k) ? "missed" : "counted");
            }
        }
    }
    qtest_quit(qts);
}

/* One user action, many events: they are one. */
static void test_burst(void)
{
    QTestState *qts = start("");
    QDict *info;

    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'input-send-event',"
        " 'arguments': { 'events': [ %p, %p, %p, %p ] } }",
        qobject_from_json(KEY("ctrl", "true"), &error_abort),
        qobject_from_json(KEY("c", "true"), &error_abort),
        qobject_from_json(BTN("left", "true"), &error_abort),
        qobject_from_json(BTN("left", "false"), &error_abort)));
    vamp_expect_phase_event(qts, "non-mixed", "input");
    info = vamp_query(qts);
    g_assert_cmpfloat(vamp_num(info, "counters.phases"), ==, 1);
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_send_key(void)
{
    QTestState *qts = start("");

    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'send-key', 'arguments': {"
        " 'hold-time': 100, 'keys': [ { 'type': 'qcode', 'data': 'x' } ] } }"));
    vamp_expect_phase_event(qts, "non-mixed", "input");
    g_assert_cmpint(events_seen(qts), ==, 1);
    /* The release, 100 ms later, is none. */
    qtest_clock_step(qts, 300 * MS);
    g_assert_cmpint(events_seen(qts), ==, 1);
    qtest_clock_step(qts, 5000 * MS);
    vamp_expect_phase_event(qts, "normal", "none");

    g_free(qtest_hmp(qts, "sendkey ret 10"));
    vamp_expect_phase_event(qts, "non-mixed", "input");
    qtest_clock_step(qts, 6000 * MS);
    vamp_expect_phase_event(qts, "normal", "none");
    g_assert_cmpint(events_seen(qts), ==, 2);

    g_free(qtest_hmp(qts, "mouse_move 5 5"));
    g_assert_cmpint(events_seen(qts), ==, 2);
    g_free(qtest_hmp(qts, "mouse_button 1"));
    vamp_expect_phase_event(qts, "non-mixed", "input");
    g_assert_cmpint(events_seen(qts), ==, 3);
    qtest_quit(qts);
}

static void test_no_device(void)
{
    /* Nothing listens to touch here: that is not ours to say. */
    QTestState *qts = qtest_init("-M q35 -object vamp-policy,id=vamp0");

    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'input-send-event',"
                                " 'arguments': { 'events': [ %p ] } }",
                                qobject_from_json(MTT("begin"), &error_abort)),
                      "handler not found");
    vamp_expect_phase(qts, "normal");
    qtest_quit(qts);
}

/* Events on their way while the object goes, or the VM stands. */
static void test_gone(void)
{
    QTestState *qts = start("");

    for (int i = 0; i < 20; i++) {
        send_event(qts, KEY("a", "true"));
        vamp_object_del(qts);
        send_event(qts, KEY("b", "true"));
        vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add',"
                                 " 'arguments': { 'qom-type': 'vamp-policy',"
                                 " 'id': 'vamp0' } }"));
    }
    g_assert_cmpint(events_seen(qts), ==, 0);
    send_event(qts, KEY("a", "true"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'input-send-event',"
                                " 'arguments': { 'events': [ %p ] } }",
                                qobject_from_json(KEY("a", "true"),
                                                  &error_abort)),
                      "not running");
    vamp_expect_phase(qts, "normal");
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vamp/input/kinds", test_kinds);
    qtest_add_func("/vamp/input/burst", test_burst);
    qtest_add_func("/vamp/input/send-key", test_send_key);
    qtest_add_func("/vamp/input/no-device", test_no_device);
    qtest_add_func("/vamp/input/gone", test_gone);

    return g_test_run();
}
