#!/usr/bin/env python3
"""
How fast a user is answered beside background work, with the companion modules:
a measurement, not a test.

In a host in a box with two CPUs, whose clock counts instructions: a desktop VM
whose answer to a key competes with a hog of the same guest, and two more VMs with
two hogs each. No guest has any software for it, but in the policies that end in
"+vdiguest" the desktop has vdiguest. A VNC client in the host presses keys, and
times each from the press to the answer, which is a fixed amount of work in the
guest. Policies take turns.

The CPUs take turns, and that clock counts for all of them: what a CPU gets done
in a ms depends on what the other one runs. So idle, to which the others are
compared, is not a host that sleeps, but one whose neighbours work only while
nobody else wants to (cpu.idle of their groups).

    tests/kernel/measure_response.py [--keys N] [--vdiguest] [--results DIR]

Prints a table for each length of the answers, and writes DIR/kernel.json (default
build/results): {"response": {POLICY: {"mean", "p50", "p95", "ratio", "n"}}}, ratio
to idle, of the long answers; "response_short" of the short ones.

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
from vamp_guest import BUILD, KEY_RETURN, GuestError, find_qemu

MODULES = ['kvm-amd']
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
CLIENT = os.path.join(BUILD, 'bin', 'vnc-press')
PLACES = {'usr/bin/qemu-vamp-broker': BROKER, 'usr/bin/vnc-press': CLIENT}
# What QEMU's VNC server reads: here and in the host.
KEYMAP = 'qemu-bundle/usr/local/share/qemu/keymaps/en-us'
KEYMAP_HOST = 'usr/share/qemu/keymaps/en-us'
SOCKET = '/run/broker'
ANSWER = '/run/answer'
VNC = '/run/vnc'
CGROUPS = '/sys/fs/cgroup'
MACHINE = CGROUPS + '/machine'
# As virt-install has it: a guest leaves an HPET to run that it does not use, and
# each tick is a wake-up of QEMU's.
MACHINE_TYPE = 'q35,hpet=off'
NEIGHBOURS = ['second', 'third']
# Policy: actuator of the desktop; None: no other work counts
POLICIES = {'idle': None, 'stock': 'none', 'kvm': 'kvm', 'broker': 'broker'}
WITH_VDIGUEST = '+vdiguest'
ROUND = 5       # keys of one policy before the next has its turn
# A phase is one second, so that each key begins one with loads of its own.
PHASE_MS = 1000
GAP_MS = (1300, 1700)
LOST_MS = 10000
# ms of work of an answer, from and to
WORKS = {'response': (20, 40), 'response_short': (2, 4)}


class Desktop(Guest):
    """Its user sits in the host: display and answers are sockets there."""

    def chardev(self, name, path):
        if name == 'ans':
            return f'socket,id=ans,path={ANSWER},server=on,wait=off'
        return super().chardev(name, path)


class Bed:
    """The host, its three guests, and one way to measure."""

    def __init__(self, stack):
        tmp = tempfile.mkdtemp(prefix=f'vamp-kvm-{os.getpid()}-', dir='/tmp')
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        files = {}
        for place, path in PLACES.items():
            path = os.path.realpath(path)
            files.update(program(path))
            files[place] = files.pop(path.lstrip('/'))
        files[KEYMAP_HOST] = os.path.join(
            os.path.dirname(os.path.realpath(find_qemu())), KEYMAP)
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
        self.desk = self.guest(stack, 'desk', Desktop, [
            # VNC takes keys for a display only, which needs no firmware here.
            '-device', 'VGA,romfile=', '-vnc', f'unix:{VNC}',
            '-device', 'vamp-hints',
            '-object', f'vamp-policy,id=vamp0,broker={SOCKET},'
                       f'max-phase-ms={PHASE_MS}'])
        for name in NEIGHBOURS:
            self.guest(stack, name).control('hogs 2')
        self.busy = self.helper = None
        self.seed = 0

    def guest(self, stack, name, kind=Guest, extra=()):
        """One more, in a group of its own."""
        print(f'booting {name}', flush=True)
        self.host.sh(f'mkdir {MACHINE}/{name}')
        return boot(stack, lambda: kind(self.host, name, machine=MACHINE_TYPE,
                                        extra=extra),
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
        self.seed += 1
        said = self.host.sh(
            f'echo block {n + 1} {KEY_RETURN} {GAP_MS[0]} {GAP_MS[1]} {self.seed} '
            f'{LOST_MS} | vnc-press {VNC} {ANSWER}', 600)
        # answer INDEX PRESSED ANSWERED NUMBER KEYCODE WORK_US ELAPSED_US
        found = [line.split() for line in said.splitlines()
                 if line.startswith('answer ')]
        if len(found) != n + 1:
            raise GuestError(f'not all keys were answered:\n{said}')
        # The first one finds QEMU busy with a client that has just connected.
        return [(int(w[3]) - int(w[2])) / 1000 / int(w[6]) for w in found[1:]]


def measure(bed, work, keys, policies):
    """{policy: [response]} of answers of @work ms"""
    bed.desk.control(f'work {work[0]} {work[1]} 1')
    found = {policy: [] for policy in policies}
    while len(found['idle']) < keys:
        for policy, values in found.items():
            values += bed.keys(policy, ROUND)
            print(f'{policy:16} ' + ' '.join(f'{v:.2f}' for v in
                                            values[-ROUND:]), flush=True)
    return found


def table(found):
    """What is told of {policy: [response]}; prints it too."""
    idle = statistics.mean(found['idle'])
    rows = {}
    print(f'{"policy":16} {"mean":>6} {"p50":>6} {"p95":>6} {"/ idle":>6}  n')
    for policy, values in found.items():
        row = rows[policy] = {
            'mean': statistics.mean(values),
            'p50': statistics.median(values),
            'p95': sorted(values)[int(len(values) * .95)],
            'ratio': statistics.mean(values) / idle,
            'n': len(values)}
        print(f'{policy:16} {row["mean"]:6.2f} {row["p50"]:6.2f} '
              f'{row["p95"]:6.2f} {row["ratio"]:6.2f}  {row["n"]}')
    return rows


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
    reason = missing(MODULES) or missing_kmod() or vdi_guest.missing()
    for path in PLACES.values():
        if not os.path.exists(path):
            reason = reason or f'{path} was not built'
    if reason:
        sys.exit(f'measure_response: {reason}')
    try:
        with contextlib.ExitStack() as stack:
            bed = Bed(stack)
            for name, work in WORKS.items():
                print(f'answers of {work[0]} to {work[1]} ms')
                put(args.results, name,
                    table(measure(bed, work, args.keys, policies)))
    except GuestError as e:
        sys.exit(f'measure_response: {e}')


if __name__ == '__main__':
    main()
