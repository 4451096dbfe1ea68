/*
 * VAMP: the policy and what the guest says
 *
 * News are not acted upon where they arrive, in the middle of a virtqueue's
 * handler, but in a timer: acting may drop the BQL. The timer runs at most
 * every 100 ms, whatever the guest does.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "vamp-int.h"

/* An order of magnitude below what a person notices of a class that lags. */
#define NEWS_PERIOD_NS  (100 * (uint64_t)SCALE_MS)

/*
 * Background tasks by vCPU: on the vCPUs that the guest keeps them on, or,
 * if it does not, where they are said to run above the threshold.
 */
static void plan_vcpus(VampPolicy *p, const struct vamp_hint_view *view)
{
    bool isolates = vamp_hint_view_isolates(view);

    for (unsigned i = 0; i < p->max_vcpus; i++) {
        uint32_t permille = 0;

        for (uint32_t t = 0; t < view->tasks.n; t++) {
            const struct vamp_hint_task *task = &view->tasks.task[t];

            if (task->has_vcpu && task->vcpu == i) {
                permille += task->permille;
            }
        }
        p->hinted_vcpu[i] = isolates
            ? view->tasks.n && vamp_hint_cpu_test(&view->slow, i)
            : permille > p->cfg.bg_percent * 10;
    }
}

/* Threads of one process share an address space. */
static void plan_task(VampPolicy *p, const struct vamp_hint_task *task,
                      uint32_t *n)
{
    for (uint32_t i = 0; i < *n; i++) {
        if (p->hinted_task[i].task == task->aspace) {
            p->hinted_task[i].permille += task->permille;
            return;
        }
    }
    p->hinted_task[(*n)++] = (struct vamp_task_load) {
        .task = task->aspace,
        .permille = task->permille,
    };
}

static bool knows_aspaces(const struct vamp_hint_view *view)
{
    for (uint32_t i = 0; i < view->tasks.n; i++) {
        if (view->tasks.task[i].aspace == VAMP_TASK_UNKNOWN) {
            return false;
        }
    }
    return view->tasks.n > 0;
}

bool vamp_guest_plan(VampPolicy *p, struct vamp_hinted *hinted)
{
    const struct vamp_hint_view *view = vamp_guest_view(NULL);

    if (p->tracker != VAMP_TRACKER_GUEST || !view) {
        return false;
    }
    *hinted = (struct vamp_hinted) {
        .by_task = p->eyes != VAMP_TRACKER_NONE && knows_aspaces(view),
        .task = p->hinted_task,
        .vcpu = p->hinted_vcpu,
    };
    if (hinted->by_task) {
        for (uint32_t i = 0; i < view->tasks.n; i++) {
            plan_task(p, &view->tasks.task[i], &hinted->nr_tasks);
        }
    } else {
        plan_vcpus(p, view);
    }
    return true;
}

static void look(void *opaque)
{
    VampPolicy *p = opaque;
    const struct vamp_hint_view *view = vamp_guest_view(NULL);

    p->guest_looked_ns = vamp_now(p);
    vamp_tracker_guest_changed(p, view && knows_aspaces(view));
    vamp_phase_sound_told(p, p->audio_wanted != ON_OFF_AUTO_OFF &&
                             vamp_guest_sound());
    vamp_phase_rehint(p);
}

void vamp_policy_guest_news(void)
{
    VampPolicy *p = qatomic_read(&vamp_the_policy);

    if (p && p->running && !timer_pending(p->guest_timer)) {
        timer_mod_ns(p->guest_timer,
                     MAX(vamp_now(p), p->guest_looked_ns + NEWS_PERIOD_NS));
    }
}

void vamp_guest_plan_init(VampPolicy *p)
{
    p->hinted_vcpu = g_new0(bool, p->max_vcpus);
    p->guest_timer = timer_new_ns(p->clock, look, p);
    /* What was said before there was a policy. */
    timer_mod_ns(p->guest_timer, vamp_now(p));
}

void vamp_guest_plan_fini(VampPolicy *p)
{
    g_clear_pointer(&p->guest_timer, timer_free);
    g_clear_pointer(&p->hinted_vcpu, g_free);
}
