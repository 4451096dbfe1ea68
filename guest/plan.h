/*
 * vdiguest: how many vCPUs are fast
 *
 * Pure: no state, no I/O. Any thread.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_PLAN_H
#define GUEST_PLAN_H

#include "core/port.h"

enum plan_mode {
    PLAN_STATIC,        /* the split stands all the time */
    PLAN_DYNAMIC,       /* only while there are slow tasks */
    PLAN_DYNAMIC_LOAD,  /* and one more fast vCPU when the fast ones are full */
    PLAN_LOAD,          /* slow vCPUs as the slow tasks need them */
    PLAN_MODES
};

/* From this load on (per mille of each) the fast vCPUs count as full. */
#define PLAN_FULL_PERMILLE  970
/* A sound player and its server: neither waits for the other. */
#define PLAN_SOUND_FAST     2

struct plan_input {
    enum plan_mode mode;
    unsigned fast;              /* option -f, 1.. */
    unsigned online;            /* vCPUs */
    unsigned now_fast;          /* while isolated; 0: not */
    unsigned slow_tasks;
    uint64_t slow_permille;     /* sum of their loads */
    uint64_t fast_permille;     /* load of the fast vCPUs, summed */
    bool sound;
};

/*
 * How many vCPUs shall be fast; the others are slow. 0: none is, no split.
 * Otherwise 1..online-1. *@reason says why, in constant English.
 */
unsigned plan_fast(const struct plan_input *in, const char **reason);

/* "dynamic" and so on; NULL if @mode is none. */
const char *plan_mode_text(enum plan_mode mode);

#endif /* GUEST_PLAN_H */
