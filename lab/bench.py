#!/usr/bin/env python3
"""
What `make bench` does: scenarios on the simulated host, policies side by side

    lab/bench.py [--scenarios A,B] [--policies P,Q] [--seeds N] ...

Raw results stay in RESULTS/bench/; a bench that was interrupted goes on where
it was. Writes RESULTS/bench.json, RESULTS/bench.txt and
RESULTS/bench-SCENARIO.svg. It measures and says what was missed; a miss is no
failure of the program (exit status 0).

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import glob
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
import report
import scenario as scenarios
import sim

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))


def parse_args(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Measures the response of VMs on a simulated host.')
    parser.add_argument('--scenarios', metavar='NAME,FILE,...', default='',
                        help='names of lab/scenarios, or files (default: all)')
    parser.add_argument('--policies', metavar='A,B,...', default='',
                        help='of: ' + ', '.join(report.POLICIES))
    parser.add_argument('--seeds', type=int, default=report.MIN_SEEDS,
                        help='how many (default %(default)s)')
    parser.add_argument('--qemu', default=os.path.join(
        BUILD, 'bin', 'qemu-system-x86_64'))
    parser.add_argument('--results', default=os.path.join(BUILD, 'results'),
                        help='folder (default %(default)s)')
    args = parser.parse_args(argv)
    if not 1 <= args.seeds <= 1000:
        parser.error(f'--seeds {args.seeds} is not valid (valid: 1 to 1000)')
    args.policies = args.policies.replace(',', ' ').split() or \
        list(report.POLICIES)
    for name in args.policies:
        if name not in report.POLICIES:
            parser.error(f"'{name}' is not a policy (valid: "
                         f"{', '.join(report.POLICIES)})")
    shipped = {os.path.splitext(os.path.basename(p))[0]: p for p in
               sorted(glob.glob(os.path.join(HERE, 'scenarios', '*.conf')))}
    names = args.scenarios.replace(',', ' ').split() or list(shipped)
    for name in names:
        if name not in shipped and not name.endswith('.conf'):
            parser.error(f"'{name}' is not a scenario (valid: a file *.conf, "
                         f"or {', '.join(shipped)})")
    args.paths = [shipped.get(name, name) for name in names]
    return args


def jobs(scenario, policies, seeds):
    """
    [(policy, seed, VM or None)]: the runs of @scenario. Idle first: every
    other figure is relative to it.
    """
    found = []
    for policy in ['idle'] + [p for p in policies if p != 'idle']:
        for seed in range(1, seeds + 1):
            if policy == 'idle':
                found += [(policy, seed, vm) for vm in scenario.vms
                          if vm.interactive() and vm.vamp]
            else:
                found.append((policy, seed, None))
    return found


class Bench:
    """One call of this program."""

    def __init__(self, args):
        self.args = args
        self.host = sim.Host(BUILD, args.qemu)
        self.policies = list(args.policies)
        self.notes = []
        self.begin = time.monotonic()
        missing = self.host.broker_missing()
        if 'broker' in self.policies and missing:
            self.policies.remove('broker')
            self.note(f'policy broker is left out: {missing}')

    def note(self, text):
        """Says @text, now and in the report."""
        self.notes.append(text)
        self.say(text)

    def say(self, text):
        """A line of progress."""
        print(f'[{time.monotonic() - self.begin:5.0f} s] {text}', flush=True)

    def measure(self, scenario, done, total):
        """Runs all that @scenario needs; returns (its runs, runs so far)."""
        runs = {}
        seconds = scenario.warmup_s + scenario.measure_s
        for policy, seed, vm in jobs(scenario, self.policies, self.args.seeds):
            done += 1
            what = f'{policy}-{seed}' + (f'-{vm.name}' if vm else '')
            path = os.path.join(self.args.results, 'bench', scenario.name,
                                what + '.txt')
            plan = scenarios.plan(scenario, policy, seed, vm)
            try:
                result, made = self.host.run(plan, scenario.cpus, seconds, path)
            except sim.SimError as e:
                # The others may tell something nevertheless.
                self.note(f'{scenario.name} {what} FAILED: {e}')
                continue
            self.say(f'{done}/{total} {scenario.name} {what}'
                     + ('' if made else ' (was there)'))
            if policy == 'idle':
                runs.setdefault(policy, {}).setdefault(seed, []).append(result)
            else:
                runs.setdefault(policy, {})[seed] = result
        return runs, done

    def run(self, loaded):
        """All scenarios. Returns what bench.json has."""
        total = sum(len(jobs(s, self.policies, self.args.seeds))
                    for s in loaded)
        done = 0
        data = {'scenarios': {}, 'verdicts': {}}
        lines = []
        for scenario in loaded:
            runs, done = self.measure(scenario, done, total)
            if not runs.get('idle'):
                self.note(f'{scenario.name}: nothing to compare with')
                continue
            for policy in list(runs):
                # Without its idle run a seed says nothing.
                runs[policy] = {seed: r for seed, r in runs[policy].items()
                                if seed in runs['idle']}
            entry, ratios, notes = report.figures(scenario, runs)
            for note in notes:
                self.note(note)
            data['scenarios'][scenario.name] = entry
            data['verdicts'][scenario.name] = report.verdicts(scenario, entry)
            svg = os.path.join(self.args.results, f'bench-{scenario.name}.svg')
            why = report.plot(scenario, entry, ratios, svg)
            if why:
                self.note(f'{scenario.name}: no plot: {why}')
            lines += [''] + report.table(scenario, entry)
            print('\n'.join(report.table(scenario, entry)), flush=True)
        data['host'] = {'qemu': self.host.version, 'icount': sim.ICOUNT,
                        'seeds': self.args.seeds}
        data['notes'] = self.notes
        return data, lines


def verdict_lines(data):
    """The comparison with what was promised, and its sum."""
    lines = ['', 'Compared with DESIGN.md section 7 and issue 4 (policy '
             'broker):']
    every = []
    for name, found in data['verdicts'].items():
        every += found
        lines += [report.verdict_line(name, v) for v in found]
    count = {m: sum(v['met'] is m for v in every) for m in (True, False, None)}
    lines.append(f'{count[True]} met, {count[False]} missed, '
                 f'{count[None]} not measured')
    return lines


def write(path, text):
    """A whole file or none."""
    with open(path + '.tmp', 'w', encoding='utf-8') as f:
        f.write(text)
    os.rename(path + '.tmp', path)


def terminated(signum, _frame):
    """So that QEMU ends with us."""
    raise SystemExit(128 + signum)


def main(argv=None):
    """Returns the exit status."""
    signal.signal(signal.SIGTERM, terminated)
    args = parse_args(argv)
    try:
        loaded = [scenarios.load(path) for path in args.paths]
        bench = Bench(args)
    except (scenarios.ScenarioError, sim.SimError) as e:
        print(f'bench: error: {e}', file=sys.stderr)
        return 1
    os.makedirs(args.results, exist_ok=True)
    try:
        data, lines = bench.run(loaded)
    except KeyboardInterrupt:
        print('bench: interrupted; what was measured so far is kept',
              file=sys.stderr)
        return 130
    lines += verdict_lines(data)
    lines += ['note: ' + note for note in bench.notes]
    print('\n'.join(lines[-len(verdict_lines(data)) - len(bench.notes):]))
    write(os.path.join(args.results, 'bench.json'),
          json.dumps(data, indent=1, sort_keys=True) + '\n')
    write(os.path.join(args.results, 'bench.txt'),
          '\n'.join(lines).strip() + '\n')
    print(f'Figures: {args.results}/bench.json, bench.txt, bench-*.svg')
    return 0


if __name__ == '__main__':
    sys.exit(main())
