/*
 * Unit tests: affinities (hw/vamp/cpumap-pin.c)
 *
 * Claim: affinities change together or not at all, and are put back unless
 * somebody else has changed them.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/cpumap-pin.h"
#include "hw/vamp/probe-util.h"
#include "test-cpumap-util.h"

typedef struct Threads {
    VampPins *pins;
    GPtrArray *list;
    VampScratchThread *scratch[2];
    VampCpus all;               /* of this process */
    unsigned a, b;              /* two of them */
} Threads;

static VampThread *thread_at(Threads *t, unsigned i)
{
    return g_ptr_array_index(t->list, i);
}

static bool threads_begin(Threads *t)
{
    memset(t, 0, sizeof(*t));
    g_assert_cmpint(vamp_affinity_get(getpid(), &t->all), ==, 0);
    t->a = find_first_bit(t->all.bits, VAMP_CPUS_MAX);
    t->b = find_next_bit(t->all.bits, VAMP_CPUS_MAX, t->a + 1);
    if (t->b >= VAMP_CPUS_MAX) {
        g_test_skip("needs two CPUs");
        return false;
    }
    t->pins = vamp_pins_new(&vamp_cpu_paths);
    t->list = g_ptr_array_new_with_free_func(vamp_thread_free);
    for (int i = 0; i < 2; i++) {
        VampThread *thread = g_new0(VampThread, 1);

        t->scratch[i] = vamp_scratch_start(&error_abort);
        thread->kind = VAMP_THREAD_KIND_VCPU;
        thread->vcpu = i;
        thread->tid = vamp_scratch_tid(t->scratch[i]);
        g_ptr_array_add(t->list, thread);
    }
    return true;
}

static void threads_end(Threads *t)
{
    for (int i = 0; i < 2; i++) {
        vamp_scratch_stop(t->scratch[i]);
    }
    g_ptr_array_unref(t->list);
    vamp_pins_free(t->pins);
}

static void restore(Threads *t)
{
    g_autoptr(GArray) tids = g_array_new(FALSE, FALSE, sizeof(pid_t));

    for (unsigned i = 0; i < t->list->len; i++) {
        g_array_append_val(tids, thread_at(t, i)->tid);
    }
    vamp_pins_restore(t->pins, tids);
}

static void want(Threads *t, unsigned i, unsigned cpu)
{
    VampThread *thread = thread_at(t, i);

    bitmap_zero(thread->cpus.bits, VAMP_CPUS_MAX);
    set_bit(cpu, thread->cpus.bits);
    thread->pin = true;
}

static void set_foreign(Threads *t, unsigned i, unsigned cpu)
{
    VampCpus cpus = { };

    set_bit(cpu, cpus.bits);
    g_assert_cmpint(vamp_affinity_set(thread_at(t, i)->tid, &cpus), ==, 0);
}

static void expect_all(Threads *t, unsigned i)
{
    VampCpus now;

    g_assert_cmpint(vamp_affinity_get(thread_at(t, i)->tid, &now), ==, 0);
    g_assert_true(bitmap_equal(now.bits, t->all.bits, VAMP_CPUS_MAX));
}

static void expect_one(Threads *t, unsigned i, unsigned cpu)
{
    VampCpus now, one = { };

    set_bit(cpu, one.bits);
    g_assert_cmpint(vamp_affinity_get(thread_at(t, i)->tid, &now), ==, 0);
    g_assert_true(bitmap_equal(now.bits, one.bits, VAMP_CPUS_MAX));
}

static void expect_described(Threads *t, unsigned i, bool as_wanted,
                             bool has_found, const char *part)
{
    char *affinity, *found, *reason;

    g_assert_cmpint(vamp_pins_describe(t->pins, thread_at(t, i), &affinity,
                                       &found, &reason), ==, as_wanted);
    g_assert_nonnull(affinity);
    g_assert_cmpint(found != NULL, ==, has_found);
    g_assert_nonnull(strstr(reason, part));
    g_free(affinity);
    g_free(found);
    g_free(reason);
}

static void test_pin(void)
{
    Threads t;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.a);
    expect_one(&t, 1, t.b);
    expect_described(&t, 0, true, true, "as mapped");

    /* The other way round, then one of them back to what was found */
    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.b);
    expect_one(&t, 1, t.a);
    thread_at(&t, 1)->pin = false;
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_all(&t, 1);
    expect_described(&t, 1, true, false, "left as it was found");

    restore(&t);
    expect_all(&t, 0);
    expect_all(&t, 1);
    threads_end(&t);
}

/* Nothing of a change stays when a part of it fails, at either end. */
static void test_pin_atomic(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, VAMP_CPUS_MAX - 1);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "vCPU 1 (thread ");
    expect_all(&t, 0);
    expect_all(&t, 1);

    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    want(&t, 0, t.a);
    want(&t, 1, VAMP_CPUS_MAX - 1);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "host CPU 8191: it is offline");
    expect_one(&t, 0, t.b);
    expect_one(&t, 1, t.a);

    /* What was found is not forgotten by that. */
    restore(&t);
    expect_all(&t, 0);
    expect_all(&t, 1);
    threads_end(&t);
}

static void test_pin_foreign(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    /* libvirt's vcpupin came first: it is not fought, but can be agreed with */
    set_foreign(&t, 1, t.b);
    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "somebody else (libvirt's vcpupin");
    expect_all(&t, 0);
    expect_one(&t, 1, t.b);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));

    /* Somebody changes it later: that stays, the other one is put back. */
    set_foreign(&t, 1, t.a);
    expect_described(&t, 1, false, false, "somebody else has changed it");
    want(&t, 1, t.b);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "somebody else");
    expect_one(&t, 0, t.b);
    restore(&t);
    expect_all(&t, 0);
    expect_one(&t, 1, t.a);
    threads_end(&t);
}

/* Threads that were moved to another cpuset, and such that were pinned. */
static void test_pin_renew(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    g_assert_cmpint(vamp_affinity_set(thread_at(&t, 1)->tid, &t.all), ==, 0);
    g_assert_true(vamp_pins_renew(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.a);
    expect_one(&t, 1, t.b);
    expect_described(&t, 1, true, true, "as mapped");

    /* Also one that a map may move wherever it is. */
    thread_at(&t, 1)->kind = VAMP_THREAD_KIND_EMULATOR;
    set_foreign(&t, 1, t.a);
    g_assert_true(vamp_affinity_set(thread_at(&t, 0)->tid, &t.all) == 0);
    g_assert_false(vamp_pins_renew(t.pins, t.list, &err));
    expect(&err, "somebody else (libvirt's vcpupin");
    expect_all(&t, 0);
    expect_one(&t, 1, t.a);
    threads_end(&t);
}

/* A thread made by the pinned main thread goes back to what that one had. */
static void test_pin_inherited(void)
{
    Threads t;
    VampThread *main_thread = g_new0(VampThread, 1);

    if (!threads_begin(&t)) {
        g_free(main_thread);
        return;
    }
    main_thread->kind = VAMP_THREAD_KIND_EMULATOR;
    main_thread->tid = getpid();
    main_thread->pin = true;
    set_bit(t.a, main_thread->cpus.bits);
    g_ptr_array_add(t.list, main_thread);
    want(&t, 0, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 2, t.a);
    expect_all(&t, 1);

    /* Hotplug: vCPU 1 again, now with a new thread */
    vamp_scratch_stop(t.scratch[1]);
    vamp_pins_forget(t.pins, thread_at(&t, 1)->tid);
    t.scratch[1] = vamp_scratch_start(&error_abort);
    thread_at(&t, 1)->tid = vamp_scratch_tid(t.scratch[1]);
    expect_one(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_all(&t, 1);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 1, t.b);

    vamp_pins_keep(t.pins, t.list);
    restore(&t);
    for (int i = 0; i < 3; i++) {
        expect_all(&t, i);
    }
    threads_end(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap-host/pin", test_pin);
    g_test_add_func("/cpumap-host/pin/atomic", test_pin_atomic);
    g_test_add_func("/cpumap-host/pin/foreign", test_pin_foreign);
    g_test_add_func("/cpumap-host/pin/renew", test_pin_renew);
    g_test_add_func("/cpumap-host/pin/inherited", test_pin_inherited);
    return g_test_run();
}
