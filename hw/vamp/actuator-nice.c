/*
 * VAMP actuator "nice": background vCPU threads get a higher nice value
 *
 * Needs no privilege to begin with, but one to end: Linux lets a thread return
 * from nice 5 to nice 0 only with CAP_SYS_NICE or RLIMIT_NICE >= 20.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/vamp-cgroup.h"
#include "hw/vamp/probe-util.h"

#define NICE_MIN    (-20)

typedef struct NiceVcpu {
    /* Written by the main thread, read by apply(): atomic accesses. */
    pid_t tid;                  /* 0: no thread */
    int base;
    int background;
    uint64_t ours;              /* bit NICE - NICE_MIN: value we may have set */

    /* Main thread only. */
    uint64_t start;             /* when the thread began: tids are reused */
} NiceVcpu;

typedef struct VampActuatorNice {
    VampActuator parent;
    char *proc;
    unsigned ratio;
    unsigned max_vcpus;
    NiceVcpu vcpu[];
} VampActuatorNice;

static int background_nice(unsigned ratio, int base)
{
    return base + vamp_ratio_to_nice_step(ratio, base);
}

/* The bare system call: it is called in signal handlers. */
static int set_nice(pid_t tid, int nice)
{
    return syscall(SYS_setpriority, PRIO_PROCESS, tid, nice) < 0 ? -errno : 0;
}

/* As above. glibc's getpriority() needs errno to tell -1 from an error. */
static int get_nice(pid_t tid, int *nice)
{
    /* The kernel's answer is 1..40, so that it is never negative. */
    int ret = syscall(SYS_getpriority, PRIO_PROCESS, tid);

    if (ret < 0) {
        return -errno;
    }
    *nice = 20 - ret;
    return 0;
}

static bool nice_is_ours(const NiceVcpu *v, int nice)
{
    return qatomic_read(&v->ours) & 1ULL << (nice - NICE_MIN);
}

/* Field 22 of the thread's stat; 0 if it is not a thread of ours (any more). */
static uint64_t thread_start(const char *proc, pid_t tid)
{
    g_autofree char *name = g_strdup_printf("%s/self/task/%d/stat", proc,
                                            (int)tid);
    g_autofree char *text = NULL;
    g_auto(GStrv) fields = NULL;
    const char *rest;

    if (!g_file_get_contents(name, &text, NULL, NULL)) {
        return 0;
    }
    /* The second field, "(name)", may contain anything. */
    rest = strrchr(text, ')');
    if (!rest) {
        return 0;
    }
    fields = g_strsplit(rest, " ", -1);
    return g_strv_length(fields) > 20 ? g_ascii_strtoull(fields[20], NULL, 10)
                                      : 0;
}

/* In a forked child: see vamp_seccomp_check(). */
static void nice_calls(void)
{
    int nice = getpriority(PRIO_PROCESS, 0);

    set_nice(0, background_nice(VAMP_RATIO_DEFAULT, nice));
    set_nice(0, nice);
}

static void nice_undo_error(int err, int from, int to, Error **errp)
{
    struct rlimit limit;

    /* EACCES is what the kernel says for the limit; filters say EPERM. */
    if (err == EACCES && getrlimit(RLIMIT_NICE, &limit) == 0 &&
        limit.rlim_cur < 20 - to) {
        error_setg(errp, "nice cannot be undone: RLIMIT_NICE is %llu (%d or "
                   "CAP_SYS_NICE would be needed to return from nice %d to "
                   "nice %d)", (unsigned long long)limit.rlim_cur, 20 - to,
                   from, to);
    } else {
        error_setg_errno(errp, err, "nice cannot be undone: the way back from "
                         "nice %d to nice %d is refused (a security module or "
                         "seccomp filter would have to allow setpriority)",
                         from, to);
    }
}

static bool nice_try(pid_t scratch, int base, Error **errp)
{
    int background = background_nice(VAMP_RATIO_DEFAULT, base);
    int now, err;

    if (!vamp_thread_nice(scratch, &now, errp)) {
        return false;
    }
    err = set_nice(scratch, background);
    if (err < 0 && background < now) {
        /*
         * Some manager has raised the vCPU threads above our other ones. What
         * is missing for this step is missing for the vCPU's way back, too.
         */
        nice_undo_error(-err, background, base, errp);
        return false;
    } else if (err < 0) {
        error_setg_errno(errp, -err, "nice cannot be used: nice %d is refused "
                         "(a security module or seccomp filter would have to "
                         "allow setpriority)", background);
        return false;
    }
    err = set_nice(scratch, base);
    if (err < 0) {
        nice_undo_error(-err, background, base, errp);
        return false;
    }
    return true;
}

bool vamp_nice_matters(const VampHostPaths *paths, const pid_t *tids,
                       unsigned n, Error **errp)
{
    g_autoptr(VampCgroups) cg = vamp_cgroups_new(paths, "cpu", NULL);
    g_autofree char *main_path = NULL, *main_dir = NULL;
    unsigned i;

    main_path = cg ? vamp_cgroup_path(cg, 0, getpid(), NULL) : NULL;
    main_dir = main_path ? vamp_cgroup_dir(cg, main_path, NULL) : NULL;
    for (i = 0; i < n; i++) {
        g_autofree char *path = NULL, *dir = NULL;

        path = cg ? vamp_cgroup_path(cg, 0, tids[i], NULL) : NULL;
        dir = path ? vamp_cgroup_dir(cg, path, NULL) : NULL;
        /*
         * A main thread whose group is not visible here is in another one.
         * What cannot be seen of a vCPU is taken to be as usual.
         */
        if (!dir || !vamp_cgroup_is_own(cg, dir, main_dir ?: "", tids[i])) {
            return true;
        }
        if (i == n - 1) {
            error_setg(errp, "nice has no effect: each vCPU thread is alone in "
                       "its control group (thread %d in %s), and nice counts "
                       "within a group only (actuator cgroup would "
                       "be needed)", (int)tids[i], dir);
            return false;
        }
    }
    return true;
}

static bool nice_probe(const VampHostPaths *paths, const pid_t *tids,
                       unsigned n, Error **errp)
{
    VampScratchThread *scratch;
    uint64_t tried = 0;
    unsigned i;
    bool ok = true;

    if (!vamp_threads_check(tids, n, errp) ||
        !vamp_seccomp_check(paths, "nice", nice_calls, errp) ||
        !vamp_nice_matters(paths, tids, n, errp)) {
        return false;
    }

    scratch = vamp_scratch_start(errp);
    if (!scratch) {
        return false;
    }
    for (i = 0; ok && i < MAX(n, 1); i++) {
        int base;

        /* No vCPU yet: they will have the main thread's nice value. */
        ok = vamp_thread_nice(n ? tids[i] : getpid(), &base, errp);
        if (ok && !(tried & 1ULL << (base - NICE_MIN))) {
            tried |= 1ULL << (base - NICE_MIN);
            ok = nice_try(vamp_scratch_tid(scratch), base, errp);
        }
    }
    vamp_scratch_stop(scratch);
    return ok;
}

static VampActuator *nice_open(const VampHostPaths *paths, unsigned max_vcpus,
                               unsigned ratio, Error **errp)
{
    VampActuatorNice *a = g_malloc0(sizeof(*a) +
                                    max_vcpus * sizeof(a->vcpu[0]));

    a->parent.klass = &vamp_actuator_nice;
    a->proc = g_strdup(paths->proc);
    a->ratio = ratio;
    a->max_vcpus = max_vcpus;
    return &a->parent;
}

/* Sets what background means for @v. */
static void nice_set_background(VampActuatorNice *a, NiceVcpu *v)
{
    int background = background_nice(a->ratio, v->base);

    /* What apply() sets must be known as ours by then. */
    qatomic_set(&v->ours, v->ours | 1ULL << (background - NICE_MIN));
    /* The bit is seen before the value. */
    smp_wmb();
    qatomic_set(&v->background, background);
}

static bool nice_attach(VampActuator *act, unsigned vcpu, pid_t tid,
                        Error **errp)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);
    NiceVcpu *v;
    unsigned i;
    int base;

    if (vcpu >= a->max_vcpus) {
        error_setg(errp, "vCPU %u is beyond the last one, %u", vcpu,
                   a->max_vcpus - 1);
        return false;
    }
    v = &a->vcpu[vcpu];
    if (v->tid) {
        error_setg(errp, "vCPU %u already has thread %d", vcpu, (int)v->tid);
        return false;
    }
    for (i = 0; i < a->max_vcpus; i++) {
        pid_t pair[] = { a->vcpu[i].tid, tid };

        if (a->vcpu[i].tid == tid) {
            return vamp_threads_check(pair, 2, errp);
        }
    }
    if (!vamp_thread_check(tid, errp) || !vamp_thread_nice(tid, &base, errp)) {
        return false;
    }
    if (base == VAMP_NICE_MAX) {
        error_setg(errp, "thread %d of vCPU %u already has nice %d, so nothing "
                   "can be further back (18 or less would be needed)",
                   (int)tid, vcpu, base);
        return false;
    }

    v->base = base;
    v->ours = 1ULL << (base - NICE_MIN);
    v->start = thread_start(a->proc, tid);
    nice_set_background(a, v);
    qatomic_store_release(&v->tid, tid);
    return true;
}

static void nice_detach(VampActuator *act, unsigned vcpu)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);
    NiceVcpu *v;
    pid_t tid;
    int nice, err;

    if (vcpu >= a->max_vcpus || !a->vcpu[vcpu].tid) {
        return;
    }
    v = &a->vcpu[vcpu];
    tid = v->tid;
    qatomic_set(&v->tid, 0);

    if (!v->start || thread_start(a->proc, tid) != v->start ||
        !vamp_thread_nice(tid, &nice, NULL)) {
        return;                 /* it has exited */
    }
    if (nice == v->base || !nice_is_ours(v, nice)) {
        return;                 /* somebody else's choice stays */
    }
    err = set_nice(tid, v->base);
    if (err < 0 && err != -ESRCH) {
        Error *local_err = NULL;

        nice_undo_error(-err, nice, v->base, &local_err);
        warn_reportf_err(local_err, "vamp: vCPU %u: ", vcpu);
    }
}

static int nice_apply(VampActuator *act, unsigned vcpu, enum vamp_class vclass)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);
    int saved_errno = errno;
    NiceVcpu *v;
    pid_t tid;
    int now, ret;

    if (vcpu >= a->max_vcpus) {
        return -EINVAL;
    }
    v = &a->vcpu[vcpu];
    tid = qatomic_load_acquire(&v->tid);
    if (!tid) {
        return -ESRCH;          /* and 0 would mean the caller */
    }
    ret = get_nice(tid, &now);
    /* Somebody else's choice stays. */
    if (ret == 0 && nice_is_ours(v, now)) {
        ret = set_nice(tid, vclass == VAMP_CLASS_BACKGROUND ?
                            qatomic_read(&v->background) :
                            qatomic_read(&v->base));
    }
    errno = saved_errno;        /* of the code that the signal interrupted */
    return ret;
}

static bool nice_set_ratio(VampActuator *act, unsigned ratio, Error **errp)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);
    unsigned i;

    a->ratio = ratio;
    for (i = 0; i < a->max_vcpus; i++) {
        if (a->vcpu[i].tid) {
            nice_set_background(a, &a->vcpu[i]);
        }
    }
    return true;
}

static void nice_describe(VampActuator *act, unsigned vcpu, VampActuation *out)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);

    memset(out, 0, sizeof(*out));
    if (vcpu < a->max_vcpus && a->vcpu[vcpu].tid) {
        out->has_nice = vamp_thread_nice(a->vcpu[vcpu].tid, &out->nice, NULL);
    }
}

static void nice_close(VampActuator *act)
{
    VampActuatorNice *a = container_of(act, VampActuatorNice, parent);
    unsigned i;

    if (!act) {
        return;
    }
    for (i = 0; i < a->max_vcpus; i++) {
        nice_detach(act, i);
    }
    g_free(a->proc);
    g_free(a);
}

const VampActuatorClass vamp_actuator_nice = {
    .name = "nice",
    .probe = nice_probe,
    .open = nice_open,
    .attach = nice_attach,
    .detach = nice_detach,
    .apply = nice_apply,
    .set_ratio = nice_set_ratio,
    .describe = nice_describe,
    .close = nice_close,
};
