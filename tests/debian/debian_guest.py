"""
A Debian guest: the distribution's own user space with systemd, our package for
guests installed in it as an administrator would, and a few units of the test's.

What is asked of it goes through the guest agent of that package.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import base64
import glob
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[1:1] = [os.path.join(TOP, 'tests'),
                 os.path.join(TOP, 'tests', 'functional')]
# pylint: disable=wrong-import-position
import tap
from vamp_guest import BUILD, GuestError, Lines, QmpError, Vm, find_qemu

IMAGE = os.path.join(BUILD, 'debian', 'root.img')
MODULES = ['evdev', 'virtio_blk']
# Where the files of the folder guest/ are in the guest.
UNITS = 'etc/systemd/system'
PLACES = {'.service': UNITS, '.conf': UNITS + '/vdiguest.service.d',
          '.mk': 'usr/local/lib', '': 'usr/local/sbin'}
PORT_AGENT = 'org.qemu.guest_agent.0'
BUILD_S = 900
# Emulated, on a machine that others keep busy, too.
BOOT_S = 600
PATIENCE_S = 600
# On a machine with a load of 20, a boot was lost now and then.
BOOTS = 2


def missing():
    """Why nothing can be tried here, or None. Makes the guest's disk."""
    for path in (find_qemu(), os.path.join(BUILD, 'bin', 'qemu-ga'),
                 os.path.join(BUILD, 'kernel', 'vmlinuz')):
        if not path or not os.path.exists(path):
            return f'{path} is missing (make build; make -C tests/functional)'
    if not shutil.which('busybox'):
        return 'busybox is missing (package busybox-static)'
    done = subprocess.run([os.path.join(TOP, 'scripts', 'debian-guest')],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=BUILD_S)
    if done.returncode == 77:
        return done.stdout.strip().splitlines()[-1].removeprefix('[vamp] ')
    if done.returncode:
        raise GuestError(done.stdout)
    return None


def package():
    """Makes vdiguest's package; returns where it is."""
    env = dict(os.environ, BUILD=BUILD,
               QEMU_GA=os.path.join(BUILD, 'bin', 'qemu-ga'))
    for old in glob.glob(os.path.join(BUILD, 'vdiguest_*.deb')):
        os.unlink(old)
    done = subprocess.run([os.path.join(TOP, 'scripts', 'guest-deb')], env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=BUILD_S)
    if done.returncode:
        raise GuestError(f'no package is made: {done.stdout}')
    return glob.glob(os.path.join(BUILD, 'vdiguest_*.deb'))[0]


def make_initrd(path):
    """The initramfs, with the package and the units in it."""
    files = {'payload/var/cache/vdiguest.deb': package(),
             'bin/busybox': shutil.which('busybox')}
    for file in os.listdir(os.path.join(HERE, 'guest')):
        if file != 'init':
            place = PLACES[os.path.splitext(file)[1]]
            files[f'payload/{place}/{file}'] = os.path.join(HERE, 'guest', file)
    command = [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-u', '-i',
               os.path.join(HERE, 'guest', 'init'), '-o', path]
    modules = os.path.join(BUILD, 'kernel', 'modules')
    if os.path.isdir(modules):
        command += ['-k', modules] + [w for m in MODULES for w in ('-m', m)]
    subprocess.run(command + [f'{f}:{to}' for to, f in files.items()],
                   check=True)


class Debian:
    """The guest, with 4 vCPUs, the hints channel and a policy that uses it."""

    def __init__(self, name, rundir, stack, append=''):
        self._rundir = rundir
        self._lines = None
        self._syncs = 0
        initrd = os.path.join(rundir, 'debian.cpio')
        if not os.path.exists(initrd):
            make_initrd(initrd)
        for attempt in range(BOOTS):
            path = os.path.join(rundir, f'{name}{attempt}.agent')
            self.vm = Vm(
                f'{name}{attempt}', rundir, qemu=find_qemu(), initrd=initrd,
                smp=4, memory=1024, append=append, extra=[
                    '-drive', f'file={IMAGE},format=raw,if=none,id=root,'
                              'snapshot=on',
                    '-device', 'virtio-blk-pci,drive=root',
                    '-chardev', Vm.chardev('agent', path),
                    '-device', 'virtserialport,chardev=agent,id=agent,'
                               f'name={PORT_AGENT}',
                    '-device', 'vamp-hints',
                    '-object', 'vamp-policy,id=vamp0,tracker=guest,'
                               'max-phase-ms=60000'])
            stack.callback(self.vm.kill)
            try:
                self.vm.start()
                self._lines = Lines(path, self.vm.alive)
                self._wait_agent()
                break
            except GuestError:
                self.vm.kill()
                if attempt == BOOTS - 1:
                    raise

    def _wait_agent(self):
        def wrong():
            if not self.vm.alive():
                raise GuestError(f'QEMU has ended: {self.vm.last_words()}')
            is_open = [c['frontend-open'] for c in
                       self.vm.qmp.cmd('query-chardev')
                       if c['label'] == 'agent']
            return None if is_open == [True] else 'nobody has opened the port'
        try:
            tap.eventually(wrong, BOOT_S, 1)
            self.agent('guest-ping')
        except (tap.Fail, QmpError) as e:
            raise GuestError(f'no agent runs in the guest: {e}\n'
                             f'{self.vm.last_words(60)}') from None

    def agent(self, command, **arguments):
        """A command of the guest agent, returns its result."""
        # What somebody asked who lost patience may still be answered.
        self._syncs += 1
        for message in (
                {'execute': 'guest-sync', 'arguments': {'id': self._syncs}},
                {'execute': command, 'arguments': {
                    k.replace('_', '-'): v for k, v in arguments.items()}}):
            self._lines.send(json.dumps(message) + '\n')
        reply = {}
        while reply.get('return') != self._syncs:
            reply = self._reply(command)
        reply = self._reply(command)
        if 'error' in reply:
            raise QmpError(command, reply['error'])
        return reply['return']

    def _reply(self, command):
        line = self._lines.line(PATIENCE_S)
        if line is None:
            raise GuestError(f'the agent does not answer {command}\n'
                             f'{self.vm.last_words()}')
        return json.loads(line)

    def sh(self, script):
        """What a shell's script says; GuestError if it fails."""
        pid = self.agent('guest-exec', path='/bin/sh', arg=['-c', script],
                         capture_output=True)['pid']
        found = {}

        def running():
            found.update(self.agent('guest-exec-status', pid=pid))
            return None if found['exited'] else f'"{script}" does not end'
        tap.eventually(running, PATIENCE_S, 0.3)
        text = [base64.b64decode(found.get(k, '')).decode(errors='replace')
                for k in ('out-data', 'err-data')]
        if found.get('exitcode'):
            raise GuestError(f'"{script}": {found["exitcode"]}: '
                             f'{"".join(text)}')
        return text[0]

    def wait_port(self, is_open):
        """Waits until the guest agent opens its port, or closes it."""
        while True:
            data = self.vm.qmp.wait_event('VSERPORT_CHANGE', PATIENCE_S)['data']
            if data == {'id': 'agent', 'open': is_open}:
                return

    def press(self):
        """Presses Enter."""
        self.vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])

    def processes(self):
        """
        {name: list of (pid, CPUs that it may run on, cgroups)} of all
        processes of the user space: the kernel's have no memory.
        """
        text = self.sh(
            'cd /proc; grep -sH -e ^Name: -e ^VmSize: -e ^Cpus_allowed_list: '
            '[0-9]*/status; grep -sH . [0-9]*/cgroup; true')
        known = {}
        for line in text.splitlines():
            pid, _, rest = line.partition('/')
            file, _, rest = rest.partition(':')
            entry = known.setdefault(int(pid), {'cgroup': []})
            if file == 'cgroup':
                entry['cgroup'].append(rest)
            else:
                key, _, value = rest.partition(':')
                entry[key] = value.strip()
        found = {}
        for pid, entry in known.items():
            if 'VmSize' in entry:
                found.setdefault(entry['Name'], []).append(
                    (pid, entry['Cpus_allowed_list'], entry['cgroup']))
        return found

    def cgroup_version(self):
        """As systemd has mounted it."""
        kind = self.sh('stat -f -c %T /sys/fs/cgroup').strip()
        return 2 if kind == 'cgroup2fs' else 1

    @staticmethod
    def unit_of(groups):
        """The service of a process, by its cgroups."""
        for line in groups:
            number, controllers, path = line.split(':', 2)
            if controllers in ('', 'name=systemd') and '.service' in path:
                return re.findall(r'([\w@.-]+\.service)', path)[-1]
        return None
