/*
 * QTest: what the host permits
 *
 * Claim: QEMU finds out what it may do to its own threads, uses the best of
 * it, says what is in the way of the rest, and leaves nothing behind on the
 * host. Where nothing is permitted, phases are still reported, and no thread
 * is changed.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-qtest.h"

#define NICE_RATIO_3    5
#define NOBODY          "-run-with user=65534:65534 "
#define CPU_CGROUP      "/sys/fs/cgroup/cpu"

static const int one_busy[] = { 5, 95 };

static QTestState *start(const char *options, const char *properties)
{
    g_autofree char *args = g_strdup_printf("-M q35 -smp 2 %s -object "
                                            "vamp-policy,id=vamp0%s", options,
                                            properties);

    return qtest_init(args);
}

static void begin_mixed(QTestState *qts, VampLoad *load)
{
    vamp_load_run(qts, load, 2048, 2, one_busy, NULL);
    vamp_forget_events(qts);
    vamp_input(qts);
    vamp_expect_phase_event(qts, "mixed", "input");
}

static void expect_actuator(QTestState *qts, const char *active,
                            const char *reason)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, active);
    vamp_expect_text(vamp_str(info, "actuator.reason"), reason);
    g_assert_cmpfloat(vamp_num(info, "counters.faults"), ==, 0);
    qobject_unref(info);
}

/* Phases come and go, and both vCPUs' threads keep nice 0. */
static void expect_powerless(QTestState *qts)
{
    static const char *const kinds[] = { "nice", "cgroup", "none", "auto" };
    VampLoad *load = vamp_load_new(qts);
    int tid[] = { vamp_tid(qts, 0), vamp_tid(qts, 1) };

    for (int i = 0; i < G_N_ELEMENTS(kinds); i++) {
        QDict *info;

        vamp_set_str(qts, "actuator", kinds[i]);
        begin_mixed(qts, load);
        info = vamp_query(qts);
        g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, "none");
        g_assert_cmpstr(vamp_class(info, 1), ==, "background");
        g_assert(!vamp_get(vamp_vcpu(info, 1), "nice"));
        g_assert_cmpfloat(vamp_num(info, "counters.weight-changes"), ==, 0);
        qobject_unref(info);
        for (int v = 0; v < 2; v++) {
            g_assert_cmpint(vamp_nice(qts, tid[v]), ==, 0);
        }
        qtest_clock_step(qts, 5000 * MS);
        vamp_expect_phase_event(qts, "normal", "none");
    }
    vamp_object_del(qts);
    vamp_load_free(load);
}

/* --- no privileges -------------------------------------------------------- */

/* As nobody, with RLIMIT_NICE @limit. NULL if that cannot be arranged. */
static QTestState *start_unprivileged(rlim_t limit, const char *properties)
{
    struct rlimit old, new;
    QTestState *qts;

    getrlimit(RLIMIT_NICE, &old);
    new.rlim_cur = limit;
    new.rlim_max = MAX(limit, old.rlim_max);
    if (geteuid() != 0) {
        g_test_skip("only root can become somebody with fewer rights");
        return NULL;
    }
    if (setrlimit(RLIMIT_NICE, &new) < 0) {
        g_test_skip("RLIMIT_NICE cannot be set here");
        return NULL;
    }
    qts = start(NOBODY, properties);
    g_assert_cmpint(setrlimit(RLIMIT_NICE, &old), ==, 0);
    return qts;
}

static void test_no_privileges(void)
{
    QTestState *qts = start_unprivileged(0, "");

    if (!qts) {
        return;
    }
    expect_actuator(qts, "none", "RLIMIT_NICE is 0");
    expect_actuator(qts, "none", "20 or CAP_SYS_NICE would be needed");
    expect_powerless(qts);
    qtest_quit(qts);
}

/*
 * The object is made while QEMU is still root: it must not believe what
 * holds only until the command line has been worked off.
 */
static void test_limit(void)
{
    QTestState *qts = start_unprivileged(20, ",actuator=nice");
    VampLoad *load;
    int tid;

    if (!qts) {
        return;
    }
    expect_actuator(qts, "nice", "it works here");
    load = vamp_load_new(qts);
    tid = vamp_tid(qts, 1);
    begin_mixed(qts, load);
    g_assert_cmpint(vamp_nice(qts, tid), ==, NICE_RATIO_3);
    qtest_clock_step(qts, 5000 * MS);
    g_assert_cmpint(vamp_nice(qts, tid), ==, 0);
    qtest_quit(qts);
    vamp_load_free(load);
}

/* --- sandbox -------------------------------------------------------------- */

/* LeakSanitizer looks for leaks in a child process, which they forbid. */
static QTestState *start_sandboxed(const char *options, const char *properties)
{
    QTestState *qts;

    g_setenv("LSAN_OPTIONS", "detect_leaks=0", true);
    qts = start(options, properties);
    g_unsetenv("LSAN_OPTIONS");
    return qts;
}

static void test_sandbox(void)
{
    QTestState *qts = start_sandboxed("-sandbox on,obsolete=deny,"
                                      "elevateprivileges=deny,spawn=deny,"
                                      "resourcecontrol=deny", "");

    expect_actuator(qts, "none", "-sandbox resourcecontrol=deny");
    expect_powerless(qts);
    qtest_quit(qts);
}

static void test_sandbox_allowed(void)
{
    QTestState *qts;
    VampLoad *load;
    int tid;

    if (!vamp_can_nice()) {
        g_test_skip("needs CAP_SYS_NICE or RLIMIT_NICE >= 20");
        return;
    }
    qts = start_sandboxed("-sandbox on,obsolete=deny,elevateprivileges=deny,"
                          "spawn=deny,resourcecontrol=allow",
                          ",actuator=nice");
    expect_actuator(qts, "nice", "it works here");
    load = vamp_load_new(qts);
    tid = vamp_tid(qts, 1);
    begin_mixed(qts, load);
    g_assert_cmpint(vamp_nice(qts, tid), ==, NICE_RATIO_3);
    vamp_object_del(qts);
    g_assert_cmpint(vamp_nice(qts, tid), ==, 0);
    qtest_quit(qts);
    vamp_load_free(load);
}

/* --- cgroup v1 ------------------------------------------------------------ */

static void group_write(const char *group, const char *file, int64_t number)
{
    g_autofree char *name = g_strdup_printf("%s/%s", group, file);
    g_autofree char *text = g_strdup_printf("%" PRId64, number);
    int fd = open(name, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

static int64_t group_shares(const char *group)
{
    g_autofree char *name = g_strdup_printf("%s/cpu.shares", group);
    g_autofree char *text = NULL;

    g_assert(g_file_get_contents(name, &text, NULL, NULL));
    return g_ascii_strtoll(text, NULL, 10);
}

static bool group_has(const char *group, int tid)
{
    g_autofree char *name = g_strdup_printf("%s/tasks", group);
    g_autofree char *text = NULL;
    g_auto(GStrv) line = NULL;
    g_autofree char *wanted = g_strdup_printf("%d", tid);

    g_assert(g_file_get_contents(name, &text, NULL, NULL));
    line = g_strsplit(text, "\n", -1);
    return g_strv_contains((const char *const *)line, wanted);
}

static int group_children(const char *group)
{
    GDir *d = g_dir_open(group, 0, NULL);
    const char *name;
    int n = 0;

    g_assert(d);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *child = g_strdup_printf("%s/%s", group, name);

        n += g_file_test(child, G_FILE_TEST_IS_DIR);
    }
    g_dir_close(d);
    return n;
}

static char *home;          /* the group that the test itself is from */

/* A group for one QEMU; NULL (test skipped) if there can be none. */
static char *group_new(void)
{
    g_autofree char *text = NULL;
    char *group = g_strdup_printf(CPU_CGROUP "/vamp-qtest-%d", (int)getpid());

    if (access(CPU_CGROUP "/cpu.shares", F_OK) < 0) {
        g_test_skip("no cgroup v1 cpu hierarchy at " CPU_CGROUP);
    } else if (mkdir(group, 0755) < 0) {
        g_test_skip("no group can be made in " CPU_CGROUP);
    } else {
        return group;
    }
    g_free(group);
    return NULL;
}

/* QEMU starts in @group; the test stays where it is. */
static QTestState *start_in_group(const char *group, const char *properties)
{
    QTestState *qts;

    group_write(group, "cgroup.procs", getpid());
    qts = start("", properties);
    group_write(home, "cgroup.procs", getpid());
    return qts;
}

/* Fails if anything is left in it. */
static void group_free(char *group)
{
    g_assert_cmpint(group_children(group), ==, 0);
    g_assert_cmpint(rmdir(group), ==, 0);
    g_free(group);
}

static void test_cgroup(void)
{
    char *group = group_new();
    QTestState *qts;
    VampLoad *load;
    char *child[2];
    int tid[2];

    if (!group) {
        return;
    }
    qts = start_in_group(group, "");
    expect_actuator(qts, "cgroup", "the best that works here");
    load = vamp_load_new(qts);
    for (int v = 0; v < 2; v++) {
        tid[v] = vamp_tid(qts, v);
        child[v] = g_strdup_printf("%s/vamp-%d-vcpu%d", group,
                                   (int)qtest_pid(qts), v);
        g_assert(group_has(child[v], tid[v]));
        g_assert_cmpint(group_shares(child[v]), ==, 1024);
    }
    g_assert(group_has(group, qtest_pid(qts)));

    begin_mixed(qts, load);
    g_assert_cmpint(group_shares(child[0]), ==, 1023);
    g_assert_cmpint(group_shares(child[1]), ==, 341);
    g_assert_cmpint(vamp_nice(qts, tid[1]), ==, 0);
    vamp_set_int(qts, "ratio", 100);
    g_assert_cmpint(group_shares(child[0]), ==, 1000);
    g_assert_cmpint(group_shares(child[1]), ==, 10);
    qtest_clock_step(qts, 5000 * MS);
    g_assert_cmpint(group_shares(child[0]), ==, 1024);
    g_assert_cmpint(group_shares(child[1]), ==, 1024);

    /* Somebody else's choice stays while the group is there. */
    vamp_set_int(qts, "ratio", 3);
    begin_mixed(qts, load);
    group_write(child[1], "cpu.shares", 777);
    qtest_clock_step(qts, 5000 * MS);
    g_assert_cmpint(group_shares(child[0]), ==, 1024);
    g_assert_cmpint(group_shares(child[1]), ==, 777);

    vamp_object_del(qts);
    g_assert_cmpint(group_children(group), ==, 0);
    g_assert(group_has(group, tid[0]) && group_has(group, tid[1]));

    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    vamp_set_str(qts, "actuator", "nice");
    g_assert_cmpint(group_children(group), ==, 0);
    vamp_set_str(qts, "actuator", "cgroup");
    g_assert_cmpint(group_children(group), ==, 2);
    vamp_load_free(load);
    qtest_quit(qts);
    group_free(group);
    g_free(child[0]);
    g_free(child[1]);
}

/* As libvirt does it: a group per vCPU, made by somebody else. */
static void test_cgroup_found(void)
{
    char *group = group_new();
    QTestState *qts;
    VampLoad *load;
    char *vcpu[2];

    if (!group) {
        return;
    }
    qts = start_in_group(group, ",actuator=none");
    for (int v = 0; v < 2; v++) {
        vcpu[v] = g_strdup_printf("%s/vcpu%d", group, v);
        g_assert_cmpint(mkdir(vcpu[v], 0755), ==, 0);
        group_write(vcpu[v], "cpu.shares", 600);
        group_write(vcpu[v], "tasks", vamp_tid(qts, v));
    }
    vamp_set_str(qts, "actuator", "nice");
    expect_actuator(qts, "none", "each vCPU thread is alone");
    vamp_set_str(qts, "actuator", "auto");
    expect_actuator(qts, "cgroup", "the best that works here");
    load = vamp_load_new(qts);
    begin_mixed(qts, load);
    g_assert_cmpint(group_shares(vcpu[0]), ==, 600);
    g_assert_cmpint(group_shares(vcpu[1]), ==, 200);
    g_assert_cmpint(group_children(group), ==, 2);
    vamp_object_del(qts);
    g_assert_cmpint(group_shares(vcpu[1]), ==, 600);
    g_assert_cmpint(group_children(group), ==, 2);
    vamp_load_free(load);
    qtest_quit(qts);
    for (int v = 0; v < 2; v++) {
        g_assert_cmpint(rmdir(vcpu[v]), ==, 0);
        g_free(vcpu[v]);
    }
    group_free(group);
}

/* QEMU ends in the middle of a phase. */
static void test_cgroup_quit(void)
{
    char *group = group_new();
    QTestState *qts;
    VampLoad *load;

    if (!group) {
        return;
    }
    qts = start_in_group(group, "");
    load = vamp_load_new(qts);
    begin_mixed(qts, load);
    g_assert_cmpint(group_children(group), ==, 2);
    vamp_load_free(load);
    qtest_quit(qts);
    group_free(group);
}

/* libvirt's groups: made while the VM is not running yet, or later. */
static void make_vcpu_groups(QTestState *qts, const char *group, char **vcpu)
{
    for (int v = 0; v < 2; v++) {
        vcpu[v] = g_strdup_printf("%s/vcpu%d", group, v);
        g_assert_cmpint(mkdir(vcpu[v], 0755), ==, 0);
        group_write(vcpu[v], "tasks", vamp_tid(qts, v));
    }
}

static void remove_vcpu_groups(char **vcpu)
{
    for (int v = 0; v < 2; v++) {
        g_assert_cmpint(rmdir(vcpu[v]), ==, 0);
        g_free(vcpu[v]);
    }
}

/* libvirt's order: start QEMU stopped, move its threads, let the VM run. */
static void test_cgroup_start_order(void)
{
    char *group = group_new(), *vcpu[2];
    QTestState *qts;
    VampLoad *load;

    if (!group) {
        return;
    }
    group_write(group, "cgroup.procs", getpid());
    qts = start("-S", "");
    group_write(home, "cgroup.procs", getpid());
    expect_actuator(qts, "none", "when the VM runs for the first time");
    g_assert_cmpint(group_children(group), ==, 0);
    make_vcpu_groups(qts, group, vcpu);
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'cont' }"));
    expect_actuator(qts, "cgroup", "the best that works here");
    g_assert_cmpint(group_children(group), ==, 2);

    load = vamp_load_new(qts);
    begin_mixed(qts, load);
    g_assert_cmpint(group_shares(vcpu[1]), ==, 341);
    vamp_load_free(load);
    qtest_quit(qts);
    remove_vcpu_groups(vcpu);
    group_free(group);
}

/* Threads are moved while our groups are in use. */
static void test_cgroup_moved(void)
{
    char *group = group_new(), *vcpu[2];
    QTestState *qts;
    VampLoad *load;

    if (!group) {
        return;
    }
    qts = start_in_group(group, "");
    expect_actuator(qts, "cgroup", "the best that works here");
    g_assert_cmpint(group_children(group), ==, 2);
    make_vcpu_groups(qts, group, vcpu);
    load = vamp_load_new(qts);
    begin_mixed(qts, load);
    /* Ours are gone, and the weights are where the threads are. */
    g_assert_cmpint(group_children(group), ==, 2);
    g_assert_cmpint(group_shares(vcpu[0]), ==, 1023);
    g_assert_cmpint(group_shares(vcpu[1]), ==, 341);
    vamp_object_del(qts);
    g_assert_cmpint(group_shares(vcpu[1]), ==, 1024);
    vamp_load_free(load);
    qtest_quit(qts);
    remove_vcpu_groups(vcpu);
    group_free(group);
}

/* Groups are removed in the middle of a phase. */
static void test_cgroup_fault(void)
{
    char *group = group_new();
    QTestState *qts;
    VampLoad *load;
    QDict *info;

    if (!group) {
        return;
    }
    qts = start_in_group(group, "");
    load = vamp_load_new(qts);
    begin_mixed(qts, load);
    for (int v = 0; v < 2; v++) {
        g_autofree char *child = g_strdup_printf("%s/vamp-%d-vcpu%d", group,
                                                 (int)qtest_pid(qts), v);

        group_write(group, "tasks", vamp_tid(qts, v));
        g_assert_cmpint(rmdir(child), ==, 0);
    }
    vamp_forget_events(qts);
    qtest_clock_step(qts, 5000 * MS);
    qtest_qmp_eventwait(qts, "VAMP_FAULT");
    vamp_expect_phase(qts, "normal");
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, "none");
    vamp_expect_text(vamp_str(info, "actuator.reason"), "No such device");
    vamp_expect_text(vamp_str(info, "fault"), "No such device");
    g_assert_cmpint(vamp_num(info, "counters.faults"), ==, 1);
    qobject_unref(info);

    /* Phases go on without weights, and setting it again turns it on. */
    begin_mixed(qts, load);
    g_assert_cmpint(group_children(group), ==, 0);
    vamp_set_str(qts, "actuator", "auto");
    g_assert_cmpint(group_children(group), ==, 2);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "actuator.active"), ==, "cgroup");
    g_assert_null(vamp_get(info, "fault"));
    qobject_unref(info);
    vamp_load_free(load);
    qtest_quit(qts);
    group_free(group);
}

static char *find_home(void)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) line = NULL;

    if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL)) {
        return NULL;
    }
    line = g_strsplit(text, "\n", -1);
    for (int i = 0; line[i]; i++) {
        g_auto(GStrv) part = g_strsplit(line[i], ":", 3);

        if (g_strv_length(part) == 3 && (!strcmp(part[1], "cpu") ||
                                         !strcmp(part[1], "cpu,cpuacct") ||
                                         !strcmp(part[1], "cpuacct,cpu"))) {
            return g_strconcat(CPU_CGROUP, part[2], NULL);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    home = find_home();

    qtest_add_func("/vamp/host/no-privileges", test_no_privileges);
    qtest_add_func("/vamp/host/limit", test_limit);
    qtest_add_func("/vamp/host/sandbox/denied", test_sandbox);
    qtest_add_func("/vamp/host/sandbox/allowed", test_sandbox_allowed);
    qtest_add_func("/vamp/host/cgroup/own", test_cgroup);
    qtest_add_func("/vamp/host/cgroup/found", test_cgroup_found);
    qtest_add_func("/vamp/host/cgroup/quit", test_cgroup_quit);
    qtest_add_func("/vamp/host/cgroup/start-order", test_cgroup_start_order);
    qtest_add_func("/vamp/host/cgroup/moved", test_cgroup_moved);
    qtest_add_func("/vamp/host/cgroup/fault", test_cgroup_fault);

    ret = g_test_run();
    g_free(home);
    return ret;
}
