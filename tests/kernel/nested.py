"""
A KVM host in a box, and guests under its KVM.

  Host    a stock Linux with KVM (L1) in our QEMU; TCG emulates AMD's SVM for it
  Guest   a guest (L2) of that host: our QEMU, run inside, as a Vm like any other

A machine that cannot run a Linux guest under KVM itself, which is most build
machines, can so run all of QEMU's KVM code with a real kernel below and above.

    with contextlib.ExitStack() as stack:
        host = Host('host', tmp, modules=[...], files={...})
        stack.callback(host.kill)
        host.start()
        host.wait_ready()
        host.sh('echo 1 > /proc/sys/...')
        guest = Guest(host, 'guest')
        guest.start()
        guest.wait_ready()
        guest.qmp.cmd('query-status')

QMP, control and answer ports of a guest go through ports of the host: each is
a unix socket here, a virtio-serial port there, and a chardev of the guest's QEMU.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[1:1] = [os.path.join(TOP, 'tests'),
                 os.path.join(TOP, 'tests', 'functional')]
# pylint: disable=wrong-import-position
from tap import diagnose
from vamp_guest import BUILD, GuestError, Lines, Qmp, QmpError, Vm, find_qemu
from vdi_guest import libraries

MODULES = os.path.join(BUILD, 'kernel', 'modules')
# Ours, of `make kmod`, and where a Host has them beside the stock ones
KMOD = os.path.join(BUILD, 'kmod')
KMOD_HOST = 'kmod'
BUSYBOX = '/bin/busybox'
# What the guest's QEMU loads; the folders are where it looks in both worlds.
FIRMWARE = ['bios-256k.bin', 'kvmvapic.bin', 'linuxboot_dma.bin',
            'efi-virtio.rom']
FIRMWARE_DIRS = ['/usr/share/seabios', '/usr/share/qemu', '/usr/lib/ipxe/qemu']
# Boots in 6 s on a quiet machine, a guest in it in 17 s; nothing is quiet here.
HOST_BOOT_S = 300
GUEST_BOOT_S = 600
# One boot in fifteen got stuck while QEMU's VMRUN injected interrupts twice (see
# upstream/patches/qemu/0011-fix-svm-inject-once.patch), none since. What a
# guest that is started again said last is told. A quiet machine needs 15 s.
STUCK_S = 200
BOOT_TRIES = 3
LOOK_S = 5
# A panic in an interrupt's handler takes so many with its two traces.
PANIC_LINES = 80
# A command of QMP or of a port in it.
COMMAND_S = 120


def find_module(name):
    """The file of the kernel's module @name, or None."""
    pattern = re.compile(re.sub('[-_]', '[-_]', name) + r'\.ko(\.\w+)?$')
    for folder, _, files in os.walk(MODULES):
        for file in files:
            if pattern.match(file):
                return os.path.join(folder, file)
    return None


def missing(modules=()):
    """Why no host can be made with @modules here, or None."""
    if not os.access(BUSYBOX, os.X_OK):
        return f'{BUSYBOX} is missing (package busybox-static)'
    if not os.path.isdir(MODULES):
        return f'{MODULES} is missing: the kernel was given without its ' \
               'modules (KERNEL_MODULES=DIR)'
    for name in modules:
        if not find_module(name):
            return f'the kernel has no module {name}'
    return None


def missing_kmod():
    """Why the companion modules cannot be tried here, or None."""
    for name in ('kvm', 'kvm-amd'):
        if not os.path.exists(os.path.join(KMOD, f'{name}.ko')):
            return f'{KMOD}/{name}.ko is missing: make kmod'
    with open(os.path.join(KMOD, 'stamp'), encoding='ascii') as f:
        theirs = f.read().strip()
    with open(os.path.join(BUILD, 'kernel', 'stamp'), encoding='utf-8') as f:
        kernel = f.read().strip()
    # A kernel that was given says no version: then loading them decides.
    if kernel.startswith('package ') and not kernel.endswith('-' + theirs):
        return f'{KMOD} is for {theirs}, the kernel is of {kernel}'
    return None


def kmod_files():
    """{place in the host: file} of the companion modules."""
    return {f'{KMOD_HOST}/{name}.ko': os.path.join(KMOD, f'{name}.ko')
            for name in ('kvm', 'kvm-amd')}


def folder_of_kmod(rundir):
    """Our modules and nothing else, in @rundir: beside them are the objects."""
    folder = os.path.join(rundir, 'kmod')
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(KMOD):
        if name.endswith('.ko'):
            os.symlink(os.path.join(KMOD, name), os.path.join(folder, name))
    return folder


def program(path):
    """{place in the host: file} of a program and its shared libraries."""
    found = {path.lstrip('/'): path}
    for library in libraries(path):
        found[library.lstrip('/')] = os.path.realpath(library)
    return found


def qemu_files(tmp):
    """The same of our QEMU, stripped, with the firmware that a guest needs."""
    stripped = os.path.join(tmp, 'qemu-system-x86_64')
    subprocess.run(['strip', '-o', stripped, os.path.realpath(find_qemu())],
                   check=True)
    found = program(stripped)
    found[Guest.QEMU.lstrip('/')] = found.pop(stripped.lstrip('/'))
    for name in FIRMWARE:
        for folder in FIRMWARE_DIRS:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                found[path.lstrip('/')] = os.path.realpath(path)
                break
    return found


def in_steps(wait, timeout, alive):
    """wait(seconds) until it does not fail; no longer than @timeout in all, and
    not for what is not alive()."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            wait(min(timeout, LOOK_S))
            return
        except GuestError:
            if time.monotonic() > deadline or not alive():
                raise


class Host(Vm):
    """
    The host in a box.

    @modules   of its kernel, loaded at boot in this order; kvm-amd is one of them
    @files     {place without leading slash: file of this machine}, beside QEMU
               and what the guests boot
    @guests    how many Guests may be made of it; 0: it has no QEMU
    @kmod      KVM's modules are those of `make kmod`, not the stock ones
    @icount    its clock counts instructions, two ns each, whatever else this
               machine does; all its CPUs take turns
    The other arguments as for Vm.
    """

    PORTS = ('qmp', 'control', 'answer')
    # Its processors can be asked where they were when it died: of a kernel's
    # panic the console tells, of a triple fault nothing does.
    END = ['-action', 'reboot=shutdown,shutdown=pause']
    ICOUNT = ['-icount', 'shift=1,sleep=off', '-seed', '1',
              '-rtc', 'base=2026-01-01,clock=vm']
    # Reads of an x2APIC's timer are not where a clock that counts may be read:
    # "Bad icount read".
    ICOUNT_APPEND = ' nokaslr norandmaps nox2apic'

    def __init__(self, name, rundir, modules=(), files=None, guests=8, smp=2,
                 memory=2048, extra=(), append='', kmod=False, icount=False):
        if icount:
            extra = self.ICOUNT + list(extra)
            append += self.ICOUNT_APPEND
        self.rundir = rundir
        self.kmod = kmod
        self.modules = list(modules)
        self.files = dict(files or {})
        self.free = list(range(guests))
        super().__init__(
            name, rundir, smp=smp, memory=memory,
            initrd=os.path.join(rundir, name + '.cpio'),
            extra=self._machine(rundir, name, guests) + list(extra),
            append=f'intel_iommu=on {append}')
        if icount:
            self.accel = 'tcg,thread=single'
        self._serial = 0
        self._died = None

    @staticmethod
    def _machine(rundir, name, guests):
        """A processor with SVM, an IOMMU, and the ports of the guests."""
        # x2APIC IDs and VFIO both need the IOMMU.
        args = ['-cpu', 'EPYC-v4,+svm,+x2apic',
                '-device', 'intel-iommu,intremap=on,eim=on']
        for n in range(guests):
            for k, port in enumerate(Host.PORTS):
                key = f'g{n}{port}'
                path = os.path.join(rundir, f'{name}.{key}')
                nr = Host.port_number(n, k)
                args += ['-chardev', Vm.chardev(key, path),
                         '-device', f'virtserialport,bus=serial0.0,nr={nr},'
                                    f'chardev={key},name={key}']
        return args

    @staticmethod
    def port_number(guest, port):
        """Number of a virtio-serial port; Vm itself has 1 and 2."""
        return 3 + guest * len(Host.PORTS) + port

    def pack(self):
        """Makes the initramfs."""
        files = {'bin/busybox': BUSYBOX,
                 Guest.KERNEL.lstrip('/'): self.kernel,
                 Guest.INITRD.lstrip('/'): os.path.join(BUILD, 'guest',
                                                        'initramfs.gz')}
        if self.free:
            files.update(qemu_files(self.rundir))
        files.update(self.files)
        args = [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-u',
                '-i', os.path.join(HERE, 'host-init'), '-o', self.initrd]
        for folder in ([folder_of_kmod(self.rundir)] if self.kmod else []) + \
                [MODULES]:
            args += ['-k', folder]
        for name in self.modules:
            args += ['-m', name]
        for place, file in files.items():
            if not os.path.exists(file):
                raise GuestError(f'{file} is missing: make -C tests/functional')
            args.append(f'{file}:{place}')
        subprocess.run(args, check=True)

    def start(self, cpus=None, group=None, user=None):
        self.pack()
        super().start(cpus, group, user)

    def wait_ready(self, timeout=HOST_BOOT_S):
        in_steps(super().wait_ready, timeout, self.alive)

    def alive(self):
        return super().alive() and not self.died()

    def died(self):
        """Of what, and where its processors were; or None."""
        if self.qmp and not self._died:
            try:
                event = self.qmp.event('SHUTDOWN')
                if event:
                    self._died = f'{event["data"]["reason"]}: ' + \
                        self.cpus_say()
            except GuestError as e:
                self._died = str(e)
        return self._died

    def exit_status(self):
        # A QEMU that was killed has closed its socket, too.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._proc.wait(2)
        status = super().exit_status()
        return self.died() if status is None else status

    def _has_ended(self):
        return GuestError(f'{self.name} has ended: {self.exit_status()}. '
                          f'It said:\n{self.last_words(PANIC_LINES)}')

    def run(self, command, timeout=60):
        """Runs @command in the host's shell; returns (exit status, output)."""
        self._serial += 1
        mark = f'@{self._serial}@'
        try:
            self._control.send(f'( {command}\n) < /dev/null 2>&1; '
                               f"printf '\\n{mark} %d\\n' $?\n")
        except ConnectionError:
            raise self._has_ended() from None
        lines = []
        deadline = time.monotonic() + timeout
        while True:
            left = max(deadline - time.monotonic(), 0)
            try:
                line = self._control.line(min(left, LOOK_S))
            except (EOFError, ConnectionError):
                raise self._has_ended() from None
            if line is None and not self.alive():
                raise self._has_ended()
            if line is None and left > LOOK_S:
                continue
            if line is None:
                raise GuestError(f'{self.name} did not end "{command}" within '
                                 f'{timeout} s. It said:\n' +
                                 '\n'.join(lines) + self.last_words())
            if line.startswith(mark):
                # The mark begins with a newline of its own.
                if lines and not lines[-1]:
                    lines.pop()
                return int(line.split()[1]), '\n'.join(lines)
            lines.append(line)

    def sh(self, command, timeout=60):
        """The output of @command, which must succeed."""
        status, output = self.run(command, timeout)
        if status:
            raise GuestError(f'{self.name}: "{command}" ended with {status}:\n'
                             f'{output}')
        return output


    def swap_kvm(self, ours):
        """Loads the companion modules in place of the kernel's own, or these
        again. No guest may run."""
        self.sh('rmmod kvm_amd && rmmod kvm')
        kvm, amd = (f'/{KMOD_HOST}/kvm.ko', f'/{KMOD_HOST}/kvm-amd.ko') \
            if ours else ('/modules/kvm.ko', '/modules/kvm_amd.ko')
        self.sh(f'insmod {kvm} && insmod {amd}')


class GuestQmp(Qmp):
    """QMP of a Guest, which says what its QEMU does when it does not answer."""

    def __init__(self, guest):
        self._guest = guest
        super().__init__(guest.qmp_path, guest.alive, COMMAND_S, guest.launch)

    def cmd(self, command, _timeout=None, **arguments):
        try:
            return super().cmd(command, _timeout, **arguments)
        except QmpError:
            raise
        except GuestError as e:
            raise GuestError(f'{self._guest.threads_say()}\n{e}') from None


class Guest(Vm):
    """
    A guest of @host. Paths are the host's; else the arguments are Vm's.
    """

    QEMU = '/usr/bin/qemu-system-x86_64'
    KERNEL = '/guest/vmlinuz'
    INITRD = '/guest/initramfs.gz'

    def __init__(self, host, name, accel='kvm', smp=2, memory=256,
                 machine='q35', extra=(), append=''):
        if not host.free:
            raise GuestError(f'{host.name} was made for no more guests')
        self.host = host
        self._number = host.free.pop(0)
        super().__init__(name, '/run', qemu=self.QEMU, kernel=self.KERNEL,
                         initrd=self.INITRD, accel=accel, smp=smp,
                         memory=memory, machine=machine, extra=extra,
                         append=append)
        base = os.path.join(host.rundir, f'{host.name}.g{self._number}')
        self.qmp_path, self.control_path, self.answer_path = \
            (base + port for port in host.PORTS)
        self._pid = None
        self._group = None

    def chardev(self, name, path):
        """In place of a socket, a port of the host."""
        port = Host.port_number(self._number,
                                ('qmp', 'ctl', 'ans').index(name))
        return f'pipe,id={name},path=/dev/vport0p{port}'

    @property
    def pid(self):
        """In the host."""
        return self._pid

    def start(self, cpus=None, group=None, user=None):
        """Starts QEMU in the host, in its cgroup @group; not on certain CPUs
        and not as another user."""
        assert cpus is None and user is None
        # First our ends: a port that nobody holds open has ended for QEMU.
        self._control = Lines(self.control_path, self.host.alive)
        try:
            self._group = group
            self.qmp = GuestQmp(self)
        except GuestError as e:
            raise GuestError(f'{self.name}: QEMU did not start: '
                             f'{self.last_words() or e}') from None

    def launch(self):
        """Runs its QEMU, of which our ends of the ports hear."""
        join = f'echo 0 > {self._group}/cgroup.procs && ' if self._group else ''
        command = ' '.join(shlex.quote(a) for a in self.args())
        self._pid = int(self.host.sh(
            f'({join}exec {command}) < /dev/null > {self.errors} 2>&1 & '
            'echo $!'))

    def alive(self):
        return self._pid is not None and self.host.alive() and \
            self.host.run(f'kill -0 {self._pid}')[0] == 0

    def control(self, command, timeout=COMMAND_S):
        return super().control(command, timeout)

    def exit_status(self):
        return 'unknown'

    def wait_ready(self, timeout=GUEST_BOOT_S):
        # The port does not tell that its QEMU has ended.
        in_steps(super().wait_ready, timeout, self.alive)

    def threads_say(self):
        """Where in the host's kernel each thread of its QEMU is."""
        return self.host.run(
            f'for t in /proc/{self._pid}/task/*; do echo $t $(cat $t/comm) '
            '$(cut -d " " -f 3 $t/stat) $(cat $t/schedstat $t/syscall); '
            'cat $t/stack; done')[1]

    def last_words(self, lines=24):
        return self.host.run(f'tail -n {lines} {self.errors} {self.console}')[1]

    def kill(self):
        for closing in (self.qmp, self._control):
            if closing:
                closing.close()
        self.qmp = self._control = None
        if self._pid is not None and self.host.alive():
            self.host.run(f'kill -9 {self._pid}; '
                          f'while kill -0 {self._pid}; do usleep 20000; done')
        self._pid = None


def boot(stack, make, group, meanwhile=lambda: None):
    """
    The guest that make() returns, in its cgroup @group and ready; another one
    if it gets stuck. @meanwhile is called when its QEMU runs.
    """
    for left in reversed(range(BOOT_TRIES)):
        vm = make()
        stack.callback(vm.kill)
        vm.start(group=group)
        meanwhile()
        try:
            vm.wait_ready(STUCK_S if left else GUEST_BOOT_S)
            return vm
        except GuestError as e:
            if not left:
                raise
            diagnose(f'{e}\nagain')
            vm.kill()
    return None
