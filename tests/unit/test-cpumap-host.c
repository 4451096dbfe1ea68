/*
 * Unit tests: maps and the host (hw/vamp/cpumap-*.c)
 *
 * Claim: what the host says of its CPUs is understood, also what this machine
 * does not have; bad maps are refused with their place; locks keep two VMs
 * apart and end with their holder; affinities change together or not at all,
 * and are put back unless somebody else has changed them.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "hw/vamp/cpumap-file.h"
#include "hw/vamp/cpumap-lock.h"
#include "hw/vamp/cpumap-pin.h"
#include "hw/vamp/probe-util.h"

/* --- a folder for each test -------------------------------------------- */

static char *top;

static char *in_top(const char *name)
{
    return g_strdup_printf("%s/%s", top, name);
}

static void put(const char *name, const char *text)
{
    g_autofree char *path = in_top(name);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void begin(void)
{
    top = g_dir_make_tmp("vamp-cpumap-XXXXXX", NULL);
    g_assert_nonnull(top);
}

static void end(void)
{
    const char *argv[] = { "rm", "-rf", top, NULL };

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 NULL, NULL, NULL, NULL);
    g_clear_pointer(&top, g_free);
}

static void expect(Error **err, const char *part)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), part)) {
        g_error("'%s' is not in '%s'", part, error_get_pretty(*err));
    }
    error_free(*err);
    *err = NULL;
}

/* --- a host ------------------------------------------------------------ */

static char *mock_sys, *mock_proc, *mock_mounts;

static VampCpuPaths mock_paths(void)
{
    return (VampCpuPaths) {
        .host = { .proc = mock_proc, .mountinfo = mock_mounts },
        .sys = mock_sys,
    };
}

/* Eight CPUs, n and n + 4 on one core, two nodes: 0,1,4,5 and 2,3,6,7. */
static void mock_begin(const char *isolated, const char *nohz_full)
{
    begin();
    mock_sys = in_top("sys");
    mock_proc = in_top("proc");
    mock_mounts = in_top("mountinfo");
    put("sys/devices/system/cpu/present", "0-8\n");
    put("sys/devices/system/cpu/online", "0-7\n");
    put("sys/devices/system/cpu/isolated", isolated);
    if (nohz_full) {
        put("sys/devices/system/cpu/nohz_full", nohz_full);
    }
    for (int i = 0; i < 8; i++) {
        g_autofree char *siblings = g_strdup_printf(
            "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        g_autofree char *node = g_strdup_printf(
            "sys/devices/system/cpu/cpu%d/node%d/x", i, i % 4 / 2);
        g_autofree char *text = g_strdup_printf("%d,%d\n", i % 4, i % 4 + 4);

        put(siblings, text);
        put(node, "");
    }
}

static void mock_end(void)
{
    g_clear_pointer(&mock_sys, g_free);
    g_clear_pointer(&mock_proc, g_free);
    g_clear_pointer(&mock_mounts, g_free);
    end();
}

static void expect_cpus(const VampCpus *cpus, const char *list)
{
    g_autofree char *text = vamp_cpus_format(cpus);

    g_assert_cmpstr(text, ==, list);
}

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

/* --- files ------------------------------------------------------------- */

static void expect_bad_file(const char *name, const char *part)
{
    g_autofree char *path = in_top(name);
    Error *err = NULL;

    g_test_message("%s", name);
    g_assert_null(vamp_cpumap_from_file(path, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), path));
    expect(&err, part);
}

static void test_file(void)
{
    g_autofree char *path = NULL;
    g_autofree char *link_path = NULL;
    g_autoptr(VampCpumap) map = NULL;
    g_autofree char *big = g_strnfill(VAMP_CPUMAP_FILE_MAX, '\n');

    begin();
    memcpy(big, "0 1", 3);
    put("map", big);
    path = in_top("map");
    link_path = in_top("link");
    g_assert_cmpint(symlink(path, link_path), ==, 0);
    map = vamp_cpumap_from_file(link_path, &error_abort);
    g_assert_cmpuint(map->n, ==, 1);
    g_assert_cmpuint(map->entry[0].cpu, ==, 1);
    g_assert_nonnull(vamp_cpumap_find(map, 0));
    g_assert_null(vamp_cpumap_find(map, 1));
    end();
}

static void test_file_bad(void)
{
    g_autofree char *path = NULL;
    g_autofree char *sparse = NULL;
    g_autofree char *big = g_strnfill(VAMP_CPUMAP_FILE_MAX + 1, '\n');
    g_autoptr(GString) many = g_string_new(NULL);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    Error *err = NULL;
    int fd;

    begin();
    expect_bad_file("missing", "No such file");
    put("dir/x", "0 0\n");
    expect_bad_file("dir", "is a directory, a regular file");
    expect_bad_file("dir/x/y", "Not a directory");
    put("lines", "# two\n0 0\n1 -1\n");
    expect_bad_file("lines", "lines:3: a number has a sign");
    put("empty", "");
    expect_bad_file("empty", "empty: there is no entry");
    memcpy(big, "0 1", 3);
    put("big", big);
    expect_bad_file("big", "is larger than 65536 bytes");
    for (int i = 0; i <= 1024; i++) {
        g_string_append_printf(many, "%d %d\n", i, i);
    }
    put("many", many->str);
    expect_bad_file("many", "many:1025: there are too many entries, valid are "
                    "up to 1024");

    put("sparse", "");
    sparse = in_top("sparse");
    g_assert_cmpint(truncate(sparse, 1ll << 40), ==, 0);
    expect_bad_file("sparse", "is larger than 65536 bytes");

    /* Nobody writes to it: opening it the usual way would wait for ever. */
    path = in_top("fifo");
    g_assert_cmpint(mkfifo(path, 0666), ==, 0);
    alarm(20);
    expect_bad_file("fifo", "is a pipe, a regular file");
    alarm(0);

    g_free(path);
    path = in_top("socket");
    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    expect_bad_file("socket", "is a socket, a regular file");
    close(fd);

    g_assert_null(vamp_cpumap_from_file("/dev/zero", &err));
    expect(&err, "/dev/zero is a device, a regular file");

    put("secret", "0 0\n");
    g_free(path);
    path = in_top("secret");
    g_assert_cmpint(chmod(path, 0), ==, 0);
    if (access(path, R_OK) < 0) {
        expect_bad_file("secret", "Permission denied");
    }
    end();
}

/* --- does a map fit? --------------------------------------------------- */

static void expect_invalid(const char *pairs, unsigned vcpus, bool strict,
                           bool shared, const char *part)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_from_pairs(pairs, &error_abort);
    VampCpuPaths paths = mock_paths();
    VampHostCpus host;
    Error *err = NULL;

    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    if (!part) {
        g_assert_true(vamp_cpumap_valid(map, &host, vcpus, strict, shared,
                                        &error_abort));
        return;
    }
    g_assert_false(vamp_cpumap_valid(map, &host, vcpus, strict, shared, &err));
    expect(&err, part);
}

static void test_valid(void)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_new();
    VampCpuPaths paths;
    VampHostCpus host;
    VampCpus cpus;
    Error *err = NULL;

    mock_begin("", NULL);
    expect_invalid("0-0,1-7", 2, true, false, NULL);
    expect_invalid("1-7", 2, false, false, NULL);
    expect_invalid("1-7", 2, true, false, "map: vCPU 0 is left out");
    expect_invalid("0-0,2-1", 2, false, false,
                   "map, pair 2: vCPU 2 does not exist, valid is 0 to 1");
    expect_invalid("0-0,1-9", 2, false, false,
                   "map, pair 2: host CPU 9 does not exist, valid is 0-8");
    expect_invalid("0-2147483647", 2, false, false,
                   "host CPU 2147483647 does not exist");
    expect_invalid("0-8", 2, false, false,
                   "map, pair 1: host CPU 8 is offline, online is 0-7");
    expect_invalid("0-1,0-2", 2, false, true,
                   "map, pair 2: vCPU 0 is mapped already (map, pair 1)");
    expect_invalid("0-1,1-1", 2, false, false,
                   "map, pair 2: host CPU 1 is used already (map, pair 1)");
    expect_invalid("0-1,1-1", 2, true, true, NULL);

    paths = mock_paths();
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    g_assert_true(vamp_cpus_parse(&cpus, "emulator", "0-7", &error_abort));
    g_assert_true(vamp_cpus_valid(&cpus, &host, "emulator", &error_abort));
    g_assert_true(vamp_cpus_parse(&cpus, "emulator", "0-8", &error_abort));
    g_assert_false(vamp_cpus_valid(&cpus, &host, "emulator", &err));
    expect(&err, "emulator: host CPU 8 is offline");

    /* From QMP: any 64-bit numbers, any length */
    g_assert_false(vamp_cpumap_valid(map, &host, 2, false, false, &err));
    expect(&err, "map: there is no entry");
    g_assert_false(vamp_cpumap_add(map, -1, 0, &err));
    expect(&err, "map, pair 1: a number has a sign");
    g_assert_false(vamp_cpumap_add(map, 0, 1ll << 32, &err));
    expect(&err, "map, pair 1: a number is too large");
    for (int i = 0; i < 1024; i++) {
        g_assert_true(vamp_cpumap_add(map, i, i, &error_abort));
    }
    g_assert_false(vamp_cpumap_add(map, 1024, 1024, &err));
    expect(&err, "map, pair 1025: there are too many");
    mock_end();
}

/* --- locks ------------------------------------------------------------- */

static VampLocks *open_locks(const char *holder)
{
    g_autofree char *dir = in_top("locks");
    bool host_wide;
    VampLocks *locks = vamp_locks_open(dir, NULL, holder, &host_wide,
                                       &error_abort);

    g_assert_true(host_wide);
    return locks;
}

static void cpus_of(VampCpus *cpus, const char *list)
{
    g_assert_true(vamp_cpus_parse(cpus, "test", list, &error_abort));
}

static void take(VampLocks *locks, const char *list, const char *want_added)
{
    VampCpus cpus, added;

    cpus_of(&cpus, list);
    g_assert_true(vamp_locks_take(locks, &cpus, &added, &error_abort));
    expect_cpus(&added, want_added);
}

static void take_fails(VampLocks *locks, const char *list, const char *part)
{
    VampCpus cpus, added;
    Error *err = NULL;

    cpus_of(&cpus, list);
    g_assert_false(vamp_locks_take(locks, &cpus, &added, &err));
    expect_cpus(&added, "none");
    expect(&err, part);
}

static void test_locks(void)
{
    g_autofree char *a_text = g_strdup_printf("'a', pid %d", (int)getpid());
    g_autofree char *who = NULL;
    VampLocks *a, *b;
    VampCpus cpus;
    g_autofree char *dir = NULL;
    struct stat st;

    begin();
    a = open_locks(a_text);
    b = open_locks("'b', pid 1");
    dir = in_top("locks");
    g_assert_cmpstr(vamp_locks_dir(a), ==, dir);
    g_assert_cmpint(stat(dir, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 01777);

    take(a, "2-3", "2-3");
    g_assert_true(vamp_locks_held(a, 3));
    take(a, "3-4", "4");
    take_fails(b, "3", "host CPU 3 is claimed by another VM: 'a', pid ");
    /* All or nothing: CPU 1 is free again */
    take_fails(b, "1-2", "host CPU 2 is claimed");
    g_assert_false(vamp_locks_held(b, 1));
    take(a, "1", "1");

    who = vamp_locks_holder(b, 2);
    g_assert_cmpstr(who, ==, a_text);
    g_assert_null(vamp_locks_holder(a, 2));
    g_assert_null(vamp_locks_holder(b, 7));

    cpus_of(&cpus, "2,7");
    vamp_locks_drop(a, &cpus);
    g_assert_null(vamp_locks_holder(b, 2));
    take(b, "2", "2");
    take_fails(a, "2", "'b', pid 1");
    vamp_locks_close(a);
    take(b, "1-4", "1,3-4");
    vamp_locks_close(b);
    vamp_locks_close(NULL);
    end();
}

/* A killed VM leaves its text, but neither its lock nor a warning. */
static void test_locks_killed(void)
{
    int ready[2], status;
    char byte;
    pid_t pid;
    VampLocks *locks;

    begin();
    g_assert_cmpint(pipe(ready), ==, 0);
    pid = fork();
    if (pid == 0) {
        g_autofree char *text = g_strdup_printf("'gone', pid %d",
                                                (int)getpid());

        take(open_locks(text), "5", "5");
        g_assert_cmpint(write(ready[1], "x", 1), ==, 1);
        pause();
        _exit(0);
    }
    g_assert_cmpint(pid, >, 0);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    locks = open_locks("'b', pid 1");
    take_fails(locks, "5", "'gone', pid ");
    g_free(vamp_locks_holder(locks, 5));
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_null(vamp_locks_holder(locks, 5));
    take(locks, "5", "5");
    vamp_locks_close(locks);
    close(ready[0]);
    close(ready[1]);
    end();
}

static void test_locks_hostile(void)
{
    g_autofree char *fifo = NULL;
    g_autofree char *link_path = NULL;
    g_autofree char *victim = NULL;
    g_autofree char *lock = NULL;
    g_autofree char *text = NULL;
    VampLocks *a, *b;

    begin();
    a = open_locks("'\x1b[2J\xff%s%n'");
    b = open_locks("'b', pid 1");
    take(a, "0", "0");
    take_fails(b, "0", "another VM: '?[2J?%s%n' (lock");

    fifo = in_top("locks/cpu1");
    g_assert_cmpint(mkfifo(fifo, 0666), ==, 0);
    alarm(20);
    take_fails(a, "1", "cpu1, is not a regular file");
    g_assert_null(vamp_locks_holder(a, 1));
    alarm(0);

    put("victim", "precious");
    victim = in_top("victim");
    link_path = in_top("locks/cpu2");
    g_assert_cmpint(symlink(victim, link_path), ==, 0);
    take_fails(a, "2", "cannot open the lock of host CPU 2");
    g_assert_true(g_file_get_contents(victim, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "precious");

    /* Somebody cleans up: the next one makes a new file. */
    lock = in_top("locks/cpu0");
    g_assert_cmpint(unlink(lock), ==, 0);
    take(b, "0", "0");
    vamp_locks_close(a);
    vamp_locks_close(b);
    end();
}

static void test_locks_folders(void)
{
    g_autofree char *host = NULL;
    g_autofree char *user = NULL;
    bool host_wide = true;
    struct stat st;
    Error *err = NULL;
    VampLocks *locks;

    begin();
    put("file", "");
    host = in_top("file");
    user = in_top("user");
    locks = vamp_locks_open(host, user, "x", &host_wide, &error_abort);
    g_assert_false(host_wide);
    g_assert_cmpstr(vamp_locks_dir(locks), ==, user);
    g_assert_cmpint(stat(user, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0700);
    vamp_locks_close(locks);

    g_assert_null(vamp_locks_open(host, host, "x", &host_wide, &err));
    expect(&err, "cannot open");
    g_assert_null(vamp_locks_open(NULL, NULL, "x", &host_wide, &err));
    expect(&err, "there is no folder for locks");
    end();
}

/* --- affinity ---------------------------------------------------------- */

typedef struct Threads {
    VampPins *pins;
    GPtrArray *list;
    VampScratchThread *scratch[2];
    VampCpus all;               /* of this process */
    unsigned a, b;              /* two of them */
} Threads;

static VampThread *thread_at(Threads *t, unsigned i)
{
    return g_ptr_array_index(t->list, i);
}

static bool threads_begin(Threads *t)
{
    memset(t, 0, sizeof(*t));
    g_assert_cmpint(vamp_affinity_get(getpid(), &t->all), ==, 0);
    t->a = find_first_bit(t->all.bits, VAMP_CPUS_MAX);
    t->b = find_next_bit(t->all.bits, VAMP_CPUS_MAX, t->a + 1);
    if (t->b >= VAMP_CPUS_MAX) {
        g_test_skip("needs two CPUs");
        return false;
    }
    t->pins = vamp_pins_new(&vamp_cpu_paths);
    t->list = g_ptr_array_new_with_free_func(vamp_thread_free);
    for (int i = 0; i < 2; i++) {
        VampThread *thread = g_new0(VampThread, 1);

        t->scratch[i] = vamp_scratch_start(&error_abort);
        thread->kind = VAMP_THREAD_KIND_VCPU;
        thread->vcpu = i;
        thread->tid = vamp_scratch_tid(t->scratch[i]);
        g_ptr_array_add(t->list, thread);
    }
    return true;
}

static void threads_end(Threads *t)
{
    for (int i = 0; i < 2; i++) {
        vamp_scratch_stop(t->scratch[i]);
    }
    g_ptr_array_unref(t->list);
    vamp_pins_free(t->pins);
}

static void restore(Threads *t)
{
    g_autoptr(GArray) tids = g_array_new(FALSE, FALSE, sizeof(pid_t));

    for (unsigned i = 0; i < t->list->len; i++) {
        g_array_append_val(tids, thread_at(t, i)->tid);
    }
    vamp_pins_restore(t->pins, tids);
}

static void want(Threads *t, unsigned i, unsigned cpu)
{
    VampThread *thread = thread_at(t, i);

    bitmap_zero(thread->cpus.bits, VAMP_CPUS_MAX);
    set_bit(cpu, thread->cpus.bits);
    thread->pin = true;
}

static void set_foreign(Threads *t, unsigned i, unsigned cpu)
{
    VampCpus cpus = { };

    set_bit(cpu, cpus.bits);
    g_assert_cmpint(vamp_affinity_set(thread_at(t, i)->tid, &cpus), ==, 0);
}

static void expect_all(Threads *t, unsigned i)
{
    VampCpus now;

    g_assert_cmpint(vamp_affinity_get(thread_at(t, i)->tid, &now), ==, 0);
    g_assert_true(bitmap_equal(now.bits, t->all.bits, VAMP_CPUS_MAX));
}

static void expect_one(Threads *t, unsigned i, unsigned cpu)
{
    VampCpus now, one = { };

    set_bit(cpu, one.bits);
    g_assert_cmpint(vamp_affinity_get(thread_at(t, i)->tid, &now), ==, 0);
    g_assert_true(bitmap_equal(now.bits, one.bits, VAMP_CPUS_MAX));
}

static void expect_described(Threads *t, unsigned i, bool as_wanted,
                             bool has_found, const char *part)
{
    char *affinity, *found, *reason;

    g_assert_cmpint(vamp_pins_describe(t->pins, thread_at(t, i), &affinity,
                                       &found, &reason), ==, as_wanted);
    g_assert_nonnull(affinity);
    g_assert_cmpint(found != NULL, ==, has_found);
    g_assert_nonnull(strstr(reason, part));
    g_free(affinity);
    g_free(found);
    g_free(reason);
}

static void test_pin(void)
{
    Threads t;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.a);
    expect_one(&t, 1, t.b);
    expect_described(&t, 0, true, true, "as mapped");

    /* The other way round, then one of them back to what was found */
    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.b);
    expect_one(&t, 1, t.a);
    thread_at(&t, 1)->pin = false;
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_all(&t, 1);
    expect_described(&t, 1, true, false, "left as it was found");

    restore(&t);
    expect_all(&t, 0);
    expect_all(&t, 1);
    threads_end(&t);
}

/* Nothing of a change stays when a part of it fails, at either end. */
static void test_pin_atomic(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, VAMP_CPUS_MAX - 1);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "vCPU 1 (thread ");
    expect_all(&t, 0);
    expect_all(&t, 1);

    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    want(&t, 0, t.a);
    want(&t, 1, VAMP_CPUS_MAX - 1);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "host CPU 8191: it is offline");
    expect_one(&t, 0, t.b);
    expect_one(&t, 1, t.a);

    /* What was found is not forgotten by that. */
    restore(&t);
    expect_all(&t, 0);
    expect_all(&t, 1);
    threads_end(&t);
}

static void test_pin_foreign(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    /* libvirt's vcpupin came first: it is not fought, but can be agreed with */
    set_foreign(&t, 1, t.b);
    want(&t, 0, t.b);
    want(&t, 1, t.a);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "somebody else (libvirt's vcpupin");
    expect_all(&t, 0);
    expect_one(&t, 1, t.b);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));

    /* Somebody changes it later: that stays, the other one is put back. */
    set_foreign(&t, 1, t.a);
    expect_described(&t, 1, false, false, "somebody else has changed it");
    want(&t, 1, t.b);
    g_assert_false(vamp_pins_apply(t.pins, t.list, &err));
    expect(&err, "somebody else");
    expect_one(&t, 0, t.b);
    restore(&t);
    expect_all(&t, 0);
    expect_one(&t, 1, t.a);
    threads_end(&t);
}

/* Threads that were moved to another cpuset, and such that were pinned. */
static void test_pin_renew(void)
{
    Threads t;
    Error *err = NULL;

    if (!threads_begin(&t)) {
        return;
    }
    want(&t, 0, t.a);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    g_assert_cmpint(vamp_affinity_set(thread_at(&t, 1)->tid, &t.all), ==, 0);
    g_assert_true(vamp_pins_renew(t.pins, t.list, &error_abort));
    expect_one(&t, 0, t.a);
    expect_one(&t, 1, t.b);
    expect_described(&t, 1, true, true, "as mapped");

    /* Also one that a map may move wherever it is. */
    thread_at(&t, 1)->kind = VAMP_THREAD_KIND_EMULATOR;
    set_foreign(&t, 1, t.a);
    g_assert_true(vamp_affinity_set(thread_at(&t, 0)->tid, &t.all) == 0);
    g_assert_false(vamp_pins_renew(t.pins, t.list, &err));
    expect(&err, "somebody else (libvirt's vcpupin");
    expect_all(&t, 0);
    expect_one(&t, 1, t.a);
    threads_end(&t);
}

/* A thread made by the pinned main thread goes back to what that one had. */
static void test_pin_inherited(void)
{
    Threads t;
    VampThread *main_thread = g_new0(VampThread, 1);

    if (!threads_begin(&t)) {
        g_free(main_thread);
        return;
    }
    main_thread->kind = VAMP_THREAD_KIND_EMULATOR;
    main_thread->tid = getpid();
    main_thread->pin = true;
    set_bit(t.a, main_thread->cpus.bits);
    g_ptr_array_add(t.list, main_thread);
    want(&t, 0, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 2, t.a);
    expect_all(&t, 1);

    /* Hotplug: vCPU 1 again, now with a new thread */
    vamp_scratch_stop(t.scratch[1]);
    vamp_pins_forget(t.pins, thread_at(&t, 1)->tid);
    t.scratch[1] = vamp_scratch_start(&error_abort);
    thread_at(&t, 1)->tid = vamp_scratch_tid(t.scratch[1]);
    expect_one(&t, 1, t.a);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_all(&t, 1);
    want(&t, 1, t.b);
    g_assert_true(vamp_pins_apply(t.pins, t.list, &error_abort));
    expect_one(&t, 1, t.b);

    vamp_pins_keep(t.pins, t.list);
    restore(&t);
    for (int i = 0; i < 3; i++) {
        expect_all(&t, i);
    }
    threads_end(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap-host/lists", test_lists);
    g_test_add_func("/cpumap-host/host", test_host);
    g_test_add_func("/cpumap-host/host/unknown", test_host_unknown);
    g_test_add_func("/cpumap-host/warnings", test_warnings);
    g_test_add_func("/cpumap-host/cpuset", test_cpuset);
    g_test_add_func("/cpumap-host/file", test_file);
    g_test_add_func("/cpumap-host/file/bad", test_file_bad);
    g_test_add_func("/cpumap-host/valid", test_valid);
    g_test_add_func("/cpumap-host/locks", test_locks);
    g_test_add_func("/cpumap-host/locks/killed", test_locks_killed);
    g_test_add_func("/cpumap-host/locks/hostile", test_locks_hostile);
    g_test_add_func("/cpumap-host/locks/folders", test_locks_folders);
    g_test_add_func("/cpumap-host/pin", test_pin);
    g_test_add_func("/cpumap-host/pin/atomic", test_pin_atomic);
    g_test_add_func("/cpumap-host/pin/foreign", test_pin_foreign);
    g_test_add_func("/cpumap-host/pin/renew", test_pin_renew);
    g_test_add_func("/cpumap-host/pin/inherited", test_pin_inherited);
    return g_test_run();
}
