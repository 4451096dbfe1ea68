/*
 * Unit tests: a day of a VM
 *
 * Plays 24 simulated hours through the policy with the caller's side of the
 * contract (a timer at until_ns, loads brought up to date before a plan is
 * made) and checks after every step what must hold whatever the user does.
 * Nothing here sleeps: the clock is a variable.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "core/policy.h"

#define MS          1000000ull
#define SEC         (1000 * MS)
#define HOUR        (3600 * SEC)
#define PERIOD      (VAMP_PERIOD_MS_DEFAULT * MS)
#define PHASE       (VAMP_MAX_PHASE_MS_DEFAULT * MS)
#define STEP        (100 * MS)
#define VCPUS       4

#define EDITOR      0x11000ull      /* what the user works with */
#define COMPILER    0x22000ull      /* the background work */
#define PLAYER      0x33000ull      /* plays sound, decodes on the CPU */
#define IDLE        0x44000ull      /* the system task */

typedef struct Day {
    struct vamp_policy *p;
    struct vamp_task_table table[VCPUS];
    const struct vamp_task_table *tables[VCPUS];
    GRand *rnd;
    bool by_task;
    uint64_t now;
    /* what goes on in the guest now */
    bool at_desk, compiling, playing;
    /* evidence that the day was worth it */
    uint64_t mixed, non_mixed, expired, sound, compiler_in_background;
    uint64_t phase_ns, normal_ns;
} Day;

static double chance(Day *d)
{
    return g_rand_double(d->rnd);
}

/* One step of guest work on @vcpu by @task: @part of the CPU. */
static void run(Day *d, uint32_t vcpu, uint64_t task, double part)
{
    uint64_t ns = (uint64_t)(STEP * part);

    vamp_task_table_charge(&d->table[vcpu], task, d->now, d->now + STEP, ns);
    vamp_policy_vcpu_load(d->p, vcpu, d->now, d->now + STEP, ns, ns / 20);
}

static void work(Day *d)
{
    uint32_t v;

    if (d->compiling) {
        run(d, 0, COMPILER, 0.85);
        run(d, 1, COMPILER, 0.80);
    }
    if (d->playing) {
        run(d, 2, PLAYER, 0.75);
    }
    if (d->at_desk) {
        run(d, 3, EDITOR, 0.1 * chance(d));
    }
    for (v = 0; v < VCPUS; v++) {
        run(d, v, IDLE, 0.01);
        vamp_policy_halted(d->p, v, IDLE);
    }
}

static void begin(Day *d, enum vamp_cause cause)
{
    uint32_t i;

    vamp_policy_begin(d->p, d->now, cause, d->by_task ? d->tables : NULL);
    g_assert_cmpint(d->p->phase, !=, VAMP_PHASE_NORMAL);
    g_assert_cmpint(d->p->cause, ==, cause);
    if (d->p->phase == VAMP_PHASE_MIXED) {
        d->mixed++;
    } else {
        d->non_mixed++;
    }
    if (cause == VAMP_CAUSE_SOUND) {
        d->sound++;
    }
    for (i = 0; i < d->p->nr_background; i++) {
        g_assert_cmpuint(d->p->background[i].permille, >, 500);
        if (d->p->background[i].task == COMPILER) {
            d->compiler_in_background++;
        }
    }
}

static void check(Day *d)
{
    static const uint64_t task[] = { EDITOR, COMPILER, PLAYER, IDLE, 0 };
    const struct vamp_policy *p = d->p;
    uint32_t v, busy = 0;
    unsigned int i;

    g_assert_cmpint(vamp_policy_class(p, 3, EDITOR), !=,
                    VAMP_CLASS_BACKGROUND);
    for (v = 0; v < VCPUS; v++) {
        for (i = 0; i < G_N_ELEMENTS(task); i++) {
            enum vamp_class c = vamp_policy_class(p, v, task[i]);

            if (p->phase == VAMP_PHASE_MIXED) {
                g_assert_cmpint(c, !=, VAMP_CLASS_NEUTRAL);
            } else {
                g_assert_cmpint(c, ==, VAMP_CLASS_NEUTRAL);
            }
            busy += c == VAMP_CLASS_BACKGROUND;
            if (p->by_task && task[i] == p->audio_task) {
                g_assert_cmpint(c, !=, VAMP_CLASS_BACKGROUND);
            }
            if (p->by_task && task[i] == IDLE) {
                g_assert_cmpint(c, !=, VAMP_CLASS_BACKGROUND);
            }
        }
    }
    if (p->phase == VAMP_PHASE_MIXED) {
        g_assert_cmpuint(busy, >, 0);
    }
    if (p->phase == VAMP_PHASE_NORMAL) {
        g_assert_cmpuint(p->nr_background, ==, 0);
        g_assert_cmpuint(p->until_ns, ==, UINT64_MAX);
        g_assert_false(p->sound);       /* sound keeps a phase alive */
        d->normal_ns += STEP;
    } else {
        /* A phase ends: never further away than its length. */
        g_assert_cmpuint(p->until_ns, >, d->now);
        g_assert_cmpuint(p->until_ns, <=, d->now + PHASE);
        g_assert_cmpuint(p->until_ns, ==, p->since_ns + PHASE);
        d->phase_ns += STEP;
    }
    g_assert_cmpuint(p->count.phases, ==, d->mixed + d->non_mixed);
    g_assert_cmpuint(p->count.phases_mixed, ==, d->mixed);
    g_assert_cmpuint(p->count.phases_sound, ==, d->sound);
    g_assert_cmpuint(p->count.events_coalesced, <=, p->count.events);
}

static void timer(Day *d)
{
    if (d->now < d->p->until_ns) {
        return;
    }
    if (vamp_policy_expire(d->p, d->now)) {
        g_assert_cmpint(d->p->phase, ==, VAMP_PHASE_NORMAL);
        g_assert_cmpint(d->p->reason, ==, VAMP_REASON_EXPIRED);
        g_assert_false(d->playing);
        d->expired++;
    } else {
        g_assert_true(d->playing);
        begin(d, VAMP_CAUSE_SOUND);
    }
}

/* The user comes, goes, starts a build, listens, types and clicks. */
static void user(Day *d)
{
    unsigned int hour = (unsigned int)(d->now / HOUR);
    bool office = hour >= 8 && hour < 18;

    if (chance(d) < 0.001) {
        d->at_desk = office && chance(d) < 0.7;
    }
    if (chance(d) < 0.002) {
        /* Builds run at night, too: nobody waits then. */
        d->compiling = chance(d) < (office ? 0.5 : 0.3);
    }
    if (chance(d) < 0.0005) {
        d->playing = d->at_desk && chance(d) < 0.5;
        vamp_policy_set_audio_task(d->p, d->playing ? PLAYER : 0);
        if (vamp_policy_sound(d->p, d->playing)) {
            g_assert_true(d->playing);
            begin(d, VAMP_CAUSE_SOUND);
        }
    }
    if (d->at_desk && chance(d) < 0.03) {
        enum vamp_phase before = d->p->phase;
        bool starts = vamp_policy_input(d->p, d->now);

        if (before == VAMP_PHASE_NORMAL) {
            g_assert_true(starts);
        }
        if (starts) {
            begin(d, VAMP_CAUSE_INPUT);
            /* The second half of a double click */
            d->now += 30 * MS;
            g_assert_false(vamp_policy_input(d->p, d->now));
            d->now -= 30 * MS;
        }
    }
}

static void test_day(gconstpointer data)
{
    Day *d = g_new0(Day, 1);
    struct vamp_config cfg;
    uint32_t i;

    vamp_config_default(&cfg);
    d->by_task = GPOINTER_TO_INT(data);
    d->rnd = g_rand_new_with_seed(20130316);
    d->p = g_malloc(vamp_policy_size(VCPUS));
    vamp_policy_init(d->p, VCPUS, &cfg, 0);
    for (i = 0; i < VCPUS; i++) {
        vamp_task_table_init(&d->table[i], PERIOD);
        d->tables[i] = &d->table[i];
        vamp_policy_vcpu_add(d->p, i);
    }
    for (d->now = 0; d->now < 24 * HOUR; d->now += STEP) {
        timer(d);
        user(d);
        check(d);
        work(d);
    }
    g_test_message("%" G_GUINT64_FORMAT " events, %" G_GUINT64_FORMAT
                   " mixed and %" G_GUINT64_FORMAT " non-mixed phases, %"
                   G_GUINT64_FORMAT " by sound, %" G_GUINT64_FORMAT
                   " expired; %.1f h of 24 in a phase",
                   d->p->count.events, d->mixed, d->non_mixed, d->sound,
                   d->expired, (double)d->phase_ns / HOUR);
    /* The day had all of it, and the night was quiet. */
    g_assert_cmpuint(d->mixed, >, 100);
    g_assert_cmpuint(d->non_mixed, >, 100);
    g_assert_cmpuint(d->sound, >, 10);
    g_assert_cmpuint(d->expired, >, 100);
    g_assert_cmpuint(d->p->count.events_coalesced, >, 100);
    g_assert_cmpuint(d->normal_ns, >, 12 * HOUR);
    g_assert_cmpuint(d->p->system_task, ==, IDLE);
    if (d->by_task) {
        g_assert_cmpuint(d->compiler_in_background, >, 100);
    }
    g_rand_free(d->rnd);
    g_free(d->p);
    g_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/replay/day/task", GINT_TO_POINTER(true), test_day);
    g_test_add_data_func("/replay/day/vcpu", GINT_TO_POINTER(false), test_day);
    return g_test_run();
}
