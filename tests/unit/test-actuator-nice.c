/*
 * Tests of the nice actuator: on real threads of this process
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/config-file.h"
#include "qemu/option.h"
#include "test-actuator-util.h"

static const VampActuatorClass *const nice_class = &vamp_actuator_nice;

/* As the kernel tells it to others, not getpriority(). */
static int nice_of(pid_t tid)
{
    g_autofree char *name = g_strdup_printf("%d/stat", (int)tid);
    g_autofree char *text = get_file("/proc/self/task", name);
    g_auto(GStrv) fields = NULL;

    g_assert_nonnull(text);
    fields = g_strsplit(strrchr(text, ')'), " ", -1);
    return atoi(fields[17]);
}

/* Tests that lower nice values again need the right to do so. */
static bool may_undo(void)
{
    g_autofree char *text = probe_reason(nice_class, &vamp_host_paths, NULL, 0);

    if (strcmp(text, "accepted")) {
        g_test_skip(text);
        return false;
    }
    return true;
}

static VampActuator *open_with(VampScratchThread *t, unsigned ratio)
{
    VampActuator *a = nice_class->open(&vamp_host_paths, 4, ratio,
                                       &error_abort);

    g_assert_true(nice_class->attach(a, 1, vamp_scratch_tid(t), &error_abort));
    return a;
}

static void test_classes(void)
{
    VampScratchThread *t;
    VampActuation now;
    VampActuator *a;
    pid_t tid;
    int base;

    if (!may_undo()) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    base = nice_of(tid);
    a = open_with(t, 3);

    g_assert_cmpint(nice_of(tid), ==, base);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, MIN(base + 5, 19));
    nice_class->describe(a, 1, &now);
    g_assert_true(now.has_nice);
    g_assert_cmpint(now.nice, ==, MIN(base + 5, 19));
    g_assert_false(now.has_weight);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_INTERACTIVE), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, base);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_NEUTRAL), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, base);

    /* The calling thread, which tid 0 would mean, keeps out of it. */
    g_assert_cmpint(nice_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, -ESRCH);
    g_assert_cmpint(nice_class->apply(a, 4, VAMP_CLASS_BACKGROUND), ==,
                    -EINVAL);
    g_assert_cmpint(nice_of(getpid()), ==, base);

    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    nice_class->detach(a, 1);
    g_assert_cmpint(nice_of(tid), ==, base);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, -ESRCH);

    /* And again, with close() to clean up. */
    g_assert_true(nice_class->attach(a, 1, tid, &error_abort));
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    nice_class->close(a);
    g_assert_cmpint(nice_of(tid), ==, base);
    vamp_scratch_stop(t);
}

static void test_base(void)
{
    VampScratchThread *t;
    VampActuator *a;
    pid_t tid;

    if (!may_undo()) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    g_assert_cmpint(setpriority(PRIO_PROCESS, tid, 10), ==, 0);
    a = open_with(t, 3);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, 15);
    nice_class->detach(a, 1);
    g_assert_cmpint(nice_of(tid), ==, 10);
    nice_class->close(a);
    vamp_scratch_stop(t);
}

static void test_set_ratio(void)
{
    VampScratchThread *t;
    VampActuator *a;
    pid_t tid;
    int base;

    if (!may_undo()) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    base = nice_of(tid);
    a = open_with(t, 3);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_true(nice_class->set_ratio(a, 9, &error_abort));
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, MIN(base + 10, 19));

    /* Detached between set_ratio() and apply(): the old value is ours, too. */
    g_assert_true(nice_class->set_ratio(a, 2, &error_abort));
    nice_class->detach(a, 1);
    g_assert_cmpint(nice_of(tid), ==, base);
    nice_class->close(a);
    vamp_scratch_stop(t);
}

static void test_somebody_else(void)
{
    VampScratchThread *t;
    VampActuator *a;
    pid_t tid;
    int base;

    if (!may_undo()) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    base = nice_of(tid);
    a = open_with(t, 3);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(setpriority(PRIO_PROCESS, tid, base + 2), ==, 0);
    /* The end of a phase comes before detach(). */
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_NEUTRAL), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, base + 2);
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    g_assert_cmpint(nice_of(tid), ==, base + 2);
    nice_class->detach(a, 1);
    g_assert_cmpint(nice_of(tid), ==, base + 2);
    nice_class->close(a);
    vamp_scratch_stop(t);
}

static void test_exited(void)
{
    VampScratchThread *t = vamp_scratch_start(&error_abort);
    VampActuator *a = open_with(t, 3);
    VampActuation now;
    int tries;

    vamp_scratch_stop(t);
    /* pthread_join() returns a little before the thread is gone. */
    for (tries = 0; tries < 1000 && nice_class->apply(a, 1, 0) == 0; tries++) {
        g_usleep(1000);
    }
    errno = E2BIG;
    g_assert_cmpint(nice_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, -ESRCH);
    g_assert_cmpint(errno, ==, E2BIG);  /* it runs in signal handlers */
    nice_class->describe(a, 1, &now);
    g_assert_false(now.has_nice);
    nice_class->detach(a, 1);
    nice_class->close(a);
    nice_class->close(NULL);
}

static void test_attach_refuses(void)
{
    VampActuator *a = nice_class->open(&vamp_host_paths, 2, 3, &error_abort);
    VampScratchThread *t = vamp_scratch_start(&error_abort);
    pid_t tid = vamp_scratch_tid(t);
    struct sched_param zero = { 0 };
    Error *err = NULL;

    g_assert_false(nice_class->attach(a, 2, tid, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "vCPU 2 is beyond the last one, 1");
    error_free(err);
    err = NULL;

    g_assert_true(nice_class->attach(a, 0, tid, &error_abort));
    g_assert_false(nice_class->attach(a, 1, tid, &err));
    assert_matches(error_get_pretty(err), "vCPUs 0 and 1 share thread *");
    error_free(err);
    err = NULL;
    nice_class->detach(a, 0);

    g_assert_cmpint(setpriority(PRIO_PROCESS, tid, 19), ==, 0);
    g_assert_false(nice_class->attach(a, 0, tid, &err));
    assert_matches(error_get_pretty(err), "thread * already has nice 19,*");
    error_free(err);
    err = NULL;

    g_assert_cmpint(sched_setscheduler(tid, SCHED_IDLE, &zero), ==, 0);
    g_assert_false(nice_class->attach(a, 0, tid, &err));
    assert_matches(error_get_pretty(err), "thread * policy SCHED_IDLE, *");
    error_free(err);

    nice_class->close(a);
    vamp_scratch_stop(t);
}

static void test_probe_touches_nothing(void)
{
    VampScratchThread *t[2];
    pid_t tids[2];
    int base = nice_of(getpid());
    int i;

    if (!may_undo()) {
        return;
    }
    for (i = 0; i < 2; i++) {
        t[i] = vamp_scratch_start(&error_abort);
        tids[i] = vamp_scratch_tid(t[i]);
    }
    g_assert_cmpint(setpriority(PRIO_PROCESS, tids[1], 7), ==, 0);
    g_assert_true(nice_class->probe(&vamp_host_paths, tids, 2, &error_abort));
    g_assert_cmpint(nice_of(getpid()), ==, base);
    g_assert_cmpint(nice_of(tids[0]), ==, base);
    g_assert_cmpint(nice_of(tids[1]), ==, 7);

    tids[1] = tids[0];
    {
        g_autofree char *text = probe_reason(nice_class, &vamp_host_paths,
                                             tids, 2);
        assert_matches(text, "vCPUs 0 and 1 share thread *");
    }
    vamp_scratch_stop(t[0]);
    vamp_scratch_stop(t[1]);
}

static char *as_nobody(void *opaque)
{
    struct rlimit limit = { *(rlim_t *)opaque, *(rlim_t *)opaque };

    g_assert_cmpint(setpriority(PRIO_PROCESS, 0, 0), ==, 0);
    if (setrlimit(RLIMIT_NICE, &limit) < 0) {
        return g_strdup("no CAP_SYS_RESOURCE");
    }
    become_nobody();
    return probe_reason(nice_class, &vamp_host_paths, NULL, 0);
}

static void test_rlimit(void)
{
    static const struct {
        rlim_t limit;
        const char *want;
    } t[] = {
        { 0, "nice cannot be undone: RLIMIT_NICE is 0 (20 or CAP_SYS_NICE "
             "would be needed to return from nice 5 to nice 0)" },
        { 19, "nice cannot be undone: RLIMIT_NICE is 19 (20 or CAP_SYS_NICE "
              "would be needed to return from nice 5 to nice 0)" },
        { 20, "accepted" },
    };
    int i;

    if (geteuid()) {
        g_test_skip("only root can become somebody with other limits");
        return;
    }
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        rlim_t limit = t[i].limit;
        g_autofree char *text = in_child(as_nobody, &limit);

        if (limit && !strcmp(text, "no CAP_SYS_RESOURCE")) {
            g_test_message("RLIMIT_NICE %d not tried: %s", (int)limit, text);
            continue;
        }
        g_assert_cmpstr(text, ==, t[i].want);
    }
}

static QemuOptsList sandbox_opts = {
    .name = "sandbox",
    .implied_opt_name = "enable",
    .head = QTAILQ_HEAD_INITIALIZER(sandbox_opts.head),
    .desc = {
        { .name = "enable", .type = QEMU_OPT_BOOL },
        { .name = "spawn", .type = QEMU_OPT_STRING },
        { .name = "resourcecontrol", .type = QEMU_OPT_STRING },
        { /* end of list */ }
    },
};

static void test_own_sandbox(void)
{
    static const struct {
        const char *options;
        bool refused;
    } t[] = {
        { "on,resourcecontrol=deny", true },
        { "on,spawn=deny,resourcecontrol=deny", true },
        { "on,resourcecontrol=allow", false },
        { "on", false },
        { "off,resourcecontrol=deny", false },
    };
    int i;

    if (!may_undo()) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        QemuOpts *opts = qemu_opts_parse_noisily(&sandbox_opts, t[i].options,
                                                 true);
        g_autofree char *text = probe_reason(nice_class, &vamp_host_paths,
                                             NULL, 0);

        g_assert_nonnull(opts);
        g_assert_cmpstr(text, ==, t[i].refused ?
                        "nice cannot be used: -sandbox resourcecontrol=deny "
                        "forbids it (resourcecontrol=allow would be needed)" :
                        "accepted");
        qemu_opts_del(opts);
    }
}

/* A filter: @action for system call @nr, whose first argument & mask == 0. */
typedef struct Filter {
    uint32_t nr;
    uint32_t mask;
    uint32_t action;
    unsigned flags;
    const char *sandbox;
} Filter;

static char *under_filter(void *opaque)
{
    const Filter *f = opaque;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, f->nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, f->mask, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, f->action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = { ARRAY_SIZE(code), code };
    char *text;

    if (f->sandbox) {
        qemu_opts_parse_noisily(&sandbox_opts, f->sandbox, true);
    }
    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, f->flags,
                            &prog), >=, 0);
    text = probe_reason(nice_class, &vamp_host_paths, NULL, 0);
    /* No zombie may be left of the child that it was tried in. */
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
    return text;
}

#define FOREIGN "a seccomp filter that is not of QEMU's -sandbox "

static void test_foreign_filter(void)
{
    static const struct {
        Filter filter;
        const char *want;
    } t[] = {
        { { SYS_setpriority, 0, SECCOMP_RET_KILL_PROCESS },
          "nice cannot be used: " FOREIGN "kills the caller (*" },
        { { SYS_setpriority, 0, SECCOMP_RET_KILL_THREAD },
          "nice cannot be used: " FOREIGN "kills the caller (*" },
        { { SYS_setpriority, 0, SECCOMP_RET_TRAP },
          "nice cannot be used: " FOREIGN "kills the caller (*" },
        { { SYS_setpriority, 0, SECCOMP_RET_ERRNO | EPERM },
          "nice cannot be used: nice * is refused (*: Operation not *" },
        { { SYS_setpriority, 0, SECCOMP_RET_USER_NOTIF,
            SECCOMP_FILTER_FLAG_NEW_LISTENER },
          "nice cannot be used: " FOREIGN "did not answer within *" },
        /* fork(), but not pthread_create() */
        { { SYS_clone, CLONE_THREAD, SECCOMP_RET_ERRNO | EPERM },
          "nice cannot be tried safely: " FOREIGN "*not permitted" },
        /* Harmless to us, found out in a child */
        { { SYS_reboot, 0, SECCOMP_RET_KILL_PROCESS }, "accepted" },
        /* QEMU's own filter: not tried in a child, whatever it does */
        { { SYS_clone, CLONE_THREAD, SECCOMP_RET_KILL_PROCESS, 0,
            "on,spawn=deny" }, "accepted" },
    };
    g_autofree char *status = get_file("/proc/self", "status");
    int i;

    if (!may_undo()) {
        return;
    }
    if (!strstr(status, "\nSeccomp:\t0")) {
        g_test_skip("this process is under a seccomp filter already");
        return;
    }
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        Filter filter = t[i].filter;
        g_autofree char *text = in_child(under_filter, &filter);

        assert_matches(text, t[i].want);
    }
}

static void test_libvirt(void)
{
    VampScratchThread *t[2];
    g_autofree char *line = NULL, *all = NULL, *none = NULL, *tid0 = NULL;
    g_autofree char *tid1 = NULL;
    MockHost m;
    pid_t tids[2];
    int i;

    if (!may_undo()) {
        return;
    }
    mock_init(&m);
    line = g_strdup_printf("33 32 0:29 / %s/cpu rw - cgroup cgroup rw,cpu\n",
                           m.dir);
    put_file(m.dir, "mountinfo", line);
    mock_thread(&m, getpid(), "4:cpu,cpuacct:/machine/qemu-1-a/emulator\n");
    put_file(m.dir, "cpu/machine/qemu-1-a/emulator/cgroup.procs", "");
    for (i = 0; i < 2; i++) {
        g_autofree char *group = NULL, *file = NULL, *text = NULL;

        t[i] = vamp_scratch_start(&error_abort);
        tids[i] = vamp_scratch_tid(t[i]);
        group = g_strdup_printf("4:cpu,cpuacct:/machine/qemu-1-a/vcpu%d\n", i);
        mock_thread(&m, tids[i], group);
        file = g_strdup_printf("cpu/machine/qemu-1-a/vcpu%d/cgroup.procs", i);
        put_file(m.dir, file, "");
        g_free(file);
        file = g_strdup_printf("cpu/machine/qemu-1-a/vcpu%d/cpu.shares", i);
        put_file(m.dir, file, "1024\n");
    }
    tid0 = g_strdup_printf("%d\n", (int)tids[0]);
    tid1 = g_strdup_printf("%d\n", (int)tids[1]);
    put_file(m.dir, "cpu/machine/qemu-1-a/vcpu0/tasks", tid0);
    put_file(m.dir, "cpu/machine/qemu-1-a/vcpu1/tasks", tid1);

    all = probe_reason(nice_class, &m.paths, tids, 2);
    assert_matches(all, "nice has no effect: each vCPU thread is alone in its "
                   "control group (thread * in */qemu-1-a/vcpu1), *");

    /* A group with two threads in it: there, nice does count. */
    put_file(m.dir, "cpu/machine/qemu-1-a/vcpu1/tasks", "1\n2\n");
    none = probe_reason(nice_class, &m.paths, tids, 2);
    g_assert_cmpstr(none, ==, "accepted");

    vamp_scratch_stop(t[0]);
    vamp_scratch_stop(t[1]);
    mock_done(&m);
}

/* apply() in a signal handler of the vCPU thread, and in the main thread */
static VampActuator *sig_actuator;
static int sig_count, sig_errno_lost;
static bool sig_stop;

static void on_signal(int sig)
{
    int count = qatomic_fetch_inc(&sig_count);
    int saved_errno = errno;

    errno = E2BIG;
    vamp_actuator_nice.apply(sig_actuator, 1,
                             count % 2 ? VAMP_CLASS_BACKGROUND
                                       : VAMP_CLASS_NEUTRAL);
    if (errno != E2BIG) {
        qatomic_inc(&sig_errno_lost);
    }
    errno = saved_errno;
}

static void *signalled(void *opaque)
{
    qatomic_set((pid_t *)opaque, (pid_t)syscall(SYS_gettid));
    while (!qatomic_read(&sig_stop)) {
        g_free(g_malloc(100));          /* locks that a handler must not take */
    }
    return NULL;
}

static void test_signal(void)
{
    struct sigaction sa = { .sa_handler = on_signal }, old;
    pthread_t thread;
    pid_t shared_tid = 0, tid;
    int i, base, nice;

    if (!may_undo()) {
        return;
    }
    base = nice_of(getpid());
    sig_actuator = nice_class->open(&vamp_host_paths, 4, 3, &error_abort);
    sigaction(SIGUSR2, &sa, &old);
    i = pthread_create(&thread, NULL, signalled, &shared_tid);
    g_assert_cmpint(i, ==, 0);
    while (!(tid = qatomic_read(&shared_tid))) {
        g_usleep(100);
    }
    g_assert_true(nice_class->attach(sig_actuator, 1, tid, &error_abort));
    for (i = 0; i < 5000; i++) {
        pthread_kill(thread, SIGUSR2);
        g_assert_cmpint(nice_class->apply(sig_actuator, 1, i % 3), ==, 0);
        nice_class->set_ratio(sig_actuator, 3, &error_abort);
    }
    nice = nice_of(tid);
    g_assert_true(nice == base || nice == MIN(base + 5, 19));
    g_assert_cmpint(qatomic_read(&sig_count), >, 0);
    g_assert_cmpint(qatomic_read(&sig_errno_lost), ==, 0);
    qatomic_set(&sig_stop, true);
    pthread_join(thread, NULL);
    sigaction(SIGUSR2, &old, NULL);
    nice_class->close(sig_actuator);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_add_opts(&sandbox_opts);

    g_test_add_func("/vamp/nice/classes", test_classes);
    g_test_add_func("/vamp/nice/base", test_base);
    g_test_add_func("/vamp/nice/set-ratio", test_set_ratio);
    g_test_add_func("/vamp/nice/somebody-else", test_somebody_else);
    g_test_add_func("/vamp/nice/exited", test_exited);
    g_test_add_func("/vamp/nice/attach-refuses", test_attach_refuses);
    g_test_add_func("/vamp/nice/probe-touches-nothing",
                    test_probe_touches_nothing);
    g_test_add_func("/vamp/nice/rlimit", test_rlimit);
    g_test_add_func("/vamp/nice/own-sandbox", test_own_sandbox);
    g_test_add_func("/vamp/nice/foreign-filter", test_foreign_filter);
    g_test_add_func("/vamp/nice/libvirt", test_libvirt);
    g_test_add_func("/vamp/nice/signal", test_signal);
    return g_test_run();
}
