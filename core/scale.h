/*
 * Proportional parts in 64 bits
 *
 * Private to core/. The kernel has mul_u64_u64_div_u64() and user space has
 * __int128; core must do with neither.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_SCALE_H
#define VAMP_CORE_SCALE_H

#include "port.h"

/*
 * @value * @part / @whole, rounded down, for 0 < @part <= @whole; never above
 * @value.
 *
 * Exact while (@value % @whole) * @part fits into 64 bits: for the default
 * period that is always the case inside one window (992 ms squared is 2^60).
 * Beyond, both terms of the fraction lose low bits; with @part <= 2^35 (a
 * ring of the longest period) at least 28 significant ones stay.
 */
static inline uint64_t vamp_scale(uint64_t value, uint64_t part,
                                  uint64_t whole)
{
    uint64_t full, rest, result;

    if (part >= whole) {
        return value;
    }
    if (part == 0) {
        return 0;
    }
    /* full * part < value because part < whole: cannot overflow. */
    full = value / whole;
    rest = value % whole;
    while (rest > UINT64_MAX / part) {
        rest >>= 1;
        whole >>= 1;
    }
    result = full * part + rest * part / whole;
    return result < value ? result : value;
}

#endif /* VAMP_CORE_SCALE_H */
