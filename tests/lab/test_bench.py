#!/usr/bin/env python3
"""
The simulated host itself: a short bench, twice.

Identical input gives identical bytes, whatever else this machine does
meanwhile. Nothing here depends on the host's clock.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
sys.path[:0] = [os.path.join(TOP, 'tests'), os.path.join(TOP, 'lab')]
# pylint: disable=wrong-import-position
import scenario
import sim
import tap

QEMU = os.path.join(BUILD, 'bin', 'qemu-system-x86_64')
# Half a minute on a quiet machine.
TIMEOUT_S = 500

SHORT = '''\
[host]
title = short
cpus = 2
warmup-s = 3
measure-s = 10

[vm A]
threads = interactive, hog

[vm B]
threads = hog, hog
'''


def read(path):
    """A file's bytes."""
    with open(path, 'rb') as f:
        return f.read()


class Claims:
    """One method a claim, in the order of main()."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.conf = os.path.join(tmp, 'short.conf')
        with open(self.conf, 'w', encoding='ascii') as f:
            f.write(SHORT)
        self.folder = [os.path.join(tmp, 'one'), os.path.join(tmp, 'two')]
        self.policy = 'broker' if os.path.exists(
            os.path.join(BUILD, 'bin', 'qemu-vamp-broker')) else 'nice'

    def bench(self, folder, *args):
        """Runs lab/bench.py; (exit status, output)."""
        done = subprocess.run(
            [sys.executable, os.path.join(TOP, 'lab', 'bench.py'), '--results',
             folder, '--seeds', '1'] + list(args), text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT_S)
        return done.returncode, done.stdout

    def whole(self):
        """A scenario file in, figures out."""
        status, output = self.bench(self.folder[0], '--scenarios', self.conf,
                                    '--policies', self.policy)
        tap.check(status == 0, f'exit status {status}:\n{output}')
        with open(os.path.join(self.folder[0], 'bench.json'),
                  encoding='utf-8') as f:
            data = json.load(f)
        entry = data['scenarios']['short']
        figures = entry[self.policy]
        tap.check(figures['n'] >= 20 and figures['unmatched'] == 0,
                  str(figures))
        tap.check(figures['mean'] >= 0.99 and figures['p50'] <= figures['p95'],
                  str(figures))
        tap.check(figures['utilisation'] > 0.97, str(figures))
        tap.check(set(figures['share']) == set(figures['dev10s']) ==
                  {'A', 'B'}, str(figures))
        tap.check(abs(sum(figures['share'].values()) - 2) < 0.02, str(figures))
        # 30 to 50 ms of CPU, and up to 4 pauses of 5 ms
        tap.check(30 < entry['idle']['response_ms']['mean'] < 75,
                  str(entry['idle']))
        for piece in ('NOT MEASURED', f'2/2 short {self.policy}-1',
                      'share of each busy VM'):
            tap.check(piece in output, f'no "{piece}" in:\n{output}')

    def identical(self):
        """The same again gives the same bytes."""
        status, output = self.bench(self.folder[1], '--scenarios', self.conf,
                                    '--policies', self.policy)
        tap.check(status == 0, f'exit status {status}:\n{output}')
        for name in ('bench.json', 'bench.txt', 'bench/short/idle-1-A.txt',
                     f'bench/short/{self.policy}-1.txt'):
            one, two = (read(os.path.join(f, name)) for f in self.folder)
            tap.check(len(one) > 200, f'{name} is {one!r}')
            if one != two:
                lines = zip(one.splitlines(), two.splitlines())
                first = next(((a, b) for a, b in lines if a != b), None)
                raise tap.Fail(f'{name} differs: {first}')

    def resumes(self):
        """What is there is not measured again; half a result is."""
        host = sim.Host(BUILD, QEMU)
        path = os.path.join(self.folder[1], 'bench', 'short', 'idle-1-A.txt')
        whole = read(path)
        text = whole.decode('ascii').split('\n', 1)[1]
        boots = []
        host.boot = lambda *args: boots.append(args) or text
        s = scenario.load(self.conf)
        plan = scenario.plan(s, 'idle', 1, s.vms[0])

        def run(expect, *args):
            boots.clear()
            _, made = host.run(*args, path)
            tap.check(made is expect and len(boots) == int(expect),
                      f'{args[1:]}: made {made}, {len(boots)} boots')

        run(False, plan, s.cpus, 13)
        with open(path, 'wb') as f:
            f.write(whole[:len(whole) // 2])
        run(True, plan, s.cpus, 13)
        tap.check(read(path) == whole, 'it is not as before')
        run(True, plan.replace('seed 1', 'seed 2'), s.cpus, 13)
        run(False, plan.replace('seed 1', 'seed 2'), s.cpus, 13)

    def keyed(self):
        """Another plan, seed or number of CPUs is another result."""
        host = sim.Host(BUILD, QEMU)
        s = scenario.load(self.conf)
        keys = {host.key(scenario.plan(s, policy, seed), cpus)
                for policy in ('stock', 'nice') for seed in (1, 2)
                for cpus in (2, 3)}
        tap.check(len(keys) == 8, f'{len(keys)} keys of 8')
        tap.check(host.key(scenario.plan(s, 'stock', 1), 2) in keys, 'unstable')

    def refused(self):
        """Wrong arguments and files: one sentence."""
        wrong = os.path.join(self.tmp, 'wrong.conf')
        with open(wrong, 'w', encoding='ascii') as f:
            f.write('[host]\ncpus = many\n')
        for args, status, piece in (
                (('--policies', 'best'), 2, "'best' is not a policy"),
                (('--scenarios', 'none'), 2, "'none' is not a scenario"),
                (('--seeds', '0'), 2, '--seeds 0 is not valid'),
                (('--scenarios', wrong), 1, f"{wrong}:2: cpus = 'many'"),
                (('--qemu', '/nonexistent'), 1, '/nonexistent is missing')):
            got, output = self.bench(self.folder[0], *args)
            tap.check(got == status and piece in output and
                      'Traceback' not in output,
                      f'{args}: exit status {got}:\n{output}')

    def guest_error(self):
        """What goes wrong in the guest is told, not reported as a figure."""
        host = sim.Host(BUILD, QEMU)
        plan = scenario.plan(scenario.load(self.conf), 'stock', 1)
        try:
            host.boot(plan + 'nonsense 1\n', 2, 20)
        except sim.SimError as e:
            tap.check("not understood: 'nonsense 1'" in str(e), str(e))
        else:
            raise tap.Fail('it was taken')


def main():
    """Returns the exit status."""
    for path in (QEMU, os.path.join(BUILD, 'lab', 'init')):
        if not os.path.exists(path):
            print(f'1..0 # SKIP {path} is not built')
            return 0
    with contextlib.ExitStack() as stack:
        c = Claims(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='vamp-bench-')))
        return tap.run([
            ('wrong arguments', c.refused),
            ('an error in the guest', c.guest_error),
            ('a short scenario', c.whole),
            ('identical input, identical bytes', c.identical),
            ('an interrupted bench goes on', c.resumes),
            ('results are kept by what they depend on', c.keyed),
        ], plain=(subprocess.SubprocessError, sim.SimError))


if __name__ == '__main__':
    sys.exit(main())
