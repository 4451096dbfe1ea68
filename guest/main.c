/*
 * vdiguest: inside a desktop VM, keeps background work away from the vCPUs
 * that serve the user
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/hints.h"
#include "guest/control.h"
#include "guest/cpus.h"
#include "guest/daemon.h"
#include "guest/log.h"

/*
 * With --daemon: the parent waits until the child is ready or has failed.
 * The pipe's end to write in the child; -1 without --daemon.
 */
static int detach(void)
{
    int ends[2], status;
    char ready;
    pid_t pid;

    pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid < 0) {
        fprintf(stderr, "vdiguest: --daemon: %s\n", g_strerror(errno));
        exit(EXIT_FAILURE);
    }
    if (pid > 0) {
        close(ends[1]);
        if (read(ends[0], &ready, 1) == 1) {
            exit(EXIT_SUCCESS);
        }
        waitpid(pid, &status, 0);
        exit(EXIT_FAILURE);
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

static void detached(int ready)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    log_to_syslog();
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
    }
    if (chdir("/") < 0 || write(ready, "", 1) < 0) {
        log_warn("the parent has gone");
    }
    close(ready);
}

/*
 * Every other task may want the CPU when the user comes: above all of them,
 * for the short time that it takes.
 */
static void run_first(void)
{
    struct sched_param p = { .sched_priority = 1 };

    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) < 0) {
        log_warn("no real-time class: %s (on a full guest it will be late)",
                 g_strerror(errno));
    }
}

/*
 * What is done at a key is done seldom, and the user waits for it: it is in
 * memory then, also where a guest short of it has asked for all that is not in
 * use. What comes later stays once it was touched.
 */
static void stay_in_memory(void)
{
    if (mlockall(MCL_CURRENT) < 0 || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0) {
        log_warn("memory cannot be locked: %s (on a guest that is short of it "
                 "it will be late)", g_strerror(errno));
    }
}

static gboolean stop(gpointer opaque)
{
    g_main_loop_quit(opaque);
    return G_SOURCE_CONTINUE;
}

static int serve(const Options *o)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, false);
    g_autoptr(GError) err = NULL;
    int ready = o->daemon ? detach() : -1;
    Daemon *d;

    signal(SIGPIPE, SIG_IGN);
    umask(022);
    g_unix_signal_add(SIGINT, stop, loop);
    g_unix_signal_add(SIGTERM, stop, loop);
    g_unix_signal_add(SIGHUP, stop, loop);
    run_first();
    d = daemon_begin(o, &err);
    if (!d) {
        fprintf(stderr, "vdiguest: %s\n", err->message);
        return EXIT_FAILURE;
    }
    stay_in_memory();
    if (ready >= 0) {
        detached(ready);
    }
    log_info(LOG_START, "ready");
    g_main_loop_run(loop);
    daemon_end(d);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Options o;
    CpuSet online;
    int status = EXIT_SUCCESS;
    unsigned cpus = cpus_online(&online) == 0 ? cpus_count(&online) : 0;

    if (!options_parse(&o, argc, argv, cpus, &err)) {
        fprintf(stderr, "vdiguest: %s\n", err->message);
        status = EXIT_FAILURE;
    } else if (o.help) {
        options_usage(argv[0]);
    } else if (o.version) {
        printf("vdiguest %s, hints protocol %u, input: %s, sound: %s\n",
               VDIGUEST_VERSION, VAMP_HINTS_VERSION, VDIGUEST_INPUT,
               VDIGUEST_SOUND);
    } else if (o.status) {
        status = control_ask(o.socket, o.json);
    } else if (geteuid() != 0) {
        fprintf(stderr, "vdiguest: user %u may not move the tasks of others "
                "(root would be needed)\n", (unsigned)geteuid());
        status = EXIT_FAILURE;
    } else {
        log_set_level(o.verbosity);
        status = serve(&o);
    }
    options_clear(&o);
    return status;
}
