#!/usr/bin/env python3
"""
How long vdiguest takes from a key until the background has left the fast vCPUs,
and what it costs: a measurement, not a test.

A guest whose clock counts instructions (two ns each, those of all vCPUs
together), with many processes: some that always run, some that wake now and
then, the rest asleep. The guest's kernel traces when the interrupt of the key
came, and each hog's move: an isolation is complete when all hogs are bound to
the slow vCPUs and none runs, or waits to, on a fast one. The load is that of a
guest where nobody works, with more processes still.

    tests/functional/measure_vdiguest.py [--keys N] [--vcpus N] [--processes N]
                                         [--no-load] [--results DIR]

Prints the distribution, and writes DIR/vdiguest.json (default build/results):
{"isolation": {"min_ms", "median_ms", "p95_ms", "max_ms", "n", "values_ms"},
"load": {"percent", "processes", "seconds"}}, load at -p 1000.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
import vdi_guest
from guest_interrupts import guest_file
from vamp_guest import BUILD, GuestError, Vm, find_qemu

ICOUNT = ['-icount', 'shift=1,sleep=off', '-seed', '1',
          '-rtc', 'base=2026-01-01,clock=vm']
# The kernel's own tests of its ciphers take seconds of a slow CPU.
APPEND = 'nokaslr norandmaps cryptomgr.notests'
CROWD = '/vdi/crowd'
TRACING = '/sys/kernel/tracing'
KEYBOARD_IRQ = 1
NS_PER_S = 1000000000
# A phase is over before the next key begins one; and keys come at any moment of
# vdiguest's period.
PHASE_MS = 1000
BETWEEN_S = 1.5
JITTER_S = 0.037
TRACED_S = 0.5
TRACE_MAX = 65536       # what the guest's init reads of a file
HOGS = 6
WAKERS = 40
PATIENCE_S = 600
POLL_S = 0.2    # of this machine's clock
WARM_S = 2      # the window of the loads is a second
LOAD_PROCESSES = 500
LOAD_S = 30
EVENTS = {
    'irq/irq_handler_entry': f'irq=={KEYBOARD_IRQ}',
    'sched/sched_switch':
        '(prev_comm=="hog"||next_comm=="hog")&&CPU<{fast}',
    'sched/sched_migrate_task':
        'comm=="hog"&&(orig_cpu<{fast}||dest_cpu<{fast})',
    'syscalls/sys_enter_sched_setaffinity': '',
}
# What `trace` has of an event: time, name, fields
LINE = re.compile(r'\[\d+\] \S+ +(\d+\.\d+): (\w+)(?:: |\()(.*)')


class Guest:
    """The guest, and what to do with it."""

    def __init__(self, stack, vcpus, processes):
        tmp = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='vamp-vdi-'))
        crowd = os.path.join(tmp, 'crowd')
        subprocess.run(['cc', '-O2', '-static', '-s', '-pthread', '-o', crowd,
                        os.path.join(HERE, 'guest', 'crowd.c')], check=True)
        initrd = os.path.join(tmp, 'initrd')
        vdi_guest.make_initrd(initrd, {vdi_guest.PROGRAM: vdi_guest.VDIGUEST,
                                       CROWD: crowd})
        self.vm = Vm('vdi', tmp, qemu=find_qemu(), initrd=initrd, smp=vcpus,
                     memory=1024, accel='tcg,thread=single', extra=ICOUNT,
                     append=APPEND)
        stack.callback(self.vm.kill)
        self.vm.start()
        self.vm.wait_ready(PATIENCE_S)
        self.processes = processes
        self.pid = self.crowd_pid = None

    def control(self, command):
        return self.vm.control(command, PATIENCE_S)

    def write(self, path, text):
        self.control(f'write {path} {text}')

    def uptime(self):
        """Of the guest's clock, in seconds."""
        return int(self.control('uptime')) / NS_PER_S

    def sleep(self, seconds):
        """The same clock; who asks too often, is busy himself."""
        end = self.uptime() + seconds
        while self.uptime() < end:
            time.sleep(POLL_S)

    def crowd(self, hogs, wakers):
        """All processes that there shall be, besides the kernel's."""
        # init, vdiguest and crowd itself are the others.
        self.crowd_pid = int(self.control(
            f'start {CROWD} {hogs} {wakers} '
            f'{self.processes - hogs - wakers - 3}'))
        while True:
            with contextlib.suppress(GuestError):
                if 'ready' in guest_file(self.vm, '/tmp/start.out'):
                    return
            time.sleep(POLL_S)

    def vdiguest(self, *words):
        """Starts it, and waits until it answers."""
        self.pid = int(self.control(' '.join(
            ('start', vdi_guest.PROGRAM) + words)))
        while self.status() is None:
            time.sleep(POLL_S)

    def status(self):
        """What vdiguest says of itself; None: nothing."""
        if self.control(f'run {vdi_guest.PROGRAM} --status --json') != '0':
            return None
        return json.loads(guest_file(self.vm, '/tmp/run.out'))

    def hogs(self):
        """Their processes: crowd starts them last."""
        folder = f'/proc/{self.crowd_pid}/task/{self.crowd_pid}'
        pids = guest_file(self.vm, f'{folder}/children').split()
        return {int(pid) for pid in pids[-HOGS:]}

    def trace(self, fast):
        """Turns the events on; the first @fast vCPUs will be fast."""
        self.write(f'{TRACING}/tracing_on', '0')
        for event, which in EVENTS.items():
            folder = f'{TRACING}/events/{event}'
            if which:
                self.write(f'{folder}/filter', which.format(fast=fast))
            self.write(f'{folder}/enable', '1')

    def press(self):
        """Enter, and the trace of what came of it."""
        # A clock is set, so what was traced by another is forgotten.
        self.write(f'{TRACING}/trace_clock', 'mono')
        self.write(f'{TRACING}/tracing_on', '1')
        self.vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])
        self.sleep(TRACED_S)
        self.write(f'{TRACING}/tracing_on', '0')
        return guest_file(self.vm, f'{TRACING}/trace')


def isolation_ms(trace, hogs):
    """From the key's interrupt to the end of its isolation, and how many hogs
    it was of."""
    key = done = None
    bound = {}
    for line in trace.splitlines():
        match = LINE.search(line)
        if not match:
            continue
        now, event, fields = float(match[1]), match[2], match[3]
        if event == 'irq_handler_entry':
            key = key or now
        elif key is None:
            continue
        elif event == 'sys_sched_setaffinity':
            pid = int(re.search(r'pid: ([0-9a-f]+)', fields)[1], 16)
            if pid in hogs:
                bound.setdefault(pid, now)
        else:
            done = now
    if key is None or not bound or len(trace) >= TRACE_MAX:
        raise GuestError(f'no isolation in the trace:\n{trace[-3000:]}')
    return 1000 * (max(done or 0, *bound.values()) - key), len(bound)


def isolation(args):
    """[ms] of each key."""
    with contextlib.ExitStack() as stack:
        g = Guest(stack, args.vcpus, args.processes)
        g.crowd(HOGS, WAKERS)
        g.trace(args.vcpus // 2)
        g.vdiguest(f'--phase={PHASE_MS}')
        hogs = g.hogs()
        g.sleep(WARM_S)
        found = []
        for n in range(args.keys):
            g.sleep(BETWEEN_S + n % 10 * JITTER_S)
            ms, count = isolation_ms(g.press(), hogs)
            if count != HOGS:
                raise GuestError(f'{count} of {HOGS} hogs were bound')
            found.append(ms)
            print(f'{ms:.1f}', end=' ', flush=True)
        print()
    return found


def load(args):
    """What vdiguest uses where nobody works, and LOAD_PROCESSES are there."""
    with contextlib.ExitStack() as stack:
        g = Guest(stack, args.vcpus, LOAD_PROCESSES)
        g.crowd(0, WAKERS)
        g.vdiguest('-p', '1000')
        g.sleep(WARM_S)
        before = g.status()
        g.sleep(LOAD_S)
        after = g.status()
    cpu, up = (after[k] - before[k] for k in ('cpu-us', 'up-ms'))
    return {'percent': cpu / up / 10, 'processes': after['processes'],
            'seconds': up / 1000}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n', 1)[0])
    parser.add_argument('--keys', type=int, default=50)
    parser.add_argument('--vcpus', type=int, default=4)
    parser.add_argument('--processes', type=int, default=200,
                        help='besides the kernel\'s threads')
    parser.add_argument('--no-load', action='store_true',
                        help='only the isolations')
    parser.add_argument('--results', default=os.path.join(BUILD, 'results'))
    args = parser.parse_args()
    reason = vdi_guest.missing()
    if reason:
        sys.exit(f'measure_vdiguest: {reason}')
    try:
        used = None if args.no_load else load(args)
        if used:
            print(f'at -p 1000: {used["percent"]:.3f} % of a vCPU, '
                  f'{used["processes"]} processes, {used["seconds"]:.0f} s')
        ms = sorted(isolation(args))
    except GuestError as e:
        sys.exit(f'measure_vdiguest: {e}')
    table = {'min_ms': ms[0], 'median_ms': statistics.median(ms),
             'p95_ms': ms[int(len(ms) * .95)], 'max_ms': ms[-1], 'n': len(ms),
             'values_ms': ms}
    print(', '.join(f'{name} {value:.1f}' for name, value in table.items()
                    if name.endswith('_ms') and name != 'values_ms'))
    os.makedirs(args.results, exist_ok=True)
    path = os.path.join(args.results, 'vdiguest.json')
    with open(path, 'w', encoding='ascii') as f:
        json.dump({'isolation': table, 'load': used}, f, indent=1)
    print(f'-> {path}')


if __name__ == '__main__':
    main()
