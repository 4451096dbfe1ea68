/*
 * VAMP: a map of vCPUs to host CPUs, read and checked
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_FILE_H
#define HW_VAMP_CPUMAP_FILE_H

#include "hw/vamp/cpumap-host.h"

/* A file with 1,024 entries has about 64 bytes for each, comments included. */
#define VAMP_CPUMAP_FILE_MAX    65536

typedef struct VampCpumap {
    char *file;                 /* where it is from; NULL: not from a file */
    uint32_t n;
    struct vamp_cpumap_entry entry[VAMP_CPUMAP_MAX];
} VampCpumap;

/*
 * Each returns NULL with one sentence that names the place in the file, or
 * the number of the pair. The numbers have not been compared with anything.
 * Blocks for no longer than reading a regular file takes.
 */
VampCpumap *vamp_cpumap_from_file(const char *file, Error **errp);
VampCpumap *vamp_cpumap_from_pairs(const char *text, Error **errp);

/* An empty one, for other sources. */
VampCpumap *vamp_cpumap_new(void);
/* False if there is no room, or a number is out of any range. */
bool vamp_cpumap_add(VampCpumap *map, int64_t vcpu, int64_t cpu,
                     Error **errp);
void vamp_cpumap_free(VampCpumap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VampCpumap, vamp_cpumap_free)

/*
 * Can this map be used: vCPUs are below @max_vcpus and mapped once, CPUs are
 * online and, unless @shared, used once; with @strict no vCPU is left out?
 */
bool vamp_cpumap_valid(const VampCpumap *map, const VampHostCpus *host,
                       unsigned max_vcpus, bool strict, bool shared,
                       Error **errp);
/* The same for a list of CPUs, given as property @name. */
bool vamp_cpus_valid(const VampCpus *cpus, const VampHostCpus *host,
                     const char *name, Error **errp);

/* "FILE:LINE" or "map, pair N". The caller frees it. */
char *vamp_cpumap_place(const VampCpumap *map, uint32_t line);

/* Entry of @vcpu, or NULL. Accepts a NULL map. */
const struct vamp_cpumap_entry *vamp_cpumap_find(const VampCpumap *map,
                                                 unsigned vcpu);

#endif /* HW_VAMP_CPUMAP_FILE_H */
