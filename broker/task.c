/*
 * Threads of other processes: who they are, and how they are scheduled
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/syscall.h>
#include "qemu/cutils.h"
#include "broker/task.h"

/*
 * The kernel's struct sched_attr in its first version, which every kernel
 * takes. Not linux/sched/types.h's: that clashes with glibc's since 2.41.
 */
typedef struct KernelAttr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t prio;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
} KernelAttr;

#define FLAG_RESET_ON_FORK  1

static int get_attr(pid_t tid, KernelAttr *a)
{
    *a = (KernelAttr) { .size = sizeof(*a) };
    return syscall(SYS_sched_getattr, tid, a, sizeof(*a), 0) < 0 ? -errno : 0;
}

/* Of a thread with a slice; the deadline class keeps other things there. */
static uint64_t slice_of(const KernelAttr *a)
{
    return a->policy == SCHED_OTHER || a->policy == SCHED_BATCH ? a->runtime
                                                                : 0;
}

/* The kernel's default; 0: not known, or a kernel (before 6.12) without any. */
static uint64_t default_slice;

void task_begin(void)
{
    KernelAttr own;

    if (get_attr(0, &own) == 0) {
        default_slice = slice_of(&own);
    }
}

/*
 * The kernel tells the slice that is in force, whoever chose it. Asked for
 * again, its default would be a choice, and no longer follow the kernel's.
 */
static uint64_t chosen_slice(const KernelAttr *a)
{
    return slice_of(a) == default_slice ? 0 : slice_of(a);
}

int task_sched_get(pid_t tid, TaskSched *s)
{
    KernelAttr a;
    int ret = get_attr(tid, &a);

    if (ret < 0) {
        return ret;
    }
    *s = (TaskSched) {
        .policy = a.policy,
        .prio = a.prio,
        .nice = a.nice,
        .flags = a.flags & FLAG_RESET_ON_FORK,
        .slice_ns = chosen_slice(&a),
    };
    return 0;
}

int task_sched_set(pid_t tid, const TaskSched *s)
{
    KernelAttr a = {
        .size = sizeof(a),
        .policy = s->policy,
        .flags = s->flags,
        .nice = s->nice,
        .prio = s->prio,
        .runtime = s->slice_ns,
    };

    return syscall(SYS_sched_setattr, tid, &a, 0) < 0 ? -errno : 0;
}

bool task_sched_equal(const TaskSched *a, const TaskSched *b)
{
    return a->policy == b->policy && a->prio == b->prio &&
           a->nice == b->nice && a->flags == b->flags;
}

int task_open(pid_t pid, pid_t tid)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/task/%d/schedstat", (int)pid,
             (int)tid);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int task_times(int fd, TaskTimes *times)
{
    char text[96];
    const char *rest;
    ssize_t n = RETRY_ON_EINTR(pread(fd, text, sizeof(text) - 1, 0));

    if (n < 0) {
        return -errno;
    }
    text[n] = 0;
    if (qemu_strtou64(text, &rest, 10, &times->ran_ns) < 0 ||
        qemu_strtou64(rest, &rest, 10, &times->waited_ns) < 0) {
        return n ? -ENODATA : -ESRCH;
    }
    return 0;
}

uint64_t task_start(pid_t pid, pid_t tid)
{
    char text[1024], *p;
    const char *rest;
    uint64_t start;
    unsigned field;
    ssize_t n;
    int fd = task_open_stat(pid, tid);

    if (fd < 0) {
        return 0;
    }
    n = RETRY_ON_EINTR(read(fd, text, sizeof(text) - 1));
    close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = 0;
    /* The name, field 2, may contain anything: what follows its end counts. */
    p = strrchr(text, ')');
    for (field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    if (!p || qemu_strtou64(p + 1, &rest, 10, &start) < 0) {
        return 0;
    }
    /* Of the first process of all; 0 says that there is none. */
    return start ?: 1;
}

int task_open_stat(pid_t pid, pid_t tid)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

bool task_runnable(int stat_fd)
{
    /* Number, name in brackets and state: the beginning is enough. */
    char text[64], *p;
    ssize_t n = RETRY_ON_EINTR(pread(stat_fd, text, sizeof(text) - 1, 0));

    text[MAX(n, 0)] = 0;
    p = strrchr(text, ')');
    return p && !strncmp(p, ") R", 3);
}

int task_clock(pid_t pid, clockid_t *clock)
{
    return -clock_getcpuclockid(pid, clock);
}

int task_clock_ns(clockid_t clock, uint64_t *ns)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0) {
        return -errno;
    }
    *ns = ts.tv_sec * 1000000000ull + ts.tv_nsec;
    return 0;
}

void task_each(pid_t pid, unsigned max, bool (*fn)(pid_t tid, void *opaque),
               void *opaque)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/task", (int)pid);
    GDir *dir = g_dir_open(name, 0, NULL);
    const char *entry;
    unsigned i;
    int tid;

    for (i = 0; dir && i < max && (entry = g_dir_read_name(dir)); i++) {
        if (qemu_strtoi(entry, NULL, 10, &tid) == 0 && !fn(tid, opaque)) {
            break;
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
}

bool task_is_vhost(pid_t pid, pid_t tid)
{
    char name[64], text[32], want[32];
    ssize_t n;
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/task/%d/comm", (int)pid, (int)tid);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = RETRY_ON_EINTR(read(fd, text, sizeof(text) - 1));
    close(fd);
    text[MAX(n, 0)] = 0;
    /* As the kernel cuts it, with the line's end. */
    snprintf(want, 16, "vhost-%d", (int)pid);
    pstrcat(want, sizeof(want), "\n");
    return !strcmp(text, want);
}

unsigned task_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return MAX(n, 1);
}
