/*
 * vdiguest: sets of CPUs
 *
 * Plain values; any thread.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_CPUS_H
#define GUEST_CPUS_H

#include <stdbool.h>
#include <glib.h>
#include <sys/types.h>

/* As many as QEMU's largest machine has. CPUs beyond are never touched. */
#define CPUS_MAX    4096

typedef struct CpuSet {
    unsigned long bits[CPUS_MAX / (8 * sizeof(long))];
} CpuSet;

/* A list as Linux writes it, "0-3,8"; "" or "-" is the empty set. */
bool cpus_parse(CpuSet *set, const char *text);
/* The reverse; "-" for the empty set. */
char *cpus_format(const CpuSet *set);

unsigned cpus_count(const CpuSet *set);
bool cpus_has(const CpuSet *set, unsigned cpu);
bool cpus_equal(const CpuSet *a, const CpuSet *b);
/* Is @set not empty, and all of it in @other? */
bool cpus_within(const CpuSet *set, const CpuSet *other);
/* @set becomes what is in both. */
void cpus_and(CpuSet *set, const CpuSet *other);

/* The @n lowest of @all in @low, the others in @rest. */
void cpus_split(const CpuSet *all, unsigned n, CpuSet *low, CpuSet *rest);

/* Those that Linux has online now. 0 or -errno. */
int cpus_online(CpuSet *set);

/*
 * Affinity of thread @tid: those online on which it may run. @set NULL when
 * setting: no restriction. 0 or -errno (-ESRCH: it has ended).
 */
int cpus_get_affinity(pid_t tid, CpuSet *set);
int cpus_set_affinity(pid_t tid, const CpuSet *set);

#endif /* GUEST_CPUS_H */
