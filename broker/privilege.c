/*
 * What the broker may do: as little as serves
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <cap-ng.h>
#include <seccomp.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "broker/broker.h"

void privilege_real_time(void)
{
    TaskSched s = { .policy = SCHED_RR, .prio = PRIO_BROKER, .flags = 1 };
    struct rlimit r;
    int ret = task_sched_set(0, &s);

    if (ret < 0) {
        warn_report("cannot run in real-time class: %s (on a full host, the "
                    "broker will be late)", strerror(-ret));
    }
    /* A descriptor or two for each thread of each VM. */
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/*
 * What the loop, GLib's files and memory, and the changes need. What else a
 * library might try is refused, not deadly: a broker that dies leaves threads
 * in real-time class until the next one begins.
 */
static const char *const allowed[] = {
    /* The loop and its clocks */
    "epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "ppoll",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep",
    "gettimeofday", "time",
    /* The conversation */
    "accept4", "recvfrom", "recvmsg", "sendmsg", "sendto", "getsockopt",
    "getsockname", "shutdown", "pidfd_open", "memfd_create", "ftruncate",
    "fcntl", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk",
    /* Files: /proc, control groups, the state file, the metrics */
    "open", "openat", "close", "read", "pread64", "write", "pwrite64",
    "writev", "lseek", "fstat", "newfstatat", "stat", "lstat", "statx",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "getdents64", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename",
    "renameat", "renameat2", "fsync", "fdatasync", "flock", "fchmod", "chmod",
    "fallocate", "ioctl", "umask", "getcwd", "dup",
    /* Threads of others, and who we are */
    "sched_getattr", "sched_setattr", "sched_getaffinity", "sched_yield",
    "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrlimit",
    "prlimit64", "getrandom", "sysinfo", "uname",
    /* The end */
    "exit", "exit_group", "rt_sigreturn", "rt_sigaction", "rt_sigprocmask",
    "sigaltstack", "futex", "restart_syscall", "tgkill", "set_robust_list",
    "rseq",
};

static bool filter_calls(Error **errp)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    unsigned i;
    int ret = ctx ? 0 : -ENOMEM;

    for (i = 0; ret == 0 && i < ARRAY_SIZE(allowed); i++) {
        int nr = seccomp_syscall_resolve_name(allowed[i]);

        /* Not every machine has every old one. */
        if (nr != __NR_SCMP_ERROR && nr >= 0) {
            ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
        }
    }
    ret = ret ?: seccomp_load(ctx);
    if (ctx) {
        seccomp_release(ctx);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "the system call filter cannot be set "
                         "(--sandbox off would go without)");
    }
    return ret == 0;
}

/*
 * SYS_NICE: classes of other users' threads, and real-time class.
 * DAC_OVERRIDE: groups that were delegated to a user belong to that user.
 */
bool privilege_drop(bool sandbox, Error **errp)
{
    if (geteuid() == 0) {
        capng_clear(CAPNG_SELECT_BOTH);
        capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
                      CAP_SYS_NICE, CAP_DAC_OVERRIDE, -1);
        if (capng_apply(CAPNG_SELECT_BOTH) < 0) {
            error_setg(errp, "capabilities cannot be dropped");
            return false;
        }
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        error_setg_errno(errp, errno, "PR_SET_NO_NEW_PRIVS cannot be set");
        return false;
    }
    return !sandbox || filter_calls(errp);
}
