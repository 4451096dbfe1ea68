#!/usr/bin/env python3
"""
vdiguest and the device vamp-hints, each as it is: what the one does in a
guest, the other makes a plan of.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE)))
# pylint: disable=wrong-import-position
import tap
from vamp_guest import GuestError
from vdi_guest import MEMORY_MB, PATIENCE_S, VdiGuest, make_swap, missing

HINTS = ['-device', 'vamp-hints', '-object',
         'vamp-policy,id=vamp0,tracker=guest,max-phase-ms=60000']
# Ticks of CPU time after which a task has been slow for any look at it.
LONG_TICKS = 300


class Tests:
    """In this order."""

    def __init__(self, rundir, stack):
        self.rundir = rundir
        self.stack = stack
        self.guest = None
        self.hog = None

    def boot(self):
        """the guest boots"""
        self.guest = VdiGuest(
            self.rundir, self.stack, hints=HINTS,
            extra=make_swap(os.path.join(self.rundir, 'swap'), MEMORY_MB))

    def need(self):
        """The guest, if it came up."""
        if not self.guest or not self.guest.vm.alive():
            raise tap.Fail('no guest runs: see above')
        return self.guest

    def info(self):
        """What vamp-query says."""
        return self.need().vm.qmp.cmd('vamp-query')

    def wait_guest(self, **want):
        """Waits until vamp-query says all that of the guest."""
        def wrong():
            guest = self.info()['guest']
            return None if all(guest.get(k) == v for k, v in want.items()) \
                else guest
        tap.eventually(wrong, PATIENCE_S, 0.2)

    def greets(self):
        """vdiguest and the device find each other"""
        g = self.need()
        g.start('-f', '2', '--phase=60000')
        self.wait_guest(source='channel', program='vdiguest 1', fast='0-3',
                        slow='')
        g.wait_status(host='in touch')

    def plan(self):
        """a key: the slow task by name, the split, classes of the vCPUs"""
        g = self.need()
        self.hog = g.hogs(1)
        g.isolate(self.hog)
        self.wait_plan()

    def wait_plan(self):
        """Presses Enter until the host has made a plan of vdiguest's split."""
        g = self.need()

        def wrong():
            info = self.info()
            guest, classes = info['guest'], [v['class'] for v in info['vcpus']]
            if (guest.get('fast'), guest.get('slow')) != ('0-1', '2-3') or \
                    classes != ['interactive'] * 2 + ['background'] * 2:
                g.press()
                return info
            # What the test asks the guest's init for may be slow, too.
            tap.check(('init', self.hog) in [(t['name'], t['id'])
                                             for t in guest['tasks']], guest)
            tap.check(guest['counters']['errors'] == 0, guest)
            return None
        tap.eventually(wrong, PATIENCE_S, 1)

    def begun(self):
        """what begins in the phase is not told as background"""
        g = self.need()
        # With each key the phase begins anew.
        g.wait_heard()
        other = g.hogs(2)

        def idle():
            ticks = int(g.read(f'/proc/{other}/stat').rpartition(')')[2]
                        .split()[11])
            return None if ticks > LONG_TICKS else f'{ticks} ticks'
        tap.eventually(idle, PATIENCE_S, 0.5)
        looked = self.info()['guest']
        if not g.status()['isolated']:
            raise tap.Skip('the phase is over: this machine is too busy')
        told = [t['id'] for t in looked['tasks']]
        tap.check(self.hog in told and other not in told,
                  f'{other} is one of {looked}')
        tap.check(g.cpus_of(other) == '0-1', f'it is on {g.cpus_of(other)}')

    def gone(self):
        """one that is killed says nothing any more"""
        g = self.need()
        g.end(signal.SIGKILL)
        self.wait_guest(source='none')
        tap.check('tasks' not in self.info()['guest'], self.info())
        g.start('-f', '2')
        self.wait_guest(source='channel')
        tap.check(g.cpus_of(self.hog) == '0-3', 'it is still bound')
        tap.check(g.end() == 0, 'vdiguest failed')

    def anew(self):
        """Another vdiguest, in mid-phase until its hog ends."""
        g = self.need()
        g.end()
        self.hog = g.hogs(1)
        g.start('-f', '2', '--phase=0')
        g.isolate(self.hog)
        self.wait_plan()

    def goes_on(self):
        """The host hears of the split again, as it is now, and plans with the
        next; all of it ends."""
        g = self.need()

        def apart():
            now, guest = g.status(), self.info()['guest']
            return None if guest['source'] == 'channel' and \
                guest['program'] == 'vdiguest 1' and \
                now['host'] == 'in touch' and \
                now['fast'] == guest.get('fast') else f'{now}, but {guest}'
        tap.eventually(apart, PATIENCE_S, 0.2)
        # Who was frozen, or is on a machine that is too busy, is not slow by
        # its last second: the next key finds it.
        g.isolate(self.hog)
        self.wait_plan()
        g.hogs(0)
        g.wait_status(isolated=False)
        self.wait_guest(fast='0-3', slow='', tasks=[])
        tap.check(g.end() == 0, 'vdiguest failed')
        tap.check(g.cpus_of(1) == '0-3', 'init is still bound')

    def sleeps(self):
        """suspended to memory in mid-phase, and awake again"""
        self.anew()
        g = self.need()
        sessions = self.info()['guest']['counters']['sessions']
        g.vm.sleep(PATIENCE_S)
        tap.check(self.info()['guest']['counters']['sessions'] > sessions,
                  self.info())
        self.goes_on()

    def dozes(self):
        """suspended to idle in mid-phase, and awake again"""
        self.anew()
        self.need().doze()
        self.goes_on()

    def moves(self):
        """migrated in mid-phase"""
        self.anew()
        g = self.need()
        g.move()
        tap.check(self.info()['phase'] == 'normal', self.info())
        self.goes_on()

    def hibernates(self):
        """suspended to disk in mid-phase, and awake in another QEMU"""
        self.anew()
        self.need().hibernate()
        tap.check(self.info()['phase'] == 'normal', self.info())
        self.goes_on()

    def all(self):
        """(name, function)"""
        # To memory comes last of the sleeps: SeaBIOS 1.16 does not give q35 its
        # ACPI registers back, and without them a guest sleeps only once.
        return [(f.__doc__, f) for f in (
            self.boot, self.greets, self.plan, self.begun, self.gone,
            self.dozes, self.hibernates, self.sleeps, self.moves)]


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-vdh-') as rundir:
        return tap.main(lambda stack: Tests(rundir, stack).all(), missing(),
                        (GuestError,))


if __name__ == '__main__':
    sys.exit(main())
