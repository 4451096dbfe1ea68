/*
 * A real control group for a test to work in
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_ACTUATOR_REAL_H
#define TEST_ACTUATOR_REAL_H

#include "hw/vamp/cgroup-group.h"
#include "test-actuator-util.h"

typedef struct Real {
    VampCgroups *cg;
    char *home;                 /* where this process was */
    char *above;                /* where there is room for another group */
    char *dir;                  /* it: for this process, for the test */
    bool enabled_cpu;           /* in above, for dir to have it */
} Real;

static inline void real_write(const char *dir, const char *file,
                              const char *text)
{
    int ret = vamp_cgroup_write(dir, file, text);

    if (ret < 0) {
        g_test_message("%s > %s/%s", text, dir, file);
    }
    g_assert_cmpint(ret, ==, 0);
}

/* A group of our own, so that autogroup and the host's groups are out of it. */
static inline bool real_init(Real *r)
{
    g_autofree char *path = NULL, *controllers = NULL;
    Error *err = NULL;
    int ret;

    memset(r, 0, sizeof(*r));
    r->cg = vamp_cgroups_new(&vamp_host_paths, "cpu", &err);
    path = r->cg ? vamp_cgroup_path(r->cg, 0, getpid(), &err) : NULL;
    r->home = path ? vamp_cgroup_dir(r->cg, path, &err) : NULL;
    if (!r->home) {
        goto skip;
    }
    /* In v2, whole processes cannot go below a group that has some itself. */
    if (vamp_cgroup_is_root(r->cg, r->home)) {
        r->above = g_strdup(r->home);
    } else {
        r->above = g_path_get_dirname(r->home);
    }
    r->dir = g_strdup_printf("%s/test-%d", r->above, (int)getpid());
    if (mkdir(r->dir, 0755) < 0) {
        vamp_cgroup_error(&err, errno, "create", r->dir, NULL);
        goto skip;
    }
    if (r->cg->version == 2) {
        vamp_cgroup_read(r->dir, "cgroup.controllers", &controllers);
        if (!vamp_cgroup_word(controllers ?: "", " ", "cpu")) {
            ret = vamp_cgroup_write(r->above, "cgroup.subtree_control",
                                    "+cpu");
            if (ret < 0) {
                vamp_cgroup_error(&err, -ret, "write +cpu to", r->above,
                                  "cgroup.subtree_control");
                rmdir(r->dir);
                goto skip;
            }
            r->enabled_cpu = true;
        }
    }
    real_write(r->dir, "cgroup.procs", "0");
    return true;

skip:
    g_test_skip(error_get_pretty(err));
    error_free(err);
    vamp_cgroups_free(r->cg);
    g_free(r->home);
    g_free(r->above);
    g_free(r->dir);
    return false;
}

/* Nothing may be left of what a test did, or this fails. */
static inline void real_done(Real *r)
{
    int tries;

    g_assert_false(has_vamp_group(r->dir));
    if (r->cg->version == 2) {
        assert_file(r->dir, "cgroup.subtree_control", "");
    }
    real_write(r->home, "cgroup.procs", "0");
    for (tries = 0; rmdir(r->dir) < 0; tries++) {
        g_assert_cmpint(tries, <, 100);
        g_usleep(1000);
    }
    if (r->enabled_cpu) {
        real_write(r->above, "cgroup.subtree_control", "-cpu");
    }
    vamp_cgroups_free(r->cg);
    g_free(r->home);
    g_free(r->above);
    g_free(r->dir);
}

static inline char *group_of(Real *r, pid_t tid)
{
    g_autofree char *path = vamp_cgroup_path(r->cg, 0, tid, &error_abort);

    return vamp_cgroup_dir(r->cg, path, &error_abort);
}

static inline void assert_group(Real *r, pid_t tid, const char *want)
{
    g_autofree char *dir = group_of(r, tid);

    g_assert_cmpstr(dir, ==, want);
}

static inline void assert_weight(Real *r, const char *dir, unsigned want)
{
    g_autofree char *text = get_file(dir, r->cg->weight_file);

    g_assert_nonnull(text);
    g_assert_cmpint(atoi(text), ==, want);
}

#endif /* TEST_ACTUATOR_REAL_H */
