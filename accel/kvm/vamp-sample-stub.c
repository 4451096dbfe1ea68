/*
 * VAMP tracker by sampling under KVM: not in this build
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/tracker.h"

const char *vamp_sample_unavailable(void)
{
    return "this QEMU was built without KVM";
}

void vamp_sample_start(CPUState *cpu)
{
    g_assert_not_reached();
}

void vamp_sample_stop(CPUState *cpu)
{
    g_assert_not_reached();
}

void vamp_sample_gone(CPUState *cpu)
{
    g_assert_not_reached();
}
