#!/usr/bin/env python3
"""
QEMU with KVM's companion modules, in a host in a box.

A Linux guest of two vCPUs whose host has our kvm.ko and kvm-amd.ko: the policy
finds them by itself, tells the guest's tasks by them, and has them set the nice
values of the vCPUs' threads. Whatever ends it, the threads are as before.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from background import busy_task, follows_hog, hog_task, mixed_phase, \
    vcpu_weights
from nested import Guest, Host, boot, missing, missing_kmod
from tap import Fail, check, diagnose, eventually, main
from vamp_guest import GuestError

SMP = 2
MODULES = ['kvm-amd']
CGROUPS = '/sys/fs/cgroup'
GROUP = f'{CGROUPS}/vm'
# Nice of the background with the default ratio, 3, and with 10
BACKGROUND = 5
BACKGROUND_10 = 10
POLICY = {'qom_type': 'vamp-policy', 'id': 'vamp0'}


class Suite:
    """The claims; the host and the guest that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.vm = None
        self.player = None

    def on(self):
        """The host, if it came up."""
        if not self.host or not self.host.alive():
            raise Fail('no host runs: see above')
        return self.host

    def need(self):
        """The guest, if it came up."""
        self.on()
        if not self.vm or not self.vm.alive():
            raise Fail('no guest runs: see above')
        return self.vm

    def boot(self):
        """a host loads our modules, a guest comes up"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        host = Host('host', tmp, modules=MODULES, smp=SMP, kmod=True)
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        check('\nkvm_amd' in host.sh('lsmod'), host.last_words())
        host.sh(f'echo +cpu > {CGROUPS}/cgroup.subtree_control; mkdir {GROUP}')
        # A vCPU in here is a hundred times slower than a real one.
        host.sh('echo 10000 > /sys/module/kvm/parameters/vamp_wakeup_us')
        self.host = host
        self.vm = boot(self.stack, lambda: Guest(
            host, 'guest', smp=SMP,
            extra=['-audiodev', 'none,id=snd', '-device',
                   'AC97,id=card,audiodev=snd', '-device', 'intel-hda,id=hda',
                   '-device', 'virtio-sound-pci,id=virtio,audiodev=snd',
                   '-object', 'vamp-policy,id=vamp0']), GROUP)

    def query(self):
        """What vamp-query says."""
        return self.need().qmp.cmd('vamp-query')

    def chosen(self):
        """auto: tracker and actuator are the modules, with reasons"""
        def wrong():
            info = self.query()
            return None if info['actuator']['active'] == 'kvm' else \
                info['actuator']
        eventually(wrong, 60, 1)
        info = self.query()
        check(info['tracker']['active'] == 'kvm', info['tracker'])
        check('by samples until a plan needs more' in
              info['tracker']['reason'], info['tracker'])
        check('broker:' in info['actuator']['reason'], info['actuator'])

    # --- the guest's tasks ----------------------------------------------------

    def nices(self):
        """Nice value of each vCPU's thread."""
        vm = self.need()
        text = self.host.sh('cat ' + ' '.join(
            f'/proc/{vm.pid}/task/{tid}/stat' for tid in vm.vcpu_tids()))
        return [int(line.rpartition(')')[2].split()[16])
                for line in text.splitlines()]

    def finds(self):
        """they find the task that burns the CPU, exactly while it matters"""
        hog_task(self.need())
        info = self.query()
        check(info['phase'] == 'mixed', info)
        check('exact while the plan is in force' in
              info['tracker']['reason'], info['tracker'])

    def follows(self, want):
        """The hog's vCPU gets nice @want, the other one 0."""
        follows_hog(self.need(), self.nices, want, 0)

    def weights(self):
        """the thread of the vCPU that runs it has nice 5, the other 0"""
        self.follows(BACKGROUND)
        count = self.query()['counters']
        check(count['weight-changes'] > 0 and count['task-switches'] > 0, count)

    def ratio(self):
        """qom-set ratio=10 in mid-phase: nice 10"""
        mixed_phase(self.need(), 1)
        self.need().qmp.cmd('qom-set', path='/objects/vamp0', property='ratio',
                            value=10)
        self.follows(BACKGROUND_10)
        self.vm.qmp.cmd('qom-set', path='/objects/vamp0', property='ratio',
                        value=3)

    def all_zero(self):
        """None if no thread has another nice value than at first."""
        found = self.nices()
        return None if found == [0] * SMP else f'nice values are {found}'

    def ends(self):
        """the phase ends, and with it the nice value"""
        mixed_phase(self.need(), 1)
        eventually(self.all_zero, 60, 0.5)
        check(self.query()['phase'] == 'normal', self.query())

    def apart(self):
        """they tell two tasks apart"""
        tasks = {t['task'] for t in mixed_phase(self.need(), 2)['background-tasks']}
        check(len(tasks) == 2, tasks)

    # --- sound ----------------------------------------------------------------

    def tracking(self):
        """What is said of the task that plays."""
        return self.query()['sound']['tracking']

    def card(self):
        """The sound card's address on the PCI bus."""
        for bus in self.need().qmp.cmd('query-pci'):
            for dev in bus['devices']:
                if dev['qdev_id'] == 'card':
                    return (f'0000:{dev["bus"]:02x}:{dev["slot"]:02x}.'
                            f'{dev["function"]}')
        raise Fail('no sound card on the PCI bus')

    def named(self):
        """the modules know the sound cards, by registers and interrupts"""
        found = self.tracking()
        check(found['active'] and found['mode'] == 15 and
              sorted(found['devices']) == [
                  'card (AC97)', 'hda (intel-hda)',
                  'virtio (virtio-sound-pci)'], found)
        # Two of AC97, one of each other: not where virtio's messages are set.
        check('the modules see 4 ranges of registers and 3 interrupts' in
              found['reason'], found)

    def unseen(self):
        """what the processor delivers itself is said to go unseen"""
        param = '/sys/module/kvm/parameters/vamp_pretend'
        # The emulated one does not; the bits are in docs/devel/vamp-kmod.rst.
        for bits, hidden, posted in ((2, True, False), (4, False, True),
                                     (0, False, False)):
            self.on().sh(f'echo {bits} > {param}')

            def wrong(hidden=hidden, posted=posted):
                reason = self.tracking()['reason']
                return None if ('AVIC' in reason) == hidden and \
                    ('posts interrupts' in reason) == posted else reason
            eventually(wrong, 60, 1)

    def plays(self):
        """who wakes the task that touches the sound card is found"""
        vm = self.need()
        vm.control('hogs 0')
        vm.control(f'sound {self.card()}')
        # Which task it is: the one that is busy.
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='wakeup-track',
                   value=0)
        self.player = busy_task(vm)
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='wakeup-track',
                   value=15)

        def wrong():
            found = self.tracking()
            return None if found.get('task') == self.player and \
                found.get('driver') not in (None, self.player) and \
                found.get('playing-vcpu') == 1 else \
                f'{self.player} plays, found is {found}'
        eventually(wrong, 120, 1)
        diagnose(str(self.tracking()))

    def exempt(self):
        """it is not in the background, however busy; with wakeup-track=0 it is"""
        vm = self.need()
        task = self.player
        check(task, 'nobody plays: see above')
        # The player is above the threshold as well.
        found = mixed_phase(vm, 1)['background-tasks']
        check(task not in [t['task'] for t in found], found)
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='wakeup-track',
                   value=0)
        check(self.tracking() == {'active': False, 'mode': 0,
                                  'reason': 'wakeup-track is 0'},
              self.tracking())

        def wrong():
            vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])
            found = self.query().get('background-tasks', [])
            return None if task in [t['task'] for t in found] else found
        eventually(wrong, 120, 1)
        vm.control('sound off')
        vm.control('hogs 0')
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='wakeup-track',
                   value=15)
        check(self.tracking()['active'], self.tracking())

    def other_writer(self):
        """with actuator=cgroup they only tell: QEMU sets the weights"""
        vm = self.need()
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='actuator',
                   value='cgroup')
        info = mixed_phase(vm, 1)
        check(info['actuator']['active'] == 'cgroup', info['actuator'])
        follows_hog(vm, lambda: vcpu_weights(vm, GROUP), 33, 99)
        wrong = self.all_zero()
        check(not wrong, wrong)
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='actuator',
                   value='auto')

    # --- the end --------------------------------------------------------------

    def removed(self):
        """object-del in mid-phase puts all back; a new object works"""
        self.follows(BACKGROUND)
        self.need().qmp.cmd('object-del', id='vamp0')
        wrong = self.all_zero()
        check(not wrong, wrong)
        self.vm.qmp.cmd('object-add', **POLICY)
        self.follows(BACKGROUND)

    def killed(self):
        """after SIGKILL in mid-phase the modules can be unloaded and loaded"""
        host = self.on()
        self.follows(BACKGROUND)
        host.sh(f'kill -9 {self.vm.pid}')
        self.vm.kill()
        self.vm = None

        def wrong():
            status, text = host.run('rmmod kvm_amd && rmmod kvm')
            return None if status == 0 else text
        eventually(wrong, 30, 1)
        host.sh('for m in $(grep kvm /modules/order); do '
                'insmod /modules/$m || exit 1; done')
        check('\nkvm_amd' in host.sh('lsmod'), 'it is not loaded')

    def quiet(self):
        """the host's kernel has nothing to complain of"""
        text = self.on().sh('dmesg')
        bad = re.findall(r'^.*(?:WARNING|BUG:|Oops|general protection|'
                         r'scheduling while atomic|stall).*$', text, re.M)
        for line in bad:
            diagnose(line)
        check(not bad, f'{len(bad)} lines of dmesg')

    def tests(self):
        """(name, function)"""
        return [(f.__doc__.splitlines()[0], f) for f in (
            self.boot, self.chosen, self.finds, self.weights, self.ratio,
            self.ends, self.apart, self.named, self.unseen, self.plays,
            self.exempt,
            self.other_writer, self.removed,
            self.killed, self.quiet)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(),
                  missing(MODULES) or missing_kmod(), [GuestError]))
