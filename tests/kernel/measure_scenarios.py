#!/usr/bin/env python3
"""
The lab's scenarios (lab/scenarios) with real guests: how fast their users are
answered, without and with vdiguest. A measurement, not a test.

A host in a box whose clock counts instructions. Each VM that somebody works
with is a Linux guest under the companion modules' KVM, with a vamp-policy; its
hogs are processes of it. The others' vCPUs are busy threads in a group of
their own (neighbour.c), which tell the broker of themselves as QEMU would. What
the lab does with times is done with keys here: of ROUND keys, those are
pressed while a VM sleeps that fall into its sleep in the lab; and where answers
run away, one of ROUND does. No pauses in an answer.

What idle is, to which all is compared: crowded.py.

    tests/kernel/measure_scenarios.py [--scenarios "NAME..."] [--policies "..."]
                                      [--keys N] [--again] [--results DIR]

Prints a table, and writes DIR/kernel.json (default build/results): {"scenarios":
{NAME: {POLICY: {"mean", "p50", "p95", "ratio", "ratio_p95", "n", "values"}}}}, a
response in multiples of the work in it, and ratios to idle. What is there
already is not measured again but with --again.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import json
import os
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
LAB = os.path.join(TOP, 'lab')
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional'), LAB]
# pylint: disable=wrong-import-position
import scenario as lab
import vdi_guest
from crowded import ACTUATORS, MACHINE_TYPE, QUIET, SETTLE_S, SOCKET, \
    WITH_VDIGUEST, Crowded, Desk, figures, show, unusable
from guest_interrupts import guest_file
from nested import Guest, boot
from results import FOLDER, get, put
from vamp_guest import Answers, GuestError

POLICIES = ['idle', 'stock', 'kvm', 'kvm' + WITH_VDIGUEST, 'broker',
            'broker' + WITH_VDIGUEST]
# Cheapest first
SCENARIOS = ['3vms-2cpus', '2vms-2cpus', '4vms-2cpus', 'short-events',
             'unequal-weights', 'without-vamp', 'idle-and-return', 'runaway',
             '100vms', '6vms-4cpus', 'all-interactive']
ROUND = 5       # keys of one policy before the next has its turn
BETWEEN_S = 1.3
# Between the keys of several users
STAGGER_S = 0.25
ANSWER_S = 600


class Desktop(Desk):
    """A VM that somebody works with: a guest, and what it answers."""

    def __init__(self, bed, stack, vm):
        group = bed.group(vm.name, vm.weight)
        print(f'booting {vm.name}', flush=True)
        super().__init__(bed, boot(stack, lambda: Guest(
            bed.host, vm.name, smp=len(vm.threads), machine=MACHINE_TYPE,
            append=QUIET, extra=self.policy(bed.plan.ratio)), group))
        self.plan = vm
        self.answers = Answers(self.guest)
        stack.callback(self.answers.close)

    def work(self, seed, runaway=False):
        """From now on, answers of these lengths."""
        low, high = [self.plan.runaway_cpu_ms] * 2 if runaway else \
            self.plan.event_cpu_ms
        self.guest.control(f'work {int(low)} {int(high)} {seed}')

    def forget(self):
        """Answers to earlier keys."""
        with contextlib.suppress(GuestError):
            while True:
                self.answers.next(1)

    def press(self):
        """Enter."""
        self.guest.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])

    def answer(self):
        """How long an answer took, in multiples of the work in it."""
        words = self.answers.next(ANSWER_S)
        return int(words[4]) / int(words[2])


class Bed(Crowded):
    """A scenario's host."""

    def __init__(self, stack, plan):
        super().__init__(stack, plan.cpus, memory=2560)
        self.plan = plan
        self.desktops = [Desktop(self, stack, vm) for vm in plan.vms
                         if vm.interactive()]
        self.neighbours = {}
        for vm in plan.vms:
            if not vm.interactive():
                self.neighbours[vm.name] = self.busy(
                    self.group(vm.name, vm.weight),
                    f'{vm.name} {len(vm.threads)} ' +
                    (SOCKET if vm.vamp else '-'))
        said = self.host.sh('cat /run/neighbour.log')
        if said:
            raise GuestError(said)

    def wake(self, at_s):
        """What sleeps in the lab @at_s after it has begun, sleeps; None: all
        do."""
        run, stop = [], []
        (run if at_s is None else stop).extend(self.fillers)
        for vm in self.plan.vms:
            if vm.name in self.neighbours:
                asleep = at_s is None or vm.sleep_s[0] <= at_s < vm.sleep_s[1]
                (stop if asleep else run).append(self.neighbours[vm.name])
        self.let_run(run, stop)

    def keys(self, policy, seed):
        """ROUND answers of each desktop; the lengths of the work by @seed."""
        actuator = ACTUATORS[policy.removesuffix(WITH_VDIGUEST)]
        self.wake(None if actuator is None else 0)
        for n, desktop in enumerate(self.desktops):
            desktop.use(policy, desktop.plan.threads.count('hog'))
            desktop.work(seed * len(self.desktops) + n)
            desktop.forget()
        self.sleep(SETTLE_S)
        found = []
        for n in range(ROUND):
            if actuator is not None:
                self.wake(n * self.plan.measure_s / ROUND)
            self.sleep(BETWEEN_S)
            found += self.key(n, actuator is None, seed)
        return found

    def key(self, n, alone, seed):
        """Each user presses; not those that the first is measured without."""
        found = []
        for desktop in self.desktops:
            runaway = desktop.plan.runaway_every and n in (0, 1)
            if runaway:
                desktop.work(seed, n == 0)
            desktop.press()
            if alone:
                found.append(desktop.answer())
            else:
                self.sleep(STAGGER_S)
        return found or [desktop.answer() for desktop in self.desktops]

    def say(self):
        """What vdiguest has done."""
        for desktop in self.desktops:
            if desktop.helper:
                desktop.guest.control(
                    f'run {vdi_guest.PROGRAM} --status --json')
                now = json.loads(guest_file(desktop.guest, '/tmp/run.out'))
                print(f'  {desktop.plan.name}: {now["isolations"]} isolations '
                      f'of {now["phases"]} phases, the last took '
                      f'{now["isolation-us"]} us, in all '
                      f'{now["cpu-us"]} us of {now["up-ms"]} ms', flush=True)


def measure(name, keys, policies):
    """{policy: [response]}"""
    plan = lab.load(os.path.join(LAB, 'scenarios', f'{name}.conf'))
    found = {policy: [] for policy in policies}
    with contextlib.ExitStack() as stack:
        bed = Bed(stack, plan)
        for seed in range(-(-keys // ROUND)):
            for policy, values in found.items():
                new = bed.keys(policy, seed)
                values += new
                print(f'{policy:16} ' + ' '.join(f'{v:.2f}' for v in new),
                      flush=True)
                bed.say()
    return found


def words(text):
    """An option with several words."""
    return text.split()


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n', 1)[0])
    parser.add_argument('--scenarios', type=words, default=SCENARIOS)
    parser.add_argument('--policies', type=words, default=POLICIES,
                        help=f'of {", ".join(POLICIES)}; idle is always one')
    parser.add_argument('--keys', type=int, default=10,
                        help='of each policy (default 10)')
    parser.add_argument('--again', action='store_true',
                        help='also what was measured before')
    parser.add_argument('--results', default=FOLDER)
    args = parser.parse_args()
    policies = list(dict.fromkeys(['idle'] + args.policies))
    for policy in policies:
        if policy.removesuffix(WITH_VDIGUEST) not in ACTUATORS:
            parser.error(f'{policy} is no policy')
    reason = unusable()
    if reason:
        sys.exit(f'measure_scenarios: {reason}')
    for name in args.scenarios:
        known = get(args.results, 'scenarios', {})
        if args.again or any(known.get(name, {}).get(p, {'n': 0})['n'] <
                             args.keys for p in policies):
            try:
                values = measure(name, args.keys, policies)
            except (GuestError, lab.ScenarioError) as e:
                print(f'measure_scenarios: {name}: {e}', file=sys.stderr)
                continue
            # Another run may have written meanwhile.
            known = get(args.results, 'scenarios', {})
            known[name] = figures(values)
            for policy, row in known[name].items():
                row['values'] = [round(v, 4) for v in values[policy]]
            put(args.results, 'scenarios', known)
        show(name, known[name])


if __name__ == '__main__':
    main()
