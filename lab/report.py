"""
From the raw results of a scenario to its figures

  figures(...)    the entry of a scenario in bench.json
  verdicts(...)   how they compare with what was promised
  table(...)      for people
  plot(...)       the distribution of the response as SVG

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import subprocess
import tempfile

import stats
from scenario import SAMPLE_MS

POLICIES = {
    # name: (what it stands for, colour of its curve)
    'idle': ('idle host', '#555555'),
    'stock': ('stock Linux', '#c8442b'),
    'nice': ('nice value (ratio 3)', '#d99a1c'),
    'cgroup': ('cgroup weights (ratio 3)', '#3f8f4f'),
    'broker': ('broker', '#2660a4'),
}
WINDOW_S = 10
# A host whose CPUs are idle while somebody wants one is not full: then the
# figures are of something else.
MIN_UTILISATION = 0.97

# A VM that wanted less than 0.1 % of a CPU has no share to speak of.
BUSY = 0.001

# DESIGN.md section 7 and issue 4, for the policy "broker"
RESPONSE_LIMITS = {
    'one': {'mean': 1.02, 'p95': 1.05, 'p99': 1.10},
    'all': {'mean': 1.05, 'p95': 1.10, 'p99': 1.50},
    'none': {},
}
MIN_THROUGHPUT = 0.99
MIN_EVENTS = 300
MIN_SEEDS = 3


class _NotFull(Exception):
    """The host had idle CPUs; the text says how many."""


def _round(value):
    """Figures of bench.json have as many digits as mean something."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: _round(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_round(v) for v in value]
    return value


def _responses(result, begin=0):
    """{(VM, thread, number): response in ns} of events from @begin on."""
    return {key: e['done'] - e['arrival']
            for key, e in result.events.items() if e['arrival'] >= begin}


def _boosts(scenario, runs):
    """Distribution of the time from an event to real-time class, in ms."""
    begin = scenario.warmup_s * 1000000000
    events = [e for result in runs for e in result.events.values()
              if e['phase'] and e['arrival'] >= begin]
    took = [(e['rt'] - e['arrival']) / 1e6 for e in events if e['rt']]
    return dict(stats.distribution(took), never=len(events) - len(took))


def _whole_work(runs, stock, seeds):
    """
    What tells lost work from work that a faster answer moved from a VM's hogs
    to its user.
    """
    def of(results, name):
        return sum(sum(getattr(results[s], name).values()) for s in seeds)

    answers, before = of(runs, 'answer_cpu'), of(stock, 'answer_cpu')
    there = before + of(stock, 'hog_cpu')
    return {
        'answer_work': answers / before if before else None,
        'work': (answers + of(runs, 'hog_cpu')) / there if there else None,
    }


def _policy(scenario, policy, runs, idle, stock):
    """
    The figures of one policy. @runs: {seed: Result}; @idle: {seed: {event:
    response}}; @stock: {seed: Result} or None.
    """
    vamp = {vm.name for vm in scenario.vms if vm.vamp}
    weights = [vm.weight for vm in scenario.vms]
    ratios, responses, unmatched = [], [], 0
    shares = {vm.name: [] for vm in scenario.vms}
    worst = {vm.name: 0.0 for vm in scenario.vms}
    lowest_utilisation = 1.0
    begin = scenario.warmup_s * 1000000000
    for seed, result in sorted(runs.items()):
        for key, response in sorted(_responses(result, begin).items()):
            if key[0] not in vamp:
                continue
            if key in idle[seed]:
                ratios.append(response / idle[seed][key])
                responses.append(response / 1e6)
            else:
                unmatched += 1
        steps = stats.entitlements(result.samples, result.sleeps, weights)
        deviations = stats.worst_deviation(steps, weights,
                                           WINDOW_S * 1000 // SAMPLE_MS)
        for i, vm in enumerate(scenario.vms):
            worst[vm.name] = max(worst[vm.name], deviations[i])
            fair = sum(fair[i] for _, fair in steps)
            if fair > BUSY * result.samples[-1][0]:
                shares[vm.name].append(sum(used[i] for used, _ in steps) / fair)
        lowest_utilisation = min(lowest_utilisation, stats.utilisation(
            result.samples, result.sleeps, scenario.cpus))
    if lowest_utilisation < MIN_UTILISATION:
        raise _NotFull(
            f'{scenario.name}, {policy}: only {100 * lowest_utilisation:.1f} % '
            f'of the CPU time that was wanted was used (at least '
            f'{100 * MIN_UTILISATION:.0f} % would be valid)')
    out = stats.distribution(ratios)
    out.update({
        'unmatched': unmatched,
        'seeds': len(runs),
        'response_ms': stats.distribution(responses),
        'share': {name: sum(s) / len(s) if s else None
                  for name, s in shares.items()},
        'dev10s': worst,
        'dev10s_max': max(worst.values()),
        'utilisation': lowest_utilisation,
    })
    if stock:
        both = sorted(set(stock) & set(runs))
        vms = sorted(next(iter(runs.values())).hog_cpu)
        hogs = {vm: (sum(runs[s].hog_cpu[vm] for s in both),
                     sum(stock[s].hog_cpu[vm] for s in both)) for vm in vms}
        out['bg_throughput'] = sum(a for a, _ in hogs.values()) / \
            sum(b for _, b in hogs.values()) if hogs and both else None
        out['bg_throughput_vms'] = {vm: a / b for vm, (a, b) in hogs.items()
                                    if b}
        out.update(_whole_work(runs, stock, both))
    if policy == 'broker':
        seconds = scenario.measure_s * len(runs)
        out['broker_cpu_percent'] = \
            sum(r.broker_cpu for r in runs.values()) / seconds / 1e7
        out['boost_ms'] = _boosts(scenario, runs.values())
    return out, ratios


def figures(scenario, runs):
    """
    @runs: {policy: {seed: Result}}, where "idle" has {seed: [Result of each
    interactive VM]}. Returns (entry of bench.json, {policy: ratios}, [why a
    policy has no figures]).
    """
    idle = {seed: {k: v for result in results
                   for k, v in _responses(result).items()}
            for seed, results in runs['idle'].items()}
    entry, ratios, notes = {}, {}, []
    alone = [v / 1e6 for seed in sorted(idle)
             for _, v in sorted(idle[seed].items())]
    ones = stats.distribution([1.0] * len(alone))
    entry['idle'] = dict(ones, seeds=len(idle),
                         response_ms=stats.distribution(alone))
    for policy in POLICIES:
        if policy == 'idle' or not runs.get(policy):
            continue
        try:
            entry[policy], ratios[policy] = _policy(
                scenario, policy, runs[policy], idle, runs.get('stock'))
        except _NotFull as e:
            notes.append(str(e))
    return _round(entry), ratios, notes


# --- what was promised ------------------------------------------------------

def verdicts(scenario, entry):
    """
    [{what, value, limit, met}] of the policy "broker": what DESIGN.md section
    7 and issue 4 promise. @met is None when there is no figure.
    """
    broker = entry.get('broker', {})
    found = []

    def claim(what, value, limit, at_most=True):
        met = None
        if value is not None:
            met = value <= limit if at_most else value >= limit
        found.append({'what': what, 'value': value, 'met': met,
                      'limit': f"{'<=' if at_most else '>='} {limit:g}"})

    for name, limit in RESPONSE_LIMITS[scenario.response_limits].items():
        claim(f'response {name}', broker.get(name), limit)
    claim('worst 10 s deviation in %', broker.get('dev10s_max'),
          scenario.deviation_limit_percent)
    claim('background throughput', broker.get('bg_throughput'), MIN_THROUGHPUT,
          at_most=False)
    if scenario.broker_cpu_limit_percent:
        claim('broker, % of a CPU', broker.get('broker_cpu_percent'),
              scenario.broker_cpu_limit_percent)
    claim('events', broker.get('n'), MIN_EVENTS, at_most=False)
    claim('seeds', broker.get('seeds'), MIN_SEEDS, at_most=False)
    return found


def verdict_line(name, verdict):
    """One line for people."""
    value = 'none' if verdict['value'] is None else f"{verdict['value']:g}"
    word = {True: 'met', False: 'MISSED', None: 'NOT MEASURED'}[verdict['met']]
    return f"  {name:<16} {verdict['what']:<26} {value:>8}  " \
           f"{verdict['limit']:<8} {word}"


# --- for people -------------------------------------------------------------

def _cell(value, form):
    return '-' if value is None else format(value, form)


def table(scenario, entry):
    """Lines: one a policy."""
    lines = [f'{scenario.name}: {scenario.title}',
             f"  {'policy':<8} {'mean':>6} {'p50':>6} {'p95':>6} {'p99':>6} "
             f"{'max':>6} {'dev10s':>7} {'backgr.':>7} {'events':>6}  "
             'share of each busy VM (worst deviation)']
    for policy, f in entry.items():
        shares = ', '.join(f"{name} {share:.3f} ({f['dev10s'][name]:.1f} %)"
                           for name, share in f.get('share', {}).items()
                           if share is not None)
        lines.append(
            f'  {policy:<8} ' +
            ' '.join(f"{_cell(f[k], '.2f'):>6}"
                     for k in ('mean', 'p50', 'p95', 'p99', 'max')) +
            f" {_cell(f.get('dev10s_max'), '.2f'):>6}%"
            f" {_cell(f.get('bg_throughput'), '.3f'):>7} {f['n']:>6}  {shares}")
        if policy == 'broker':
            b = f['boost_ms']
            lines.append(
                f"           broker: {f['broker_cpu_percent']:.2f} % of a CPU; "
                f"to real-time class p50 {_cell(b['p50'], '.2f')} ms, p95 "
                f"{_cell(b['p95'], '.2f')} ms, max {_cell(b['max'], '.2f')} ms "
                f"({b['n']} phases, {b['never']} without)")
            lines.append(
                f"           of stock's work: answers "
                f"{_cell(f.get('answer_work'), '.3f')}, hogs "
                f"{_cell(f.get('bg_throughput'), '.3f')}, together "
                f"{_cell(f.get('work'), '.3f')}")
    return lines


def _curve(path, ratios):
    ordered = sorted(ratios)
    last = max(len(ordered) - 1, 1)
    with open(path, 'w', encoding='ascii') as f:
        f.write(f'{ordered[0]:.4f} 0\n')
        for k, value in enumerate(ordered):
            f.write(f'{value:.4f} {100 * k / last:.3f}\n')
        f.write(f'{ordered[-1]:.4f} 100\n')


def plot(scenario, entry, ratios, path):
    """Draws @path with gnuplot. Returns why not, or None."""
    if not shutil.which('gnuplot'):
        return 'gnuplot is missing (package gnuplot-nox)'
    drawn = [p for p in ratios if ratios[p]]
    if not drawn:
        return 'nothing was answered'
    right = max(stats.percentile(ratios[p], 99) for p in drawn) * 1.1
    with tempfile.TemporaryDirectory(prefix='vamp-plot-') as tmp:
        curves = []
        for policy in drawn:
            _curve(os.path.join(tmp, policy), ratios[policy])
            text, colour = POLICIES[policy]
            f = entry[policy]
            curves.append(
                f"'{policy}' using 1:2 with lines lw 2.5 lc rgb '{colour}' "
                f"title '{text}: mean {f['mean']:.2f}, p95 {f['p95']:.2f}, "
                f"worst deviation {f['dev10s_max']:.1f} %'")
        script = '\n'.join([
            "set terminal svg size 840,500 noenhanced background '#ffffff' "
            "font 'Helvetica,Arial,sans-serif,13'",
            "set output 'out.svg'",
            f"set title '{scenario.title}' textcolor rgb '#222222'",
            "set border 3 lc rgb '#888888'",
            "set tics nomirror out scale 0.6 textcolor rgb '#444444'",
            f'set xrange [0.95:{max(right, 1.2):.2f}]', 'set yrange [0:104]',
            'set ytics 0,25,100 format "%g %%"',
            "set grid ytics lc rgb '#e6e6e6' lw 1",
            "set xlabel 'response, as a multiple of the same event on an idle "
            "host' textcolor rgb '#444444'",
            "set ylabel 'events answered' textcolor rgb '#444444'",
            "set key below left Left reverse maxcols 1 textcolor rgb '#222222'",
            'plot ' + ', '.join(curves)])
        try:
            done = subprocess.run(['gnuplot'], input=script, text=True, cwd=tmp,
                                  stdout=subprocess.DEVNULL, timeout=60,
                                  stderr=subprocess.PIPE, check=False)
        except (OSError, subprocess.SubprocessError) as e:
            return f'gnuplot failed: {e}'
        made = os.path.join(tmp, 'out.svg')
        if done.returncode or not os.path.exists(made):
            last = done.stderr.strip().splitlines()[-1:] or ['no reason given']
            return f'gnuplot failed: {last[0].strip()}'
        shutil.move(made, path)
    return None
