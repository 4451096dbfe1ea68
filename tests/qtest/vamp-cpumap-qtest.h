/*
 * What the qtests of osnet-cpumap share: a QEMU with a map, and what is seen
 * of it from outside, through /proc
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CPUMAP_QTEST_H
#define VAMP_CPUMAP_QTEST_H

#include <sched.h>
#include <sys/wait.h>
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-qtest.h"

static char *dir;               /* of this test */
static int cpu_a, cpu_b;        /* two that we may run on */
static char *base;              /* all of them, as /proc says it */

/* --- the host ------------------------------------------------------------ */

static inline char *allowed_list(int pid, int tid)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/task/%d/status", pid,
                                            tid);
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents(name, &text, NULL, NULL));
    line = strstr(text, "\nCpus_allowed_list:\t");
    g_assert(line);
    line += strlen("\nCpus_allowed_list:\t");
    return g_strndup(line, strcspn(line, "\n"));
}

static inline void expect_allowed(QTestState *qts, int tid, const char *list)
{
    g_autofree char *now = allowed_list(qtest_pid(qts), tid);

    g_assert_cmpstr(now, ==, list);
}

static inline void expect_on(QTestState *qts, int tid, int cpu)
{
    g_autofree char *list = g_strdup_printf("%d", cpu);

    expect_allowed(qts, tid, list);
}

static inline char *put(const char *name, const char *text)
{
    char *path = g_strdup_printf("%s/%s", dir, name);

    g_assert(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static inline char *lock_text(int cpu)
{
    g_autofree char *path = g_strdup_printf("%s/locks/cpu%d", dir, cpu);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static inline void expect_no_claim(int cpu)
{
    g_autofree char *text = lock_text(cpu);

    g_assert(!text || !*text);
}

/* --- QEMU ---------------------------------------------------------------- */

static inline QTestState *start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static inline QTestState *start(const char *fmt, ...)
{
    g_autofree char *options = NULL;
    g_autofree char *args = NULL;
    va_list ap;

    va_start(ap, fmt);
    options = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    args = g_strdup_printf("-M q35 -cpu qemu64 -name web "
                           "-smp 2,sockets=1,cores=4,threads=1,maxcpus=4 %s",
                           options);
    return qtest_init(args);
}

/* QEMU ends at once with status 1 and says @part. */
static inline void expect_refused(const char *options, const char *part)
{
    g_autofree char *cmd = g_strdup_printf(
        "timeout 60 %s -machine q35 -accel qtest -display none -nodefaults "
        "-smp 2,cores=4,maxcpus=4 %s", getenv("QTEST_QEMU_BINARY"), options);
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
    g_autofree char *out = NULL;
    int status;

    g_assert(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL,
                          NULL, NULL, NULL, &out, &status, NULL));
    g_assert(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    vamp_expect_text(out, part);
}

static inline QDict *query(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'vamp-query-cpumap' }");
    QDict *info = qdict_get_qdict(rsp, "return");

    g_assert(info);
    qobject_ref(info);
    qobject_unref(rsp);
    return info;
}

/* Thread of @vcpu, also without a map. */
static inline int tid_of(QTestState *qts, int vcpu)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-cpus-fast' }");
    QListEntry *e;
    int tid = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        QDict *cpu = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(cpu, "cpu-index") == vcpu) {
            tid = qdict_get_int(cpu, "thread-id");
        }
    }
    g_assert_cmpint(tid, >, 0);
    qobject_unref(rsp);
    return tid;
}

/* The query's account of thread @tid. */
static inline QDict *thread_info(QDict *info, int tid)
{
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "threads"), e) {
        QDict *t = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(t, "thread-id") == tid) {
            return t;
        }
    }
    g_error("thread %d is not in the answer", tid);
}

static inline void expect_thread(QTestState *qts, int tid, const char *kind,
                                 bool pinned, const char *reason)
{
    QDict *info = query(qts);
    QDict *t = thread_info(info, tid);
    g_autofree char *now = allowed_list(qtest_pid(qts), tid);

    g_assert_cmpstr(vamp_str(t, "kind"), ==, kind);
    g_assert_cmpstr(vamp_str(t, "affinity"), ==, now);
    g_assert_cmpint(vamp_bool(t, "pinned"), ==, pinned);
    vamp_expect_text(vamp_str(t, "reason"), reason);
    qobject_unref(info);
}

/* @map, @rest: JSON */
static inline QDict *try_set(QTestState *qts, const char *map, const char *rest)
{
    g_autofree char *args = g_strdup_printf("{ \"map\": [ %s ] %s }", map,
                                            rest);

    return qtest_qmp(qts, "{ 'execute': 'vamp-set-cpumap', 'arguments': %p }",
                     qobject_from_json(args, &error_abort));
}

static inline char *pair(int vcpu, int cpu)
{
    return g_strdup_printf("{ \"vcpu\": %d, \"cpu\": %d }", vcpu, cpu);
}

static inline char *pairs(int v1, int c1, int v2, int c2)
{
    g_autofree char *a = pair(v1, c1), *b = pair(v2, c2);

    return g_strdup_printf("%s, %s", a, b);
}

/* @rest: JSON, with a comma first */
static inline QDict *try_add(QTestState *qts, const char *rest)
{
    g_autofree char *args = g_strdup_printf(
        "{ \"qom-type\": \"osnet-cpumap\", \"id\": \"m\"%s }", rest);

    return qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': %p }",
                     qobject_from_json(args, &error_abort));
}

static inline void object_del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': %s } }", id);
}

static inline void expect_warning(QTestState *qts, const char *part)
{
    QDict *info = query(qts);
    QListEntry *e;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "warnings"), e) {
        QString *s = qobject_to(QString, qlist_entry_obj(e));

        found |= strstr(qstring_get_str(s), part) != NULL;
    }
    if (!found) {
        g_error("there is no warning '%s'", part);
    }
    qobject_unref(info);
}

static inline void expect_free(QTestState *qts)
{
    expect_allowed(qts, qtest_pid(qts), base);
    expect_allowed(qts, tid_of(qts, 0), base);
    expect_allowed(qts, tid_of(qts, 1), base);
}

/*
 * Chooses two CPUs and makes the test's folder; false if this machine has only
 * one CPU, which it says.
 */
static inline bool cpumap_begin(int *argc, char ***argv)
{
    g_autofree char *locks = NULL;
    cpu_set_t set;

    g_test_init(argc, argv, NULL);
    g_assert_cmpint(sched_getaffinity(0, sizeof(set), &set), ==, 0);
    for (cpu_a = 0; cpu_a < CPU_SETSIZE && !CPU_ISSET(cpu_a, &set); cpu_a++) {
        /* the first one */
    }
    for (cpu_b = cpu_a + 1; cpu_b < CPU_SETSIZE && !CPU_ISSET(cpu_b, &set);
         cpu_b++) {
        /* the second one */
    }
    if (cpu_b >= CPU_SETSIZE) {
        g_print("1..0 # SKIP needs two CPUs\n");
        return false;
    }
    base = allowed_list(getpid(), getpid());
    dir = g_dir_make_tmp("vamp-cpumap-XXXXXX", NULL);
    locks = g_strdup_printf("%s/locks", dir);
    g_setenv("VAMP_QTEST_LOCKS", locks, true);
    return true;
}

/* Runs the tests and removes the folder; the exit status. */
static inline int cpumap_run(void)
{
    const char *rm[] = { "rm", "-rf", dir, NULL };
    int ret = g_test_run();

    g_spawn_sync(NULL, (char **)rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 NULL, NULL, NULL, NULL);
    return ret;
}

#endif /* VAMP_CPUMAP_QTEST_H */
