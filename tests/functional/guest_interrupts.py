"""
Two views of a Linux guest's interrupts, and whether they agree: the guest's
own, in /proc/interrupts and /proc/irq, and what vamp-query-interrupts says.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import re

from tap import Fail, diagnose

Line = collections.namedtuple('Line', 'irq counts kind index address level text')
MSI = re.compile(r'(?:IR-)?PCI-(MSIX?)-([0-9a-f:.]+)\s+(\d+)-edge\s+(.*)')
IOMMU = re.compile(r'DMAR-MSI\s+(\d+)-edge\s+(.*)')
PIC = re.compile(r'XT-PIC\s+(.*)')
IOAPIC = re.compile(r'(?:IR-)?IO-APIC\s+(\d+)-(edge|fasteoi)\s+(.*)')


def guest_file(vm, path):
    """The text of a file of the guest."""
    text = ''
    offset = 0
    while True:
        part = vm.control(f'read {offset} {path}', 120)[1:-1]
        if not part:
            return text
        part = re.sub(r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1], part)
        text += part
        offset += len(part)


def parse(text):
    """Lines of /proc/interrupts that have a number."""
    lines = []
    for row in text.splitlines():
        match = re.match(r'\s*(\d+):((?:\s+\d+)+)\s+(.*)', row)
        if not match:
            continue
        counts = [int(c) for c in match[2].split()]
        msi = MSI.match(match[3])
        pin = IOAPIC.match(match[3])
        iommu = IOMMU.match(match[3])
        pic = PIC.match(match[3])
        if msi:
            lines.append(Line(int(match[1]), counts, msi[1].lower(),
                              int(msi[3]), msi[2], False, msi[4]))
        elif pin:
            lines.append(Line(int(match[1]), counts, 'ioapic', int(pin[1]),
                              None, pin[2] == 'fasteoi', pin[3]))
        elif iommu:
            lines.append(Line(int(match[1]), counts, 'iommu', int(iommu[1]),
                              None, False, iommu[2]))
        elif pic:
            # The two of them are one source; how it is triggered is not said.
            if pic[1] != 'cascade':
                lines.append(Line(int(match[1]), counts, 'pic', int(match[1]),
                                  None, None, pic[1]))
        else:
            raise Fail(f'a line of an unknown kind: {row}')
    return lines


def key(row):
    """What a row and a line have in common."""
    address = None
    if row['kind'] in ('msi', 'msix'):
        address = row['devices'][0]['address']
    return row['kind'], row['index'], address


def cpus(text):
    """{0, 1, 2} of "0-1,2"."""
    found = set()
    for part in filter(None, text.strip().split(',')):
        first, _, last = part.partition('-')
        found.update(range(int(first), int(last or first) + 1))
    return found


class GuestInterrupts:
    """A guest, and both views of its interrupts."""

    def __init__(self, vm):
        self.vm = vm

    def read(self, path):
        """The text of a file of the guest."""
        return guest_file(self.vm, path)

    def lines(self):
        """What the guest says."""
        return parse(self.read('/proc/interrupts'))

    def affinity(self, irq, name='effective_affinity_list'):
        """CPUs of the guest that take its interrupt @irq."""
        return cpus(self.read(f'/proc/irq/{irq}/{name}'))

    def query(self):
        """What QEMU says."""
        return self.vm.qmp.cmd('vamp-query-interrupts')

    def disagreement(self):
        """The first line that differs, or None."""
        info = self.query()
        rows = {key(row): row for row in info['interrupts']
                if row['kind'] in ('msi', 'msix', 'ioapic', 'iommu', 'pic')}
        lines = {(line.kind, line.index, line.address): line
                 for line in self.lines()}
        for name, line in lines.items():
            row = rows.get(name)
            if not row:
                return f'the guest has {line}, the table has not'
            if row['masked']:
                return f'the guest uses {line}, the table has it masked'
            if line.level not in (None, row['level']):
                return f'{line} is not {row}'
            # The 8259 has one output, which the first CPU takes.
            want = {0} if line.kind == 'pic' else self.affinity(line.irq)
            if set(row.get('vcpus', [])) != want:
                return f'{line} goes to CPUs {want} in the guest, to ' \
                       f'{row.get("vcpus")} in the table: {row}'
        for name, row in rows.items():
            if not row['masked'] and name not in lines:
                return f'the table has {row}, the guest has not'
        return None

    def show(self):
        """Both, for people."""
        diagnose(self.read('/proc/interrupts'))
        for row in self.query()['interrupts']:
            diagnose(f'{row["kind"]} {row.get("name") or row["index"]} '
                     f'{[d.get("id", d["type"]) for d in row["devices"]]} '
                     f'vector {row.get("vector")} vCPUs {row.get("vcpus")}'
                     f'{" masked" if row["masked"] else ""}')
