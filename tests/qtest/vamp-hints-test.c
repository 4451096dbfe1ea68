/*
 * QTest: the device vamp-hints, and a guest that is hostile
 *
 * Claim: whatever the guest writes, however it cuts it, and whenever it stops,
 * the device keeps within its bounds, says what was wrong, and serves the next
 * conversation as if nothing had been.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-hints-qtest.h"

#define BURST   256

#define TASKS   "tasks begin\n" \
                "task id=812 load=980 vcpu=2 name=cc1\n" \
                "task id=815 pid=814 load=20 aspace=0x1234000 name=a%20b%0a\n" \
                "tasks end\n"

static void expect_processes(QDict *info)
{
    QList *list = qobject_to(QList, vamp_get(info, "guest.tasks"));
    QDict *process = qobject_to(QDict, qlist_peek(list));
    QDict *thread = qobject_to(QDict, qlist_entry_obj(qlist_next(
                                          qlist_first(list))));

    g_assert_false(qdict_haskey(process, "pid"));
    g_assert_cmpint(vamp_num(thread, "id"), ==, 815);
    g_assert_cmpint(vamp_num(thread, "pid"), ==, 814);
}

static void test_hello(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);
    QDict *info;

    hints_expect_source(g->qts, "none", "no program in the guest has opened");
    /* Written before the port is open: nobody's. */
    hints_write(g, "hello version=1 name=early\n");
    hints_open(g, true);
    hints_expect_source(g->qts, "none", "has not said hello");
    hints_expect(g, "");
    hints_expect(g, "hello version=1 name=qemu%20");
    hints_expect(g, "error text=this%20VM%20has%20no%20vamp-policy");
    hints_expect_nothing(g);
    hints_write(g, "sound on\n");
    hints_write(g, "hello version=3 name=test%201\n");
    hints_expect_source(g->qts, "channel", "has not said what");
    hints_write(g, TASKS "split fast=0-1 slow=2-3\nsound on\n");
    hints_expect_source(g->qts, "channel", "is connected");

    info = vamp_query(g->qts);
    g_assert_false(vamp_bool(info, "enabled"));
    g_assert_cmpstr(vamp_str(info, "guest.program"), ==, "test 1");
    g_assert_cmpint(vamp_num(info, "guest.version"), ==, 1);
    g_assert_cmpstr(vamp_str(info, "guest.fast"), ==, "0-1");
    g_assert_cmpstr(vamp_str(info, "guest.slow"), ==, "2-3");
    g_assert_true(vamp_bool(info, "guest.sound"));
    vamp_expect_text(vamp_str(info, "guest.comparison-reason"), "no policy");
    expect_processes(info);
    qobject_unref(info);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    g_assert_cmpint(hints_count(g, "errors"), ==, 0);
    hints_expect_nothing(g);

    hints_open(g, false);
    hints_expect_source(g->qts, "none", "no program in the guest has opened");
    g_assert_cmpint(hints_tasks(g->qts), ==, -1);
    hints_guest_free(g);
}

/* The host says what was wrong, but not more often than once a second. */
static void test_errors(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE
                                    " -object vamp-policy,id=vamp0");
    g_autofree char *longer = g_strnfill(5000, 'x');
    g_autofree char *line = g_strdup_printf("%s\nsound on\n", longer);
    QDict *info;

    hints_greet(g);
    hints_write(g, "hello version=2 name=x colour=blue\nwave hand=left\n\n");
    g_assert_cmpint(hints_count(g, "errors"), ==, 0);
    hints_write(g, "task id=1 load=1 name=x\n");
    hints_expect(g, "error text=a%20task%20or");
    hints_write(g, "task id=0 load=1 name=x\n");
    hints_expect_nothing(g);
    g_assert_cmpint(hints_count(g, "errors"), ==, 2);
    qtest_clock_step(g->qts, 1000 * MS);
    hints_write(g, "split fast=0 slow=0\n");
    hints_expect(g, "error text=fast%20and%20slow");
    qtest_clock_step(g->qts, 1000 * MS);
    /* Too long: the line after it counts. */
    hints_write(g, line);
    hints_expect(g, "error text=a%20line%20is%20too%20long");
    info = vamp_query(g->qts);
    g_assert_true(vamp_bool(info, "guest.sound"));
    g_assert_cmpint(vamp_num(info, "guest.counters.errors"), ==, 4);
    vamp_expect_text(vamp_str(info, "guest.last-error"), "too long");
    qobject_unref(info);
    hints_guest_free(g);
}

static void test_binary(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);
    uint8_t bytes[4096];

    hints_greet(g);
    for (int i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i * 7 + i / 256;
    }
    if (!hints_write_try(g, bytes, sizeof(bytes))) {
        hints_wait_written(g);
    }
    g_assert_cmpint(hints_count(g, "errors"), >, 0);
    hints_write(g, "\n" TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    hints_guest_free(g);
}

/* Byte by byte, and cut off in the middle. */
static void test_pieces(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE ",max-rate=100000");

    hints_greet(g);
    for (const char *c = TASKS; *c; c++) {
        g_assert_true(hints_write_try(g, c, 1));
        qtest_clock_step(g->qts, 1 * MS);
    }
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);

    hints_write(g, "tasks begin\ntask id=9 load=1 na");
    hints_open(g, false);
    hints_greet(g);
    hints_write(g, "me=x\ntasks end\n");
    g_assert_cmpint(hints_tasks(g->qts), ==, -1);
    hints_write(g, TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    g_assert_cmpint(hints_count(g, "sessions"), ==, 2);
    hints_guest_free(g);
}

/* More tasks than there is room for. */
static void test_many(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE ",max-rate=100000");
    g_autoptr(GString) s = g_string_new("tasks begin\n");

    for (int i = 1; i <= 200; i++) {
        g_string_append_printf(s, "task id=%d load=1 name=x\n", i);
    }
    g_string_append(s, "tasks end\n");
    hints_greet(g);
    if (!hints_write_try(g, s->str, s->len)) {
        hints_wait_written(g);
    }
    g_assert_cmpint(hints_tasks(g->qts), ==, 64);
    g_assert_cmpint(hints_count(g, "errors"), ==, 1);
    hints_guest_free(g);
}

static void flood(const char *data, size_t len)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);
    uint64_t lines;

    hints_greet(g);
    g_assert_false(hints_write_try(g, data, len));
    g_assert_cmpint(hints_count(g, "pauses"), ==, 1);
    lines = hints_count(g, "lines");
    g_assert_cmpint(lines, <=, BURST + 2);
    /* Nothing but time makes it go on. */
    g_assert_false(qvirtqueue_get_buf(g->qts, g->out, NULL, NULL));
    g_assert_cmpint(hints_count(g, "lines"), ==, lines);
    hints_wait_written(g);
    g_assert_cmpint(hints_count(g, "pauses"), >, 1);
    qtest_clock_step(g->qts, 5000 * MS);
    hints_write(g, "\n" TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);

    /* A guest that goes away while it waits, and one that comes then. */
    qtest_clock_step(g->qts, 5000 * MS);
    g_assert_false(hints_write_try(g, data, len));
    hints_open(g, false);
    hints_expect_source(g->qts, "none", "no program");
    hints_wait_written(g);
    /* Coming anew is no way to write more. */
    qtest_clock_step(g->qts, 5000 * MS);
    hints_greet(g);
    hints_write(g, TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);

    /* ... and one whose machine is reset while it waits. */
    qtest_clock_step(g->qts, 5000 * MS);
    g_assert_false(hints_write_try(g, data, len));
    qtest_system_reset(g->qts);
    hints_expect_source(g->qts, "none", "no program");
    qtest_clock_step(g->qts, 60000 * MS);
    hints_expect_source(g->qts, "none", "no program");
    hints_guest_free(g);
}

static void test_flood_lines(void)
{
    g_autofree char *data = g_strnfill(1000, '\n');

    flood(data, 1000);
}

static void test_flood_bytes(void)
{
    g_autofree char *data = g_strnfill(512 * 1000, 'x');

    flood(data, 512 * 1000);
}

/* A guest that never reads costs nothing, and reads the latest later. */
static void test_deaf(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE " -object vamp-policy,"
                                    "id=vamp0,actuator=none,max-phase-ms=100");
    int begins = 0, ends = 0;

    hints_greet(g);
    for (int i = 0; i < 100; i++) {
        vamp_input(g->qts);
        qtest_clock_step(g->qts, 700 * MS);
    }
    vamp_input(g->qts);
    for (;;) {
        g_autofree char *line = hints_read(g);

        if (!line) {
            break;
        }
        begins += g_str_has_prefix(line, "phase begin cause=input mixed=0 ");
        ends += g_str_equal(line, "phase end");
    }
    /* One that had room, one that was under way, and the latest. */
    g_assert_cmpint(begins, >=, 1);
    g_assert_cmpint(begins, <=, 3);
    g_assert_cmpint(ends, <=, 2);
    qtest_clock_step(g->qts, 700 * MS);
    hints_expect(g, "phase end");
    hints_guest_free(g);
}

static void test_silence(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);

    hints_greet(g);
    hints_write(g, TASKS);
    qtest_clock_step(g->qts, 20000 * MS);
    hints_write(g, "sound off\n");
    qtest_clock_step(g->qts, 20000 * MS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    qtest_clock_step(g->qts, 10001 * MS);
    g_assert_cmpint(hints_tasks(g->qts), ==, -1);
    hints_expect_source(g->qts, "channel", "silent for 30 s");
    hints_write(g, "sound off\n");
    hints_expect_source(g->qts, "channel", "has not said what");
    hints_write(g, TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    hints_guest_free(g);
}

static void test_reset(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);

    for (int i = 0; i < 3; i++) {
        hints_greet(g);
        hints_write(g, TASKS);
        hints_expect_source(g->qts, "channel", "is connected");
        qvirtio_reset(&g->dev->vdev);
        hints_expect_source(g->qts, "none", "no program");
        hints_driver_start(g);
    }
    hints_guest_free(g);
}

static void test_unplug(void)
{
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);

    hints_greet(g);
    hints_write(g, TASKS);
    vamp_expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_add',"
                                " 'arguments': { 'driver': 'vamp-hints',"
                                " 'nr': 2, 'name': 'org.vamp.hints.0' } }"),
                      "exists by name");
    qtest_qmp_device_del(g->qts, "hints");
    hints_expect_source(g->qts, "none", "no vamp-hints device");
    qtest_clock_step(g->qts, 60000 * MS);
    qtest_qmp_device_add(g->qts, "vamp-hints", "hints", "{ 'nr': 1 }");
    hints_greet(g);
    hints_write(g, TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    hints_guest_free(g);
}

/* @args: of device_add. */
static void expect_refused(QTestState *qts, const char *args,
                           const char *error)
{
    QObject *o = qobject_from_json(args, &error_abort);

    qdict_put_str(qobject_to(QDict, o), "driver", "vamp-hints");
    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'device_add',"
                                " 'arguments': %p }", o), error);
}

static void test_refused(void)
{
    QTestState *qts = qtest_init("-M pc -nodefaults" HINTS_ARGS);

    expect_refused(qts, "{ \"max-rate\": 0 }",
                   "max-rate=0 is out of range, valid is 1 to 100000");
    expect_refused(qts, "{ \"max-rate\": 100001 }",
                   "max-rate=100001 is out of range");
    expect_refused(qts, "{ \"nr\": 0 }", "nr=0 is a console's");
    expect_refused(qts, "{ \"name\": \"other\" }",
                   "name=other would not be found by the guest");
    hints_expect_source(qts, "none", "no vamp-hints device");
    qtest_qmp_device_add(qts, "vamp-hints", "hints", "{}");
    hints_expect_source(qts, "none", "no program");
    qtest_quit(qts);
}

/* On the other side the conversation begins anew. */
static void test_migration(void)
{
    g_autofree char *dir = g_dir_make_tmp("vamp-hints-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/socket", dir);
    g_autofree char *socket = g_strdup_printf("%s/socket", dir);
    g_autofree char *to = g_strdup_printf("-M pc -nodefaults -smp 4 -incoming "
                                          "%s" HINTS_ARGS HINTS_DEVICE, uri);
    HintsGuest *g = hints_guest_new(HINTS_DEVICE);
    QTestState *from = g->qts;
    bool waits = false;

    hints_greet(g);
    hints_write(g, TASKS);
    /* It waits, in the middle of a line, when it leaves. */
    while (!waits) {
        waits = !hints_write_try(g, "half a line", 11);
    }
    g->qts = qtest_init(to);
    vamp_expect_ok(qtest_qmp(from, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': %s } }", uri));
    qtest_qmp_eventwait(g->qts, "RESUME");
    qtest_quit(from);
    g->bus->qts = g->qts;
    hints_expect_source(g->qts, "none", "");
    /* virtio-serial tells its ports a moment after the VM runs. */
    qtest_clock_step(g->qts, 1 * MS);
    hints_wait_written(g);
    hints_expect(g, "");
    g_string_truncate(g->got, 0);
    hints_write(g, "rest\n");
    hints_expect_source(g->qts, "none", "has not said hello");
    hints_write(g, "\nhello version=1 name=test%201\n" TASKS);
    g_assert_cmpint(hints_tasks(g->qts), ==, 2);
    hints_guest_free(g);
    unlink(socket);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vamp/hints/hello", test_hello);
    qtest_add_func("/vamp/hints/errors", test_errors);
    qtest_add_func("/vamp/hints/binary", test_binary);
    qtest_add_func("/vamp/hints/pieces", test_pieces);
    qtest_add_func("/vamp/hints/many", test_many);
    qtest_add_func("/vamp/hints/flood-lines", test_flood_lines);
    qtest_add_func("/vamp/hints/flood-bytes", test_flood_bytes);
    qtest_add_func("/vamp/hints/deaf", test_deaf);
    qtest_add_func("/vamp/hints/silence", test_silence);
    qtest_add_func("/vamp/hints/reset", test_reset);
    qtest_add_func("/vamp/hints/unplug", test_unplug);
    qtest_add_func("/vamp/hints/refused", test_refused);
    qtest_add_func("/vamp/hints/migration", test_migration);
    return g_test_run();
}
