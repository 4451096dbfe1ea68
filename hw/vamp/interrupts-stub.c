/*
 * VAMP: interrupt routing of a target that has none (CONFIG_VAMP_INTERRUPTS=n)
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp-interrupts.h"
#include "hw/vamp/interrupts.h"
#include "hw/vamp/sound-devices.h"

static const char none[] =
    "this QEMU has no interrupt routing of VAMP (it needs an x86 target with "
    "PCI and an I/O APIC)";

VampInterrupts *qmp_vamp_query_interrupts(Error **errp)
{
    error_setg(errp, "%s", none);
    return NULL;
}

HumanReadableText *vamp_interrupts_text(Error **errp)
{
    error_setg(errp, "%s", none);
    return NULL;
}

bool vamp_irq_follow_start(Error **errp)
{
    error_setg(errp, "%s", none);
    return false;
}

VampSoundDevices *vamp_sound_devices_find(void)
{
    VampSoundDevices *d = g_new0(VampSoundDevices, 1);

    d->names = g_ptr_array_new_with_free_func(g_free);
    d->left_out = g_strdup(none);
    return d;
}

void vamp_irq_follow_stop(void)
{
}

void vamp_irq_follow_update(void)
{
}
