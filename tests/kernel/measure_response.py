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

What idle is, to which all is compared: crowded.py.

    tests/kernel/measure_response.py [--keys N] [--vdiguest] [--results DIR]

Prints a table for each length of the answers, and writes DIR/kernel.json (default
build/results): {"response": {POLICY: {"mean", "p50", "p95", "ratio", "ratio_p95",
"n"}}}, ratios to idle, of the long answers; "response_short" of the short ones.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import os
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from crowded import ACTUATORS, MACHINE, MACHINE_TYPE, QUIET, SETTLE_S, \
    WITH_VDIGUEST, Crowded, Desk, figures, show, unusable
from nested import Guest, boot
from results import FOLDER, put
from vamp_guest import BUILD, KEY_RETURN, GuestError, find_qemu

CLIENT = os.path.join(BUILD, 'bin', 'vnc-press')
# What QEMU's VNC server reads: here and in the host.
KEYMAP = 'qemu-bundle/usr/local/share/qemu/keymaps/en-us'
KEYMAP_HOST = 'usr/share/qemu/keymaps/en-us'
ANSWER = '/run/answer'
VNC = '/run/vnc'
NEIGHBOURS = ['second', 'third']
ROUND = 5       # keys of one policy before the next has its turn
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


class Bed(Crowded):
    """The host, its three guests, and one way to measure."""

    def __init__(self, stack):
        super().__init__(stack, 2, programs={'usr/bin/vnc-press': CLIENT},
                         files={KEYMAP_HOST: os.path.join(os.path.dirname(
                             os.path.realpath(find_qemu())), KEYMAP)})
        self.desk = Desk(self, self.guest(stack, 'desk', Desktop, [
            # VNC takes keys for a display only, which needs no firmware here.
            '-device', 'VGA,romfile=', '-vnc', f'unix:{VNC}'] + Desk.policy()))
        for name in NEIGHBOURS:
            self.guest(stack, name).control('hogs 2')
        self.alone = None
        self.seed = 0

    def guest(self, stack, name, kind=Guest, extra=()):
        """One more, in a group of its own."""
        print(f'booting {name}', flush=True)
        group = self.group(name)
        return boot(stack, lambda: kind(self.host, name, machine=MACHINE_TYPE,
                                        append=QUIET, extra=extra), group)

    def load(self, alone):
        """What there is beside the desktop: fillers, or its neighbours."""
        if self.alone == alone:
            return
        self.alone = alone
        self.let_run(*((self.fillers, []) if alone else ([], self.fillers)))
        for name in NEIGHBOURS:
            self.host.sh(f'echo {int(alone)} > {MACHINE}/{name}/cpu.idle')

    def keys(self, policy, n):
        """How long each of @n answers took, in multiples of its work."""
        self.load(ACTUATORS[policy.removesuffix(WITH_VDIGUEST)] is None)
        self.desk.use(policy, 1)
        self.sleep(SETTLE_S)
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
    bed.desk.guest.control(f'work {work[0]} {work[1]} 1')
    found = {policy: [] for policy in policies}
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
    policies = list(ACTUATORS)
    if args.vdiguest:
        policies += [p + WITH_VDIGUEST for p in policies if ACTUATORS[p]]
    reason = unusable() or \
        (None if os.path.exists(CLIENT) else f'{CLIENT} was not built')
    if reason:
        sys.exit(f'measure_response: {reason}')
    try:
        with contextlib.ExitStack() as stack:
            bed = Bed(stack)
            for name, work in WORKS.items():
                print(f'answers of {work[0]} to {work[1]} ms')
                found = figures(measure(bed, work, args.keys, policies))
                show(name, found)
                put(args.results, name, found)
    except GuestError as e:
        sys.exit(f'measure_response: {e}')


if __name__ == '__main__':
    main()
