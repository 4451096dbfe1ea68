/*
 * VAMP: properties of the osnet-cpumap object
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vamp/cpumap.h"
#include "cpumap-int.h"

/* Later changes have to be atomic, which single properties are not. */
static bool can_set(OsnetCpumap *c, const char *name, Error **errp)
{
    if (c->complete) {
        error_setg(errp, "%s of a map in force cannot be set, use "
                   "vamp-set-cpumap", name);
    }
    return !c->complete;
}

static void set_string(Object *obj, char **field, const char *name,
                       const char *value, Error **errp)
{
    if (can_set(OSNET_CPUMAP(obj), name, errp)) {
        g_free(*field);
        *field = g_strdup(value);
    }
}

static char *get_path(Object *obj, Error **errp)
{
    return g_strdup(OSNET_CPUMAP(obj)->path);
}

static void set_path(Object *obj, const char *value, Error **errp)
{
    set_string(obj, &OSNET_CPUMAP(obj)->path, "path", value, errp);
}

static char *get_map(Object *obj, Error **errp)
{
    return g_strdup(OSNET_CPUMAP(obj)->pairs);
}

static void set_map(Object *obj, const char *value, Error **errp)
{
    set_string(obj, &OSNET_CPUMAP(obj)->pairs, "map", value, errp);
}

static char *get_emulator(Object *obj, Error **errp)
{
    return g_strdup(OSNET_CPUMAP(obj)->now.emulator);
}

static void set_emulator(Object *obj, const char *value, Error **errp)
{
    set_string(obj, &OSNET_CPUMAP(obj)->now.emulator, "emulator", value, errp);
}

static char *get_iothreads(Object *obj, Error **errp)
{
    return g_strdup(OSNET_CPUMAP(obj)->now.iothreads);
}

static void set_iothreads(Object *obj, const char *value, Error **errp)
{
    set_string(obj, &OSNET_CPUMAP(obj)->now.iothreads, "iothreads", value,
               errp);
}

static bool get_strict(Object *obj, Error **errp)
{
    return OSNET_CPUMAP(obj)->strict;
}

static void set_strict(Object *obj, bool value, Error **errp)
{
    if (can_set(OSNET_CPUMAP(obj), "strict", errp)) {
        OSNET_CPUMAP(obj)->strict = value;
    }
}

static bool get_shared(Object *obj, Error **errp)
{
    return OSNET_CPUMAP(obj)->shared;
}

static void set_shared(Object *obj, bool value, Error **errp)
{
    if (can_set(OSNET_CPUMAP(obj), "shared", errp)) {
        OSNET_CPUMAP(obj)->shared = value;
    }
}

static char *get_irq_affinity(Object *obj, Error **errp)
{
    return g_strdup(OSNET_CPUMAP(obj)->follow ? "follow" : "none");
}

static void set_irq_affinity(Object *obj, const char *value, Error **errp)
{
    bool follow = !strcmp(value, "follow");

    if (!can_set(OSNET_CPUMAP(obj), "irq-affinity", errp)) {
        return;
    }
    if (!follow && strcmp(value, "none")) {
        error_setg(errp, "irq-affinity=%.64s is unknown, none and follow are "
                   "valid", value);
        return;
    }
    OSNET_CPUMAP(obj)->follow = follow;
}

void vamp_cpumap_add_properties(ObjectClass *oc)
{
    object_class_property_add_str(oc, "path", get_path, set_path);
    object_class_property_set_description(oc, "path",
        "File with a vCPU and its host CPU on each line");
    object_class_property_add_str(oc, "map", get_map, set_map);
    object_class_property_set_description(oc, "map",
        "Pairs of a vCPU and its host CPU, like 0-2,1-3");
    object_class_property_add_str(oc, "emulator", get_emulator, set_emulator);
    object_class_property_set_description(oc, "emulator",
        "Host CPUs for threads that are neither a vCPU nor an IOThread");
    object_class_property_add_str(oc, "iothreads", get_iothreads,
                                  set_iothreads);
    object_class_property_set_description(oc, "iothreads",
        "Host CPUs for IOThreads");
    object_class_property_add_bool(oc, "strict", get_strict, set_strict);
    object_class_property_set_description(oc, "strict",
        "Refuse a map that leaves out a vCPU");
    object_class_property_add_bool(oc, "shared", get_shared, set_shared);
    object_class_property_set_description(oc, "shared",
        "Permit several vCPUs on one host CPU");
    object_class_property_add_str(oc, "irq-affinity", get_irq_affinity,
                                  set_irq_affinity);
    object_class_property_set_description(oc, "irq-affinity",
        "What becomes of assigned devices' interrupts on the host: none or "
        "follow");
}
