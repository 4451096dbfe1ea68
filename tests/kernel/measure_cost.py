#!/usr/bin/env python3
"""
What the companion modules cost, in a host whose clock counts instructions.

Prints ns of that clock, two an instruction, of the kernel's own modules and of
ours; a run differs from another by a thousandth. Asserts nothing.

    tests/kernel/measure_cost.py [--results DIR]

Writes DIR/kernel.json (default build/results): {"instructions": {"stock"|"ours":
{STATE: {"exit"|"load of CR3"|"busy round": instructions}}}}.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import contextlib
import re
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
# pylint: disable=wrong-import-position
from nested import Host, kmod_files, missing_kmod, missing
from results import FOLDER, put
from test_kvm_vamp import MODULES, VMM, claims


NS_AN_INSTRUCTION = 2


def instructions(text):
    """{state: {what: instructions}} of what `vmm cost` says"""
    found = {}
    for state, what, ns in re.findall(r'^# (.+?): (.+) ([\d.]+) ns$', text,
                                      re.M):
        found.setdefault(state, {})[what] = float(ns) / NS_AN_INSTRUCTION
    return found


def main():
    """Boots, and measures both."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--results', default=FOLDER)
    args = parser.parse_args()
    reason = missing(MODULES) or missing_kmod()
    if reason:
        print(f'cannot measure here: {reason}')
        return 1
    claims()
    tmp = tempfile.mkdtemp(prefix='vamp-measure-', dir='/tmp')
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        host = Host('host', tmp, modules=MODULES, guests=0, smp=1, memory=1024,
                    files=dict(kmod_files(), **{'bin/vmm': VMM}), icount=True)
        stack.callback(host.kill)
        host.start()
        host.wait_ready()
        found = {}
        for name, ours in (('stock', False), ('ours', True)):
            host.swap_kvm(ours)
            text = host.sh('vmm cost', 600)
            print(f'{name}\n{text}', flush=True)
            found[name] = instructions(text)
    put(args.results, 'instructions', found)
    return 0


if __name__ == '__main__':
    sys.exit(main())
