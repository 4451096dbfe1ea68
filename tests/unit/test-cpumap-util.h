/*
 * What the unit tests of the map share: a folder for each test, a host in it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_CPUMAP_UTIL_H
#define TEST_CPUMAP_UTIL_H

#include "qapi/error.h"
#include "hw/vamp/cpumap-host.h"

/* --- a folder for each test -------------------------------------------- */

/* The folder of the test that runs. */
static char *top;

static inline char *in_top(const char *name)
{
    return g_strdup_printf("%s/%s", top, name);
}

static inline void put(const char *name, const char *text)
{
    g_autofree char *path = in_top(name);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static inline void begin(void)
{
    top = g_dir_make_tmp("vamp-cpumap-XXXXXX", NULL);
    g_assert_nonnull(top);
}

static inline void end(void)
{
    const char *argv[] = { "rm", "-rf", top, NULL };

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 NULL, NULL, NULL, NULL);
    g_clear_pointer(&top, g_free);
}

static inline void expect(Error **err, const char *part)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), part)) {
        g_error("'%s' is not in '%s'", part, error_get_pretty(*err));
    }
    error_free(*err);
    *err = NULL;
}

/* --- a host ------------------------------------------------------------ */

/* What stands for /sys, /proc and /proc/self/mountinfo. */
static char *mock_sys, *mock_proc, *mock_mounts;

static inline VampCpuPaths mock_paths(void)
{
    return (VampCpuPaths) {
        .host = { .proc = mock_proc, .mountinfo = mock_mounts },
        .sys = mock_sys,
    };
}

/* Eight CPUs, n and n + 4 on one core, two nodes: 0,1,4,5 and 2,3,6,7. */
static inline void mock_begin(const char *isolated, const char *nohz_full)
{
    begin();
    mock_sys = in_top("sys");
    mock_proc = in_top("proc");
    mock_mounts = in_top("mountinfo");
    put("sys/devices/system/cpu/present", "0-8\n");
    put("sys/devices/system/cpu/online", "0-7\n");
    put("sys/devices/system/cpu/isolated", isolated);
    if (nohz_full) {
        put("sys/devices/system/cpu/nohz_full", nohz_full);
    }
    for (int i = 0; i < 8; i++) {
        g_autofree char *siblings = g_strdup_printf(
            "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        g_autofree char *node = g_strdup_printf(
            "sys/devices/system/cpu/cpu%d/node%d/x", i, i % 4 / 2);
        g_autofree char *text = g_strdup_printf("%d,%d\n", i % 4, i % 4 + 4);

        put(siblings, text);
        put(node, "");
    }
}

static inline void mock_end(void)
{
    g_clear_pointer(&mock_sys, g_free);
    g_clear_pointer(&mock_proc, g_free);
    g_clear_pointer(&mock_mounts, g_free);
    end();
}

static inline void expect_cpus(const VampCpus *cpus, const char *list)
{
    g_autofree char *text = vamp_cpus_format(cpus);

    g_assert_cmpstr(text, ==, list);
}

#endif /* TEST_CPUMAP_UTIL_H */
