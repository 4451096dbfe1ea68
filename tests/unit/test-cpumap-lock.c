/*
 * Unit tests: locks on CPUs (hw/vamp/cpumap-lock.c)
 *
 * Claim: locks keep two VMs apart and end with their holder; what others put
 * into the folder does no harm.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include <glib/gstdio.h>
#include "hw/vamp/cpumap-lock.h"
#include "test-cpumap-util.h"

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap-host/locks", test_locks);
    g_test_add_func("/cpumap-host/locks/killed", test_locks_killed);
    g_test_add_func("/cpumap-host/locks/hostile", test_locks_hostile);
    g_test_add_func("/cpumap-host/locks/folders", test_locks_folders);
    return g_test_run();
}
