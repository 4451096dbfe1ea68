#!/usr/bin/env python3
"""
Linux guests under KVM, with an assigned device, in a host in a box.

What a guest says of its interrupts and what vamp-query-interrupts says agree
with all interrupt controllers in KVM, with the local APICs only, and with none.
One guest has a disk of the host assigned by VFIO (it is emulated one level
below): its interrupts in the host follow the map of vCPUs. The same guest shows
the tracker of stock KVM, and the actuators beside it, at work.

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
from background import follows_hog, hog_task, mixed_phase, vcpu_weights
from guest_interrupts import GuestInterrupts, cpus
from nested import Guest, Host, boot, missing
from tap import Fail, check, diagnose, eventually, main
from vamp_guest import GuestError

SMP = 2
MODULES = ['kvm-amd', 'vfio-pci', 'vfio-iommu-type1', 'tun', 'vhost-net']
# Of the host; its only NVMe, so its address is found by its class.
DISK = ['-drive', 'if=none,id=d0,file=null-co://,file.size=1M,'
                  'file.read-zeroes=on,format=raw',
        '-device', 'nvme,id=nvme0,drive=d0,serial=vamp']
NVME_CLASS = '0x010802'
# Carried by KVM alone where it can be: a network card of the host's kernel, a
# disk of an IOThread.
DEVICES = [
    '-netdev', 'tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=on',
    '-device', 'virtio-net-pci,id=net0,netdev=n0',
    '-object', 'iothread,id=io0',
    '-drive', 'if=none,id=d0,file=null-co://,file.size=1M,'
              'file.read-zeroes=on,format=raw',
    '-device', 'virtio-blk-pci,id=blk0,drive=d0,iothread=io0',
]
# Their lines where the guest has MSI-X.
MSIX = ['virtio1-input.0', 'virtio2-req.0']
# What needs a local APIC in KVM goes with it.
NO_APIC = 'host,-apic,-kvm-asyncpf,-kvm-asyncpf-int,-kvm-pv-eoi'
# The group of the guests' QEMU.
CGROUPS = '/sys/fs/cgroup'
GROUP = f'{CGROUPS}/vm'
# Has the disk's driver in the guest ask it something.
RESCAN = '/sys/class/nvme/nvme0/rescan_controller'
# vCPU 0 on CPU 1 and the reverse: nothing is there by chance.
MAP = {0: 1, 1: 0}


def vectors(rows, device):
    """Rows of messages of the device with this id or type."""
    return [row for row in rows if row['kind'] in ('msi', 'msix') and
            device in (row['devices'][0].get('id'), row['devices'][0]['type'])]


class Suite:
    """The claims; the host and the guest that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.guest = None
        self.disk = None

    def on(self):
        """The host, if it came up."""
        if not self.host or not self.host.alive():
            raise Fail('no host runs: see above')
        return self.host

    def need(self):
        """The guest, if it came up."""
        self.on()
        if not self.guest or not self.guest.vm.alive():
            raise Fail('no guest runs: see above')
        return self.guest

    def boot(self):
        """the host has KVM, and a disk that is free for a guest"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        host = Host('host', tmp, modules=MODULES, smp=SMP, extra=DISK)
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        check('\nkvm_amd' in host.sh('lsmod'), host.last_words())
        devices = '/sys/bus/pci/devices'
        self.disk = host.sh(
            f"grep -l {NVME_CLASS} {devices}/*/class").split('/')[-2]
        here = f'{devices}/{self.disk}'
        host.sh(f'echo {self.disk} > {here}/driver/unbind; '
                f'echo vfio-pci > {here}/driver_override; '
                f'echo {self.disk} > /sys/bus/pci/drivers_probe; '
                f'readlink {here}/driver | grep -w vfio-pci')
        host.sh(f'echo +cpu > {CGROUPS}/cgroup.subtree_control; mkdir {GROUP}')
        self.host = host

    def start(self, irqchip, drivers, extra=(), smp=SMP):
        """A guest, and words of its /proc/interrupts when it is complete."""
        host = self.on()
        self.end()
        vm = boot(self.stack, lambda: Guest(
            host, irqchip, smp=smp, machine=f'q35,kernel-irqchip={irqchip}',
            extra=DEVICES + list(extra)), GROUP,
                  lambda: host.sh('ip link set tap0 up'))
        guest = GuestInterrupts(vm)

        def wrong():
            text = guest.read('/proc/interrupts')
            missing = [d for d in drivers if not re.search(rf'\b{d}\b', text)]
            return f'no driver has {missing} of\n{text}' if missing else None
        eventually(wrong, 300, 1)
        self.guest = guest

    def end(self):
        """Ends the guest: there is one tap0, and one disk."""
        if self.guest:
            self.guest.vm.kill()
            self.guest = None

    # --- all interrupt controllers in KVM, an assigned device --------------

    def kernel(self):
        """a guest with all interrupt controllers in KVM comes up"""
        text = ','.join(f'{v}-{c}' for v, c in MAP.items())
        self.start('on', MSIX + ['nvme0q1'],
                   ['-device', f'vfio-pci,id=disk0,host={self.disk}',
                    '-object', f'osnet-cpumap,id=map0,map={text},'
                               'irq-affinity=follow',
                    '-object', 'vamp-policy,id=vamp0,tracker=sample'])

    def agree(self):
        """both views of its interrupts agree, line by line"""
        guest = self.need()
        try:
            # The two are read one after the other, and a pin of the 8259 is
            # masked while the guest serves it: agreement once is agreement.
            eventually(guest.disagreement, 30, 0.2)
        except Fail:
            guest.show()
            raise

    def move(self, text, trigger):
        """
        The guest moves the interrupt @text to its other CPU; @trigger has it
        come, which is when Linux moves one that is not remapped.
        """
        guest = self.need()
        line = next(line for line in guest.lines() if line.text == text)
        to = min(set(range(SMP)) - guest.affinity(line.irq))
        guest.vm.control(f'write /proc/irq/{line.irq}/smp_affinity_list {to}')

        def wrong():
            guest.vm.control(trigger)
            now = guest.affinity(line.irq)
            return None if now == {to} else f'{line} is on {now} still'
        eventually(wrong, 60)

    def moves(self):
        """they agree after the guest has moved an interrupt"""
        self.move('virtio0-virtqueues', 'ping')
        self.agree()

    def irqchip(self, irqchip, injection):
        """The head of the answer is about this KVM."""
        info = self.need().query()
        check(info['irqchip'] == irqchip, info['irqchip'])
        check(info['injection'] == injection,
              f"{info['injection']}: {info['injection-reason']}")
        check(info['injection-reason'], 'no reason')
        return info

    def delivered(self, rows, device, how):
        """All unmasked vectors of @device are delivered like this."""
        found = [row for row in vectors(rows, device) if not row['masked']]
        check(found, f'{device} has no vector in use')
        for row in found:
            check(row['delivery'] == how and not row['direct'] and
                  row['direct-reason'], row)
            check(('gsi' in row) == (how == 'irqfd'), row)
        return found

    def irqfd(self):
        """KVM alone carries those of vhost and of an IOThread, by irqfd"""
        rows = self.irqchip('kernel', 'exit')['interrupts']
        self.delivered(rows, 'net0', 'irqfd')
        self.delivered(rows, 'blk0', 'irqfd')
        self.delivered(rows, 'virtio-serial-pci', 'kvm')

    def host_irqs(self):
        """{vector: row}: rows of the assigned disk, which the host knows."""
        rows = self.delivered(self.need().query()['interrupts'], 'disk0',
                              'irqfd')
        for row in rows:
            check(row['devices'][0]['host'] == self.disk, row)
            check('host' in row, row.get('host-reason'))
        return {row['index']: row for row in rows}

    def assigned(self):
        """the assigned disk's rows have the host's interrupt, and why not direct"""
        rows = self.host_irqs()
        check(len(rows) == SMP + 1, rows)
        text = self.on().sh('cat /proc/interrupts')
        for vector, row in rows.items():
            line = re.search(rf'^\s*{row["host"]["irq"]}:.*$', text, re.M)
            check(line and f'vfio-msix[{vector}]({self.disk})' in line[0],
                  f'{row} is not in the host\'s\n{text}')
            check('does not deliver it directly yet' in row['direct-reason'],
                  row)
        diagnose(self.guest.vm.qmp.cmd('human-monitor-command',
                                       command_line='info vamp interrupts'))

    def counted(self):
        """its count in the host grows with the guest's reads"""
        before = sum(r['host']['count'] for r in self.host_irqs().values())
        self.guest.read('/dev/nvme0n1')
        after = sum(r['host']['count'] for r in self.host_irqs().values())
        check(after > before, f'{before} before, {after} after')

    def where(self, irq):
        """(set, effective) affinity in the host."""
        folder = f'/proc/irq/{irq}/'
        return tuple(cpus(self.host.sh(f'cat {folder}{name}')) for name in
                     ('smp_affinity_list', 'effective_affinity_list'))

    def follows(self, mapping):
        """None if each host interrupt is where its vCPU is."""
        for row in self.host_irqs().values():
            want = {mapping[row['vcpus'][0]]}
            found = self.where(row['host']['irq'])
            if found != (want, want):
                return f'{row}: the host has it on {found}'
            if not row['host']['moved']:
                return f'{row} is not said to be moved'
        return None

    def follow(self):
        """irq-affinity=follow: the host takes them where the vCPU is"""
        eventually(lambda: self.follows(MAP), 60, 1)
        info = self.guest.query()['follow']
        check(info['active'] and info['moved'] == SMP + 1 and
              not info['problems'], info)
        targets = {row['vcpus'][0] for row in self.host_irqs().values()}
        check(targets == set(range(SMP)), f'only vCPUs {targets} take any')

    def follow_guest(self):
        """they follow when the guest moves one"""
        before = {v: self.where(row['host']['irq'])
                  for v, row in self.host_irqs().items()}
        self.move('nvme0q0', f'write {RESCAN} 1')
        eventually(lambda: self.follows(MAP), 60, 1)
        check(self.where(self.host_irqs()[0]['host']['irq']) != before[0],
              'the host has it where it was')

    def follow_map(self):
        """they follow a new map"""
        new = {vcpu: 1 - cpu for vcpu, cpu in MAP.items()}
        check(self.follows(new), 'they are there already')
        self.guest.vm.qmp.cmd('vamp-set-cpumap', map=[
            {'vcpu': vcpu, 'cpu': cpu} for vcpu, cpu in new.items()])
        eventually(lambda: self.follows(new), 60, 1)

    def pinned(self):
        """the map is in force: affinity of each vCPU's thread in the host"""
        vm = self.need().vm
        info = vm.qmp.cmd('vamp-query-cpumap')
        check(info['enabled'], info)
        mapping = {pair['vcpu']: pair['cpu'] for pair in info['map']}
        for vcpu, tid in enumerate(vm.vcpu_tids()):
            text = self.host.sh(f'cat /proc/{vm.pid}/task/{tid}/status')
            allowed = re.search(r'Cpus_allowed_list:\s*(\S+)', text)[1]
            check(cpus(allowed) == {mapping[vcpu]}, (vcpu, allowed))

    def restored(self):
        """object-del puts all of them back"""
        irqs = [row['host']['irq'] for row in self.host_irqs().values()]
        self.guest.vm.qmp.cmd('object-del', id='map0')
        for irq in irqs:
            check(self.where(irq)[0] == set(range(SMP)),
                  (irq, self.where(irq)))
        check(not any(row['host']['moved']
                      for row in self.host_irqs().values()), 'still moved')

    # --- the tracker of stock KVM ------------------------------------------

    def sample(self):
        """tracker sample: it finds the task that burns the CPU"""
        vm = self.need().vm
        hog_task(vm)
        info = vm.qmp.cmd('vamp-query')
        check(info['tracker']['active'] == 'sample', info['tracker'])
        check(info['phase'] == 'mixed', info)
        check(info['actuator']['active'] == 'cgroup', info['actuator'])

    def weights(self):
        """its vCPU has the background's weight in the host"""
        vm = self.need().vm
        follows_hog(vm, lambda: vcpu_weights(vm, GROUP), 33, 99)

    def apart(self):
        """tracker sample: it tells two tasks apart"""
        tasks = {t['task'] for t in
                 mixed_phase(self.need().vm, 2)['background-tasks']}
        check(len(tasks) == 2, tasks)

    def undone(self):
        """object-del leaves no group and no sampling behind"""
        vm = self.need().vm
        vm.qmp.cmd('object-del', id='vamp0')
        vm.control('hogs 0')
        left = self.host.sh(f'ls -d {GROUP}/*/ || true')
        check('vamp-' not in left, left)
        timers = self.host.sh(f'cat /proc/{vm.pid}/timers')
        check(not timers, timers)

    # --- the host loses a CPU -------------------------------------------------

    def offline(self):
        """a CPU of the map goes offline in use: the query tells, the guest runs"""
        vm = self.need().vm
        switch = '/sys/devices/system/cpu/cpu1/online'
        vm.qmp.cmd('object-add', qom_type='osnet-cpumap', id='map0',
                   map=','.join(f'{v}-{c}' for v, c in MAP.items()))

        def told():
            info = vm.qmp.cmd('vamp-query-cpumap')
            cpu = next(c for c in info['cpus'] if c['cpu'] == 1)
            thread = next(t for t in info['threads']
                          if t.get('vcpu') in cpu['vcpus'])
            return cpu['online'], thread['reason']
        check(told() == (True, 'as mapped'), told())
        self.host.sh(f'echo 0 > {switch}')
        try:
            check(told() == (False, 'its host CPU is offline'), told())
            self.guest.read('/proc/uptime')
        finally:
            self.host.sh(f'echo 1 > {switch}')
        vm.qmp.cmd('vamp-set-cpumap', map=[
            {'vcpu': vcpu, 'cpu': cpu} for vcpu, cpu in MAP.items()])
        check(told() == (True, 'as mapped'), told())
        vm.qmp.cmd('object-del', id='map0')

    # --- the other places of the controllers ---------------------------------

    def split(self):
        """a guest with its local APICs in KVM comes up"""
        self.start('split', MSIX + ['nvme0q1'],
                   ['-device', f'vfio-pci,id=disk0,host={self.disk}'])

    def split_ways(self):
        """split: KVM carries messages, QEMU asks KVM for pins"""
        rows = self.irqchip('split', 'exit')['interrupts']
        for device in ('net0', 'blk0', 'disk0'):
            self.delivered(rows, device, 'irqfd')

    def off(self):
        """a guest without any controller in KVM comes up"""
        # QEMU 10.0 leaves no local APIC to itself beside KVM: one vCPU without.
        self.start('off', ['virtio1', 'virtio2'], ['-cpu', NO_APIC], 1)

    def off_ways(self):
        """off: QEMU carries all of them, by the 8259"""
        rows = self.irqchip('emulated', 'exit')['interrupts']
        rows = [row for row in rows if not row['masked']]
        check({row['kind'] for row in rows} == {'pic'}, rows)
        check(all(row['delivery'] == 'emulated' for row in rows), rows)

        def wrong():
            # A pin is masked for as long as the guest serves it
            rows = [row for row in self.guest.query()['interrupts']
                    if not row['masked']]
            found = [d.get('id') for row in rows for d in row['devices']]
            missing_rows = {'net0', 'blk0', 'serial0'} - set(found)
            return f'no row of {missing_rows}: {rows}' if missing_rows else None
        eventually(wrong, 60, 0.2)

    def tests(self):
        """(name, function)"""
        def name(prefix, function):
            return prefix + function.__doc__.splitlines()[0], function

        return [name('', f) for f in (
            self.boot, self.kernel, self.irqfd, self.agree, self.moves,
            self.assigned, self.counted, self.pinned, self.follow,
            self.follow_guest, self.follow_map,
            self.restored, self.sample, self.weights, self.apart, self.undone,
            self.offline, self.split, self.split_ways)] + \
            [name('split: ', self.agree)] + \
            [name('', f) for f in (self.off, self.off_ways)] + \
            [name('off: ', self.agree)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), missing(MODULES),
                  [GuestError]))
