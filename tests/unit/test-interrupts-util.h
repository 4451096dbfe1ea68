/*
 * What the tests of the host's interrupts share: a folder that stands for /proc
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_INTERRUPTS_UTIL_H
#define TEST_INTERRUPTS_UTIL_H

#include <glib/gstdio.h>

static inline char *mock_new(void)
{
    char *root = g_dir_make_tmp("vamp-test-XXXXXX", NULL);

    g_assert_nonnull(root);
    return root;
}

static inline void mock_remove(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
            !g_file_test(child, G_FILE_TEST_IS_SYMLINK)) {
            mock_remove(child);
        } else {
            g_unlink(child);
        }
    }
    g_rmdir(path);
}

static inline void mock_free(char *root)
{
    mock_remove(root);
    g_free(root);
}

/* Writes @root/@name and the folders on the way. */
static inline void mock_write(const char *root, const char *name,
                              const char *text, gssize len)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, len, NULL));
}

/* irq/@irq/smp_affinity_list, as Linux shows it. */
static inline void mock_irq(const char *root, unsigned irq, const char *cpus)
{
    g_autofree char *name = g_strdup_printf("irq/%u/smp_affinity_list", irq);
    g_autofree char *line = g_strdup_printf("%s\n", cpus);

    mock_write(root, name, line, -1);
}

static inline char *mock_irq_cpus(const char *root, unsigned irq)
{
    g_autofree char *path = g_strdup_printf("%s/irq/%u/smp_affinity_list",
                                            root, irq);
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return g_strdup("(gone)");
    }
    return g_strchomp(text);
}

#define assert_irq(root, irq, want)                                         \
    do {                                                                    \
        g_autofree char *got_ = mock_irq_cpus(root, irq);                   \
        g_assert_cmpstr(got_, ==, want);                                    \
    } while (0)

#endif /* TEST_INTERRUPTS_UTIL_H */
