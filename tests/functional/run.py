#!/usr/bin/env python3
"""
What `make run` does: the response of a desktop VM on a full host, measured.

Two guests share two CPUs of this host: `desk`, in which a program answers
keys pressed through VNC while a background hog runs, and `neighbour` with
two hogs. The three situations alternate in blocks within one run:

  idle    nobody else wants the CPUs: the neighbour stopped, no hog
  stock   the full host, QEMU as upstream: no policy object
  vamp    the full host with a vamp-policy object in the desk's QEMU, by the
          means of QEMU alone: weights
  broker  the same with qemu-vamp-broker, for root: run now, pay back later

Prints a table, and writes run.json and run.svg to the results folder.
The result itself is never asserted: a busy machine is no reason to fail.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

sys.dont_write_bytecode = True  # the source folder stays as it is
# pylint: disable=wrong-import-position
from vamp_guest import (BUILD, KEY_RETURN, CpuGroups, GuestError, Presser,
                        QmpError, Vm, choose_cpus, find_qemu, kvm_missing)

# The policy looks at the last second: let the load be there for longer.
SETTLE_S = 1.5
# Longer than the time in which a second press counts as a double click.
GAP_MS = (600, 900)
WORK_MS = (30, 50)
TRIAL_S = 20
BOOT_S = 90
MIXED_TRIES = 5
LINE_WIDTH = 100
TMP_PREFIX = 'vamp-run-'


class Policy:
    """A column of the result: what is on in its blocks."""

    def __init__(self, name, text, colour, busy=True, objects=(),
                 broker=False):
        self.name = name
        self.text = text            # for the plot
        self.colour = colour
        self.busy = busy            # neighbour and hogs run
        # QMP object-add arguments while it lasts; {tmp}: folder of this run
        self.objects = objects
        self.broker = broker        # needs qemu-vamp-broker


POLICIES = [
    Policy('idle', 'idle host', '#5b9a54', busy=False),
    Policy('stock', 'full host, stock', '#c8553d'),
    # A broker of the host's, if there is one, is left out of it
    Policy('vamp', 'full host, vamp', '#2f6db3', objects=(
        {'qom_type': 'vamp-policy', 'id': 'vamp0', 'ratio': 3,
         'broker': '{tmp}/none'},)),
    Policy('broker', 'full host, vamp with broker', '#8a5fa8', objects=(
        {'qom_type': 'vamp-policy', 'id': 'vamp0', 'ratio': 3,
         'actuator': 'broker', 'broker': '{tmp}/broker'},), broker=True),
]
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')


class Progress:
    """Says what happens: one live line on a terminal, lines elsewhere."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.shown = 0

    def say(self, text=''):
        """A line that stays."""
        self.clear()
        print(text, flush=True)

    def now(self, text):
        """What is going on at the moment."""
        if self.live:
            width = min(shutil.get_terminal_size().columns - 1, LINE_WIDTH)
            text = text[:width]
            print('\r' + text.ljust(self.shown), end='', flush=True)
            self.shown = len(text)

    def clear(self):
        """Wipes what now() showed."""
        if self.shown:
            print('\r' + ' ' * self.shown + '\r', end='', flush=True)
            self.shown = 0


class Block:
    """What one block measured."""

    def __init__(self, policy, index):
        self.policy = policy
        self.index = index
        self.ms = []            # responses
        self.work_ms = []       # the guest's work for each of them
        self.guest_ms = []      # of the response, inside the program
        self.lost = 0
        self.seconds = 0.0
        self.cpu = {}           # VM name: CPU seconds
        self.other = 0.0        # CPU seconds of everybody else, same CPUs


def percentile(values, p):
    """By linear interpolation between closest ranks."""
    values = sorted(values)
    if not values:
        return None
    k = (len(values) - 1) * p / 100
    low = int(k)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (k - low)


def ratio_interval(a, b, rounds=2000):
    """95 % bootstrap interval of p50(a) / p50(b)."""
    rng = random.Random(1)
    ratios = sorted(statistics.median(rng.choices(a, k=len(a))) /
                    statistics.median(rng.choices(b, k=len(b)))
                    for _ in range(rounds))
    return ratios[int(rounds * 0.025)], ratios[int(rounds * 0.975)]


def busy_seconds(cpus):
    """CPU seconds that the host CPUs @cpus were not idle, since boot."""
    ticks = 0
    with open('/proc/stat', encoding='ascii') as f:
        for line in f:
            name, *fields = line.split()
            if name.startswith('cpu') and name[3:].isdigit() and \
               int(name[3:]) in cpus:
                # user nice system - - irq softirq (steal is the host's host)
                user, nice, system, _, _, irq, softirq = map(int, fields[:7])
                ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf('SC_CLK_TCK')


def cpu_model():
    """The name of the host's processor."""
    with contextlib.suppress(OSError):
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            for line in f:
                if line.startswith('model name'):
                    return line.partition(':')[2].strip()
    return platform.machine()


def first_line(command):
    """The first line that @command prints."""
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.DEVNULL, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.partition('\n')[0].strip() or None


# QEMU's answers come in no order; these first, the others by name after them
QUERY_ORDER = (
    'enabled', 'id', 'phase', 'cpu-index', 'thread-id', 'class', 'active',
    'playing', 'requested', 'task', 'phase-cause', 'reason', 'fault',
    'phase-age-ms', 'phase-left-ms', 'vm-load-percent', 'load-percent',
    'wait-percent', 'weight', 'nice', 'current-task', 'cgroup', 'tracker',
    'actuator', 'sound', 'vcpus', 'background-tasks', 'audio-tasks',
    'system-task')


def in_order(value):
    """@value with the members of its objects in QUERY_ORDER."""
    if isinstance(value, list):
        return [in_order(v) for v in value]
    if not isinstance(value, dict):
        return value

    def rank(key):
        known = key in QUERY_ORDER
        return QUERY_ORDER.index(key) if known else len(QUERY_ORDER), key

    return {k: in_order(value[k]) for k in sorted(value, key=rank)}


def plain(value):
    """A value of vamp-query for people."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:g}'
    return str(value)


def pretty(value, indent='  '):
    """JSON as indented lines for people."""
    lines = []

    def flowing(start, text):
        lines.extend(textwrap.wrap(
            text, LINE_WIDTH, initial_indent=start, break_on_hyphens=False,
            subsequent_indent=' ' * len(start)) or [start.rstrip()])

    def flat(items):
        return ',  '.join(f'{k} {plain(v)}' for k, v in items.items())

    def nested(item):
        return isinstance(item, (dict, list)) and bool(item)

    width = max(map(len, value), default=0)
    for key, item in value.items():
        start = f'{indent}{key.ljust(width)}  '
        if isinstance(item, dict) and not any(map(nested, item.values())):
            flowing(start, flat(item))
        elif isinstance(item, dict):
            lines.append(f'{indent}{key}:')
            lines += pretty(item, indent + '  ')
        elif isinstance(item, list) and not any(map(nested, item)):
            flowing(start, ', '.join(map(plain, item)) or 'none')
        elif isinstance(item, list):
            lines.append(f'{indent}{key}:')
            for element in item:
                if isinstance(element, dict) and \
                   not any(map(nested, element.values())):
                    flowing(indent + '  - ', flat(element))
                else:
                    lines += pretty({'-': element}, indent + '  ')
        else:
            flowing(start, plain(item))
    return lines


class Run:
    """The whole measurement."""

    def __init__(self, args, tmp, stack):
        self.args = args
        self.tmp = tmp
        self.stack = stack
        self.out = Progress()
        self.policies = [p for p in POLICIES if p.name in args.policies]
        self.cpus = choose_cpus(2)
        # Client and runner stand for the world outside: elsewhere if we can.
        allowed = os.sched_getaffinity(0)
        self.outside = (allowed - set(self.cpus)) or allowed
        self.groups = None
        self.desk = self.neighbour = self.presser = None
        self.accel = self.accel_reason = None
        self.blocks = []
        self.query = {}         # policy name: what vamp-query said
        self.query_note = {}    # policy name: when
        self.warnings = []
        self.clean_scheduling = None
        self.hogs = 0

    def warn(self, text):
        """Shown at the end, and kept in the JSON file; each text once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def vm(self, name, accel, display):
        """Starts a VM in its CPU group; it is killed when the run ends."""
        vm = Vm(name, self.tmp, qemu=self.args.qemu, kernel=self.args.kernel,
                initrd=self.args.initrd, accel=accel, display=display,
                machine=self.args.machine)
        self.stack.callback(vm.kill)
        vm.start(self.cpus)
        if self.groups.kind:
            self.groups.add(vm)
        return vm

    def boot(self):
        """Chooses the accelerator by booting `desk`, then boots the other."""
        self.groups = CpuGroups()
        self.stack.callback(self.groups.remove)
        choice = self.args.accel
        reason = 'as asked for' if choice else kvm_missing()
        if not choice and not reason:
            self.out.now(f'Trial boot with KVM (at most {TRIAL_S} s)')
            vm = None
            try:
                vm = self.vm('desk', 'kvm', True)
                vm.wait_ready(TRIAL_S)
                self.desk, choice = vm, 'kvm'
                reason = 'the processor can, and a trial boot worked'
            except GuestError as e:
                if vm:
                    vm.kill()
                    self.groups.remove()
                reason = 'the trial boot with KVM failed: ' + \
                         str(e).splitlines()[-1].strip()
        self.accel = choice or 'tcg'
        self.accel_reason = reason
        self.out.say(f'Accelerator: {self.accel} ({self.accel_reason})')
        self.out.say('Host CPUs:   ' + ', '.join(map(str, self.cpus)) +
                     f' for both VMs ({cpu_model()})')
        if len(self.cpus) < 2:
            self.warn('only one CPU may be used here, not two')
        self.out.say('CPU shares:  ' + self.share_text())

        self.out.now('Booting the guests desk and neighbour (about 10 s)')
        t0 = time.monotonic()
        if not self.desk:
            self.desk = self.vm('desk', self.accel, True)
        self.neighbour = self.vm('neighbour', self.accel, False)
        self.desk.wait_ready(BOOT_S)
        self.neighbour.wait_ready(BOOT_S)
        self.out.say('Guests:      desk, neighbour: 2 vCPUs each, Linux '
                     f'{self.desk.release}, up after '
                     f'{time.monotonic() - t0:.0f} s')

        self.neighbour.control('hogs 2')
        self.neighbour.stop()
        self.out.now('Calibrating the work of a key (about 2 s)')
        self.desk.control('calibrate')
        self.check_quiet()
        self.clean_scheduling = self.desk.scheduling()
        os.sched_setaffinity(0, self.outside)
        self.presser = Presser(self.desk, self.args.client, self.outside)
        self.stack.callback(self.presser.kill)

    def check_quiet(self):
        """Says at once if the figures will be disturbed: both VMs idle now."""
        busy = busy_seconds(self.cpus)
        own = self.desk.cpu_seconds()
        time.sleep(1)
        busy = busy_seconds(self.cpus) - busy - self.desk.cpu_seconds() + own
        percent = 100 * busy / len(self.cpus)
        if percent > 10:
            self.out.say(f'CAUTION:     other processes use {percent:.0f} % of '
                         'these CPUs now; that disturbs the figures')

    def share_text(self):
        """How the host divides the CPUs between the VMs."""
        if self.groups.kind:
            return f'each VM in its own CPU cgroup of equal weight ' \
                   f'({self.groups.kind})'
        autogroup = '0'
        with contextlib.suppress(OSError):
            with open('/proc/sys/kernel/sched_autogroup_enabled',
                      encoding='ascii') as f:
                autogroup = f.read().strip()
        if autogroup == '1':
            return 'each VM in its own session, so its own autogroup; ' \
                   f'no CPU cgroups: {self.groups.why}'
        return 'NOT per VM, only per thread: no autogroup, and no CPU ' \
               f'cgroups: {self.groups.why}'

    def check_policies(self):
        """Drops the columns that this QEMU cannot do, if that was allowed."""
        known = {t['name'] for t in
                 self.desk.qmp.cmd('qom-list-types', abstract=False)}
        for policy in list(self.policies):
            for obj in policy.objects:
                if obj['qom_type'] not in known:
                    text = f"this QEMU has no object {obj['qom_type']}, " \
                           f'so {policy.name} is not measured'
                    if not self.args.dry:
                        raise GuestError(text)
                    self.warn(text)
                    self.policies.remove(policy)
                    break
            else:
                why = policy.broker and self.start_broker()
                if why:
                    self.warn(f'{policy.name} is not measured: {why}')
                    self.policies.remove(policy)

    def start_broker(self):
        """Starts qemu-vamp-broker; returns why not, or None."""
        if os.geteuid():
            return 'qemu-vamp-broker needs root'
        if not os.path.exists(BROKER):
            return f'{BROKER} was not built'
        log = os.path.join(self.tmp, 'broker.log')
        with open(log, 'w', encoding='utf-8') as f:
            proc = subprocess.Popen(  # pylint: disable=consider-using-with
                [BROKER, '--socket', os.path.join(self.tmp, 'broker'),
                 '--state', os.path.join(self.tmp, 'broker.state')],
                stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                start_new_session=True)

        def end():
            proc.terminate()
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()
        self.stack.callback(end)
        deadline = time.monotonic() + 10
        while not os.path.exists(os.path.join(self.tmp, 'broker')):
            if proc.poll() is not None or time.monotonic() > deadline:
                with open(log, encoding='utf-8', errors='replace') as f:
                    last = f.read().strip().splitlines()[-1:]
                return 'qemu-vamp-broker does not run: ' + \
                    (last[0] if last else 'it said nothing')
            time.sleep(0.05)
        return None

    @contextlib.contextmanager
    def situation(self, policy):
        """Makes the situation of @policy, and undoes what is special to it."""
        if policy.busy:
            self.neighbour.cont()
        else:
            self.neighbour.stop()
        hogs = 1 if policy.busy else 0
        if hogs != self.hogs:
            self.desk.control(f'hogs {hogs}')
            self.hogs = hogs
        if not policy.objects:
            # What an earlier policy left behind would falsify this block
            now = self.desk.scheduling()
            if now != self.clean_scheduling:
                self.warn(f'in a block of {policy.name} the vCPUs (class, nice,'
                          f' RT priority, cgroup) are {now}, not '
                          f'{self.clean_scheduling} as at the start')
        for obj in policy.objects:
            self.desk.qmp.cmd('object-add', **{
                k: v.replace('{tmp}', self.tmp) if isinstance(v, str) else v
                for k, v in obj.items()})
        yield
        for obj in reversed(policy.objects):
            self.desk.qmp.cmd('object-del', id=obj['id'])
        if policy.broker:
            time.sleep(0.2)     # it promises to have undone all after 0.1

    def run_block(self, policy, index, n):
        """Measures one block of @n presses."""
        block = Block(policy, index)
        vms = (self.desk, self.neighbour)
        # The same work in the same order in each policy's block of this cycle
        seed = self.args.seed * 1000 + index
        with self.situation(policy):
            self.desk.control(f'work {WORK_MS[0]} {WORK_MS[1]} {seed}')
            time.sleep(SETTLE_S)
            t0 = time.monotonic()
            cpu0 = {vm.name: vm.cpu_seconds() for vm in vms}
            busy0 = busy_seconds(self.cpus)
            for answer in self.presser.block(n, GAP_MS, seed, KEY_RETURN):
                if answer.ms is None:
                    block.lost += 1
                else:
                    block.ms.append(answer.ms)
                    work, inside = answer.text.split()[2:4]
                    block.work_ms.append(int(work) / 1000)
                    block.guest_ms.append(int(inside) / 1000)
                self.show(policy, index, answer)
            block.seconds = time.monotonic() - t0
            block.cpu = {vm.name: vm.cpu_seconds() - cpu0[vm.name]
                         for vm in vms}
            block.other = max(0.0, busy_seconds(self.cpus) - busy0 -
                              sum(block.cpu.values()))
            if policy.objects and not self.is_mixed(policy):
                self.capture_query(policy)
        self.blocks.append(block)

    def is_mixed(self, policy):
        """Do we have the vamp-query of a mixed phase?"""
        return 'mixed' == self.phase(self.query.get(policy.name))

    @staticmethod
    def phase(query):
        """The phase that an answer of vamp-query tells."""
        return query.get('phase') if isinstance(query, dict) else None

    def capture_query(self, policy):
        """One more press, not counted, and what vamp-query says 100 ms later."""
        for _ in range(MIXED_TRIES):
            time.sleep(GAP_MS[1] / 1000)
            self.presser.press()
            time.sleep(0.1)
            try:
                reply = self.desk.qmp.cmd('vamp-query')
            except QmpError as e:
                self.query_note[policy.name] = str(e)
                return
            if isinstance(reply, list):
                reply = reply[0] if reply else {}
            self.query[policy.name] = in_order(reply)
            if self.is_mixed(policy):
                note = 'taken 100 ms after a key press'
                break
        else:
            note = f'no mixed phase in {MIXED_TRIES} tries; the last'
        self.query_note[policy.name] = note
        time.sleep(GAP_MS[1] / 1000)

    def show(self, policy, index, answer):
        """Live progress."""
        done = sum(len(b.ms) + b.lost for b in self.blocks) + answer.index + 1
        total = self.args.presses * len(self.policies)
        left = (total - done) * sum(GAP_MS) / 2000 + \
            (len(self.policies) * self.args.blocks - len(self.blocks) - 1) * \
            (SETTLE_S + 0.3)
        ms = 'lost' if answer.ms is None else f'{answer.ms:6.1f} ms'
        self.out.now(f'[{done:3}/{total}] block {index + 1} of '
                     f'{self.args.blocks}, {policy.name:6} {ms}'
                     f'   about {left:.0f} s left')

    def measure(self):
        """All blocks, the order rotated so that nobody is always the first."""
        args = self.args
        self.check_policies()
        names = ', '.join(p.name for p in self.policies)
        per_block = [args.presses // args.blocks +
                     (i < args.presses % args.blocks)
                     for i in range(args.blocks)]
        seconds = len(self.policies) * (
            args.presses * sum(GAP_MS) / 2000 + args.blocks * (SETTLE_S + 0.3))
        self.out.say(f'Measuring:   {names} in turn, {args.presses} presses '
                     f'each in {args.blocks} blocks: about {seconds:.0f} s')
        for index, n in enumerate(per_block):
            turn = index % len(self.policies)
            for policy in self.policies[turn:] + self.policies[:turn]:
                self.run_block(policy, index, n)
            if not self.out.live:
                cycle = self.blocks[-len(self.policies):]
                cycle.sort(key=lambda b: self.policies.index(b.policy))
                self.out.say(f'  block {index + 1} of {args.blocks}: ' + ', '.join(
                    f'{b.policy.name} {statistics.median(b.ms):.0f} ms'
                    if b.ms else f'{b.policy.name} lost' for b in cycle))
        self.out.clear()

    # --- the result ---

    def series(self):
        """{policy: its figures}."""
        result = {}
        for policy in self.policies:
            blocks = [b for b in self.blocks if b.policy is policy]
            ms = [x for b in blocks for x in b.ms]
            seconds = sum(b.seconds for b in blocks)
            cpu = {name: sum(b.cpu[name] for b in blocks)
                   for name in ('desk', 'neighbour')}
            both = sum(cpu.values())
            offered = seconds * len(self.cpus)
            result[policy.name] = {
                'p50_ms': percentile(ms, 50),
                'p95_ms': percentile(ms, 95),
                'mean_ms': statistics.fmean(ms) if ms else None,
                'n': len(ms),
                'lost': sum(b.lost for b in blocks),
                # of what both VMs used; 0.5 is fair when both want more
                'share': cpu['desk'] / both if both else None,
                'cpu_percent': {k: 100 * v / offered for k, v in cpu.items()},
                'other_percent': 100 * sum(b.other for b in blocks) / offered,
                'samples_ms': ms,
                'work_ms': [x for b in blocks for x in b.work_ms],
                'guest_ms': [x for b in blocks for x in b.guest_ms],
                'blocks': [{'index': b.index, 'seconds': b.seconds,
                            'cpu_seconds': b.cpu, 'other_seconds': b.other,
                            'p50_ms': percentile(b.ms, 50)} for b in blocks],
            }
        for values in result.values():
            for key in ('p50', 'p95', 'mean'):
                idle = result.get('idle', {}).get(key + '_ms')
                mine = values[key + '_ms']
                values[key + '_to_idle'] = mine / idle if idle and mine else None
        return result

    def verdict(self, series):
        """One honest sentence."""
        if not {'stock', 'vamp'} <= series.keys():
            if {'idle', 'stock'} <= series.keys() and \
               series['stock']['p50_to_idle']:
                return 'Stock answers ' \
                    f"{series['stock']['p50_to_idle']:.2f} times as late on " \
                    'the full host as on the idle one; vamp was not measured.', {}
            return 'Not enough was measured for a comparison.', {}
        vamp, stock = series['vamp'], series['stock']
        if not vamp['n'] or not stock['n']:
            return 'A series has no answers at all: nothing to compare.', {}
        ratio = vamp['p50_ms'] / stock['p50_ms']
        low, high = ratio_interval(vamp['samples_ms'], stock['samples_ms'])
        facts = {'p50': ratio, 'p50_interval95': [low, high],
                 'p95': vamp['p95_ms'] / stock['p95_ms']}
        figures = f'{ratio:.2f} (95 % interval {low:.2f} to {high:.2f})'
        if low <= 1 <= high:
            text = 'No difference that this run can show: vamp/stock p50 is ' \
                   f'{figures}.'
        elif ratio < 1:
            text = f'vamp answers in {figures} of the time of stock (p50)'
            to_idle = vamp['p50_to_idle']
            text += f'; the idle host is still {to_idle:.2f} times as fast.' \
                if to_idle and to_idle > 1.02 else \
                ', as if the host were idle.'
        else:
            text = f'vamp is SLOWER than stock: vamp/stock p50 is {figures}.'
        query = self.query.get('vamp') or {}
        if (query.get('actuator') or {}).get('active') == 'none':
            text += ' Nothing else could be expected: vamp may not change ' \
                    'weights here, its actuator above says why.'
        return text, facts

    def report(self, seconds):
        """Table, query and verdict on stdout; run.json and run.svg."""
        say = self.out.say
        series = self.series()
        text, facts = self.verdict(series)

        def cell(fmt, value):
            return '-' if value is None else format(value, fmt)

        rows = [
            ('p50', lambda s: cell('.1f', s['p50_ms']) + ' ms'),
            ('p95', lambda s: cell('.1f', s['p95_ms']) + ' ms'),
            ('mean', lambda s: cell('.1f', s['mean_ms']) + ' ms'),
            ('presses answered', lambda s: str(s['n'])),
            ('p50 / idle p50', lambda s: cell('.2f', s['p50_to_idle'])),
            ('p95 / idle p95', lambda s: cell('.2f', s['p95_to_idle'])),
            ('CPU of desk', lambda s: cell('.1f', s['cpu_percent']['desk'])
             + ' %'),
            ('CPU of neighbour',
             lambda s: cell('.1f', s['cpu_percent']['neighbour']) + ' %'),
            ('desk / neighbour', lambda s: cell(
                '.2f', s['cpu_percent']['desk'] /
                s['cpu_percent']['neighbour'])
             if s['cpu_percent']['neighbour'] > 1 else '-'),
            ('CPU of others', lambda s: cell('.1f', s['other_percent'])
             + ' %'),
        ]
        say()
        say('From the key to the answer'.ljust(28) +
            ''.join(name.rjust(12) for name in series))
        for title, value in rows:
            say('  ' + title.ljust(26) +
                ''.join(value(s).rjust(12) for s in series.values()))
        say(f'  (CPU: percent of the {len(self.cpus)} host CPUs)')
        for name, note in self.query_note.items():
            say()
            say(f'vamp-query in a block of {name} ({note}):')
            for line in pretty(self.query.get(name) or {}):
                say(line)

        disturbed = [n for n, s in series.items() if s['other_percent'] > 5]
        if disturbed:
            self.warn('other processes used more than 5 % of the CPUs during '
                      f"{', '.join(disturbed)}: the figures are disturbed")
        lost = sum(s['lost'] for s in series.values())
        if lost:
            self.warn(f'{lost} presses were never answered')
        if self.warnings:
            say()
        for warning in self.warnings:
            say(f'Note: {warning}')
        say()
        say(text)
        say()

        data = dict(series)
        data.update({
            'vamp_to_stock': facts,
            'verdict': text,
            'accel': self.accel,
            'accel_reason': self.accel_reason,
            'host': {
                'cpu': cpu_model(),
                'cpus': os.cpu_count(),
                'cpus_used': self.cpus,
                'kernel': platform.release(),
                'shares': self.share_text(),
                'root': os.geteuid() == 0,
                'client_scheduler': self.presser.scheduler,
            },
            'versions': {
                'qemu': first_line([self.args.qemu, '--version']),
                'guest_kernel': self.desk.release,
                'python': platform.python_version(),
            },
            'parameters': {
                'presses': self.args.presses, 'blocks': self.args.blocks,
                'seed': self.args.seed, 'work_ms': WORK_MS, 'gap_ms': GAP_MS,
                'objects': {p.name: p.objects for p in self.policies},
            },
            'vamp_query': self.query.get('vamp'),
            'vamp_query_note': self.query_note.get('vamp'),
            'broker_query': self.query.get('broker'),
            'broker_query_note': self.query_note.get('broker'),
            'warnings': self.warnings,
            'seconds': seconds,
            'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        })
        path = os.path.join(self.args.results, 'run.json')
        with open(path + '.tmp', 'w', encoding='utf-8') as f:
            json.dump(data, f, indent=1)
            f.write('\n')
        os.rename(path + '.tmp', path)
        say(f'Figures: {path}')
        why = plot(data, self.policies, os.path.join(self.args.results,
                                                     'run.svg'), self.tmp)
        say('Plot:    ' + (why or os.path.join(self.args.results, 'run.svg')))


def plot(data, policies, path, tmp):
    """Draws the distributions with gnuplot; returns why not, or None."""
    if not shutil.which('gnuplot'):
        return 'none, gnuplot is missing (package gnuplot-nox)'
    drawn = [p for p in policies if data[p.name]['n']]
    if not drawn:
        return 'none, nothing was answered'
    curves, extra = [], []
    top = max(percentile(data[p.name]['samples_ms'], 99) for p in drawn) * 1.15
    for i, policy in enumerate(drawn):
        figures = data[policy.name]
        samples = sorted(figures['samples_ms'])
        with open(os.path.join(tmp, f'{policy.name}.dat'), 'w',
                  encoding='ascii') as f:
            # The inverse of percentile()
            last = max(len(samples) - 1, 1)
            f.write(f'0 0\n{samples[0]:.3f} 0\n')
            for k, value in enumerate(samples):
                f.write(f'{value:.3f} {100 * k / last:.3f}\n')
            f.write(f'{samples[-1]:.3f} 100\n{top * 2:.3f} 100\n')
        label = f"{policy.text}: p50 {figures['p50_ms']:.0f} ms, " \
                f"p95 {figures['p95_ms']:.0f} ms"
        curves.append(f"'{policy.name}.dat' using 1:2 with lines lw 2.5 "
                      f"lc rgb '{policy.colour}' title '{label}'")
        for p, key in ((50, 'p50_ms'), (95, 'p95_ms')):
            extra.append(f"set label at {figures[key]:.3f},{p} '' point pt 7 "
                         f"ps 0.7 lc rgb '{policy.colour}' front")
    subtitle = f"{data['accel'].upper()}, two VMs on " \
               f"{len(data['host']['cpus_used'])} CPUs, " \
               f"{data['parameters']['presses']} presses each"
    script = '\n'.join([
        "set terminal svg size 840,500 enhanced background '#ffffff' "
        "font 'Helvetica,Arial,sans-serif,13'",
        f"set output '{path}.tmp'" if "'" not in path else 'exit',
        'set title "{/=17 From the key press to the answer}\\n'
        '{/=12 ' + subtitle + '}" textcolor rgb "#222222"',
        "set border 3 lc rgb '#888888'",
        "set tics nomirror out scale 0.6 textcolor rgb '#444444'",
        f'set xrange [0:{top:.1f}]', 'set yrange [0:104]',
        'set ytics 0,25,100 format "%g %%"', 'set ytics add ("95 %%" 95)',
        "set grid ytics lc rgb '#e6e6e6' lw 1",
        "set xlabel 'response time in ms' textcolor rgb '#444444'",
        "set ylabel 'presses answered' textcolor rgb '#444444'",
        f'set bmargin {5 + 1.4 * len(drawn):.1f}',
        'set key at screen 0.5,0.03 center bottom vertical maxrows 9 '
        "samplen 2 spacing 1.3 Left reverse textcolor rgb '#222222'",
        *extra,
        'plot ' + ', \\\n     '.join(curves), ''])
    try:
        done = subprocess.run(['gnuplot'], input=script, text=True, cwd=tmp,
                              stdout=subprocess.DEVNULL, timeout=60,
                              stderr=subprocess.PIPE, check=False)
    except (OSError, subprocess.SubprocessError) as e:
        return f'none, gnuplot failed: {e}'
    if done.returncode or not os.path.exists(path + '.tmp'):
        last = done.stderr.strip().splitlines()[-1:] or ['no reason given']
        return f'none, gnuplot failed: {last[0].strip()}'
    os.rename(path + '.tmp', path)
    return None


def parse_args():
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Measures the response of a desktop VM on a full host: '
                    'idle, stock, vamp, broker. About 5 minutes.')
    parser.add_argument('--qemu', default=find_qemu())
    parser.add_argument('--kernel', help='vmlinuz of the guests',
                        default=os.path.join(BUILD, 'kernel', 'vmlinuz'))
    parser.add_argument('--initrd', help='made by make -C tests/functional',
                        default=os.path.join(BUILD, 'guest', 'initramfs.gz'))
    parser.add_argument('--client', help='made by make -C tests/functional',
                        default=os.path.join(BUILD, 'bin', 'vnc-press'))
    parser.add_argument('--results', help='folder for run.json and run.svg',
                        default=os.path.join(BUILD, 'results'))
    parser.add_argument('--presses', type=int, default=60,
                        help='for each policy (default 60)')
    parser.add_argument('--blocks', type=int, default=6,
                        help='that they are spread over (default 6)')
    parser.add_argument('--seed', type=int, default=1,
                        help='of work and gaps')
    parser.add_argument('--accel', choices=('kvm', 'tcg'),
                        help='do not choose by a trial')
    parser.add_argument('--machine', default='q35')
    parser.add_argument('--policies', metavar='A,B,...',
                        type=lambda s: s.split(','),
                        default=[p.name for p in POLICIES])
    parser.add_argument('--dry', action='store_true',
                        help='leave out what this QEMU cannot do')
    args = parser.parse_args()
    if not args.qemu:
        parser.error('no QEMU: build one first, or say which with --qemu')
    if args.presses < 1 or args.blocks < 1 or args.blocks > args.presses:
        parser.error('needs at least one press in each block')
    unknown = set(args.policies) - {p.name for p in POLICIES}
    if unknown:
        parser.error('unknown policy: ' + ', '.join(sorted(unknown)))
    args.results = os.path.abspath(args.results)
    return args


def remove_stale():
    """Removes the folder of a run of ours that was killed with SIGKILL."""
    for entry in os.scandir('/tmp'):
        pid = entry.name[len(TMP_PREFIX):].partition('-')[0]
        if entry.name.startswith(TMP_PREFIX) and pid.isdigit() and \
           entry.is_dir(follow_symlinks=False) and \
           entry.stat(follow_symlinks=False).st_uid == os.geteuid() and \
           not os.path.exists(f'/proc/{pid}'):
            shutil.rmtree(entry.path, ignore_errors=True)


def interrupted(signum, _frame):
    """SIGTERM and SIGHUP end the run as Ctrl-C does."""
    raise SystemExit(128 + signum)


def main():
    """Returns the exit status."""
    args = parse_args()
    start = time.monotonic()
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    stack = contextlib.ExitStack()
    status = 0
    try:
        # A short path: a unix socket's must stay below 108 characters
        try:
            os.makedirs(args.results, exist_ok=True)
        except OSError as e:
            raise GuestError(f'{args.results}: {e.strerror}') from None
        if not os.access(args.results, os.W_OK):
            raise GuestError(f'{args.results} cannot be written to')
        remove_stale()
        tmp = tempfile.mkdtemp(prefix=f'{TMP_PREFIX}{os.getpid()}-', dir='/tmp')
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        run = Run(args, tmp, stack)
        run.boot()
        run.measure()
        run.report(time.monotonic() - start)
    except GuestError as e:
        print(f'\nrun: {e}', file=sys.stderr)
        status = 1
    except BrokenPipeError:
        # Nobody reads what we say any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    except (KeyboardInterrupt, SystemExit) as e:
        print('\nrun: interrupted', file=sys.stderr)
        status = e.code if isinstance(e, SystemExit) else 130
    finally:
        # A second Ctrl-C must not leave half of it behind
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stack.close()
    return status


if __name__ == '__main__':
    sys.exit(main())
