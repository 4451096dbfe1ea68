#!/usr/bin/env python3
"""
A Linux guest, and what vamp-query-interrupts says of its interrupts.

Each line of the guest's /proc/interrupts must be a row of the answer that is
unmasked and goes to the guest's effective affinity, and each unmasked row must
be a line: before and after the guest moves what it may move. Once as PCs come
(xAPIC, logical destinations), once with x2APIC and interrupt remapping.

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
sys.path.insert(1, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
from guest_interrupts import GuestInterrupts, key
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import GuestError, Vm, find_qemu, qemu_missing

SMP = 2
BOOT_S = 240
# What Linux gives to the timers of the local APICs (irq_vectors.h).
LOCAL_TIMER_VECTOR = 0xec
DEVICES = [
    '-netdev', 'user,id=n0', '-device', 'virtio-net-pci,id=net0,netdev=n0',
    '-drive', 'if=none,id=d0,file=null-co://,file.size=1M,'
              'file.read-zeroes=on,format=raw',
    '-device', 'virtio-blk-pci,id=blk0,drive=d0',
    '-drive', 'if=none,id=d1,file=null-co://,file.size=1M,'
              'file.read-zeroes=on,format=raw',
    '-device', 'nvme,id=nvme0,drive=d1,serial=vamp',
]
REMAPPING = ['-cpu', 'qemu64,+x2apic',
             '-device', 'intel-iommu,intremap=on,eim=on']


class Suite:
    """The claims about one guest."""

    def __init__(self, stack, name, extra, x2apic):
        self.stack = stack
        self.name = name
        self.extra = extra
        self.x2apic = x2apic
        self.guest = None

    def need(self):
        """The guest, if it came up."""
        if not self.guest or not self.guest.vm.alive():
            raise Fail('no guest runs: see above')
        return self.guest

    def boot(self):
        """It comes up with all of its devices."""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        vm = Vm(self.name, tmp, qemu=find_qemu(), smp=SMP,
                extra=self.extra + DEVICES)
        self.stack.callback(vm.kill)
        vm.start()
        vm.wait_ready(BOOT_S)
        guest = GuestInterrupts(vm)

        def wrong():
            texts = [line.text for line in guest.lines()]
            for name in ('virtio1-input.0', 'virtio2-req.0', 'nvme0q1'):
                if name not in texts:
                    return f'no driver has {name} of {texts}'
            return None
        eventually(wrong, 120)
        self.guest = guest

    def mode(self):
        """The local APICs are in the mode that the guest was made for."""
        info = self.need().query()
        want = 'x2apic' if self.x2apic else 'xapic'
        modes = [a['mode'] for a in info['lapics']]
        if self.x2apic and modes != [want] * SMP:
            raise Skip(f'this guest stays in {modes} mode')
        check(modes == [want] * SMP, modes)
        check(all(a['software-enabled'] for a in info['lapics']), info['lapics'])
        messages = [row for row in info['interrupts']
                    if row['kind'] == 'msix' and not row['masked']]
        check(all(row['remapped'] == self.x2apic for row in messages),
              [row['remapped'] for row in messages])
        check(all(not row['direct'] and row['direct-reason']
                  for row in info['interrupts']), 'a row without a reason')

    def agree(self):
        """Both views agree, line by line."""
        wrong = self.need().disagreement()
        if wrong:
            self.guest.show()
            raise Fail(wrong)

    def timers(self):
        """Each vCPU has the timer of its local APIC."""
        rows = [row for row in self.need().query()['interrupts']
                if row['kind'] == 'lapic' and row['name'] == 'timer']
        check([row['vcpu'] for row in rows] == list(range(SMP)), rows)
        for row in rows:
            check(row['vcpus'] == [row['vcpu']], row)
            check(row['vector'] == LOCAL_TIMER_VECTOR and not row['masked'],
                  row)

    def differs(self, line):
        """How the row of @line differs now: Linux masks what it moves."""
        row = next(r for r in self.guest.query()['interrupts']
                   if key(r) == (line.kind, line.index, line.address))
        now = self.guest.affinity(line.irq)
        return None if set(row.get('vcpus', [])) == now and not row['masked'] \
            else f'{line} goes to {now} in the guest: {row}'

    def moves(self):
        """What the guest moves goes elsewhere, and both say so."""
        guest = self.need()
        moved = []
        for line in guest.lines():
            before = guest.affinity(line.irq)
            to = min(set(range(SMP)) - before)
            path = f'/proc/irq/{line.irq}/smp_affinity_list'
            try:
                guest.vm.control(f'write {path} {to}', 120)
            except GuestError as refusal:
                # The timer, and queues that are bound to their CPUs.
                check(re.search('not permitted|nput/output error',
                                str(refusal)), refusal)
                continue
            check(guest.affinity(line.irq, 'smp_affinity_list') == {to}, line)
            # Without remapping it moves when it comes next.
            if line.text == 'ttyS0':
                guest.vm.control('write /dev/ttyS0 moved', 120)
            eventually(lambda line=line: self.differs(line), 30)
            now = guest.affinity(line.irq)
            if now == {to}:
                moved.append(line.text)
            else:
                # Messages of the IOMMU itself are not remapped.
                check(now == before and
                      (not self.x2apic or line.kind == 'iommu'), (line, now))
        diagnose(f'moved: {", ".join(moved)}')
        # One that comes with each command of ours, and one of the I/O APIC.
        for name in ['virtio0-virtqueues', 'ttyS0']:
            check(name in moved, f'{name} did not move')
        self.agree()

    def counts(self):
        """What QEMU counts of a line is what the guest took."""
        guest = self.need()
        before = {row['index']: row['count']
                  for row in guest.query()['interrupts']
                  if row['kind'] == 'ioapic'}
        took = {line.index: sum(line.counts) for line in guest.lines()
                if line.kind == 'ioapic'}
        check(all(took[pin] <= before[pin] for pin in took), (took, before))

    def table(self):
        """People get the same rows as programs."""
        qmp = self.need().vm.qmp
        text = qmp.cmd('human-monitor-command',
                       command_line='info vamp interrupts')
        rows = self.guest.query()['interrupts']
        for row in rows:
            if row['kind'] in ('msi', 'msix'):
                name = f'{row["kind"]} {row["devices"][0]["address"]} ' \
                       f'{row["index"]}'
            elif row['kind'] == 'lapic':
                name = f'{row["name"]} of vCPU {row["vcpu"]}'
            else:
                name = f'{row["kind"]} {row["index"]}'
            lines = [t for t in text.splitlines()
                     if re.match(re.escape(name) + r'\s', t)]
            check(len(lines) == 1, f'{name}: {lines} of\n{text}')
            check(row.get('vector') is None or
                  re.search(rf'\b{row["vector"]}\b', lines[0]), lines)
        check(f'not direct ({len(rows)}):' in text, text)
        diagnose(text)

    def tests(self):
        """(name, function)"""
        return [(f'{self.name}: {f.__doc__.splitlines()[0]}', f)
                for f in (self.boot, self.mode, self.agree, self.timers,
                          self.moves, self.counts, self.table)]


def both(stack):
    """The tests of both guests."""
    return Suite(stack, 'xapic', [], False).tests() + \
        Suite(stack, 'x2apic', REMAPPING, True).tests()


if __name__ == '__main__':
    sys.exit(main(both, qemu_missing(), [GuestError]))
