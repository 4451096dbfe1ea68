/*
 * VAMP qtests: what they share
 *
 * A header, because QEMU's tests/qtest/meson.build fixes the sources of a test
 * after the point where ours are added.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VAMP_QTEST_H
#define TESTS_QTEST_VAMP_QTEST_H

#include <sys/resource.h>
#include "libqtest.h"
#include "qobject/qbool.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"

#define MS 1000000ll

/* --- QMP ----------------------------------------------------------------- */

/* The value at @path ("actuator.reason") below @d; NULL if it is absent. */
static inline QObject *vamp_get(QDict *d, const char *path)
{
    g_auto(GStrv) part = g_strsplit(path, ".", -1);
    QObject *o = QOBJECT(d);

    for (int i = 0; o && part[i]; i++) {
        QDict *level = qobject_to(QDict, o);

        g_assert(level);
        o = qdict_get(level, part[i]);
    }
    return o;
}

static inline const char *vamp_str(QDict *d, const char *path)
{
    QString *s = qobject_to(QString, vamp_get(d, path));

    if (!s) {
        g_error("no string '%s' in the answer", path);
    }
    return qstring_get_str(s);
}

static inline double vamp_num(QDict *d, const char *path)
{
    QNum *n = qobject_to(QNum, vamp_get(d, path));

    if (!n) {
        g_error("no number '%s' in the answer", path);
    }
    return qnum_get_double(n);
}

static inline bool vamp_bool(QDict *d, const char *path)
{
    QBool *b = qobject_to(QBool, vamp_get(d, path));

    if (!b) {
        g_error("no boolean '%s' in the answer", path);
    }
    return qbool_get_bool(b);
}

static inline QDict *vamp_query(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'vamp-query' }");
    QDict *info = qdict_get_qdict(rsp, "return");

    g_assert(info);
    qobject_ref(info);
    qobject_unref(rsp);
    return info;
}

/* vamp-query's account of one vCPU, NULL if there is no such vCPU. */
static inline QDict *vamp_vcpu(QDict *info, int index)
{
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qobject_to(QList, vamp_get(info, "vcpus")), e) {
        QDict *v = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(v, "cpu-index") == index) {
            return v;
        }
    }
    return NULL;
}

static inline const char *vamp_class(QDict *info, int index)
{
    return vamp_str(vamp_vcpu(info, index), "class");
}

/* The command failed, with @what in the text. Frees @rsp. */
static inline void vamp_expect_error(QDict *rsp, const char *what)
{
    const char *text;

    if (!qdict_haskey(rsp, "error")) {
        g_error("no error, but expected '%s'", what);
    }
    text = vamp_str(rsp, "error.desc");
    if (!strstr(text, what)) {
        g_error("'%s' is not in the error '%s'", what, text);
    }
    qobject_unref(rsp);
}

static inline void vamp_expect_text(const char *text, const char *what)
{
    if (!strstr(text, what)) {
        g_error("'%s' is not in '%s'", what, text);
    }
}

/* @value: a QMP value, {"ratio": 3} is set(qts, "ratio", "3"). */
static inline QDict *vamp_try_set(QTestState *qts, const char *name,
                                  QObject *value)
{
    return qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                     " 'path': '/objects/vamp0', 'property': %s,"
                     " 'value': %p } }", name, value);
}

static inline void vamp_expect_ok(QDict *rsp)
{
    if (!qdict_haskey(rsp, "return")) {
        g_error("unexpected error: %s", vamp_str(rsp, "error.desc"));
    }
    qobject_unref(rsp);
}

static inline void vamp_set_int(QTestState *qts, const char *name, int64_t n)
{
    vamp_expect_ok(vamp_try_set(qts, name, QOBJECT(qnum_from_int(n))));
}

static inline void vamp_set_str(QTestState *qts, const char *name,
                                const char *text)
{
    vamp_expect_ok(vamp_try_set(qts, name, QOBJECT(qstring_from_str(text))));
}

static inline void vamp_object_del(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'vamp0' } }");
}

static inline void vamp_input(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'vamp-input' }");
}

/* The next VAMP_PHASE_CHANGE is to @phase, for @cause. */
static inline void vamp_expect_phase_event(QTestState *qts, const char *phase,
                                           const char *cause)
{
    QDict *e = qtest_qmp_eventwait_ref(qts, "VAMP_PHASE_CHANGE");

    g_assert_cmpstr(vamp_str(e, "data.id"), ==, "vamp0");
    g_assert_cmpstr(vamp_str(e, "data.phase"), ==, phase);
    g_assert_cmpstr(vamp_str(e, "data.cause"), ==, cause);
    qobject_unref(e);
}

static inline void vamp_forget_events(QTestState *qts)
{
    QDict *e;

    while ((e = qtest_qmp_event_ref(qts, "VAMP_PHASE_CHANGE"))) {
        qobject_unref(e);
    }
}

static inline void vamp_expect_phase(QTestState *qts, const char *phase)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "phase"), ==, phase);
    qobject_unref(info);
}

/* --- the vCPUs' load, under -accel qtest ---------------------------------- */

#define VAMP_MAX_VCPUS 8

/* Stands for what the kernel says of the vCPUs' threads. */
typedef struct VampLoad {
    char *dir;
    uint64_t run_ns[VAMP_MAX_VCPUS];
    uint64_t wait_ns[VAMP_MAX_VCPUS];
} VampLoad;

static inline void vamp_load_write(VampLoad *l)
{
    for (int i = 0; i < VAMP_MAX_VCPUS; i++) {
        g_autofree char *name = g_strdup_printf("%s/%d", l->dir, i);
        g_autofree char *text = g_strdup_printf("%20" PRIu64 " %20" PRIu64
                                                " 1\n", l->run_ns[i],
                                                l->wait_ns[i]);
        int fd = open(name, O_WRONLY | O_CREAT, 0644);

        /* In place: QEMU keeps the file open, as it does with the kernel's. */
        g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
        close(fd);
    }
}

static inline VampLoad *vamp_load_new(QTestState *qts)
{
    VampLoad *l = g_new0(VampLoad, 1);

    l->dir = g_dir_make_tmp("vamp-load-XXXXXX", NULL);
    g_assert(l->dir);
    /* QEMU may run as another user. */
    g_assert_cmpint(chmod(l->dir, 0755), ==, 0);
    vamp_load_write(l);
    vamp_set_str(qts, "x-qtest-schedstat", l->dir);
    return l;
}

static inline void vamp_load_free(VampLoad *l)
{
    for (int i = 0; i < VAMP_MAX_VCPUS; i++) {
        g_autofree char *name = g_strdup_printf("%s/%d", l->dir, i);

        unlink(name);
    }
    rmdir(l->dir);
    g_free(l->dir);
    g_free(l);
}

/* Small: a load is read at any time, but written only between slices. */
#define VAMP_SLICE_MS 8

/*
 * @ms go by, in which vCPU i runs @run[i] percent of the time and waits for a
 * CPU @wait[i] percent (NULL: none).
 */
static inline void vamp_load_run(QTestState *qts, VampLoad *l, int ms, int n,
                                 const int *run, const int *wait)
{
    for (int t = 0; t < ms; t += VAMP_SLICE_MS) {
        int slice = MIN(VAMP_SLICE_MS, ms - t);

        for (int i = 0; i < n; i++) {
            l->run_ns[i] += run[i] * slice * MS / 100;
            l->wait_ns[i] += wait ? wait[i] * slice * MS / 100 : 0;
        }
        vamp_load_write(l);
        qtest_clock_step(qts, slice * MS);
    }
}

/* --- the vCPUs' threads, as the host sees them ---------------------------- */

/* Field @field (man proc_pid_stat) of a thread of QEMU. */
static inline int64_t vamp_thread_stat(QTestState *qts, int tid, int field)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/task/%d/stat",
                                            (int)qtest_pid(qts), tid);
    g_autofree char *text = NULL;
    g_auto(GStrv) part = NULL;

    g_assert(g_file_get_contents(name, &text, NULL, NULL));
    /* The name in parentheses, field 2, may contain spaces. */
    part = g_strsplit(strrchr(text, ')') + 2, " ", -1);
    g_assert_cmpint(g_strv_length(part), >, field - 3);
    return g_ascii_strtoll(part[field - 3], NULL, 10);
}

static inline int vamp_tid(QTestState *qts, int vcpu)
{
    QDict *info = vamp_query(qts);
    QDict *v = vamp_vcpu(info, vcpu);
    int tid;

    g_assert(v);
    tid = vamp_num(v, "thread-id");
    qobject_unref(info);
    return tid;
}

static inline int vamp_nice(QTestState *qts, int tid)
{
    return vamp_thread_stat(qts, tid, 19);
}

/* Whether a nice value can be undone by us, and so by QEMU as our child. */
static inline bool vamp_can_nice(void)
{
    g_autofree char *text = NULL;
    const char *caps;
    struct rlimit limit;

    g_assert(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    caps = strstr(text, "\nCapEff:\t");
    g_assert(caps);
    /* CAP_SYS_NICE is bit 23. */
    return g_ascii_strtoull(caps + strlen("\nCapEff:\t"), NULL, 16) >> 23 & 1 ||
           (getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= 20);
}

#endif /* TESTS_QTEST_VAMP_QTEST_H */
