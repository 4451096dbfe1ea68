/*
 * VAMP: commands of a QEMU without it (CONFIG_VAMP=n)
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp.h"
#include "qapi/qapi-commands-vamp-cpumap.h"
#include "qapi/qapi-commands-vamp-guest.h"
#include "monitor/hmp.h"

VampInfo *qmp_vamp_query(Error **errp)
{
    VampInfo *info = g_new0(VampInfo, 1);

    info->reason = g_strdup("this QEMU was built without VAMP");
    return info;
}

void qmp_vamp_input(bool has_kind, VampTrigger kind, Error **errp)
{
    error_setg(errp, "this QEMU was built without VAMP");
}

void qmp_vamp_set_tasks(VampTaskHintList *tasks, const char *fast,
                        const char *slow, bool has_sound, bool sound,
                        bool has_valid_ms, int64_t valid_ms, Error **errp)
{
    error_setg(errp, "this QEMU was built without VAMP");
}

VampCpumapInfo *qmp_vamp_query_cpumap(Error **errp)
{
    VampCpumapInfo *info = g_new0(VampCpumapInfo, 1);

    info->reason = g_strdup("this QEMU was built without VAMP");
    return info;
}

void qmp_vamp_set_cpumap(VampCpumapPairList *map, const char *emulator,
                         const char *iothreads, Error **errp)
{
    error_setg(errp, "this QEMU was built without VAMP");
}
