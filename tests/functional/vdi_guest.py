"""
A test guest with vdiguest in it, and what to ask it.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import re
import signal
import subprocess

# pylint: disable=wrong-import-position
import tap
from vamp_guest import BUILD, TOP, GuestError, Vm, find_qemu

VDIGUEST = os.path.join(BUILD, 'bin', 'vdiguest')
PROGRAM = '/vdi/vdiguest'
MEMORY_MB = 768
CGROUP = '/sys/fs/cgroup'
MODULES = ['evdev', 'virtio_input', 'virtio_blk', 'virtio_net']
# Enough for all that a busy host may do to an emulated guest.
PATIENCE_S = 120
HINTS_PORT = 'org.vamp.hints.0'
SUSPENDED = '/sys/power/suspend_stats/success'
KEYBOARD_WAKES = '/sys/devices/platform/i8042/serio0/power/wakeup'
KEY_S = 3       # until the next is tried
# A disk of its own
SWAP = 'vda'
# Old TCGs of a host's own hypervisor crash a guest's boot now and then.
BOOTS = 3


def missing():
    """Why nothing can be tried here, or None."""
    for path in (VDIGUEST, find_qemu(),
                 os.path.join(BUILD, 'kernel', 'vmlinuz'),
                 os.path.join(BUILD, 'guest', 'init')):
        if not path or not os.path.exists(path):
            return f'{path} is missing (make build; make -C tests/functional)'
    said = subprocess.run([VDIGUEST, '--version'], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    if 'input: none' in said:
        return 'vdiguest was built without libevdev'
    return None


def libraries(program):
    """Shared libraries that @program needs, with its loader; a static one
    needs none."""
    out = subprocess.run(['ldd', program], check=False, text=True,
                         stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    return re.findall(r'(/\S+)', out)


def make_swap(path, memory_mb):
    """Arguments of QEMU: a disk in @path where a guest of @memory_mb can
    hibernate."""
    with open(path, 'wb') as f:
        os.truncate(f.fileno(), memory_mb << 20)
    os.chmod(path, 0o600)
    subprocess.run(['/sbin/mkswap', path], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return ['-drive', f'if=none,id=swap,format=raw,file={path}',
            '-device', 'virtio-blk-pci,drive=swap']


def make_initrd(path, programs=None):
    """
    The test guest's initramfs, and programs with all that they need: {where
    in the guest: program}, vdiguest if not told.
    """
    files = {}
    for where, program in (programs or {PROGRAM: VDIGUEST}).items():
        files[where.lstrip('/')] = os.path.realpath(program)
        for library in libraries(program):
            files[library.lstrip('/')] = os.path.realpath(library)
    command = [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-u', '-i',
               os.path.join(BUILD, 'guest', 'init'), '-o', path]
    modules = os.path.join(BUILD, 'kernel', 'modules')
    if os.path.isdir(modules):
        command += ['-k', modules] + [w for m in MODULES for w in ('-m', m)]
    subprocess.run(command + [f'{f}:{to}' for to, f in files.items()],
                   check=True)


class VdiGuest:
    """
    A guest of 4 vCPUs; one vdiguest in it at a time. @hints: arguments of QEMU
    that make the port of the host; else a test is at its other end. @smp and
    @extra: as for Vm.
    """

    def __init__(self, rundir, stack, name='vdi', hints=None, smp=4, extra=()):
        self.rundir = rundir
        initrd = os.path.join(rundir, 'initrd')
        if not os.path.exists(initrd):
            make_initrd(initrd)
        self.hints_path = os.path.join(rundir, name + '.hints')
        extra = [
            *extra,
            '-device', 'pcie-root-port,id=port0,chassis=1',
            '-device', 'virtio-net-pci',
        ] + (hints or [
            '-chardev', Vm.chardev('hints', self.hints_path),
            '-device', f'virtserialport,chardev=hints,name={HINTS_PORT}',
        ])
        self._stack = stack
        self._machine = {'rundir': rundir, 'qemu': find_qemu(),
                         'initrd': initrd, 'smp': smp, 'memory': MEMORY_MB,
                         'extra': extra}
        for attempt in range(BOOTS):
            self.vm = Vm(f'{name}{attempt}', **self._machine)
            stack.callback(self.vm.kill)
            try:
                self.vm.start()
                self.vm.wait_ready(PATIENCE_S)
                break
            except GuestError:
                self.vm.kill()
                if attempt == BOOTS - 1:
                    raise
        self.pid = None
        self._pressed = 0       # since vdiguest was started

    def _another(self, name, extra=()):
        """A QEMU with the same machine, started."""
        vm = Vm(name, **{**self._machine, 'extra': [
            *self._machine['extra'], *extra]})
        self._stack.callback(vm.kill)
        vm.start()
        return vm

    def move(self):
        """Migrates the guest to another QEMU, which takes the place of .vm."""
        uri = 'unix:' + os.path.join(self.rundir, 'move')
        there = self._another('there', ['-incoming', uri])
        self.vm.qmp.cmd('migrate', uri=uri)

        def moved():
            info = self.vm.qmp.cmd('query-migrate')
            if info.get('status') == 'failed':
                raise tap.Fail(f'{info}')
            now = there.qmp.cmd('query-status')['status']
            return None if info.get('status') == 'completed' and \
                now == 'running' else f'{info}; there it is {now}'
        tap.eventually(moved, PATIENCE_S, 0.2)
        self.vm.kill()
        self.vm = there

    def doze(self):
        """Suspends the guest to idle, which its host hardly sees, and wakes it
        with a key."""
        command = 'write /sys/power/state mem'
        self.write('/sys/power/mem_sleep', 's2idle')
        self.write(KEYBOARD_WAKES, 'enabled')
        before = self.read(SUSPENDED)
        self.vm.send(command)

        def awake():
            """A key that comes before all is asleep is only a key."""
            self.press()
            with contextlib.suppress(GuestError):
                self.vm.reply(command, KEY_S)
                return None
            return 'the guest sleeps on'
        tap.eventually(awake, PATIENCE_S, every=0)
        self.write('/sys/power/mem_sleep', 'deep')
        tap.check(int(self.read(SUSPENDED)) == int(before) + 1,
                  'it was not asleep')

    def hibernate(self):
        """Suspends the guest to its SWAP; another QEMU, which takes the place
        of .vm, wakes it up again."""
        command = 'write /sys/power/state disk'
        place = self.read(f'/sys/class/block/{SWAP}/dev').strip()
        self.control(f'swapon /dev/{SWAP}')
        self.vm.send(command)
        tap.eventually(lambda: 'the guest is not asleep' if self.vm.alive()
                       else None, PATIENCE_S, 0.2)
        self.vm.kill()
        self.vm = self._another('again')
        self.vm.wait_ready(PATIENCE_S)
        # Who answers is the guest that was asleep, or its successor if not.
        self.vm.send(f'write /sys/power/resume {place}')
        self.vm.reply(command, PATIENCE_S)
        if not self.has(f'/proc/{self.pid}/stat'):
            raise tap.Fail('the guest has forgotten who it was:\n' +
                           self.vm.last_words())

    # --- the guest ---------------------------------------------------------

    def control(self, command):
        return self.vm.control(command, PATIENCE_S)

    def read(self, path):
        """Text of a file of the guest; GuestError if there is none."""
        text = ''
        while True:
            part = self.control(f'read {len(text)} {path}')[1:-1]
            if not part:
                return text
            # What the guest escaped counts as one character there.
            text += re.sub(r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1],
                           part)

    def has(self, path):
        try:
            self.read(path)
        except GuestError:
            return False
        return True

    def write(self, path, text):
        self.control(f'write {path} {text}')

    def hogs(self, count):
        """That many hogs run; returns the pid of the last, None if none."""
        said = self.control(f'hogs {count}')
        return int(said) if said else None

    def cpus_of(self, pid):
        """Where a process may run, as a list of CPUs."""
        status = self.read(f'/proc/{pid}/status')
        return re.search(r'Cpus_allowed_list:\W*([\d,-]+)', status)[1]

    def group_of(self, pid):
        return self.read(f'/proc/{pid}/cgroup').partition('::')[2].strip()

    def press(self):
        """Presses Enter, longer after the last than a double click."""
        self._pressed += 1
        self.vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])

    def wait_heard(self):
        """Waits until vdiguest knows of all keys: a guest may be slow."""
        def deaf():
            heard = self.status()['triggers']
            return None if heard >= self._pressed else \
                f'{heard} of {self._pressed} keys were heard'
        tap.eventually(deaf, PATIENCE_S, every=0.2)

    # --- vdiguest ----------------------------------------------------------

    def run(self, *words):
        """Runs vdiguest to its end: (status, what it said)."""
        status = int(self.control(' '.join(('run', PROGRAM) + words)))
        return status, self.read('/tmp/run.out')

    def status(self):
        """What --status --json says; None while nobody answers."""
        code, text = self.run('--status', '--json')
        return json.loads(text) if code == 0 else None

    def start(self, *words):
        """Starts a vdiguest that looks often, and waits until it answers."""
        self._pressed = 0
        self.pid = int(self.control(' '.join(
            ('start', PROGRAM, '-p', '200', '-v', '3') + words)))

        def silent():
            if self.status():
                return None
            if self.read(f'/proc/{self.pid}/stat').split()[2] == 'Z':
                raise tap.Fail('vdiguest has ended: ' + self.said())
            return 'vdiguest does not answer: ' + self.said()
        tap.eventually(silent, PATIENCE_S)

    def said(self):
        """What all vdiguests have said since the boot."""
        return self.read('/tmp/start.out')

    def end(self, number=signal.SIGTERM):
        """Ends vdiguest; returns its status."""
        if not self.pid:
            return None
        pid, self.pid = self.pid, None
        return int(self.control(f'signal {pid} {int(number)}'))

    def isolate(self, pid, cpus='2-3'):
        """Presses Enter until @pid is where it shall be."""
        def pressed():
            self.press()
            now = self.cpus_of(pid)
            if now == cpus:
                return None
            return f'process {pid} runs on {now}, not {cpus}: {self.status()}'
        tap.eventually(pressed, PATIENCE_S, every=0.7)

    def wait_status(self, **want):
        """Waits until --status says all of that ('_' stands for '-')."""
        def differs():
            now = self.status() or {}
            for key, value in want.items():
                if now.get(key.replace('_', '-')) != value:
                    return f'{key} is not {value}: {now}'
            return None
        tap.eventually(differs, PATIENCE_S, every=0.2)

    def wait_cpus(self, pid, cpus):
        tap.eventually(lambda: None if self.cpus_of(pid) == cpus else
                       f'process {pid} runs on {self.cpus_of(pid)}, not '
                       f'{cpus}', PATIENCE_S, every=0.2)
