/*
 * VAMP: the host's CPUs, and which of them a thread may run on
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_HOST_H
#define HW_VAMP_CPUMAP_HOST_H

#include "qemu/bitmap.h"
#include "core/cpumap.h"
#include "hw/vamp/actuator.h"

/* More than Linux can be built for (NR_CPUS is at most 8192). */
#define VAMP_CPUS_MAX   8192

/* Layout of sched_setaffinity(). */
typedef struct VampCpus {
    DECLARE_BITMAP(bits, VAMP_CPUS_MAX);
} VampCpus;

/* Where the kernel's files are. Tests give folders of their own. */
typedef struct VampCpuPaths {
    VampHostPaths host;
    const char *sys;            /* "/sys" */
} VampCpuPaths;

extern const VampCpuPaths vamp_cpu_paths;

/* As they are now; the host may change all of it. */
typedef struct VampHostCpus {
    VampCpus present;
    VampCpus online;
    VampCpus isolated;          /* isolcpus=, isolated cpuset partitions */
    VampCpus nohz_full;
} VampHostCpus;

/* --- sets ----------------------------------------------------------------- */

/*
 * Reads a list such as "0-3,5" that a user gave as property @name. False with
 * one sentence in @errp.
 */
bool vamp_cpus_parse(VampCpus *cpus, const char *name, const char *text,
                     Error **errp);
/* "0-3,5", as the kernel writes it; "none" if empty. The caller frees it. */
char *vamp_cpus_format(const VampCpus *cpus);

/* --- the host ------------------------------------------------------------- */

/* Which CPUs there are. False if the host does not tell. */
bool vamp_host_cpus_read(VampHostCpus *host, const VampCpuPaths *paths,
                         Error **errp);
/* All CPUs of the core of @cpu, itself included. False if not known. */
bool vamp_cpu_siblings(const VampCpuPaths *paths, unsigned cpu,
                       VampCpus *siblings);
/* NUMA node of @cpu, or -1 if not known. */
int vamp_cpu_node(const VampCpuPaths *paths, unsigned cpu);

/*
 * What the cpuset of thread @tid permits; *@group is the group's path, for
 * the caller to free. False if not known (no cpuset controller).
 */
bool vamp_cpuset_of(const VampCpuPaths *paths, pid_t tid, VampCpus *cpus,
                    char **group);

/*
 * Why a map is less useful than it looks, one sentence each: CPUs that the
 * host uses itself, whose core is not theirs alone, or that are of several
 * NUMA nodes.
 * @claimed_by: a short name of the other VM that holds @cpu, for the caller
 *              to free, or NULL.
 */
GPtrArray *vamp_cpumap_warnings(const VampCpuPaths *paths,
                                const VampHostCpus *host,
                                const struct vamp_cpumap_entry *map,
                                unsigned n,
                                char *(*claimed_by)(void *opaque,
                                                    unsigned cpu),
                                void *opaque);

/* --- threads -------------------------------------------------------------- */

/* 0 or -errno. Any thread of this process. */
int vamp_affinity_get(pid_t tid, VampCpus *cpus);
int vamp_affinity_set(pid_t tid, const VampCpus *cpus);

#endif /* HW_VAMP_CPUMAP_HOST_H */
