#!/usr/bin/env python3
"""
vdiguest in a real Linux guest: what it moves, and that all of it comes back.

The guest has cgroup v2 (its kernel has no other); cgroup v1 is tried on the
machine, in tests/unit/test-guest-place.c.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE)))
# pylint: disable=wrong-import-position
import tap
from vamp_guest import GuestError, Lines, QmpError
from vdi_guest import CGROUP, PATIENCE_S, VDIGUEST, VdiGuest, missing

SCOPE = CGROUP + '/user.slice/app.scope'
FAST = CGROUP + '/vdiguest.fast'
CPUS = '/sys/devices/system/cpu'
STATE = '/run/vamp/vdiguest.state'
KEYS = 40


class Tests:
    """Each test leaves the guest as it has found it."""

    def __init__(self, rundir, stack):
        self.rundir = rundir
        self.stack = stack
        self.guest = None
        self.hog = None

    def boot(self):
        self.guest = VdiGuest(self.rundir, self.stack)
        self.guest.control(f'mkdir {os.path.dirname(SCOPE)}')
        self.guest.control(f'mkdir {SCOPE}')

    def hogs(self, count=1, group=None):
        """A new hog, in a group if that is wanted; returns its pid."""
        if not self.guest:
            raise tap.Fail('there is no guest')
        self.hog = self.guest.hogs(count)
        if group:
            self.guest.write(f'{group}/cgroup.procs', self.hog)
        return self.hog

    def tidy(self):
        """After a test, whatever came of it."""
        if self.guest:
            self.guest.end(signal.SIGTERM)
            self.guest.hogs(0)

    def clean(self, *pids):
        """Is everything as it was before vdiguest?"""
        g = self.guest
        for pid in (1, 2) + pids:
            tap.check(g.cpus_of(pid) == '0-3',
                      f'process {pid} is still bound to {g.cpus_of(pid)}')
        tap.check(not g.has(FAST + '/cgroup.type'), 'the groups are there')
        said = g.read(CGROUP + '/cgroup.subtree_control')
        tap.check('cpuset' not in said, f'controllers are on: {said}')
        tap.check(not g.has(STATE), 'the state file is there')

    def wait_groups(self, hog):
        """Until it is in the slow one: that is done after the isolation."""
        g = self.guest
        tap.eventually(lambda: None if g.group_of(hog) == '/vdiguest.slow' else
                       f'the hog is in {g.group_of(hog)}', PATIENCE_S)

    def isolates(self):
        """Groups of cgroup v2, from the first key press to the last hog."""
        g, hog = self.guest, self.hogs()
        g.start('-f', '2')
        tap.check(g.cpus_of(hog) == '0-3', 'isolated before any key')
        g.isolate(hog)
        self.wait_groups(hog)
        tap.check(g.cpus_of(1) == '0-1', f'init is on {g.cpus_of(1)}')
        tap.check(g.cpus_of(2) == '0-3', 'a kernel thread was moved')
        tap.check(g.cpus_of(g.pid) == '0-3', 'vdiguest moved itself')
        locked = re.search(r'VmLck:\W*(\d+)', g.read(f'/proc/{g.pid}/status'))
        tap.check(int(locked[1]) > 0, 'a guest may page vdiguest out')
        now = g.status()
        tap.check(now['slow-tasks'][0]['id'] == hog,
                  f'another task is slow: {now}')
        g.hogs(0)
        g.wait_status(isolated=False, reason='no slow task is left')
        tap.check(g.end() == 0, 'vdiguest failed')
        self.clean()

    def sleeps_on(self):
        """Keys that begin nothing do not even wake it."""
        g = self.guest
        g.start('-p', '60000')

        def press(key):
            g.vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': key}],
                         hold_time=20)

        def switches():
            return int(re.search(r'\bvoluntary_ctxt_switches:\W*(\d+)',
                                 g.read(f'/proc/{g.pid}/status'))[1])

        before = switches()
        for _ in range(KEYS):
            press('a')
        # One after the other: when this has come, all have.
        press('ret')
        g.wait_status(triggers=1)
        woken = switches() - before
        # A key would do so twice, and Enter and each question do it, too.
        tap.check(woken < KEYS, f'woken {woken} times by {KEYS} letters')
        g.end()

    def phase_ends(self):
        """A hog that goes on is free again when the phase is over."""
        g, hog = self.guest, self.hogs()
        g.start('--phase=1000')
        g.isolate(hog)
        g.wait_status(isolated=False, reason='the phase is over')
        tap.check(g.cpus_of(hog) == '0-3', 'the hog is still bound')
        g.end()
        self.clean(hog)

    def in_scope(self):
        """A task of a systemd scope keeps its scope."""
        g, hog = self.guest, self.hogs(group=SCOPE)
        g.start('-f', '2', '--phase=0')
        g.isolate(hog)
        tap.check(g.group_of(hog) == SCOPE[len(CGROUP):],
                  f'the hog is in {g.group_of(hog)}')
        tap.check(g.end() == 0, 'vdiguest failed')
        self.clean(hog)

    def affinity_only(self):
        g, hog = self.guest, self.hogs()
        g.start('-f', '2', '--phase=0', '--means=affinity')
        g.isolate(hog)
        tap.check(g.group_of(hog) == '/', f'the hog is in {g.group_of(hog)}')
        g.end()
        self.clean(hog)

    def left_alone(self):
        """Own affinities, also one that looks like ours, and real time."""
        g = self.guest
        own, same, urgent = self.hogs(1), self.hogs(2), self.hogs(3)
        hog = self.hogs(4)
        g.control(f'affinity {own} 6')
        g.control(f'affinity {same} c')
        g.control(f'class {urgent}')
        g.start('-f', '2', '--phase=0')
        g.isolate(hog)
        for pid, cpus in ((own, '1-2'), (same, '2-3'), (urgent, '0-3')):
            tap.check(g.cpus_of(pid) == cpus,
                      f'process {pid} is on {g.cpus_of(pid)}, not {cpus}')
        g.end()
        tap.check(g.cpus_of(own) == '1-2', 'its own affinity is lost')
        tap.check(g.cpus_of(same) == '2-3',
                  'an affinity like ours was taken for ours')
        self.clean(hog)

    def cpuset_in_use(self):
        """Somebody else, as systemd does for AllowedCPUs=, has the controller
        on and a group with CPUs of its own: both stay."""
        g = self.guest
        control, cpus = (f'{CGROUP}/{n}' for n in (
            'cgroup.subtree_control', 'user.slice/cpuset.cpus'))
        other, hog = self.hogs(1, group=SCOPE), self.hogs(2)
        g.write(control, '+cpuset')
        g.write(cpus, '1-3')
        try:
            g.start('-f', '2', '--phase=0')
            g.isolate(hog)
            self.wait_groups(hog)
            tap.check(g.cpus_of(other) == '1-3',
                      f'the unit runs on {g.cpus_of(other)}')
            tap.check(g.end() == 0, 'vdiguest failed')
            tap.check(g.read(cpus).strip() == '1-3' and
                      'cpuset' in g.read(control).split(),
                      f'{g.read(cpus)}, {g.read(control)}')
            tap.check(g.cpus_of(hog) == '0-3', f'on {g.cpus_of(hog)}')
        finally:
            g.write(control, '-cpuset')
        self.clean(hog, other)

    def killed(self, *options, group=None):
        """SIGKILL: the next one cleans up."""
        g, hog = self.guest, self.hogs(group=group)
        g.start('-f', '2', '--phase=0', *options)
        g.isolate(hog)
        if not group:
            self.wait_groups(hog)
        g.end(signal.SIGKILL)
        tap.check(g.cpus_of(hog) == '2-3', 'who has put it back?')
        tap.check(g.has(STATE), 'there is no state file')
        g.start('-f', '2')
        tap.check('a vdiguest before was killed' in g.said(), g.said())
        tap.check(g.cpus_of(hog) == '0-3', 'the hog is still bound')
        tap.check(g.cpus_of(1) == '0-3', 'init is still bound')
        g.end()
        self.clean(hog)

    def killed_in_scope(self):
        self.killed(group=SCOPE)

    def interrupts(self):
        """Interrupts of the network's queues and of the keyboard: to the fast
        vCPUs, and back."""
        g, hog = self.guest, self.hogs()

        def affinities():
            found = {}
            for line in g.read('/proc/interrupts').splitlines():
                if re.search(r'-input\.|-output\.|i8042', line):
                    irq = line.split(':')[0].strip()
                    found[irq] = g.read(
                        f'/proc/irq/{irq}/smp_affinity_list').strip()
            return found

        before = affinities()
        tap.check(len(before) >= 4, f'queues and keyboard: {before}')
        g.start('-f', '1', '--phase=0')
        g.isolate(hog, '1-3')
        now = affinities()
        tap.check(all(cpus == '0' for cpus in now.values()),
                  f'not on the fast vCPU: {now}')
        g.end()
        tap.check(affinities() == before,
                  f'{before} has become {affinities()}')

    def sound(self):
        """Two fast vCPUs while the FIFO says 1."""
        g, hog = self.guest, self.hogs()
        g.start('-f', '1', '--phase=0', '--sound-fifo=/tmp/sound')
        g.isolate(hog, '1-3')
        g.write('/tmp/sound', '1')
        g.wait_cpus(hog, '2-3')
        g.write('/tmp/sound', '0')
        g.wait_cpus(hog, '1-3')
        g.end()
        self.clean(hog)

    def load_mode(self):
        """As many slow vCPUs as the slow tasks need: one for one hog."""
        g, hog = self.guest, self.hogs()
        g.start('-m', '3', '--phase=0')
        g.isolate(hog, '3')
        g.end()
        self.clean(hog)

    def static_mode(self):
        """The split stands without any key; the hog moves with the first."""
        g, hog = self.guest, self.hogs()
        g.start('-m', 'static', '-f', '2', '--phase=0')
        g.wait_cpus(hog, '0-1')
        g.isolate(hog)
        g.end()
        self.clean(hog)

    def cpu_offline(self):
        """vCPUs go and come in mid-isolation; with one, there is none."""
        g, hog = self.guest, self.hogs()
        g.start('-f', '2', '--phase=0')
        g.isolate(hog)
        try:
            g.write(f'{CPUS}/cpu3/online', 0)
            g.wait_status(vcpus='0-2')
            g.isolate(hog, '2')
            g.write(f'{CPUS}/cpu2/online', 0)
            g.write(f'{CPUS}/cpu1/online', 0)
            g.wait_status(vcpus='0', isolated=False)
            g.press()
            g.wait_status(reason='one vCPU: there is nothing to split')
        finally:
            for cpu in (1, 2, 3):
                g.write(f'{CPUS}/cpu{cpu}/online', 1)
        g.wait_status(vcpus='0-3')
        g.isolate(hog)
        tap.check(g.end() == 0, 'vdiguest failed')
        self.clean(hog)

    def cpus_come_late(self):
        """vCPUs that come while a task is in a group are open to it, too."""
        g, hog = self.guest, self.hogs()
        for cpu in (2, 3):
            g.write(f'{CPUS}/cpu{cpu}/online', 0)
        try:
            g.start('--phase=0')
            g.isolate(hog, '1')
            self.wait_groups(hog)
        finally:
            for cpu in (2, 3):
                g.write(f'{CPUS}/cpu{cpu}/online', 1)
        g.wait_status(vcpus='0-3')
        g.isolate(hog)
        tap.check(g.end() == 0, 'vdiguest failed')
        self.clean(hog)

    def cpu_plug(self):
        """A vCPU is unplugged in mid-isolation, and plugged again."""
        # One that comes first when the guest runs is taken by its kernel only
        # where that knows the hypervisor, and TCG it does not know. And TCG
        # wants a number for each thread that it ever has.
        third = {'driver': 'qemu64-x86_64-cpu', 'id': 'cpu2', 'socket-id': 0,
                 'core-id': 2, 'thread-id': 0}
        g = VdiGuest(self.rundir, self.stack, 'plug', smp='2,maxcpus=4',
                     extra=['-device', json.dumps(third)])
        hog = g.hogs(1)
        g.start('--phase=0')
        g.isolate(hog, '1-2')
        g.vm.qmp.cmd('device_del', id='cpu2')
        g.vm.qmp.wait_event('DEVICE_DELETED', PATIENCE_S)
        g.wait_status(vcpus='0-1')
        g.isolate(hog, '1')
        g.vm.qmp.cmd('device_add', **third)
        online = f'{CPUS}/cpu2/online'
        tap.eventually(lambda: None if g.has(online) else
                       'the guest has not seen the vCPU', PATIENCE_S)
        # As udev's rules do in a distribution.
        g.write(online, 1)
        g.wait_status(vcpus='0-2')
        g.isolate(hog, '1-2')
        tap.check(g.end() == 0, 'vdiguest failed')
        tap.check(g.cpus_of(hog) == '0-2', f'it is on {g.cpus_of(hog)}')
        g.vm.kill()

    def hotplug(self):
        """A keyboard that comes is used; one that goes does no harm."""
        g = self.guest
        g.start()
        before = g.status()['input']
        try:
            g.vm.qmp.cmd('device_add', driver='virtio-keyboard-pci', id='kbd',
                         bus='port0')
        except QmpError as e:
            raise tap.Skip(f'this QEMU cannot plug a keyboard: {e.desc}')
        tap.eventually(lambda: None if g.status()['input'] != before else
                       'the keyboard is not used', PATIENCE_S)
        g.vm.qmp.cmd('device_del', id='kbd')
        g.wait_status(input=before)
        g.end()

    def no_input(self):
        """Without an event device it says so; the first that comes is used."""
        g, hog = self.guest, self.hogs()
        driver = '/sys/bus/serio/devices/serio0/drvctl'
        g.write(driver, 'none')
        try:
            g.start('-f', '2', '--phase=0')
            g.wait_status(input='none')
            tap.check('no keyboard, mouse or touch screen is there' in
                      g.said(), g.said())
            g.press()
        finally:
            g.write(driver, 'atkbd')
        tap.eventually(lambda: None if g.status()['input'] != 'none' else
                       'the keyboard is not used', PATIENCE_S)
        tap.check(g.status()['triggers'] == 0, g.status())
        g.isolate(hog)
        tap.check(g.end() == 0, 'vdiguest failed')
        self.clean(hog)

    def bad_words(self):
        """One clear sentence, and nothing changed."""
        g = self.guest
        for words, said in (
                (('-f', '4'), '1..3 would be'),
                (('/dev/null',), 'an event device'),
                (('/dev/input/event99',), 'No such file'),
                (('--sound-fifo=/init',), 'a FIFO would be needed')):
            code, text = g.run(*words)
            tap.check(code == 1 and said in text.splitlines()[-1],
                      f'{words}: {code}: {text}')
        g.start()
        code, text = g.run()
        tap.check(code == 1 and 'another vdiguest runs' in text, text)
        g.end()
        self.clean()

    def not_root(self):
        """On this machine, where it ends before it does anything."""
        user = 65534 if os.geteuid() == 0 else None
        program = shutil.copy(VDIGUEST, os.path.join(self.rundir, 'vdiguest'))
        os.chmod(self.rundir, 0o755)
        done = subprocess.run([program], check=False, text=True, user=user,
                              stderr=subprocess.PIPE, timeout=PATIENCE_S)
        tap.check(done.returncode == 1 and
                  'root would be needed' in done.stderr,
                  f'{done.returncode}: {done.stderr}')

    def daemon(self):
        """--daemon returns when all is ready."""
        g = self.guest
        code, text = g.run('--daemon')
        tap.check(code == 0, text)
        now = g.status()
        tap.check(now is not None, 'it does not answer')
        pids = [p for p in range(100, 3000)
                if g.has(f'/proc/{p}/comm') and
                g.read(f'/proc/{p}/comm').strip() == 'vdiguest']
        tap.check(len(pids) == 1, f'vdiguests: {pids}')
        g.control(f'signal {pids[0]} {int(signal.SIGTERM)}')
        tap.eventually(lambda: 'it still answers' if g.status() else None,
                       PATIENCE_S)
        self.clean()

    def host(self):
        """A host on the channel: what it hears, and that it may not lie."""
        g, hog = self.guest, self.hogs()
        lines = Lines(g.hints_path, g.vm.alive)
        heard = []

        def hear(*wanted):
            def came():
                line = lines.line(0.5)
                while line is not None:
                    heard.append(line)
                    line = lines.line(0.01)
                text = '\n'.join(heard)
                absent = [w for w in wanted if w not in text]
                return f'{absent} not heard, only {heard}' if absent else None
            tap.eventually(came, PATIENCE_S, every=0)

        g.start('-f', '2')
        lines.send('\nhello version=1 name=test\n')
        hear('hello version=1', 'sound off', 'split fast=0-3 slow=-',
             f'task id={hog} ')
        lines.send('phase begin cause=input mixed=1 length=600000\n')
        g.wait_cpus(hog, '2-3')
        hear('split fast=0-1 slow=2-3')
        lines.send('phase begin cause=input mixed=7 length=x\n' +
                   'x' * 2000 + '\n\x01\x02\nphase end\n')
        g.wait_cpus(hog, '0-3')
        hear('error text=')
        tap.check('the host sent nonsense' in g.said(), g.said())
        lines.close()
        g.end()
        self.clean(hog)

    def phase_short(self):
        """The phase is over before the others have got their places; no vCPU
        is free of hogs, so these have left by then."""
        g = self.guest
        hogs = [self.hogs(n) for n in range(1, 5)]
        lines = Lines(g.hints_path, g.vm.alive)
        g.start('-f', '2', '--phase=1000')
        lines.send('\nhello version=1 name=test\n')
        for hog in hogs:
            g.isolate(hog)
        g.wait_status(isolated=False, host='in touch')
        count = g.status()['isolations']
        lines.send('phase begin cause=input mixed=1 length=600000\n'
                   'phase end\n')
        g.wait_status(isolations=count + 1, isolated=False,
                      reason="the host's phase is over")
        for pid in hogs + [1]:
            tap.check(g.cpus_of(pid) == '0-3',
                      f'process {pid} is on {g.cpus_of(pid)}')
        lines.close()
        g.end()
        self.clean(*hogs)

    def all(self):
        """[(name, function)], each with its tidying up."""
        def tidied(function):
            def test():
                if not self.guest:
                    raise tap.Fail('there is no guest')
                try:
                    function()
                except tap.Fail:
                    tap.diagnose(self.guest.said()[-2000:])
                    raise
                finally:
                    self.tidy()
            return test

        return [('the guest boots', self.boot)] + [
            (name, tidied(function)) for name, function in (
                ('a hog leaves the fast vCPUs at a key, and is free later',
                 self.isolates),
                ('what begins nothing does not wake it', self.sleeps_on),
                ('the phase ends by itself', self.phase_ends),
                ('a task of a systemd scope keeps it', self.in_scope),
                ('affinities only', self.affinity_only),
                ('own affinities and real-time tasks are left', self.left_alone),
                ('the cpuset controller is in use', self.cpuset_in_use),
                ('SIGKILL, groups', self.killed),
                ('SIGKILL, affinities', self.killed_in_scope),
                ('interrupts', self.interrupts),
                ('sound needs two fast vCPUs', self.sound),
                ('mode 3: slow vCPUs by load', self.load_mode),
                ('mode 0: static', self.static_mode),
                ('CPUs go offline and come', self.cpu_offline),
                ('CPUs come in mid-isolation', self.cpus_come_late),
                ('a keyboard comes and goes', self.hotplug),
                ('no event device', self.no_input),
                ('bad words', self.bad_words),
                ('not root', self.not_root),
                ('--daemon', self.daemon),
                ('the hints channel', self.host),
                ('a phase that ends at once', self.phase_short),
            )] + [('a vCPU is unplugged and plugged', self.cpu_plug)]


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-vdi-') as rundir:
        return tap.main(lambda stack: Tests(rundir, stack).all(), missing(),
                        (GuestError,))


if __name__ == '__main__':
    sys.exit(main())
