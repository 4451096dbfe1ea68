/*
 * VAMP actuators: does a seccomp filter stand in the way?
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "qapi/error.h"
#include "qemu/config-file.h"
#include "qemu/option.h"
#include "hw/vamp/probe-util.h"

#define CHILD_WAIT_MS   300

typedef struct OwnSandbox {
    unsigned filters;           /* -sandbox options that are on */
    bool resourcecontrol_deny;
} OwnSandbox;

static int sandbox_option(void *opaque, QemuOpts *opts, Error **errp)
{
    OwnSandbox *own = opaque;

    if (qemu_opt_get_bool(opts, "enable", false)) {
        own->filters++;
        if (!g_strcmp0(qemu_opt_get(opts, "resourcecontrol"), "deny")) {
            own->resourcecontrol_deny = true;
        }
    }
    return 0;
}

/*
 * Is a filter at work that did not come from QEMU's -sandbox? Linux counts the
 * filters since 5.9; before that, QEMU's own is taken to be the only one.
 */
static bool foreign_filter(const VampHostPaths *paths, unsigned own)
{
    g_autofree char *name = g_strdup_printf("%s/self/status", paths->proc);
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents(name, &text, NULL, NULL)) {
        return true;            /* not known: trying in a child is harmless */
    }
    line = strstr(text, "\nSeccomp:\t");
    if (!line || atoi(line + strlen("\nSeccomp:\t")) == 0) {
        return false;
    }
    line = strstr(text, "\nSeccomp_filters:\t");
    if (!line) {
        return !own;
    }
    return atoi(line + strlen("\nSeccomp_filters:\t")) > own;
}

/*
 * Not fork(): an atfork handler can give the child an RCU thread of its own
 * (rcu_init_child(), unless disabled), and then a filter that kills the thread
 * which makes the call would leave a process behind that never ends.
 */
static pid_t bare_fork(void)
{
#ifdef HOST_S390X
    return syscall(SYS_clone, 0, SIGCHLD, 0, 0, 0);
#else
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

static bool try_in_child(const char *what, void (*calls)(void), Error **errp)
{
    int status = 0, ms;
    pid_t pid, ret;

    /*
     * No worse than what QEMU does anyway: pthread_create() is the same system
     * call, and filters that tell the two apart by the flags answer with an
     * errno (so does QEMU's own spawn=deny: EPERM).
     */
    pid = bare_fork();
    if (pid < 0) {
        error_setg_errno(errp, errno, "%s cannot be tried safely: a seccomp "
                         "filter that is not of QEMU's -sandbox is in force, "
                         "and a child process to try it in cannot be created",
                         what);
        return false;
    }
    if (pid == 0) {
        /* The end of this process is expected: no core dump, no handler. */
        prctl(PR_SET_DUMPABLE, 0);
        signal(SIGSYS, SIG_DFL);
        calls();
        _exit(0);
    }

    /* A filter may also hand the call to a supervisor that never answers. */
    for (ms = 0; ; ms++) {
        ret = waitpid(pid, &status, WNOHANG);
        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret != 0) {
            break;
        }
        if (ms == CHILD_WAIT_MS) {
            kill(pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
                /* wait on */
            }
            error_setg(errp, "%s cannot be used: a seccomp filter that is not "
                       "of QEMU's -sandbox did not answer within %d ms", what,
                       CHILD_WAIT_MS);
            return false;
        }
        g_usleep(1000);
    }

    /* ret < 0: somebody else has reaped it, so nothing is known. */
    if (ret < 0 || !WIFEXITED(status)) {
        error_setg(errp, "%s cannot be used: a seccomp filter that is not of "
                   "QEMU's -sandbox kills the caller (it would have to allow "
                   "what resourcecontrol=allow does)", what);
        return false;
    }
    return true;
}

bool vamp_seccomp_check(const VampHostPaths *paths, const char *what,
                        void (*calls)(void), Error **errp)
{
    /* There is no such option group in a QEMU without libseccomp. */
    QemuOptsList *list = qemu_find_opts_err("sandbox", NULL);
    OwnSandbox own = { 0 };

    if (list) {
        qemu_opts_foreach(list, sandbox_option, &own, NULL);
    }
    if (own.resourcecontrol_deny) {
        /*
         * The filter of QEMU 10.0 would answer EPERM, but an audit rule may
         * watch it, and the action may change: do not even ask.
         */
        error_setg(errp, "%s cannot be used: -sandbox resourcecontrol=deny "
                   "forbids it (resourcecontrol=allow would be needed)", what);
        return false;
    }
    if (foreign_filter(paths, own.filters)) {
        return try_in_child(what, calls, errp);
    }
    return true;
}
