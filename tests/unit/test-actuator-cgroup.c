/*
 * Tests of the cgroup actuator on plain files: what this machine is not
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qapi/error.h"
#include "hw/vamp/cgroup-group.h"
#include "test-actuator-util.h"

static const VampActuatorClass *const cgroup_class = &vamp_actuator_cgroup;

/* --- finding the group, on plain files --- */

#define MOUNT(root, dir, type, options) \
    "33 32 0:29 " root " %s/" dir " rw,relatime shared:9 - " type " x " \
    options "\n"
#define NOISE \
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\nshort line\n" \
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" \
    "35 31 0:31 / /sys/fs/cgroup/acct rw - cgroup cgroup rw,cpuacct\n"

typedef struct FindCase {
    const char *name;
    const char *cgroup;         /* /proc/self/task/TID/cgroup */
    const char *mountinfo;      /* %s: the mock's folder, twice at most */
    const char *make;           /* the group's folder */
    unsigned version;
    const char *dir;            /* what must be found; NULL: */
    const char *reason;
} FindCase;

static const FindCase find_cases[] = {
    {
        "v1", "9:cpuset:/x\n4:cpu,cpuacct:/a/b\n3:cpuacct:/no\n0::/no\n",
        NOISE MOUNT("/", "cpu", "cgroup", "rw,cpu,cpuacct"),
        "cpu/a/b", 1, "cpu/a/b",
    }, {
        "v1-root", "4:cpu:/\n", MOUNT("/", "cpu", "cgroup", "rw,cpu"),
        "cpu", 1, "cpu",
    }, {
        "v2", "0::/user.slice/a:b.scope\n",
        NOISE MOUNT("/", "cg", "cgroup2", "rw,nsdelegate"),
        "cg/user.slice/a:b.scope", 2, "cg/user.slice/a:b.scope",
    }, {
        "hybrid", "4:cpu:/a\n1:name=systemd:/s\n0::/u\n",
        MOUNT("/", "unified", "cgroup2", "rw")
        MOUNT("/", "cpu", "cgroup", "rw,cpu"),
        "cpu/a", 1, "cpu/a",
    }, {
        "space", "0::/a\n", MOUNT("/", "my\\040cg\\134", "cgroup2", "rw"),
        "my cg\\/a", 2, "my cg\\/a",
    }, {
        "container", "4:cpu:/docker/id/vm\n",
        MOUNT("/docker/id", "cpu", "cgroup", "rw,cpu"),
        "cpu/vm", 1, "cpu/vm",
    }, {
        "container-top", "4:cpu:/docker/id\n",
        MOUNT("/docker/id", "cpu", "cgroup", "rw,cpu"),
        "cpu", 1, "cpu",
    }, {
        "container-other", "4:cpu:/docker/identity\n",
        MOUNT("/docker/id", "cpu", "cgroup", "rw,cpu"),
        "cpuentity", 1, NULL, "group /docker/identity of the cgroup v1 *",
    }, {
        "namespace-outside", "0::/../vm\n",
        MOUNT("/", "cg", "cgroup2", "rw"),
        "vm", 2, NULL, "group /../vm of the cgroup v2 hierarchy is not *",
    }, {
        "namespace-above", "0::/..\n",
        MOUNT("/", "cg", "cgroup2", "rw"),
        ".", 2, NULL, "group /.. of the cgroup v2 hierarchy is not *",
    }, {
        "namespace-dots", "0::/..vm\n",
        MOUNT("/", "cg", "cgroup2", "rw"),
        "cg/..vm", 2, "cg/..vm",
    }, {
        /* The namespace was entered after the mount. */
        "namespace-late", "0::/../vm\n",
        MOUNT("/..", "cg", "cgroup2", "rw"),
        "cg/vm", 2, "cg/vm",
    }, {
        "bind-second", "4:cpu:/m/vm\n",
        MOUNT("/other", "first", "cgroup", "rw,cpu")
        MOUNT("/m", "second", "cgroup", "rw,cpu"),
        "second/vm", 1, "second/vm",
    }, {
        "not-visible", "0::/gone\n", MOUNT("/", "cg", "cgroup2", "rw"),
        "cg/y", 2, NULL, "group /gone of the cgroup v2 hierarchy is not *",
    }, {
        "not-mounted-v1", "4:cpu:/a\n0::/u\n",
        NOISE MOUNT("/", "unified", "cgroup2", "rw"),
        "cpu/a", 1, NULL, "the cgroup v1 hierarchy of the cpu controller is *",
    }, {
        "not-mounted-v2", "0::/a\n", NOISE,
        "cg/a", 2, NULL, "the cgroup v2 hierarchy of the cpu controller is *",
    }, {
        "no-controller", "9:cpuset:/x\n", NOISE,
        "cpu/a", 2, NULL, "*/cgroup names no group of the cpu controller *",
    },
};

static void test_find(const void *opaque)
{
    const FindCase *c = opaque;
    g_autofree char *procs = g_strdup_printf("%s/cgroup.procs", c->make);
    g_autoptr(VampCgroups) cg = NULL;
    g_auto(GStrv) parts = g_strsplit(c->mountinfo, "%s", -1);
    g_autofree char *path = NULL, *dir = NULL, *mountinfo = NULL;
    Error *err = NULL;
    MockHost m;

    mock_init(&m);
    mountinfo = g_strjoinv(m.dir, parts);
    put_file(m.dir, "mountinfo", mountinfo);
    put_file(m.dir, procs, "");
    put_file(m.dir, "cg/x", "");        /* or there would be no "cg/.." */
    mock_thread(&m, getpid(), c->cgroup);

    cg = vamp_cgroups_new(&m.paths, "cpu", &err);
    path = cg ? vamp_cgroup_path(cg, 0, getpid(), &err) : NULL;
    dir = path ? vamp_cgroup_dir(cg, path, &err) : NULL;
    if (c->dir) {
        g_autofree char *want = g_strdup_printf("%s/%s", m.dir, c->dir);

        g_assert_null(err);
        g_assert_cmpint(cg->version, ==, c->version);
        g_assert_cmpstr(dir, ==, want);
    } else {
        g_assert_null(dir);
        assert_matches(error_get_pretty(err), c->reason);
        error_free(err);
    }
    mock_done(&m);
}

/* --- refusals, on plain files --- */

typedef struct RefuseCase {
    const char *name;
    unsigned version;
    const char *files;          /* "NAME=TEXT;..." in the group */
    const char *autogroup;
    const char *reason;
} RefuseCase;

#define V2(type, controllers, control)                                  \
    "cgroup.type=" type ";cgroup.controllers=" controllers              \
    ";cgroup.subtree_control=" control

static const RefuseCase refuse_cases[] = {
    {
        "domain-invalid", 2, V2("domain invalid", "cpu", ""), "0",
        "*/g/cgroup.type is \"domain invalid\" (domain or threaded *",
    }, {
        "no-cpu", 2, V2("domain", "cpuset memory", ""), "0",
        "*/g/cgroup.controllers is \"cpuset memory\": cpu is missing *",
    }, {
        "domain-controller", 2, V2("domain", "cpu memory", "cpu memory"), "0",
        "*/g/cgroup.subtree_control contains memory, which knows no threads *",
    }, {
        "no-subtree-control", 2, "cgroup.type=domain;cgroup.controllers=cpu",
        "0", "cannot read */g/cgroup.subtree_control: No such file*",
    }, {
        "autogroup-v2", 2, "cgroup.controllers=cpu;cgroup.subtree_control=cpu",
        "1", "the vCPU threads are in the root group */g and "
             "*/proc/sys/kernel/sched_autogroup_enabled is 1: *",
    }, {
        "autogroup-v1", 1, "release_agent=;cpu.shares=1024", "1",
        "the vCPU threads are in the root group */g and *",
    }, {
        "neighbours", 2, V2("domain", "cpu pids", "pids")
        ";other/cgroup.events=populated 1", "0",
        "*/g has other groups with threads in them, *",
    }, {
        /* Nothing refuses before the plain folder turns out to be none. */
        "half-way-v2", 2, V2("domain", "cpu pids", "pids")
        ";other/cgroup.events=populated 0", "1",
        "cannot write threaded to */vamp-*-probe/cgroup.type: No such *",
    }, {
        "half-way-v1", 1, "cpu.shares=1024", "1",
        "cannot write a weight to */vamp-*-probe/cpu.shares: No such *",
    }, {
        "no-root-autogroup-off", 1, "release_agent=;cpu.shares=1024", "0",
        "cannot write a weight to */vamp-*-probe/cpu.shares: No such *",
    },
};

static void mock_group(MockHost *m, unsigned version, const char *files)
{
    g_auto(GStrv) list = g_strsplit(files, ";", -1);
    g_autofree char *mountinfo = g_strdup_printf(
        "33 32 0:29 / %s/cg rw - %s x rw,cpu\n", m->dir,
        version == 2 ? "cgroup2" : "cgroup");
    int i;

    put_file(m->dir, "mountinfo", mountinfo);
    put_file(m->dir, "cg/g/cgroup.procs", "");
    for (i = 0; list[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(list[i], "=", 2);
        g_autofree char *name = g_strdup_printf("cg/g/%s", pair[0]);

        put_file(m->dir, name, pair[1]);
    }
    mock_thread(m, getpid(), version == 2 ? "0::/g\n" : "4:cpu:/g\n");
}

static void test_refuse(const void *opaque)
{
    const RefuseCase *c = opaque;
    g_autofree char *text = NULL, *control = NULL, *g = NULL;
    MockHost m;

    mock_init(&m);
    mock_group(&m, c->version, c->files);
    put_file(m.dir, "proc/sys/kernel/sched_autogroup_enabled", c->autogroup);
    text = probe_reason(cgroup_class, &m.paths, NULL, 0);
    assert_matches(text, c->reason);

    g = g_strdup_printf("%s/cg/g", m.dir);
    g_assert_false(has_vamp_group(g));
    if (!strcmp(c->name, "half-way-v2")) {
        /* A plain file keeps the last command: the one that undoes. */
        control = get_file(g, "cgroup.subtree_control");
        g_assert_cmpstr(control, ==, "-cpu");
    }
    mock_done(&m);
}

/* --- libvirt's groups, on plain files --- */

typedef struct Libvirt {
    MockHost m;
    VampScratchThread *t[2];
    pid_t tids[2];
} Libvirt;

/*
 * All weights here have three digits: writing to a plain file replaces no
 * more than is written.
 */
static void libvirt_init(Libvirt *l, const char *weight)
{
    int i;

    mock_init(&l->m);
    mock_group(&l->m, 1, "emulator/cgroup.procs=");
    mock_thread(&l->m, getpid(), "4:cpu:/g/emulator\n");
    for (i = 0; i < 2; i++) {
        g_autofree char *group = g_strdup_printf("4:cpu:/g/vcpu%d\n", i);
        g_autofree char *dir = g_strdup_printf("%s/cg/g/vcpu%d", l->m.dir, i);
        g_autofree char *tid = NULL;

        l->t[i] = vamp_scratch_start(&error_abort);
        l->tids[i] = vamp_scratch_tid(l->t[i]);
        tid = g_strdup_printf("%d\n", (int)l->tids[i]);
        mock_thread(&l->m, l->tids[i], group);
        put_file(dir, "cgroup.procs", "");
        put_file(dir, "tasks", tid);
        put_file(dir, "cpu.shares", weight);
    }
}

static void libvirt_done(Libvirt *l)
{
    vamp_scratch_stop(l->t[0]);
    vamp_scratch_stop(l->t[1]);
    mock_done(&l->m);
}

#define VCPU0   "cg/g/vcpu0/cpu.shares"
#define VCPU1   "cg/g/vcpu1/cpu.shares"

static void test_libvirt(void)
{
    VampActuation now;
    VampActuator *a;
    Libvirt l;

    libvirt_init(&l, "600\n");
    g_assert_true(cgroup_class->probe(&l.m.paths, l.tids, 2, &error_abort));
    assert_file(l.m.dir, VCPU0, "600");

    a = cgroup_class->open(&l.m.paths, 2, 3, &error_abort);
    g_assert_true(cgroup_class->attach(a, 0, l.tids[0], &error_abort));
    g_assert_true(cgroup_class->attach(a, 1, l.tids[1], &error_abort));
    assert_file(l.m.dir, VCPU0, "600");
    g_assert_cmpint(cgroup_class->apply(a, 0, VAMP_CLASS_BACKGROUND), ==, 0);
    assert_file(l.m.dir, VCPU0, "200");
    assert_file(l.m.dir, VCPU1, "600");
    g_assert_true(cgroup_class->set_ratio(a, 4, &error_abort));
    g_assert_cmpint(cgroup_class->apply(a, 1, VAMP_CLASS_BACKGROUND), ==, 0);
    assert_file(l.m.dir, VCPU1, "150");
    cgroup_class->describe(a, 1, &now);
    g_assert_true(now.has_weight && now.weight == 150);
    g_assert_cmpstr(now.cgroup, ==, "/g/vcpu1");
    g_free(now.cgroup);
    g_assert_cmpint(cgroup_class->apply(a, 1, VAMP_CLASS_INTERACTIVE), ==, 0);
    assert_file(l.m.dir, VCPU1, "600");

    /* 200 was ours by the old ratio; 700 is virsh schedinfo's: stays. */
    g_assert_cmpint(vamp_cgroup_write(l.m.dir, VCPU1, "700"), ==, 0);
    g_assert_cmpint(cgroup_class->apply(a, 1, VAMP_CLASS_NEUTRAL), ==, 0);
    assert_file(l.m.dir, VCPU1, "700");
    cgroup_class->close(a);
    assert_file(l.m.dir, VCPU0, "600");
    assert_file(l.m.dir, VCPU1, "700");
    libvirt_done(&l);
}

static void test_libvirt_refuse(void)
{
    static const struct {
        const char *name, *text, *reason;
    } t[] = {
        { "cpu.idle", "1\n", "*/g/vcpu1/cpu.idle is 1: the group has no *" },
        { "cpu.shares", "1\n", "*/g/vcpu1/cpu.shares is 1 (2 to 262144 *" },
        { "cpu.shares", "max\n",
          "cannot read a weight from */g/vcpu1/cpu.shares: Invalid argument" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(t); i++) {
        g_autofree char *text = NULL, *dir = NULL;
        Error *err = NULL;
        VampActuator *a;
        Libvirt l;

        libvirt_init(&l, "600\n");
        dir = g_strdup_printf("%s/cg/g/vcpu1", l.m.dir);
        put_file(dir, t[i].name, t[i].text);
        text = probe_reason(cgroup_class, &l.m.paths, l.tids, 2);
        assert_matches(text, t[i].reason);

        a = cgroup_class->open(&l.m.paths, 2, 3, &error_abort);
        g_assert_false(cgroup_class->attach(a, 1, l.tids[1], &err));
        assert_matches(error_get_pretty(err), t[i].reason);
        error_free(err);
        g_assert_cmpint(cgroup_class->apply(a, 1, VAMP_CLASS_NEUTRAL), ==,
                        -ESRCH);
        cgroup_class->close(a);
        libvirt_done(&l);
    }
}

static void test_attach_refuses(void)
{
    struct sched_param zero = { 0 };
    Error *err = NULL;
    VampActuator *a;
    Libvirt l;

    libvirt_init(&l, "600\n");
    a = cgroup_class->open(&l.m.paths, 2, 3, &error_abort);
    g_assert_false(cgroup_class->attach(a, 2, l.tids[0], &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "vCPU 2 is beyond the last one, 1");
    error_free(err);
    err = NULL;
    g_assert_true(cgroup_class->attach(a, 0, l.tids[0], &error_abort));
    g_assert_false(cgroup_class->attach(a, 1, l.tids[0], &err));
    assert_matches(error_get_pretty(err), "vCPUs 0 and 1 share thread *");
    error_free(err);
    err = NULL;

    /* Inside a group, nobody can tell SCHED_IDLE from SCHED_OTHER. */
    g_assert_cmpint(sched_setscheduler(l.tids[1], SCHED_IDLE, &zero), ==, 0);
    g_assert_false(cgroup_class->attach(a, 1, l.tids[1], &err));
    assert_matches(error_get_pretty(err), "thread * policy SCHED_IDLE, *");
    error_free(err);
    cgroup_class->close(a);
    cgroup_class->close(NULL);
    libvirt_done(&l);
}

static pid_t dead_pid(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    return pid;
}

static void test_sweep(void)
{
    static const struct {
        const char *format;     /* of the pid */
        bool dead, full, removed;
    } t[] = {
        { "vamp-%d-vcpu0", true, false, true },
        { "vamp-%d-vcpu12", true, false, true },
        { "vamp-%d-probe", true, false, true },
        { "vamp-%d-vcpu1", true, true, false },
        { "vamp-%d-vcpu1", false, false, false },
        { "vamp-%d-vcpu00", true, false, false },
        { "vamp-%d-vcpu", true, false, false },
        { "vamp-%d-vcpu1x", true, false, false },
        { "vamp-0%d-vcpu1", true, false, false },
        { "vamp-+%d-vcpu1", true, false, false },
        { "vamp-%d-other", true, false, false },
        { "vampire-%d-vcpu0", true, false, false },
    };
    pid_t dead = dead_pid();
    MockHost m;
    int i;

    for (i = 0; i < ARRAY_SIZE(t); i++) {
        g_autofree char *name = NULL, *dir = NULL;

        mock_init(&m);
        name = g_strdup_printf(t[i].format, t[i].dead ? dead : getppid());
        dir = g_strdup_printf("%s/%s", m.dir, name);
        g_assert_cmpint(mkdir(dir, 0755), ==, 0);
        if (t[i].full) {
            put_file(dir, "x", "");
        }
        vamp_cgroup_sweep(m.dir);
        g_test_message("%s", name);
        g_assert_cmpint(access(dir, F_OK) != 0, ==, t[i].removed);
        mock_done(&m);
    }
    vamp_cgroup_sweep("/nonexistent");
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(find_cases); i++) {
        g_autofree char *name = g_strdup_printf("/vamp/cgroup/mock/find/%s",
                                                find_cases[i].name);

        g_test_add_data_func(name, &find_cases[i], test_find);
    }
    for (i = 0; i < ARRAY_SIZE(refuse_cases); i++) {
        g_autofree char *name = g_strdup_printf("/vamp/cgroup/mock/refuse/%s",
                                                refuse_cases[i].name);

        g_test_add_data_func(name, &refuse_cases[i], test_refuse);
    }
    g_test_add_func("/vamp/cgroup/mock/libvirt", test_libvirt);
    g_test_add_func("/vamp/cgroup/mock/libvirt-refuse", test_libvirt_refuse);
    g_test_add_func("/vamp/cgroup/mock/attach-refuses", test_attach_refuses);
    g_test_add_func("/vamp/cgroup/mock/sweep", test_sweep);
    return g_test_run();
}
