#!/usr/bin/env python3
"""
run.py from the first line to the last, with few presses, and interrupted.

What it measures is not looked at beyond its shape: that is for `make run` on
a quiet machine.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
from tap import Fail, Skip, check, eventually, main
from vamp_guest import CpuGroups, GuestError, find_qemu, qemu_missing

PRESSES = 6
BLOCKS = 3
POLICIES = ('idle', 'stock', 'vamp')
TIMEOUT_S = 480
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def stat_of(pid):
    """(command, parent, state) of a process, or None."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            text = f.read()
    except OSError:
        return None
    rest = text.rpartition(')')[2].split()
    return text.partition('(')[2].rpartition(')')[0], int(rest[1]), rest[0]


def descendants(root):
    """{pid: command} of all processes that @root has started, and theirs."""
    parent = {}
    name = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        stat = stat_of(pid)
        if stat:
            name[int(pid)], parent[int(pid)], _ = stat
    found = {}
    fresh = [root]
    while fresh:
        fresh = [p for p in parent if parent[p] in fresh]
        found.update({p: name[p] for p in fresh})
    return found


def before_exec():
    """In the child: it dies with us, and can be interrupted."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # A shell lets its background jobs ignore it
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Runner:
    """One run.py."""

    def __init__(self, stack, *args):
        self.results = tempfile.mkdtemp(prefix='vamp-test-results-', dir='/tmp')
        stack.callback(shutil.rmtree, self.results, ignore_errors=True)
        self.proc = subprocess.Popen(
            [sys.executable, os.path.join(HERE, 'run.py'), '--qemu',
             find_qemu(), '--results', self.results, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=before_exec)
        stack.callback(self.end)
        self.output = ''
        self.groups = CpuGroups('vamp-test')

    def end(self):
        """Ends it if it still runs; what it has started dies with it."""
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()

    def wait(self):
        """Waits for its end; returns its exit status."""
        try:
            self.output += self.proc.communicate(timeout=TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            raise Fail(f'run.py has not ended after {TIMEOUT_S} s') from None
        return self.proc.returncode

    def until(self, text):
        """Reads its output until a line contains @text."""
        for line in self.proc.stdout:
            self.output += line
            if text in line:
                return
        raise Fail(f'run.py ended without "{text}":\n{self.output}')

    def traces(self):
        """What of it is left on this machine."""
        mine = f'vamp-run-{self.proc.pid}-'
        left = [os.path.join('/tmp', n) for n in os.listdir('/tmp')
                if n.startswith(mine)]
        if self.groups.kind:
            left += [os.path.join(self.groups.parent, n)
                     for n in os.listdir(self.groups.parent)
                     if n.startswith(mine)]
        return left


class Claims:
    """One method a claim, in the order of claims()."""

    def __init__(self, stack):
        self.stack = stack
        self.runner = None
        self.data = None

    def whole(self):
        """It ends well and leaves nothing."""
        self.runner = Runner(self.stack, '--presses', str(PRESSES),
                             '--blocks', str(BLOCKS))
        status = self.runner.wait()
        check(status == 0, f'exit status {status}:\n{self.runner.output}')
        check(not self.runner.traces(), f'left: {self.runner.traces()}')
        path = os.path.join(self.runner.results, 'run.json')
        with open(path, encoding='utf-8') as f:
            self.data = json.load(f)

    def need(self):
        """The JSON file."""
        if self.data is None:
            raise Fail('there is no run.json: see above')
        return self.data

    def keys(self):
        """The keys that DESIGN.md promises, with values that can be."""
        data = self.need()
        for name in POLICIES:
            series = data.get(name)
            check(isinstance(series, dict), f'no series {name}: {list(data)}')
            p50, p95, n, share = (series.get(k) for k in
                                  ('p50_ms', 'p95_ms', 'n', 'share'))
            check(isinstance(n, int) and n + series['lost'] == PRESSES and n,
                  f'{name}: n is {n}, lost {series["lost"]}')
            check(0 < p50 <= p95, f'{name}: p50 {p50}, p95 {p95}')
            check(isinstance(share, float) and 0 <= share <= 1,
                  f'{name}: share is {share}')
            # The guest's own work took that long, so the answer did, too
            check(len(series['samples_ms']) == len(series['guest_ms']) == n and
                  all(a >= b > 0 for a, b in zip(series['samples_ms'],
                                                 series['guest_ms'])),
                  f'{name}: {series["samples_ms"]}, {series["guest_ms"]}')
            check(len(series['blocks']) == BLOCKS, f'{name}: blocks')
        check(data['idle']['share'] > 0.9,
              f'idle: the stopped neighbour used the CPU: {data["idle"]}')
        check(data['accel'] in ('kvm', 'tcg') and data['accel_reason'],
              f'accel {data["accel"]}, {data["accel_reason"]}')
        check(data['parameters']['presses'] == PRESSES, 'parameters')
        check(data['verdict'], 'no verdict')

    def query(self):
        """vamp-query of a phase."""
        query = self.need()['vamp_query']
        check(isinstance(query, dict) and query.get('enabled') is True,
              f'vamp_query: {query}')
        if query['phase'] != 'mixed':
            raise Skip('busy host: ' + self.need()['vamp_query_note'])
        check(len(query['vcpus']) == 2 and len(query['background-tasks']) == 1,
              f'vamp_query: {query}')
        check('phase-left-ms' in query and query['phase-cause'] == 'input',
              f'vamp_query: {query}')

    def text(self):
        """The table for people."""
        self.need()
        for line in ('p50', 'p95', 'CPU of desk', 'vamp-query', 'Figures: ',
                     'Accelerator: '):
            check(line in self.runner.output,
                  f'no line "{line}":\n{self.runner.output}')
        check(self.data['verdict'] in self.runner.output, 'verdict not printed')

    def svg(self):
        """The plot."""
        self.need()
        path = os.path.join(self.runner.results, 'run.svg')
        if not os.path.exists(path):
            if not shutil.which('gnuplot'):
                raise Skip('gnuplot is missing (package gnuplot-nox)')
            raise Fail(f'no {path}:\n{self.runner.output}')
        try:
            root = xml.etree.ElementTree.parse(path).getroot()
        except xml.etree.ElementTree.ParseError as e:
            raise Fail(f'{path}: {e}') from None
        check(root.tag.endswith('}svg'), f'root element {root.tag}')
        text = ' '.join(root.itertext())
        for name in ('idle host', 'full host, stock', 'full host, vamp'):
            check(name in text, f'no curve "{name}" in the plot')

    def interrupted(self, number, status):
        """A signal in the middle: nothing may be left."""
        # A block with a policy: groups within the VM's group
        runner = Runner(self.stack, '--presses', '300', '--policies', 'vamp')
        runner.until('Measuring:')
        # A moment into it, with the client and both guests there
        time.sleep(3)
        started = descendants(runner.proc.pid)
        names = ' '.join(started.values())
        check(names.count('qemu-system') == 2 and 'vnc-press' in names,
              f'processes: {started}')
        check(runner.traces(), 'it leaves no traces even while it runs?')
        if runner.groups.kind:
            desk = next(t for t in runner.traces() if t.endswith('-desk'))
            made = [n for n in os.listdir(desk) if n.startswith('vamp-')]
            check(len(made) == 2, f'groups of the policy: {made}')
        runner.proc.send_signal(number)
        got = runner.wait()
        check(got == status, f'exit status {got}, not {status}:\n'
              f'{runner.output}')
        eventually(lambda: next(
            (f'{name} ({pid}) still runs' for pid, name in started.items()
             if (stat_of(pid) or ('', 0, ''))[0] == name), None), 10)
        check(not runner.traces(), f'left: {runner.traces()}')
        check('interrupted' in runner.output, runner.output)
        check(not os.path.exists(os.path.join(runner.results, 'run.json')),
              'half of the figures were written')

    def refused(self):
        """A wrong option."""
        done = subprocess.run(
            [sys.executable, os.path.join(HERE, 'run.py'), '--policies',
             'idle,nonsense'], stdin=subprocess.DEVNULL, text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(done.returncode == 2 and 'unknown policy: nonsense' in done.stdout
              and 'Traceback' not in done.stdout,
              f'exit status {done.returncode}:\n{done.stdout}')


def claims(stack):
    """(name, function), in their order."""
    c = Claims(stack)
    return [
        ('run.py ends well and leaves nothing', c.whole),
        ('run.json: keys and values', c.keys),
        ('run.json: vamp-query of a mixed phase', c.query),
        ('output', c.text),
        ('run.svg is XML with all curves', c.svg),
        ('Ctrl-C leaves nothing',
         lambda: c.interrupted(signal.SIGINT, 130)),
        ('SIGTERM leaves nothing',
         lambda: c.interrupted(signal.SIGTERM, 143)),
        ('an unknown policy is refused', c.refused),
    ]


if __name__ == '__main__':
    sys.exit(main(claims, qemu_missing(), [GuestError]))
