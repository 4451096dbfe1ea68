/*
 * Unit tests: vdiguest's decisions (guest/plan.h), triggers, command line
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <linux/input.h>
#include <string.h>
#include "guest/input.h"
#include "guest/options.h"
#include "guest/plan.h"
#include "guest/sound.h"

static unsigned plan(struct plan_input in)
{
    const char *reason = NULL;
    unsigned fast = plan_fast(&in, &reason);

    g_assert_nonnull(reason);
    g_assert_cmpuint(fast, <, in.online ? in.online : 1);
    return fast;
}

static void test_static(void)
{
    struct plan_input in = { .mode = PLAN_STATIC, .fast = 2, .online = 4 };

    g_assert_cmpuint(plan(in), ==, 2);
    in.slow_tasks = 1;
    g_assert_cmpuint(plan(in), ==, 2);
    in.online = 1;
    g_assert_cmpuint(plan(in), ==, 0);
}

static void test_dynamic(void)
{
    struct plan_input in = { .mode = PLAN_DYNAMIC, .fast = 3, .online = 4 };

    g_assert_cmpuint(plan(in), ==, 0);
    in.slow_tasks = 1;
    g_assert_cmpuint(plan(in), ==, 3);
    /* vCPUs have gone since -f was said. */
    in.online = 2;
    g_assert_cmpuint(plan(in), ==, 1);
    in.online = 0;
    g_assert_cmpuint(plan(in), ==, 0);
}

static void test_dynamic_load(void)
{
    struct plan_input in = {
        .mode = PLAN_DYNAMIC_LOAD, .fast = 1, .online = 4, .slow_tasks = 1,
    };

    g_assert_cmpuint(plan(in), ==, 1);
    in.now_fast = 1;
    in.fast_permille = PLAN_FULL_PERMILLE - 1;
    g_assert_cmpuint(plan(in), ==, 1);
    in.fast_permille = PLAN_FULL_PERMILLE;
    g_assert_cmpuint(plan(in), ==, 2);
    in.now_fast = 2;
    g_assert_cmpuint(plan(in), ==, 2);
    in.fast_permille = 2000;
    g_assert_cmpuint(plan(in), ==, 3);
    /* One is left for the slow tasks. */
    in.now_fast = 3;
    in.fast_permille = 3000;
    g_assert_cmpuint(plan(in), ==, 3);
    in.slow_tasks = 0;
    g_assert_cmpuint(plan(in), ==, 0);
}

static void test_load(void)
{
    struct plan_input in = {
        .mode = PLAN_LOAD, .fast = 1, .online = 4, .slow_tasks = 1,
    };

    in.slow_permille = 510;
    g_assert_cmpuint(plan(in), ==, 3);
    in.slow_permille = 1000;
    g_assert_cmpuint(plan(in), ==, 3);
    in.slow_permille = 1001;
    g_assert_cmpuint(plan(in), ==, 2);
    in.slow_permille = 3000;
    g_assert_cmpuint(plan(in), ==, 1);
    in.slow_permille = UINT64_MAX / 2;
    g_assert_cmpuint(plan(in), ==, 1);
    /* A host may name tasks without a load. */
    in.slow_permille = 0;
    g_assert_cmpuint(plan(in), ==, 3);
}

static void test_sound(void)
{
    struct plan_input in = {
        .mode = PLAN_DYNAMIC, .fast = 1, .online = 3, .slow_tasks = 1,
        .sound = true,
    };

    g_assert_cmpuint(plan(in), ==, 2);
    /* Two fast ones, and none for the slow tasks: no split. */
    in.online = 2;
    g_assert_cmpuint(plan(in), ==, 0);
    in.sound = false;
    g_assert_cmpuint(plan(in), ==, 1);
}

static void test_triggers(void)
{
    g_assert_true(input_is_trigger(EV_KEY, KEY_ENTER, 1));
    g_assert_true(input_is_trigger(EV_KEY, KEY_KPENTER, 1));
    g_assert_false(input_is_trigger(EV_KEY, KEY_ENTER, 0));
    g_assert_false(input_is_trigger(EV_KEY, KEY_ENTER, 2));
    g_assert_false(input_is_trigger(EV_KEY, KEY_A, 1));
    g_assert_true(input_can_trigger(EV_KEY, KEY_ENTER));
    g_assert_false(input_can_trigger(EV_KEY, KEY_A));
    g_assert_false(input_can_trigger(EV_REL, REL_X));
    g_assert_false(input_can_trigger(EV_ABS, REL_WHEEL));
    g_assert_true(input_is_trigger(EV_KEY, BTN_LEFT, 0));
    g_assert_true(input_is_trigger(EV_KEY, BTN_TASK, 0));
    g_assert_false(input_is_trigger(EV_KEY, BTN_LEFT, 1));
    g_assert_true(input_is_trigger(EV_KEY, BTN_TOUCH, 0));
    g_assert_true(input_is_trigger(EV_REL, REL_WHEEL, -1));
    g_assert_true(input_is_trigger(EV_REL, REL_HWHEEL, 1));
    g_assert_false(input_is_trigger(EV_REL, REL_X, 1));
    g_assert_false(input_is_trigger(EV_ABS, ABS_X, 1));
    g_assert_false(input_is_trigger(EV_SYN, KEY_ENTER, 1));
}

/* Words of a command line after the program's name, which is parted by ' '. */
static bool parse(const char *line, Options *o, GError **err)
{
    g_autofree char *all = g_strconcat("vdiguest", *line ? " " : "", line,
                                       NULL);
    g_auto(GStrv) argv = g_strsplit(all, " ", -1);

    return options_parse(o, g_strv_length(argv), argv, 4, err);
}

static void test_options(void)
{
    g_autoptr(GError) err = NULL;
    Options o;

    g_assert_true(parse("", &o, &err));
    g_assert_cmpint(o.mode, ==, PLAN_DYNAMIC);
    g_assert_cmpuint(o.period_ms, ==, 1000);
    g_assert_null(o.irqs);
    g_assert_cmpuint(o.devices->len, ==, 0);
    options_clear(&o);

    /* As the original was called. */
    g_assert_true(parse("-f 1 -m 3 -p 500 -i 11 -i 12 -v 2 /dev/input/event0 "
                        "/dev/input/event1", &o, &err));
    g_assert_cmpuint(o.fast, ==, 1);
    g_assert_cmpint(o.mode, ==, PLAN_LOAD);
    g_assert_cmpuint(o.period_ms, ==, 500);
    g_assert_cmpuint(o.irqs->len, ==, 2);
    g_assert_cmpuint(g_array_index(o.irqs, unsigned, 1), ==, 12);
    g_assert_cmpint(o.verbosity, ==, 2);
    g_assert_cmpuint(o.devices->len, ==, 2);
    options_clear(&o);

    g_assert_true(parse("--mode=dynamic-load --phase=0 --means=affinity "
                        "--sound=off --host=off -i none", &o, &err));
    g_assert_cmpint(o.mode, ==, PLAN_DYNAMIC_LOAD);
    g_assert_cmpuint(o.phase_ms, ==, 0);
    g_assert_false(o.cpusets || o.sound || o.host);
    g_assert_true(o.no_irqs);
    options_clear(&o);
}

static void test_refused(void)
{
    static const struct {
        const char *line, *said;
    } bad[] = {
        { "-f 0", "-f 0 is not valid (1..4095 would be)" },
        { "-f 4", "1..3 would be" },
        { "-f 2x", "-f 2x is not valid" },
        { "-m 4", "-m 4 is not valid" },
        { "-m -1", "-m -1 is not valid" },
        { "-m fast", "dynamic-load or load would be" },
        { "-p 99", "100..60000 would be" },
        { "-p", "needs a value" },
        { "-i x", "-i x is not valid" },
        { "-i none -i 3", "exclude each other" },
        { "-v 4", "0..3 would be" },
        { "--phase=99", "100..60000 would be" },
        { "--bg-load=101", "1..100 would be" },
        { "--means=cpuset", "auto or affinity would be" },
        { "--sound=yes", "on or off would be" },
        { "--json", "--json needs --status" },
        { "--nothing", "is no option" },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;
        Options o;

        g_assert_false(parse(bad[i].line, &o, &err));
        g_assert_nonnull(err);
        g_test_message("%s: %s", bad[i].line, err->message);
        g_assert_nonnull(strstr(err->message, bad[i].said));
        options_clear(&o);
    }
}

/* A player waits for its server, whatever that costs. */
static void test_sound_servers(void)
{
    g_assert_true(sound_is_server("pipewire"));
    g_assert_true(sound_is_server("pipewire-pulse"));
    g_assert_true(sound_is_server("pulseaudio"));
    g_assert_false(sound_is_server("paplay"));
    g_assert_false(sound_is_server("pipewire-other"));
    g_assert_false(sound_is_server(""));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest/plan/static", test_static);
    g_test_add_func("/guest/plan/dynamic", test_dynamic);
    g_test_add_func("/guest/plan/dynamic-load", test_dynamic_load);
    g_test_add_func("/guest/plan/load", test_load);
    g_test_add_func("/guest/plan/sound", test_sound);
    g_test_add_func("/guest/triggers", test_triggers);
    g_test_add_func("/guest/options", test_options);
    g_test_add_func("/guest/options/refused", test_refused);
    g_test_add_func("/guest/sound/servers", test_sound_servers);
    return g_test_run();
}
