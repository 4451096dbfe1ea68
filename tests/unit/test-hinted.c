/*
 * Unit tests: plans made from the guest's word (core/policy.h)
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
#define T       (100 * PERIOD)
#define VCPUS   4

static struct vamp_policy *policy_new(unsigned busy_vcpus)
{
    struct vamp_policy *p = g_malloc(vamp_policy_size(VCPUS));
    struct vamp_config cfg;

    vamp_config_default(&cfg);
    vamp_policy_init(p, VCPUS, &cfg, 0);
    for (uint32_t i = 0; i < VCPUS - 1; i++) {
        vamp_policy_vcpu_add(p, i);
        vamp_policy_vcpu_load(p, i, T - WINDOW, T, i < busy_vcpus ? WINDOW : 0,
                              0);
    }
    return p;
}

static void assert_classes(const struct vamp_policy *p, const char *want)
{
    char got[VCPUS + 1] = "";

    for (uint32_t i = 0; i < VCPUS; i++) {
        got[i] = vamp_class_name(vamp_policy_class(p, i, 0))[0];
    }
    g_assert_cmpstr(got, ==, want);
}

static void test_vcpus(void)
{
    bool slow[VCPUS] = { false, false, true, true };
    struct vamp_hinted hinted = { .vcpu = slow };
    struct vamp_policy *p = policy_new(3);

    /* vCPU 3 is not there; the others are as busy as it. */
    vamp_policy_begin_hinted(p, T, VAMP_CAUSE_INPUT, &hinted);
    g_assert_cmpint(p->phase, ==, VAMP_PHASE_MIXED);
    g_assert_cmpuint(p->until_ns, ==, T + PHASE);
    assert_classes(p, "iibn");

    /* The guest moves its background; the phase ends when it did. */
    slow[1] = true;
    vamp_policy_rehint(p, &hinted);
    assert_classes(p, "ibbn");
    g_assert_cmpuint(p->until_ns, ==, T + PHASE);
    g_assert_cmpuint(p->count.phases, ==, 1);

    slow[0] = true;
    vamp_policy_rehint(p, &hinted);
    g_assert_cmpint(p->reason, ==, VAMP_REASON_ALL_BUSY);
    assert_classes(p, "nnnn");
    memset(slow, 0, sizeof(slow));
    vamp_policy_rehint(p, &hinted);
    g_assert_cmpint(p->reason, ==, VAMP_REASON_NO_BACKGROUND);
    slow[0] = true;
    vamp_policy_rehint(p, &hinted);
    assert_classes(p, "biin");

    g_assert_true(vamp_policy_expire(p, T + PHASE));
    vamp_policy_rehint(p, &hinted);
    g_assert_cmpint(p->phase, ==, VAMP_PHASE_NORMAL);
    assert_classes(p, "nnnn");
    g_free(p);
}

/* A guest that cries wolf while it does nothing is not believed. */
static void test_low_load(void)
{
    bool slow[VCPUS] = { false, false, true };
    struct vamp_hinted hinted = { .vcpu = slow };
    struct vamp_policy *p = policy_new(0);

    vamp_policy_begin_hinted(p, T, VAMP_CAUSE_INPUT, &hinted);
    g_assert_cmpint(p->reason, ==, VAMP_REASON_LOW_LOAD);
    vamp_policy_rehint(p, &hinted);
    g_assert_cmpint(p->reason, ==, VAMP_REASON_LOW_LOAD);
    assert_classes(p, "nnnn");
    g_free(p);
}

static void test_tasks(void)
{
    struct vamp_task_load task[] = {
        { 0x1000, 10 }, { 0x2000, 900 }, { 0x3000, 500 }, { 0, 1000 },
    };
    struct vamp_hinted hinted = { true, task, G_N_ELEMENTS(task), NULL };
    struct vamp_policy *p = policy_new(2);

    vamp_policy_set_audio_task(p, 0x3000);
    vamp_policy_begin_hinted(p, T, VAMP_CAUSE_SOUND, &hinted);
    g_assert_cmpint(p->phase, ==, VAMP_PHASE_MIXED);
    g_assert_true(p->by_task);
    /* Without the sound's and the unknown; most loaded first. */
    g_assert_cmpint(p->nr_background, ==, 2);
    g_assert_cmphex(p->background[0].task, ==, 0x2000);
    g_assert_cmphex(p->background[1].task, ==, 0x1000);
    g_assert_cmpint(vamp_policy_class(p, 0, 0x2000), ==,
                    VAMP_CLASS_BACKGROUND);
    g_assert_cmpint(vamp_policy_class(p, 0, 0x3000), ==,
                    VAMP_CLASS_INTERACTIVE);
    hinted.nr_tasks = 0;
    vamp_policy_rehint(p, &hinted);
    g_assert_cmpint(p->reason, ==, VAMP_REASON_NO_BACKGROUND);
    g_assert_cmpint(p->nr_background, ==, 0);
    g_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/hinted/vcpus", test_vcpus);
    g_test_add_func("/vamp/hinted/low-load", test_low_load);
    g_test_add_func("/vamp/hinted/tasks", test_tasks);
    return g_test_run();
}
