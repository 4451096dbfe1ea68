/*
 * VAMP tracker under TCG: not in this build
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/tracker.h"

const char *vamp_tcg_unavailable(void)
{
    return "this QEMU was built without TCG";
}

void vamp_tcg_start(CPUState *cpu)
{
    g_assert_not_reached();
}

void vamp_tcg_look(CPUState *cpu)
{
    g_assert_not_reached();
}

void vamp_tcg_stop(CPUState *cpu)
{
    g_assert_not_reached();
}

void vamp_tcg_gone(CPUState *cpu)
{
    g_assert_not_reached();
}
