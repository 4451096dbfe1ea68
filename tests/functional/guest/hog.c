/*
 * The test guest: CPU work, measured and endless
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <time.h>

#include "guest.h"

#define CALIBRATE_ROUNDS    60
#define CALIBRATE_NS        4000000     /* about so long is one round */
#define LOOPS_A_TURN        2048        /* about 20 us of an instruction clock */

uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * Emulated CPUs that take turns give up theirs at a PAUSE. Without it, one that
 * burns beside one that often leaves its guest gets more than half of what
 * their common clock counts.
 */
void burn(uint64_t loops)
{
    uint64_t x = loops;

    while (loops--) {
        if (!(loops % LOOPS_A_TURN)) {
            __builtin_ia32_pause();
        }
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        __asm__ volatile("" : "+r"(x));
    }
}

static uint64_t burn_time(uint64_t loops)
{
    uint64_t t0 = now_ns();

    burn(loops);
    return now_ns() - t0;
}

uint64_t burn_calibrate(void)
{
    uint64_t loops = 1000, best = UINT64_MAX;
    int i;

    /* Long enough that reading the clock costs nothing */
    while (burn_time(loops) < CALIBRATE_NS) {
        loops *= 2;
    }
    /* The fastest round is the one that nobody disturbed */
    for (i = 0; i < CALIBRATE_ROUNDS; i++) {
        uint64_t t = burn_time(loops);

        if (t && t < best) {
            best = t;
        }
    }
    return (uint64_t)((double)loops * 1e6 / best);
}

int hog_main(void)
{
    for (;;) {
        burn(1000000);
    }
}
