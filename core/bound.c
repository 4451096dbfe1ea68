/*
 * Our own bound of real-time class, where the kernel sets none
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "bound.h"

bool vamp_bound_step(struct vamp_bound *b, int64_t now_ns, bool real_time,
                     uint64_t ran_ns)
{
    if (b->rests) {
        if (now_ns - b->since_ns < VAMP_BOUND_WINDOW_NS - VAMP_BOUND_RAN_NS) {
            return false;
        }
        b->rests = b->counts = false;
        return true;
    }
    if (!real_time) {
        b->counts = false;
        return false;
    }
    if (!b->counts || now_ns - b->since_ns > VAMP_BOUND_WINDOW_NS) {
        b->counts = true;
        b->since_ns = now_ns;
        b->ran_ns = ran_ns;
        return false;
    }
    if (ran_ns - b->ran_ns <= (uint64_t)VAMP_BOUND_RAN_NS) {
        return false;
    }
    b->rests = true;
    b->since_ns = now_ns;
    return true;
}
