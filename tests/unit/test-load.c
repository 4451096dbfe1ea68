/*
 * Unit tests: load accounting (core/load.h)
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "core/load.h"
#include "core/scale.h"

#define MS      1000000ull
#define PERIOD  (VAMP_PERIOD_MS_DEFAULT * MS)
#define WINDOW  (VAMP_WINDOW_EPOCHS * PERIOD)

static uint64_t ring_total(const struct vamp_ring *ring)
{
    uint64_t sum = 0;
    unsigned int i;

    for (i = 0; i < VAMP_EPOCHS; i++) {
        sum += ring->ns[i];
    }
    return sum;
}

static void test_empty(void)
{
    struct vamp_ring ring;

    vamp_ring_init(&ring);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 0), ==, 0);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 5 * WINDOW), ==, 0);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, UINT64_MAX), ==, 0);
    g_assert_cmpuint(vamp_ring_permille(&ring, PERIOD, 7), ==, 0);
}

/* The epoch that is still filling does not count; the 31 before it do. */
static void test_window(void)
{
    struct vamp_ring ring;
    uint64_t e;

    vamp_ring_init(&ring);
    for (e = 0; e < 40; e++) {
        vamp_ring_add(&ring, PERIOD, e * PERIOD, (e + 1) * PERIOD, e + 1);
    }
    /* now in epoch 39: epochs 8..38 */
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 39 * PERIOD), ==,
                     31 * (9 + 39) / 2);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 40 * PERIOD - 1), ==,
                     31 * (9 + 39) / 2);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 40 * PERIOD), ==,
                     31 * (10 + 40) / 2);
    /* epoch 39 alone is left when now is in epoch 70, none in 71 */
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 70 * PERIOD), ==, 40);
    g_assert_cmpuint(vamp_ring_sum(&ring, PERIOD, 71 * PERIOD), ==, 0);
}

static void test_permille(void)
{
    struct vamp_ring ring;
    uint64_t e;

    for (e = 0; e <= 10; e++) {
        vamp_ring_init(&ring);
        vamp_ring_add(&ring, PERIOD, 0, WINDOW, WINDOW * e / 10);
        g_assert_cmpuint(vamp_ring_permille(&ring, PERIOD, WINDOW), ==,
                         e * 100);
    }
    /* Rounded to nearest: half a per mille is 496000 ns. */
    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, 0, 0, WINDOW / 2000 - 1);
    g_assert_cmpuint(vamp_ring_permille(&ring, PERIOD, WINDOW), ==, 0);
    vamp_ring_add(&ring, PERIOD, 0, 0, 1);
    g_assert_cmpuint(vamp_ring_permille(&ring, PERIOD, WINDOW), ==, 1);
}

/* A span over several epochs is split in proportion, without loss. */
static void test_spread(void)
{
    struct vamp_ring ring;
    uint64_t t0 = 10 * PERIOD + PERIOD / 2;

    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, t0, t0 + 2 * PERIOD, 1000003);
    g_assert_cmpuint(ring.epoch, ==, 12);
    g_assert_cmpuint(ring.ns[10], ==, 250000);
    g_assert_cmpuint(ring.ns[11], ==, 500002);
    g_assert_cmpuint(ring.ns[12], ==, 250001);
    /* Ends on a boundary: the next epoch is not begun. */
    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, PERIOD, 3 * PERIOD, 10);
    g_assert_cmpuint(ring.epoch, ==, 2);
    g_assert_cmpuint(ring.ns[1], ==, 5);
    g_assert_cmpuint(ring.ns[2], ==, 5);
}

static void test_no_loss(void)
{
    GRand *rnd = g_rand_new_with_seed(1);
    struct vamp_ring ring;
    int i;

    for (i = 0; i < 20000; i++) {
        uint64_t span = 1 + g_rand_int(rnd) % (31 * PERIOD);
        uint64_t t0 = ((uint64_t)g_rand_int(rnd) << 20) + 1;
        uint64_t cpu = g_rand_int(rnd) % (span + 1);

        vamp_ring_init(&ring);
        vamp_ring_add(&ring, PERIOD, t0, t0 + span, cpu);
        g_assert_cmpuint(ring_total(&ring), ==, cpu);
    }
    g_rand_free(rnd);
}

/* What is older than the ring is dropped, the rest keeps its part. */
static void test_old(void)
{
    struct vamp_ring ring;
    unsigned int i;

    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, 0, 64 * PERIOD, 64 * PERIOD / 2);
    g_assert_cmpuint(ring.epoch, ==, 63);
    for (i = 0; i < VAMP_EPOCHS; i++) {
        g_assert_cmpuint(ring.ns[i], ==, PERIOD / 2);
    }
    /* Entirely before the ring: nothing. */
    vamp_ring_add(&ring, PERIOD, 0, 5 * PERIOD, 5 * PERIOD);
    vamp_ring_add(&ring, PERIOD, 31 * PERIOD, 31 * PERIOD, 5);
    g_assert_cmpuint(ring_total(&ring), ==, 32 * PERIOD / 2);
    /* Backwards, but within the ring: where it belongs. */
    vamp_ring_add(&ring, PERIOD, 32 * PERIOD, 33 * PERIOD, 7);
    g_assert_cmpuint(ring.ns[0], ==, PERIOD / 2 + 7);
    g_assert_cmpuint(ring.epoch, ==, 63);
}

/* Idle epochs are cleared, however many there were. */
static void test_gap(void)
{
    static const uint64_t gap[] = { 1, 2, 30, 31, 32, 33, 1000, 1ull << 32 };
    struct vamp_ring ring;
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(gap); i++) {
        vamp_ring_init(&ring);
        vamp_ring_add(&ring, PERIOD, 0, 32 * PERIOD, 32 * PERIOD);
        vamp_ring_add(&ring, PERIOD, (31 + gap[i]) * PERIOD,
                      (31 + gap[i]) * PERIOD, 1);
        g_assert_cmpuint(ring_total(&ring), ==,
                         (gap[i] < 32 ? (32 - gap[i]) * PERIOD : 0) + 1);
    }
}

static void test_cap(void)
{
    struct vamp_ring ring;
    unsigned int i;

    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, 5, 10, UINT64_MAX);
    g_assert_cmpuint(ring.ns[0], ==, PERIOD);
    vamp_ring_add(&ring, PERIOD, 5, 10, 1);
    g_assert_cmpuint(ring.ns[0], ==, PERIOD);
    vamp_ring_add(&ring, PERIOD, 0, 32 * PERIOD, UINT64_MAX);
    for (i = 0; i < VAMP_EPOCHS; i++) {
        g_assert_cmpuint(ring.ns[i], ==, PERIOD);
    }
    g_assert_cmpuint(vamp_ring_permille(&ring, PERIOD, 32 * PERIOD), ==, 1000);
}

static void test_inverted(void)
{
    struct vamp_ring ring;

    vamp_ring_init(&ring);
    vamp_ring_add(&ring, PERIOD, 3 * PERIOD + 1, PERIOD, 77);
    g_assert_cmpuint(ring.epoch, ==, 3);
    g_assert_cmpuint(ring.ns[3], ==, 77);
    g_assert_cmpuint(ring_total(&ring), ==, 77);
}

static void test_extreme(void)
{
    static const uint64_t t[] = {
        0, 1, PERIOD, 1ull << 40, UINT64_MAX / 2, UINT64_MAX - PERIOD,
        UINT64_MAX - 1, UINT64_MAX
    };
    static const uint64_t period[] = {
        0, 1, 4 * MS, PERIOD, 1024 * MS, UINT32_MAX, UINT32_MAX + 1ull,
        UINT64_MAX
    };
    unsigned int a, b, c, d, i;

    for (a = 0; a < G_N_ELEMENTS(period); a++) {
        for (b = 0; b < G_N_ELEMENTS(t); b++) {
            for (c = 0; c < G_N_ELEMENTS(t); c++) {
                struct vamp_ring ring;

                vamp_ring_init(&ring);
                for (d = 0; d < G_N_ELEMENTS(t); d++) {
                    vamp_ring_add(&ring, period[a], t[b], t[c], t[d]);
                    for (i = 0; i < VAMP_EPOCHS; i++) {
                        g_assert_cmpuint(ring.ns[i], <=, period[a]);
                    }
                    g_assert_cmpuint(vamp_ring_permille(&ring, period[a],
                                                        t[d]), <=, 1000);
                }
            }
        }
    }
}

/* The reference has 128 bits; core has not. */
static void test_scale(void)
{
    GRand *rnd = g_rand_new_with_seed(2);
    int i;

    for (i = 0; i < 200000; i++) {
        uint64_t v = ((uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd))
                     >> g_rand_int_range(rnd, 0, 64);
        uint64_t w = (((uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd))
                      >> g_rand_int_range(rnd, 0, 64)) | 1;
        uint64_t p = (((uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd))
                      >> g_rand_int_range(rnd, 29, 64)) % w;
        __extension__ unsigned __int128 exact = v;
        uint64_t got = vamp_scale(v, p, w);
        double err;

        exact = exact * p / w;
        err = (double)got - (double)exact;
        g_assert_cmpuint(got, <=, v);
        if (v % w <= UINT64_MAX / (p ? p : 1)) {
            g_assert_cmpuint(got, ==, (uint64_t)exact);
        } else {
            g_assert_cmpfloat(ABS(err), <=, 2 + (double)p / (1 << 27));
        }
    }
    g_rand_free(rnd);
}

static void test_table(void)
{
    struct vamp_task_table t;
    uint64_t i;

    vamp_task_table_init(&t, PERIOD);
    vamp_task_table_charge(&t, VAMP_TASK_UNKNOWN, 0, PERIOD, PERIOD);
    vamp_task_table_charge(&t, 0x1000, 0, PERIOD, 0);
    g_assert_cmpuint(t.used, ==, 0);

    vamp_task_table_charge(&t, 0x1000, 0, 2 * PERIOD, PERIOD);
    vamp_task_table_charge(&t, 0x2000, 0, 2 * PERIOD, PERIOD / 2);
    vamp_task_table_charge(&t, 0x1000, 2 * PERIOD, 3 * PERIOD, 5);
    g_assert_cmpuint(t.used, ==, 2);
    g_assert_cmpuint(t.slot[0].task, ==, 0x1000);
    g_assert_cmpuint(t.slot[1].task, ==, 0x2000);
    g_assert_cmpuint(t.slot[0].last_ns, ==, 3 * PERIOD);
    g_assert_cmpuint(vamp_ring_sum(&t.slot[0].run, PERIOD, WINDOW), ==,
                     PERIOD + 5);
    g_assert_cmpuint(vamp_ring_sum(&t.slot[1].run, PERIOD, WINDOW), ==,
                     PERIOD / 2);

    /* 200 short-lived ones: the long-lived one that runs in between stays. */
    for (i = 0; i < 200; i++) {
        uint64_t now = (3 + i) * PERIOD;

        vamp_task_table_charge(&t, 0x10000 + i * 0x1000, now,
                               now + PERIOD / 2, PERIOD / 2);
        vamp_task_table_charge(&t, 0x1000, now + PERIOD / 2,
                               now + PERIOD, PERIOD / 2);
        g_assert_cmpuint(t.used, <=, VAMP_TASKS_PER_VCPU);
        g_assert_cmpuint(t.slot[0].task, ==, 0x1000);
    }
    g_assert_cmpuint(t.used, ==, VAMP_TASKS_PER_VCPU);
    g_assert_cmpuint(t.evictions, ==, 202 - VAMP_TASKS_PER_VCPU);
}

/* The victim is the one that ran longest ago, whatever the order of arrival. */
static void test_eviction(void)
{
    struct vamp_task_table t;
    uint64_t i;

    vamp_task_table_init(&t, PERIOD);
    for (i = 0; i < VAMP_TASKS_PER_VCPU; i++) {
        vamp_task_table_charge(&t, (i + 1) << 12, i, i + 1, 1);
    }
    for (i = 0; i < VAMP_TASKS_PER_VCPU; i++) {
        if (i != 17) {
            vamp_task_table_charge(&t, (i + 1) << 12, 1000 + i, 1001 + i, 1);
        }
    }
    vamp_task_table_charge(&t, 0x999000, 2000, 2001, 1);
    g_assert_cmpuint(t.slot[17].task, ==, 0x999000);
    /* All of it is in one epoch: what the victim left would still count. */
    g_assert_cmpuint(ring_total(&t.slot[17].run), ==, 1);
    g_assert_cmpuint(t.evictions, ==, 1);
}

/* Halves of tasks become tasks; what they used is added, epoch by epoch. */
static void test_mask(void)
{
    const uint64_t mask = VAMP_CR3_TASK_MASK & ~0x1000ull;
    struct vamp_task_table t;

    vamp_task_table_init(&t, PERIOD);
    vamp_task_table_charge(&t, 0x5000, 0, PERIOD, PERIOD / 4);
    vamp_task_table_charge(&t, 0x8000, PERIOD, 2 * PERIOD, PERIOD / 2);
    vamp_task_table_charge(&t, 0x4000, 0, 2 * PERIOD, PERIOD);
    vamp_task_table_charge(&t, 0x1000, 0, PERIOD, 1);
    vamp_task_table_charge(&t, 0x9000, 40 * PERIOD, 41 * PERIOD, 7);
    vamp_task_table_charge(&t, 0x5000, 3 * PERIOD, 4 * PERIOD, 3);
    vamp_task_table_mask(&t, mask);
    g_assert_cmpuint(t.used, ==, 2);
    g_assert_cmpuint(t.slot[0].task, ==, 0x4000);
    g_assert_cmpuint(t.slot[0].last_ns, ==, 4 * PERIOD);
    g_assert_cmpuint(t.slot[0].run.epoch, ==, 3);
    g_assert_cmpuint(t.slot[0].run.ns[0], ==, PERIOD / 4 + PERIOD / 2);
    g_assert_cmpuint(t.slot[0].run.ns[1], ==, PERIOD / 2);
    g_assert_cmpuint(ring_total(&t.slot[0].run), ==, PERIOD / 4 + PERIOD + 3);
    /* The older half has nothing that is still of interest. */
    g_assert_cmpuint(t.slot[1].task, ==, 0x8000);
    g_assert_cmpuint(t.slot[1].last_ns, ==, 41 * PERIOD);
    g_assert_cmpuint(ring_total(&t.slot[1].run), ==, 7);
    /* It goes on, and again changes nothing. */
    vamp_task_table_charge(&t, 0x4000, 3 * PERIOD, 4 * PERIOD, 5);
    vamp_task_table_mask(&t, mask);
    g_assert_cmpuint(t.used, ==, 2);
    g_assert_cmpuint(ring_total(&t.slot[0].run), ==, PERIOD / 4 + PERIOD + 8);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/load/ring/empty", test_empty);
    g_test_add_func("/load/ring/window", test_window);
    g_test_add_func("/load/ring/permille", test_permille);
    g_test_add_func("/load/ring/spread", test_spread);
    g_test_add_func("/load/ring/no-loss", test_no_loss);
    g_test_add_func("/load/ring/old", test_old);
    g_test_add_func("/load/ring/gap", test_gap);
    g_test_add_func("/load/ring/cap", test_cap);
    g_test_add_func("/load/ring/inverted", test_inverted);
    g_test_add_func("/load/ring/extreme", test_extreme);
    g_test_add_func("/load/scale", test_scale);
    g_test_add_func("/load/table/charge", test_table);
    g_test_add_func("/load/table/eviction", test_eviction);
    g_test_add_func("/load/table/mask", test_mask);
    return g_test_run();
}
