#!/usr/bin/env python3
"""
The DKMS package of the guest's module: complete, the same bytes again, and what
DKMS would run makes a module for the test guests' kernel from it alone.

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
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(TOP, 'tests'))
# pylint: disable=wrong-import-position
from tap import check, main

BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
STAMP = os.path.join(BUILD, 'kmod-guest', 'stamp')
BUILD_S = 600


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
        deb = self.make()
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

    def tests(self):
        """(name, function)"""
        return [(f.__doc__, f) for f in (self.packed, self.builds,
                                         self.refused)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), why_not(), []))
