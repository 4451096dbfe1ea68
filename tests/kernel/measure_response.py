#!/usr/bin/env python3
"""
How fast a user is answered beside background work, with the companion modules:
a measurement, not a test.

In a host in a box with two CPUs, whose clock counts instructions: a desktop VM
whose answer to a key competes with a hog of the same guest, and two more VMs with
two hogs each. No guest has any software for it, but in the policies that end in
"+vdiguest" the desktop has vdiguest. Each key's answer is a fixed amount of work;
the guest tells how long it took. Policies take turns.

The CPUs take turns, and that clock counts for all of them: what a CPU gets done
in a ms depends on what the other one runs. So idle, to which the others are
compared, is not a host that sleeps, but one whose neighbours work only while
nobody else wants to (cpu.idle of their groups).

    tests/kernel/measure_response.py [--keys N] [--vdiguest] [--results DIR]

Prints a table, and writes DIR/kernel.json (default build/results):
{"response": {POLICY: {"mean", "p50", "p95", "ratio", "n"}}}, ratio to idle.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
import vdi_guest
from nested import Guest, Host, boot, missing, missing_kmod, program
from results import FOLDER, put
from vamp_guest import Answers, BUILD, GuestError

MODULES = ['kvm-amd']
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
SOCKET = '/run/broker'
CGROUPS = '/sys/fs/cgroup'
MACHINE = CGROUPS + '/machine'
NEIGHBOURS = ['second', 'third']
# Policy: actuator of the desktop; None: no other work counts
POLICIES = {'idle': None, 'stock': 'none', 'kvm': 'kvm', 'broker': 'broker'}
WITH_VDIGUEST = '+vdiguest'
ROUND = 5       # keys of one policy before the next has its turn
# A phase is one second, so that each key begins one with loads of its own.
PHASE_MS = 1000
BETWEEN_S = 1.3


class Bed:
    """The host, its three guests, and one way to measure."""

    def __init__(self, stack):
        tmp = tempfile.mkdtemp(prefix=f'vamp-kvm-{os.getpid()}-', dir='/tmp')
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        files = program(os.path.realpath(BROKER))
        files['usr/bin/qemu-vamp-broker'] = files.pop(
            os.path.realpath(BROKER).lstrip('/'))
        initrd = os.path.join(tmp, 'initrd')
        vdi_guest.make_initrd(initrd)
        files[Guest.INITRD.lstrip('/')] = initrd
        self.host = Host('host', tmp, modules=MODULES, files=files, smp=2,
                         kmod=True, icount=True)
        stack.callback(self.host.kill)
        self.host.start()
        self.host.wait_ready()
        self.host.sh(f'echo +cpu > {CGROUPS}/cgroup.subtree_control; '
                     f'mkdir {MACHINE}; '
                     f'echo +cpu > {MACHINE}/cgroup.subtree_control')
        self.host.sh(f'/usr/bin/qemu-vamp-broker --socket {SOCKET} '
                     '--state /run/broker.state < /dev/null > /run/broker.log '
                     '2>&1 &')
        self.desk = self.guest(stack, 'desk', [
            '-device', 'vamp-hints',
            '-object', f'vamp-policy,id=vamp0,broker={SOCKET},'
                       f'max-phase-ms={PHASE_MS}'])
        self.others = [self.guest(stack, name, []) for name in NEIGHBOURS]
        self.answers = Answers(self.desk)
        stack.callback(self.answers.close)
        self.desk.control('work 20 40 1')
        for vm in self.others:
            vm.control('hogs 2')
        self.busy = self.helper = None

    def guest(self, stack, name, extra):
        """One more, in a group of its own."""
        print(f'booting {name}', flush=True)
        self.host.sh(f'mkdir {MACHINE}/{name}')
        return boot(stack, lambda: Guest(self.host, name, extra=extra),
                    f'{MACHINE}/{name}')

    def sleep(self, seconds):
        """Of the host's clock, which has its own speed."""
        self.host.sh(f'usleep {int(seconds * 1e6)}', 600)

    def load(self, busy):
        """Background work of the desktop's, and neighbours that count."""
        if self.busy == busy:
            return
        self.busy = busy
        self.desk.control(f'hogs {int(busy)}')
        for name in NEIGHBOURS:
            self.host.sh(f'echo {int(not busy)} > {MACHINE}/{name}/cpu.idle')
        self.sleep(2)           # the load's window is a second

    def vdiguest(self, wanted):
        """It runs in the desktop, or does not."""
        if bool(self.helper) == wanted:
            return
        if self.helper:
            self.desk.control(f'signal {self.helper} {int(signal.SIGTERM)}')
            self.helper = None
            return
        self.helper = int(self.desk.control(f'start {vdi_guest.PROGRAM}'))
        for _ in range(60):
            if self.desk.control(f'run {vdi_guest.PROGRAM} --status') == '0':
                return
            self.sleep(0.5)
        raise GuestError('vdiguest does not answer')

    def keys(self, policy, n):
        """How long each of @n answers took, in multiples of its work."""
        actuator = POLICIES[policy.removesuffix(WITH_VDIGUEST)]
        self.vdiguest(policy.endswith(WITH_VDIGUEST))
        self.load(actuator is not None)
        self.desk.qmp.cmd('qom-set', path='/objects/vamp0', property='actuator',
                          value=actuator or 'none')
        active = self.desk.qmp.cmd('vamp-query')['actuator']
        if active['active'] != (actuator or 'none'):
            raise GuestError(f'{policy}: {active}')
        with contextlib.suppress(GuestError):
            while True:         # those of earlier keys
                self.answers.next(1)
        found = []
        for _ in range(n):
            self.sleep(BETWEEN_S)
            self.desk.qmp.cmd('send-key',
                              keys=[{'type': 'qcode', 'data': 'ret'}])
            words = self.answers.next(120)
            found.append(int(words[3]) / int(words[2]))
        return found


def measure(keys, policies):
    """{policy: [response]}"""
    found = {policy: [] for policy in policies}
    with contextlib.ExitStack() as stack:
        bed = Bed(stack)
        while len(found['idle']) < keys:
            for policy, values in found.items():
                values += bed.keys(policy, ROUND)
                print(f'{policy:16} ' + ' '.join(f'{v:.2f}' for v in
                                                values[-ROUND:]), flush=True)
    return found


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--keys', type=int, default=30,
                        help='of each policy (default 30)')
    parser.add_argument('--vdiguest', action='store_true',
                        help='also with vdiguest in the desktop')
    parser.add_argument('--results', default=FOLDER)
    args = parser.parse_args()
    policies = list(POLICIES)
    if args.vdiguest:
        policies += [p + WITH_VDIGUEST for p in policies if POLICIES[p]]
    reason = missing(MODULES) or missing_kmod() or vdi_guest.missing() or \
        (None if os.path.exists(BROKER) else f'{BROKER} was not built')
    if reason:
        sys.exit(f'measure_response: {reason}')
    try:
        found = measure(args.keys, policies)
    except GuestError as e:
        sys.exit(f'measure_response: {e}')
    idle = statistics.mean(found['idle'])
    table = {}
    print(f'{"policy":16} {"mean":>6} {"p50":>6} {"p95":>6} {"/ idle":>6}  n')
    for policy, values in found.items():
        row = table[policy] = {
            'mean': statistics.mean(values),
            'p50': statistics.median(values),
            'p95': sorted(values)[int(len(values) * .95)],
            'ratio': statistics.mean(values) / idle,
            'n': len(values)}
        print(f'{policy:16} {row["mean"]:6.2f} {row["p50"]:6.2f} '
              f'{row["p95"]:6.2f} {row["ratio"]:6.2f}  {row["n"]}')
    put(args.results, 'response', table)


if __name__ == '__main__':
    main()
