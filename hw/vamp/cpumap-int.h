/*
 * VAMP: the osnet-cpumap object
 *
 * Main loop, BQL held, for all of it.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_INT_H
#define HW_VAMP_CPUMAP_INT_H

#include "qom/object.h"
#include "qemu/notify.h"
#include "hw/qdev-core.h"
#include "hw/vamp/cpumap-file.h"
#include "hw/vamp/cpumap-lock.h"
#include "hw/vamp/cpumap-pin.h"
#include "system/runstate.h"

#define TYPE_OSNET_CPUMAP "osnet-cpumap"
OBJECT_DECLARE_SIMPLE_TYPE(OsnetCpumap, OSNET_CPUMAP)

/* What vamp-set-cpumap replaces. */
typedef struct VampPlacement {
    VampCpumap *map;
    char *emulator;             /* list as given; NULL: leave them alone */
    char *iothreads;
    VampCpus emulator_cpus;
    VampCpus iothread_cpus;
} VampPlacement;

struct OsnetCpumap {
    Object parent_obj;

    /* Properties */
    char *path;
    char *pairs;                /* map= */
    bool strict;
    bool shared;
    bool follow;                /* irq-affinity= */

    VampPlacement now;
    bool replaced;              /* by vamp-set-cpumap */

    bool complete;
    bool running;               /* threads are pinned */
    char *id;
    unsigned max_vcpus;
    VampPins *pins;
    VampLocks *locks;           /* NULL: there is no folder for them */
    bool host_wide;
    char *lock_reason;          /* why there are none, or not for all VMs */

    DeviceListener listener;
    VMChangeStateEntry *vmstate;    /* until the VM runs */
    Notifier machine_done;
    Notifier exit_notifier;
};

/* The one object, or NULL. */
OsnetCpumap *vamp_cpumap_get(void);

/* cpumap-properties.c */
void vamp_cpumap_add_properties(ObjectClass *oc);

/* The threads of the VM (VampThread) and what is wanted of them. Free it. */
GPtrArray *vamp_cpumap_threads(const VampPlacement *placement);
/* The same of one vCPU, and of all IOThreads, added to @threads. */
void vamp_cpumap_add_vcpu(GPtrArray *threads, const VampPlacement *placement,
                          CPUState *cpu);
void vamp_cpumap_add_iothreads(GPtrArray *threads,
                               const VampPlacement *placement);
/* All threads of this process; none if there is no /proc (any more). */
GArray *vamp_cpumap_tids(void);

/* What is less than good about the map. Free it. */
GPtrArray *vamp_cpumap_all_warnings(OsnetCpumap *c, const VampHostCpus *host);

/*
 * Puts @next in force and takes it over (it is empty then). On failure
 * everything is as before.
 */
bool vamp_cpumap_replace(OsnetCpumap *c, VampPlacement *next, Error **errp);
void vamp_placement_clear(VampPlacement *placement);

#endif /* HW_VAMP_CPUMAP_INT_H */
