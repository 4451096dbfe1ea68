/*
 * VAMP: the companion modules of KVM: not in this build
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/kvm.h"

const char *vamp_kvm_unavailable(void)
{
    return "this QEMU was built without KVM";
}

bool vamp_kvm_track(const struct vamp_config *cfg,
                    void (*changed)(void *opaque), void *opaque, Error **errp)
{
    g_assert_not_reached();
}

void vamp_kvm_untrack(void)
{
    g_assert_not_reached();
}

bool vamp_kvm_weights(unsigned ratio, Error **errp)
{
    g_assert_not_reached();
}

bool vamp_kvm_plan(const struct vamp_policy *core, Error **errp)
{
    g_assert_not_reached();
}

bool vamp_kvm_copy(CPUState *cpu, struct vamp_task_table *out)
{
    g_assert_not_reached();
}

bool vamp_kvm_vcpu(CPUState *cpu, VampKvmVcpu *out)
{
    g_assert_not_reached();
}

bool vamp_kvm_names_offer(bool on, Error **errp)
{
    g_assert_not_reached();
}

bool vamp_kvm_sound(const VampSoundDevices *devices, unsigned mode,
                    Error **errp)
{
    g_assert_not_reached();
}

bool vamp_kvm_names(VampKvmNames *out)
{
    g_assert_not_reached();
}

bool vamp_kvm_sound_status(VampKvmSound *out)
{
    g_assert_not_reached();
}

char *vamp_kvm_tracking(void)
{
    g_assert_not_reached();
}
