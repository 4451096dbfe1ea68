#!/usr/bin/env python3
"""
KVM behaves as stock while nobody has turned VAMP on: the kernel's own KVM
selftests give the same results on the stock modules and on ours, one by one.

Both sets of modules are loaded in one host in a box, one after the other, so
that each pair of runs has the same kernel and the same processor. The list, and
what is not in it and why: selftests.txt.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.dirname(HERE)]
# pylint: disable=wrong-import-position
from nested import BUILD, Host, KMOD, missing, missing_kmod
from tap import Fail, Skip, check, diagnose, main
from vamp_guest import GuestError

SELFTESTS = os.path.join(BUILD, 'selftests')
# As they are loaded; a stock one comes from the kernel's package.
MODULES = ('kvm', 'kvm-amd')
# None takes ten seconds on a quiet machine.
TEST_S = 90
# A result that differs is asked for again: several vCPUs and one clock that is
# emulated make a few of the tests fail now and then, on any modules.
AGAIN = 2
PASSED, SKIPPED, TIMEOUT = 0, 4, 137
# What a kernel says when something in it is wrong
COMPLAINTS = r'BUG:|WARNING:|Oops|general protection|Call Trace|lockdep'


def chosen():
    """The names in selftests.txt."""
    with open(os.path.join(HERE, 'selftests.txt'), encoding='utf-8') as f:
        return [line for line in (text.split('#')[0].strip() for text in f)
                if line]


def why_not():
    """Why nothing can be compared here, or None."""
    lacking = [name for name in chosen()
               if not os.path.exists(os.path.join(SELFTESTS, name))]
    return missing(MODULES) or missing_kmod() or \
        (f'{SELFTESTS}/{lacking[0]} is missing: make -C tests/kernel'
         if lacking else None)


def said(output):
    """What a test reported: its points, without figures that vary."""
    points = re.findall(r'^\s*((?:not )?ok \d+.*|1\.\.\d+.*)$', output, re.M)
    return [re.sub(r'0x[0-9a-f]+', '#', point) for point in points]


def verdict(result):
    """A result in one line."""
    status, output = result
    word = {PASSED: 'passed', SKIPPED: 'skipped',
            TIMEOUT: f'not ended after {TEST_S} s'}.get(
                status, f'failed with {status}')
    last = output.strip().splitlines()[-1:] if status else []
    return f'{word}{": " + last[0].strip()[:200] if last else ""}'


class Suite:
    """The host, and the results on the modules that it had first."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.stock = {}
        self.complaints = {}

    def boot(self):
        """Starts the host with the stock modules."""
        tmp = self.stack.enter_context(tempfile.TemporaryDirectory())
        files = {f'selftests/{name}': os.path.join(SELFTESTS, name)
                 for name in chosen()}
        files.update({f'kmod/{name}.ko': os.path.join(KMOD, name + '.ko')
                      for name in MODULES})
        host = Host('host', tmp, modules=MODULES, files=files, guests=0)
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        self.host = host

    def on(self):
        """The host, if it came up and lives."""
        if not self.host or not self.host.alive():
            raise Fail('no host runs: see above')
        return self.host

    def one(self, name):
        """(exit status, output) of a selftest."""
        return self.on().run(f'cd /tmp; timeout -s KILL {TEST_S} '
                             f'/selftests/{name}', TEST_S * 3)

    def complained(self):
        """How often the kernel has complained so far."""
        return int(self.on().run(
            f"dmesg | grep -cE '{COMPLAINTS}'")[1].strip() or 0)

    def run_stock(self):
        """All results to compare with."""
        self.boot()
        check(not self.ours(), 'the host began with modules of ours')
        begin = time.monotonic()
        for name in chosen():
            # As many chances as on ours: a busy machine fails some.
            for _ in range(AGAIN + 1):
                self.stock[name] = self.one(name)
                if self.stock[name][0] in (PASSED, SKIPPED):
                    break
        diagnose(f'{len(self.stock)} selftests: '
                 f'{time.monotonic() - begin:.0f} s')
        self.complaints['stock'] = self.complained()
        passed = [n for n, r in self.stock.items() if r[0] == PASSED]
        check(len(passed) >= len(self.stock) * 3 // 4, 'most of these pass on '
              'stock modules, but here only ' + ' '.join(passed))

    def ours(self):
        """Are the loaded modules ours? The stock ones have no version."""
        versions = [self.on().run(f'cat /sys/module/{name}/version')[1]
                    for name in ('kvm', 'kvm_amd')]
        return all(v.startswith('vamp-') for v in versions)

    def exchange(self):
        """Our modules in place of the stock ones."""
        host = self.on()
        host.sh('rmmod kvm_amd kvm')
        host.sh('insmod /kmod/kvm.ko && insmod /kmod/kvm-amd.ko')
        check(self.ours(), 'the modules are not ours')

    def compare(self, name):
        """One selftest on our modules."""
        want = self.stock.get(name)
        if not want:
            raise Fail('there is no result on stock modules: see above')
        if want[0] == TIMEOUT:
            raise Skip(f'on stock modules {verdict(want)}')
        check(self.ours(), 'the modules are not ours')
        for left in reversed(range(AGAIN + 1)):
            got = self.one(name)
            if got[0] == want[0] and said(got[1]) == said(want[1]):
                if want[0] != PASSED:
                    diagnose(f'both {verdict(got)}')
                return
            text = f'stock: {verdict(want)}\nours: {verdict(got)}\n' \
                   f'{said(want[1])}\n{said(got[1])}'
            check(left, text)
            diagnose(f'{text}\nagain')

    def unload(self):
        """Ours can go after all that, and the kernel said no more."""
        more = self.complained() - self.complaints.get('stock', 0)
        told = self.on().run(f"dmesg | grep -E -A 12 '{COMPLAINTS}' | tail -40")
        check(more <= 0, f'the kernel complains:\n{told[1]}')
        self.on().sh('rmmod kvm_amd kvm')

    def tests(self):
        """What tap.run() takes."""
        return [('results on the stock modules', self.run_stock),
                ('our modules in their place', self.exchange)] + \
            [(name, lambda name=name: self.compare(name))
             for name in chosen()] + \
            [('the modules can be unloaded', self.unload)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), why_not(),
                  (GuestError,)))
