#!/usr/bin/env python3
"""
The DKMS package on a Debian system: it says what is missing, builds the modules
when a kernel's headers are installed, modprobe then takes them, and without the
package the stock ones again.

The system is this machine's own root folder under an overlay in memory, in a
mount namespace: the package, dkms and the kernel are installed in it for good,
and nothing of that reaches the machine.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(TOP, 'tests'))
# pylint: disable=wrong-import-position
from tap import Fail, Skip, check, diagnose, main

BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
STOCK = os.path.join(BUILD, 'kernel', 'modules')
# So that a compiler cache knows the files when the test is run again
VERSION = '0.0~test'
MODULES = ('kvm', 'kvm-amd', 'kvm-intel')
# What KVM needs of the stock modules, and lists that depmod reads
WANTED = ('kernel/arch/x86/kvm', 'kernel/virt', 'kernel/drivers/crypto/ccp',
          'modules.builtin', 'modules.builtin.modinfo', 'modules.order')
# The modules take 75 s on a quiet machine.
BUILD_S = 1200
INSIDE = 'VAMP_TEST_INSIDE'


def run(*cmd, timeout=120, **more):
    """(exit status, output) of a program."""
    done = subprocess.run(cmd, stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          timeout=timeout, errors='replace', **more)
    return done.returncode, done.stdout


def must(*cmd, **more):
    """The output of a program that must succeed."""
    status, output = run(*cmd, **more)
    check(status == 0, f'{" ".join(cmd)} ended with {status}:\n{output}')
    return output


def kernel():
    """The version that `make kmod` has fetched headers and source of."""
    try:
        with open(os.path.join(BUILD, 'kmod', 'stamp'), encoding='ascii') as f:
            return f.read().strip()
    except OSError:
        return None


def why_not():
    """Why this cannot be tried here, or None."""
    version = kernel()
    if os.geteuid():
        return 'only root can make a system of its own to install into'
    if not version:
        return f'{BUILD}/kmod/stamp is missing: make kmod'
    for tool in ('unshare', 'dpkg', 'depmod', 'modprobe', 'modinfo', 'xz'):
        if not shutil.which(tool):
            return f'{tool} is missing'
    status, output = run('unshare', '--mount', '--propagation', 'private',
                         'true')
    if status:
        return f'no mount namespace: {output.strip()}'
    if not os.path.isdir(os.path.join(STOCK, 'kernel')):
        return f'{STOCK} is missing'
    if not os.path.isdir(os.path.join(BUILD, 'linux', f'headers-{version}')):
        return f'the headers of {version} are not unpacked in {BUILD}/linux'
    return None


class System:
    """A Debian that may be changed."""

    def __init__(self, stack):
        self.version = kernel()
        self.tmp = stack.enter_context(tempfile.TemporaryDirectory())
        memory = os.path.join(self.tmp, 'memory')
        self.root = os.path.join(self.tmp, 'root')
        for folder in (memory, self.root):
            os.mkdir(folder)
        self.mount('-t', 'tmpfs', 'tmpfs', memory)
        stack.callback(run, 'umount', '-l', memory)
        for folder in ('upper', 'work'):
            os.mkdir(os.path.join(memory, folder))
        self.mount('-t', 'overlay', 'overlay', '-o', 'lowerdir=/,upperdir='
                   f'{memory}/upper,workdir={memory}/work', self.root)
        stack.callback(run, 'umount', '-l', self.root)
        for folder in ('/proc', '/dev', os.path.realpath(self.headers()),
                       os.path.expanduser('~/.cache/ccache')):
            if os.path.isdir(folder):
                os.makedirs(self.root + folder, exist_ok=True)
                self.mount('--bind', folder, self.root + folder)
        self.modules = f'{self.root}/lib/modules/{self.version}'
        self.install_dkms()

    @staticmethod
    def mount(*args):
        """What a container may forbid."""
        status, output = run('mount', *args)
        if status:
            raise Skip(f'mount {" ".join(args)}: {output.strip()}')

    def headers(self):
        """The unpacked packages of headers."""
        return os.path.join(BUILD, 'linux', f'headers-{self.version}')

    def source(self):
        """The unpacked kernel source."""
        return os.path.join(BUILD, 'linux', self.version, 'source')

    def run(self, *cmd, timeout=120):
        """(exit status, output) of a program in the system."""
        # KMOD_DEBUG: half the time; the cache is for a second run of the test
        env = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C',
               'DEBIAN_FRONTEND': 'noninteractive', 'KMOD_DEBUG': '0',
               'HOME': os.path.expanduser('~')}
        if shutil.which('ccache'):
            env['DEBIAN_KERNEL_USE_CCACHE'] = '1'
        return run('chroot', self.root, *cmd, timeout=timeout, env=env)

    def must(self, *cmd, timeout=120):
        """The output of a program in the system that must succeed."""
        status, output = self.run(*cmd, timeout=timeout)
        check(status == 0, f'{" ".join(cmd)} ended with {status}:\n{output}')
        return output

    def dpkg(self, *args, timeout=120):
        """
        (exit status, output) of dpkg. The packages that ours depends on are
        there as files only, or belong to the machine below.
        """
        return self.run('dpkg', '--force-depends', *args, timeout=timeout)

    def install_dkms(self):
        """From the archive, for this system only."""
        folder = os.path.join(self.root, 'debs')
        os.mkdir(folder)
        status, output = run(os.path.join(TOP, 'scripts', 'vamp-apt'), '-m',
                             'download', 'dkms', cwd=folder)
        debs = glob.glob(os.path.join(folder, 'dkms_*.deb'))
        if status or not debs:
            raise Skip('dkms cannot be downloaded: '
                       f'{(output.strip().splitlines() or ["?"])[-1]}')
        status, output = self.dpkg('-i', '/debs/' + os.path.basename(debs[0]))
        check(status == 0, output)

    def install_kernel(self):
        """Its stock modules and its headers."""
        os.makedirs(self.modules)
        for name in WANTED:
            path = os.path.join(STOCK, name)
            if os.path.isdir(path):
                shutil.copytree(path, os.path.join(self.modules, name))
            elif os.path.exists(path):
                shutil.copy(path, self.modules)
        os.symlink(os.path.join(os.path.realpath(self.headers()), 'usr/src',
                                f'linux-headers-{self.version}'),
                   os.path.join(self.modules, 'build'))
        self.must('depmod', self.version)

    def install_source(self, sublevel=None):
        """The package linux-source-6.12, as if of another point release."""
        name = 'linux-source-6.12'
        with tempfile.TemporaryDirectory() as tmp:
            tree = os.path.join(tmp, name)
            os.makedirs(os.path.join(tree, 'arch/x86'))
            for part in ('arch/x86/kvm', 'virt'):
                shutil.copytree(os.path.join(self.source(), part),
                                os.path.join(tree, part), symlinks=True)
            makefile = os.path.join(tree, 'Makefile')
            shutil.copy(os.path.join(self.source(), 'Makefile'), makefile)
            if sublevel is not None:
                must('sed', '-i', f's/^SUBLEVEL = .*/SUBLEVEL = {sublevel}/',
                     makefile)
            must('tar', '-C', tmp, '-I', 'xz -0', '-cf',
                 f'{self.root}/usr/src/{name}.tar.xz', name)

    def chosen(self):
        """{module: its file, as modprobe finds it}"""
        return {name: self.must('modinfo', '-k', self.version, '-n',
                                name).strip().split(self.version + '/')[1]
                for name in MODULES}


class Suite:
    """The claims, in an order in which each finds what it needs."""

    def __init__(self, stack):
        self.stack = stack
        self.system = None
        self.skip = None
        self.stock = None
        self.deb = None

    def on(self):
        """The system, if it could be made."""
        if self.skip:
            raise Skip(self.skip)
        if not self.system:
            raise Fail('there is no system: see above')
        return self.system

    def build_package(self):
        """The same bytes each time, and made of what is committed."""
        def once():
            deb = must(os.path.join(TOP, 'scripts', 'kmod-deb'),
                       env=dict(os.environ, VAMP_VERSION=VERSION,
                                SOURCE_DATE_EPOCH='1700000000')
                       ).splitlines()[-1]
            with open(deb, 'rb') as f:
                return deb, f.read()
        deb, first = once()
        try:
            check(first == once()[1], 'the package differs each time')
            self.deb = os.path.join(self.stack.enter_context(
                tempfile.TemporaryDirectory()), os.path.basename(deb))
            shutil.copy(deb, self.deb)
        finally:
            os.unlink(deb)
        try:
            self.system = System(self.stack)
        except Skip as reason:
            self.skip = str(reason)
            raise

    def stock_first(self):
        """modprobe takes the stock modules, before there are others."""
        system = self.on()
        system.install_kernel()
        self.stock = system.chosen()
        for name, file in self.stock.items():
            check(file.startswith('kernel/arch/x86/kvm/'), f'{name}: {file}')

    def refuses(self, *words):
        """A new kernel's headers: no module, one sentence, stock modules."""
        system = self.on()
        output = system.run('/etc/kernel/header_postinst.d/dkms',
                            system.version, timeout=BUILD_S)[1]
        said = [line for line in output.splitlines()
                if line.startswith('vamp: error: ')]
        check(said and all(word in said[0] for word in words),
              f'no sentence with {words}:\n{output}')
        diagnose(said[0])
        check(system.chosen() == self.stock, f'{system.chosen()}')

    def no_source(self):
        """Installed where the kernel's source is not."""
        system = self.on()
        shutil.copy(self.deb, f'{system.root}/debs')
        # It may not fail to be installed for what a later package brings;
        # what dpkg says of that depends on dkms.
        status, output = system.dpkg('-i', '/debs/' +
                                     os.path.basename(self.deb),
                                     timeout=BUILD_S)
        diagnose(f'dpkg ended with {status}')
        check('install the package linux-source-6.12 of version' in output,
              output)
        self.refuses('install the package linux-source-6.12 of version')

    def other_source(self):
        """The source of another point release."""
        self.on().install_source(sublevel=3)
        self.refuses('needs the source of Linux', 'is 6.12.3')

    def other_series(self):
        """A kernel that the patches are not for is left alone."""
        system = self.on()
        other = '6.1.0-99-amd64'
        os.makedirs(f'{system.root}/lib/modules/{other}')
        os.symlink(os.readlink(os.path.join(system.modules, 'build')),
                   f'{system.root}/lib/modules/{other}/build')
        output = system.run('/etc/kernel/header_postinst.d/dkms', other,
                            timeout=BUILD_S)[1]
        check('vamp: error' not in output, output)
        check(not glob.glob(f'{system.root}/lib/modules/{other}/updates/*'),
              'modules for a kernel of another series')
        shutil.rmtree(f'{system.root}/lib/modules/{other}')

    def update(self):
        """What a package of headers does when it is installed."""
        system = self.on()
        system.install_source()
        failed, output = system.run('/etc/kernel/header_postinst.d/dkms',
                                    system.version, timeout=BUILD_S)
        for log in glob.glob(f'{system.root}/var/lib/dkms/vamp/*/build/'
                             'make.log'):
            with open(log, encoding='utf-8', errors='replace') as f:
                output += f.read()[-3000:]
        check(not failed, f'ended with {failed}:\n{output}')
        status = system.must('dkms', 'status', '-m', 'vamp')
        check('installed' in status, f'{status}\n{output}')
        for name, file in system.chosen().items():
            check(file.startswith('updates/dkms/'), f'{name}: {file}')
            magic = system.must('modinfo', '-k', system.version, '-F',
                                'vermagic', name)
            check(magic.split()[0] == system.version, f'{name}: {magic}')

    def loads(self):
        """modprobe loads kvm.ko and kvm-amd.ko of ours, never one of each."""
        system = self.on()
        for name in ('kvm-amd', 'kvm-intel'):
            lines = system.must('modprobe', '-S', system.version,
                                '--show-depends', name).splitlines()
            files = [line.split()[1] for line in lines if '/kvm' in line]
            check(len(files) == 2 and all('/updates/dkms/' in f
                                          for f in files), '\n'.join(lines))

    def remove(self):
        """The stock modules, and no trace of ours."""
        system = self.on()
        status, output = system.dpkg('-r', 'vamp-dkms', timeout=BUILD_S)
        check(status == 0, output)
        check(system.chosen() == self.stock, f'{system.chosen()}')
        left = glob.glob(f'{system.modules}/updates/**/*.ko*',
                         recursive=True) + \
            glob.glob(f'{system.root}/usr/src/vamp-*') + \
            glob.glob(f'{system.root}/var/lib/dkms/vamp/*')
        check(not left, f'left: {left}')

    def tests(self):
        """What tap.run() takes."""
        return [
            ('the package is built, with the same bytes', self.build_package),
            ('the stock modules are found', self.stock_first),
            ('no source: a sentence, stock modules', self.no_source),
            ('another source: a sentence, stock modules', self.other_source),
            ('a kernel of another series is left alone', self.other_series),
            ('new headers: built, installed, found', self.update),
            ('modprobe takes ours together', self.loads),
            ('removed: the stock modules are found', self.remove),
        ]


if __name__ == '__main__':
    if not why_not() and INSIDE not in os.environ:
        os.environ[INSIDE] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private',
                              sys.executable] + sys.argv)
    sys.exit(main(lambda stack: Suite(stack).tests(), why_not()))
