#!/usr/bin/env python3
"""
KVM's companion modules and real sound drivers, in a host in a box.

The guest has a kernel with drivers for sound cards, and three cards: one whose
interrupt is a message (HDA), one that has two of them (virtio, MSI-X), one with
a line of the I/O APIC (AC97). A task plays on each of them by the driver's PCM
device, and is so busy that it would be in the background.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from background import busy_task, mixed_phase
from guest_interrupts import GuestInterrupts
from nested import Guest, Host, boot, missing, missing_kmod
from tap import Fail, check, diagnose, eventually, main
from vamp_guest import BUILD, GuestError

SMP = 2
MODULES = ['kvm-amd']
KERNEL = os.path.join(BUILD, 'kernel-sound')
DRIVERS = ['snd-hda-codec-generic', 'snd-hda-intel', 'snd-intel8x0',
           'virtio-snd']
FETCH_S = 300
# The guest's driver; its kind of interrupt, and the words of it in
# /proc/interrupts; who touches the card's registers, its handler or who plays
Card = collections.namedtuple('Card', 'driver kind text handler player')
CARDS = {
    # It tells where it is by writing to memory.
    'HDA': Card('HDA-Intel', 'msi', 'snd_hda_intel', True, False),
    'virtio': Card('virtio-snd', 'msix', r'virtio\d+-virtqueues', False, True),
    'AC97': Card('ICH', 'ioapic', 'snd_intel8x0', True, True),
}
# Percent; above the threshold of background tasks, and time is left to play.
BUSY = 75
# The player's vCPU, and that of the interrupt: in the window after one, which
# has to be long here, an access on its vCPU is the handler's.
PLAYER, HANDLER = 0, 1
INTERRUPTS = 30
PATIENCE_S = 120


def fetched():
    """Why there is no kernel with sound here, or None. Gets it."""
    done = subprocess.run(
        [os.path.join(TOP, 'scripts', 'fetch-kernel'), BUILD, 'sound'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=FETCH_S)
    if done.returncode:
        return done.stdout.strip().splitlines()[-1]
    return None


class Suite:
    """The claims; the host and the guest that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.vm = None

    def need(self):
        """The guest, if it came up."""
        if not self.vm or not self.vm.alive():
            raise Fail('no guest runs: see above')
        return self.vm

    def boot(self):
        """a guest with three sound cards comes up, each has its driver"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        initrd = os.path.join(tmp, 'guest.gz')
        subprocess.run(
            [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-o', initrd,
             '-i', os.path.join(BUILD, 'guest', 'init'),
             '-k', os.path.join(KERNEL, 'modules')] +
            [word for name in DRIVERS for word in ('-m', name)], check=True)
        host = Host('host', tmp, modules=MODULES, smp=SMP, kmod=True, guests=3,
                    files={Guest.KERNEL.lstrip('/'):
                           os.path.join(KERNEL, 'vmlinuz'),
                           Guest.INITRD.lstrip('/'): initrd})
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        # A vCPU in here is a hundred times slower than a real one.
        host.sh('echo 10000 > /sys/module/kvm/parameters/vamp_wakeup_us')
        self.host = host
        self.vm = boot(self.stack, lambda: Guest(
            host, 'guest', smp=SMP,
            extra=['-audiodev', 'none,id=snd',
                   '-device', 'AC97,audiodev=snd',
                   '-device', 'intel-hda,id=hda',
                   '-device', 'hda-output,bus=hda.0,audiodev=snd',
                   '-device', 'virtio-sound-pci,audiodev=snd',
                   '-object', 'vamp-policy,id=vamp0']), None)

        def wrong():
            # HDA's looks for its codecs when the module is loaded already.
            for card in CARDS.values():
                self.pcm(card)
        eventually(functools.partial(self.plain, wrong), PATIENCE_S, 1)

    @staticmethod
    def plain(function):
        """What @function says by Fail, for eventually()."""
        try:
            return function()
        except Fail as e:
            return str(e)

    # --- the guest's view ---------------------------------------------------

    def pcm(self, card):
        """The file of its device in /dev/snd."""
        text = GuestInterrupts(self.need()).read('/proc/asound/cards')
        found = re.search(rf'^ *(\d+) \[.*\]: {card.driver} - ', text, re.M)
        if not found:
            raise Fail(f'no card with the driver {card.driver}:\n{text}')
        return f'pcmC{found[1]}D0p'

    def line(self, card):
        """Its line in /proc/interrupts."""
        lines = [line for line in GuestInterrupts(self.need()).lines()
                 if line.kind == card.kind and re.search(card.text, line.text)
                 and not (card.kind == 'msix' and self.is_serial(line))]
        check(len(lines) == 1, f'not one interrupt of {card}: {lines}')
        return lines[0]

    def is_serial(self, line):
        """Is it the virtio device that carries our commands?"""
        for bus in self.vm.qmp.cmd('query-pci'):
            for dev in bus['devices']:
                if dev['qdev_id'] == 'serial0':
                    return line.address == (f'0000:{dev["bus"]:02x}:'
                                            f'{dev["slot"]:02x}.'
                                            f'{dev["function"]}')
        return False

    def interrupts_go_to(self, card, vcpu):
        """Has the guest's kernel send them there."""
        irq = self.line(card).irq
        self.vm.control(f'write /proc/irq/{irq}/smp_affinity_list {vcpu}')

    # --- QEMU's view ---------------------------------------------------------

    def tracking(self):
        """What is said of the task that plays."""
        return self.need().qmp.cmd('vamp-query')['sound']['tracking']

    def track(self, mode):
        """Sets wakeup-track."""
        self.need().qmp.cmd('qom-set', path='/objects/vamp0',
                            property='wakeup-track', value=mode)

    def named(self):
        """the modules know the registers and the messages that drivers chose"""
        found = self.tracking()
        check(found['active'] and sorted(found['devices']) == [
            'AC97', 'hda (intel-hda)', 'virtio-sound-pci'], found)
        # Two ranges of AC97, one of each other; a line, a message of HDA's and
        # two of virtio's: neither of these two uses its line.
        check('the modules see 4 ranges of registers and 4 interrupts' in
              found['reason'], found)

    def counted(self, card, vcpu):
        """No interrupt goes unseen, on @vcpu; returns the counters' growth."""
        self.interrupts_go_to(card, vcpu)
        # Where it is sent is looked up once a second.
        first = self.line(card).counts[vcpu]
        eventually(lambda: None if self.line(card).counts[vcpu] > first + 5
                   else f'no interrupts on vCPU {vcpu}', PATIENCE_S, 0.5)
        self.tracking()
        before = self.tracking()
        first = self.line(card).counts[vcpu]

        def wrong():
            more = self.line(card).counts[vcpu] - first
            return None if more >= INTERRUPTS else f'{more} interrupts'
        eventually(wrong, PATIENCE_S, 0.5)
        had = self.line(card).counts[vcpu] - first
        after = self.tracking()
        grew = {key: after[key] - before[key]
                for key in ('interrupts', 'handled', 'accesses', 'fixed',
                            'redirected')}
        diagnose(f'the guest had {had} on vCPU {vcpu}; the modules: {grew}')
        # Of several messages in a row the guest may see one.
        check(grew['interrupts'] >= had, f'{had} interrupts, but {grew}')
        return grew

    def seen(self, name):
        """its interrupts are seen, also when the guest sends them elsewhere"""
        card = CARDS[name]
        self.need().control(f'play {self.pcm(card)} {PLAYER} 0', PATIENCE_S)
        for vcpu in (PLAYER, HANDLER):
            grew = self.counted(card, vcpu)
            check(not card.handler or grew['handled'], f'no handler: {grew}')
            # Linux leaves no choice.
            check(grew['fixed'] and not grew['redirected'], grew)

    def background(self, hogs):
        """The tasks in the background, when they are @hogs."""
        return {t['task'] for t in
                mixed_phase(self.need(), hogs)['background-tasks']}

    def found(self, name):
        """the task that plays is found, and in the background only without"""
        card = CARDS[name]
        vm = self.need()
        # Of a claim that failed before
        vm.control('hogs 0')
        vm.control(f'play {self.pcm(card)} {PLAYER} {BUSY}', PATIENCE_S)
        self.interrupts_go_to(card, HANDLER)
        # What task it is: the one that is busy.
        self.track(0)
        task = busy_task(vm)
        self.track(15)

        def wrong():
            found = self.tracking()
            drives = (found.get('driver'), found.get('playing-vcpu'))
            return None if found.get('task') == task and \
                (not card.player or drives == (task, PLAYER)) else \
                f'{task} plays on vCPU {PLAYER}, found is {found}'
        eventually(wrong, PATIENCE_S, 0.5)
        diagnose(str(self.tracking()))
        check(task not in self.background(1), f'{task} is in the background')
        vm.control('hogs 0')
        vm.control('play off')

    def quiet(self):
        """the host's kernel has nothing to complain of"""
        self.need()
        bad = re.findall(r'^.*(?:WARNING|BUG:|Oops|general protection|'
                         r'scheduling while atomic|stall).*$',
                         self.host.sh('dmesg'), re.M)
        for line in bad:
            diagnose(line)
        check(not bad, f'{len(bad)} lines of dmesg')

    def tests(self):
        """(name, function)"""
        def text(function):
            return function.__doc__.splitlines()[0]
        return [(text(f), f) for f in (self.boot, self.named)] + [
            (f'{name}: {text(f)}', functools.partial(f, name))
            for name in CARDS for f in (self.seen, self.found)] + [
                (text(self.quiet), self.quiet)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(),
                  missing(MODULES) or missing_kmod() or fetched(),
                  [GuestError]))
