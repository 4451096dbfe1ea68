/*
 * The broker as a process of a test
 *
 * The program is $VAMP_BROKER, or ../broker/qemu-vamp-broker from this one.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_BROKER_UTIL_H
#define TEST_BROKER_UTIL_H

#include <sys/resource.h>
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "test-broker-vm.h"

/* No claim about speed: a machine may be as busy as it likes. */
#define PATIENCE_MS     60000

static char *program;
static char *folder;            /* with the socket and the state file */
static char *socket_path, *state_path, *log_path;
static pid_t broker;
/* Called in the broker's process before it becomes one, if not NULL. */
static void (*broker_prepare)(void);

/* Until @cond is true; else the test has failed. */
#define EVENTUALLY(cond)                                                \
    do {                                                                \
        unsigned eventually_ms;                                         \
        for (eventually_ms = 0; !(cond) && eventually_ms < PATIENCE_MS; \
             eventually_ms += 5) {                                      \
            pause_ms(5);                                                \
        }                                                               \
        if (!(cond)) {                                                  \
            g_autofree char *eventually_log = read_file(log_path);      \
            g_test_message("broker: %s", eventually_log);               \
        }                                                               \
        g_assert_true(cond);                                            \
    } while (0)

static inline char *read_file(const char *name)
{
    char *text = NULL;

    return g_file_get_contents(name, &text, NULL, NULL) ? text : g_strdup("");
}

/* --- the broker ---------------------------------------------------------- */

/* What is not about it does not wait for main loops that linger. */
static inline void broker_spawn(const char *const *more)
{
    const char *sandbox = getenv("VAMP_BROKER_SANDBOX") ?: "on";
    const char *argv[24] = {
        program, "--socket", socket_path, "--state", state_path, "--mode",
        "666", "--sandbox", sandbox, "--linger", "0",
    };
    unsigned n = 11;
    int log;

    while (more && *more) {
        argv[n++] = *more++;
    }
    broker = fork();
    g_assert_cmpint(broker, >=, 0);
    if (broker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (broker_prepare) {
            broker_prepare();
        }
        log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, 1);
        dup2(log, 2);
        execv(program, (char **)argv);
        _exit(127);
    }
}

static inline bool broker_listens(void)
{
    int fd = vm_connect(socket_path);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static inline void broker_start(const char *const *more)
{
    unlink(log_path);
    broker_spawn(more);
    EVENTUALLY(broker_listens());
}

static inline int broker_wait(void)
{
    int status = 0;

    g_assert_cmpint(waitpid(broker, &status, 0), ==, broker);
    broker = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void broker_stop(void)
{
    kill(broker, SIGTERM);
    g_assert_cmpint(broker_wait(), ==, 0);
    /* Nothing is noted that would have to be undone. */
    g_assert_cmpint(access(state_path, F_OK), <, 0);
}

static inline void broker_kill(void)
{
    kill(broker, SIGKILL);
    g_assert_cmpint(broker_wait(), ==, 128 + SIGKILL);
}

/* Runs the program as a client; its output. */
static inline char *broker_ask(const char *const *args)
{
    const char *argv[8] = { program, "--socket", socket_path };
    unsigned n = 3;
    g_autofree char *err = NULL;
    char *out = NULL;

    while (*args) {
        argv[n++] = *args++;
    }
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out,
                               &err, NULL, NULL));
    return out;
}

static inline QDict *broker_status(void)
{
    const char *const args[] = { "--status", "--json", NULL };
    g_autofree char *text = broker_ask(args);
    QDict *all = qobject_to(QDict, qobject_from_json(text, NULL));

    g_assert_nonnull(all);
    return all;
}

static inline size_t broker_vms(void)
{
    QDict *all = broker_status();
    size_t n = qlist_size(qdict_get_qlist(all, "vms"));

    qobject_unref(all);
    return n;
}

static inline bool log_has(const char *text)
{
    g_autofree char *log = read_file(log_path);

    return strstr(log, text) != NULL;
}

/* --- what threads are ---------------------------------------------------- */

static inline bool is_sched(pid_t tid, int policy, int prio)
{
    struct sched_param p = { 0 };

    return sched_getscheduler(tid) == policy &&
           sched_getparam(tid, &p) == 0 && p.sched_priority == prio;
}

#define RR (SCHED_RR | SCHED_RESET_ON_FORK)

static inline bool is_found(pid_t tid)
{
    return is_sched(tid, SCHED_OTHER, 0) &&
           getpriority(PRIO_PROCESS, tid) == 0;
}

static inline bool all_found(const TestVm *vm)
{
    unsigned i;

    for (i = 0; i < VM_THREADS; i++) {
        if (!is_found(vm->shared->tid[i])) {
            return false;
        }
    }
    return is_found(vm->pid);
}

/* Thread 0 is interactive, thread 1 in the background. */
static inline void phase_begin(TestVm *vm)
{
    vm_class(vm, 1, VAMP_CLASS_BACKGROUND);
    vm_class(vm, 0, VAMP_CLASS_INTERACTIVE);
    EVENTUALLY(is_sched(vm->shared->tid[0], RR, 1));
}

static inline void phase_end(TestVm *vm)
{
    vm_class(vm, 0, VAMP_CLASS_NEUTRAL);
    vm_class(vm, 1, VAMP_CLASS_NEUTRAL);
}

static inline bool can_run(void)
{
    struct sched_param p = { .sched_priority = 1 };
    bool ok = geteuid() == 0 && access(program, X_OK) == 0 &&
              sched_setscheduler(0, SCHED_RR, &p) == 0;

    p.sched_priority = 0;
    sched_setscheduler(0, SCHED_OTHER, &p);
    return ok;
}

static inline void find_program(const char *self)
{
    g_autofree char *dir = g_path_get_dirname(self);

    program = g_strdup(getenv("VAMP_BROKER"));
    if (!program) {
        program = g_build_filename(dir, "..", "broker", "qemu-vamp-broker",
                                   NULL);
    }
}


/* False: it was said why there is nothing to run. */
static inline bool broker_test_begin(const char *self)
{
    find_program(self);
    if (!can_run()) {
        printf("1..0 # SKIP %s: real-time class, as root, would be needed\n",
               program);
        return false;
    }
    folder = g_dir_make_tmp("vamp-broker-XXXXXX", NULL);
    g_assert_nonnull(folder);
    g_assert_cmpint(chmod(folder, 0755), ==, 0);
    socket_path = g_build_filename(folder, "socket", NULL);
    state_path = g_build_filename(folder, "state", NULL);
    log_path = g_build_filename(folder, "log", NULL);
    return true;
}

static inline void broker_test_end(void)
{
    g_autofree char *lock = g_strconcat(state_path, ".lock", NULL);

    if (broker > 0) {
        broker_kill();
    }
    unlink(lock);
    unlink(log_path);
    unlink(state_path);
    unlink(socket_path);
    rmdir(folder);
}

#endif /* TEST_BROKER_UTIL_H */
