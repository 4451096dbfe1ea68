/*
 * vdiguest: how many vCPUs are fast
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest/plan.h"

const char *plan_mode_text(enum plan_mode mode)
{
    static const char *const text[PLAN_MODES] = {
        [PLAN_STATIC] = "static",
        [PLAN_DYNAMIC] = "dynamic",
        [PLAN_DYNAMIC_LOAD] = "dynamic-load",
        [PLAN_LOAD] = "load",
    };

    return mode < PLAN_MODES ? text[mode] : NULL;
}

static bool is_full(const struct plan_input *in)
{
    return in->now_fast &&
           in->fast_permille >= (uint64_t)in->now_fast * PLAN_FULL_PERMILLE;
}

/* Before anything bounds it: may be 0, or all vCPUs and more. */
static unsigned wanted(const struct plan_input *in)
{
    uint64_t slow;
    unsigned fast;

    switch (in->mode) {
    case PLAN_DYNAMIC_LOAD:
        /* It grows while it lasts: the next isolation begins at -f again. */
        fast = in->now_fast > in->fast ? in->now_fast : in->fast;
        return is_full(in) ? fast + 1 : fast;
    case PLAN_LOAD:
        slow = (in->slow_permille + 999) / 1000;
        return slow < in->online ? in->online - (unsigned)slow : 1;
    default:
        return in->fast;
    }
}

unsigned plan_fast(const struct plan_input *in, const char **reason)
{
    unsigned fast;

    if (in->online < 2) {
        *reason = "one vCPU: there is nothing to split";
        return 0;
    }
    if (!in->slow_tasks && in->mode != PLAN_STATIC) {
        *reason = "no slow task";
        return 0;
    }
    *reason = in->slow_tasks ? "slow tasks" : "static mode";
    fast = wanted(in);
    if (in->sound && fast < PLAN_SOUND_FAST) {
        *reason = "slow tasks, and sound plays";
        fast = PLAN_SOUND_FAST;
    }
    if (fast >= in->online) {
        fast = in->online - 1;
    }
    if (in->sound && fast < PLAN_SOUND_FAST) {
        *reason = "sound plays: it needs two fast vCPUs, and a third would be "
                  "needed for slow tasks";
        return 0;
    }
    return fast;
}
