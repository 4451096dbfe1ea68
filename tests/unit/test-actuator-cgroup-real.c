/*
 * Tests of the cgroup actuator on the kernel's own groups
 *
 * v1 or v2, whichever has the cpu controller here. Needs the right to make
 * groups; skips otherwise, with the reason. For the other version, run the same
 * binary as root in a guest.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "test-actuator-real.h"

static const VampActuatorClass *const cgroup_class = &vamp_actuator_cgroup;

static void test_real_probe(void)
{
    g_autofree char *name = NULL;
    VampScratchThread *t;
    pid_t tid;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    g_test_message("cgroup v%u, %s", r.cg->version, r.home);
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    g_assert_true(cgroup_class->probe(&vamp_host_paths, NULL, 0, &error_abort));
    g_assert_true(cgroup_class->probe(&vamp_host_paths, &tid, 1, &error_abort));
    assert_group(&r, tid, r.dir);

    /* A leftover of a process that had this pid does not disturb. */
    name = g_strdup_printf("%s/vamp-%d-probe", r.dir, (int)getpid());
    g_assert_cmpint(mkdir(name, 0755), ==, 0);
    g_assert_true(cgroup_class->probe(&vamp_host_paths, &tid, 1, &error_abort));
    vamp_scratch_stop(t);
    real_done(&r);
}

static void test_real_autogroup(void)
{
    g_autoptr(VampCgroups) cg = vamp_cgroups_new(&vamp_host_paths, "cpu", NULL);
    g_autofree char *on = get_file("/proc/sys/kernel",
                                   "sched_autogroup_enabled");
    g_autofree char *path = NULL, *dir = NULL, *text = NULL, *name = NULL;

    path = cg ? vamp_cgroup_path(cg, 0, getpid(), NULL) : NULL;
    dir = path ? vamp_cgroup_dir(cg, path, NULL) : NULL;
    if (!dir || !vamp_cgroup_is_root(cg, dir) || g_strcmp0(on, "1")) {
        g_test_skip("this process is not in the root group, or no autogroup");
        return;
    }
    text = probe_reason(cgroup_class, &vamp_host_paths, NULL, 0);
    assert_matches(text, "the vCPU threads are in the root group *");
    /* Not has_vamp_group(): others may be at work in the root group. */
    name = g_strdup_printf("vamp-%d-probe", (int)getpid());
    g_assert_false(vamp_cgroup_has(dir, name));
}

static void test_real_attach(void)
{
    VampScratchThread *t[2];
    pid_t tids[2];
    g_autofree char *dir0 = NULL, *dir1 = NULL;
    unsigned one, nice5;
    VampActuation now;
    VampActuator *a;
    Error *err = NULL;
    Real r;
    int i;

    if (!real_init(&r)) {
        return;
    }
    one = r.cg->version == 2 ? 100 : 1024;
    nice5 = r.cg->version == 2 ? 33 : 335;
    for (i = 0; i < 2; i++) {
        t[i] = vamp_scratch_start(&error_abort);
        tids[i] = vamp_scratch_tid(t[i]);
        g_assert_cmpint(setpriority(PRIO_PROCESS, tids[i], i * 5), ==, 0);
    }
    dir0 = g_strdup_printf("%s/vamp-%d-vcpu0", r.dir, (int)getpid());
    dir1 = g_strdup_printf("%s/vamp-%d-vcpu1", r.dir, (int)getpid());

    a = cgroup_class->open(&vamp_host_paths, 2, 3, &error_abort);
    g_assert_false(has_vamp_group(r.dir));
    g_assert_true(cgroup_class->attach(a, 0, tids[0], &error_abort));
    g_assert_true(cgroup_class->attach(a, 1, tids[1], &error_abort));
    g_assert_false(cgroup_class->attach(a, 1, tids[1], &err));
    error_free(err);
    assert_group(&r, tids[0], dir0);
    assert_group(&r, tids[1], dir1);
    assert_group(&r, getpid(), r.dir);
    assert_weight(&r, dir0, one);
    assert_weight(&r, dir1, nice5);

    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_INTERACTIVE), ==, 0);
    assert_weight(&r, dir0, one / 3 * 3);
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, 0);
    assert_weight(&r, dir0, one / 3);
    g_assert_true(cgroup_class->set_ratio(a, 100, &error_abort));
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, 0);
    assert_weight(&r, dir0, one / 100);
    cgroup_class->describe(a, 0, &now);
    g_assert_true(now.has_weight && now.weight == one / 100);
    g_assert_true(now.has_nice && now.nice == 0);
    g_assert_true(g_str_has_suffix(dir0, now.cgroup));
    g_free(now.cgroup);
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_NEUTRAL), ==, 0);
    assert_weight(&r, dir0, one);

    cgroup_class->detach(a, 0);
    assert_group(&r, tids[0], r.dir);
    assert_group(&r, tids[1], dir1);
    g_assert_cmpint(access(dir0, F_OK), !=, 0);
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_NEUTRAL), ==, -ESRCH);
    g_assert_true(cgroup_class->attach(a, 0, tids[0], &error_abort));
    cgroup_class->close(a);
    assert_group(&r, tids[0], r.dir);
    assert_group(&r, tids[1], r.dir);
    vamp_scratch_stop(t[0]);
    vamp_scratch_stop(t[1]);
    real_done(&r);
}

/* Thread that starts another one, as a vCPU thread may; both wait for @stop. */
typedef struct Starter {
    pthread_t thread;
    VampScratchThread *child;
    pid_t tid;
    bool go, stop;
} Starter;

static void *starter_main(void *opaque)
{
    Starter *s = opaque;

    qatomic_set(&s->tid, (pid_t)syscall(SYS_gettid));
    while (!qatomic_read(&s->go)) {
        g_usleep(100);
    }
    qatomic_set(&s->child, vamp_scratch_start(&error_abort));
    while (!qatomic_read(&s->stop)) {
        g_usleep(100);
    }
    return NULL;
}

static void test_real_stray(void)
{
    Starter s = { 0 };
    VampActuator *a;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    g_assert_cmpint(pthread_create(&s.thread, NULL, starter_main, &s), ==, 0);
    while (!qatomic_read(&s.tid)) {
        g_usleep(100);
    }
    a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);
    g_assert_true(cgroup_class->attach(a, 0, s.tid, &error_abort));
    qatomic_set(&s.go, true);
    while (!qatomic_read(&s.child)) {
        g_usleep(100);
    }
    g_assert_true(has_vamp_group(r.dir));
    qatomic_set(&s.stop, true);
    pthread_join(s.thread, NULL);

    /* The vCPU thread is gone, what it started is not. */
    cgroup_class->close(a);
    assert_group(&r, vamp_scratch_tid(s.child), r.dir);
    vamp_scratch_stop(s.child);
    real_done(&r);
}

static void test_real_exited(void)
{
    VampScratchThread *t;
    VampActuator *a;
    Real r;
    int i;

    if (!real_init(&r)) {
        return;
    }
    a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);
    for (i = 0; i < 50; i++) {
        t = vamp_scratch_start(&error_abort);
        g_assert_true(cgroup_class->attach(a, 0, vamp_scratch_tid(t),
                                           &error_abort));
        vamp_scratch_stop(t);
        cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND);
        cgroup_class->detach(a, 0);
        g_assert_false(has_vamp_group(r.dir));
    }
    cgroup_class->close(a);
    real_done(&r);
}

static void *rmdir_soon(void *dir)
{
    g_usleep(3000);
    rmdir(dir);
    return NULL;
}

/*
 * An exiting thread keeps its group busy for a moment; as that moment cannot
 * be had at will, a group in it does the same here.
 */
static void test_real_lingering(void)
{
    g_autofree char *busy = NULL;
    VampScratchThread *t;
    pthread_t thread;
    VampActuator *a;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);
    g_assert_true(cgroup_class->attach(a, 0, vamp_scratch_tid(t),
                                       &error_abort));
    busy = g_strdup_printf("%s/vamp-%d-vcpu0/busy", r.dir, (int)getpid());
    g_assert_cmpint(mkdir(busy, 0755), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, rmdir_soon, busy), ==, 0);
    cgroup_class->close(a);
    g_assert_false(has_vamp_group(r.dir));
    pthread_join(thread, NULL);
    vamp_scratch_stop(t);
    real_done(&r);
}

/* A group like libvirt's: beside the main thread's, one thread in it. */
static char *make_own(Real *r, const char *name, pid_t tid)
{
    char *dir = g_strdup_printf("%s/%s", r->dir, name);
    g_autofree char *text = g_strdup_printf("%d", (int)tid);

    g_assert_cmpint(mkdir(dir, 0755), ==, 0);
    if (r->cg->version == 2) {
        real_write(dir, "cgroup.type", "threaded");
        real_write(r->dir, "cgroup.subtree_control", "+cpu");
    }
    real_write(dir, r->cg->weight_file, "600");
    real_write(dir, r->cg->threads_file, text);
    return dir;
}

static void remove_own(Real *r, const char *dir, pid_t tid)
{
    g_autofree char *text = g_strdup_printf("%d", (int)tid);

    real_write(r->dir, r->cg->threads_file, text);
    g_assert_cmpint(rmdir(dir), ==, 0);
    if (r->cg->version == 2) {
        real_write(r->dir, "cgroup.subtree_control", "-cpu");
    }
}

static void test_real_own(void)
{
    VampScratchThread *t;
    g_autofree char *dir = NULL, *text = NULL;
    VampActuator *a;
    pid_t tid;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    dir = make_own(&r, "vcpu0", tid);

    g_assert_true(cgroup_class->probe(&vamp_host_paths, &tid, 1, &error_abort));
    text = probe_reason(&vamp_actuator_nice, &vamp_host_paths, &tid, 1);
    assert_matches(text, "nice has no effect: *");
    a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);
    g_assert_true(cgroup_class->attach(a, 0, tid, &error_abort));
    g_assert_false(has_vamp_group(r.dir));
    assert_group(&r, tid, dir);
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, 0);
    assert_weight(&r, dir, 200);
    cgroup_class->detach(a, 0);
    assert_weight(&r, dir, 600);

    g_assert_true(cgroup_class->attach(a, 0, tid, &error_abort));
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, 0);
    real_write(dir, r.cg->weight_file, "77");
    cgroup_class->detach(a, 0);
    assert_weight(&r, dir, 77);

    /* The group is removed under us. */
    g_assert_true(cgroup_class->attach(a, 0, tid, &error_abort));
    remove_own(&r, dir, tid);
    errno = E2BIG;
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==,
                    -ENODEV);
    g_assert_cmpint(errno, ==, E2BIG);  /* it runs in signal handlers */
    cgroup_class->close(a);
    vamp_scratch_stop(t);
    real_done(&r);
}

/* cpu.idle exists since Linux 5.15, and makes weight writes fail. */
static void test_real_idle(void)
{
    VampScratchThread *t;
    g_autofree char *dir = NULL, *text = NULL;
    pid_t tid;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    t = vamp_scratch_start(&error_abort);
    tid = vamp_scratch_tid(t);
    dir = make_own(&r, "vcpu0", tid);
    if (vamp_cgroup_write(dir, "cpu.idle", "1") < 0) {
        g_test_skip("no cpu.idle here");
    } else {
        text = probe_reason(cgroup_class, &vamp_host_paths, &tid, 1);
        assert_matches(text, "*/vcpu0/cpu.idle is 1: *");
    }
    remove_own(&r, dir, tid);
    vamp_scratch_stop(t);
    real_done(&r);
}

static char *probe_as_nobody(void *opaque)
{
    become_nobody();
    return probe_reason(cgroup_class, &vamp_host_paths, NULL, 0);
}

static char *probe_read_only(void *opaque)
{
    Real *r = opaque;

    if (unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(r->dir, r->dir, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, r->dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY,
              NULL) < 0) {
        return g_strdup_printf("skip: %s", strerror(errno));
    }
    return probe_reason(cgroup_class, &vamp_host_paths, NULL, 0);
}

/* As systemd and others hand a group over to a user. */
static void delegate(const char *dir, uid_t uid)
{
    static const char *const files[] = {
        ".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(files); i++) {
        g_autofree char *name = g_strdup_printf("%s/%s", dir, files[i]);

        if (chown(name, uid, -1) < 0) {
            g_assert_cmpint(errno, ==, ENOENT);     /* the other version's */
        }
    }
}

static void test_real_denied(void)
{
    Real r;

    if (!real_init(&r)) {
        return;
    }
    if (geteuid() == 0) {
        g_autofree char *nobody = in_child(probe_as_nobody, NULL);
        g_autofree char *ro = in_child(probe_read_only, &r);
        g_autofree char *delegated = NULL;

        delegate(r.dir, 65534);
        delegated = in_child(probe_as_nobody, NULL);
        g_assert_cmpstr(delegated, ==, "accepted");

        assert_matches(nobody, "cannot * user 65534 may not (the group would "
                       "have to be delegated to that user)");
        if (g_str_has_prefix(ro, "skip: ")) {
            g_test_message("read-only not tried: %s", ro);
        } else {
            assert_matches(ro, "cannot * it is mounted read-only *");
        }
    } else {
        g_test_skip("only root can become somebody with fewer rights");
    }
    real_done(&r);
}

static char *attach_and_die(void *opaque)
{
    VampScratchThread *t = vamp_scratch_start(&error_abort);
    VampActuator *a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);

    g_assert_true(cgroup_class->attach(a, 0, vamp_scratch_tid(t),
                                       &error_abort));
    kill(getpid(), SIGKILL);
    return NULL;
}

static void test_real_killed(void)
{
    g_autofree char *text = NULL;
    VampActuator *a;
    Real r;

    if (!real_init(&r)) {
        return;
    }
    text = in_child(attach_and_die, NULL);
    g_assert_cmpstr(text, ==, "killed by signal 9");
    g_assert_true(has_vamp_group(r.dir));
    a = cgroup_class->open(&vamp_host_paths, 1, 3, &error_abort);
    g_assert_false(has_vamp_group(r.dir));
    cgroup_class->close(a);
    if (r.cg->version == 2) {
        real_write(r.dir, "cgroup.subtree_control", "-cpu");
    }
    real_done(&r);
}

/* v2: two users of one group; the one that leaves last is not the first. */
static void test_real_two(void)
{
    VampScratchThread *t[2];
    VampActuator *a[2];
    Real r;
    int i;

    if (!real_init(&r)) {
        return;
    }
    for (i = 0; i < 2; i++) {
        t[i] = vamp_scratch_start(&error_abort);
        a[i] = cgroup_class->open(&vamp_host_paths, 2, 3, &error_abort);
        g_assert_true(cgroup_class->attach(a[i], i, vamp_scratch_tid(t[i]),
                                           &error_abort));
    }
    cgroup_class->close(a[0]);
    g_assert_cmpint(cgroup_class->apply(a[1], 1, VAMP_CLASS_BACKGROUND), ==, 0);
    cgroup_class->close(a[1]);
    if (r.cg->version == 2) {
        /* Nobody knows any more who needed it; without groups, no matter. */
        real_write(r.dir, "cgroup.subtree_control", "-cpu");
    }
    vamp_scratch_stop(t[0]);
    vamp_scratch_stop(t[1]);
    real_done(&r);
}

/* Three hogs on one CPU: two vCPUs and a thread that stays outside. */
typedef struct Hog {
    pthread_t thread;
    pid_t tid;
    bool stop;
} Hog;

static void *hog_main(void *opaque)
{
    Hog *h = opaque;
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
    qatomic_set(&h->tid, (pid_t)syscall(SYS_gettid));
    while (!qatomic_read(&h->stop)) {
        /* burn */
    }
    return NULL;
}

static double hog_time(Hog *h)
{
    struct timespec ts;
    clockid_t clock;

    pthread_getcpuclockid(h->thread, &clock);
    clock_gettime(clock, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void hog_ratios(Hog *h, double *inside, double *outside)
{
    double t[3];
    int i;

    g_usleep(100000);
    for (i = 0; i < 3; i++) {
        t[i] = hog_time(&h[i]);
    }
    g_usleep(1500000);
    for (i = 0; i < 3; i++) {
        t[i] = hog_time(&h[i]) - t[i];
    }
    *inside = t[0] / t[1];
    *outside = t[0] / t[2];
}

/*
 * What is measured, not what is promised: the weights are exact, and each of
 * the three gets some 500 ms here (within 5 % on a quiet machine). A fault is
 * a factor of 2 or more; a full host or a guest's clock is not a fault.
 */
static void expect_ratio(double ratio, double expected)
{
    g_assert_cmpfloat(ratio, >, expected / 1.4);
    g_assert_cmpfloat(ratio, <, expected * 1.4);
}

static void test_real_share(void)
{
    double inside, outside;
    Hog h[3] = { 0 };
    VampActuator *a;
    Real r;
    int i;

    if (!real_init(&r)) {
        return;
    }
    a = cgroup_class->open(&vamp_host_paths, 2, 3, &error_abort);
    for (i = 0; i < 3; i++) {
        g_assert_cmpint(pthread_create(&h[i].thread, NULL, hog_main, &h[i]), ==,
                        0);
        while (!qatomic_read(&h[i].tid)) {
            g_usleep(100);
        }
        if (i < 2) {
            g_assert_true(cgroup_class->attach(a, i, h[i].tid, &error_abort));
        }
    }
    hog_ratios(h, &inside, &outside);
    g_test_message("neutral: vCPU 0 to 1 %.3f, to a thread outside %.3f",
                   inside, outside);
    expect_ratio(inside, 1);
    expect_ratio(outside, 1);

    cgroup_class->apply(a, 0, VAMP_CLASS_INTERACTIVE);
    cgroup_class->apply(a, 1, VAMP_CLASS_BACKGROUND);
    hog_ratios(h, &inside, &outside);
    g_test_message("interactive to background %.3f, to a thread outside %.3f",
                   inside, outside);
    expect_ratio(inside, 3);
    expect_ratio(outside, 1);

    cgroup_class->close(a);
    for (i = 0; i < 3; i++) {
        qatomic_set(&h[i].stop, true);
        pthread_join(h[i].thread, NULL);
    }
    real_done(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/vamp/cgroup/real/probe", test_real_probe);
    g_test_add_func("/vamp/cgroup/real/autogroup", test_real_autogroup);
    g_test_add_func("/vamp/cgroup/real/attach", test_real_attach);
    g_test_add_func("/vamp/cgroup/real/stray", test_real_stray);
    g_test_add_func("/vamp/cgroup/real/exited", test_real_exited);
    g_test_add_func("/vamp/cgroup/real/lingering", test_real_lingering);
    g_test_add_func("/vamp/cgroup/real/own", test_real_own);
    g_test_add_func("/vamp/cgroup/real/idle", test_real_idle);
    g_test_add_func("/vamp/cgroup/real/denied", test_real_denied);
    g_test_add_func("/vamp/cgroup/real/killed", test_real_killed);
    g_test_add_func("/vamp/cgroup/real/two", test_real_two);
    g_test_add_func("/vamp/cgroup/real/share", test_real_share);
    return g_test_run();
}
