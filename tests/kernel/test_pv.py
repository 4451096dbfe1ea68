#!/usr/bin/env python3
"""
The guest's module vamp_pv, in a guest of a host in a box.

A Linux guest of two vCPUs whose host has KVM's companion modules: the host's
vamp-query names its background by the guest's own names, the guest finds the
host's background in /proc/kvm_slow_task; the module comes and goes, CPUs do,
the host's offer does, and the guest moves to another QEMU.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from background import mixed_phase
from guest_interrupts import guest_file
from nested import (BUILD, BUSYBOX, MODULES as STOCK, TOP, Guest, Host, boot,
                    missing, missing_kmod)
from tap import Fail, check, diagnose, eventually, main
from vamp_guest import GuestError

SMP = 2
MODULES = ['kvm-amd']
MODULE = os.path.join(BUILD, 'kmod-guest', 'vamp_pv.ko')
# What tests/functional loads, and ours
GUEST_MODULES = ['evdev', 'virtio_input', 'vamp_pv']
GROUP = '/sys/fs/cgroup/vm'
INITRD = 'guest/pv.cpio'
# In the guest, for kexec
NEXT = ('next/vmlinuz', 'next/initrd')
STATE = '/sys/module/vamp_pv/parameters/state'
SLOW = '/proc/kvm_slow_task'
CPU1 = '/sys/devices/system/cpu/cpu1/online'
# The module looks every 5 s, when the guest is awake; all of it is slow here.
LOOK_S = 90
# To sleep; to load another kernel
SLEEP_S = 300


def missing_module():
    """Why there is no module for the guest, or None."""
    for name in (MODULE, os.path.join(BUILD, 'kmod-guest', 'stamp')):
        if not os.path.exists(name):
            return f'{name} is missing: make kmod-guest'
    with open(os.path.join(BUILD, 'kmod-guest', 'stamp'),
              encoding='ascii') as f:
        theirs = f.read().strip()
    with open(os.path.join(BUILD, 'kernel', 'stamp'), encoding='utf-8') as f:
        kernel = f.read().strip()
    if kernel.startswith('package ') and not kernel.endswith('-' + theirs):
        return f'{MODULE} is for {theirs}, the kernel is of {kernel}'
    return None


class PvGuest(Guest):
    """A guest with our module."""

    INITRD = '/' + INITRD


class Suite:
    """The claims; the host and the guest that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.vm = None
        self.pid = None

    def need(self):
        """The guest, if it came up."""
        if not self.vm or not self.host.alive() or not self.vm.alive():
            raise Fail('no guest runs: see above')
        return self.vm

    def initrd(self, tmp):
        """The guest's: the test guest, our module, busybox for rmmod, and
        another kernel, whose guest has no module of ours."""
        folder = os.path.join(tmp, 'module')
        os.mkdir(folder)
        shutil.copy(MODULE, folder)
        out = os.path.join(tmp, 'pv.cpio')
        args = [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-i',
                os.path.join(BUILD, 'guest', 'init'), '-o', out,
                '-k', folder, '-k', STOCK]
        for name in GUEST_MODULES:
            args += ['-m', name]
        files = {'bin/busybox': BUSYBOX,
                 NEXT[0]: os.path.join(BUILD, 'kernel', 'vmlinuz'),
                 NEXT[1]: os.path.join(BUILD, 'guest', 'initramfs.gz')}
        subprocess.run(args + [f'{f}:{to}' for to, f in files.items()],
                       check=True)
        return out

    def guest(self, name, *extra):
        """A guest that has not been started."""
        return PvGuest(self.host, name, smp=SMP, extra=[
            '-object', 'vamp-policy,id=vamp0,pv=on',
            '-device', 'vamp-hints', *extra])

    def boot(self):
        """a host loads our modules, a guest comes up with vamp_pv"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        host = Host('host', tmp, modules=MODULES, smp=SMP, kmod=True,
                    files={INITRD: self.initrd(tmp)})
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        host.sh('echo +cpu > /sys/fs/cgroup/cgroup.subtree_control; '
                f'mkdir {GROUP}')
        self.host = host
        self.vm = boot(self.stack, lambda: self.guest('guest'), GROUP)

    def query(self):
        """What vamp-query says."""
        return self.need().qmp.cmd('vamp-query')

    def told(self, vcpus, timeout=LOOK_S):
        """Waits until so many vCPUs tell what they run."""
        def wrong():
            names = self.query()['names']
            return None if names['vcpus'] == vcpus else names
        eventually(wrong, timeout, 1)
        return self.query()['names']

    def run(self, command):
        """A program of the guest's that must succeed."""
        status = self.need().control('run /bin/busybox ' + command, LOOK_S)
        check(status == '0', f'{command}: {status}')

    # --- names ----------------------------------------------------------------

    def finds(self):
        """the module finds the host, and all vCPUs tell what they run"""
        names = self.told(SMP)
        check(names['active'] and names['requested'] == 'on' and
              f'{SMP} vCPUs' in names['reason'], names)
        state = guest_file(self.vm, STATE)
        check(f'{SMP} of {SMP} CPUs' in state, state)

    def names(self):
        """vamp-query has the background task's own name and id"""
        vm = self.need()
        self.pid = int(vm.control('hogs 1'))
        name = guest_file(vm, f'/proc/{self.pid}/comm').strip()
        task = None

        def wrong():
            nonlocal task
            # Before the first phase something else may have been busy.
            found = mixed_phase(vm, 1)['background-tasks'][0]
            task = found['task']
            return None if found.get('id') == self.pid and \
                found.get('name') == name else f'not {self.pid} {name}: {found}'
        eventually(wrong, LOOK_S, 1)
        named = [v for v in self.query()['vcpus']
                 if v.get('current-task') == task]
        check(all(v.get('current-name') == name for v in named), named)
        text = vm.qmp.cmd('human-monitor-command', command_line='info vamp')
        check(f'background task {task} {name} ({self.pid}), ' in text, text)

    def slow(self):
        """/proc/kvm_slow_task has the same process, and its load"""
        vm = self.need()

        def wrong():
            mixed_phase(vm, 1)
            text = guest_file(vm, SLOW)
            line = re.fullmatch(r'(\d+) (\d+)\n', text)
            return None if line and int(line[1]) == self.pid and \
                50 <= int(line[2]) <= 110 else f'not {self.pid}: "{text}"'
        eventually(wrong, LOOK_S, 1)

        def over():
            return guest_file(vm, SLOW) or None
        # A phase lasts 5 s.
        eventually(over, LOOK_S, 1)

    def joined(self):
        """a hint that has the number of a process is the host's task of it"""
        vm = self.need()
        for words in ('open', 'say hello version=1 name=test'):
            vm.control('hints ' + words)

        def wrong():
            found = mixed_phase(vm, 1)['background-tasks'][0]
            vm.control('hints hogs')
            guest = self.query()['guest']
            tasks = [(t['id'], t.get('task'), t.get('host-agrees'))
                     for t in guest.get('tasks', [])]
            want = {'both': 1, 'guest-only': 0, 'host-only': 0,
                    'unidentified': 0}
            return None if guest.get('comparison') == want and \
                tasks == [(self.pid, found['task'], True)] else f'{guest}'
        eventually(wrong, LOOK_S, 1)
        # A thread is known by its process.
        for words in ('tasks begin', f'task id={self.pid + 1} pid={self.pid} '
                      'load=900 name=worker', 'tasks end'):
            vm.control('hints say ' + words)

        def alone():
            mixed_phase(vm, 1)
            guest = self.query()['guest']
            found = [(t['id'], t['pid'], t.get('host-agrees'))
                     for t in guest['tasks']]
            return None if found == [(self.pid + 1, self.pid, True)] and \
                guest['comparison']['both'] == 1 else f'{guest}'
        eventually(alone, LOOK_S, 1)
        vm.control('hints close')

    # --- coming and going -----------------------------------------------------

    def hotplug(self):
        """a CPU that goes offline tells nothing, and back it does"""
        vm = self.need()
        vm.control(f'write {CPU1} 0', LOOK_S)
        self.told(SMP - 1)
        vm.control(f'write {CPU1} 1', LOOK_S)
        self.told(SMP)

    def withdrawn(self):
        """pv=off: the guest notices and is silent; pv=on: it speaks again"""
        vm = self.need()
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='pv',
                   value='off')
        names = self.query()['names']
        check(not names['active'] and names['reason'] == 'set to off' and
              not names['vcpus'] and not names['known'], names)
        found = mixed_phase(vm, 1)['background-tasks'][0]
        check('name' not in found and 'id' not in found, found)
        check(not guest_file(vm, SLOW), guest_file(vm, SLOW))

        def waits():
            state = guest_file(vm, STATE)
            return None if state.startswith('waiting') else state
        eventually(waits, LOOK_S, 1)
        vm.qmp.cmd('qom-set', path='/objects/vamp0', property='pv', value='on')
        self.told(SMP)

    def unloaded(self):
        """rmmod in mid-phase leaves nothing; loaded again, names are back"""
        vm = self.need()
        self.names()
        self.run('rmmod vamp_pv')
        info = self.query()
        check(not info['names']['vcpus'] and not info['names']['known'] and
              'does not use it' in info['names']['reason'], info['names'])
        found = mixed_phase(vm, 1)['background-tasks'][0]
        check('name' not in found, found)
        self.run(f'test ! -e {SLOW}')
        self.run('insmod /modules/vamp_pv.ko')
        self.told(SMP)
        self.names()

    def sleeps(self):
        """suspended to memory in mid-phase it is silent; then names are back"""
        vm = self.need()
        self.names()

        def silent():
            names = self.query()['names']
            check(names['active'] and not names['vcpus'], names)
        vm.sleep(SLEEP_S, silent)
        self.told(SMP)
        self.names()
        self.slow()

    def migrated(self):
        """in another QEMU the guest tells the new host by itself"""
        there = self.guest('there', '-incoming', 'defer')
        self.stack.callback(there.kill)
        there.start(group=GROUP)
        self.need().qmp.cmd('migrate', uri='file:/run/moved')

        def moved():
            info = self.vm.qmp.cmd('query-migrate')
            return None if info.get('status') == 'completed' else info
        eventually(moved, 300, 2)
        there.qmp.cmd('migrate-incoming', uri='file:/run/moved')

        def runs():
            info = there.qmp.cmd('query-status')
            return None if info['status'] == 'running' else info
        eventually(runs, 300, 2)
        self.vm.kill()
        self.vm = there
        self.told(SMP)
        self.names()
        self.slow()

    def reset(self):
        """a reset of the machine forgets all; names are back after the boot"""
        vm = self.need()
        self.told(SMP)
        # Its QEMU would end otherwise.
        vm.qmp.cmd('set-action', reboot='reset')
        vm.qmp.cmd('stop')
        vm.qmp.cmd('system_reset')

        def wrong():
            names = vm.qmp.cmd('vamp-query')['names']
            return None if names['active'] and not names['vcpus'] and \
                not names['known'] else names
        eventually(wrong, LOOK_S, 1)
        vm.cont()
        vm.wait_ready()
        self.told(SMP)

    def next_kernel(self):
        """kexec in mid-phase: the host forgets, with no reset of the machine"""
        vm = self.need()
        self.names()
        vm.send(f'kexec /{NEXT[0]} /{NEXT[1]}')
        self.told(0, SLEEP_S)
        check(not self.query()['names']['known'], self.query()['names'])

    def quiet(self):
        """neither kernel has anything to complain of"""
        bad = re.compile(r'^.*(?:WARNING|BUG:|Oops|general protection|'
                         r'scheduling while atomic|stall|unchecked MSR).*$',
                         re.M)
        found = bad.findall(self.host.sh('dmesg'))
        self.need().control('run /bin/busybox dmesg', LOOK_S)
        found += bad.findall(guest_file(self.vm, '/tmp/run.out'))
        for line in found:
            diagnose(line)
        check(not found, f'{len(found)} lines of dmesg')

    def tests(self):
        """(name, function)"""
        return [(f.__doc__.splitlines()[0], f) for f in (
            self.boot, self.finds, self.names, self.slow, self.joined,
            self.hotplug,
            self.withdrawn, self.unloaded, self.sleeps, self.migrated,
            self.quiet, self.reset, self.next_kernel)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(),
                  missing(MODULES) or missing_kmod() or missing_module(),
                  [GuestError]))
