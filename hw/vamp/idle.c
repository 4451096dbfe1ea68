/*
 * VAMP: a vCPU that does nothing, whatever its last task was
 *
 * Without the companion modules nobody sees a vCPU halt. So, while a plan by
 * tasks is on, vCPUs that have hardly run count as interactive: what wakes them
 * is wanted by the user, or by nobody in the background.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/timer.h"
#include "vamp-int.h"

/*
 * Below 5 % of a CPU a vCPU does no background work to speak of. 50 ms is
 * about one answer to a key press, and two reads a vCPU cost microseconds.
 */
#define VAMP_IDLE_PERMILLE  50
#define VAMP_IDLE_CHECK_NS  (50 * (uint64_t)SCALE_MS)

void vamp_idle_begin(VampPolicy *p, uint64_t now)
{
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        VampVcpu *v = &p->vcpu[i];

        if (v->cpu) {
            v->idle_check_ns = v->run_ns + v->wait_ns;
            /* The companion modules see a vCPU halt, and act on that. */
            qatomic_set(&v->idle, !vamp_actuator_by_plan(p) &&
                        vamp_policy_vcpu_run(p->core, i, now) +
                        vamp_policy_vcpu_wait(p->core, i, now) <
                        VAMP_IDLE_PERMILLE);
        }
    }
}

static void idle_timer_cb(void *opaque)
{
    VampPolicy *p = opaque;
    uint64_t now = vamp_now(p);

    /* A fault has ended the phase. */
    if (p->core->phase != VAMP_PHASE_MIXED || !p->core->by_task) {
        return;
    }
    vamp_vcpu_update_loads(p, now);
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        VampVcpu *v = &p->vcpu[i];
        uint64_t used = v->run_ns + v->wait_ns - v->idle_check_ns;

        if (!v->cpu) {
            continue;
        }
        v->idle_check_ns = v->run_ns + v->wait_ns;
        qatomic_set(&v->idle,
                    used < VAMP_IDLE_CHECK_NS * VAMP_IDLE_PERMILLE / 1000);
    }
    if (vamp_phase_correct(p)) {
        timer_mod_ns(p->idle_timer, now + VAMP_IDLE_CHECK_NS);
    }
}

void vamp_idle_watch(VampPolicy *p, bool on)
{
    if (on) {
        timer_mod_ns(p->idle_timer, vamp_now(p) + VAMP_IDLE_CHECK_NS);
    } else {
        timer_del(p->idle_timer);
    }
}

void vamp_idle_init(VampPolicy *p)
{
    p->idle_timer = timer_new_ns(p->clock, idle_timer_cb, p);
}

void vamp_idle_fini(VampPolicy *p)
{
    g_clear_pointer(&p->idle_timer, timer_free);
}
