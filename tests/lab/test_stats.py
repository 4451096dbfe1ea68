#!/usr/bin/env python3
"""
Statistics and report of a bench, on made-up numbers.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import sys
import tempfile
import xml.etree.ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, 'tests'), os.path.join(TOP, 'lab')]
# pylint: disable=wrong-import-position
import report
import scenario
import sim
import stats
import tap

MS = 1000000
SECOND = 1000 * MS


def near(a, b, text=''):
    """@a is @b but for rounding."""
    tap.check(a is not None and abs(a - b) < 1e-9, f'{a}, not {b} {text}')


def percentiles():
    """Between two samples, at the ends, without samples."""
    near(stats.percentile([4, 1, 3, 2], 50), 2.5)
    near(stats.percentile([4, 1, 3, 2], 0), 1)
    near(stats.percentile([4, 1, 3, 2], 100), 4)
    near(stats.percentile(list(range(101)), 95), 95)
    near(stats.percentile([7], 99), 7)
    tap.check(stats.percentile([], 50) is None, 'of nothing')
    d = stats.distribution([1, 2, 6])
    tap.check((d['mean'], d['p50'], d['max'], d['n']) == (3, 2, 6, 3), str(d))
    tap.check(stats.distribution([])['mean'] is None, 'of nothing')


def fair_shares():
    """Max-min by demand and weight."""
    def same(got, want):
        tap.check(len(got) == len(want) and
                  all(abs(a - b) < 1e-9 for a, b in zip(got, want)),
                  f'{got}, not {want}')

    same(stats.max_min(6, [9, 9, 9], [1, 1, 1]), [2, 2, 2])
    same(stats.max_min(6, [1, 9, 9], [1, 1, 1]), [1, 2.5, 2.5])
    same(stats.max_min(6, [0, 2.5, 9], [1, 1, 1]), [0, 2.5, 3.5])
    same(stats.max_min(7, [9, 9, 9], [100, 200, 50]), [2, 4, 1])
    # The heavy one wants little: by weight the rest goes to the others.
    same(stats.max_min(7, [9, 1, 9], [100, 200, 50]), [4, 1, 2])
    same(stats.max_min(10, [1, 2], [1, 1]), [1, 2])
    same(stats.max_min(0, [1, 2], [1, 1]), [0, 0])


def steady(rates, seconds, step_ms=100):
    """Samples of VMs that use @rates CPUs all the time."""
    return [(t * step_ms * MS, [r * t * step_ms * MS for r in rates])
            for t in range(seconds * 1000 // step_ms + 1)]


def awake(n):
    """Sleeps of @n VMs of two threads that never sleep."""
    return [[[], []] for _ in range(n)]


def deviation_of_equals():
    """A VM that gets 10 % too much all the time, on two CPUs."""
    samples = steady([0.74, 0.62, 0.64], 12)
    steps = stats.entitlements(samples, awake(3), [1, 1, 1])
    tap.check(len(steps) == 120, f'{len(steps)} steps')
    worst = stats.worst_deviation(steps, [1] * len(steps[0][0]), 100)
    near(worst[0], 100 * (0.74 * 3 / 2 - 1))
    near(worst[1], 100 * (1 - 0.62 * 3 / 2))


def deviation_window():
    """What is paid back within the window does not count; later it does."""
    def worst(period_s):
        used, samples = [0, 0], []
        for t in range(401):
            samples.append((t * 100 * MS, list(used)))
            ahead = t // (period_s * 5) % 2 == 0
            used = [used[0] + (120 if ahead else 80) * MS,
                    used[1] + (80 if ahead else 120) * MS]
        return stats.worst_deviation(
            stats.entitlements(samples, awake(2), [1, 1]), [1, 1], 100)

    # Windows of 10 s over whole periods of 1 s: nothing is left over, but
    # for the half period that a window may begin with.
    tap.check(max(worst(1)) < 1.01, f'{worst(1)}')
    near(worst(40)[0], 20)
    near(worst(40)[1], 20)


def deviation_of_sleepers():
    """Who sleeps is entitled to nothing, and needs nothing afterwards."""
    samples, used = [], [0, 0]
    for t in range(301):
        samples.append((t * 100 * MS, list(used)))
        asleep = 100 <= t < 200
        used = [used[0] + (200 if asleep else 100) * MS,
                used[1] + (0 if asleep else 100) * MS]
    nap = [(10 * SECOND, 20 * SECOND)]
    steps = stats.entitlements(samples, [[[], []], [nap, nap]], [1, 1])
    for value in stats.worst_deviation(steps, [1] * len(steps[0][0]), 100):
        near(value, 0)
    # The same without the sleep is far from fair.
    steps = stats.entitlements(samples, awake(2), [1, 1])
    near(stats.worst_deviation(steps, [1] * len(steps[0][0]), 100)[0], 100)
    near(stats.worst_deviation(steps, [1] * len(steps[0][0]), 100)[1], 100)


def deviation_of_weights():
    """Shares by weight have no deviation."""
    steps = stats.entitlements(steady([4 / 7, 8 / 7, 2 / 7], 10), awake(3),
                               [100, 200, 50])
    for value in stats.worst_deviation(steps, [100, 200, 50], 100):
        near(value, 0)


def deviation_of_a_late_sleeper():
    """Who wakes for the last 100 ms and gets half of it has lost little."""
    samples = steady([2, 0], 10)
    samples[-1][1][0] -= 50 * MS
    samples[-1][1][1] += 50 * MS
    nap = [(0, 9900 * MS)]
    steps = stats.entitlements(samples, [[[], []], [nap, nap]], [1, 1])
    worst = stats.worst_deviation(steps, [1, 1], 100)
    # It was entitled to 100 ms, and would be to 10 s.
    near(worst[1], 0.5)


def idle_cpus():
    """A host that does not use its CPUs is found out."""
    near(stats.utilisation(steady([1.0, 1.0], 10), awake(2), 2), 1)
    near(stats.utilisation(steady([0.9, 0.9], 10), awake(2), 2), 0.9)
    # One thread cannot use two CPUs.
    near(stats.utilisation(steady([1.0], 10), [[[]]], 2), 1)


# --- a whole report ---------------------------------------------------------

def made_up():
    """A scenario of two VMs."""
    a = scenario.Vm('A', 0, threads=('interactive', 'hog'))
    b = scenario.Vm('B', 1)
    return scenario.Scenario('made-up', 'Made up', 2, 4, 20,
                             response_limits='one', vms=[a, b])


def raw(slow, share=1.0, hog=1.0, busy=1.0, answers=1.0):
    """
    A guest's text: answers take @slow times 40 ms, A gets @share CPUs. Hogs
    and answers use 10 s a thread, A's @hog and @answers times as much.
    """
    lines = ['vamp-lab 1 6.12', 'vm 0 A', 'vm 1 B']
    for i in range(201):
        t = 4 * SECOND + i * 100 * MS
        lines.append(f'sample {t} {i * MS} {int(t * share * busy)} '
                     f'{int(t * (2 - share) * busy)}')
    lines.append(f'thread 0 0 0 interactive {int(10 * SECOND * answers)}')
    for k in range(60):
        arrival = 2 * SECOND + k * 300 * MS
        done = arrival + int((40 + k % 2) * slow * MS)
        lines.append(f'event 0 0 {k} {arrival} {arrival + 1000} {done} '
                     f'{40 * MS} {arrival + 2 * MS if k % 3 else 0} '
                     f'{int(k % 20 == 0 or k % 20 == 1)}')
    lines += [f'thread 0 1 1 hog {int(10 * SECOND * hog)}',
              f'thread 1 0 0 hog {10 * SECOND}',
              f'thread 1 1 1 hog {10 * SECOND}', 'status {"a": 1}', 'end']
    return '\n'.join(lines) + '\n'


def runs(**policies):
    """What figures() wants, one seed."""
    found = {'idle': {1: [sim.Result(raw(1), 'idle')]}}
    for policy, text in policies.items():
        found[policy] = {1: sim.Result(text, policy)}
    return found


def figures():
    """From raw text to the entry of bench.json."""
    entry, ratios, _ = report.figures(made_up(), runs(
        stock=raw(3), broker=raw(1.01, share=1.02, hog=0.9, answers=1.06)))
    tap.check(set(entry) == {'idle', 'stock', 'broker'}, str(list(entry)))
    stock, broker = entry['stock'], entry['broker']
    # Of 60 events 7 come in the 4 s of warming up.
    tap.check(stock['n'] == 53 and len(ratios['stock']) == 53, str(stock['n']))
    near(stock['mean'], 3)
    near(stock['p99'], 3)
    near(stock['bg_throughput'], 1)
    near(stock['dev10s_max'], 0)
    near(broker['mean'], 1.01)
    near(broker['dev10s_max'], 2)
    near(broker['share']['A'], 1.02)
    near(broker['bg_throughput'], round(29 / 30, 4))
    near(broker['bg_throughput_vms']['A'], 0.9)
    # 1 s less for A's hog, 0.6 s more for its answers, of 40 s in all
    near(broker['answer_work'], 1.06)
    near(broker['work'], 0.99)
    near(stock['work'], 1)
    near(broker['broker_cpu_percent'], 1)
    # Events 20, 21, 40, 41 began phases; 21, as 3 divides it, had no boost.
    boost = broker['boost_ms']
    tap.check((boost['n'], boost['never']) == (3, 1), str(boost))
    near(boost['max'], 2)
    near(entry['idle']['mean'], 1)


def judged():
    """Misses and missing figures are called so."""
    entry, _, _ = report.figures(made_up(), runs(
        stock=raw(3), broker=raw(1.04, share=1.03)))
    found = {v['what']: v for v in report.verdicts(made_up(), entry)}
    for what, met in (('response mean', False), ('response p95', True),
                      ('worst 10 s deviation in %', False),
                      ('background throughput', True), ('events', False),
                      ('seeds', False)):
        tap.check(found[what]['met'] is met, f'{what}: {found[what]}')
    tap.check('MISSED' in report.verdict_line('x', found['response mean']),
              'no word')
    entry, _, _ = report.figures(made_up(), runs(stock=raw(3)))
    found = report.verdicts(made_up(), entry)
    tap.check(all(v['met'] is None for v in found), str(found))
    tap.check('NOT MEASURED' in report.verdict_line('x', found[0]), 'no word')


def not_full():
    """A run on a host with idle CPUs is refused."""
    entry, _, notes = report.figures(made_up(), runs(
        stock=raw(3), broker=raw(1, busy=0.9)))
    tap.check(len(notes) == 1 and
              'made-up, broker: only 90.0 %' in notes[0], str(notes))
    # The others' figures stay, and the broker's limits are not met.
    tap.check(set(entry) == {'idle', 'stock'}, str(list(entry)))
    tap.check(all(v['met'] is None for v in
                  report.verdicts(made_up(), entry)), 'met?')


def tables():
    """A line a policy, whatever is missing."""
    s = made_up()
    s.broker_cpu_limit_percent = 1
    entry, _, _ = report.figures(s, runs(stock=raw(3), broker=raw(1)))
    found = {v['what']: v['met'] for v in report.verdicts(s, entry)}
    tap.check(found['broker, % of a CPU'] is True, str(found))
    text = '\n'.join(report.table(s, entry))
    for piece in ('Made up', 'idle', 'stock', '3.00', 'A 1.000 (0.0 %)', 'broker:',
                  '1 without', 'together 1.000'):
        tap.check(piece in text, f'no "{piece}" in:\n{text}')


def damaged():
    """Text that is not a guest's, or not all of it."""
    for text, piece in ((raw(1)[:-4], 'not complete'),
                        (raw(1).replace('event 0', 'event x', 1), 'damaged'),
                        ('', 'not complete')):
        try:
            sim.Result(text, 'some file')
        except sim.SimError as e:
            tap.check(piece in str(e) and 'some file' in str(e), str(e))
        else:
            raise tap.Fail(f'taken: {text[:40]}')


def drawing():
    """The plot is SVG and has every policy."""
    if not shutil.which('gnuplot'):
        raise tap.Skip('gnuplot is missing (package gnuplot-nox)')
    s = made_up()
    entry, ratios, _ = report.figures(s, runs(stock=raw(3), broker=raw(1)))
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, 'x.svg')
        why = report.plot(s, entry, ratios, path)
        tap.check(why is None, str(why))
        root = xml.etree.ElementTree.parse(path).getroot()
    text = ' '.join(root.itertext())
    for piece in ('Made up', 'stock Linux: mean 3.00', 'broker: mean 1.00'):
        tap.check(piece in text, f'no "{piece}" in the plot')


if __name__ == '__main__':
    sys.exit(tap.run([
        ('percentiles', percentiles),
        ('fair shares', fair_shares),
        ('deviation: three equal VMs', deviation_of_equals),
        ('deviation: windows', deviation_window),
        ('deviation: a VM that sleeps', deviation_of_sleepers),
        ('deviation: a VM that wakes late', deviation_of_a_late_sleeper),
        ('deviation: weights', deviation_of_weights),
        ('utilisation', idle_cpus),
        ('figures of a scenario', figures),
        ('verdicts', judged),
        ('a host that is not full', not_full),
        ('table', tables),
        ('damaged results', damaged),
        ('plot', drawing),
    ]))
