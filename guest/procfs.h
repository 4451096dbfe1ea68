/*
 * vdiguest: what Linux says of tasks, CPUs and interrupts
 *
 * The parsers take text of any form: it may come from a file that a test, or
 * a strange kernel, has written.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_PROCFS_H
#define GUEST_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>
#include <sys/types.h>
#include "guest/cpus.h"

/* Longer files are cut: /proc/interrupts of 4096 vCPUs has 10 MiB. */
#define PROCFS_MAX  (32 * 1024 * 1024)

/*
 * The whole file, however many reads it takes, with a zero at its end. 0 or
 * -errno. Any thread.
 */
int procfs_read(const char *name, char **text);

/*
 * A file into @buf of @size bytes with a zero at its end; what has no room is
 * cut. Bytes read or -errno. Any thread.
 */
ssize_t procfs_read_buf(const char *name, char *buf, size_t size);

/* A file of one write(). 0 or -errno. */
int procfs_write(const char *name, const char *text);

/* Of /proc/PID/stat or /proc/PID/task/TID/stat. */
typedef struct ProcStat {
    char name[16];
    pid_t pid, ppid, pgrp;
    int tty;                    /* 0: no controlling terminal */
    bool kernel;                /* a thread of the kernel's */
    uint64_t children_ticks;    /* CPU time of children waited for */
    uint64_t start_ticks;       /* when it began, of CLOCK_BOOTTIME */
    unsigned cpu;               /* where it runs, or ran last */
} ProcStat;

bool procfs_parse_stat(const char *text, ProcStat *st);
/* The same of process @pid. False: it has ended. */
bool procfs_stat(pid_t pid, ProcStat *st);
/* Of thread @tid of it alone. */
bool procfs_thread_stat(pid_t pid, pid_t tid, ProcStat *st);

/* Of .../schedstat: ns that it ran, and was runnable and waited. */
bool procfs_parse_schedstat(const char *text, uint64_t *run, uint64_t *wait);

/*
 * CPU ticks that CPU @cpu was not idle, of /proc/stat. A CPU that the text
 * does not have is at 0.
 */
uint64_t procfs_parse_busy(const char *text, unsigned cpu);

/* The number of the youngest task, of /proc/loadavg; 0: no such text. */
pid_t procfs_parse_youngest(const char *text);

/*
 * Numbers (unsigned) of the interrupts of /proc/interrupts for which the user
 * waits: those of keyboards, mice and USB, of virtio disks (virtio-blk,
 * virtio-scsi), network and input devices.
 */
GArray *procfs_parse_irqs(const char *text);

/*
 * What the companion module shows in /proc/kvm_slow_task: lines "ID PERCENT".
 * Pairs are added to @ids (pid_t) and @permille (uint32_t), at most @max.
 * Other lines are passed over.
 */
void procfs_parse_slow_tasks(const char *text, GArray *ids, GArray *permille,
                             unsigned max);

/* Calls @f for each number that names an entry of folder @dir. */
int procfs_each_number(const char *dir, void (*f)(pid_t, void *), void *opaque);

#endif /* GUEST_PROCFS_H */
