/*
 * QTest: the osnet-cpumap object, and others who place threads
 *
 * Claim: it does not fight somebody who has pinned a thread, nor a cpuset, and
 * says what is in its way; two VMs never have one CPU.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "vamp-cpumap-qtest.h"

static void set_affinity(int tid, int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    g_assert_cmpint(sched_setaffinity(tid, sizeof(set), &set), ==, 0);
}

/* As libvirt does it: after the start, from outside. */
static void test_foreign(void)
{
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d", cpu_a, cpu_b);
    g_autofree char *again = pairs(0, cpu_b, 1, cpu_a);
    int tid = tid_of(qts, 1);

    set_affinity(tid, cpu_a);
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    /* vCPU 0 would have to move, vCPU 1 is there already. */
    vamp_expect_ok(try_set(qts, again, ""));
    set_affinity(tid_of(qts, 0), cpu_a);
    g_free(again);
    again = pairs(0, cpu_b, 1, cpu_a);
    vamp_expect_error(try_set(qts, again, ""), "libvirt's vcpupin");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    object_del(qts, "osnet-cpumap");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    qtest_quit(qts);
}

static void widen(int tid)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu_a, &set);
    CPU_SET(cpu_b, &set);
    g_assert_cmpint(sched_setaffinity(tid, sizeof(set), &set), ==, 0);
}

/*
 * As libvirt does it with cgroup v1: QEMU is started stopped, and a move to
 * another cpuset undoes the affinity. Once the VM has run it is somebody's
 * wish.
 */
static void test_started(void)
{
    QTestState *qts = start("-S -osnet_cpumap map=0-%d,1-%d", cpu_a, cpu_b);
    int tid = tid_of(qts, 1);

    widen(tid);
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    expect_on(qts, tid, cpu_b);
    expect_thread(qts, tid, "vcpu", true, "as mapped");
    widen(tid);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    qtest_quit(qts);
}

static char *cpuset_group(void)
{
    static const char *const tops[] = { "/sys/fs/cgroup/cpuset", NULL };
    g_autofree char *group = g_strdup_printf("%s/vamp-test-%d", tops[0],
                                             (int)getpid());

    return g_mkdir(group, 0755) == 0 ? g_steal_pointer(&group) : NULL;
}

static void group_put(const char *group, const char *file, const char *text)
{
    g_autofree char *path = g_strdup_printf("%s/%s", group, file);
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

/* libvirt's vcpupin with control groups: one thread has a cpuset of its own. */
static void test_cpuset(void)
{
    g_autofree char *group = cpuset_group();
    g_autofree char *a = g_strdup_printf("%d", cpu_a);
    g_autofree char *map = pairs(0, cpu_a, 1, cpu_b);
    g_autofree char *want = g_strdup_printf("permits only host CPU %d", cpu_a);
    g_autofree char *tid = NULL;
    QTestState *qts;

    if (!group) {
        g_test_skip("needs the right to make a cpuset (cgroup v1)");
        return;
    }
    qts = start("-osnet_cpumap map=0-%d", cpu_b);
    tid = g_strdup_printf("%d", tid_of(qts, 1));
    group_put(group, "cpuset.cpus", a);
    group_put(group, "cpuset.mems", "0");
    group_put(group, "tasks", tid);
    expect_on(qts, tid_of(qts, 1), cpu_a);

    vamp_expect_error(try_set(qts, map, ""), want);
    /* All of it failed: vCPU 0 is where it was. */
    expect_on(qts, tid_of(qts, 0), cpu_b);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    expect_no_claim(cpu_a);
    qtest_quit(qts);
    while (rmdir(group) < 0 && errno == EBUSY) {
        g_usleep(1000);
    }
}

/* All of QEMU in a cpuset, as a service or container has it. */
static void test_cpuset_named(void)
{
    g_autofree char *group = cpuset_group();
    g_autofree char *a = g_strdup_printf("%d", cpu_a);
    g_autofree char *map = g_strdup_printf(", \"map\": \"1-%d\"", cpu_b);
    g_autofree char *tasks = NULL;
    g_autofree char *want = g_strdup_printf("permits only host CPU %d", cpu_a);
    QTestState *qts;
    GDir *d;
    const char *tid;

    if (!group) {
        g_test_skip("needs the right to make a cpuset (cgroup v1)");
        return;
    }
    qts = start(" ");
    group_put(group, "cpuset.cpus", a);
    group_put(group, "cpuset.mems", "0");
    tasks = g_strdup_printf("/proc/%d/task", (int)qtest_pid(qts));
    d = g_dir_open(tasks, 0, NULL);
    while ((tid = g_dir_read_name(d))) {
        group_put(group, "tasks", tid);
    }
    g_dir_close(d);
    vamp_expect_error(try_add(qts, map), want);
    vamp_expect_error(try_add(qts, map), "its cpuset /vamp-test-");
    expect_on(qts, tid_of(qts, 1), cpu_a);
    qtest_quit(qts);
    while (rmdir(group) < 0 && errno == EBUSY) {
        g_usleep(1000);
    }
}

static void test_two_vms(void)
{
    QTestState *one = start("-osnet_cpumap map=0-%d", cpu_a);
    g_autofree char *same = g_strdup_printf("-osnet_cpumap map=0-%d,1-%d",
                                            cpu_b, cpu_a);
    g_autofree char *who = g_strdup_printf(
        "host CPU %d is claimed by another VM: 'web', pid %d", cpu_a,
        (int)qtest_pid(one));
    g_autofree char *add = g_strdup_printf(", \"map\": \"0-%d\"", cpu_a);
    g_autofree char *to_a = pair(0, cpu_a);
    g_autofree char *to_b = pair(0, cpu_b);
    QTestState *two;

    /* On the command line, at run time, and by a live change */
    expect_refused(same, who);
    expect_no_claim(cpu_b);
    two = start("-osnet_cpumap map=0-%d", cpu_b);
    vamp_expect_error(try_set(two, to_a, ""), who);
    expect_on(two, tid_of(two, 0), cpu_b);
    vamp_expect_error(try_set(one, to_b, ""), "is claimed by another VM");
    object_del(two, "osnet-cpumap");
    vamp_expect_error(try_add(two, add), who);
    expect_free(two);

    /* What one gives up, the other can have. */
    vamp_expect_ok(try_set(one, to_b, ""));
    vamp_expect_ok(try_add(two, add));
    vamp_expect_error(try_set(one, to_a, ""), "is claimed by another VM");

    /* A killed VM holds nothing. */
    qtest_kill_qemu(two);
    vamp_expect_ok(try_set(one, to_a, ""));
    expect_on(one, tid_of(one, 0), cpu_a);
    qtest_quit(one);
    qtest_quit(two);
}

/* Where there is no /run/vamp, and none can be made */
static void test_lock_folders(void)
{
    g_autofree char *host = put("not-a-folder", "");
    g_autofree char *user = g_strdup_printf("%s/vamp", dir);
    g_autofree char *old = g_strdup(getenv("VAMP_QTEST_LOCKS"));
    g_autofree char *old_run = g_strdup(getenv("XDG_RUNTIME_DIR"));
    QTestState *qts;
    QDict *info;

    g_setenv("VAMP_QTEST_LOCKS", host, true);
    g_setenv("XDG_RUNTIME_DIR", dir, true);
    qts = start("-osnet_cpumap map=0-%d", cpu_a);
    info = query(qts);
    g_assert_cmpstr(vamp_str(info, "lock-dir"), ==, user);
    expect_warning(qts, "only VMs of user ");
    qobject_unref(info);
    qtest_quit(qts);

    /* Not a reason to run without a map, but to be told. */
    g_setenv("XDG_RUNTIME_DIR", "relative", true);
    qts = start("-osnet_cpumap map=0-%d", cpu_a);
    info = query(qts);
    g_assert(!vamp_get(info, "lock-dir"));
    expect_warning(qts, "other VMs are not kept off these host CPUs: cannot");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    qobject_unref(info);
    qtest_quit(qts);

    g_setenv("VAMP_QTEST_LOCKS", old, true);
    if (old_run) {
        g_setenv("XDG_RUNTIME_DIR", old_run, true);
    } else {
        g_unsetenv("XDG_RUNTIME_DIR");
    }
}

int main(int argc, char **argv)
{
    if (!cpumap_begin(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/vamp/cpumap/foreign", test_foreign);
    qtest_add_func("/vamp/cpumap/started", test_started);
    qtest_add_func("/vamp/cpumap/cpuset", test_cpuset);
    qtest_add_func("/vamp/cpumap/cpuset/named", test_cpuset_named);
    qtest_add_func("/vamp/cpumap/two-vms", test_two_vms);
    qtest_add_func("/vamp/cpumap/lock-folders", test_lock_folders);
    return cpumap_run();
}
