/*
 * From the ratio (interactive : background) to what schedulers understand
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "weight.h"

#define NICE_MIN    (-20)
#define NICE_LEVELS 40

/* What Linux gives to nice -20..19: facts of its scheduler, since 2.6.23. */
static const uint32_t nice_weight[NICE_LEVELS] = {
    88761, 71755, 56483, 46273, 36291,  /* -20 */
    29154, 23254, 18705, 14949, 11916,  /* -15 */
    9548, 7620, 6100, 4904, 3906,       /* -10 */
    3121, 2501, 1991, 1586, 1277,       /*  -5 */
    1024, 820, 655, 526, 423,           /*   0 */
    335, 272, 215, 172, 137,            /*   5 */
    110, 87, 70, 56, 45,                /*  10 */
    36, 29, 23, 18, 15,                 /*  15 */
};

static int clamp_nice(int nice)
{
    if (nice < NICE_MIN) {
        return NICE_MIN;
    }
    return nice > VAMP_NICE_MAX ? VAMP_NICE_MAX : nice;
}

static unsigned int clamp_ratio(unsigned int ratio)
{
    if (ratio < VAMP_RATIO_MIN) {
        return VAMP_RATIO_MIN;
    }
    return ratio > VAMP_RATIO_MAX ? VAMP_RATIO_MAX : ratio;
}

uint32_t vamp_nice_to_weight(int nice)
{
    return nice_weight[clamp_nice(nice) - NICE_MIN];
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

int vamp_ratio_to_nice_step(unsigned int ratio, int base_nice)
{
    uint64_t base, best, weight;
    int step, best_step = 0;

    ratio = clamp_ratio(ratio);
    base_nice = clamp_nice(base_nice);
    base = vamp_nice_to_weight(base_nice);
    best = base;
    for (step = 1; base_nice + step <= VAMP_NICE_MAX; step++) {
        weight = vamp_nice_to_weight(base_nice + step);
        /*
         * |base/weight - ratio| < |base/best - ratio| without a division;
         * each product is below 100 * 88761^2 < 2^40.
         */
        if (distance(base, ratio * weight) * best
            < distance(base, ratio * best) * weight) {
            best = weight;
            best_step = step;
        }
    }
    return best_step;
}

unsigned int vamp_nice_step_permille(int step, int base_nice)
{
    uint32_t base, weight;

    base_nice = clamp_nice(base_nice);
    /* Clamped first, so that the sum cannot overflow. */
    if (step > NICE_LEVELS) {
        step = NICE_LEVELS;
    } else if (step < -NICE_LEVELS) {
        step = -NICE_LEVELS;
    }
    base = vamp_nice_to_weight(base_nice);
    weight = vamp_nice_to_weight(base_nice + step);
    return (base * 1000u + weight / 2) / weight;
}

bool vamp_ratio_to_weights(unsigned int ratio, uint64_t base,
                           uint64_t min, uint64_t max,
                           uint64_t *interactive, uint64_t *background)
{
    uint64_t weight, highest;

    ratio = clamp_ratio(ratio);
    /* No scheduler knows a weight of 0. */
    if (min == 0) {
        min = 1;
    }
    highest = max / ratio;
    if (min > highest) {
        return false;
    }
    /* A tie goes down: no vCPU gets more than neutral without need. */
    weight = base / ratio;
    if (base % ratio > ratio / 2) {
        weight++;
    }
    if (weight < min) {
        weight = min;
    } else if (weight > highest) {
        weight = highest;
    }
    *interactive = weight * ratio;
    *background = weight;
    return true;
}
