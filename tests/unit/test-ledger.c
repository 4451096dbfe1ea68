/*
 * The ledger, alone and against a model of a host
 *
 * The model: real-time threads have a CPU each, what is left of the CPUs is
 * shared by the VMs' weights, and a VM cannot use more CPUs than it has
 * runnable threads. No clock, no randomness but a seeded one.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <math.h>
#include <string.h>
#include "core/ledger.h"

#define MS          1000000ULL
#define MAX_VMS     100
#define MODEL_VMS   8
#define TICK        MS
#define STEP_MS     50
#define PEEK_MS     10
#define WINDOW_MS   10000

/* --- one step ------------------------------------------------------------- */

static struct vamp_account acc[MAX_VMS];
static struct vamp_account *all[MAX_VMS];
static struct vamp_ledger_config cfg;

static void setup(unsigned n, unsigned ncpu)
{
    for (unsigned i = 0; i < n; i++) {
        vamp_account_init(&acc[i], 100, true);
        all[i] = &acc[i];
    }
    vamp_ledger_config_default(&cfg, ncpu);
}

static void use(unsigned i, uint64_t used_ms, uint64_t waited_ms)
{
    acc[i].used_ns = used_ms * MS;
    acc[i].waited_ns = waited_ms * MS;
}

static int64_t sum(unsigned n)
{
    int64_t s = 0;

    for (unsigned i = 0; i < n; i++) {
        s += acc[i].debt_ns;
    }
    return s;
}

static void test_fair(void)
{
    setup(3, 2);
    use(0, 34, 60);
    use(1, 33, 67);
    use(2, 33, 67);
    vamp_ledger_step(all, 3, 50 * MS, &cfg);
    g_assert_cmpint(sum(3), ==, 0);
    g_assert_cmpuint(acc[1].entitled_ns, ==, 100 * MS / 3);
    g_assert_cmpint(acc[0].debt_ns, >, 0);
    g_assert_cmpint(acc[0].debt_ns, <, MS);
    g_assert_cmpuint(acc[0].fair_ppm, ==, 333333);
}

/* Nobody waited: whoever used how much, nobody owes. */
static void test_not_full(void)
{
    setup(3, 4);
    use(0, 100, 0);
    use(1, 3, 0);
    use(2, 0, 0);
    for (int i = 0; i < 100; i++) {
        vamp_ledger_step(all, 3, 50 * MS, &cfg);
    }
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(acc[i].debt_ns, ==, 0);
        g_assert_cmpuint(acc[i].weight_1024, ==, 100 * 1024);
        g_assert_false(acc[i].guard);
    }
}

/* Max-min: who wants little gets it, the rest is for the others. */
static void test_demand(void)
{
    setup(3, 2);
    use(0, 5, 1);
    use(1, 60, 40);
    use(2, 35, 65);
    vamp_ledger_step(all, 3, 50 * MS, &cfg);
    g_assert_cmpuint(acc[0].entitled_ns, ==, 6 * MS);
    g_assert_cmpuint(acc[1].entitled_ns, ==, 47 * MS);
    g_assert_cmpuint(acc[2].entitled_ns, ==, 47 * MS);
    g_assert_cmpint(sum(3), ==, 0);
}

static void test_weights(void)
{
    setup(2, 2);
    vamp_account_init(&acc[0], 300, true);
    use(0, 50, 50);
    use(1, 50, 50);
    vamp_ledger_step(all, 2, 50 * MS, &cfg);
    g_assert_cmpuint(acc[0].entitled_ns, ==, 75 * MS);
    g_assert_cmpint(acc[1].debt_ns, ==, 25 * MS);
    g_assert_cmpuint(acc[1].weight_1024, <, 100 * 1024);
    g_assert_cmpuint(acc[0].weight_1024, >, 300 * 1024);
}

/* A VM whose weight is not ours keeps it; ours moves against it. */
static void test_unregulated(void)
{
    double share;

    setup(2, 1);
    vamp_account_init(&acc[1], 100, false);
    use(0, 35, 15);
    use(1, 15, 35);
    vamp_ledger_step(all, 2, 50 * MS, &cfg);
    g_assert_cmpint(acc[0].debt_ns, ==, 10 * MS);
    g_assert_cmpuint(acc[1].weight_1024, ==, 100 * 1024);
    /* 10 ms are 10 % of what one CPU gives in the 100 ms of paying. */
    share = acc[0].weight_1024 / (double)(acc[0].weight_1024 + 100 * 1024);
    g_assert_cmpfloat(fabs(share - 0.40), <, 0.001);
}

/* Credit of who has enough goes away, and the debt with it. */
static void test_forget(void)
{
    setup(2, 2);
    use(0, 80, 20);
    use(1, 20, 80);
    vamp_ledger_step(all, 2, 50 * MS, &cfg);
    g_assert_cmpint(acc[1].debt_ns, ==, -30 * (int64_t)MS);
    for (int i = 0; i < 100; i++) {
        use(0, 50, 0);
        use(1, 5, 0);
        vamp_ledger_step(all, 2, 50 * MS, &cfg);
        g_assert_cmpint(sum(2), ==, 0);
    }
    g_assert_cmpint(acc[0].debt_ns, <, MS);
    g_assert_true(vamp_ledger_settled((const struct vamp_account **)all, 2,
                                      &cfg));
}

/* A hundred VMs, four of them busy: what is fair for these is a quarter. */
static void test_many(void)
{
    setup(100, 2);
    for (int i = 0; i < 100; i++) {
        use(i, 1, 0);
    }
    for (int i = 0; i < 4; i++) {
        use(i, 26 - 2 * (i > 0), 70);
    }
    vamp_ledger_step(all, 100, 98 * MS, &cfg);
    g_assert_cmpint(acc[0].debt_ns, ==, 3 * (int64_t)MS / 2);
    g_assert_cmpint(acc[50].debt_ns, ==, 0);
    /* Of the CPUs half went to the others. */
    g_assert_cmpuint(acc[0].fair_ppm, >, 126000);
    g_assert_cmpuint(acc[0].fair_ppm, <, 127000);
    g_assert_cmpuint(acc[50].fair_ppm, >, 101000);
    g_assert_cmpuint(acc[50].fair_ppm, <, 102000);
    g_assert_cmpuint(acc[50].weight_1024, ==, 100 * 1024);
    /* It pays 1.5 ms of the 200 that they get in two steps, 3 % of its part. */
    g_assert_cmpuint(acc[0].weight_1024, <, 98 * 1024);
    g_assert_cmpuint(acc[0].weight_1024, >, 96 * 1024);
}

static void test_guard(void)
{
    setup(3, 2);
    for (int i = 0; !acc[0].guard; i++) {
        g_assert_cmpint(i, <, 10);
        use(0, 60, 40);
        use(1, 20, 80);
        use(2, 20, 80);
        vamp_ledger_step(all, 3, 50 * MS, &cfg);
    }
    g_assert_cmpint(acc[0].debt_ns, >, 100 * (int64_t)MS);
    g_assert_cmpuint(acc[0].guards, ==, 1);
    g_assert_false(vamp_ledger_settled((const struct vamp_account **)all, 3,
                                       &cfg));
    for (int i = 0; acc[0].guard; i++) {
        g_assert_cmpint(i, <, 10);
        use(0, 10, 90);
        use(1, 45, 55);
        use(2, 45, 55);
        vamp_ledger_step(all, 3, 50 * MS, &cfg);
    }
    g_assert_cmpint(acc[0].debt_ns, <, 50 * (int64_t)MS);
    g_assert_cmpint(acc[0].debt_ns, >, 0);
}

static void test_peek(void)
{
    setup(3, 2);
    use(0, 34, 60);
    use(1, 33, 67);
    use(2, 33, 67);
    vamp_ledger_step(all, 3, 50 * MS, &cfg);
    g_assert_false(vamp_ledger_peek(&acc[0], 40 * MS, 20 * MS, &cfg));
    g_assert_true(vamp_ledger_peek(&acc[0], 400 * MS, 200 * MS, &cfg));
    g_assert_true(acc[0].guard);
    g_assert_false(vamp_ledger_peek(&acc[0], 400 * MS, 200 * MS, &cfg));
    /* On a host that is not full nobody is hurt. */
    setup(2, 4);
    use(0, 100, 0);
    use(1, 5, 0);
    vamp_ledger_step(all, 2, 50 * MS, &cfg);
    g_assert_false(vamp_ledger_peek(&acc[0], 4000 * MS, 1000 * MS, &cfg));
}

/*
 * Who was idle and not looked at for 8 steps has woken: it has its fair share
 * since, and owes nothing for that.
 */
static void test_woken(void)
{
    setup(4, 2);
    for (int i = 0; i < 8; i++) {
        use(0, 25, 75);
        use(1, 25, 75);
        use(2, 25, 75);
        use(3, 0, 0);
        if (i == 7) {
            vamp_account_book(&acc[3], 200 * MS, 600 * MS, 400 * MS, 50 * MS);
            g_assert_cmpuint(acc[3].used_ns, ==, 25 * MS);
            g_assert_cmpuint(acc[3].waited_ns, ==, 75 * MS);
        }
        vamp_ledger_step(all, 4, 50 * MS, &cfg);
        g_assert_cmpint(sum(4), ==, 0);
    }
    g_assert_cmpint(acc[3].debt_ns, ==, 0);
    /* What it used is told nevertheless. */
    g_assert_cmpuint(acc[3].total_used_ns, ==, 200 * MS);
    g_assert_cmpuint(acc[3].total_entitled_ns, ==, 200 * MS);
    /* Looked at in each step: all of it counts. */
    vamp_account_book(&acc[3], 40 * MS, 60 * MS, 50 * MS, 50 * MS);
    g_assert_cmpuint(acc[3].used_ns, ==, 40 * MS);
    g_assert_cmpuint(acc[3].waited_ns, ==, 60 * MS);
}

static void test_leave(void)
{
    struct vamp_account gone;

    setup(3, 2);
    use(0, 60, 40);
    use(1, 20, 80);
    use(2, 20, 80);
    vamp_ledger_step(all, 3, 50 * MS, &cfg);
    gone = acc[0];
    vamp_ledger_leave(all + 1, 2, &gone);
    g_assert_cmpint(llabs(acc[1].debt_ns + acc[2].debt_ns), <, 10);

    setup(3, 2);
    use(0, 60, 40);
    use(1, 20, 80);
    use(2, 20, 80);
    vamp_ledger_step(all, 3, 50 * MS, &cfg);
    gone = acc[2];
    vamp_ledger_leave(all, 2, &gone);
    g_assert_cmpint(sum(2), ==, 0);
}

/* Whatever comes in: sums stay, limits hold. */
static void test_anything(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (int round = 0; round < 200; round++) {
        unsigned n = g_rand_int_range(rand, 1, MAX_VMS + 1);

        setup(n, g_rand_int_range(rand, 1, 65));
        for (unsigned i = 0; i < n; i++) {
            vamp_account_init(&acc[i], g_rand_int_range(rand, 1, 1 << 20),
                              g_rand_boolean(rand));
        }
        for (int step = 0; step < 50; step++) {
            for (unsigned i = 0; i < n; i++) {
                bool any = g_rand_boolean(rand);

                acc[i].used_ns = any ? g_rand_int(rand) : 0;
                acc[i].waited_ns = g_rand_boolean(rand)
                                   ? g_rand_int(rand) * 100ULL : 0;
            }
            vamp_ledger_step(all, n, g_rand_int(rand) % (1000 * MS), &cfg);
            g_assert_cmpint(sum(n), ==, 0);
            for (unsigned i = 0; i < n; i++) {
                g_assert_cmpuint(acc[i].weight_1024, >, 0);
                g_assert_cmpuint(acc[i].fair_ppm, <=, VAMP_LEDGER_PPM);
            }
        }
    }
}

/* --- a host --------------------------------------------------------------- */

typedef struct ModelVm {
    /* What it wants */
    unsigned hogs;              /* threads that always run */
    bool interactive;
    double event_ms;            /* CPU time of an event */
    unsigned gap_ms;            /* between events */
    bool (*awake)(unsigned ms); /* NULL: always */
    bool plain;                 /* without VAMP */
    double weight;

    /* Now */
    double left_ms;             /* of the event; 0: none */
    unsigned next_ms;
    double vm_weight;           /* in force */

    /* Results */
    double used[60000];         /* ms of CPU, each ms */
    double fair[60000];
    double lost_ms;             /* an event wanted a CPU and had none */
    unsigned events;
} ModelVm;

static ModelVm vm[MODEL_VMS];

/* Shares @cpus among @n VMs by weight, none above its @want. */
static void share(double cpus, unsigned n, const double *weight,
                  const double *want, double *got)
{
    bool full[MAX_VMS] = { false };
    bool again = true;

    while (again) {
        double weights = 0, rest = cpus;

        again = false;
        for (unsigned i = 0; i < n; i++) {
            if (full[i]) {
                rest -= got[i];
            } else {
                weights += weight[i];
            }
        }
        for (unsigned i = 0; i < n; i++) {
            if (!full[i]) {
                got[i] = weights ? rest * weight[i] / weights : 0;
            }
        }
        for (unsigned i = 0; i < n; i++) {
            if (!full[i] && got[i] >= want[i]) {
                got[i] = want[i];
                full[i] = again = true;
            }
        }
    }
}

static void run_host(unsigned n, double ncpu, unsigned total_ms)
{
    uint64_t used_ns[MAX_VMS] = { 0 }, waited_ns[MAX_VMS] = { 0 };
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    setup(n, ncpu);
    for (unsigned i = 0; i < n; i++) {
        double w = vm[i].weight ?: 100;

        vamp_account_init(&acc[i], w, !vm[i].plain);
        vm[i].vm_weight = w;
        vm[i].next_ms = 500 + 137 * i;
    }
    for (unsigned ms = 0; ms < total_ms; ms++) {
        double weight[MAX_VMS], want[MAX_VMS], got[MAX_VMS] = { 0 };
        double base[MAX_VMS], fair[MAX_VMS] = { 0 }, all_want[MAX_VMS];
        double rr[MAX_VMS] = { 0 }, cpus = ncpu;

        for (unsigned i = 0; i < n; i++) {
            bool awake = !vm[i].awake || vm[i].awake(ms);

            if (vm[i].interactive && !vm[i].left_ms && ms >= vm[i].next_ms) {
                vm[i].left_ms = vm[i].event_ms *
                                (0.75 + 0.5 * g_rand_double(rand));
            }
            want[i] = awake ? vm[i].hogs : 0;
            if (vm[i].left_ms > 0) {
                if (acc[i].guard) {
                    want[i] += 1;
                } else {
                    rr[i] = MIN(1, vm[i].left_ms);
                }
            }
            base[i] = vm[i].weight ?: 100;
            weight[i] = vm[i].vm_weight;
            all_want[i] = want[i] + rr[i];
        }
        share(ncpu, n, base, all_want, fair);
        for (unsigned i = 0; i < n; i++) {
            rr[i] = MIN(rr[i], cpus);
            cpus -= rr[i];
        }
        share(cpus, n, weight, want, got);
        for (unsigned i = 0; i < n; i++) {
            double runs = rr[i] + got[i];
            double served = rr[i] ?: vm[i].left_ms > 0
                            ? got[i] / MAX(want[i], 1) : 0;

            vm[i].used[ms] = runs;
            vm[i].fair[ms] = fair[i];
            used_ns[i] += runs * TICK;
            waited_ns[i] += (all_want[i] - runs) * TICK;
            if (vm[i].left_ms > 0) {
                vm[i].lost_ms += MIN(1, vm[i].left_ms) - served;
                vm[i].left_ms = MAX(0, vm[i].left_ms - served);
                if (!vm[i].left_ms) {
                    vm[i].events++;
                    vm[i].next_ms = ms + vm[i].gap_ms;
                }
            }
        }
        if (ms % STEP_MS == STEP_MS - 1) {
            for (unsigned i = 0; i < n; i++) {
                acc[i].used_ns = used_ns[i];
                acc[i].waited_ns = waited_ns[i];
                used_ns[i] = waited_ns[i] = 0;
            }
            vamp_ledger_step(all, n, STEP_MS * MS, &cfg);
            for (unsigned i = 0; i < n; i++) {
                vm[i].vm_weight = acc[i].weight_1024 / 1024.0;
            }
        } else if (ms % PEEK_MS == PEEK_MS - 1) {
            for (unsigned i = 0; i < n; i++) {
                vamp_ledger_peek(&acc[i], used_ns[i],
                                 (ms % STEP_MS + 1) * MS, &cfg);
            }
        }
    }
}

/* Worst deviation of VM @i from its fair share in any window, in percent. */
static double deviation(unsigned i, unsigned total_ms)
{
    double used = 0, fair = 0, worst = 0;

    for (unsigned ms = 0; ms < total_ms; ms++) {
        used += vm[i].used[ms];
        fair += vm[i].fair[ms];
        if (ms >= WINDOW_MS) {
            used -= vm[i].used[ms - WINDOW_MS];
            fair -= vm[i].fair[ms - WINDOW_MS];
            worst = MAX(worst, fabs(used / fair - 1) * 100);
        }
    }
    return worst;
}

/* Milliseconds that events waited for a CPU, of each 100 that they took. */
static double delay_percent(unsigned i)
{
    return vm[i].lost_ms / (vm[i].events * vm[i].event_ms) * 100;
}

static void check_host(unsigned n, double ncpu, double max_deviation,
                       double max_delay)
{
    const unsigned total_ms = 40000;

    run_host(n, ncpu, total_ms);
    for (unsigned i = 0; i < n; i++) {
        double d = deviation(i, total_ms);

        g_test_message("VM %u: deviation %.2f %%, %u events, delay %.1f %%, "
                       "guards %u", i, d, vm[i].events,
                       vm[i].events ? delay_percent(i) : 0,
                       (unsigned)acc[i].guards);
        g_assert_cmpfloat(d, <=, max_deviation);
        if (vm[i].interactive) {
            g_assert_cmpuint(vm[i].events, >, 0);
            g_assert_cmpfloat(delay_percent(i), <=, max_delay);
        }
    }
}

static void hosts(unsigned n, unsigned interactive)
{
    memset(vm, 0, sizeof(vm));
    for (unsigned i = 0; i < n; i++) {
        vm[i].hogs = 2;
        if (i < interactive) {
            vm[i].hogs = 1;
            vm[i].interactive = true;
            vm[i].event_ms = 40;
            vm[i].gap_ms = 260;
        }
    }
}

static void test_one_of_three(void)
{
    hosts(3, 1);
    check_host(3, 2, 2, 1);
}

static void test_one_of_four(void)
{
    hosts(4, 1);
    check_host(4, 2, 2, 1);
}

static void test_six_on_four(void)
{
    hosts(6, 1);
    check_host(6, 4, 2, 1);
}

static void test_all_interactive(void)
{
    hosts(3, 3);
    check_host(3, 2, 2, 25);
}

static void test_runaway(void)
{
    hosts(3, 1);
    vm[0].event_ms = 1500;
    check_host(3, 2, 3, 150);
    g_assert_cmpuint(acc[0].guards, >, 0);
}

static void test_with_plain(void)
{
    hosts(3, 1);
    vm[1].plain = vm[2].plain = true;
    check_host(3, 2, 2, 1);
}

static void test_unequal(void)
{
    hosts(3, 1);
    vm[0].weight = 50;
    vm[1].weight = 200;
    vm[2].weight = 100;
    check_host(3, 2, 2, 5);
}

static bool comes_and_goes(unsigned ms)
{
    return ms / 3000 % 2;
}

static void test_returns(void)
{
    hosts(3, 1);
    vm[1].awake = comes_and_goes;
    check_host(3, 2, 2, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/ledger/fair", test_fair);
    g_test_add_func("/vamp/ledger/not-full", test_not_full);
    g_test_add_func("/vamp/ledger/demand", test_demand);
    g_test_add_func("/vamp/ledger/weights", test_weights);
    g_test_add_func("/vamp/ledger/unregulated", test_unregulated);
    g_test_add_func("/vamp/ledger/forget", test_forget);
    g_test_add_func("/vamp/ledger/many", test_many);
    g_test_add_func("/vamp/ledger/guard", test_guard);
    g_test_add_func("/vamp/ledger/peek", test_peek);
    g_test_add_func("/vamp/ledger/woken", test_woken);
    g_test_add_func("/vamp/ledger/leave", test_leave);
    g_test_add_func("/vamp/ledger/anything", test_anything);
    g_test_add_func("/vamp/ledger/host/one-of-three", test_one_of_three);
    g_test_add_func("/vamp/ledger/host/one-of-four", test_one_of_four);
    g_test_add_func("/vamp/ledger/host/six-on-four", test_six_on_four);
    g_test_add_func("/vamp/ledger/host/all-interactive", test_all_interactive);
    g_test_add_func("/vamp/ledger/host/runaway", test_runaway);
    g_test_add_func("/vamp/ledger/host/with-plain", test_with_plain);
    g_test_add_func("/vamp/ledger/host/unequal", test_unequal);
    g_test_add_func("/vamp/ledger/host/returns", test_returns);
    return g_test_run();
}
