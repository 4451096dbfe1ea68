/*
 * From the ratio (interactive : background) to what schedulers understand
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_WEIGHT_H
#define VAMP_CORE_WEIGHT_H

#include "port.h"

#define VAMP_RATIO_MIN          1
#define VAMP_RATIO_MAX          100
/* The paper's choice: the background gets a third of an interactive vCPU. */
#define VAMP_RATIO_DEFAULT      3

#define VAMP_NICE_MAX           19

/*
 * Load weight that Linux gives to @nice (-20..19, clamped): 1024 at nice 0, a
 * factor of about 1.25 a step (kernel/sched/core.c, sched_prio_to_weight).
 */
uint32_t vamp_nice_to_weight(int nice);

/*
 * How many steps to add to @base_nice (-20..19) so that the weights differ by
 * a factor as near as possible to @ratio (clamped to 1..100). The result stays
 * within 0..19-@base_nice: a nice value cannot go beyond 19.
 */
int vamp_ratio_to_nice_step(unsigned int ratio, int base_nice);

/*
 * The factor that @step really gives at @base_nice, in 1/1000.
 *
 * Error of the nice scale: its steps are about 25 % apart, so at base nice 0
 * and from ratio 1 to 68 the factor is off by at most 11.6 % (ratio=3: 3.057);
 * above, nice 19 is the end of the scale (68.3). At other bases it is 12.1 %
 * at most, up to the factor that nice 19 gives there.
 */
unsigned int vamp_nice_step_permille(int step, int base_nice);

/*
 * Weights for cgroups whose neutral weight is @base: @interactive is exactly
 * @ratio times @background, both lie in [@min, @max], and @interactive is as
 * near to @base as that allows.
 *
 * Returns false and leaves the outputs alone when no such pair exists (then
 * @min * @ratio > @max; a @min of 0 counts as 1).
 */
bool vamp_ratio_to_weights(unsigned int ratio, uint64_t base,
                           uint64_t min, uint64_t max,
                           uint64_t *interactive, uint64_t *background);

#endif /* VAMP_CORE_WEIGHT_H */
