/*
 * VAMP: the vCPU that takes the interrupt of the user's event
 *
 * The guest has sent the keyboard's interrupt to some vCPU, and that may be one
 * that works in the background and waits for a CPU. Nobody outside of the guest
 * knows which without stopping vCPUs to ask for their APICs. So, where classes
 * are what decides who runs now, all of the VM's vCPUs are interactive for the
 * moment in which the interrupt is taken.
 *
 * Measured (tests/kernel/measure_response.py, answers of 2 to 4 ms on 2 CPUs
 * with a hog in the guest and 4 beside it): with the hog on the vCPU of the
 * keyboard, in 2 rounds of 5, an answer took 3.3 times as long as on an idle
 * host, and else 1.03 times.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "vamp-int.h"

bool vamp_serve_all(const VampPolicy *p)
{
    return p->serving && p->core->phase == VAMP_PHASE_MIXED;
}

bool vamp_serve_begin(VampPolicy *p, uint64_t now)
{
    const uint64_t every_ns = VAMP_SERVE_EVERY_MS * (uint64_t)SCALE_MS;
    /* A clock that ran backwards, of a saved state, is no reason to wait. */
    bool soon = p->served_ns && now >= p->served_ns &&
                now - p->served_ns < every_ns;

    if (soon || p->core->phase != VAMP_PHASE_MIXED || !p->actuator ||
        !p->actuator_class->boosts) {
        return false;
    }
    p->serving = true;
    p->served_ns = now;
    timer_mod_ns(p->serve_timer, now + VAMP_SERVE_MS * (uint64_t)SCALE_MS);
    return true;
}

static void serve_timer_cb(void *opaque)
{
    VampPolicy *p = opaque;

    p->serving = false;
    vamp_phase_correct(p);
}

void vamp_serve_init(VampPolicy *p)
{
    p->serve_timer = timer_new_ns(p->clock, serve_timer_cb, p);
}

void vamp_serve_fini(VampPolicy *p)
{
    g_clear_pointer(&p->serve_timer, timer_free);
}
