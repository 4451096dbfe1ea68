/*
 * What the tests of the actuators share
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_ACTUATOR_UTIL_H
#define TEST_ACTUATOR_UTIL_H

#include <sys/wait.h>
#include "hw/vamp/probe-util.h"

/* Fails with the sentence in view. */
#define assert_matches(text, pattern)                                       \
    do {                                                                    \
        const char *t_ = (text), *p_ = (pattern);                           \
        if (!t_ || !g_pattern_match_simple(p_, t_)) {                       \
            g_test_message("\"%s\" does not match \"%s\"", t_ ?: "(null)",  \
                           p_);                                             \
            g_assert_cmpstr(t_, ==, p_);                                    \
        }                                                                   \
    } while (0)

/* The reason of a probe that must refuse. */
static inline char *probe_reason(const VampActuatorClass *klass,
                                 const VampHostPaths *paths,
                                 const pid_t *tids, unsigned n)
{
    Error *err = NULL;
    char *text;

    if (klass->probe(paths, tids, n, &err)) {
        g_assert_null(err);
        return g_strdup("accepted");
    }
    g_assert_nonnull(err);
    text = g_strdup(error_get_pretty(err));
    error_free(err);
    return text;
}

/*
 * Runs @fn in a child process, which may then give up privileges or put itself
 * under a filter. Returns what @fn returns, or how the child died.
 */
static inline char *in_child(char *(*fn)(void *opaque), void *opaque)
{
    g_autoptr(GString) out = g_string_new(NULL);
    int fds[2], status;
    char buf[512];
    ssize_t n;
    pid_t pid;

    g_assert_cmpint(pipe(fds), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        char *text = fn(opaque);

        n = write(fds[1], text, strlen(text));
        _exit(n == strlen(text) ? 0 : 1);
    }
    close(fds[1]);
    while ((n = read(fds[0], buf, sizeof(buf))) > 0) {
        g_string_append_len(out, buf, n);
    }
    close(fds[0]);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (WIFSIGNALED(status)) {
        return g_strdup_printf("killed by signal %d", WTERMSIG(status));
    }
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    return g_strdup(out->str);
}

/* An ordinary user, without any capability. */
static inline void become_nobody(void)
{
    g_assert_cmpint(setregid(65534, 65534), ==, 0);
    g_assert_cmpint(setreuid(65534, 65534), ==, 0);
}

static inline void put_file(const char *root, const char *name,
                            const char *text)
{
    g_autofree char *path = g_strdup_printf("%s/%s", root, name);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static inline char *get_file(const char *root, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s", root, name);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text)
                                                        : NULL;
}

static inline void remove_tree(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);

        if (g_file_test(path, G_FILE_TEST_IS_DIR) &&
            !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
            remove_tree(path);
        } else {
            unlink(path);
        }
    }
    if (d) {
        g_dir_close(d);
    }
    rmdir(dir);
}

/* A host of plain files: DIR/proc, DIR/mountinfo and what a test adds. */
typedef struct MockHost {
    char *dir;
    char *proc;
    char *mountinfo;
    VampHostPaths paths;
} MockHost;

static inline void mock_init(MockHost *m)
{
    m->dir = g_dir_make_tmp("vamp-test-XXXXXX", NULL);
    g_assert_nonnull(m->dir);
    m->proc = g_strdup_printf("%s/proc", m->dir);
    m->mountinfo = g_strdup_printf("%s/mountinfo", m->dir);
    m->paths.proc = m->proc;
    m->paths.mountinfo = m->mountinfo;
    put_file(m->dir, "proc/self/status", "Name:\ttest\nSeccomp:\t0\n");
}

static inline void mock_done(MockHost *m)
{
    remove_tree(m->dir);
    g_free(m->dir);
    g_free(m->proc);
    g_free(m->mountinfo);
}

/* Has one of our actuators a group in @dir? */
static inline bool has_vamp_group(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    bool found = false;

    while (d && (name = g_dir_read_name(d))) {
        found |= g_str_has_prefix(name, "vamp-");
    }
    g_dir_close(d);
    return found;
}

static inline void assert_file(const char *root, const char *name,
                               const char *want)
{
    g_autofree char *text = get_file(root, name);

    g_assert_cmpstr(text, ==, want);
}

/* What /proc/self/task/TID/cgroup says. */
static inline void mock_thread(MockHost *m, pid_t tid, const char *text)
{
    g_autofree char *name = g_strdup_printf("proc/self/task/%d/cgroup",
                                            (int)tid);

    put_file(m->dir, name, text);
}

#endif /* TEST_ACTUATOR_UTIL_H */
