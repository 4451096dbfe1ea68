#!/usr/bin/env python3
"""
Code that one vCPU overwrites while another executes it: emulated vCPUs must see
the change as real ones do (upstream/patches/qemu/0012-fix-tcg-code-write.patch).
A kernel does nothing else when it flips a static key, and a host in a box does
so for each of its first and last VM.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
from tap import check, diagnose, main
from vamp_guest import GuestError, Vm, find_qemu, qemu_missing

CHANGES = 100000
BOOT_S = 240
# What a busy machine does in the 20 s, or 40, that the guest gives it.
FEWEST = 100
ANSWER_S = 240


def tests(stack):
    """(name, function)"""
    tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
    stack.callback(shutil.rmtree, tmp, ignore_errors=True)

    def overwritten():
        vm = Vm('code', tmp, qemu=find_qemu(), smp='2')
        stack.callback(vm.kill)
        vm.start()
        vm.wait_ready(BOOT_S)
        answer = vm.control(f'code {CHANGES}', ANSWER_S)
        changes, stale, missed = map(int, answer.split())
        text = f'{changes} changes: after {stale} of them the old instruction ' \
               f'was executed, after {missed} until the next'
        diagnose(text)
        check(changes >= FEWEST and stale == 0, text)

    return [('who is told of new code executes it', overwritten)]


if __name__ == '__main__':
    sys.exit(main(tests, qemu_missing(), [GuestError]))
