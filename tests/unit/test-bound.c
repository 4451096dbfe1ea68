/*
 * The bound of real-time class, looked at as often as the broker does
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "core/bound.h"

#define MS      INT64_C(1000000)
#define LOOK    (15 * MS)

/*
 * @seconds of a thread that runs @percent of the time in which it may be in
 * real-time class, and all of the rest. The longest time in that class without
 * a rest; @rested: the time of all rests.
 */
static int64_t longest(unsigned seconds, unsigned percent, int64_t *rested)
{
    struct vamp_bound b = { 0 };
    int64_t now, since = 0, found = 0;
    uint64_t ran = 0;

    *rested = 0;
    for (now = LOOK; now < seconds * 1000 * MS; now += LOOK) {
        bool rests = b.rests, changed;

        ran += (uint64_t)(rests ? LOOK : LOOK * percent / 100);
        *rested += rests ? LOOK : 0;
        changed = vamp_bound_step(&b, now, !rests, ran);
        g_assert_cmpint(changed, ==, rests != b.rests);
        if (changed && b.rests) {
            found = MAX(found, now - since);
        } else if (changed) {
            since = now;
        }
    }
    return found;
}

static void test_endless(void)
{
    int64_t rested, in_class = longest(60, 100, &rested);

    g_assert_cmpint(in_class, >, 950 * MS);
    /* When the first look came, it ran already; and a look comes late. */
    g_assert_cmpint(in_class, <=, 950 * MS + 2 * LOOK);
    /* A twentieth of the time, as from the kernel; looks round it up. */
    g_assert_cmpint(rested, >=, 55 * 50 * MS);
    g_assert_cmpint(rested, <=, 60 * (50 * MS + LOOK));
}

/* Who sleeps now and then leaves the CPU to others by itself. */
static void test_sleeps(void)
{
    int64_t rested;

    g_assert_cmpint(longest(60, 95, &rested), ==, 0);
    g_assert_cmpint(rested, ==, 0);
    g_assert_cmpint(longest(60, 97, &rested), >, 0);
}

/* What ran before it came into the class, or after it left, counts nothing. */
static void test_leaves(void)
{
    struct vamp_bound b = { 0 };
    uint64_t ran = 7000 * (uint64_t)MS;
    int64_t now = 0;

    for (unsigned i = 0; i < 20; i++) {
        g_assert_false(vamp_bound_step(&b, now, true, ran));
        now += 900 * MS;
        ran += 900 * (uint64_t)MS;
        g_assert_false(vamp_bound_step(&b, now, true, ran));
        g_assert_false(vamp_bound_step(&b, now, false, ran));
        now += LOOK;
        ran += (uint64_t)LOOK;
    }
}

/* A look that comes late judges nothing: it says little of any one second. */
static void test_late(void)
{
    struct vamp_bound b = { 0 };

    g_assert_false(vamp_bound_step(&b, 0, true, 0));
    g_assert_false(vamp_bound_step(&b, 5000 * MS, true,
                                   5000 * (uint64_t)MS));
    g_assert_true(vamp_bound_step(&b, 5960 * MS, true, 5960 * (uint64_t)MS));
    g_assert_true(b.rests);
    /* It rests to the end, whatever class it is seen in. */
    g_assert_false(vamp_bound_step(&b, 6000 * MS, true, 6000 * (uint64_t)MS));
    g_assert_true(vamp_bound_step(&b, 6010 * MS, false, 6010 * (uint64_t)MS));
    g_assert_false(b.rests);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bound/endless", test_endless);
    g_test_add_func("/bound/sleeps", test_sleeps);
    g_test_add_func("/bound/leaves", test_leaves);
    g_test_add_func("/bound/late", test_late);
    return g_test_run();
}
