"""
Statistics of a bench: pure functions on numbers

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import math


def percentile(samples, p):
    """
    The @p-th percentile (0..100) of @samples: linear between the two nearest.
    None without samples.
    """
    if not samples:
        return None
    ordered = sorted(samples)
    k = (len(ordered) - 1) * p / 100
    low = math.floor(k)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (k - low)


def distribution(samples):
    """Mean, percentiles and maximum of @samples, None where there are none."""
    return {
        'mean': sum(samples) / len(samples) if samples else None,
        'p50': percentile(samples, 50),
        'p95': percentile(samples, 95),
        'p99': percentile(samples, 99),
        'max': max(samples, default=None),
        'n': len(samples),
    }


def max_min(total, wants, weights):
    """
    Shares @total by @weights so that nobody gets more than it wants, and what
    it leaves goes to the others. If all get what they want, the rest of
    @total is nobody's.
    """
    share = [0.0] * len(wants)
    left = list(range(len(wants)))
    while left:
        unit = total / sum(weights[i] for i in left)
        content = [i for i in left if wants[i] <= unit * weights[i]]
        if not content:
            for i in left:
                share[i] = unit * weights[i]
            break
        for i in content:
            share[i] = wants[i]
            total -= wants[i]
            left.remove(i)
    return share


def asleep(sleeps, begin, end):
    """Time between @begin and @end that lies in the intervals @sleeps."""
    return sum(max(0, min(b, end) - max(a, begin)) for a, b in sleeps)


def entitlements(samples, sleeps, weights):
    """
    What was fair, step by step.

    @samples  [(time, [CPU time of each VM])], in the order of time
    @sleeps   of each VM a list with the sleeps [(from, to)] of each thread
    Returns [(used, fair)], a list of VMs each, for every step between samples.
    A thread that does not sleep wants a CPU. What all VMs together used is
    shared by weight among those that wanted it.
    """
    steps = []
    for (t0, cpu0), (t1, cpu1) in zip(samples, samples[1:]):
        used = [b - a for a, b in zip(cpu0, cpu1)]
        wants = [sum(t1 - t0 - asleep(s, t0, t1) for s in threads)
                 for threads in sleeps]
        # A sample may be late by some microseconds: used is wanted.
        wants = [max(w, u) for w, u in zip(wants, used)]
        steps.append((used, max_min(sum(used), wants, weights)))
    return steps


def worst_deviation(steps, weights, length):
    """
    Of each VM the deviation (percent, >= 0) of its CPU time from its fair CPU
    time in the worst window of @length steps. The whole is one window if it is
    shorter.

    100 % is the fair CPU time, or what the VM would be entitled to if all VMs
    wanted all, if that is more: of a VM that sleeps nearly the whole window, a
    late wake-up is no great unfairness.
    """
    worst = [0.0] * len(steps[0][0])
    length = min(length, len(steps))
    for first in range(len(steps) - length + 1):
        window = steps[first:first + length]
        for i in range(len(worst)):
            used = sum(step[0][i] for step in window)
            fair = sum(step[1][i] for step in window)
            whole = max(fair, sum(sum(step[0]) for step in window) *
                        weights[i] / sum(weights))
            if whole > 0:
                worst[i] = max(worst[i], 100 * abs(used - fair) / whole)
    return worst


def utilisation(samples, sleeps, cpus):
    """CPU time used, as a part of what was wanted and was there."""
    used = there = 0
    for (t0, cpu0), (t1, cpu1) in zip(samples, samples[1:]):
        wants = sum(t1 - t0 - asleep(s, t0, t1)
                    for threads in sleeps for s in threads)
        used += sum(cpu1) - sum(cpu0)
        there += min(wants, cpus * (t1 - t0))
    return used / there if there else 1.0
