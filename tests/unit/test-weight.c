/*
 * Unit tests: ratios and weights (core/weight.h)
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "core/weight.h"

/* As a running kernel has them; typed anew, not taken from core. */
static const unsigned int kernel[40] = {
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
};

static void test_table(void)
{
    int nice;

    for (nice = -20; nice <= 19; nice++) {
        g_assert_cmpuint(vamp_nice_to_weight(nice), ==, kernel[nice + 20]);
    }
    g_assert_cmpuint(vamp_nice_to_weight(-21), ==, 88761);
    g_assert_cmpuint(vamp_nice_to_weight(G_MININT), ==, 88761);
    g_assert_cmpuint(vamp_nice_to_weight(20), ==, 15);
    g_assert_cmpuint(vamp_nice_to_weight(G_MAXINT), ==, 15);
}

static void test_known_steps(void)
{
    g_assert_cmpint(vamp_ratio_to_nice_step(1, 0), ==, 0);
    /* The paper's 1:3 is nice 5. */
    g_assert_cmpint(vamp_ratio_to_nice_step(3, 0), ==, 5);
    g_assert_cmpuint(vamp_nice_step_permille(5, 0), ==, 3057);
    g_assert_cmpint(vamp_ratio_to_nice_step(10, 0), ==, 10);
    g_assert_cmpint(vamp_ratio_to_nice_step(100, 0), ==, 19);
    g_assert_cmpuint(vamp_nice_step_permille(19, 0), ==, 68267);
    g_assert_cmpint(vamp_ratio_to_nice_step(3, 19), ==, 0);
    /* Clamped */
    g_assert_cmpint(vamp_ratio_to_nice_step(0, 0), ==, 0);
    g_assert_cmpint(vamp_ratio_to_nice_step(G_MAXUINT, -20), ==,
                    vamp_ratio_to_nice_step(100, -20));
    g_assert_cmpint(vamp_ratio_to_nice_step(3, G_MAXINT), ==, 0);
    g_assert_cmpint(vamp_ratio_to_nice_step(3, G_MININT), ==,
                    vamp_ratio_to_nice_step(3, -20));
    g_assert_cmpuint(vamp_nice_step_permille(0, 7), ==, 1000);
    g_assert_cmpuint(vamp_nice_step_permille(G_MAXINT, -20), ==, 5917400);
    g_assert_cmpuint(vamp_nice_step_permille(G_MININT, -20), ==, 1000);
    g_assert_cmpuint(vamp_nice_step_permille(-5, 5), ==, 327);
}

/* No other step is nearer, at any base; the bounds are those of the header. */
static void test_nearest(void)
{
    double worst = 0, worst0 = 0;
    int nice, step, ratio;

    for (nice = -20; nice <= 19; nice++) {
        double base = kernel[nice + 20];

        for (ratio = 1; ratio <= 100; ratio++) {
            int got = vamp_ratio_to_nice_step((unsigned int)ratio, nice);
            double error;

            g_assert_cmpint(got, >=, 0);
            g_assert_cmpint(nice + got, <=, 19);
            error = ABS(base / kernel[nice + got + 20] - ratio);
            for (step = 0; nice + step <= 19; step++) {
                double other = ABS(base / kernel[nice + step + 20] - ratio);

                g_assert_cmpfloat(other, >=, error - 0.000000001);
            }
            if (ratio <= base / kernel[39]) {
                worst = MAX(worst, error / ratio);
                if (nice == 0) {
                    g_assert_cmpint(ratio, <=, 68);
                    worst0 = MAX(worst0, error / ratio);
                }
            } else {
                g_assert_cmpint(nice + got, ==, 19);
            }
        }
    }
    g_test_message("worst error: nice 0 %.4f, any %.4f", worst0, worst);
    /* Both ways: a header that promises too little is wrong as well. */
    g_assert_cmpfloat(worst0, <=, 0.116);
    g_assert_cmpfloat(worst0, >=, 0.115);
    g_assert_cmpfloat(worst, <=, 0.121);
    g_assert_cmpfloat(worst, >=, 0.120);
}

static void test_permille(void)
{
    int nice, step;

    for (nice = -20; nice <= 19; nice++) {
        for (step = 0; nice + step <= 19; step++) {
            double exact = 1000.0 * kernel[nice + 20]
                           / kernel[nice + step + 20];

            g_assert_cmpfloat(ABS(vamp_nice_step_permille(step, nice) - exact),
                              <=, 0.5);
        }
    }
}

/* cgroup v2: cpu.weight 1..10000, 100 is neutral; v1: shares 2..262144, 1024 */
static void check_weights(uint64_t base, uint64_t min, uint64_t max)
{
    unsigned int ratio;

    for (ratio = 1; ratio <= 100; ratio++) {
        uint64_t i = 0, b = 0, other;
        uint64_t off;

        g_assert_true(vamp_ratio_to_weights(ratio, base, min, max, &i, &b));
        g_assert_cmpuint(i, ==, b * ratio);
        g_assert_cmpuint(b, >=, min);
        g_assert_cmpuint(i, <=, max);
        off = i > base ? i - base : base - i;
        for (other = min; other * ratio <= max && other <= 2 * base; other++) {
            uint64_t o = other * ratio;

            g_assert_cmpuint(o > base ? o - base : base - o, >=, off);
        }
    }
}

static void test_weights(void)
{
    uint64_t i = 1, b = 1;

    check_weights(100, 1, 10000);
    check_weights(1024, 2, 262144);
    check_weights(1, 1, 10000);
    check_weights(10000, 1, 10000);
    check_weights(2, 2, 262144);
    check_weights(262144, 2, 262144);

    g_assert_true(vamp_ratio_to_weights(3, 100, 1, 10000, &i, &b));
    g_assert_cmpuint(i, ==, 99);
    g_assert_cmpuint(b, ==, 33);
    /* A tie: 4 and 6 are as near to 5; not above neutral without need */
    g_assert_true(vamp_ratio_to_weights(2, 5, 1, 100, &i, &b));
    g_assert_cmpuint(i, ==, 4);
}

static void test_weights_none(void)
{
    uint64_t i = 1234, b = 5678;

    g_assert_false(vamp_ratio_to_weights(100, 100, 1, 99, &i, &b));
    g_assert_false(vamp_ratio_to_weights(3, 100, 40, 119, &i, &b));
    g_assert_false(vamp_ratio_to_weights(1, 100, 0, 0, &i, &b));
    g_assert_false(vamp_ratio_to_weights(1, 100, 2, 1, &i, &b));
    g_assert_cmpuint(i, ==, 1234);
    g_assert_cmpuint(b, ==, 5678);
    g_assert_true(vamp_ratio_to_weights(3, 100, 40, 120, &i, &b));
    g_assert_cmpuint(i, ==, 120);
    g_assert_cmpuint(b, ==, 40);

    g_assert_true(vamp_ratio_to_weights(100, UINT64_MAX, 0, UINT64_MAX,
                                        &i, &b));
    g_assert_cmpuint(i, ==, b * 100);
    g_assert_true(vamp_ratio_to_weights(1, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                        &i, &b));
    g_assert_cmpuint(i, ==, UINT64_MAX);
    g_assert_true(vamp_ratio_to_weights(0, 0, 0, 10, &i, &b));
    g_assert_cmpuint(i, ==, 1);
    g_assert_cmpuint(b, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/weight/nice/table", test_table);
    g_test_add_func("/weight/nice/known", test_known_steps);
    g_test_add_func("/weight/nice/nearest", test_nearest);
    g_test_add_func("/weight/nice/permille", test_permille);
    g_test_add_func("/weight/cgroup/exact", test_weights);
    g_test_add_func("/weight/cgroup/none", test_weights_none);
    return g_test_run();
}
