#!/usr/bin/env python3
"""
The companion modules of an Intel processor, which Bochs emulates.

The claims of vmm/ (see test_kvm_vamp.py) in one boot: what kvm-intel.ko does
itself, exits for CR3 before all, and what follows from that. This processor has
PCID, which QEMU's emulated one has not.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
import bochs
from nested import BUSYBOX, MODULES, folder_of_kmod, missing, missing_kmod
from tap import Fail, Skip, check, diagnose, main
from test_kvm_vamp import BROKEN, VMM, claims
from vamp_guest import BUILD, GuestError

# Not those that look at a vCPU while it runs: that takes a second CPU.
CLAIMS = ('version', 'off', 'refuse-', 'exact-', 'load-', 'phase-', 'boost-',
          'life-', 'pv-', 'sound-')
# One claim: the slowest takes 40 s on a quiet machine, the boot a minute.
SILENCE_S = 600


class Suite:
    """The claims, in the order in which the host tries them."""

    def __init__(self, stack):
        self.stack = stack
        self.lines = None
        self.claims = [(name, text) for name, text in claims()
                       if text and name.startswith(CLAIMS)]

    def boot(self):
        """kvm-intel.ko is loaded on a processor with VMX"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        names = os.path.join(tmp, 'claims')
        with open(names, 'w', encoding='ascii') as f:
            f.writelines(f'{name}\n' for name, _ in self.claims)
        initrd = os.path.join(tmp, 'initrd')
        subprocess.run(
            [os.path.join(TOP, 'scripts', 'mkinitramfs'),
             '-i', os.path.join(HERE, 'intel-init'), '-o', initrd,
             '-k', folder_of_kmod(tmp), '-k', MODULES, '-m', 'kvm-intel',
             f'{BUSYBOX}:bin/busybox', f'{VMM}:bin/vmm', f'{names}:claims'],
            check=True)
        host = bochs.Bochs(tmp, os.path.join(BUILD, 'kernel', 'vmlinuz'),
                           initrd)
        self.stack.callback(host.kill)
        host.start()
        self.lines = host.lines(SILENCE_S)
        diagnose(self.result('load'))

    def result(self, name):
        """What the host said of @name; which must not have failed."""
        said = []
        while self.lines:
            line = next(self.lines, None)
            if line is None:
                self.lines = None
                raise Fail('the host has ended. It said:\n' +
                           '\n'.join(said[-24:]))
            said.append(line)
            if line.startswith(f'@{name} '):
                break
        if not self.lines:
            raise Fail('no host runs: see above')
        status = int(line.split()[1])
        text = '\n'.join(iter(lambda: next(self.lines, '@'), '@'))
        if status == 77:
            raise Skip(text)
        check(not status, f'exit status {status}\n{text}')
        check(not BROKEN.search(text), f'the host complains:\n{text}')
        return text

    def claim(self, name):
        """A claim of vmm's as a test."""
        def test():
            text = self.result(name)
            if text:
                diagnose(text)
        return test

    def unload(self):
        """after use they can be unloaded, and loaded again"""
        self.result('unload')
        self.result('again')


def tests(stack):
    """All tests, in their order."""
    suite = Suite(stack)
    return [(suite.boot.__doc__, suite.boot)] + \
        [(f'{name}: {text}', suite.claim(name))
         for name, text in suite.claims] + \
        [(suite.unload.__doc__, suite.unload)]


if __name__ == '__main__':
    sys.exit(main(tests, missing(['kvm-intel']) or missing_kmod() or
                  bochs.missing(), (GuestError,)))
