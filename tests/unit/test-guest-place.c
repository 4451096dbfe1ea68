/*
 * Unit tests: vdiguest finds slow tasks (guest/scan.h), evicts them and undoes
 * what one before it had just begun (guest/place.h), and moves threads into
 * groups of this machine's cgroup v1 (guest/groups.h), where it has one
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "guest/groups.h"
#include "guest/place.h"
#include "guest/procfs.h"
#include "guest/scan.h"

#define LOOK_MS     200
#define TRIES       150     /* on a machine where others want all CPUs */
#define CPUSET      "/sys/fs/cgroup/cpuset"

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void burn(void)
{
    for (;;) {
        __asm__ volatile("");
    }
}

static gpointer burn_thread(gpointer opaque)
{
    burn();
    return NULL;
}

/* Short work in one child after the other, as make has it. */
static void burn_in_children(void)
{
    for (;;) {
        pid_t pid = fork();

        if (pid == 0) {
            uint64_t until = now() + 50000000;

            while (now() < until) {
                __asm__ volatile("");
            }
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
}

enum { BURN, BURN_THREAD, BURN_CHILDREN, SLEEP };

static pid_t start(int how)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (how == BURN) {
            burn();
        } else if (how == BURN_CHILDREN) {
            burn_in_children();
        } else if (how == BURN_THREAD) {
            g_thread_new("worker", burn_thread, NULL);
        }
        for (;;) {
            pause();
        }
    }
    g_assert_cmpint(pid, >, 0);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The slow task that belongs to @pid; looks until there is one. */
static bool find(Scan *s, pid_t pid, SlowTask *task)
{
    unsigned try, i;
    bool found = false;

    for (try = 0; try < TRIES && !found; try++) {
        uint64_t t;
        GArray *slow;

        g_usleep(LOOK_MS * 1000);
        t = now();
        /* The machine's CPU time is not known here: as if all was used. */
        scan_look(s, t, LOOK_MS * 64 * 1000000ull);
        slow = scan_slow(s, t, NULL);
        for (i = 0; i < slow->len && !found; i++) {
            *task = g_array_index(slow, SlowTask, i);
            found = task->pid == pid;
        }
        g_array_unref(slow);
    }
    return found;
}

static void test_thread(void)
{
    pid_t hog = start(BURN), idle = start(SLEEP);
    Scan *s = scan_new(10);
    GHashTable *exempt = g_hash_table_new(NULL, NULL);
    GArray *slow;
    SlowTask task;
    unsigned i;

    g_assert_true(find(s, hog, &task));
    g_assert_cmpint(task.kind, ==, SLOW_THREAD);
    g_assert_cmpint(task.id, ==, hog);
    g_assert_cmpuint(task.permille, >, 100);
    g_assert_true(scan_still_slow(s, now(), &task));
    g_assert_false(scan_is_kernel(s, hog));
    g_assert_true(scan_is_kernel(s, 2));

    /* Neither an idle process, nor this one, nor one that plays sound */
    g_hash_table_add(exempt, GINT_TO_POINTER(hog));
    slow = scan_slow(s, now(), exempt);
    for (i = 0; i < slow->len; i++) {
        const SlowTask *t = &g_array_index(slow, SlowTask, i);

        g_assert_cmpint(t->pid, !=, idle);
        g_assert_cmpint(t->pid, !=, hog);
        g_assert_cmpint(t->pid, !=, getpid());
    }
    g_array_set_size(slow, 0);
    g_array_append_val(slow, task);
    g_assert_true(scan_belongs(s, slow, hog, hog));
    g_assert_false(scan_belongs(s, slow, idle, idle));
    g_array_unref(slow);
    g_hash_table_unref(exempt);

    end(hog);
    for (i = 0; i < TRIES && scan_still_slow(s, now(), &task); i++) {
        g_usleep(LOOK_MS * 1000);
        scan_look(s, now(), 0);
    }
    g_assert_cmpuint(i, <, TRIES);
    end(idle);
    scan_free(s);
}

/* A busy worker does not take its process along. */
static void test_worker(void)
{
    pid_t pid = start(BURN_THREAD);
    Scan *s = scan_new(10);
    GArray *slow = g_array_new(false, false, sizeof(SlowTask));
    SlowTask task;

    g_assert_true(find(s, pid, &task));
    g_assert_cmpint(task.kind, ==, SLOW_THREAD);
    g_assert_cmpint(task.id, !=, pid);
    g_array_append_val(slow, task);
    g_assert_false(scan_belongs(s, slow, pid, pid));
    g_assert_true(scan_belongs(s, slow, pid, task.id));
    g_array_unref(slow);
    end(pid);
    scan_free(s);
}

/* Nobody lives long, but somebody waits for them all. */
static void test_children(void)
{
    pid_t pid = start(BURN_CHILDREN);
    Scan *s = scan_new(20);
    SlowTask task;

    g_assert_true(find(s, pid, &task));
    g_assert_cmpint(task.kind, ==, SLOW_JOB);
    end(pid);
    scan_free(s);
}

/* Killed before it knew who had such an affinity of his own. */
static void test_only(void)
{
    g_autofree char *dir = g_dir_make_tmp("vdiguest-XXXXXX", NULL);
    g_autofree char *name = g_build_filename(dir, "state", NULL);
    g_autofree char *lock = g_strconcat(name, ".lock", NULL);
    g_autoptr(GError) err = NULL;
    pid_t evicted = start(SLEEP), other = start(SLEEP);
    CpuSet all, fast, slow, mask;
    Place place = { .scan = scan_new(50) };

    g_assert_cmpint(cpus_get_affinity(0, &all), ==, 0);
    if (cpus_count(&all) < 2) {
        g_test_skip("one CPU");
    } else {
        cpus_split(&all, 1, &fast, &slow);
        g_assert_cmpint(cpus_set_affinity(evicted, &slow), ==, 0);
        g_assert_cmpint(cpus_set_affinity(other, &slow), ==, 0);
        place.file = state_open(name, &place.state, &err);
        g_assert_no_error(err);
        state_add_set(place.state, &slow);
        place.state->back = all;
        g_hash_table_add(place.state->only, GINT_TO_POINTER(evicted));
        place_restore(&place);
        g_assert_cmpint(cpus_get_affinity(evicted, &mask), ==, 0);
        g_assert_true(cpus_equal(&mask, &all));
        g_assert_cmpint(cpus_get_affinity(other, &mask), ==, 0);
        g_assert_true(cpus_equal(&mask, &slow));
        g_assert_true(state_is_empty(place.state));
        state_close(place.file, place.state);
        state_free(place.state);
        g_unlink(lock);
    }
    g_rmdir(dir);
    scan_free(place.scan);
    end(evicted);
    end(other);
}

static void add_slow(GArray *slow, pid_t pid)
{
    SlowTask t = { .kind = SLOW_THREAD, .id = pid, .pid = pid };

    g_array_append_val(slow, t);
}

static void assert_on(pid_t pid, const CpuSet *cpus)
{
    CpuSet mask;

    g_assert_cmpint(cpus_get_affinity(pid, &mask), ==, 0);
    g_assert_true(cpus_equal(&mask, cpus));
}

/* As one after a crash would read it. */
static State *read_state(const char *name)
{
    g_autofree char *text = NULL, *boot = NULL;
    State *st;
    unsigned bad;

    g_assert_cmpint(procfs_read(name, &text), ==, 0);
    g_assert_cmpint(procfs_read("/proc/sys/kernel/random/boot_id", &boot), ==,
                    0);
    st = state_parse(text, g_strchomp(boot), &bad);
    g_assert_cmpuint(bad, ==, 0);
    return st;
}

/*
 * Only who is slow leaves, also a second one before the others have a place.
 * Killed then, all of it is undone, also of a child whom the state cannot name.
 */
static void test_evict(void)
{
    g_autofree char *dir = g_dir_make_tmp("vdiguest-XXXXXX", NULL);
    g_autofree char *name = g_build_filename(dir, "state", NULL);
    g_autofree char *lock = g_strconcat(name, ".lock", NULL);
    g_autoptr(GError) err = NULL;
    GArray *slow_tasks = g_array_new(false, false, sizeof(SlowTask));
    pid_t hog = start(SLEEP), later = start(SLEEP), other = start(SLEEP), child;
    CpuSet all, fast, slow;
    Place place = { .scan = scan_new(50) }, next = { .scan = scan_new(50) };

    g_assert_cmpint(place_cpus(&all), ==, 0);
    if (cpus_count(&all) < 2) {
        g_test_skip("one CPU");
        goto out;
    }
    cpus_split(&all, 1, &fast, &slow);
    g_assert_cmpint(cpus_set_affinity(other, &slow), ==, 0);
    /* What was born in the same tick of the kernel's cannot be told apart. */
    g_usleep(50000);
    place.file = state_open(name, &place.state, &err);
    g_assert_no_error(err);

    add_slow(slow_tasks, hog);
    g_assert_true(place_evict(&place, &fast, &slow, slow_tasks));
    g_assert_true(place.split && place.partial);
    g_assert_cmpuint(place.nr_slow, ==, 1);
    assert_on(hog, &slow);
    assert_on(later, &all);
    add_slow(slow_tasks, later);
    g_assert_true(place_evict(&place, &fast, &slow, slow_tasks));
    g_assert_true(place.partial);
    assert_on(hog, &slow);
    assert_on(later, &slow);
    child = start(SLEEP);
    g_assert_cmpint(cpus_set_affinity(child, &slow), ==, 0);

    /* The child has the lock's file, too: so the text alone is taken. */
    next.file = place.file;
    next.state = read_state(name);
    place_restore(&next);
    assert_on(hog, &all);
    assert_on(later, &all);
    assert_on(child, &all);
    assert_on(other, &slow);
    g_assert_true(state_is_empty(next.state));
    state_close(next.file, next.state);
    state_free(place.state);
    state_free(next.state);
    g_unlink(lock);
    end(child);
out:
    g_rmdir(dir);
    g_array_unref(slow_tasks);
    scan_free(place.scan);
    scan_free(next.scan);
    end(hog);
    end(later);
    end(other);
}

static bool has(const Groups *g, const char *name, pid_t pid)
{
    GHashTable *tids = groups_threads(g, name);
    bool found = g_hash_table_contains(tids, GINT_TO_POINTER(pid));

    g_hash_table_unref(tids);
    return found;
}

static void move(const Groups *g, const char *name, pid_t pid)
{
    int fd = groups_open(g, name);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(groups_put(fd, pid), ==, 0);
    close(fd);
}

static void put(const char *dir, const char *file, const char *text)
{
    g_autofree char *name = g_build_filename(dir, file, NULL);

    g_assert_cmpint(procfs_write(name, text), ==, 0);
}

static void test_v1(void)
{
    g_autofree char *root = g_strdup_printf(CPUSET "/vdiguest-test-%d",
                                            (int)getpid());
    g_autofree char *fast_dir = g_build_filename(root, GROUPS_FAST, NULL);
    g_autofree char *all = NULL, *mems = NULL;
    CpuSet cpus, fast, slow, mask;
    Groups *g;
    pid_t pid;

    if (procfs_read(CPUSET "/cpuset.cpus", &all) < 0 ||
        procfs_read(CPUSET "/cpuset.mems", &mems) < 0 ||
        mkdir(root, 0755) < 0) {
        g_test_skip("no writable cpuset of cgroup v1 in " CPUSET);
        return;
    }
    put(root, "cpuset.cpus", g_strchomp(all));
    put(root, "cpuset.mems", g_strchomp(mems));
    g_assert_true(cpus_parse(&cpus, all));
    if (cpus_count(&cpus) < 2) {
        g_rmdir(root);
        g_test_skip("one CPU");
        return;
    }
    cpus_split(&cpus, 1, &fast, &slow);
    pid = start(SLEEP);
    g = groups_at(root, 1);
    move(g, NULL, pid);
    g_assert_true(has(g, NULL, pid));
    g_assert_false(groups_must_enable(g));
    g_assert_cmpint(groups_make(g, &fast, &slow), ==, 0);
    move(g, GROUPS_SLOW, pid);
    g_assert_true(has(g, GROUPS_SLOW, pid));
    g_assert_cmpint(cpus_get_affinity(pid, &mask), ==, 0);
    g_assert_true(cpus_equal(&mask, &slow));
    /* Other sets while somebody is in them */
    g_assert_cmpint(groups_make(g, &slow, &fast), ==, 0);
    g_assert_cmpint(cpus_get_affinity(pid, &mask), ==, 0);
    g_assert_true(cpus_equal(&mask, &fast));
    groups_free(g);

    /* As after a crash: only the folder is known. */
    g = groups_again(root, false);
    g_assert_cmpuint(g->version, ==, 1);
    g_assert_cmpint(groups_remove(g), ==, 0);
    g_assert_false(g_file_test(fast_dir, G_FILE_TEST_EXISTS));
    g_assert_true(has(g, NULL, pid));
    g_assert_cmpint(cpus_get_affinity(pid, &mask), ==, 0);
    g_assert_true(cpus_equal(&mask, &cpus));
    groups_free(g);
    end(pid);
    g_assert_cmpint(g_rmdir(root), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest/scan/thread", test_thread);
    g_test_add_func("/guest/scan/worker", test_worker);
    g_test_add_func("/guest/scan/children", test_children);
    g_test_add_func("/guest/place/only", test_only);
    g_test_add_func("/guest/place/evict", test_evict);
    g_test_add_func("/guest/groups/v1", test_v1);
    return g_test_run();
}
