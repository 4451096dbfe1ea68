/*
 * Unit tests: the host's CPUs (hw/vamp/cpumap-host.c)
 *
 * Claim: what the host says of its CPUs and cpusets is understood, also what
 * this machine does not have; a map that is less useful than it looks gets a
 * warning.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/cpumap-file.h"
#include "test-cpumap-util.h"

static void test_lists(void)
{
    static const char *const lists[] = {
        "0", "8191", "0-8191", "0-3,5", "63-64", "0,2,4-6,8190-8191",
    };
    VampCpus cpus = { };
    Error *err = NULL;

    expect_cpus(&cpus, "none");
    for (int i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_assert_true(vamp_cpus_parse(&cpus, "x", lists[i], &error_abort));
        expect_cpus(&cpus, lists[i]);
    }
    g_assert_false(vamp_cpus_parse(&cpus, "emulator", "0-8192", &err));
    expect(&err, "emulator=0-8192: no host has that many");
    g_assert_false(vamp_cpus_parse(&cpus, "emulator", "", &err));
    expect(&err, "emulator=: there is no entry");
}

static void test_host(void)
{
    VampHostCpus host;
    VampCpuPaths paths;
    VampCpus cpus;

    mock_begin("2-3\n", "3,6\n");
    paths = mock_paths();
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    expect_cpus(&host.present, "0-8");
    expect_cpus(&host.online, "0-7");
    expect_cpus(&host.isolated, "2-3");
    expect_cpus(&host.nohz_full, "3,6");
    g_assert_true(vamp_cpu_siblings(&paths, 6, &cpus));
    expect_cpus(&cpus, "2,6");
    g_assert_cmpint(vamp_cpu_node(&paths, 6), ==, 1);
    g_assert_cmpint(vamp_cpu_node(&paths, 1), ==, 0);

    /* An isolated partition, made at run time */
    put("sys/fs/cgroup/cpuset.cpus.isolated", "5\n");
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    expect_cpus(&host.isolated, "2-3,5");
    mock_end();
}

static void test_host_unknown(void)
{
    VampHostCpus host;
    VampCpuPaths paths;
    VampCpus cpus;
    Error *err = NULL;
    g_autofree char *online = NULL;

    /* Before Linux 5.19; and not a list at all */
    mock_begin("garbage", "(null)\n");
    paths = mock_paths();
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    expect_cpus(&host.isolated, "none");
    expect_cpus(&host.nohz_full, "none");
    g_assert_false(vamp_cpu_siblings(&paths, 8, &cpus));
    g_assert_cmpint(vamp_cpu_node(&paths, 8), ==, -1);

    online = in_top("sys/devices/system/cpu/online");
    g_assert_cmpint(unlink(online), ==, 0);
    g_assert_false(vamp_host_cpus_read(&host, &paths, &err));
    expect(&err, "online would be needed");
    mock_end();
}

static char *nobody(void *opaque, unsigned cpu)
{
    return NULL;
}

static char *on_6(void *opaque, unsigned cpu)
{
    return cpu == 6 ? g_strdup("'web', pid 7") : NULL;
}

static void expect_warnings(const char *pairs, const char *isolated,
                            char *(*claimed)(void *, unsigned),
                            const char *const *parts)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_from_pairs(pairs, &error_abort);
    g_autoptr(GPtrArray) list = NULL;
    VampHostCpus host;
    VampCpuPaths paths;
    unsigned i;

    mock_begin(isolated, NULL);
    paths = mock_paths();
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    list = vamp_cpumap_warnings(&paths, &host, map->entry, map->n, claimed,
                                NULL);
    for (i = 0; parts[i]; i++) {
        const char *w = i < list->len ? g_ptr_array_index(list, i) : "";

        if (!strstr(w, parts[i])) {
            g_error("%s: warning %u is '%s', not '%s'", pairs, i, w, parts[i]);
        }
    }
    g_assert_cmpuint(list->len, ==, i);
    mock_end();
}

static void test_warnings(void)
{
    static const char *const none[] = { NULL };
    static const char *const plain[] = {
        "other work on host CPU 0-1: not isolated (isolcpus=0-1",
        "vCPU 0 on host CPU 0 shares its core with the host's other work on "
        "the SMT sibling 4",
        "vCPU 1 on host CPU 1 shares its core with the host's other work on "
        "the SMT sibling 5", NULL };
    static const char *const one[] = { "on host CPU 3: not isolated", NULL };
    static const char *const own[] = {
        "vCPU 0 on host CPU 2 shares its core with vCPU 1 on the SMT sibling "
        "6", NULL };
    static const char *const other[] = {
        "vCPU 0 on host CPU 2 shares its core with the VM 'web', pid 7 on the "
        "SMT sibling 6", NULL };
    static const char *const nodes[] = {
        "spans NUMA nodes: 0 (host CPU 0-1), 1 (host CPU 2)", NULL };

    /* Isolated cores, nobody else on them, one node */
    expect_warnings("0-2,1-3", "2-3,6-7", nobody, none);
    expect_warnings("0-0,1-1", "2-3", nobody, plain);
    expect_warnings("0-2,1-3", "2,6-7", nobody, one);
    expect_warnings("0-2,1-6", "2,6", nobody, own);
    expect_warnings("0-2", "2,6", on_6, other);
    expect_warnings("0-0,1-2,2-1", "0-7", nobody, nodes);
}

/* --- cpusets ----------------------------------------------------------- */

static void put_group(const char *line)
{
    g_autofree char *name = g_strdup_printf("proc/self/task/%d/cgroup",
                                            (int)getpid());

    put(name, line);
}

static void expect_cpuset(const char *list, const char *want_group)
{
    VampCpuPaths paths = mock_paths();
    g_autofree char *group = NULL;
    VampCpus cpus;

    g_assert_true(vamp_cpuset_of(&paths, getpid(), &cpus, &group));
    expect_cpus(&cpus, list);
    g_assert_cmpstr(group, ==, want_group);
}

static void test_cpuset(void)
{
    g_autofree char *mounts = NULL;
    g_autofree char *group = NULL;
    VampCpuPaths paths;
    VampCpus cpus;

    mock_begin("", NULL);
    paths = mock_paths();
    mounts = g_strdup_printf("30 1 0:30 / %s/v1 rw - cgroup cgroup rw,cpuset\n"
                             "31 1 0:31 / %s/v2 rw - cgroup2 cgroup2 rw\n",
                             top, top);
    put("mountinfo", mounts);
    g_assert_false(vamp_cpuset_of(&paths, getpid(), &cpus, &group));

    /* libvirt, cgroup v1: a group for each vCPU */
    put("v1/vm/vcpu0/cpuset.cpus", "2-3\n");
    put("v1/vm/vcpu0/cgroup.procs", "");
    put_group("3:cpuset:/vm/vcpu0\n1:cpu:/other\n0::/vm\n");
    expect_cpuset("2-3", "/vm/vcpu0");
    put("v1/vm/vcpu0/cpuset.effective_cpus", "3\n");
    expect_cpuset("3", "/vm/vcpu0");

    /* v2; the group of the VM binds those below that have no cpuset */
    put("v2/vm/vcpu0/cgroup.procs", "");
    put("v2/vm/cgroup.procs", "");
    put("v2/vm/cpuset.cpus.effective", "4-5\n");
    put_group("0::/vm/vcpu0\n");
    expect_cpuset("4-5", "/vm");
    put("v2/vm/vcpu0/cpuset.cpus.effective", "5\n");
    expect_cpuset("5", "/vm/vcpu0");
    mock_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap-host/lists", test_lists);
    g_test_add_func("/cpumap-host/host", test_host);
    g_test_add_func("/cpumap-host/host/unknown", test_host_unknown);
    g_test_add_func("/cpumap-host/warnings", test_warnings);
    g_test_add_func("/cpumap-host/cpuset", test_cpuset);
    return g_test_run();
}
