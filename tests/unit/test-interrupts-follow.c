/*
 * Tests of irq-affinity=follow: what it does to a host's /proc/irq
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/irq-follow.h"
#include "test-interrupts-util.h"

static void collect(unsigned irq, const char *problem, void *opaque)
{
    g_string_append_printf(opaque, "%s;", problem);
}

static char *problems(VampIrqMover *m)
{
    GString *text = g_string_new(NULL);

    vamp_irq_mover_problems(m, collect, text);
    return g_string_free(text, false);
}

#define assert_problem(m, word)                                             \
    do {                                                                    \
        g_autofree char *p_ = problems(m);                                  \
        if (!strstr(p_, word)) {                                            \
            g_assert_cmpstr(p_, ==, word);                                  \
        }                                                                   \
    } while (0)

#define assert_no_problem(m)                                                \
    do {                                                                    \
        g_autofree char *p_ = problems(m);                                  \
        g_assert_cmpstr(p_, ==, "");                                        \
    } while (0)

#define apply(m, ...)                                                       \
    do {                                                                    \
        VampIrqWant w_[] = { __VA_ARGS__ };                                 \
        vamp_irq_mover_apply(m, w_, G_N_ELEMENTS(w_));                      \
    } while (0)

static void test_follow(void)
{
    char *root = mock_new();
    VampIrqMover *m;

    mock_irq(root, 24, "0-3");
    mock_irq(root, 25, "2");
    mock_irq(root, 26, "1");
    m = vamp_irq_mover_new(root);
    apply(m, { 24, 3 }, { 25, 1 }, { 24, 2 });
    assert_irq(root, 24, "3");
    assert_irq(root, 25, "1");
    assert_irq(root, 26, "1");
    g_assert_true(vamp_irq_mover_has(m, 24));
    g_assert_false(vamp_irq_mover_has(m, 26));
    g_assert_cmpuint(vamp_irq_mover_count(m), ==, 2);

    /* The guest moves one, and gives one up. */
    apply(m, { 24, 0 });
    assert_irq(root, 24, "0");
    assert_irq(root, 25, "2");
    g_assert_cmpuint(vamp_irq_mover_count(m), ==, 1);
    assert_no_problem(m);

    /* To the first affinity, not to the one before. */
    vamp_irq_mover_free(m);
    assert_irq(root, 24, "0-3");
    assert_irq(root, 25, "2");
    assert_irq(root, 26, "1");
    mock_free(root);
}

static void test_not_ours(void)
{
    char *root = mock_new();
    VampIrqMover *m = vamp_irq_mover_new(root);

    mock_irq(root, 24, "0-3");
    apply(m, { 24, 3 });
    mock_irq(root, 24, "1");
    apply(m, { 24, 3 });
    assert_irq(root, 24, "1");
    assert_problem(m, "left alone");
    g_assert_false(vamp_irq_mover_has(m, 24));
    /* Not even when the guest moves it. */
    apply(m, { 24, 2 });
    assert_irq(root, 24, "1");
    vamp_irq_mover_free(m);
    assert_irq(root, 24, "1");

    /* Changed after the last look: not put back either. */
    m = vamp_irq_mover_new(root);
    apply(m, { 24, 3 });
    mock_irq(root, 24, "2");
    vamp_irq_mover_free(m);
    assert_irq(root, 24, "2");
    mock_free(root);
}

/* A driver in the guest is loaded anew: so is the host's interrupt. */
static void test_anew(void)
{
    char *root = mock_new();
    VampIrqMover *m = vamp_irq_mover_new(root);

    mock_irq(root, 24, "0-3");
    apply(m, { 24, 3 });
    for (int i = 0; i < 8; i++) {
        mock_irq(root, 24, "0-3");
        apply(m, { 24, 3 });
        assert_irq(root, 24, "3");
    }
    assert_no_problem(m);
    /* So often that it is somebody who insists. */
    mock_irq(root, 24, "0-3");
    apply(m, { 24, 3 });
    assert_irq(root, 24, "0-3");
    assert_problem(m, "left alone");
    vamp_irq_mover_free(m);
    mock_free(root);
}

static void test_gone(void)
{
    char *root = mock_new();
    VampIrqMover *m = vamp_irq_mover_new(root);
    g_autofree char *dir = g_build_filename(root, "irq/24", NULL);

    apply(m, { 24, 3 });
    assert_problem(m, "cannot read");
    g_assert_cmpuint(vamp_irq_mover_count(m), ==, 0);
    /* It comes late. */
    mock_irq(root, 24, "0-3");
    apply(m, { 24, 3 });
    assert_irq(root, 24, "3");
    assert_no_problem(m);
    /* And goes: nothing is created in its place. */
    mock_remove(dir);
    vamp_irq_mover_free(m);
    assert_irq(root, 24, "(gone)");
    mock_free(root);
}

static void test_refused(void)
{
    char *root = mock_new();
    VampIrqMover *m = vamp_irq_mover_new(root);
    g_autofree char *path = g_build_filename(root, "irq/24/smp_affinity_list",
                                             NULL);

    mock_irq(root, 24, "0-3");
    g_assert_cmpint(g_chmod(path, 0444), ==, 0);
    if (!access(path, W_OK)) {
        g_test_skip("root writes where it has no permission");
    } else {
        apply(m, { 24, 3 });
        assert_problem(m, "only root may");
        assert_irq(root, 24, "0-3");
    }
    vamp_irq_mover_free(m);
    vamp_irq_mover_free(NULL);
    mock_free(root);
}

/* What the kernel refuses: writes that fail, with its reasons. */
static void test_failing(void)
{
    char *root = mock_new();
    VampIrqMover *m = vamp_irq_mover_new(root);
    g_autofree char *path = g_build_filename(root, "irq/24/smp_affinity_list",
                                             NULL);

    mock_irq(root, 24, "0-3");
    apply(m, { 24, 3 });
    g_unlink(path);
    if (symlink("/dev/full", path)) {
        g_test_skip("no symbolic links here");
    } else {
        /* Reads as NUL bytes, which is no list; a write fails. */
        apply(m, { 24, 1 });
        assert_problem(m, strerror(ENOSPC));
    }
    vamp_irq_mover_free(m);
    mock_free(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/interrupts/follow/follow", test_follow);
    g_test_add_func("/vamp/interrupts/follow/not-ours", test_not_ours);
    g_test_add_func("/vamp/interrupts/follow/anew", test_anew);
    g_test_add_func("/vamp/interrupts/follow/gone", test_gone);
    g_test_add_func("/vamp/interrupts/follow/refused", test_refused);
    g_test_add_func("/vamp/interrupts/follow/failing", test_failing);
    return g_test_run();
}
