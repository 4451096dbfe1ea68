/*
 * Unit tests: phases and classification (core/policy.h)
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <string.h>
#include "core/policy.h"

#define MS      1000000ull
#define PERIOD  (VAMP_PERIOD_MS_DEFAULT * MS)
#define WINDOW  (VAMP_WINDOW_EPOCHS * PERIOD)
#define PHASE   (VAMP_MAX_PHASE_MS_DEFAULT * MS)
/* The first event, on an epoch boundary; the window before it is filled. */
#define T       (100 * PERIOD)
#define VCPUS   4

typedef struct Fixture {
    struct vamp_policy *p;
    struct vamp_task_table table[VCPUS];
    const struct vamp_task_table *tables[VCPUS];
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    struct vamp_config cfg;
    uint32_t i;

    vamp_config_default(&cfg);
    f->p = g_malloc(vamp_policy_size(VCPUS));
    /* Nothing may depend on what the memory held before. */
    memset(f->p, 0xa5, vamp_policy_size(VCPUS));
    vamp_policy_init(f->p, VCPUS, &cfg, 0);
    for (i = 0; i < VCPUS; i++) {
        vamp_task_table_init(&f->table[i], PERIOD);
        f->tables[i] = &f->table[i];
        vamp_policy_vcpu_add(f->p, i);
    }
}

static void teardown(Fixture *f, gconstpointer data)
{
    g_free(f->p);
}

/* In the window before T vCPU @v ran and waited so much of it, in per mille. */
static void load(Fixture *f, uint32_t v, unsigned int run, unsigned int wait)
{
    vamp_policy_vcpu_load(f->p, v, T - WINDOW, T,
                          WINDOW * run / 1000, WINDOW * wait / 1000);
}

/* ... and task @task ran so much on it. */
static void task(Fixture *f, uint32_t v, uint64_t id, unsigned int run)
{
    vamp_task_table_charge(&f->table[v], id, T - WINDOW, T,
                           WINDOW * run / 1000);
}

static void begin(Fixture *f, bool by_task)
{
    g_assert_true(vamp_policy_input(f->p, T));
    vamp_policy_begin(f->p, T, VAMP_CAUSE_INPUT, by_task ? f->tables : NULL);
    g_assert_true(f->p->by_task == by_task);
}

static void assert_state(Fixture *f, enum vamp_phase phase,
                         enum vamp_reason reason)
{
    g_assert_cmpstr(vamp_phase_name(f->p->phase), ==, vamp_phase_name(phase));
    g_assert_cmpstr(vamp_reason_text(f->p->reason), ==,
                    vamp_reason_text(reason));
}

static void assert_class(Fixture *f, uint32_t v, uint64_t id,
                         enum vamp_class vclass)
{
    g_assert_cmpstr(vamp_class_name(vamp_policy_class(f->p, v, id)), ==,
                    vamp_class_name(vclass));
}

static void test_start(Fixture *f, gconstpointer data)
{
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_START);
    g_assert_cmpuint(f->p->until_ns, ==, UINT64_MAX);
    g_assert_cmpint(f->p->cause, ==, VAMP_CAUSE_NONE);
    assert_class(f, 0, 0, VAMP_CLASS_NEUTRAL);
    assert_class(f, 0, 0x1000, VAMP_CLASS_NEUTRAL);
    g_assert_true(vamp_policy_expire(f->p, T));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_START);
}

static void test_phases(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    begin(f, false);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    g_assert_cmpint(f->p->cause, ==, VAMP_CAUSE_INPUT);
    g_assert_cmpuint(f->p->since_ns, ==, T);
    g_assert_cmpuint(f->p->until_ns, ==, T + PHASE);
    /* A stale timer */
    g_assert_true(vamp_policy_expire(f->p, T + PHASE - 1));
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    g_assert_true(vamp_policy_expire(f->p, T + PHASE));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_EXPIRED);
    g_assert_cmpuint(f->p->until_ns, ==, UINT64_MAX);
    g_assert_cmpuint(f->p->since_ns, ==, T + PHASE);
    assert_class(f, 0, 0, VAMP_CLASS_NEUTRAL);
    g_assert_cmpint(f->p->vcpu[0].vclass, ==, VAMP_CLASS_NEUTRAL);
    g_assert_cmpuint(f->p->count.phases, ==, 1);
    g_assert_cmpuint(f->p->count.phases_mixed, ==, 1);
}

static void test_double_click(Fixture *f, gconstpointer data)
{
    uint64_t click = VAMP_DOUBLE_CLICK_MS * MS;

    begin(f, false);
    g_assert_false(vamp_policy_input(f->p, T + click - 1));
    g_assert_cmpuint(f->p->until_ns, ==, T + PHASE);
    g_assert_false(vamp_policy_input(f->p, T + click - 1));
    g_assert_cmpuint(f->p->count.events_coalesced, ==, 2);
    /* From the event that began the phase, not from the last one */
    g_assert_true(vamp_policy_input(f->p, T + click));
    vamp_policy_begin(f->p, T + click, VAMP_CAUSE_INPUT, NULL);
    g_assert_cmpuint(f->p->until_ns, ==, T + click + PHASE);
    g_assert_false(vamp_policy_input(f->p, T + 2 * click - 1));
    g_assert_true(vamp_policy_input(f->p, T + 2 * click));
    /* In the normal phase every event begins one. */
    vamp_policy_reset(f->p, T + 3 * click);
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_RESET);
    g_assert_true(vamp_policy_input(f->p, T + 3 * click + 1));
    g_assert_cmpuint(f->p->count.events, ==, 7);
    g_assert_cmpuint(f->p->count.events_coalesced, ==, 3);
}

/* A timer that comes late does not swallow the event behind the phase's end. */
static void test_late_timer(Fixture *f, gconstpointer data)
{
    struct vamp_config cfg = f->p->cfg;

    cfg.max_phase_ms = 100;
    vamp_policy_configure(f->p, &cfg);
    begin(f, false);
    g_assert_cmpuint(f->p->until_ns, ==, T + 100 * MS);
    g_assert_false(vamp_policy_input(f->p, T + 100 * MS - 1));
    g_assert_true(vamp_policy_input(f->p, T + 100 * MS));
}

/* Who types without a pause is served to the end. */
static void test_typing(Fixture *f, gconstpointer data)
{
    uint64_t t, begun = T;

    begin(f, false);
    for (t = T + 200 * MS; t < T + 3 * PHASE; t += 200 * MS) {
        bool begins = vamp_policy_input(f->p, t);

        g_assert_cmpint(begins, ==, t - begun >= VAMP_DOUBLE_CLICK_MS * MS);
        if (begins) {
            vamp_policy_begin(f->p, t, VAMP_CAUSE_INPUT, NULL);
            begun = t;
        }
        g_assert_cmpuint(f->p->until_ns - t, >, PHASE - 500 * MS);
    }
    g_assert_true(vamp_policy_expire(f->p, begun + PHASE));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_EXPIRED);
}

static void test_sound(Fixture *f, gconstpointer data)
{
    g_assert_false(vamp_policy_sound(f->p, false));
    g_assert_true(vamp_policy_sound(f->p, true));
    vamp_policy_begin(f->p, T, VAMP_CAUSE_SOUND, NULL);
    g_assert_cmpint(f->p->cause, ==, VAMP_CAUSE_SOUND);
    g_assert_false(vamp_policy_sound(f->p, true));
    /* While sound plays the phase is begun anew. */
    g_assert_false(vamp_policy_expire(f->p, T + PHASE));
    vamp_policy_begin(f->p, T + PHASE, VAMP_CAUSE_SOUND, NULL);
    g_assert_cmpuint(f->p->until_ns, ==, T + 2 * PHASE);
    /* An event in it restarts it, as the user's. */
    g_assert_true(vamp_policy_input(f->p, T + PHASE + 1));
    vamp_policy_begin(f->p, T + PHASE + 1, VAMP_CAUSE_INPUT, NULL);
    g_assert_cmpint(f->p->cause, ==, VAMP_CAUSE_INPUT);
    g_assert_false(vamp_policy_sound(f->p, false));
    g_assert_true(vamp_policy_expire(f->p, T + 2 * PHASE + 1));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_EXPIRED);
    g_assert_cmpuint(f->p->count.phases_sound, ==, 2);
    /* Sound that begins in a phase does not restart it. */
    g_assert_true(vamp_policy_input(f->p, T + 3 * PHASE));
    vamp_policy_begin(f->p, T + 3 * PHASE, VAMP_CAUSE_INPUT, NULL);
    g_assert_false(vamp_policy_sound(f->p, true));
    /* It began once: after a fault only new sound or an event begins one. */
    vamp_policy_reset(f->p, T + 3 * PHASE + 1);
    g_assert_false(vamp_policy_sound(f->p, true));
    g_assert_false(vamp_policy_sound(f->p, false));
    g_assert_true(vamp_policy_sound(f->p, true));
}

static void test_clock_backwards(Fixture *f, gconstpointer data)
{
    begin(f, false);
    /* No time since the last event: the same click */
    g_assert_false(vamp_policy_input(f->p, T - 2000 * MS));
    g_assert_true(vamp_policy_input(f->p, T - 2000 * MS + 600 * MS));
    /* Before the phase began: it must not last until the clock is back */
    g_assert_true(vamp_policy_expire(f->p, 5));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_EXPIRED);
    /* The end of time: still distinct from the normal phase */
    vamp_policy_begin(f->p, UINT64_MAX, VAMP_CAUSE_INPUT, f->tables);
    g_assert_cmpuint(f->p->until_ns, ==, UINT64_MAX - 1);
    g_assert_true(vamp_policy_expire(f->p, UINT64_MAX));
    assert_state(f, VAMP_PHASE_NORMAL, VAMP_REASON_EXPIRED);
}

/* "Above" means above: exactly the threshold is non-mixed. */
static void test_low_load(Fixture *f, gconstpointer data)
{
    load(f, 0, 300, 100);
    load(f, 1, 50, 50);
    begin(f, false);
    g_assert_cmpuint(f->p->vm_permille, ==, 500);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_LOW_LOAD);
    assert_class(f, 0, 0, VAMP_CLASS_NEUTRAL);
}

static void test_vcpu_classes(Fixture *f, gconstpointer data)
{
    load(f, 0, 501, 0);
    load(f, 1, 500, 0);
    load(f, 2, 100, 401);       /* would have run had it been let */
    begin(f, false);
    g_assert_cmpuint(f->p->vm_permille, ==, 1502);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    assert_class(f, 0, 0, VAMP_CLASS_BACKGROUND);
    assert_class(f, 1, 0, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 2, 0, VAMP_CLASS_BACKGROUND);
    assert_class(f, 3, 0, VAMP_CLASS_INTERACTIVE);
    /* A known task changes nothing in a plan made from vCPUs. */
    assert_class(f, 0, 0x1000, VAMP_CLASS_BACKGROUND);
    assert_class(f, 3, 0x1000, VAMP_CLASS_INTERACTIVE);
    g_assert_cmpuint(vamp_policy_vcpu_run(f->p, 2, T), ==, 100);
    g_assert_cmpuint(vamp_policy_vcpu_wait(f->p, 2, T), ==, 401);
}

static void test_vcpu_none(Fixture *f, gconstpointer data)
{
    load(f, 0, 400, 0);
    load(f, 1, 400, 0);
    begin(f, false);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
    assert_class(f, 0, 0, VAMP_CLASS_NEUTRAL);
}

static void test_vcpu_all(Fixture *f, gconstpointer data)
{
    uint32_t i;

    vamp_policy_vcpu_del(f->p, 3);
    for (i = 0; i < 3; i++) {
        load(f, i, 900, 0);
    }
    begin(f, false);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_ALL_BUSY);
    for (i = 0; i < VCPUS; i++) {
        assert_class(f, i, 0, VAMP_CLASS_NEUTRAL);
    }
}

static void test_tasks(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    task(f, 0, 0x1000, 501);
    task(f, 0, 0x2000, 499);
    load(f, 1, 500, 0);
    task(f, 1, 0x3000, 500);
    begin(f, true);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    g_assert_cmpuint(f->p->nr_background, ==, 1);
    g_assert_cmpuint(f->p->background[0].task, ==, 0x1000);
    g_assert_cmpuint(f->p->background[0].permille, ==, 501);
    /* On whatever vCPU it runs */
    assert_class(f, 0, 0x1000, VAMP_CLASS_BACKGROUND);
    assert_class(f, 3, 0x1000, VAMP_CLASS_BACKGROUND);
    assert_class(f, 0, 0x2000, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 1, 0x3000, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 1, 0x9000, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 0, VAMP_TASK_UNKNOWN, VAMP_CLASS_INTERACTIVE);
    g_assert_true(vamp_policy_expire(f->p, T + PHASE));
    assert_class(f, 0, 0x1000, VAMP_CLASS_NEUTRAL);
}

/* A task's load is its sum over vCPUs, thin as it may be spread. */
static void test_task_sum(Fixture *f, gconstpointer data)
{
    uint32_t v;
    uint64_t i;

    for (v = 0; v < VCPUS; v++) {
        load(f, v, 1000, 0);
        for (i = 0; i < 40; i++) {
            task(f, v, ((v * 100 + i + 1) << 12) | 1ull << 40, 15);
        }
        task(f, v, 0x7000, 200);
        task(f, v, 0x8000, v == 2 ? 101 : 133);
    }
    begin(f, true);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    g_assert_cmpuint(f->p->nr_background, ==, 1);
    g_assert_cmpuint(f->p->background[0].task, ==, 0x7000);
    g_assert_cmpuint(f->p->background[0].permille, ==, 800);
}

/* Run delay is split over a vCPU's tasks as their run time is. */
static void test_potential(Fixture *f, gconstpointer data)
{
    load(f, 0, 400, 600);
    task(f, 0, 0x1000, 300);
    task(f, 0, 0x2000, 100);
    /* Nobody known ran here: nobody gets the delay. */
    load(f, 1, 0, 1000);
    begin(f, true);
    g_assert_cmpuint(f->p->vm_permille, ==, 2000);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    g_assert_cmpuint(f->p->nr_background, ==, 1);
    g_assert_cmpuint(f->p->background[0].task, ==, 0x1000);
    g_assert_cmpuint(f->p->background[0].permille, ==, 750);
}

static void test_tasks_none(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    task(f, 0, 0x1000, 500);
    task(f, 0, 0x2000, 500);
    begin(f, true);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
    assert_class(f, 0, 0x1000, VAMP_CLASS_NEUTRAL);
}

static void test_tables_missing(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    load(f, 1, 1000, 0);
    load(f, 2, 1000, 0);
    task(f, 0, 0x1000, 1000);
    task(f, 1, 0x2000, 1000);
    task(f, 2, 0x3000, 1000);
    f->tables[0] = NULL;
    vamp_policy_vcpu_del(f->p, 1);
    f->table[2].period_ns = PERIOD / 2;     /* left from another period */
    begin(f, true);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
}

/*
 * Core knows no bit of an id: a pair of page tables as KPTI has them is two
 * tasks here. Merging them is the tracker's part, which knows the guest.
 */
static void test_kpti_free(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    task(f, 0, 0x10000, 700);
    task(f, 0, 0x11000, 300);
    begin(f, true);
    assert_class(f, 0, 0x10000, VAMP_CLASS_BACKGROUND);
    assert_class(f, 0, 0x11000, VAMP_CLASS_INTERACTIVE);
}

/* 256 tasks above the threshold: the 64 largest are named, the rest counted. */
static void test_overflow(Fixture *f, gconstpointer data)
{
    struct vamp_config cfg = f->p->cfg;
    uint32_t i, v;

    cfg.bg_percent = 1;
    vamp_policy_configure(f->p, &cfg);
    for (v = 0; v < VCPUS; v++) {
        load(f, v, 1000, 0);
        for (i = 0; i < 64; i++) {
            task(f, v, (1 + v * 64 + (i * 37) % 64) * 0x1000ull, 11 + i);
        }
    }
    begin(f, true);
    g_assert_cmpuint(f->p->nr_background, ==, VAMP_PLAN_TASKS);
    g_assert_cmpuint(f->p->count.background_overflow, ==, 4 * 64 - 64);
    for (i = 0; i < VAMP_PLAN_TASKS; i++) {
        g_assert_cmpuint(f->p->background[i].permille, ==, 74 - i / 4);
    }
}

static void test_audio(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    load(f, 1, 1000, 0);
    task(f, 0, 0x1000, 1000);
    task(f, 1, 0x2000, 1000);
    vamp_policy_set_audio_task(f->p, 0x1000);
    begin(f, true);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    assert_class(f, 0, 0x1000, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 0, 0x2000, VAMP_CLASS_BACKGROUND);
    /* Never background: found during a phase, it leaves the plan. */
    vamp_policy_set_audio_task(f->p, 0x2000);
    assert_class(f, 0, 0x2000, VAMP_CLASS_NEUTRAL);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
    g_assert_cmpuint(f->p->nr_background, ==, 0);
}

static void test_system_task(Fixture *f, gconstpointer data)
{
    uint32_t v;

    for (v = 0; v < VCPUS; v++) {
        g_assert_cmpuint(f->p->system_task, ==, 0);
        vamp_policy_halted(f->p, v, 0x5000);
    }
    g_assert_cmpuint(f->p->system_task, ==, 0x5000);
    vamp_policy_halted(f->p, 1, VAMP_TASK_UNKNOWN);
    g_assert_cmpuint(f->p->system_task, ==, 0x5000);
    load(f, 0, 1000, 0);
    task(f, 0, 0x5000, 1000);
    begin(f, true);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
    /* One mismatch refutes it, and all must confirm anew. */
    vamp_policy_halted(f->p, 2, 0x6000);
    g_assert_cmpuint(f->p->system_task, ==, 0);
    g_assert_cmpuint(f->p->vcpu[2].halt_task, ==, 0x6000);
    vamp_policy_halted(f->p, 2, 0x5000);
    g_assert_cmpuint(f->p->system_task, ==, 0);
    for (v = 0; v < VCPUS; v++) {
        vamp_policy_halted(f->p, v, 0x5000);
    }
    g_assert_cmpuint(f->p->system_task, ==, 0x5000);
    /* A new vCPU has not confirmed; one that is gone need not. */
    vamp_policy_vcpu_add(f->p, 3);
    g_assert_cmpuint(f->p->system_task, ==, 0);
    vamp_policy_vcpu_del(f->p, 3);
    g_assert_cmpuint(f->p->system_task, ==, 0x5000);
}

/* The plan that runs loses the system task when it becomes known. */
static void test_system_task_late(Fixture *f, gconstpointer data)
{
    uint32_t v;

    load(f, 0, 1000, 0);
    task(f, 0, 0x5000, 600);
    load(f, 1, 1000, 0);
    task(f, 1, 0x6000, 600);
    begin(f, true);
    g_assert_cmpuint(f->p->nr_background, ==, 2);
    for (v = 0; v < VCPUS; v++) {
        vamp_policy_halted(f->p, v, 0x5000);
    }
    assert_class(f, 0, 0x5000, VAMP_CLASS_INTERACTIVE);
    assert_class(f, 0, 0x6000, VAMP_CLASS_BACKGROUND);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
}

static void test_system_task_single(Fixture *f, gconstpointer data)
{
    int i;

    vamp_policy_vcpu_del(f->p, 1);
    vamp_policy_vcpu_del(f->p, 2);
    vamp_policy_vcpu_del(f->p, 3);
    for (i = 0; i < VAMP_SINGLE_VCPU_HALTS - 1; i++) {
        vamp_policy_halted(f->p, 0, 0x5000);
    }
    g_assert_cmpuint(f->p->system_task, ==, 0);
    vamp_policy_halted(f->p, 0, 0x6000);
    for (i = 0; i < VAMP_SINGLE_VCPU_HALTS - 1; i++) {
        vamp_policy_halted(f->p, 0, 0x5000);
    }
    g_assert_cmpuint(f->p->system_task, ==, 0);
    vamp_policy_halted(f->p, 0, 0x5000);
    g_assert_cmpuint(f->p->system_task, ==, 0x5000);
    vamp_policy_vcpu_del(f->p, 0);
    g_assert_cmpuint(f->p->system_task, ==, 0);
    g_assert_cmpuint(f->p->nr_present, ==, 0);
}

static void test_hotplug(Fixture *f, gconstpointer data)
{
    load(f, 0, 1000, 0);
    begin(f, false);
    vamp_policy_vcpu_del(f->p, 2);
    assert_class(f, 2, 0, VAMP_CLASS_NEUTRAL);
    vamp_policy_vcpu_add(f->p, 2);
    assert_class(f, 2, 0, VAMP_CLASS_NEUTRAL);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    /* The only one in the background goes: nothing to keep apart. */
    vamp_policy_vcpu_del(f->p, 0);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
    assert_class(f, 1, 0, VAMP_CLASS_NEUTRAL);
    /* A vCPU that comes again is a new one. */
    vamp_policy_vcpu_add(f->p, 0);
    g_assert_cmpuint(vamp_policy_vcpu_run(f->p, 0, T), ==, 0);
}

static void test_hotplug_all_busy(Fixture *f, gconstpointer data)
{
    uint32_t v;

    for (v = 0; v < 3; v++) {
        load(f, v, 1000, 0);
    }
    begin(f, false);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    vamp_policy_vcpu_del(f->p, 3);
    assert_state(f, VAMP_PHASE_NON_MIXED, VAMP_REASON_ALL_BUSY);
    assert_class(f, 0, 0, VAMP_CLASS_NEUTRAL);
}

static void test_out_of_range(Fixture *f, gconstpointer data)
{
    static const uint32_t bad[] = { VCPUS, VCPUS + 1, UINT32_MAX };
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        vamp_policy_vcpu_add(f->p, bad[i]);
        vamp_policy_vcpu_load(f->p, bad[i], T - WINDOW, T, WINDOW, WINDOW);
        vamp_policy_halted(f->p, bad[i], 0x1000);
        g_assert_cmpint(vamp_policy_class(f->p, bad[i], 1), ==,
                        VAMP_CLASS_NEUTRAL);
        g_assert_cmpuint(vamp_policy_vcpu_run(f->p, bad[i], T), ==, 0);
        g_assert_cmpuint(vamp_policy_vcpu_wait(f->p, bad[i], T), ==, 0);
        vamp_policy_vcpu_del(f->p, bad[i]);
    }
    vamp_policy_vcpu_del(f->p, 1);
    vamp_policy_vcpu_del(f->p, 1);
    vamp_policy_vcpu_load(f->p, 1, T - WINDOW, T, WINDOW, WINDOW);
    begin(f, false);
    g_assert_cmpuint(f->p->vm_permille, ==, 0);
    g_assert_cmpuint(f->p->nr_present, ==, VCPUS - 1);
}

static void test_config(Fixture *f, gconstpointer data)
{
    struct vamp_config cfg, bad;
    uint32_t ms;

    vamp_config_default(&cfg);
    g_assert_null(vamp_config_error(&cfg));
    g_assert_cmpuint(cfg.bg_percent, ==, 50);
    g_assert_cmpuint(cfg.max_phase_ms, ==, 5000);
    g_assert_cmpuint(cfg.period_ms, ==, 32);
#define BAD(field, value)                           \
    do {                                            \
        bad = cfg;                                  \
        bad.field = (value);                        \
        g_assert_nonnull(vamp_config_error(&bad));  \
    } while (0)
    BAD(bg_percent, 0);
    BAD(bg_percent, 101);
    BAD(max_phase_ms, 99);
    BAD(max_phase_ms, 60001);
    BAD(period_ms, 0);
    BAD(period_ms, 2);
    BAD(period_ms, 48);
    BAD(period_ms, 2048);
    BAD(period_ms, 0x80000000);
#undef BAD
    for (ms = 4; ms <= 1024; ms *= 2) {
        cfg.period_ms = ms;
        g_assert_null(vamp_config_error(&cfg));
    }
    /* The phase that runs keeps its end; a new period forgets all loads. */
    load(f, 0, 1000, 0);
    begin(f, false);
    cfg.period_ms = 32;
    cfg.max_phase_ms = 1000;
    vamp_policy_configure(f->p, &cfg);
    g_assert_cmpuint(f->p->until_ns, ==, T + PHASE);
    g_assert_cmpuint(vamp_policy_vcpu_run(f->p, 0, T), ==, 1000);
    cfg.period_ms = 64;
    vamp_policy_configure(f->p, &cfg);
    g_assert_cmpuint(vamp_policy_vcpu_run(f->p, 0, T), ==, 0);
    /* Nor at the time when the new epochs have the numbers of the old ones */
    g_assert_cmpuint(vamp_policy_vcpu_run(f->p, 0, 2 * T), ==, 0);
    assert_state(f, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
}

static void test_texts(Fixture *f, gconstpointer data)
{
    int i, j;

    for (i = VAMP_REASON_START; i <= VAMP_REASON_RESET; i++) {
        const char *text = vamp_reason_text((enum vamp_reason)i);

        g_assert_cmpstr(text, !=, "unknown");
        g_assert_false(g_str_has_suffix(text, "."));
        for (j = VAMP_REASON_START; j < i; j++) {
            g_assert_cmpstr(text, !=, vamp_reason_text((enum vamp_reason)j));
        }
    }
    g_assert_cmpstr(vamp_phase_name(VAMP_PHASE_NORMAL), ==, "normal");
    g_assert_cmpstr(vamp_phase_name(VAMP_PHASE_NON_MIXED), ==, "non-mixed");
    g_assert_cmpstr(vamp_phase_name(VAMP_PHASE_MIXED), ==, "mixed");
    g_assert_cmpstr(vamp_class_name(VAMP_CLASS_NEUTRAL), ==, "neutral");
    g_assert_cmpstr(vamp_class_name(VAMP_CLASS_INTERACTIVE), ==,
                    "interactive");
    g_assert_cmpstr(vamp_class_name(VAMP_CLASS_BACKGROUND), ==, "background");
    /* The kernel's ioctl may hand in any number. */
    g_assert_cmpstr(vamp_reason_text((enum vamp_reason)99), ==, "unknown");
    g_assert_cmpstr(vamp_phase_name((enum vamp_phase)99), ==, "unknown");
    g_assert_cmpstr(vamp_class_name((enum vamp_class)99), ==, "unknown");
}

/* The largest VM, all tables full of distinct tasks, in bounded time. */
static void test_largest(void)
{
    enum { MAX = 4096 };
    g_autofree struct vamp_task_table *table = NULL;
    g_autofree const struct vamp_task_table **tables = NULL;
    g_autofree struct vamp_policy *p = g_malloc(vamp_policy_size(MAX));
    struct vamp_config cfg;
    uint32_t v, i;
    double took;

    vamp_config_default(&cfg);
    vamp_policy_init(p, MAX, &cfg, 0);
    table = g_new(struct vamp_task_table, MAX);
    tables = g_new(const struct vamp_task_table *, MAX);
    for (v = 0; v < MAX; v++) {
        vamp_task_table_init(&table[v], PERIOD);
        tables[v] = &table[v];
        vamp_policy_vcpu_add(p, v);
        vamp_policy_vcpu_load(p, v, T - WINDOW, T, WINDOW, WINDOW);
        for (i = 1; i < 64; i++) {
            vamp_task_table_charge(&table[v], (v * 64ull + i) << 12,
                                   T - WINDOW, T, WINDOW / 64);
        }
        vamp_task_table_charge(&table[v], 0xfffff000, T - WINDOW, T,
                               WINDOW / 2048);
    }
    g_test_timer_start();
    vamp_policy_begin(p, T, VAMP_CAUSE_INPUT, tables);
    took = g_test_timer_elapsed();
    g_test_message("4096 vCPUs, 262144 entries: %.1f ms", took * 1000);
    g_assert_cmpint(p->phase, ==, VAMP_PHASE_MIXED);
    g_assert_cmpuint(p->vm_permille, ==, 2000 * MAX);
    g_assert_cmpuint(p->nr_background, ==, 1);
    g_assert_cmpuint(p->background[0].task, ==, 0xfffff000);
    /* Generous: a square of 2^18 would take minutes */
    g_assert_cmpfloat(took, <, 5);
}

int main(int argc, char **argv)
{
#define ADD(path, func) \
    g_test_add("/policy/" path, Fixture, NULL, setup, func, teardown)
    g_test_init(&argc, &argv, NULL);
    ADD("start", test_start);
    ADD("phases", test_phases);
    ADD("double-click", test_double_click);
    ADD("late-timer", test_late_timer);
    ADD("typing", test_typing);
    ADD("sound", test_sound);
    ADD("clock-backwards", test_clock_backwards);
    ADD("low-load", test_low_load);
    ADD("vcpu/classes", test_vcpu_classes);
    ADD("vcpu/none", test_vcpu_none);
    ADD("vcpu/all", test_vcpu_all);
    ADD("task/classes", test_tasks);
    ADD("task/sum", test_task_sum);
    ADD("task/potential", test_potential);
    ADD("task/none", test_tasks_none);
    ADD("task/tables-missing", test_tables_missing);
    ADD("task/kpti-free", test_kpti_free);
    ADD("task/overflow", test_overflow);
    ADD("task/audio", test_audio);
    ADD("system-task/all-vcpus", test_system_task);
    ADD("system-task/late", test_system_task_late);
    ADD("system-task/single-vcpu", test_system_task_single);
    ADD("hotplug", test_hotplug);
    ADD("hotplug/all-busy", test_hotplug_all_busy);
    ADD("out-of-range", test_out_of_range);
    ADD("config", test_config);
    ADD("texts", test_texts);
    g_test_add_func("/policy/largest", test_largest);
    return g_test_run();
}
