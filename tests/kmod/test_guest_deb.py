#!/usr/bin/env python3
"""
The DKMS package of the guest's module: complete, the same bytes again, and what
DKMS would run makes a module for the test guests' kernel from it alone. Then
dkms itself, on a Debian system as in test_dkms.py; what it has made is loaded
by a guest.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path[1:1] = [os.path.join(TOP, 'tests', part)
                 for part in ('', 'kmod', 'functional')]
# pylint: disable=wrong-import-position
import test_dkms
from tap import Skip, check, main
from vamp_guest import GuestError, Vm, qemu_missing

BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
STAMP = os.path.join(BUILD, 'kmod-guest', 'stamp')
BUILD_S = 600
BOOT_S = 240


def why_not():
    """Why this cannot be tried here, or None."""
    for tool in ('dpkg-deb', 'modinfo'):
        if not shutil.which(tool):
            return f'{tool} is missing'
    return None if os.path.exists(STAMP) else \
        f'{STAMP} is missing: make kmod-guest'


class Suite:
    """The package, unpacked."""

    def __init__(self, stack):
        self.tmp = tempfile.mkdtemp(prefix='vamp-test-', dir='/tmp')
        stack.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        self.root = os.path.join(self.tmp, 'root')
        self.stack = stack
        self.deb = None
        self.system = None

    def run(self, *cmd, **more):
        """The output of a program that must succeed."""
        done = subprocess.run(cmd, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False,
                              stdin=subprocess.DEVNULL, timeout=BUILD_S,
                              **more)
        check(done.returncode == 0, f'{" ".join(cmd)} ended with '
                                    f'{done.returncode}:\n{done.stdout}')
        return done.stdout

    def make(self):
        """A package made of this tree; its place."""
        out = self.run(os.path.join(TOP, 'scripts', 'kmod-deb'), 'guest',
                       env=dict(os.environ, VAMP_VERSION='0.0~test',
                                SOURCE_DATE_EPOCH='1', BUILD=self.tmp))
        return out.splitlines()[-1]

    def source(self):
        """Where DKMS finds its sources."""
        return os.path.join(self.root, 'usr', 'src', 'vamp-pv-0.0~test')

    def packed(self):
        """The package is made, without an unfilled word, twice the same"""
        self.deb = deb = self.make()
        with open(deb, 'rb') as f:
            first = f.read()
        with open(self.make(), 'rb') as f:
            check(f.read() == first, 'another package from the same sources')
        self.run('dpkg-deb', '-R', deb, self.root)
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, encoding='utf-8') as f:
                    found = re.search(r'@[A-Z]+@', f.read())
                check(not found, f'{path} has {found}')
        with open(os.path.join(self.root, 'usr/lib/modules-load.d',
                               'vamp-pv.conf'), encoding='ascii') as f:
            check(f.read() == 'vamp_pv\n', 'it is not loaded at boot')

    def builds(self):
        """What its dkms.conf runs makes a module of it"""
        with open(os.path.join(self.source(), 'dkms.conf'),
                  encoding='ascii') as f:
            conf = f.read()
        with open(STAMP, encoding='ascii') as f:
            version = f.read().strip()
        check(re.search(re.search(r'BUILD_EXCLUSIVE_KERNEL="(.*)"', conf)[1],
                        version), f'not for kernel {version}')
        headers = os.path.realpath(os.path.join(BUILD, 'linux', version,
                                                'build'))
        self.run('sh', '-c', re.search(r'MAKE\[0\]="(.*)"', conf)[1],
                 cwd=self.source(),
                 env=dict(os.environ, kernel_source_dir=headers,
                          BUILD='/nonexistent'))
        name = re.search(r'BUILT_MODULE_NAME\[0\]="(.*)"', conf)[1]
        place = re.search(r'BUILT_MODULE_LOCATION\[0\]="(.*)"', conf)[1]
        module = os.path.join(self.source(), place, name + '.ko')
        magic = self.run('modinfo', '-F', 'vermagic', module)
        check(magic.split()[0] == version, magic)

    def refused(self):
        """Headers of a kernel without tracepoints: one sentence"""
        headers = os.path.join(self.tmp, 'headers')
        os.mkdir(headers)
        with open(os.path.join(headers, '.config'), 'w',
                  encoding='ascii') as f:
            f.write('CONFIG_TRACEPOINTS=n\n')
        done = subprocess.run(
            ['scripts/kmod-guest-make', headers, 'kernel/guest',
             'linux-headers'], cwd=self.source(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
        check(done.returncode == 1 and
              re.fullmatch(r'vamp: error: .* no tracepoints .*\n', done.stdout),
              done.stdout)

    def installed(self):
        """dpkg and dkms install it, built when the kernel's headers come"""
        reason = test_dkms.why_not()
        if reason:
            raise Skip(reason)
        system = test_dkms.System(self.stack)
        system.install_kernel()
        shutil.copy(self.deb, f'{system.root}/debs')
        deb = '/debs/' + os.path.basename(self.deb)
        status, output = system.dpkg('-i', deb, timeout=BUILD_S)
        check(status == 0, output)
        # The script of dkms builds for the kernel that runs here; for others
        # the package of their headers does.
        output += system.must('/etc/kernel/header_postinst.d/dkms',
                              system.version, timeout=BUILD_S)
        status = system.must('dkms', 'status', '-m', 'vamp-pv')
        check('installed' in status and system.version in status,
              f'{status}\n{output}')
        self.system = system
        found = self.module()
        check('/updates/dkms/' in found, found)

    def need(self):
        """The system, with the package in it."""
        if not self.system:
            raise Skip('no system has it installed: see above')
        return self.system

    def module(self):
        """The file that modprobe would take."""
        system = self.need()
        return system.must('modinfo', '-k', system.version, '-n',
                           'vamp_pv').strip()

    def loads(self):
        """A guest loads what dkms has made, and it waits for a host"""
        system = self.need()
        if qemu_missing():
            raise Skip(qemu_missing())
        folder, initrd = (os.path.join(self.tmp, n) for n in ('ko', 'initrd'))
        os.mkdir(folder)
        shutil.copy(system.root + self.module(), folder)
        self.run(os.path.join(TOP, 'scripts', 'mkinitramfs'), '-i',
                 os.path.join(BUILD, 'guest', 'init'), '-o', initrd,
                 '-k', folder, '-k', test_dkms.STOCK, '-m', 'vamp_pv')
        vm = Vm('dkms', self.tmp, initrd=initrd)
        self.stack.callback(vm.kill)
        vm.start()
        vm.wait_ready(BOOT_S)
        state = vm.control('read 0 /sys/module/vamp_pv/parameters/state')
        vm.kill()
        check(state.startswith('[waiting: the hypervisor has no CPUID leaf'),
              state)

    def removed(self):
        """Removed, it leaves nothing"""
        system = self.need()
        status, output = system.dpkg('-r', 'vamp-pv-dkms', timeout=BUILD_S)
        check(status == 0, output)
        left = [f for pattern in (f'{system.modules}/updates/**/*.ko*',
                                  f'{system.root}/usr/src/vamp-pv*',
                                  f'{system.root}/var/lib/dkms/vamp-pv/*')
                for f in glob.glob(pattern, recursive=True)]
        check(not left, f'left: {left}')

    def tests(self):
        """(name, function)"""
        return [(f.__doc__, f) for f in (
            self.packed, self.builds, self.refused, self.installed, self.loads,
            self.removed)]


if __name__ == '__main__':
    if not test_dkms.why_not() and test_dkms.INSIDE not in os.environ:
        os.environ[test_dkms.INSIDE] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private',
                              sys.executable] + sys.argv)
    sys.exit(main(lambda stack: Suite(stack).tests(), why_not(), [GuestError]))
